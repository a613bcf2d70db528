"""Joint Optimization: Tanaka et al. (CVPR 2018).

"Joint optimization framework for learning with noisy labels". Step 1 learns labels and network in
turn: ``L_c + alpha L_p + beta L_e`` (equations 5 to 7, 10 and 12), and from ``start_epoch`` on each
epoch ends by setting the labels to the network's predictions, averaged over the last ten epochs
(equations 8 and 9, section 4.1). Step 2 trains a fresh network on the final labels with ``L_c``
alone.

The method's answer for the label table are the soft labels of step 1; rows it did not train on
get the network's predictions.

Deviations: the averaged predictions are those made while training (train mode, augmented view), as
in the authors' code; validation labels are the noisy ones (their code: clean); the KL forms are
used (their code: cross entropies, equal gradients); batches end with the epoch, and one of fewer
rows than classes has no ``L_p``, as its mean cannot come near any prior. Hard labels with ``top_k``
follow section 5.4, where the ranking is not defined: by ``-log`` of the averaged probability of the
current label, largest first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from labelrepair import losses
from labelrepair.config import not_negative, require, within
from labelrepair.estimation import NoiseEstimate
from labelrepair.training import (
    Batch,
    Run,
    Schedule,
    Stage,
    Step,
    TrainingConfig,
    epochs_field,
)
from labelrepair.training.config import MOST_EPOCHS, MOST_ROWS, MOST_WINDOW
from labelrepair.training.state import Keep

TRAINING: Mapping[str, Any] = {
    "optimizer": {"name": "sgd", "weight_decay": 1e-4},
    "normalize": "pixel_mean",
}


@dataclass(frozen=True)
class Options:
    """Options of Joint Optimization; defaults are those of CIFAR-10, symmetric 0.7.

    Attributes:
        alpha: weight of the prior term.
        beta: weight of the entropy term.
        labels: ``soft`` or ``hard``.
        top_k: hard labels only: change at most so many labels an epoch; None = all.
        start_epoch: labels are first replaced at the end of this epoch, from 1.
        stop_epoch: and last at the end of this one, from 1; None = until the stage ends.
        window: epochs averaged, at most 100.
        prior: ``uniform``, or ``given`` = the given labels' frequencies.
        relabel: schedule of step 1.
        retrain: schedule of step 2.
        keep: which weights leave step 2.
    """

    alpha: float = 1.2
    beta: float = 0.8
    labels: Literal["soft", "hard"] = "soft"
    top_k: int | None = None
    start_epoch: int = epochs_field(70)
    stop_epoch: int | None = epochs_field(None)
    window: int = 10
    prior: Literal["uniform", "given"] = "uniform"
    relabel: Schedule = Schedule(epochs=200, lr=0.08)
    retrain: Schedule = Schedule(epochs=120, lr=0.2, milestones=(40, 80))
    keep: Keep = "last"

    def __post_init__(self) -> None:
        """Check ranges."""
        not_negative(alpha=self.alpha, beta=self.beta)
        within(1, MOST_WINDOW, window=self.window)
        within(1, MOST_EPOCHS, start_epoch=self.start_epoch)
        if self.stop_epoch is not None:
            within(1, MOST_EPOCHS, stop_epoch=self.stop_epoch)
        if self.top_k is not None:
            within(1, MOST_ROWS, top_k=self.top_k)


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return step 1 (labels) and step 2 (network).

    Raises:
        ConfigError: no epoch of step 1 would change a label.
    """
    del noise, config
    last = min(options.relabel.epochs, options.stop_epoch or options.relabel.epochs)
    require(
        options.start_epoch <= last,
        f"start_epoch: no label would ever change: {options.start_epoch}, but the last epoch that "
        f"changes labels is {last} (stop_epoch, relabel.epochs)",
    )

    def begin(run: Run) -> None:
        classes, rows = run.data.num_classes, run.data.train_rows
        labels = run.data.given_labels
        run.samples.targets = functional.one_hot(labels, classes).to(run.samples.probs)
        prior = torch.full_like(run.samples.probs[0], 1 / classes)
        if options.prior == "given":
            prior = torch.bincount(labels[rows], minlength=classes).to(prior) / len(rows)
        run.samples.shared["prior"] = prior

    def relabel_step(logits: Tensor, batch: Batch, run: Run) -> Step:
        fit, spread, doubt = losses.joint_optimization(
            logits[0], _targets(run)[batch.rows], run.samples.shared["prior"]
        )
        if len(batch.labels) < run.data.num_classes:  # too few to be spread over all classes
            spread = torch.zeros_like(spread)
        total = fit + options.alpha * spread + options.beta * doubt
        return Step(total, log={"fit": fit, "prior": spread, "entropy": doubt})

    def update(run: Run) -> None:
        done = run.epoch + 1
        if done < options.start_epoch or done > (options.stop_epoch or done):
            return
        mean = run.samples.history_mean()
        rows = run.data.train_rows
        if options.labels == "hard":
            mean = _harden(mean, _targets(run), rows, options.top_k)
        _targets(run)[rows] = mean[rows]

    def finish(run: Run) -> None:
        answer = _targets(run).clone()
        held_out = run.data.val_rows
        answer[held_out] = run.predict_probs()[held_out]
        run.samples.shared["probs"] = answer
        run.samples.shared["selected"] = answer.argmax(1) == run.data.given_labels

    def retrain_step(logits: Tensor, batch: Batch, run: Run) -> Step:
        return Step(losses.kl_to_targets(logits[0], _targets(run)[batch.rows]).mean())

    return [
        Stage(
            "relabel",
            options.relabel,
            relabel_step,
            window=options.window,
            before_stage=begin,
            after_epoch=update,
            after_stage=finish,
        ),
        Stage("retrain", options.retrain, retrain_step, keep=options.keep),
    ]


def _harden(mean: Tensor, targets: Tensor, rows: Tensor, top_k: int | None) -> Tensor:
    """Return one-hot labels: the averaged prediction's, for the K rows most at odds with it."""
    current, proposed = targets.argmax(1), mean.argmax(1)
    if top_k is not None:
        surprise = -mean.gather(1, current[:, None])[:, 0].clamp_min(1e-38).log()
        eligible = torch.zeros_like(surprise, dtype=torch.bool).index_fill_(0, rows, True)
        surprise = surprise.masked_fill(~eligible | (current == proposed), -torch.inf)
        chosen = torch.sort(surprise, descending=True, stable=True).indices[:top_k]
        mask = torch.zeros_like(eligible).index_fill_(0, chosen, True)
        proposed = torch.where(mask, proposed, current)
    return functional.one_hot(proposed, mean.shape[1]).to(mean)


def _targets(run: Run) -> Tensor:
    if run.samples.targets is None:
        raise RuntimeError("the stage has not begun")
    return run.samples.targets
