"""Iterative learning with open-set noisy labels: Wang et al. (CVPR 2018).

Three parts in turn. Detection: within each given class, rows whose penultimate features lie where
others of the class are sparse are noisy (local outlier factor, cumulated over the detections so far
and turned into a probability: pcLOF). Contrastive term: features of clean rows of one class attract
each other and repel those of its noisy rows, ``clean-clean: d^2``, ``clean-noisy:
max(0, margin - d)^2``. Reweighting: clean rows count 1 in the cross entropy, noisy rows
``1 - p(outlier)``. Clean and noisy are told apart anew every few epochs.

Deviations: the paper was not at hand, only what others say of it. The pairs of the contrastive term
are those within a batch, on features of unit length, instead of a Siamese network's sampled pairs.
The share of rows that is called noisy is the noise rate (estimated), those of highest pcLOF in each
class. Neighbours are looked for among rows drawn from the class (``references``), not among all of
it. The estimated rate misses most samples of no class, as they resemble none: set ``noise_rate``
where such are expected. The probability is Kriegel's Gaussian scaling,
``max(0, erf((s - mean) / (sqrt(2) std)))``. ``warmup``, ``contrast`` and ``neighbours`` were chosen
on 4,000 rows of MNIST with Fashion-MNIST's images among them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from labelrepair.config import in_unit_interval, not_negative, positive, require, within
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import cross_entropy
from labelrepair.networks.penultimate import last_linear, penultimate
from labelrepair.outliers import outlier_factors
from labelrepair.selection import keep_count
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig, epochs_field
from labelrepair.training.state import Keep

TRAINING: Mapping[str, Any] = {"schedule": {"epochs": 100, "lr": 0.001, "decay_from": 50}}
MOST_REFERENCES = 10_000  # the distances between all of them are in memory at once


@dataclass(frozen=True)
class Options:
    """Options of the iterative method.

    Attributes:
        warmup: epochs of plain cross entropy before the first detection.
        every: epochs between detections.
        neighbours: of the local outlier factor, of all rows of the class; None = half of them.
            Wrong rows that are alike lie together, and look usual unless this exceeds their number.
        references: rows of a class, drawn anew at each detection, among which neighbours are looked
            for, at most 10,000: time and memory grow with the rows, not with their square.
        noise_rate: share of rows called noisy; None = the estimated rate. Set it only in presets
            named oracle.
        contrast: weight of the contrastive term.
        margin: distance that noisy rows are pushed to, of features of unit length, in (0, 2].
        keep: which weights leave the training, by noisy validation.
    """

    warmup: int = epochs_field(2)
    every: int = epochs_field(5)
    neighbours: int | None = None
    references: int = 500
    noise_rate: float | None = None
    contrast: float = 1.0
    margin: float = 1.0
    keep: Keep = "last"

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(noise_rate=self.noise_rate)
        positive(every=self.every, neighbours=self.neighbours)
        positive(margin=self.margin)
        within(1, MOST_REFERENCES, references=self.references)
        require(self.warmup >= 0, f"warmup: must be >= 0, found {self.warmup}")
        not_negative(contrast=self.contrast)
        require(self.margin <= 2, f"margin: must be at most 2, found {self.margin}")


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single stage.

    Raises:
        ConfigError: no noise rate is there.
    """
    if options.noise_rate is None and noise is None:
        raise ConfigError("noise_rate: needed; run the estimation pipeline or set it")
    known = options.noise_rate
    rate = noise.noise_rate if known is None and noise is not None else float(known or 0)
    seen: list[Tensor] = []
    hooks: list[Any] = []

    def begin(run: Run) -> None:
        run.samples.weight = torch.ones_like(run.samples.probs[:, 0])
        run.samples.shared["clean"] = torch.ones_like(run.data.given_labels, dtype=torch.bool)
        run.samples.shared["outlier_factor"] = torch.zeros_like(run.samples.probs[:, 0])
        run.samples.shared["detections"] = torch.zeros_like(run.samples.probs[0, 0])

    def look(run: Run) -> None:
        due = run.epoch >= options.warmup and (run.epoch - options.warmup) % options.every == 0
        if due:
            _detect(run, rate, options)
        layer = last_linear(run.networks[0])
        hooks.append(layer.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0])))

    def unhook(_run: Run) -> None:
        while hooks:
            hooks.pop().remove()
        seen.clear()

    def step(logits: Tensor, batch: Batch, run: Run) -> Step:
        weight = _weight(run)[batch.rows]
        clean = run.samples.shared["clean"][batch.rows]
        fit = (weight * cross_entropy(logits[0], batch.labels)).sum() / len(weight)
        features, contrast = seen.pop(), fit.new_zeros(())
        if run.epoch >= options.warmup:  # detections have begun
            near = contrastive(features.float(), batch.labels, clean, options.margin)
            contrast = options.contrast * near
        return Step(fit + contrast, used=clean, log={"fit": fit, "contrast": contrast})

    def finish(run: Run) -> None:
        _detect(run, rate, options)
        run.samples.shared["selected"] = run.samples.shared["clean"]

    return [
        Stage(
            "train",
            config.schedule,
            step,
            keep=options.keep,
            divisible=False,
            before_stage=begin,
            before_epoch=look,
            after_epoch=unhook,
            after_stage=finish,
        )
    ]


