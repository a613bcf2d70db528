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
class; the estimated rate misses most samples of no class, as they resemble none: set ``noise_rate``
where such are expected. The probability is Kriegel's Gaussian scaling,
``max(0, erf((s - mean) / (sqrt(2) std)))``. ``warmup``, ``contrast`` and ``neighbours`` were chosen
on 4,000 rows of MNIST with Fashion-MNIST's images among them.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import LocalOutlierFactor
from torch import Tensor
from torch.nn import functional

from labelrepair.config import in_unit_interval, positive, require
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import cross_entropy
from labelrepair.networks.penultimate import last_linear, penultimate
from labelrepair.selection import keep_count
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig, epochs_field
from labelrepair.training.state import Keep

TRAINING: Mapping[str, Any] = {"schedule": {"epochs": 100, "lr": 0.001, "decay_from": 50}}
MOST_NEIGHBOURS = 3000  # bounds memory: a class of n rows takes 16 n k bytes
CEILING = 1e6  # outlier factors among copies of one sample are infinite


@dataclass(frozen=True)
class Options:
    """Options of the iterative method.

    Attributes:
        warmup: epochs of plain cross entropy before the first detection.
        every: epochs between detections.
        neighbours: of the local outlier factor; None = half of the class's rows (at most 3000).
            Wrong rows that are alike lie together, and look usual unless this exceeds their number.
        noise_rate: share of rows called noisy; None = the estimated rate. Set it only in presets
            named oracle.
        contrast: weight of the contrastive term.
        margin: distance that noisy rows are pushed to, of features of unit length, in (0, 2].
        keep: which weights leave the training, by noisy validation.
    """

    warmup: int = epochs_field(2)
    every: int = epochs_field(5)
    neighbours: int | None = None
    noise_rate: float | None = None
    contrast: float = 1.0
    margin: float = 1.0
    keep: Keep = "last"

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(noise_rate=self.noise_rate)
        positive(every=self.every, neighbours=self.neighbours, margin=self.margin)
        require(self.warmup >= 0, f"warmup: must be >= 0, found {self.warmup}")
        require(self.contrast >= 0, f"contrast: must be >= 0, found {self.contrast}")
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
            _detect(run, rate, options.neighbours)
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
        contrast = contrastive(seen.pop().float(), batch.labels, clean, options.margin)
        active = (run.samples.shared["detections"] > 0).to(fit)
        loss = fit + options.contrast * active * contrast
        return Step(loss, used=clean, log={"fit": fit, "contrast": contrast})

    def finish(run: Run) -> None:
        _detect(run, rate, options.neighbours)
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
    unit = functional.normalize(features, dim=1)
    square = (2.0 - 2.0 * unit @ unit.t()).clamp_min(1e-8)
    alike = labels[:, None] == labels[None, :]
    apart = 1.0 - torch.eye(len(labels), device=labels.device, dtype=unit.dtype)
    together = alike & clean[:, None] & clean[None, :]
    against = alike & (clean[:, None] ^ clean[None, :])
    pushed = (margin - square.sqrt()).clamp_min(0).square()
    total = ((together * square + against * pushed) * apart).sum()
    return total / ((together | against) * apart).sum().clamp_min(1)


def outlier_factors(
    features: np.ndarray[Any, Any], neighbours: int | None = None
) -> np.ndarray[Any, Any]:
    """Return the local outlier factor of each row of ``(n, d)``; 1 is usual, larger is odd."""
    if len(features) < 3:
        return np.ones(len(features))
    wanted = min(len(features) // 2, MOST_NEIGHBOURS) if neighbours is None else neighbours
    model = LocalOutlierFactor(n_neighbors=min(wanted, len(features) - 1))
    with warnings.catch_warnings():  # of copies of one sample, whose infinite factors are cut
        warnings.filterwarnings("ignore", "Duplicate values", UserWarning)
        model.fit(features)
    return np.asarray(np.minimum(-model.negative_outlier_factor_, CEILING))


def _detect(run: Run, rate: float, neighbours: int | None) -> None:
    """Tell clean from noisy rows by the outlier factors cumulated so far."""
    shared, labels = run.samples.shared, run.data.given_labels
    features = penultimate(run.networks[0], run.normalizer, run.data.features).cpu().numpy()
    given = labels.cpu().numpy()
    factors = shared["outlier_factor"].cpu().double().numpy()
    weight, clean = np.ones(len(given)), np.ones(len(given), dtype=bool)
    count = float(shared["detections"]) + 1
    for label in range(run.data.num_classes):
        rows = np.flatnonzero(given == label)
        if len(rows) == 0:
            continue
        factors[rows] += (outlier_factors(features[rows], neighbours) - factors[rows]) / count
        order = rows[np.argsort(factors[rows], kind="stable")]
        noisy = order[keep_count(len(rows), rate) :]
        clean[noisy] = False
        weight[noisy] = 1.0 - _probabilities(factors[rows])[np.searchsorted(rows, noisy)]
    shared["outlier_factor"] = torch.from_numpy(factors).to(run.samples.probs)
    shared["detections"] = torch.tensor(count).to(run.samples.probs)
    shared["clean"] = torch.from_numpy(clean).to(labels.device)
    run.samples.weight = torch.from_numpy(weight).to(run.samples.probs)


def _probabilities(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return Kriegel's Gaussian scaling of outlier scores to [0, 1]."""
    spread = scores.std()
    if spread == 0:
        return np.zeros(len(scores))
    scaled = torch.from_numpy((scores - scores.mean()) / (spread * math.sqrt(2.0)))
    return np.asarray(torch.erf(scaled).clamp_min(0).numpy())


def _weight(run: Run) -> Tensor:
    if run.samples.weight is None:
        raise RuntimeError("the stage has not begun")
    return run.samples.weight
