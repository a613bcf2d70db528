"""Generalized cross entropy: Zhang and Sabuncu (NeurIPS 2018).

``L_q = (1 - f_y^q) / q`` (equation 6), MAE (section 3.1), and truncated L_q (equation 9) by
alternating convex search (equation 12): prune the rows with ``f_y <= k``, train on the others.

Deviations: the loss is divided by the batch size B, pruned rows included, as in the unofficial code
(unbiased for the objective over n; its author found the sum unstable); ``divide_by: kept`` divides
by the kept rows. Pruning predicts in eval mode without augmentation, with the weights of the best
epoch on *noisy validation* so far, as the paper says; the unofficial code uses the test split.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from labelrepair import losses
from labelrepair.config import in_unit_interval, positive, require
from labelrepair.estimation import NoiseEstimate
from labelrepair.methods._common import PerSample, mean_loss_stage
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig, epochs_field
from labelrepair.training.state import Keep

logger = logging.getLogger(__name__)

TRAINING: Mapping[str, Any] = {
    # Not the paper's SGD: the loss starts so flat that small sets have too few steps to move.
    "schedule": {"epochs": 120, "lr": 0.001, "milestones": [40, 80]},
    "normalize": "pixel_mean",
    "validation_fraction": 0.1,
}


@dataclass(frozen=True)
class Options:
    """Options of the L_q family.

    Attributes:
        loss: ``lq``, ``mae`` (2 - 2 f_y) or ``truncated_lq``.
        q: 0 < q <= 1; q -> 0 is cross entropy, q = 1 half of MAE.
        k: truncation threshold on the probability of the given label, in [0, 1).
        prune_from: first pruning happens before this epoch.
        prune_every: and then every so many epochs.
        divide_by: ``batch`` or ``kept``.
        keep: the paper reports the weights of the best noisy-validation accuracy.
    """

    loss: Literal["lq", "mae", "truncated_lq"] = "lq"
    q: float = 0.7
    k: float = 0.5
    prune_from: int = epochs_field(40)
    prune_every: int = epochs_field(10)
    divide_by: Literal["batch", "kept"] = "batch"
    keep: Keep = "best_val_accuracy"

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(q=self.q, k=self.k)
        require(self.k < 1, "k: must be less than 1, or every row is pruned")
        require(self.prune_from >= 0, f"prune_from: must be >= 0, found {self.prune_from}")
        positive(q=self.q, prune_every=self.prune_every)


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single stage."""
    del noise
    if options.loss == "truncated_lq":
        return [_truncated(options, config)]
    loss: PerSample = losses.mean_absolute_error
    if options.loss == "lq":
        loss = partial(losses.generalized_cross_entropy, q=options.q)
    return [mean_loss_stage(config, loss, options.keep)]


def _truncated(options: Options, config: TrainingConfig) -> Stage:
    q, k = options.q, options.k
    if options.prune_from >= config.schedule.epochs:
        logger.warning(
            "prune_from: %d of %d epochs: no row is ever pruned, which is the loss 'lq'",
            options.prune_from,
            config.schedule.epochs,
        )
    at_threshold = (1 - k**q) / q  # L_q(k); no gradient, kept so that the loss shown is the paper's
    log_k = math.log(k) if k > 0 else -math.inf

    def start(run: Run) -> None:
        run.samples.weight = torch.ones_like(run.samples.probs[:, 0])

    def prune(run: Run) -> None:
        due = run.epoch >= options.prune_from
        if due and (run.epoch - options.prune_from) % options.prune_every == 0:
            run.samples.weight = believed(run, "best").to(run.samples.probs)

    def believed(run: Run, weights: Literal["current", "best"]) -> Tensor:
        log_probs = run.predict_logits(weights=weights)[0].log_softmax(-1)
        return log_probs.gather(1, run.data.given_labels[:, None])[:, 0] > log_k

    def step(logits: Tensor, batch: Batch, run: Run) -> Step:
        weight = _weight(run)[batch.rows]
        loss = losses.generalized_cross_entropy(logits[0], batch.labels, q) - at_threshold
        total = (weight * loss).sum()
        if options.divide_by == "batch":
            return Step(total / len(batch.labels), used=weight > 0)
        kept = weight.sum()
        return Step(total / kept.clamp_min(1), used=weight > 0, skip=kept == 0)

    def finish(run: Run) -> None:
        run.samples.shared["selected"] = believed(run, "current")

    return Stage(
        "train",
        config.schedule,
        step,
        keep=options.keep,
        val_loss=lambda z, y, _run: losses.generalized_cross_entropy(z, y, q),
        track_best=True,
        before_stage=start,
        before_epoch=prune,
        after_stage=finish,
    )


def _weight(run: Run) -> Tensor:
    if run.samples.weight is None:
        raise RuntimeError("the stage has not begun")
    return run.samples.weight