def contrastive(features: Tensor, labels: Tensor, clean: Tensor, margin: float) -> Tensor:
    """Return the mean contrastive loss of the pairs of one class with at least one clean row.

    Args:
        features: ``(B, d)``; scaled to unit length.
        labels: int64 ``(B,)`` given labels.
        clean: bool ``(B,)``.
        margin: see :class:`Options`.
    """
    with torch.no_grad():  # the gradient by hand: autograd's would cost as much as the network's
        length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp_min_(1e-12)
        unit = features / length
        square = torch.addmm(unit.new_full((1,), 2.0), unit, unit.t(), alpha=-2.0)
        distance = square.clamp_min_(1e-8).sqrt()
        kind = 2 * labels + clean  # differs in the last bit alone within a class
        of_clean = torch.where(clean, kind, -1)
        together = (of_clean[:, None] == kind[None, :]).fill_diagonal_(False).to(unit)
        against = ((kind[:, None] ^ 1) == kind[None, :]).to(unit)
        pairs = (together.sum() + against.sum()).clamp_min_(1)
        pushed = (margin - distance).clamp_min_(0).mul_(against)
        loss = ((together * square).sum() + pushed.square().sum()) / pairs
        # d square / d unit_i = -2 unit_j; every pair is there twice.
        gradient = (pushed / distance - together) @ unit * (4.0 / pairs)
        # Along its own length, a feature does not change its unit vector.
        gradient = (gradient - (gradient * unit).sum(1, keepdim=True) * unit) / length
    linear = (gradient * features).sum()
    return linear + (loss - linear).detach()


def _detect(run: Run, rate: float, options: Options) -> None:
    """Tell clean from noisy rows by the outlier factors cumulated so far."""
    shared, labels = run.samples.shared, run.data.given_labels
    features = penultimate(run.networks[0], run.normalizer, run.data.features)
    factors = shared["outlier_factor"]
    weight, clean = torch.ones_like(factors), torch.ones_like(labels, dtype=torch.bool)
    shared["detections"] = shared["detections"] + 1
    for label in range(run.data.num_classes):
        rows = (labels == label).nonzero()[:, 0]
        if len(rows) == 0:
            continue
        drawn = torch.randperm(len(rows), generator=run.generator, device=rows.device)
        found = outlier_factors(features[rows], options.neighbours, drawn[: options.references])
        factors[rows] += (found - factors[rows]) / shared["detections"]
        order = torch.sort(factors[rows], stable=True).indices
        noisy = order[keep_count(len(rows), rate) :]
        clean[rows[noisy]] = False
        weight[rows[noisy]] = 1.0 - _probabilities(factors[rows])[noisy]
    shared["clean"], run.samples.weight = clean, weight


def _probabilities(scores: Tensor) -> Tensor:
    """Return Kriegel's Gaussian scaling of outlier scores to [0, 1]; 0 where all are equal."""
    spread = scores.std(correction=0).clamp_min(torch.finfo(scores.dtype).tiny)
    return torch.erf((scores - scores.mean()) / (spread * math.sqrt(2.0))).clamp_min(0)


def _weight(run: Run) -> Tensor:
    if run.samples.weight is None:
        raise RuntimeError("the stage has not begun")
    return run.samples.weight
