"""Schemas that the catalog checks on every load and save of a label table."""

import pandera.pandas as pa
from pandera.typing.pandas import Series

from labelrepair.label_table import OPEN_SET, Action, LabelSource, Split

ACTIONS = [str(action) for action in Action]
SOURCES = [str(source) for source in LabelSource]
SPLITS = [str(split) for split in Split]


class LabelTable(pa.DataFrameModel):
    """What ingestion writes: one row per sample, sorted by id."""

    sample_id: Series[str] = pa.Field(unique=True)
    given_label: Series[int] = pa.Field(ge=0)
    split: Series[str] = pa.Field(isin=SPLITS)
    content_hash: Series[str]

    class Config:
        """Only these columns."""

        strict = True

    @pa.dataframe_check(description="rows are sorted by sample_id")
    @classmethod
    def _sorted(cls, table: "pa.typing.DataFrame[LabelTable]") -> bool:
        return bool(table["sample_id"].is_monotonic_increasing)

    @pa.dataframe_check(description="there are training rows")
    @classmethod
    def _has_training_rows(cls, table: "pa.typing.DataFrame[LabelTable]") -> bool:
        return bool((table["split"] == str(Split.TRAIN)).any())


class TrueLabels(pa.DataFrameModel):
    """What is known of the truth: perhaps no row at all. Read by evaluation only.

    -1 is unknown, -2 (``OPEN_SET``) a sample that belongs to no class.
    """

    sample_id: Series[str] = pa.Field(unique=True)
    true_label: Series[int] = pa.Field(ge=OPEN_SET)

    class Config:
        """Only these columns."""

        strict = True


class RepairedTable(LabelTable):
    """What repair adds; rows of the test split carry nulls."""

    label_quality: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    is_label_issue: Series[pa.BOOL] = pa.Field(nullable=True)
    suggested_label: Series[pa.INT64] = pa.Field(ge=0, nullable=True)
    confidence: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    selected: Series[pa.BOOL] | None = pa.Field(nullable=True)
    action: Series[str] = pa.Field(isin=ACTIONS, nullable=True)
    repaired_label: Series[pa.INT64] = pa.Field(ge=0, nullable=True)
    label_source: Series[str] = pa.Field(isin=SOURCES, nullable=True)
    reason: Series[str] = pa.Field(nullable=True)
