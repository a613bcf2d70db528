"""Sigmoid loss: Ghosh et al. (2015), as Patrini et al. (CVPR 2017) use it.

The outputs pass a batch normalisation and no softmax (``batch_norm_head`` of the network). The
reduction over the C outputs follows the code of Patrini et al.: the mean over outputs of
``sigmoid(-e_j o_j)`` (the text gives no formula).

The class probabilities for the label table are the softmax of the scores: their order is the
method's, their size is not a probability, and scoring's temperature has to make up for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from labelrepair.config import positive
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import sigmoid
from labelrepair.methods._common import SCORES_TRAINING, mean_loss_stage
from labelrepair.training import Stage, TrainingConfig
from labelrepair.training.state import Keep

TRAINING: Mapping[str, Any] = SCORES_TRAINING


@dataclass(frozen=True)
class Options:
    """Options.

    Attributes:
        beta: steepness, > 0.
        reduction: over the C outputs, ``mean`` (code) or ``sum``.
        keep: which weights leave the training, by noisy validation.
    """

    beta: float = 1.0
    reduction: Literal["mean", "sum"] = "mean"
    keep: Keep = "best_val_loss"

    def __post_init__(self) -> None:
        """Check ranges."""
        positive(beta=self.beta)


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single stage."""
    del noise
    loss = partial(sigmoid, beta=options.beta, reduction=options.reduction)
    return [mean_loss_stage(config, loss, options.keep)]
