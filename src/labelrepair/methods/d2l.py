"""D2L: Ma et al., "Dimensionality-driven learning with noisy labels" (ICML 2018).

While a network learns classes, the local intrinsic dimensionality (LID) of its penultimate
features falls; when it begins to memorise wrong labels, it rises. Train with cross entropy until
that turning point, go back to the weights before it, and from then on believe the network more and
more: the targets are ``a e_y + (1 - a) onehot(argmax f)`` with
``a = exp(-(e / E) LID_e / min LID)``.

The turning point is the first epoch after ``initial + window`` whose LID exceeds the mean of the
window before it by two standard deviations. ``LID = -k / sum_j log(d_j / d_k)`` over the k nearest
neighbours inside a batch, averaged over ten batches of 128 training rows.

Deviations: the weights that training goes back to are those of the epoch before, as the text says
(the authors' code restores what it saved a moment earlier, i.e. goes nowhere); the optimizer's
state stays. Features are read in eval mode, without augmentation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from labelrepair.config import positive, require, within
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import cross_entropy
from labelrepair.networks.penultimate import penultimate
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig, epochs_field
from labelrepair.training.config import MOST_ROWS
from labelrepair.training.state import Keep

TRAINING: Mapping[str, Any] = {
    "optimizer": {"name": "sgd"},
    "schedule": {"epochs": 50, "lr": 0.1, "milestones": [20, 40]},
}
BATCH = 128  # rows among which neighbours are looked for
LEAST = 3  # rows, as two have one distance, and LID compares distances
_KEPT = "before."  # prefix of the weights of the epoch before, in the shared state


@dataclass(frozen=True)
class Options:
    """Options of D2L; defaults are those of MNIST.

    Attributes:
        initial: epochs before the dimensionality is watched (MNIST 5, CIFAR-10 40, CIFAR-100 60).
        window: epochs whose LID the present one is compared with.
        deviations: standard deviations above the window's mean that make a turning point.
        neighbours: k of the estimate, at least 2 and fewer than the 128 rows of a batch.
        rows: training rows that it is averaged over, at least 3.
        turning_epoch: turn after this epoch (0-based) instead of looking for the turning point.
        keep: which weights leave the training, by noisy validation.
    """

    initial: int = epochs_field(5)
    window: int = 5
    deviations: float = 2.0
    neighbours: int = 20
    rows: int = 1280
    turning_epoch: int | None = epochs_field(None)
    keep: Keep = "last"

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.initial >= 0, f"initial: must be >= 0, found {self.initial}")
        require(self.deviations >= 0, f"deviations: must be >= 0, found {self.deviations}")
        positive(window=self.window)
        # The nearest neighbour alone is as far as the farthest: its LID is never defined.
        within(LEAST - 1, BATCH - 1, neighbours=self.neighbours)
        within(LEAST, MOST_ROWS, rows=self.rows)


def intrinsic_dimensionality(features: Tensor, neighbours: int) -> Tensor:
    """Return the LID estimate of each row among the others (Ma et al. 2018, equation 2).

    Args:
        features: float ``(n, d)``, at least three rows.
        neighbours: k, at most n - 1 are used.

    Returns:
        Float64 ``(n,)``; rows whose k neighbours are equally far (e.g. all copies) are NaN.
    """
    values = features.double()
    count = min(neighbours, len(values) - 1)
    distances = torch.cdist(values, values)
    nearest = distances.topk(count + 1, largest=False).values[:, 1:].clamp_min(1e-12)
    total = (nearest / nearest[:, -1:]).log().sum(1)
    return torch.where(total < 0, -count / total, torch.nan)


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single stage."""
    del noise
    epochs = config.schedule.epochs

    def begin(run: Run) -> None:
        like = run.samples.probs
        run.samples.shared["lid"] = torch.full((epochs,), torch.nan, dtype=torch.float64)
        run.samples.shared["turning_epoch"] = torch.tensor(-1)
        run.samples.shared["alpha"] = torch.ones((), device=like.device)

    def step(logits: Tensor, batch: Batch, run: Run) -> Step:
        alpha = run.samples.shared["alpha"]
        own = cross_entropy(logits[0], logits[0].detach().argmax(1))
        given = cross_entropy(logits[0], batch.labels)
        return Step((alpha * given + (1 - alpha) * own).mean())

    def watch(run: Run) -> None:
        shared = run.samples.shared
        shared["lid"][run.epoch] = _mean_dimensionality(run, options)
        lids = shared["lid"].tolist()[: run.epoch + 1]
        if int(shared["turning_epoch"]) < 0:
            if _turns(lids, options):
                shared["turning_epoch"] = torch.tensor(run.epoch)
                _go_back(run)
            else:
                weights = run.networks.state_dict().items()
                shared.update({_KEPT + name: value.clone() for name, value in weights})
        if int(shared["turning_epoch"]) >= 0:
            share = (run.epoch + 1) / epochs
            shared["alpha"] = torch.tensor(_alpha(share, lids)).to(shared["alpha"])

    def finish(run: Run) -> None:
        _forget(run)

    return [
        Stage(
            "train",
            config.schedule,
            step,
            keep=options.keep,
            divisible=False,
            before_stage=begin,
            after_epoch=watch,
            after_stage=finish,
        )
    ]


def _alpha(share: float, lids: list[float]) -> float:
    """Return the weight of the given labels after this share of the epochs."""
    known = [lid for lid in lids[:-1] if not math.isnan(lid)]
    # Where LID is not defined, now (all rows alike) or in every epoch before, nothing tells that it
    # has grown: the ratio to the lowest is 1, and alpha falls with the epochs alone.
    growth = lids[-1] / min(known) if known and not math.isnan(lids[-1]) else 1.0
    return math.exp(-share * growth)


def _turns(lids: list[float], options: Options) -> bool:
    """Return whether the last epoch is the turning point."""
    if options.turning_epoch is not None:
        return len(lids) > options.turning_epoch
    if len(lids) <= options.initial + options.window:
        return False
    past = torch.tensor(lids[-options.window - 1 : -1], dtype=torch.float64)
    return lids[-1] > float(past.mean() + options.deviations * past.std(correction=0))


def _mean_dimensionality(run: Run, options: Options) -> float:
    """Return the mean LID of some training rows; NaN where it is defined for none of them."""
    rows = run.data.train_rows
    chosen = torch.randperm(len(rows), generator=run.generator, device=rows.device)
    rows = rows[chosen[: options.rows]]
    features = penultimate(run.networks[0], run.normalizer, run.data.features, rows)
    parts = [part for part in torch.split(features, BATCH) if len(part) >= LEAST]
    if not parts:  # two training rows
        return math.nan
    found = torch.cat([intrinsic_dimensionality(part, options.neighbours) for part in parts])
    return float(found.nanmean())


def _go_back(run: Run) -> None:
    """Restore the weights of the epoch before, if there was one."""
    kept = {
        name.removeprefix(_KEPT): value
        for name, value in run.samples.shared.items()
        if name.startswith(_KEPT)
    }
    if kept:
        run.networks.load_state_dict(kept)
    _forget(run)


def _forget(run: Run) -> None:
    for name in [name for name in run.samples.shared if name.startswith(_KEPT)]:
        del run.samples.shared[name]
