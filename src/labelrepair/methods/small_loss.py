"""Standard+: one network with small-loss selection, an ablation of JoCoR (Wei et al. 2020).

Section 4.3. Each step keeps the m rows of smallest cross entropy of the one network and learns
from their mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import cross_entropy
from labelrepair.methods._common import CO_TRAINING, SmallLossOptions, select_smallest
from labelrepair.selection import keep_count, smallest
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig

TRAINING: Mapping[str, Any] = CO_TRAINING


@dataclass(frozen=True)
class Options(SmallLossOptions):
    """The options of small-loss selection."""


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single stage."""
    forget = options.forget(noise)

    def step(logits: Tensor, batch: Batch, run: Run) -> Step:
        loss = cross_entropy(logits[0], batch.labels)
        kept, used = smallest(loss, max(1, keep_count(len(loss), forget.at(run.epoch))))
        return Step(loss[kept].mean(), used=used)

    after = select_smallest(forget.noise_rate, lambda z, y: cross_entropy(z[0], y))
    return [Stage("train", config.schedule, step, after_stage=after)]
