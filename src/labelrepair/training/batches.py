"""Data as the loop sees it: normalised and augmented many batches at a time.

Features are a tensor on the device or a stream of rows that lie elsewhere
(:mod:`labelrepair.training.streamed`); ``batches()`` makes the same of both.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from labelrepair.errors import DataError
from labelrepair.networks.classifier import Normalizer
from labelrepair.networks.features import Features, chunk_rows, portions
from labelrepair.training.config import Augment


@dataclass(frozen=True)
class TrainSet:
    """Features and given labels of the rows that may be repaired. Holds no true labels.

    Attributes:
        features: uint8 or float32 ``(N, ch, H, W)`` images, float32 ``(N, D)`` vectors or integer
            ``(N, L)`` tokens: a tensor, or a stream of such rows.
        given_labels: int64 ``(N,)`` in 0..num_classes-1.
        num_classes: C.
        train_rows: int64 ``(n,)``, the rows that gradient steps may use.
        val_rows: int64 ``(m,)``, rows held out for model choice; their labels are noisy too.
    """

    features: Features
    given_labels: Tensor
    num_classes: int
    train_rows: Tensor
    val_rows: Tensor

    def __post_init__(self) -> None:
        """Check the sizes and that there is something to train on."""
        if len(self.features) != len(self.given_labels):
            raise DataError(
                f"features have {len(self.features)} rows, given labels {len(self.given_labels)}"
            )
        if len(self.train_rows) == 0:
            raise DataError("the training split is empty: there are no rows to learn from")

    def to(self, device: torch.device) -> "TrainSet":
        """Return the set with every tensor on ``device``."""
        return TrainSet(
            self.features.to(device),
            self.given_labels.to(device),
            self.num_classes,
            self.train_rows.to(device),
            self.val_rows.to(device),
        )


@dataclass(frozen=True)
class Holdout:
    """A split that is only looked at: features as in :class:`TrainSet`, labels int64 ``(M,)``."""

    features: Features
    labels: Tensor


@dataclass(frozen=True)
class Batch:
    """One batch: ``rows`` int64 ``(B,)`` is the key into all per-sample state."""

    rows: Tensor
    features: Tensor
    labels: Tensor


def crop_flip(
    images: Tensor,
    augment: Augment,
    draws: torch.Generator,
    among: tuple[int, Tensor] | None = None,
) -> Tensor:
    """Pad, crop at random and mirror at random in one gather; what is drawn is copied once.

    Args:
        images: float ``(B, ch, H, W)``; the padding is 0, i.e. the mean where one is subtracted.
        augment: ``crop`` pixels of padding on each side and whether to ``flip``.
        draws: CPU generator of this epoch's augmentation.
        among: the images are only these of so many, (n, int64 ``(B,)`` positions on the CPU), and
            are treated as if all were here.

    Returns:
        Float ``(B, ch, H, W)``.
    """
    count, _, height, width = images.shape
    device = images.device
    size = count if among is None else among[0]
    offsets = torch.randint(0, 2 * augment.crop + 1, (2, size, 1), generator=draws)
    mirrored = torch.randint(0, 2, (size, 1), generator=draws).bool() & augment.flip
    if among is not None:
        offsets, mirrored = offsets[:, among[1]], mirrored[among[1]]
    rows = (offsets[0] + torch.arange(height)).to(device)
    steps = torch.arange(width)
    columns = (offsets[1] + torch.where(mirrored, steps.flip(0), steps)).to(device)
    padded = functional.pad(images, [augment.crop] * 4)
    sample = torch.arange(count, device=device)
    picked = padded[sample[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()


def batches(
    data: TrainSet,
    order: Tensor,
    batch_size: int,
    normalizer: Normalizer,
    augment: Augment,
    draws: torch.Generator,
) -> Iterator[list[Batch]]:
    """Yield chunks of batches in the given order.

    Args:
        data: the set.
        order: int64 ``(n,)`` rows of this epoch, already shuffled, on the data's device.
        batch_size: B; the last batch may be smaller (cut ``order`` to avoid that).
        normalizer: applied once per chunk.
        augment: applied after it, to images only.
        draws: CPU generator of this epoch's augmentation.

    Yields:
        Lists of consecutive batches; together they cover ``order``.
    """
    per_chunk = max(1, chunk_rows(data.features) // batch_size) * batch_size
    chunks = torch.split(order, per_chunk)
    for rows, stored in zip(chunks, portions(data.features, chunks), strict=True):
        features = normalizer(stored)
        if augment.active and features.dim() == 4:
            features = crop_flip(features, augment, draws)
        parts = (rows, features, data.given_labels[rows])
        pieces = zip(*(torch.split(part, batch_size) for part in parts), strict=True)
        yield [Batch(*piece) for piece in pieces]
        del features, parts, pieces  # as in ``Pass.go``
