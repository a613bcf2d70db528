"""The loop on one of several ranks: the batches of one process, the features of a part of the rows.

Orders, batches, augmentation and every method's step are those of one process. A rank passes the
rows that it holds through the networks; the logits are merged, so that each rank makes the same
step of the whole batch (small losses are chosen among all of its rows), and the gradients are
summed. What differs from one process is the order in which floats are added.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from labelrepair.errors import ConfigError, LabelRepairError
from labelrepair.networks.classifier import Normalizer
from labelrepair.networks.features import Features, chunk_rows, portions, take
from labelrepair.training.batches import Batch, Holdout, TrainSet, crop_flip
from labelrepair.training.held_out import HeldOut
from labelrepair.training.loop import Loop
from labelrepair.training.passes import Means, Pass, shuffled
from labelrepair.training.ranks import Ranks, Share
from labelrepair.training.result import TrainResult
from labelrepair.training.seeds import derive_seed
from labelrepair.training.shared_norm import own_norms, share_norms
from labelrepair.training.state import Run, predict_logits


@dataclass(frozen=True)
class RankBatch(Batch):
    """A batch of which ``features`` holds our rows only, ``share`` says which these are."""

    share: Share


class RankLoop(Loop):
    """The loop of one rank; every rank runs it with the same arguments."""

    def __init__(self, ranks: Ranks, *parts: Any) -> None:
        """Take part as ``ranks``; the other arguments are those of :class:`Loop`."""
        self.ranks = ranks
        super().__init__(*parts)
        self.progress.silence(ranks.rank > 0)
        for stage in self.stages:
            if not stage.divisible:
                raise ConfigError(
                    f"training.distributed: stage '{stage.name}' looks at features itself and "
                    "cannot be shared among processes; set processes: 1"
                )

    def _place(self, data: TrainSet, test: Holdout | None) -> None:
        """Take our rows to the device; labels and row numbers are everyone's."""
        ranks, device = self.ranks, self.device
        self.rows = ranks.share(
            ranks.owners(len(data.given_labels), data.train_rows, data.val_rows)
        )
        at = torch.full((len(data.given_labels),), -1)
        at[self.rows.mine] = torch.arange(len(self.rows.mine))
        self.at, self.train_rows = at, data.train_rows.cpu()
        fitted = None
        if ranks.rank == 0:
            fitted = Normalizer.fit(self.config.normalize, data.features, data.train_rows)
        self.normalizer = ranks.from_first(fitted).to(device)  # type: ignore[union-attr]
        self.features = take(data.features, self.rows.mine).to(device)
        others = (data.train_rows, data.val_rows, data.given_labels)
        train_rows, val_rows, labels = (part.to(device) for part in others)
        self.data = TrainSet(data.features, labels, data.num_classes, train_rows, val_rows)
        val = ranks.share(self.rows.owner[data.val_rows.cpu()])
        val_features = take(self.features, at[data.val_rows.cpu()[val.mine]].to(device))
        self.held_out = RankHeldOut(
            (Holdout(val_features, labels[val_rows]), val), self._test_part(test), ranks
        )

    def _test_part(self, test: Holdout | None) -> "tuple[Holdout, Share] | None":
        if test is None:
            return None
        share = self.ranks.share(self.ranks.owners(len(test.labels)))
        features = take(test.features, share.mine).to(self.device)
        return Holdout(features, test.labels.to(self.device)), share

    def _first_run(self) -> Run:
        run = super()._first_run()
        parts = {name: getattr(run, name) for name in run.__dataclass_fields__}
        return RankRun(**parts, ranks=self.ranks, rows=self.rows, mine=self.features)

    def _build(self, index: int, count: int) -> nn.ModuleList:
        networks = super()._build(index, count)
        share_norms(networks, self.ranks)
        return networks

    def _go(self, draws: torch.Generator, augmentation: torch.Generator) -> Means:
        run, ranks = self.run, self.ranks
        order = shuffled(self.train_rows, draws, self.config, run.networks)
        # Masks of dropout: other rows, other draws.
        torch.manual_seed(derive_seed(self.seed, run.stage.name, run.epoch, "modules", ranks.rank))
        chunks = self._chunks(order, augmentation)
        found = RankPass(run, self.stepper, ranks).go(chunks, len(order))
        ranks.agree(run.networks, f"stage '{run.stage.name}', epoch {run.epoch}")
        return found

    def _chunks(self, order: Tensor, augmentation: torch.Generator) -> Iterator[list[Batch]]:
        """Yield the batches of :func:`labelrepair.training.batches.batches`, with our features."""
        size, augment = self.config.batch_size, self.config.augment
        chunks = torch.split(order, max(1, chunk_rows(self.features) // size) * size)
        owners = [self.rows.owner[rows] for rows in chunks]
        ours = [(owner == self.ranks.rank).nonzero()[:, 0] for owner in owners]
        wanted = [
            self.at[rows[mine]].to(self.device) for rows, mine in zip(chunks, ours, strict=True)
        ]
        read = portions(self.features, wanted)
        for rows, owner, mine, stored in zip(chunks, owners, ours, read, strict=True):
            features = self.normalizer(stored)
            if augment.active and features.dim() == 4:
                features = crop_flip(features, augment, augmentation, (len(rows), mine))
            yield self._chunk(rows, owner, features)
            del features  # as in ``Pass.go``

    def _chunk(self, rows: Tensor, owner: Tensor, features: Tensor) -> list[Batch]:
        """Return the batches of one chunk, of whose features these are ours."""
        size, labels = self.config.batch_size, self.data.given_labels
        shares = [self.ranks.share(part) for part in torch.split(owner, size)]
        parts = torch.split(features, [share.counts[self.ranks.rank] for share in shares])
        split = torch.split(rows.to(self.device), size)
        return [
            RankBatch(r, part, labels[r], share)
            for r, part, share in zip(split, parts, shares, strict=True)
        ]

    def _write(self, state: dict[str, Any]) -> None:
        if self.ranks.rank == 0:
            super()._write(state)

    def _read(self) -> dict[str, Any] | None:
        found: tuple[dict[str, Any] | None, LabelRepairError | None] = (None, None)
        if self.ranks.rank == 0:
            try:
                found = super()._read(), None
            except LabelRepairError as error:
                found = None, error
        state, refusal = self.ranks.from_first(found)
        if refusal is not None:  # everyone's, or the others would wait for rank 0
            raise refusal
        return state

    def result(self) -> TrainResult:
        """Return what the training leaves behind, with ordinary batch normalisation."""
        found = super().result()
        own_norms(found.networks)
        return found


class RankPass(Pass):
    """A pass whose batches are shared."""

    def __init__(self, run: Run, optimizer: torch.optim.Optimizer, ranks: Ranks) -> None:
        """Sum gradients before every step of the optimizer."""
        super().__init__(run, optimizer)
        self.ranks = ranks

    def go(self, chunks: Iterable[list[Batch]], rows: int) -> Means:
        """As one process does."""
        parameters = list(self.run.networks.parameters())
        handle = self.optimizer.register_step_pre_hook(
            lambda *_: self.ranks.add_gradients(parameters)
        )
        try:
            return super().go(chunks, rows)
        finally:
            handle.remove()

    def _forward(self, batch: Batch) -> Tensor:
        """Return the logits of the whole batch; ours carry their gradient."""
        if not isinstance(batch, RankBatch):
            raise TypeError("a batch of one process")
        ours = super()._forward(batch).transpose(0, 1)
        return self.ranks.merge(ours, batch.share).transpose(0, 1)


class RankHeldOut(HeldOut):
    """Rows to look at, of which each rank predicts its part."""

    def __init__(
        self, val: tuple[Holdout, Share], test: tuple[Holdout, Share] | None, ranks: Ranks
    ) -> None:
        """Keep our features and everyone's labels."""
        super().__init__(val[0], test and test[0])
        self._shares = [val, *([test] if test else [])]
        self._ranks = ranks

    def _predict(self, run: Run, rows: Holdout) -> Tensor:
        share = next(share for holdout, share in self._shares if holdout is rows)
        return _merged(run, rows.features, share, self._ranks)


@dataclass
class RankRun(Run):
    """What callbacks see; predictions of all rows are made by everyone and merged."""

    ranks: Ranks | None = None
    rows: Share | None = None
    mine: Features | None = None

    def predict_logits(
        self,
        features: Features | None = None,
        weights: Literal["current", "best"] = "current",
        rows: Tensor | None = None,
    ) -> Tensor:
        """Predict all rows; see :meth:`Run.predict_logits`."""
        some = features is not None or rows is not None
        if some or self.ranks is None or self.rows is None or self.mine is None:
            return super().predict_logits(features, weights, rows)
        ours = super().predict_logits(self.mine, weights).transpose(0, 1)
        return self.ranks.merge(ours.contiguous(), self.rows).transpose(0, 1).contiguous()


def _merged(run: Run, features: Features, share: Share, ranks: Ranks) -> Tensor:
    ours = predict_logits(run.networks, run.normalizer, features).transpose(0, 1)
    return ranks.merge(ours.contiguous(), share).transpose(0, 1).contiguous()
