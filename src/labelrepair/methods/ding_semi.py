"""A semi-supervised two-stage approach: Ding et al. (arXiv 1802.02679, 2018).

Stage 1 trains with cross entropy on the given labels and keeps as reliable the rows whose given
label the network is most confident in. Stage 2 drops the labels of the others and learns
semi-supervised with a fresh network: cross entropy on the reliable rows, and on all rows the
squared difference to a target that remembers earlier predictions (temporal ensembling, Laine and
Aila 2017).

``Z <- m Z + (1 - m) f`` after each epoch, target ``Z / (1 - m^t)``; weight of the consistency term
``w (n reliable / n) exp(-5 (1 - min(1, t / ramp))^2)``.

Deviations: the paper was not at hand, only what others say of it, so that the rule of stage 1 and
all constants are ours or Laine and Aila's: the reliable rows are the share ``1 - noise rate`` of
highest confidence (estimated noise rate), or those over ``threshold``. Stage 1 is short, because a
network that has memorised its labels is confident in all of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from labelrepair.config import in_unit_interval, not_negative, positive, require
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import cross_entropy
from labelrepair.selection import keep_count, smallest
from labelrepair.training import Batch, Run, Schedule, Stage, Step, TrainingConfig, epochs_field
from labelrepair.training.state import Keep

TRAINING: Mapping[str, Any] = {"optimizer": {"name": "adam"}}


@dataclass(frozen=True)
class Options:
    """Options of the two-stage approach.

    Attributes:
        filter: schedule of stage 1.
        semi: schedule of stage 2.
        noise_rate: share of rows that are not reliable; None = the estimated rate. Set it only in
            presets named oracle.
        threshold: least confidence of a reliable row, instead of a share of the rows.
        consistency: w, the largest weight of the consistency term.
        ramp: epochs over which it rises.
        momentum: m of the remembered predictions.
        keep: which weights leave stage 2, by noisy validation.
    """

    filter: Schedule = Schedule(epochs=15, lr=0.001)
    semi: Schedule = Schedule(epochs=150, lr=0.001, decay_from=100)
    noise_rate: float | None = None
    threshold: float | None = None
    consistency: float = 30.0
    ramp: int = epochs_field(40)
    momentum: float = 0.6
    keep: Keep = "last"

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(
            noise_rate=self.noise_rate, threshold=self.threshold, momentum=self.momentum
        )
        require(self.momentum < 1, "momentum: must be less than 1")
        not_negative(consistency=self.consistency)
        positive(ramp=self.ramp)


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the filter and the semi-supervised training.

    Raises:
        ConfigError: neither noise rate nor threshold are there.
    """
    del config
    if options.threshold is None and options.noise_rate is None and noise is None:
        raise ConfigError("noise_rate: needed; run the estimation pipeline, or set it or threshold")

    def plain(logits: Tensor, batch: Batch, _run: Run) -> Step:
        return Step(cross_entropy(logits[0], batch.labels).mean())

    def believe(run: Run) -> None:
        doubt = cross_entropy(run.predict_logits()[0], run.data.given_labels)
        if options.threshold is not None:
            reliable = doubt <= -math.log(max(options.threshold, 1e-30))
        else:
            known = options.noise_rate
            rate = noise.noise_rate if known is None and noise is not None else float(known or 0)
            _, reliable = smallest(doubt, max(1, keep_count(len(doubt), rate)))
        run.samples.shared["selected"] = reliable

    def begin(run: Run) -> None:
        run.samples.targets = torch.zeros_like(run.samples.probs)
        run.samples.shared["consistency"] = torch.zeros((), device=run.samples.probs.device)

    def remember(run: Run) -> None:
        m, done = options.momentum, run.epoch + 1
        targets = _targets(run)
        remembered = m * (1 - m**run.epoch) * targets + (1 - m) * run.samples.probs
        run.samples.targets = remembered / (1 - m**done)
        share = run.samples.shared["selected"][run.data.train_rows].double().mean()
        weight = options.consistency * math.exp(-5 * (1 - min(1.0, done / options.ramp)) ** 2)
        run.samples.shared["consistency"] = (weight * share).to(targets)

    def semi(logits: Tensor, batch: Batch, run: Run) -> Step:
        used = run.samples.shared["selected"][batch.rows]
        supervised = (cross_entropy(logits[0], batch.labels) * used).sum() / used.sum().clamp_min(1)
        distance = (logits[0].softmax(1) - _targets(run)[batch.rows]).square().mean()
        loss = supervised + run.samples.shared["consistency"] * distance
        return Step(loss, used=used, log={"supervised": supervised, "distance": distance})

    return [
        Stage("filter", options.filter, plain, after_stage=believe),
        Stage(
            "semi",
            options.semi,
            semi,
            keep=options.keep,
            every_row=True,
            before_stage=begin,
            after_epoch=remember,
        ),
    ]


def _targets(run: Run) -> Tensor:
    if run.samples.targets is None:
        raise RuntimeError("the stage has not begun")
    return run.samples.targets
