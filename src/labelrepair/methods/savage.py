"""Savage loss: Masnadi-Shirazi and Vasconcelos (2009), as Patrini et al. (CVPR 2017) use it.

On softmax probabilities, the mean over classes of ``1 / (1 + exp(2 e_j f_j))^2`` with 0/1
targets: that is what their code computes; the original loss is binary, on unbounded margins. Its
gradients are tiny, which AdaGrad hides and SGD does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import savage
from labelrepair.methods._common import ADAGRAD_TRAINING, mean_loss_stage
from labelrepair.training import Stage, TrainingConfig
from labelrepair.training.state import Keep

TRAINING: Mapping[str, Any] = ADAGRAD_TRAINING


@dataclass(frozen=True)
class Options:
    """Options.

    Attributes:
        reduction: over the classes, ``mean`` (code) or ``sum``.
        keep: which weights leave the training, by noisy validation.
    """

    reduction: Literal["mean", "sum"] = "mean"
    keep: Keep = "best_val_loss"


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single stage."""
    del noise
    loss = partial(savage, reduction=options.reduction)
    return [mean_loss_stage(config, loss, options.keep)]
