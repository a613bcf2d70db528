"""Out-of-sample class probabilities: a short, plain training per fold."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from labelrepair.config import require
from labelrepair.errors import ConfigError
from labelrepair.losses import cross_entropy
from labelrepair.networks.features import Features
from labelrepair.training.batches import Batch, TrainSet
from labelrepair.training.config import TrainingConfig
from labelrepair.training.loop import BuildNetwork, train
from labelrepair.training.seeds import derive_seed, generator
from labelrepair.training.state import Run, Stage, Step

logger = logging.getLogger(__name__)
PATIENCE = 10.0  # seconds without a word


@dataclass(frozen=True)
class ProbeSpec:
    """Cross-validation of the probe.

    Attributes:
        folds: number of parts; each is predicted by a network that did not see it.
        training: loop settings; few epochs, so that the networks learn classes and not rows.
    """

    folds: int = 5
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.folds >= 2, f"folds: must be at least 2, found {self.folds}")


def cross_validated_probs(
    features: Features,
    given_labels: Tensor,
    num_classes: int,
    build_network: BuildNetwork,
    spec: ProbeSpec,
    seed: int,
    only: Sequence[int] | None = None,
) -> Tensor:
    """Predict every row with a network that was trained on the others.

    Args:
        features: as in :class:`TrainSet`, N rows.
        given_labels: int64 ``(N,)``.
        num_classes: C.
        build_network: makes one network.
        spec: folds and loop settings.
        seed: decides folds and training.
        only: the folds to train, 0-based; None = all.

    Returns:
        Float32 ``(N, C)``: out-of-sample estimates of P(given = j | features); 0 in rows of folds
        that are left out.

    Raises:
        ConfigError: fewer rows than folds.
    """
    count = len(given_labels)
    if count < spec.folds:
        raise ConfigError(f"folds: {spec.folds} folds need at least as many rows, found {count}")
    probs = torch.zeros(count, num_classes)
    began = told = time.monotonic()
    chosen = range(spec.folds) if only is None else only
    parts = _folds(given_labels, spec.folds, seed)
    for done, fold in enumerate(chosen, start=1):
        held_out = parts[fold]
        rows = torch.ones(count, dtype=torch.bool).index_fill_(0, held_out, False)
        data = TrainSet(features, given_labels, num_classes, rows.nonzero()[:, 0], held_out[:0])
        stage = Stage("probe", spec.training.schedule, _step, after_stage=_predict(held_out))
        result = train(
            data,
            [stage],
            build_network,
            spec.training,
            seed=derive_seed(seed, "probe", fold),
            progress=False,
        )
        probs[held_out] = result.shared["held_out"]
        now = time.monotonic()
        if now - told >= PATIENCE:
            told = now
            so_far = (done, len(chosen), now - began)
            logger.info("out-of-sample predictions: %d of %d folds, %.0f s", *so_far)
    return probs


def _folds(given_labels: Tensor, folds: int, seed: int) -> Sequence[Tensor]:
    """Split rows at random into parts of equal class shares."""
    shuffled = torch.randperm(len(given_labels), generator=generator("cpu", seed, "folds"))
    by_class = shuffled[torch.sort(given_labels[shuffled].cpu(), stable=True).indices]
    return [by_class[fold::folds] for fold in range(folds)]


def _step(logits: Tensor, batch: Batch, _run: Run) -> Step:
    return Step(cross_entropy(logits[0], batch.labels).mean())


def _predict(held_out: Tensor) -> Callable[[Run], None]:
    def after_stage(run: Run) -> None:
        rows = held_out.to(run.data.given_labels.device)
        logits = run.predict_logits(rows=rows)
        run.samples.shared["held_out"] = logits[0].softmax(-1)

    return after_stage
