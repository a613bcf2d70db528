"""Arrays whose rows are read when they are asked for: what does not fit into memory."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Positions = npt.NDArray[np.int64]
BLOCK_BYTES = 1 << 25  # bytes read at once by whoever goes through all rows


class RowStore(ABC):
    """N rows of one shape and dtype, somewhere. Indexing along the first axis returns an array.

    Attributes:
        shape: ``(N, ...)``.
        dtype: of the values.
        workers: processes that are worth their while when many rows are read; 0 where reading is
            no work.
        hashes: uint64 (N,), content hash of each row as ingestion found it; None = not known.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    workers: int = 0
    hashes: Any = None

    @abstractmethod
    def read(self, rows: Positions) -> Array:
        """Return the rows at these positions, in this order, as a new array."""

    @property
    def ndim(self) -> int:
        """Number of axes, the rows' included."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows as an array."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        """Return N."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        """Return one row (an integer), or the rows of a slice, a mask or positions."""
        if isinstance(key, (int, np.integer)):
            if not -len(self) <= key < len(self):
                raise IndexError(f"row {key} of {len(self)}")
            one: Array = self.read(np.array([key % len(self)]))[0]
            return one
        return self.read(positions(key, len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all rows: only for sets that fit into memory."""
        if copy is False:
            raise ValueError("rows of a store are always copied")
        return np.asarray(self.read(np.arange(len(self))), dtype=dtype)

    def take(self, rows: Any) -> "RowStore":
        """Return the rows at positions, or under a mask, as a store; nothing is read."""
        return Taken(self, positions(rows, len(self)))


class Taken(RowStore):
    """Some rows of another store."""

    def __init__(self, base: RowStore, rows: Positions) -> None:
        """Refer to ``rows`` of ``base``."""
        self.base, self.rows = base, rows
        self.shape, self.dtype = (len(rows), *base.shape[1:]), base.dtype
        self.workers = base.workers

    def read(self, rows: Positions) -> Array:
        """See :class:`RowStore`."""
        return self.base.read(self.rows[rows])


def positions(key: Any, count: int) -> Positions:
    """Return int64 positions of a slice, a mask or positions among ``count`` rows."""
    if isinstance(key, slice):
        return np.arange(*key.indices(count))
    found = np.asarray(key)
    if found.dtype == bool:
        if len(found) != count:
            raise IndexError(f"a mask of {len(found)} for {count} rows")
        return np.flatnonzero(found)
    found = found.astype(np.int64).reshape(-1)
    if len(found) and not (-count <= found.min() and found.max() < count):
        raise IndexError(f"rows {found.min()}..{found.max()} of {count}")
    return found % max(1, count)


def take(features: Any, rows: Any) -> Any:
    """Return rows of an array (a copy) or of a store (nothing is read)."""
    return features.take(rows) if isinstance(features, RowStore) else features[rows]


def blocks(features: Any, most: int = BLOCK_BYTES) -> Iterator[Array]:
    """Yield all rows of an array or a store, in order, in arrays of about ``most`` bytes."""
    size = int(np.prod(features.shape[1:], dtype=np.int64)) * features.dtype.itemsize
    step = max(1, most // max(1, size))
    for start in range(0, len(features), step):
        yield np.asarray(features[start : start + step])
