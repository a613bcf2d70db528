"""Helpers that several methods share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from labelrepair.config import in_unit_interval, positive
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.selection import ForgetSchedule, keep_count, smallest
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig, epochs_field
from labelrepair.training.state import Keep

PerSample = Callable[[Tensor, Tensor], Tensor]

# Patrini et al. 2017 on MNIST.
ADAGRAD_TRAINING: Mapping[str, Any] = {
    "optimizer": {"name": "adagrad", "eps": 1e-6},
    "schedule": {"epochs": 40, "lr": 0.01},
    "validation_fraction": 0.1,
}
# The same for losses on scores, which need a batch normalisation over the outputs.
SCORES_TRAINING: Mapping[str, Any] = {
    **ADAGRAD_TRAINING,
    "network": {"options": {"batch_norm_head": True}},
}
# The Co-teaching family: Wei et al. 2020 on MNIST.
CO_TRAINING: Mapping[str, Any] = {
    "schedule": {"epochs": 200, "lr": 0.001, "decay_from": 80, "beta1_after": 0.1},
    "drop_last": True,
}


@dataclass(frozen=True)
class SmallLossOptions:
    """What all methods with small-loss selection share.

    Attributes:
        noise_rate: tau; None = the estimated rate. Set it only in presets named oracle.
        ramp: T_k, epochs over which the forget rate rises.
        forget_schedule: ``code``, ``code_from_one`` or ``paper``, see
            :class:`labelrepair.selection.ForgetSchedule`.
    """

    noise_rate: float | None = None
    ramp: int = epochs_field(10)
    forget_schedule: Literal["code", "code_from_one", "paper"] = "code"

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(noise_rate=self.noise_rate)
        positive(ramp=self.ramp)

    def forget(self, noise: NoiseEstimate | None) -> ForgetSchedule:
        """Return the schedule for the option's noise rate, else the estimated one.

        Raises:
            ConfigError: neither is there.
        """
        if self.noise_rate is None and noise is None:
            raise ConfigError(
                "noise_rate: small-loss selection needs it; run the estimation pipeline or set it"
            )
        tau = noise.noise_rate if self.noise_rate is None and noise else self.noise_rate
        return ForgetSchedule(float(tau or 0.0), self.ramp, self.forget_schedule)


def mean_loss_stage(config: TrainingConfig, loss: PerSample, keep: Keep = "last") -> Stage:
    """One stage, one network, the mean of a per-sample loss ``(logits, labels) -> (B,)``."""

    def step(logits: Tensor, batch: Batch, _run: Run) -> Step:
        return Step(loss(logits[0], batch.labels).mean())

    def val_loss(logits: Tensor, labels: Tensor, _run: Run) -> Tensor:
        return loss(logits, labels)

    return Stage("train", config.schedule, step, keep=keep, val_loss=val_loss)


def select_smallest(noise_rate: float, loss: PerSample) -> Callable[[Run], None]:
    """Return an ``after_stage`` that marks as selected the rows of smallest loss in a clean pass.

    Args:
        noise_rate: share of rows that is left out.
        loss: ``(logits (K, N, C), labels (N,)) -> (N,)``.
    """

    def select(run: Run) -> None:
        values = loss(run.predict_logits(), run.data.given_labels)
        _, believed = smallest(values, max(1, keep_count(len(values), noise_rate)))
        run.samples.shared["selected"] = believed

    return select


def stacked_losses(logits: Tensor, labels: Tensor, loss: PerSample) -> Tensor:
    """Return ``(K, B)``: a per-sample loss of each network's logits ``(K, B, C)``."""
    return torch.stack([loss(one, labels) for one in logits])
