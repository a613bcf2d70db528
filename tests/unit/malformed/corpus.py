"""What a malformed input is: something that reads it, and how it must be refused."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labelrepair.errors import DataError, LabelRepairError

SECONDS, MEGABYTES = 5.0, 300
"""No malformed input may take longer, or more memory on top of what the process holds."""


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


@contextlib.contextmanager
def bounded(name: str) -> Iterator[None]:
    before, started = _resident(), time.process_time()
    _reset_peak()
    yield
    seconds = time.process_time() - started
    grown = (_peak() - before) / 2**20
    assert seconds < SECONDS, f"{name}: {seconds:.1f} s"
    assert grown < MEGABYTES, f"{name}: {grown:.0f} MB"


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
