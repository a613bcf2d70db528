"""The node that looks at the labels a second time."""

from typing import Any

import pandas as pd
from numpy.typing import NDArray

from labelrepair.config import from_dict
from labelrepair.label_table import check_estimated_on, check_made_from, origin
from labelrepair.refinement import RefinementSpec
from labelrepair.sealed import check_ingested, check_seal, seal
from labelrepair.workflow import (
    EstimationConfig,
    check_alignment,
    check_probs_of,
    noise_from_dict,
    noise_to_dict,
    refine,
    train_set,
)

Params = dict[str, Any]


def look_again(  # one argument per catalog entry
    features: NDArray[Any],
    table: pd.DataFrame,
    class_names: list[str],
    probs: NDArray[Any],
    training_report: Params,
    noise_estimate: Params,
    estimation: Params,
    refinement: Params,
    seed: int,
) -> tuple[NDArray[Any], Params]:
    """Return probabilities of two kinds, joined, and the noise estimate by likelihood.

    The estimate notes label table and training, which tells the repair whose probabilities they
    are.

    Raises:
        DataError: training or estimation saw another label table, or the probabilities are of
            another one.
    """
    check_made_from(table, training_report, "training")
    check_estimated_on(table, noise_estimate)
    check_probs_of(table, probs, len(class_names), "training")
    check_seal(training_report, "training", training_probs=probs, class_names=class_names)
    check_ingested(table, class_names=class_names)
    spec = from_dict(RefinementSpec, refinement, "refinement")
    probe = from_dict(EstimationConfig, estimation, "estimation").probe
    check_alignment(table, features)
    data, _ = train_set(table, features, len(class_names), 0.0, seed)
    noise = noise_from_dict(noise_estimate)
    refined, found = refine(data, probs, noise, probe, spec, seed)
    sealed = seal(refined_probs=refined)
    return refined, {**noise_to_dict(found), **origin(training_report), **sealed}
