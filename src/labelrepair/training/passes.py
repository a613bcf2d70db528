"""Once over the training rows: gradient steps, and what they predict for every row."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from labelrepair.errors import ConfigError, LabelRepairError
from labelrepair.training.batches import Batch
from labelrepair.training.config import TrainingConfig
from labelrepair.training.device import autocast
from labelrepair.training.optimizer import drop_vanished
from labelrepair.training.state import Run, Step

# What batch normalisation says of one row: over maps of several pixels it takes it, so that only
# the network itself knows.
_ONE_VALUE = "more than 1 value per channel"


@dataclass(frozen=True)
class Means:
    """Means over one pass.

    Attributes:
        values: for the history.
        largest: share of the rows, and the class that they were most often predicted to be of: of
            each network, then, if they are several, of their mean.
    """

    values: dict[str, float]
    largest: list[tuple[float, int]]


class Pass:
    """One pass; writes predictions and selections to ``run.samples``."""

    def __init__(self, run: Run, optimizer: torch.optim.Optimizer) -> None:
        """Start counting."""
        self.run, self.optimizer = run, optimizer
        self.device = run.data.given_labels.device
        self._totals: dict[str, Tensor] = {}
        self._correct = torch.zeros((), dtype=torch.int64, device=self.device)
        # How often each class was predicted, by whom as in ``Means.largest``.
        count = len(run.networks)
        by = count + 1 if count > 1 else 1
        self._predicted = torch.zeros(
            by, run.data.num_classes, dtype=torch.int64, device=self.device
        )
        self._steps = 0
        self._logits: list[Tensor] = []  # since the last record
        self._used: list[Tensor | None] = []

    def go(self, chunks: Iterable[list[Batch]], rows: int) -> Means:
        """Learn from all batches, ``rows`` rows in all; return the means.

        Raises:
            ConfigError: a batch of one row, which batch normalisation refuses.
            LabelRepairError: the loss is no longer finite.
        """
        self.begin()
        for chunk in chunks:
            for batch in chunk:
                self._step(batch)
            self.record(chunk)
            del chunk, batch  # or this chunk and the next one would be in memory together
        return self.means(rows)

    def _step(self, batch: Batch) -> None:
        """Make one gradient step."""
        step = self.judge(self._forward(batch), batch)
        self.optimizer.zero_grad(set_to_none=True)
        step.loss.backward()  # type: ignore[no-untyped-call]
        self.update(step)

    # The parts of ``go``, for who goes through several passes in step.

    def begin(self) -> None:
        """Forget what the last pass used."""
        self.run.samples.used.zero_()

    def judge(self, logits: Tensor, batch: Batch) -> Step:
        """Return the method's Step for the logits ``(K, B, C)`` of a batch, and count it in."""
        step = self.run.stage.step(logits, batch, self.run)
        for name, value in (("loss", step.loss), *step.log.items()):
            self._totals[name] = self._totals.get(name, 0) + value.detach()
        self._logits.append(logits.detach())
        self._used.append(step.used)
        self._steps += 1
        return step

    def update(self, step: Step) -> None:
        """Move the weights along their gradients, unless the step is to be skipped."""
        # Fused optimizers leave parameters and state alone where this flag is 1, on the device.
        skip = None if step.skip is None else step.skip.float().reshape(())
        self.optimizer.found_inf = skip  # type: ignore[attr-defined]
        self.optimizer.step()

    def _forward(self, batch: Batch) -> Tensor:
        """Return the logits ``(K, B, C)`` of a batch, with their gradient."""
        try:
            with autocast(self.run.config.precision, self.device):
                outputs = [network(batch.features) for network in self.run.networks]
        except ValueError as error:
            if _ONE_VALUE not in str(error):
                raise
            raise ConfigError(_too_few(self.run)) from error
        return torch.stack(outputs).float() if len(outputs) > 1 else outputs[0].float()[None]

    def record(self, chunk: list[Batch]) -> None:
        """Note predictions and selection of the batches just learned from, and tidy the moments."""
        samples = self.run.samples
        rows = torch.cat([batch.rows for batch in chunk])
        labels = torch.cat([batch.labels for batch in chunk])
        own = torch.cat(self._logits, dim=1).softmax(-1)
        probs = own.mean(0)
        samples.probs[rows] = probs
        if all(item is None for item in self._used):
            samples.used[:, rows] = True
        else:
            samples.used[:, rows] = torch.cat([_two_dims(item) for item in self._used], dim=1)
        best = probs.argmax(1)[None]
        self._correct += (best == labels).sum()
        best = best if len(own) == 1 else torch.cat([own.argmax(2), best])
        self._predicted.scatter_add_(1, best, torch.ones_like(best))
        self._logits, self._used = [], []
        drop_vanished(self.optimizer)

    def means(self, rows: int) -> Means:
        """Return the means of a pass over ``rows`` rows."""
        run = self.run
        # The only wait for the device in an epoch of training.
        names = list(self._totals)
        most, which = self._predicted.max(1)
        counts = torch.cat([self._correct[None], most, which]).double()
        sums = torch.stack([self._totals[n].double() / self._steps for n in names])
        host: list[float] = torch.cat([sums, counts]).tolist()
        means, counted = dict(zip(names, host, strict=False)), host[len(names) :]
        shares = [number / rows for number in counted[1 : 1 + len(most)]]
        classes = [int(label) for label in counted[1 + len(most) :]]
        if not np.isfinite(means["loss"]):
            raise LabelRepairError(
                f"stage '{run.stage.name}', epoch {run.epoch}: the loss is {means['loss']}; lower "
                "the learning rate, or use forward instead of backward correction"
            )
        values = {
            "loss": means.pop("loss"),
            "train_accuracy_given": counted[0] / rows,
            "largest_class_share": shares[-1],
            "used_share": float(run.samples.used[: len(run.networks)].double().sum())
            / (len(run.networks) * rows),
            **means,
        }
        return Means(values, list(zip(shares, classes, strict=True)))


