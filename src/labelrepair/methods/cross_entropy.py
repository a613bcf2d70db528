"""Cross entropy on the given labels: the baseline that believes everything ("Standard").

The network's softmax estimates the class that a label giver would write down, noise included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelrepair.config import one_of
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import cross_entropy
from labelrepair.methods._common import mean_loss_stage
from labelrepair.training import Stage, TrainingConfig
from labelrepair.training.state import Keep

TRAINING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Options:
    """Attributes: keep: ``last``, ``best_val_accuracy`` or ``best_val_loss`` (noisy validation)."""

    keep: Keep = "last"

    def __post_init__(self) -> None:
        """Check names."""
        one_of(("last", "best_val_accuracy", "best_val_loss"), keep=self.keep)


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single stage."""
    del noise
    return [mean_loss_stage(config, cross_entropy, options.keep)]
