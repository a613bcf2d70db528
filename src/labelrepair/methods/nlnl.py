"""NLNL: Kim et al., "NLNL: negative learning for noisy labels" (ICCV 2019).

Negative learning (equation 2): "this is not class ybar", ybar drawn anew each time. SelNLPL
(algorithm 2): NL on all rows, NL on rows with confidence at least 1/C, then positive learning on
rows with confidence at least gamma. The rows under gamma are the filtered, noisy ones. Pseudo
labelling (section 3.5): a fresh network learns the clean rows and gives the others soft labels;
another fresh network learns all of them.

The method's answer for the label table: the soft predictions of the network that learned the clean
rows (mean of its last epochs; without pseudo labelling, the predictions of the SelNLPL network);
``selected`` are the believed rows.

Deviations: selection uses the mean confidence of the last ten epochs, as the authors' code does
(the text: the current one). ``log(1 - f)`` is exact in log space (their clamp at 1e-5, ``clip``,
stops the gradient exactly where it is needed). Positive learning has its own learning rate, as in
the text; the released script keeps 0.02 by restoring the optimizer: ``carry_optimizer`` with a
``selective_positive.lr`` of 0.02. Without the former each stage begins with fresh momentum, NL and
SelNL too, which their script runs as one. The last stage keeps the given labels of clean rows, as
in the text (code: soft labels for all, ``soft_all``).
Class weights (``class_balance``) are in the code only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from labelrepair import losses
from labelrepair.config import in_unit_interval, require, within
from labelrepair.estimation import NoiseEstimate
from labelrepair.training import Batch, Run, Schedule, Stage, Step, TrainingConfig
from labelrepair.training.config import MOST_WINDOW

TRAINING: Mapping[str, Any] = {
    "optimizer": {"name": "sgd", "weight_decay": 1e-4},
    "normalize": "channel_mean",
}
MOST_DRAWN = 100_000  # the default for 3,000 classes; all are drawn for every row of a batch
_PSEUDO = Schedule(epochs=480, lr=0.1, milestones=(192, 288))


@dataclass(frozen=True)
class Options:
    """Options of NLNL; defaults are those of CIFAR-10.

    Attributes:
        gamma: least confidence of a row that positive learning uses and the filter keeps.
        complementary_labels: K labels drawn for a row in each step, losses summed; None =
            C (C - 1) / 90, at least 1, which keeps the pull of 10 classes (110 for 100 classes).
        class_balance: weight rows by the inverse frequency of their given label.
        carry_optimizer: keep the optimizer's state between the first three stages.
        window: epochs of confidence averaged, at most 100.
        negative: schedule of NL.
        selective_negative: schedule of SelNL; None leaves the stage out.
        selective_positive: schedule of SelPL; None leaves the stage out.
        pseudo: schedule of each of the two trainings on pseudo labels; None stops after SelNLPL.
        soft_all: in the last training give soft labels to clean rows as well.
        clip: lower bound of 1 - f in negative learning, 1e-5 in their code; None = the formula.
    """

    gamma: float = 0.5
    complementary_labels: int | None = None
    class_balance: bool = True
    carry_optimizer: bool = False
    window: int = 10
    negative: Schedule = Schedule(epochs=720, lr=0.02)
    selective_negative: Schedule | None = Schedule(epochs=720, lr=0.02)
    selective_positive: Schedule | None = Schedule(epochs=720, lr=0.1)
    pseudo: Schedule | None = _PSEUDO
    soft_all: bool = False
    clip: float | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(gamma=self.gamma)
        within(1, MOST_WINDOW, window=self.window)
        if self.complementary_labels is not None:
            within(1, MOST_DRAWN, complementary_labels=self.complementary_labels)
        require(
            self.clip is None or 0 < self.clip < 1, f"clip: must lie in (0, 1), found {self.clip}"
        )


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return NL, SelNL, SelPL and the two trainings on pseudo labels."""
    del noise, config
    shown = options.complementary_labels

    def begin(run: Run) -> None:
        labels, classes = run.data.given_labels, run.data.num_classes
        counts = torch.bincount(labels[run.data.train_rows], minlength=classes).float()
        weights = counts.max() / counts.clamp_min(1)
        run.samples.weight = weights[labels] if options.class_balance else torch.ones(len(labels))
        run.samples.weight = run.samples.weight.to(run.samples.probs)

    def look(run: Run) -> None:
        confidence = torch.zeros_like(run.samples.probs[:, 0])
        if run.samples.recorded:
            confidence = _of_given(run.samples.history_mean(), run)
        run.samples.shared["confidence"] = confidence

    def learn_negative(logits: Tensor, batch: Batch, used: Tensor, run: Run) -> Step:
        classes = run.data.num_classes
        count = shown or max(1, round(classes * (classes - 1) / 90))
        size = (len(batch.labels), count)
        shift = torch.randint(1, classes, size, generator=run.generator, device=batch.labels.device)
        complementary = (batch.labels[:, None] + shift) % classes
        loss = losses.negative_learning(logits[0], complementary, options.clip)
        loss = loss * _weight(run)[batch.rows]
        kept = used.sum()
        return Step((loss * used).sum() / kept.clamp_min(1), used=used, skip=kept == 0)

    def negative(logits: Tensor, batch: Batch, run: Run) -> Step:
        return learn_negative(logits, batch, torch.ones_like(batch.labels, dtype=torch.bool), run)

    def selective_negative(logits: Tensor, batch: Batch, run: Run) -> Step:
        used = run.samples.shared["confidence"][batch.rows] >= 1 / run.data.num_classes
        return learn_negative(logits, batch, used, run)

    def selective_positive(logits: Tensor, batch: Batch, run: Run) -> Step:
        used = run.samples.shared["confidence"][batch.rows] >= options.gamma
        weight = _weight(run)[batch.rows] * used
        loss = losses.cross_entropy(logits[0], batch.labels)
        total = weight.sum()
        return Step((loss * weight).sum() / total.clamp_min(1e-12), used=used, skip=total == 0)

    keep: Literal["carry", "restart"] = "carry" if options.carry_optimizer else "restart"
    first = Stage(
        "negative",
        options.negative,
        negative,
        window=options.window,
        before_stage=begin,
        before_epoch=look,
    )
    later = replace(first, start="carry", optimizer=keep, before_stage=None)
    found = [first]
    if options.selective_negative is not None:
        name, schedule = "selective_negative", options.selective_negative
        found.append(replace(later, name=name, schedule=schedule, step=selective_negative))
    if options.selective_positive is not None:
        name, schedule = "selective_positive", options.selective_positive
        found.append(replace(later, name=name, schedule=schedule, step=selective_positive))
    found[-1] = replace(found[-1], after_stage=_filter(options.gamma))
    return found + _pseudo_stages(options)


