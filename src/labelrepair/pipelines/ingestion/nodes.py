"""Nodes that bring data in: read, split, inject noise for studies, collect trusted labels."""

from typing import Any

import pandas as pd

from labelrepair import decisions
from labelrepair.config import from_dict
from labelrepair.data import SourceSpec, read_source
from labelrepair.data.input_format import input_format
from labelrepair.data.shards import row_hashes
from labelrepair.data.storage import StorageSpec
from labelrepair.ingest import (
    CuratedSpec,
    SplitSpec,
    collect_curated,
    inject_noise,
    tabulate,
)
from labelrepair.label_table import data_hash, of_texts
from labelrepair.noise import NoiseSpec
from labelrepair.sealed import check_ingested, seal

Params = dict[str, Any]


def read_samples(
    source: Params, split: Params, storage: Params, dataset: str
) -> tuple[Any, pd.DataFrame, pd.DataFrame, list[str], Params, Params]:
    """Read a source. The label table notes what is written beside it.

    Returns:
        Feature store, label table, known true labels, class names, input format, and what was read,
        by which later runs know whose table this is.
    """
    samples = read_source(from_dict(SourceSpec, source, "ingestion.source"), decode=False)
    features, table, true_labels, class_names = tabulate(
        samples,
        from_dict(SplitSpec, split, "ingestion.split"),
        from_dict(StorageSpec, storage, "ingestion.storage"),
    )
    form = input_format(samples).written()
    parts = {"true_labels": true_labels, "class_names": class_names, "input_format": form}
    if of_texts(table):  # else the table itself has the hashes
        parts["features"] = row_hashes(features)
    table.attrs |= seal(**parts)
    return features, table, true_labels, class_names, form, {"dataset": dataset}


def add_noise(
    table: pd.DataFrame,
    true_labels: pd.DataFrame,
    class_names: list[str],
    features: Any,
    noise: Params,
) -> tuple[pd.DataFrame, Params]:
    """Replace given labels outside the test split by noisy ones, for studies.

    Raises:
        DataError: truth or class names are of another ingestion than the table.
    """
    check_ingested(table, true_labels=true_labels, class_names=class_names)
    spec = from_dict(NoiseSpec, noise, "ingestion.noise")
    return inject_noise(table, true_labels, len(class_names), spec, features)


def choose_curated(
    table: pd.DataFrame,
    true_labels: pd.DataFrame,
    human_decisions: pd.DataFrame,
    class_names: list[str],
    curated: Params,
) -> pd.DataFrame:
    """Return the trusted rows that the ``curated`` estimator may use; they note what they are of.

    Raises:
        DataError: also where the repair would refuse a decision: not only after the training; or
            truth or class names are of another ingestion than the table.
    """
    check_ingested(table, true_labels=true_labels, class_names=class_names)
    spec = from_dict(CuratedSpec, curated, "ingestion.curated")
    decided = decisions.from_file(human_decisions, class_names, "human_decisions")
    decisions.check(table, decided)
    found = collect_curated(table, true_labels, class_names, spec, decided)
    found.attrs |= seal(label_table=data_hash(table), class_names=class_names)
    return found
