"""Helpers that several methods share."""

from collections.abc import Callable

from torch import Tensor

from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig
from labelrepair.training.state import Keep

PerSample = Callable[[Tensor, Tensor], Tensor]


def mean_loss_stage(config: TrainingConfig, loss: PerSample, keep: Keep = "last") -> Stage:
    """One stage, one network, the mean of a per-sample loss ``(logits, labels) -> (B,)``."""

    def step(logits: Tensor, batch: Batch, _run: Run) -> Step:
        return Step(loss(logits[0], batch.labels).mean())

    def val_loss(logits: Tensor, labels: Tensor, _run: Run) -> Tensor:
        return loss(logits, labels)

    return Stage("train", config.schedule, step, keep=keep, val_loss=val_loss)


def known_noise_rate(rate: float | None, noise: NoiseEstimate | None, method: str) -> float:
    """Return the option's noise rate, else the estimated one.

    Raises:
        ConfigError: neither is there.
    """
    if rate is not None:
        return rate
    if noise is None:
        raise ConfigError(
            f"noise_rate: {method} needs it; run the estimation pipeline first or set it"
        )
    return noise.noise_rate