def _filter(gamma: float) -> Callable[[Run], None]:
    """Split the rows into believed and filtered (section 4) and estimate the noise rate."""

    def split(run: Run) -> None:
        held_out = run.data.val_rows
        confidence = _of_given(run.samples.history_mean(), run)
        confidence[held_out] = _of_given(run.predict_probs(), run)[held_out]
        believed = confidence >= gamma
        run.samples.shared["confidence"] = confidence
        run.samples.shared["selected"] = believed
        noisy = (~believed[run.data.train_rows]).double().mean()
        run.samples.shared["estimated_noise_rate"] = noisy

    return split


def _pseudo_stages(options: Options) -> list[Stage]:
    """Learn the believed rows, give the others soft labels, learn all rows."""
    if options.pseudo is None:
        return []

    def fit(logits: Tensor, batch: Batch, run: Run) -> Step:
        used = run.samples.shared["selected"][batch.rows]
        kept = used.sum()
        loss = (losses.cross_entropy(logits[0], batch.labels) * used).sum()
        return Step(loss / kept.clamp_min(1), used=used, skip=kept == 0)

    def soften(run: Run) -> None:
        soft = run.samples.history_mean().clone()
        held_out = run.data.val_rows
        soft[held_out] = run.predict_probs()[held_out]
        run.samples.shared["probs"] = soft
        hard = functional.one_hot(run.data.given_labels, run.data.num_classes).to(soft)
        believed = run.samples.shared["selected"][:, None]
        run.samples.targets = soft if options.soft_all else torch.where(believed, hard, soft)

    def learn_all(logits: Tensor, batch: Batch, run: Run) -> Step:
        if run.samples.targets is None:
            raise RuntimeError("pseudo labels have not been made")
        return Step(losses.kl_to_targets(logits[0], run.samples.targets[batch.rows]).mean())

    return [
        Stage("pseudo_fit", options.pseudo, fit, window=options.window, after_stage=soften),
        Stage("pseudo_train", options.pseudo, learn_all),
    ]


def _of_given(probs: Tensor, run: Run) -> Tensor:
    """Return ``(N,)``, the probability of each row's given label."""
    return probs.gather(1, run.data.given_labels[:, None])[:, 0]


def _weight(run: Run) -> Tensor:
    if run.samples.weight is None:
        raise RuntimeError("the stage has not begun")
    return run.samples.weight
