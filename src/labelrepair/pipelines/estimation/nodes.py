"""Nodes that estimate the label noise."""

from typing import Any

import pandas as pd
from numpy.typing import NDArray

from labelrepair.config import from_dict
from labelrepair.label_table import data_hash, made_from
from labelrepair.sealed import check_ingested, check_seal
from labelrepair.workflow import (
    EstimationConfig,
    check_alignment,
    curated_pairs,
    estimate,
    noise_to_dict,
    train_set,
)


def estimate_label_noise(
    features: NDArray[Any],
    table: pd.DataFrame,
    class_names: list[str],
    curated: pd.DataFrame,
    estimation: dict[str, Any],
    seed: int,
) -> tuple[dict[str, Any], NDArray[Any]]:
    """Estimate transition matrix and noise rate; also return the out-of-sample probabilities.

    The estimate notes its label table: the training refuses that of another one.
    """
    config = from_dict(EstimationConfig, estimation, "estimation")
    check_ingested(table, class_names=class_names)
    if len(curated):
        noted = {"label_table": data_hash(table), "class_names": class_names}
        check_seal(curated.attrs, "ingestion", "curated_labels", **noted)
    check_alignment(table, features)
    data, _ = train_set(table, features, len(class_names), 0.0, seed)
    pairs = curated_pairs(table, curated) if config.estimator.method == "curated" else None
    noise, probs = estimate(data, config, seed, pairs)
    return {**noise_to_dict(noise), **made_from(table)}, probs
