"""JoCoR: Wei et al., "Combating noisy labels by agreement" (CVPR 2020).

Two networks, one loss per sample: ``(1 - lambda)(CE1 + CE2) + lambda (KL(p1||p2) + KL(p2||p1))``
(equations 1 to 3); each batch keeps its small-loss rows (equations 4 and 5) by a forget rate that
rises to the noise rate, and both networks learn from the same rows (algorithm 1).

``selected``: the rows with the smallest joint loss over the whole set in a final clean pass, as
many as the noise rate leaves.

Deviations: training starts in epoch 0 (their code only evaluates there); epochs are whole (their
code stops after 401 batches); the noise rate is estimated unless the option is set, and the two-way
halving of their code for asymmetric noise follows from using the realised rate; Adam's beta1 drops
to 0.1 with the decay in the presets, as in their code, not in the text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from labelrepair import losses
from labelrepair.config import in_unit_interval
from labelrepair.estimation import NoiseEstimate
from labelrepair.methods._common import CO_TRAINING, SmallLossOptions, select_smallest
from labelrepair.selection import keep_count, smallest
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig

TRAINING: Mapping[str, Any] = CO_TRAINING


@dataclass(frozen=True)
class Options(SmallLossOptions):
    """Options of JoCoR, beside those of small-loss selection.

    Attributes:
        co_lambda: weight of the co-regularisation; 0 = Joint-only.
    """

    co_lambda: float = 0.95

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        in_unit_interval(co_lambda=self.co_lambda)


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single two-network stage."""
    forget = options.forget(noise)

    def step(logits: Tensor, batch: Batch, run: Run) -> Step:
        loss = joint(logits, batch.labels)
        count = max(1, keep_count(len(batch.labels), forget.at(run.epoch)))
        kept, used = smallest(loss, count)
        return Step(loss[kept].mean(), used=used)

    def joint(logits: Tensor, labels: Tensor) -> Tensor:
        return losses.jocor(logits[0], logits[1], labels, options.co_lambda)

    after = select_smallest(forget.noise_rate, joint)
    return [Stage("train", config.schedule, step, networks=2, after_stage=after)]
