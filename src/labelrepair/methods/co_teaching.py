"""Co-teaching: Han et al. (NeurIPS 2018). Each network learns from the small losses of the other.

``S1``, ``S2``: the m rows of smallest cross entropy under network 1 and 2; network 1 steps on the
mean over S2, network 2 on the mean over S1 (their algorithm 1).

Deviations: the mean is divided once (their code divides it by m again, which Adam nearly cancels:
``divide_again``); training starts in epoch 0; the noise rate is estimated unless set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import cross_entropy
from labelrepair.methods._common import (
    CO_TRAINING,
    SmallLossOptions,
    select_smallest,
    stacked_losses,
)
from labelrepair.selection import keep_count, smallest
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig

TRAINING: Mapping[str, Any] = CO_TRAINING


@dataclass(frozen=True)
class Options(SmallLossOptions):
    """Options, beside those of small-loss selection.

    Attributes:
        divide_again: divide the mean over the m rows by m once more.
    """

    divide_again: bool = False


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single two-network stage."""
    forget = options.forget(noise)

    def step(logits: Tensor, batch: Batch, run: Run) -> Step:
        loss = stacked_losses(logits, batch.labels, cross_entropy)
        return cross_update(loss, forget.at(run.epoch), divide_again=options.divide_again)

    after = select_smallest(forget.noise_rate, joint_loss)
    return [Stage("train", config.schedule, step, networks=2, after_stage=after)]


def cross_update(loss: Tensor, forget_rate: float, *, divide_again: bool = False) -> Step:
    """Let each network learn from the other's smallest losses, float ``(2, B)``."""
    count = max(1, keep_count(loss.shape[1], forget_rate))
    first, of_first = smallest(loss[0], count)
    second, of_second = smallest(loss[1], count)
    total = loss[0][second].mean() + loss[1][first].mean()
    return Step(total / count if divide_again else total, used=torch.stack([of_second, of_first]))


def joint_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``(N,)``, the sum of both networks' cross entropies."""
    return stacked_losses(logits, labels, cross_entropy).sum(0)
