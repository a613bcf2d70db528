"""Loss correction: Patrini et al., "Making deep neural networks robust to label noise" (CVPR 2017).

Forward: ``-log (f T)_y`` (theorem 2); backward: ``sum_j T^-1[y, j] (-log f_j)`` (theorem 1). With
an estimated T: train on the given labels, read T off anchor points (equations 12 and 13), train
again.

Deviations: the anchor rule copies its column instead of overwriting the probabilities (a defect of
the authors' code); nothing is clipped unless ``clip`` is set (their code clips to 1e-7, as Keras
needs); the logarithm of ``f T`` is taken in log space.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from labelrepair import losses
from labelrepair.config import in_unit_interval, positive, require
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate, anchor_transition
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig
from labelrepair.training.state import Keep
from labelrepair.transition import Floats, check_reachable, invert_transition, warn_if_doubtful

TRAINING: Mapping[str, Any] = {
    "optimizer": {"name": "adagrad", "eps": 1e-6},
    "schedule": {"epochs": 40, "lr": 0.01},
    "validation_fraction": 0.1,
}


@dataclass(frozen=True)
class Options:
    """Options of loss correction.

    Attributes:
        direction: ``forward`` or ``backward``.
        transition: ``anchor`` trains twice and estimates T in between, as the paper does;
            ``given`` takes the matrix that the estimation pipeline (or the user) hands over.
        quantile: percentile of the anchor points, 0.97 in the paper; None = argmax (many classes).
        rule: which row that is, ``code`` or ``at``, see :func:`anchor_transition`.
        identity_mix: a in ``a I + (1 - a) T``, against ill conditioning, wherever T comes from.
        warm_start: go on from the first network instead of a fresh one.
        clip: lower bound of probabilities in the backward loss, e.g. 1e-7; None = exact.
        keep: which weights leave each training; the paper's are those of the lowest loss on the
            noisy validation rows, the corrected loss for the corrected training.
    """

    direction: Literal["forward", "backward"] = "forward"
    transition: Literal["anchor", "given"] = "anchor"
    quantile: float | None = 0.97
    rule: Literal["code", "at"] = "code"
    identity_mix: float = 0.0
    warm_start: bool = False
    clip: float | None = None
    keep: Keep = "best_val_loss"

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(quantile=self.quantile, identity_mix=self.identity_mix)
        positive(clip=self.clip)
        require(self.clip is None or self.clip < 0.5, f"clip: must be < 0.5, found {self.clip}")


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the corrected training, preceded by the plain one if T is to be estimated.

    Raises:
        ConfigError: ``transition: given`` without a matrix.
        TransitionError: when the corrected stage begins, if the mixed T cannot be inverted
            (backward) or rules out a label that occurs (forward).
    """

    def step(logits: Tensor, batch: Batch, run: Run) -> Step:
        return Step(corrected(logits[0], batch.labels, run).mean())

    def corrected(logits: Tensor, labels: Tensor, run: Run) -> Tensor:
        operand = run.samples.shared["operand"]
        if options.direction == "forward":
            return losses.forward_corrected_with_log(logits, labels, operand)
        return losses.backward_corrected_with_inverse(logits, labels, operand, clip=options.clip)

    def prepare(run: Run) -> None:
        if options.transition == "given":
            run.samples.shared["transition"] = mixed(_given(noise).transition)
        transition = run.samples.shared["transition"].cpu().numpy()
        if options.direction == "forward":
            labels = run.data.given_labels.cpu().numpy()
            check_reachable(transition, np.bincount(labels, minlength=len(transition)))
            operand = torch.from_numpy(transition).log()
        else:
            operand = torch.from_numpy(invert_transition(transition))
        run.samples.shared["operand"] = operand.to(run.samples.probs)

    def estimate(run: Run) -> None:
        probs = run.predict_probs().double().cpu().numpy()
        found = anchor_transition(probs, options.quantile, rule=options.rule)
        run.samples.shared["transition"] = mixed(found)
        warn_if_doubtful(run.samples.shared["transition"].numpy())

    def mixed(transition: Floats) -> Tensor:
        share = options.identity_mix
        return torch.from_numpy(share * np.eye(len(transition)) + (1 - share) * transition)

    correction = Stage(
        f"{options.direction}_corrected",
        config.schedule,
        step,
        keep=options.keep,
        val_loss=corrected,
        before_stage=prepare,
    )
    if options.transition == "given":
        _given(noise)
        return [correction]
    plain = Stage("plain", config.schedule, _plain_step, keep=options.keep, after_stage=estimate)
    return [plain, replace(correction, start="carry" if options.warm_start else "restart")]


def _plain_step(logits: Tensor, batch: Batch, _run: Run) -> Step:
    return Step(losses.cross_entropy(logits[0], batch.labels).mean())


def _given(noise: NoiseEstimate | None) -> NoiseEstimate:
    if noise is None:
        raise ConfigError("transition: 'given' needs the estimation pipeline's matrix; found none")
    return noise
