"""Several processes that train as one: who holds which rows, and what they tell each other.

Everything that is per sample (predictions, selections, targets, what a method shares between its
stages) is the same on every rank, because every rank sees the logits of the whole batch; what is
divided is the features, the passes through the networks and the gradients.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from labelrepair.errors import LabelRepairError, shown

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """A list of rows and which rank has which of them.

    Attributes:
        owner: int64 ``(n,)`` on the CPU, the rank of each row.
        rank: ours.
        size: number of ranks.
    """

    owner: Tensor
    rank: int
    size: int

    @cached_property
    def counts(self) -> list[int]:
        """How many rows each rank has."""
        found: list[int] = torch.bincount(self.owner, minlength=self.size).tolist()
        return found

    @cached_property
    def mine(self) -> Tensor:
        """Int64 ``(m,)``, positions in the list that are ours, ascending."""
        return (self.owner == self.rank).nonzero()[:, 0]

    @cached_property
    def places(self) -> Tensor:
        """Int64 ``(n,)``, where each row lies when the ranks' padded parts stand in a row."""
        order = torch.sort(self.owner, stable=True).indices
        counts = torch.tensor(self.counts)
        first = (counts.cumsum(0) - counts).repeat_interleave(counts)
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order)) - first + self.owner[order] * max(self.counts)
        return places


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; needs a process group.

    Attributes:
        rank: 0..size-1; only 0 writes.
        size: number of processes.
        group: of processes that exchange tensors; None = the default one.
    """

    rank: int
    size: int
    group: Any = None

    @classmethod
    def joined(cls) -> "Ranks | None":
        """Return our place in the process group; None outside of one, or in one of one."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return None
        size = distributed.get_world_size()
        return cls(distributed.get_rank(), size) if size > 1 else None

    def share(self, owner: Tensor) -> Share:
        """Return who has which of these rows; ``owner`` int64 ``(n,)``."""
        return Share(owner.cpu(), self.rank, self.size)

    def owners(self, count: int, *lists: Tensor) -> Tensor:
        """Return int64 ``(n,)``, the rank of every row: equal, consecutive parts of each list.

        Args:
            count: n.
            lists: int64 row numbers, e.g. training and validation rows; each is divided for itself,
                so that nobody waits for others, and so are the rows that are in none.
        """
        owner = torch.full((count,), -1)
        for rows in lists:
            owner[rows.cpu()] = self._parts(len(rows))
        left = (owner < 0).nonzero()[:, 0]
        owner[left] = self._parts(len(left))
        return owner

    def _parts(self, count: int) -> Tensor:
        ranks = torch.arange(count) * self.size
        return ranks.div(max(1, count), rounding_mode="floor")

    def merge(self, part: Tensor, share: Share) -> Tensor:
        """Return the rows of all ranks in the order of ``share``, the same on every rank.

        Args:
            part: ``(m, ...)``, our rows.
            share: of n rows, m of which are ours.

        Returns:
            ``(n, ...)``; a gradient flows back to our own rows only, which is all there is of it
            here: other ranks have that of theirs.
        """
        most = max(share.counts)
        padded = part.new_zeros((most, *part.shape[1:]))
        padded[: len(part)] = part
        with self._contact():
            # The others' rows are constants; ours are put in again with their gradient.
            everyone = [torch.empty_like(padded.detach()) for _ in range(self.size)]
            distributed.all_gather(everyone, padded.detach().contiguous(), self.group)
        everyone[self.rank] = padded
        return torch.cat(everyone).index_select(0, share.places.to(part.device))

    def add(self, value: Tensor) -> Tensor:
        """Return the sum over ranks, and sum its gradient over them on the way back."""
        result: Tensor = _Sum.apply(value, self)
        return result

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients of all ranks in place; the loss is that of the whole batch."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self._add_in_place(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def from_first(self, value: T) -> T:
        """Return rank 0's value (plain values and CPU tensors); the others pass anything."""
        box: list[Any] = [value]
        with self._contact():
            distributed.broadcast_object_list(box, src=0, group=self.group)
        received: T = box[0]
        return received

    def agree(self, networks: nn.Module, when: str) -> None:
        """Make sure that all ranks have the same weights, bit for bit.

        Raises:
            LabelRepairError: they have not, e.g. because their processors compute differently.
        """
        total = torch.stack([p.detach().double().sum() for p in networks.parameters()]).sum()
        with self._contact():
            found = [torch.empty_like(total) for _ in range(self.size)]
            distributed.all_gather(found, total, self.group)
        if len({value.item() for value in found}) > 1 and bool(torch.isfinite(total)):
            raise LabelRepairError(
                f"{when}: the networks of the {self.size} ranks have drifted apart; use machines, "
                "drivers and package versions of one kind"
            )

    def _add_in_place(self, value: Tensor) -> None:
        with self._contact():
            distributed.all_reduce(value, group=self.group)

    @contextlib.contextmanager
    def _contact(self) -> Iterator[None]:
        """Turn a lost connection into an error that says what to do.

        Raises:
            LostRank: another process is gone, or has not answered in time.
        """
        try:
            yield
        except RuntimeError as error:
            raise LostRank(
                f"rank {self.rank} of {self.size} has lost contact with another one "
                f"({shown(error, 300)})"
            ) from error


class LostRank(LabelRepairError):
    """Another process of the training is gone; this one noticed."""


class _Sum(torch.autograd.Function):
    """All-reduce, forward and backward."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        total = value.clone()
        ranks._add_in_place(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        total = gradients[0].clone()
        ctx.ranks._add_in_place(total)
        return total, None
