"""What a user would pick instead of this package: systems beside the methods of a grid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelrepair.config import one_of, require
from labelrepair.errors import ConfigError
from labelrepair.estimation import cleanlab_transition
from labelrepair.training import TrainingConfig, TrainSet
from labelrepair.training.probe import ProbeSpec, cross_validated_probs
from labelrepair.workflow import network_builder


@dataclass(frozen=True)
class CleanlabOptions:
    """Attributes: folds: of the cross-validation; filter_by: cleanlab's filter."""

    folds: int = 5
    filter_by: str = "both"

    def __post_init__(self) -> None:
        """Check names and ranges."""
        require(self.folds >= 2, f"folds: must be at least 2, found {self.folds}")
        valid = ("both", "prune_by_class", "prune_by_noise_rate", "confident_learning")
        one_of(valid, filter_by=self.filter_by)


def repair_with_cleanlab(
    data: TrainSet, options: CleanlabOptions, training: TrainingConfig, seed: int
) -> tuple[pd.DataFrame, NDArray[np.float64], NDArray[np.floating]]:
    """Repair by confident learning (Northcutt et al. 2021) as the cleanlab package does it.

    Out-of-sample probabilities by cross-validation of the network, ``find_label_issues``, and the
    rows it flags relabelled by the arg max of their probabilities.

    Args:
        data: the rows; validation rows take part, as everybody's labels are wanted.
        options: see :class:`CleanlabOptions`.
        training: of each fold's network.
        seed: decides folds and training.

    Returns:
        Frame with the columns of a repaired table, every row kept; T ``(C, C)``; float32
        ``(N, C)``.

    Raises:
        ConfigError: cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues  # noqa: PLC0415
        from cleanlab.rank import get_label_quality_scores  # noqa: PLC0415
    except ImportError:
        raise ConfigError("method: cleanlab is not installed; pip install cleanlab") from None
    build, _ = network_builder(training.network, data.features, data.num_classes)
    spec = ProbeSpec(folds=options.folds, training=training)
    args = (data.features, data.given_labels, data.num_classes, build, spec, seed)
    probs = cross_validated_probs(*args).numpy()
    given = data.given_labels.numpy()
    issues = find_label_issues(given, probs, filter_by=options.filter_by, n_jobs=1)
    suggested = np.where(issues, probs.argmax(1), given)
    frame = pd.DataFrame(
        {
            "label_quality": get_label_quality_scores(given, probs),
            "is_label_issue": issues,
            "suggested_label": suggested,
            "repaired_label": pd.array(suggested, dtype="Int64"),
        }
    )
    return frame, cleanlab_transition(probs, given), probs


# By name: the options, and data in, repaired rows, T and probabilities out.
BASELINES: Mapping[str, tuple[type, Callable[..., Any]]] = {
    "cleanlab": (CleanlabOptions, repair_with_cleanlab)
}
