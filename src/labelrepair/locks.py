"""Locks between processes of one machine; the system frees them when a process dies."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

from labelrepair.errors import StoreError

logger = logging.getLogger(__name__)
PATIENCE = 300.0  # seconds
FOREVER = -1.0  # a patience without end


class Lock:
    """One holder at a time. Who holds it may enter again, from any thread of the process.

    The file stays where it is: removing it would let two waiters hold two files of one name.
    """

    def __init__(self, file: Path, what: str, patience: float = PATIENCE) -> None:
        """Name the lock.

        Args:
            file: made when the lock is first taken, with its folder.
            what: what is held, to begin messages with.
            patience: seconds to wait for another holder, or ``FOREVER``.
        """
        self.file, self.what, self.patience = file, what, patience

    @cached_property
    def _lock(self) -> Any:
        from filelock import FileLock  # noqa: PLC0415

        self.file.parent.mkdir(parents=True, exist_ok=True)
        # Kedro's ThreadRunner takes it in one thread and gives it back in another.
        return FileLock(self.file, thread_local=False)

    def acquire(self) -> None:
        """Wait for the lock.

        Raises:
            StoreError: it is not free within the patience, or its file is not ours to lock; then
                the system's error is the cause.
        """
        from filelock import Timeout  # noqa: PLC0415

        try:
            self._wait()
        except Timeout:
            raise StoreError(
                f"{self.what}: another process holds {self.file} for more than {self.patience:g} s"
            ) from None
        except (OSError, NotImplementedError) as error:  # the second: a file system without locks
            raise StoreError(
                f"{self.what}: {self.file} cannot be locked ({getattr(error, 'strerror', error)}); "
                "nothing has been done. To go on, make it and its folder writable and run again"
            ) from error

    def _wait(self) -> None:
        from filelock import Timeout  # noqa: PLC0415

        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            if self.patience:
                logger.info("%s: waiting for whoever holds %s", self.what, self.file)
            self._lock.acquire(timeout=self.patience)

    def release(self) -> None:
        """Give it back, as often as it was taken."""
        self._lock.release()

    def __enter__(self) -> "Lock":
        """Take it for a block."""
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self.release()
