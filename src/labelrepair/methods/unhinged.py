"""Unhinged loss, ``1 - o_y``: van Rooyen et al. (2015), as Patrini et al. (CVPR 2017) use it.

Linear in the scores and unbounded, so the outputs pass a batch normalisation and no softmax
(``batch_norm_head`` of the network). The reduction over the C outputs follows the code of Patrini
et al.: the mean, ``1 - o_y / C`` (the text gives no formula); ``sum`` leaves the 1/C out.

The class probabilities for the label table are the softmax of the scores: their order is the
method's, their size is not a probability, and scoring's temperature has to make up for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import unhinged
from labelrepair.methods._common import SCORES_TRAINING, mean_loss_stage
from labelrepair.training import Stage, TrainingConfig
from labelrepair.training.state import Keep

TRAINING: Mapping[str, Any] = SCORES_TRAINING


@dataclass(frozen=True)
class Options:
    """Options.

    Attributes:
        reduction: over the C outputs, ``mean`` (code) or ``sum``.
        keep: which weights leave the training, by noisy validation.
    """

    reduction: Literal["mean", "sum"] = "mean"
    keep: Keep = "best_val_loss"


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single stage."""
    del noise
    loss = partial(unhinged, reduction=options.reduction)
    return [mean_loss_stage(config, loss, options.keep)]
