"""The node that compares training on given and on repaired labels."""

from typing import Any

import pandas as pd
from numpy.typing import NDArray

from labelrepair import ab
from labelrepair.config import from_dict
from labelrepair.label_table import check_made_from, repaired_hash
from labelrepair.sealed import check_ingested
from labelrepair.workflow import EstimationConfig, check_alignment, noise_from_dict

Params = dict[str, Any]


def compare_labels(
    features: NDArray[Any],
    repaired: pd.DataFrame,
    true_labels: pd.DataFrame,
    noise_estimate: Params,
    estimation: Params,
    spec: Params,
    seed: int,
) -> tuple[Params, Params]:
    """Return the evidence, and its metrics for MLflow.

    Raises:
        DataError: features or truth are of another ingestion than the table, or the noise estimate
            was made from another table.
    """
    check_ingested(repaired, true_labels=true_labels)
    check_made_from(repaired, noise_estimate, "refinement")
    check_alignment(repaired, features)
    recipe = from_dict(EstimationConfig, estimation, "estimation").probe.training
    found = ab.compare(
        features,
        repaired,
        true_labels,
        noise_from_dict(noise_estimate).transition,
        recipe,
        from_dict(ab.AbSpec, spec, "ab"),
        seed,
    )
    return found | {"labels_hash": repaired_hash(repaired)}, found["metrics"]
