"""Features in many files of equal size, written once and read by memory map."""

import errno
import json
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labelrepair.atomic import whole_file
from labelrepair.data.rows import Array, Positions, RowStore, blocks
from labelrepair.data.store import write_features
from labelrepair.errors import DataError, StoreError, shown
from labelrepair.label_table import content_hashes

FORMAT = 1
MANIFEST, HASHES = "manifest.json", "hashes.npy"
AGAIN = "run the ingestion pipeline again"
KEPT = 64  # shards that stay mapped: each holds an open file, of which a process may have 1024
_LARGE = 1 << 14  # bytes of a row from which on rows are copied one by one
# What the system refuses to whoever opens a file that may be as it should.
_REFUSED = {
    errno.EMFILE: "raise the limit on the open files of a process (ulimit -n)",
    errno.ENFILE: "end other programs, this machine has no more files to open",
    errno.ENOMEM: "free some memory",
    errno.EACCES: "get the permission to read it",
    errno.EPERM: "get the permission to read it",
}


class Shards(RowStore):
    """Features in a folder that :func:`write_shards` wrote.

    A shard is a ``.npy`` file of ``rows_per_shard`` rows (the last one of fewer). Pages that were
    mapped to copy rows are let go at once: memory does not grow with what has been read. The last
    :data:`KEPT` shards stay mapped: nor does the number of open files.

    Attributes:
        folder: where the files are.
        hashes: uint64 (N,), content hash of each row.
        unfinished: they have not been brought to their place yet.
    """

    unfinished = False

    def __init__(self, folder: str | Path) -> None:
        """Open a folder; shards themselves are opened, and checked, when they are needed.

        Raises:
            DataError: the folder's lists are missing, damaged or contradict each other.
            StoreError: the system does not let them be opened.
        """
        self.folder = Path(folder)
        content = read_manifest(self.folder, "shards")
        self.shape, self.dtype = tuple(content["shape"]), np.dtype(content["dtype"])
        self.rows_per_shard: int = content["rows_per_shard"]
        self.hashes = read_hashes(self.folder, content)
        self._open: dict[int, tuple[mmap.mmap, Array, int]] = {}  # used last comes last
        self._checked: dict[int, tuple[int, ...]] = {}  # the files whose rows have been looked at

    def read(self, rows: Positions) -> Array:
        """Copy rows out of their shards.

        A shard that was cut since it was mapped is refused; one that is cut in the instant of the
        copy ends the process (SIGBUS).

        Raises:
            DataError: a shard is missing, truncated, or of another data set.
            StoreError: the system does not let it be opened, e.g. for want of memory.
        """
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        numbers = rows // self.rows_per_shard
        for number in np.unique(numbers).tolist():
            places = np.flatnonzero(numbers == number)
            self._copy(number, rows[places] - number * self.rows_per_shard, found, places)
        return found

    def _copy(self, number: int, inner: Positions, found: Array, places: Positions) -> None:
        """Copy rows of one shard to their places in ``found``."""
        mapped, shard, start = self._mapped(number)
        size, advised = shard[0].nbytes, hasattr(mapped, "madvise")
        if size < _LARGE:
            found[places] = shard[inner]
        else:  # without a copy in between, all rows being fetched from the disk at once
            for row in inner.tolist() if advised else ():
                first = (start + row * size) // mmap.PAGESIZE * mmap.PAGESIZE
                mapped.madvise(mmap.MADV_WILLNEED, first, start + (row + 1) * size - first)
            for place, row in zip(places.tolist(), inner.tolist(), strict=True):
                found[place] = shard[row]
        if advised:
            mapped.madvise(mmap.MADV_DONTNEED)

    def _mapped(self, number: int) -> tuple[mmap.mmap, Array, int]:
        """Return a shard's map, array and where the array begins."""
        found = self._open.pop(number, None)
        # Touching pages that a file has lost since ends the process: open it anew, and be refused.
        if found is None or found[0].size() < len(found[0]):
            found = self._opened(number)
        self._open[number] = found
        # Another thread may be reading: what it still has in hand is closed when it lets go of it.
        for old in list(self._open)[:-KEPT]:
            self._open.pop(old, None)
        return found

    def _opened(self, number: int) -> tuple[mmap.mmap, Array, int]:
        """Map a shard and check that it is the one that was written."""
        path = self.folder / shard_name(number)
        first = number * self.rows_per_shard
        expected = (min(self.rows_per_shard, len(self) - first), *self.shape[1:])
        try:
            mapped, shard, start, file = _map(path)
        except FileNotFoundError:
            raise DataError(
                f"{path}: no such shard (rows {first} to {first + expected[0] - 1}); {AGAIN}"
            ) from None
        # A damaged header raises all kinds of exceptions.
        except Exception as error:
            _let_through(error, path)
            raise DataError(
                f"{path}: a truncated or damaged shard (rows {first} to "
                f"{first + expected[0] - 1}): {shown(error, 300)}; {AGAIN}"
            ) from error
        if shard.shape != expected or shard.dtype != self.dtype:
            raise DataError(
                f"{path}: holds {shard.dtype} {shard.shape}, expected {self.dtype} {expected} "
                f"(rows {first} to {first + expected[0] - 1}); {AGAIN}"
            )
        if self._checked.get(number) == file:  # mapped before, and not written since
            return mapped, shard, start
        for row in sorted({0, len(shard) - 1}):
            is_, should = content_hashes(shard[row : row + 1])[0], hex_of(self.hashes[first + row])
            if is_ != should:
                raise DataError(
                    f"{path}: row {first + row} is another sample (content hash {is_}, expected "
                    f"{should}): a shard of another data set, or changed; {AGAIN}"
                )
        self._checked[number] = file
        return mapped, shard, start

    def __getstate__(self) -> dict[str, Any]:
        """Leave the mapped files out: another process maps them itself."""
        return {**self.__dict__, "_open": {}}


