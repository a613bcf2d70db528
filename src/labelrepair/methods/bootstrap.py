"""Bootstrapping: Reed et al. (2015), "Training deep networks on noisy labels with bootstrapping".

Soft: targets ``beta e_y + (1 - beta) f``; hard: ``beta e_y + (1 - beta) onehot(argmax f)``. In
the soft form the gradient flows through both occurrences of f, which makes it cross entropy with
an entropy regulariser.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from labelrepair.config import in_unit_interval
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import hard_bootstrap, soft_bootstrap
from labelrepair.methods._common import ADAGRAD_TRAINING, mean_loss_stage
from labelrepair.training import Stage, TrainingConfig
from labelrepair.training.state import Keep

TRAINING: Mapping[str, Any] = ADAGRAD_TRAINING
_BETA = {"soft": 0.95, "hard": 0.8}


@dataclass(frozen=True)
class Options:
    """Options.

    Attributes:
        targets: ``hard`` (what Patrini et al. report) or ``soft``.
        beta: weight of the given label; None = 0.8 for hard, 0.95 for soft targets.
        keep: which weights leave the training, by noisy validation.
    """

    targets: Literal["soft", "hard"] = "hard"
    beta: float | None = None
    keep: Keep = "best_val_loss"

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(beta=self.beta)


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single stage."""
    del noise
    beta = _BETA[options.targets] if options.beta is None else options.beta
    loss = soft_bootstrap if options.targets == "soft" else hard_bootstrap
    return [mean_loss_stage(config, partial(loss, beta=beta), options.keep)]
