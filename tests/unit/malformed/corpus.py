"""What a malformed input is: something that reads it, and how it must be refused."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labelrepair.errors import DataError, LabelRepairError

SECONDS, MEGABYTES = 5.0, 300
"""No malformed input may take longer, or more memory on top of what the process holds."""
WALL_SECONDS, LIMIT_MEGABYTES = 60.0, 3_000
"""Here a case is stopped: it hangs, or unpacks a bomb. Far more, as machines may be busy."""


@dataclass(frozen=True)
class Case:
    """Attributes: read: gets an empty folder, writes the input there and reads it."""

    name: str
    read: Callable[[Path], Any]
    messages: tuple[str, ...]
    error: type[LabelRepairError] = DataError

    def check(self, folder: Path) -> None:
        """Refused with the documented error class, by name, within the bounds."""
        with bounded(self.name), pytest.raises(self.error) as caught:
            self.read(folder)
        said = str(caught.value)
        for message in self.messages:
            assert re.search(message, said, re.DOTALL), f"{message!r} is not in: {said[:1000]}"
        assert len(said) < 2_000, said[:300]


class _Stopped(BaseException):
    """Out of time; what is read may swallow any Exception, and asserts are some."""


@contextlib.contextmanager
def bounded(name: str) -> Iterator[None]:
    """Fail what takes too long or too much, and stop what hangs or unpacks a bomb."""
    before, started = _resident(), time.process_time()
    _reset_peak()
    try:
        with _alarm(), _limit():
            yield
    except _Stopped:
        raise AssertionError(f"{name}: still busy after {WALL_SECONDS} s") from None
    except MemoryError as error:
        raise AssertionError(f"{name}: more than {LIMIT_MEGABYTES} MB: {error}") from None
    seconds = time.process_time() - started
    grown = (_peak() - before) / 2**20
    assert seconds < SECONDS, f"{name}: {seconds:.1f} s"
    assert grown < MEGABYTES, f"{name}: {grown:.0f} MB"


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    """Raise _Stopped when the time is over, also in a system call, and again if that is ignored."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: object) -> None:
        raise _Stopped

    handler = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    """Let the process take little more memory than it has; a bomb then is a MemoryError."""
    held = _status("VmData")
    if not held:
        yield
        return
    import resource  # noqa: PLC0415 - not on Windows

    limits = resource.getrlimit(resource.RLIMIT_DATA)
    most = int(held) + LIMIT_MEGABYTES * 2**20
    ends = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([most, *ends]), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    return _status("VmHWM")


def _resident() -> float:
    return _status("VmRSS")


def _status(field: str) -> float:
    """Return bytes from the kernel's books; 0 where there are none (not Linux)."""
    if not os.path.exists("/proc/self/status"):
        return 0.0
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024.0 * int(found[1]) if found else 0.0
