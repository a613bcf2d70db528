"""Co-teaching+: Yu et al. (ICML 2019). Co-teaching among the rows that the networks disagree on.

Deviations from their code: after the warm-up it applies softmax twice (``double_softmax`` does
the same, since published numbers may contain it); it divides the mean by m again
(``divide_again``); it loses the row of data-set index 0; and on an empty disagreement it learns
from the whole batch while epoch times batch is below 5,000 (``agreement: whole_batch``), where this
one skips the step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from labelrepair.config import require
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import cross_entropy
from labelrepair.methods._common import (
    CO_TRAINING,
    SmallLossOptions,
    select_smallest,
    stacked_losses,
)
from labelrepair.methods.co_teaching import cross_update, joint_loss
from labelrepair.selection import smallest_among
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig, epochs_field

TRAINING: Mapping[str, Any] = CO_TRAINING
EARLY = 5_000  # epoch times batch, of their code


@dataclass(frozen=True)
class Options(SmallLossOptions):
    """Options, beside those of small-loss selection.

    Attributes:
        warmup: epochs of plain Co-teaching first (0 MNIST, 20 CIFAR-10, 5 CIFAR-100).
        double_softmax: after the warm-up, take cross entropy of the softmax of softmax outputs.
        agreement: what a batch without disagreement teaches: nothing, or cross entropy of all its
            rows while epoch times batch, both from 1, is below 5,000.
        divide_again: divide the mean over the m rows by m once more.
    """

    warmup: int = epochs_field(0)
    double_softmax: bool = False
    agreement: Literal["skip", "whole_batch"] = "skip"
    divide_again: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        require(self.warmup >= 0, f"warmup: must be >= 0, found {self.warmup}")


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single two-network stage."""
    forget = options.forget(noise)
    batches = 0

    def count_anew(_run: Run) -> None:
        nonlocal batches
        batches = 0

    def step(logits: Tensor, batch: Batch, run: Run) -> Step:
        nonlocal batches
        batches += 1
        rate = forget.at(run.epoch)
        if run.epoch < options.warmup:
            loss = stacked_losses(logits, batch.labels, cross_entropy)
            return cross_update(loss, rate, divide_again=options.divide_again)
        outputs = logits.softmax(-1) if options.double_softmax else logits
        loss = stacked_losses(outputs, batch.labels, cross_entropy)
        predicted = logits.detach().argmax(-1)
        disagree = predicted[0] != predicted[1]
        used = torch.stack([smallest_among(loss[k], disagree, rate) for k in (1, 0)])
        counts = used.sum(1).clamp_min(1)
        divisor = counts**2 if options.divide_again else counts
        total, skip = ((loss * used).sum(1) / divisor).sum(), ~disagree.any()
        if options.agreement == "whole_batch" and (run.epoch + 1) * batches < EARLY:
            plain = stacked_losses(logits, batch.labels, cross_entropy).mean(1).sum()
            return Step(torch.where(skip, plain, total), used=used | skip)
        return Step(total, used=used, skip=skip)

    after = select_smallest(forget.noise_rate, joint_loss)
    return [
        Stage(
            "train",
            config.schedule,
            step,
            networks=2,
            before_epoch=count_anew,
            after_stage=after,
        )
    ]