def shuffled(
    train_rows: Tensor, draws: torch.Generator, config: TrainingConfig, networks: nn.ModuleList
) -> Tensor:
    """Return int64 rows in the order of one epoch, as many as it takes.

    Args:
        train_rows: int64 ``(n,)``; the order comes back on its device.
        draws: CPU generator of this epoch's order.
        config: see ``drop_last`` and ``max_batches``.
        networks: of the stage; some refuse a batch of one row.
    """
    order = train_rows[torch.randperm(len(train_rows), generator=draws).to(train_rows.device)]
    if config.max_batches:
        order = order[: config.max_batches * config.batch_size]
    if config.drop_last:
        order = order[: len(order) // config.batch_size * config.batch_size]
    rest = len(order) % config.batch_size
    if rest == 1 and len(order) > 1 and _needs_two_rows(networks):
        order = order[:-1]  # another row in every epoch
    return order


def _needs_two_rows(networks: nn.ModuleList) -> bool:
    """Return whether a batch of one row may be refused: normalised over itself it is constant.

    So it is over maps of one pixel, to which images shrink in deep networks. A normalisation that
    is kept in eval mode takes any batch.
    """
    return any(isinstance(module, _BatchNorm) and module.training for module in networks.modules())


def _too_few(run: Run) -> str:
    """Return what to change where a batch has one row."""
    size, rows = run.config.batch_size, len(run.data.train_rows)
    found = f"batch_size: {size}" if size == 1 else f"batch_size: {rows} training row in all"
    return (
        f"{found} is too little for the batch normalisation of the network, which needs at least "
        "2 rows in a batch; "
        + ("set batch_size to 2 or more" if size == 1 else "add training rows")
        + ", or choose a network without it"
    )


def _two_dims(used: Tensor | None) -> Tensor:
    if used is None:
        raise RuntimeError("a stage's steps must either all say which rows they used, or none")
    return used if used.dim() > 1 else used[None]
