"""The hook that keeps the tables of two data sets apart."""

import re
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from labelrepair.errors import ConfigError
from labelrepair.label_table import SAMPLE_ID

_TABLE = re.compile(r"(.*\.|)(?:label_table|repaired_table|features)")


class DatasetHook:
    """Refuses a run on the table of another data set, and one that parts people from their data."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> None:
        """Compare the chosen data set with the one that was ingested last.

        Raises:
            ConfigError: another one is there, and this run begins with its table, or would put its
                own in the place of one that people have decided about.
        """
        read, made = pipeline.inputs(), pipeline.all_outputs()
        tables = [_TABLE.fullmatch(name) for name in sorted(read | made)]
        for prefix in sorted({found[1] for found in tables if found}):
            then, now = _ingested(catalog, prefix), f"params:{prefix}dataset"
            if then is None or now not in catalog or catalog.load(now) == then:
                continue
            told = f"the label table is that of '{then}'"
            if f"{prefix}ingested" in made:  # it will be another's in a moment
                decided = _decided(catalog, prefix)
                if not decided:
                    continue
                told = f"people have made {decided} decisions about '{then}' here"
            # A host's choices stand in the parameters of its namespace.
            file = f"parameters_{prefix[:-1]}" if prefix else "globals"
            raise ConfigError(
                f"dataset: '{catalog.load(now)}' is chosen, but {told}; nothing has been done. "
                f"Run with --params {prefix}dataset={then}, write `dataset: {then}` into "
                f"conf/base/{file}.yml, or give other data a folder of their own: "
                f"--params {prefix}workspace=FOLDER"
            )


def _ingested(catalog: CatalogProtocol[str, Any], prefix: str) -> str | None:
    """Return the data set of the label table that is there; None where nobody knows."""
    name = f"{prefix}ingested"
    if name not in catalog or not catalog.exists(name):
        return None
    found: str | None = catalog.load(name).get("dataset")
    return found


def _decided(catalog: CatalogProtocol[str, Any], prefix: str) -> int:
    """Return how many decisions there are, 0 if none is about a sample of the table that is there.

    An ingestion that was refused has put its table in the place of the one that they are about.
    """
    decisions, name = catalog.load(f"{prefix}human_decisions"), f"{prefix}label_table"
    if name not in catalog or not catalog.exists(name):
        return len(decisions)
    samples = catalog.load(name)[SAMPLE_ID]
    return len(decisions) if samples.isin(decisions[SAMPLE_ID]).any() else 0
