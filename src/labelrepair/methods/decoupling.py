"""Decoupling "when to update" from "how to update": Malach and Shalev-Shwartz (NeurIPS 2017).

Two networks; each steps on its own cross entropy over the rows D where their predictions differ,
the sum divided by ``max(least * B, |D|)``, ``least`` 0.1 in the authors' code. An empty D changes
nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from labelrepair.config import in_unit_interval, require
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import cross_entropy
from labelrepair.methods._common import CO_TRAINING, stacked_losses
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig, epochs_field

TRAINING: Mapping[str, Any] = CO_TRAINING


@dataclass(frozen=True)
class Options:
    """Options of Decoupling.

    Attributes:
        warmup: epochs that learn from all rows first (0 in the authors' code).
        least: the sum is divided by this share of the batch where D is smaller, in [0, 1]; 0 = the
            plain mean over D.
    """

    warmup: int = epochs_field(0)
    least: float = 0.1

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.warmup >= 0, f"warmup: must be >= 0, found {self.warmup}")
        in_unit_interval(least=self.least)


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single two-network stage."""
    del noise

    def step(logits: Tensor, batch: Batch, run: Run) -> Step:
        loss = stacked_losses(logits, batch.labels, cross_entropy)
        if run.epoch < options.warmup:
            return Step(loss.mean(1).sum())
        predicted = logits.detach().argmax(-1)
        disagree = predicted[0] != predicted[1]
        count = disagree.sum()
        total = (loss * disagree).sum() / count.clamp_min(
            max(1.0, options.least * len(batch.labels))
        )
        return Step(total, used=disagree, skip=count == 0)

    return [Stage("train", config.schedule, step, networks=2)]
