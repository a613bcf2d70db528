"""Rows of a store, read ahead of the training that needs them."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from labelrepair.data.rows import RowStore, Taken
from labelrepair.data.storage import load_features
from labelrepair.errors import ConfigError, LabelRepairError
from labelrepair.networks.features import Stream
from labelrepair.training.device import hand_back_memory

T = TypeVar("T")
AHEAD = 2  # portions read before they are asked for
PIECE_BYTES = 1 << 22  # what a process of a loader decodes at once; passes through shared memory


class Streamed:
    """Features that stay where they are: what does not fit on the device or into memory.

    A thread reads portions ahead of the training: from memory-mapped shards by itself, from image
    files by way of ``store.workers`` processes. For a GPU it copies them from pinned memory on a
    stream of its own. The same rows in the same order give the same bits as a resident tensor.
    """

    def __init__(self, store: RowStore, device: torch.device | str = "cpu") -> None:
        """Refer to a store's rows."""
        self.store, self.device = store, torch.device(device)
        self.shape = tuple(store.shape)
        self.dtype = torch.from_numpy(np.empty(0, store.dtype)).dtype

    def __len__(self) -> int:
        """Return N."""
        return len(self.store)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return rows at int64 positions, on the device."""
        return torch.from_numpy(self.store.read(rows.cpu().numpy())).to(self.device)

    def take(self, rows: Tensor) -> "Streamed":
        """Return rows as a stream; nothing is read."""
        return Streamed(self.store.take(rows.cpu().numpy()), self.device)

    def to(self, device: torch.device) -> "Streamed":
        """Return the same rows for another device."""
        return Streamed(self.store, device)

    def portions(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the rows at each of ``parts`` on the device, read ahead by a thread.

        Raises:
            DataError: a row cannot be read any more, see the store.
        """
        wanted = [part.cpu().numpy() for part in parts]
        if self.device.type != "cuda":
            yield from (read.to(self.device) for read in ahead(lambda: self._read(wanted)))
            return
        for portion, copied in ahead(lambda: self._copied(wanted)):
            current = torch.cuda.current_stream(self.device)
            current.wait_event(copied)
            portion.record_stream(current)
            yield portion

    def _copied(self, wanted: list[Any]) -> Iterator[tuple[Tensor, Any]]:
        """Yield portions on the GPU, each with the event after its copy."""
        side = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        for portion in self._read(wanted):
            with torch.cuda.device(self.device), torch.cuda.stream(side):
                moved = portion.pin_memory().to(self.device, non_blocking=True)
                yield moved, side.record_event()

    def _read(self, wanted: list[Any]) -> Iterator[Tensor]:
        """Yield portions in memory."""
        size = max(1, self.store.nbytes // max(1, len(self)))
        step = max(1, PIECE_BYTES // size)
        pieces = [[rows[i : i + step] for i in range(0, len(rows), step)] for rows in wanted]
        count = sum(map(len, pieces))
        if min(self.store.workers, count) < 2:
            for rows in wanted:
                yield torch.from_numpy(self.store.read(rows))
            return
        read = iter(_loader(self.store, [piece for parts in pieces for piece in parts]))
        for rows, parts in zip(wanted, pieces, strict=True):
            # A rank may hold no row of a portion; such a one goes to no process.
            found = [_unpacked(read) for _ in parts]
            yield torch.cat(found) if found else torch.from_numpy(self.store.read(rows))


def address(features: Stream) -> dict[str, Any]:
    """Return in tensors and plain values where another process finds the rows of a stream.

    Raises:
        ConfigError: they lie in no folder.
    """
    store: Any = getattr(features, "store", None)
    rows = np.arange(len(features))
    while isinstance(store, Taken):
        store, rows = store.base, store.rows[rows]
    folder = getattr(store, "folder", None)
    if folder is None:
        raise ConfigError("training.distributed: features that lie in no folder cannot be shared")
    place = str(Path(folder).absolute())
    return {"folder": place, "rows": torch.from_numpy(rows), "workers": store.workers}


def at_address(content: dict[str, Any]) -> "Streamed":
    """Return the stream of an :func:`address`."""
    store: Any = load_features(Path(content["folder"]), workers=content["workers"])
    return Streamed(store.take(content["rows"].numpy()))


class _Reader(Dataset[Any]):
    """What a process of a loader does; an error of ours is handed over, not wrapped in a trace."""

    def __init__(self, store: RowStore) -> None:
        self.store = store

    def __getitems__(self, rows: Any) -> Tensor | LabelRepairError:
        try:
            return torch.from_numpy(self.store.read(np.asarray(rows)))
        except LabelRepairError as error:
            return error


def _loader(store: RowStore, pieces: list[Any]) -> Iterable[Tensor | LabelRepairError]:
    hand_back_memory()
    return DataLoader(
        _Reader(store),
        batch_sampler=pieces,
        num_workers=min(store.workers, len(pieces)),
        generator=torch.Generator(),  # else it draws from the one that dropout draws from
        collate_fn=_as_is,
    )


def _as_is(piece: Any) -> Any:
    return piece


def _unpacked(read: Iterator[Tensor | LabelRepairError]) -> Tensor:
    try:
        piece = next(read)
    except RuntimeError as error:  # a process was killed, or there is no shared memory left
        raise LabelRepairError(f"a process that decodes images ended: {error}") from error
    if isinstance(piece, LabelRepairError):
        raise piece
    return piece


def ahead(make: Callable[[], Iterator[T]], depth: int = AHEAD) -> Iterator[T]:
    """Run an iterator in a thread, up to ``depth`` items ahead; its errors are raised here."""
    items: queue.Queue[Any] = queue.Queue(depth)
    stopped, end = threading.Event(), object()

    def put(item: Any) -> bool:
        while not stopped.is_set():
            try:
                items.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in make():
                if not put((item, None)):
                    return
            put((end, None))
        # Whatever went wrong is the reader's to see.
        except BaseException as error:
            put((end, error))

    thread = threading.Thread(target=work, name="labelrepair-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = items.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