def write_shards(folder: str | Path, features: Any, rows_per_shard: int) -> Shards:
    """Write features (an array or a store) into shards, going on where a kill stopped it.

    Each file is written whole; the manifest last. A shard that is there already is kept: ``folder``
    must belong to these features alone, see :func:`labelrepair.data.storage.fingerprint`.

    Raises:
        DataError: a row cannot be read.
    """
    folder, count = Path(folder), len(features)
    hashes: list[npt.NDArray[np.uint64]] = []
    for number, first in enumerate(range(0, count, rows_per_shard)):
        path, last = folder / shard_name(number), min(first + rows_per_shard, count)
        block = _finished(path, (last - first, *features.shape[1:]), features.dtype)
        if block is None:
            block = np.ascontiguousarray(features[first:last])
            write_features(path, block)
        hashes.append(as_numbers(content_hashes(block)))
    content = {"storage": "shards", "rows_per_shard": rows_per_shard}
    write_manifest(folder, content, features, np.concatenate(hashes))
    return Shards(folder)


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:06d}.npy"


def write_manifest(
    folder: Path, content: dict[str, Any], features: Any, hashes: npt.NDArray[np.uint64]
) -> None:
    """Write the rows' content hashes, then what seals the folder."""
    write_features(folder / HASHES, hashes)
    content |= {"format": FORMAT, "shape": list(features.shape), "dtype": str(features.dtype)}
    content["hashes"] = content_hashes(hashes[None])[0]
    with whole_file(folder / MANIFEST) as stream:
        stream.write(json.dumps(content, indent=1, sort_keys=True).encode())


def read_manifest(folder: Path, storage: str = "") -> dict[str, Any]:
    """Return what :func:`write_manifest` wrote.

    Args:
        folder: the feature store.
        storage: the kind expected; empty = any.

    Raises:
        DataError: no manifest, a damaged one, or one of another kind.
        StoreError: the system does not let it be opened.
    """
    file = folder / MANIFEST
    try:
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
        known = content["format"] == FORMAT and storage in ("", content["storage"])
        np.dtype(content["dtype"]), [int(size) for size in content["shape"]], content["hashes"]
    except FileNotFoundError:
        raise DataError(f"{file}: no such manifest of a feature store; {AGAIN}") from None
    # Anybody may have written it.
    except Exception as error:
        _let_through(error, file)
        raise DataError(
            f"{file}: not a readable manifest ({shown(error, 300)}); {AGAIN}"
        ) from error
    if not known:
        raise DataError(
            f"{file}: format {content['format']} of storage '{content['storage']}', expected "
            f"{FORMAT} of '{storage}'; {AGAIN}"
        )
    return content


def read_hashes(folder: Path, content: dict[str, Any]) -> npt.NDArray[np.uint64]:
    """Return the content hashes beside a manifest.

    Raises:
        DataError: they are missing, damaged, or another data set's.
        StoreError: the system does not let them be opened.
    """
    file = folder / HASHES
    try:
        hashes: npt.NDArray[np.uint64] = np.load(file, allow_pickle=False)
    except Exception as error:
        _let_through(error, file)
        raise DataError(f"{file}: not readable ({shown(error, 300)}); {AGAIN}") from error
    found = content_hashes(hashes[None])[0]
    if found != content["hashes"] or len(hashes) != content["shape"][0]:
        raise DataError(
            f"{file}: {len(hashes)} hashes, digest {found}; the manifest expects "
            f"{content['shape'][0]}, digest {content['hashes']}: of another data set; {AGAIN}"
        )
    return hashes


def hex_of(number: np.uint64) -> str:
    """Return a content hash as the label table has it."""
    return f"{int(number):016x}"


def as_numbers(hashes: list[str]) -> npt.NDArray[np.uint64]:
    """Return content hashes of the label table as numbers."""
    return np.array([int(text, 16) for text in hashes], np.uint64)


def row_hashes(features: Any) -> npt.NDArray[np.uint64]:
    """Return the content hash of each row (N,): those a store holds; else all rows are read."""
    known: npt.NDArray[np.uint64] | None = getattr(features, "hashes", None)
    if known is not None:
        return known
    return np.concatenate([as_numbers(content_hashes(block)) for block in blocks(features)])


def _let_through(error: Exception, path: Path) -> None:
    """Raise StoreError where the system refused to open a file: it need not be damaged."""
    if isinstance(error, OSError) and error.errno in _REFUSED:
        raise StoreError(
            f"{path}: cannot be opened ({os.strerror(error.errno)}); "
            f"{_REFUSED[error.errno]} and run again"
        ) from error


def _map(path: Path) -> tuple[mmap.mmap, Array, int, tuple[int, ...]]:
    """Map a ``.npy`` file, read-only.

    Returns:
        Map, array, where the array begins, and what tells this file from one written later.
    """
    with path.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"version {version} of the .npy format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        start, count = stream.tell(), int(np.prod(shape))
        facts, expected = os.fstat(stream.fileno()), start + count * dtype.itemsize
        if facts.st_size != expected:
            raise ValueError(f"found {facts.st_size} bytes, expected {expected}")
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    array = np.frombuffer(mapped, dtype, count, start).reshape(shape)
    return mapped, array, start, (facts.st_dev, facts.st_ino, facts.st_mtime_ns)


def _finished(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
    """Return a shard that an interrupted ingestion finished."""
    if not path.exists():
        return None
    found: Array = np.load(path, allow_pickle=False)
    return found if found.shape == shape and found.dtype == dtype else None
