"""JoCoR: Wei et al., "Combating noisy labels by agreement" (CVPR 2020).

Two networks, one loss per sample: ``(1 - lambda)(CE1 + CE2) + lambda (KL(p1||p2) + KL(p2||p1))``
(equations 1 to 4); each batch keeps its small-loss rows (equation 5) by a forget rate that rises to
the noise rate, and both networks learn from the same rows (algorithm 1).

``selected``: the rows with the smallest joint loss over the whole set in a final clean pass, as
many as the noise rate leaves.

Deviations: training starts in epoch 0 (their code only evaluates there); epochs are whole (their
code stops after 401 batches); the noise rate is estimated unless the option is set, and the two-way
halving of their code for asymmetric noise follows from using the realised rate; Adam's beta1 drops
to 0.1 with the decay in the presets, as in their code, not in the text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from labelrepair import losses
from labelrepair.config import in_unit_interval, positive
from labelrepair.estimation import NoiseEstimate
from labelrepair.methods._common import known_noise_rate
from labelrepair.selection import ForgetSchedule, keep_count, smallest
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig, epochs_field

TRAINING: Mapping[str, Any] = {
    "schedule": {"epochs": 200, "lr": 0.001, "decay_from": 80, "beta1_after": 0.1},
    "drop_last": True,
}


@dataclass(frozen=True)
class Options:
    """Options of JoCoR.

    Attributes:
        co_lambda: weight of the co-regularisation; 0 = Joint-only.
        noise_rate: tau; None = the estimated rate. Set it only in presets named oracle.
        ramp: T_k, epochs over which the forget rate rises.
        forget_schedule: ``code`` or ``paper``, see :class:`labelrepair.selection.ForgetSchedule`.
    """

    co_lambda: float = 0.95
    noise_rate: float | None = None
    ramp: int = epochs_field(10)
    forget_schedule: Literal["code", "paper"] = "code"

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(co_lambda=self.co_lambda, noise_rate=self.noise_rate)
        positive(ramp=self.ramp)


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single two-network stage."""
    tau = known_noise_rate(options.noise_rate, noise, "jocor")
    forget = ForgetSchedule(tau, options.ramp, options.forget_schedule)

    def step(logits: Tensor, batch: Batch, run: Run) -> Step:
        loss = losses.jocor(logits[0], logits[1], batch.labels, options.co_lambda)
        count = max(1, keep_count(len(batch.labels), forget.at(run.epoch)))
        kept, used = smallest(loss, count)
        return Step(loss[kept].mean(), used=used)

    def select(run: Run) -> None:
        logits = run.predict_logits()
        loss = losses.jocor(logits[0], logits[1], run.data.given_labels, options.co_lambda)
        _, believed = smallest(loss, max(1, keep_count(len(loss), tau)))
        run.samples.shared["selected"] = believed

    return [Stage("train", config.schedule, step, networks=2, after_stage=select)]
