"""Features as networks are fed: a tensor on the device, or rows that come there when asked for."""

import math
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

CHUNK_ROWS = 8192  # rows gathered by one operation ...
CHUNK_BYTES = 1 << 27  # ... and at most so many bytes as float32


@runtime_checkable
class Stream(Protocol):
    """N rows that lie elsewhere; what of a tensor is needed to learn from them.

    Attributes:
        shape: ``(N, ...)``.
        dtype: of the rows.
        device: where rows come to.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return rows at int64 positions, on the device."""

    def portions(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the rows at each of ``parts``, read ahead."""

    def take(self, rows: Tensor) -> "Stream":
        """Return rows as a stream; nothing is read."""

    def to(self, device: torch.device) -> "Stream":
        """Return the same rows for another device."""


Features = Tensor | Stream


def portions(features: Features, parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield the rows at each of ``parts``, int64 positions."""
    if isinstance(features, Tensor):
        return (features[part] for part in parts)
    return features.portions(parts)


def in_order(features: Features, size: int, rows: Tensor | None = None) -> Iterator[Tensor]:
    """Yield all rows, or those at ``rows``, ``size`` at a time."""
    if rows is not None:
        return portions(features, torch.split(rows, size))
    if isinstance(features, Tensor):
        return iter(torch.split(features, size))
    return features.portions(torch.split(torch.arange(len(features)), size))


def take(features: Features, rows: Tensor) -> Features:
    """Return rows of a tensor (a copy) or of a stream (nothing is read)."""
    return features[rows] if isinstance(features, Tensor) else features.take(rows)


def chunk_rows(features: Features) -> int:
    """Return how many rows to gather at once; the same wherever they lie, so that bits agree."""
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // (4 * max(1, math.prod(features.shape[1:])))))


def is_tokens(features: Features) -> bool:
    """Return whether rows are token numbers: neither images (uint8) nor numbers with a point."""
    return features.dtype != torch.uint8 and not features.dtype.is_floating_point
