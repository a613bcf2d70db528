"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

logger = logging.getLogger(__name__)
QUIET_SECONDS = 10.0  # least time between two lines of a log


class Progress:
    """Shows how far training is."""

    def __init__(self, epochs: int, show: bool = True) -> None:
        """Prepare for ``epochs`` epochs in all; ``show=False`` stays silent."""
        self._epochs, self._show = epochs, show
        self._done, self._last_line = 0, 0.0
        self._bar: RichProgress | None = None

    def silence(self, silent: bool = True) -> None:
        """Show nothing from now on, if ``silent``."""
        self._show = self._show and not silent

    def start(self, done: int) -> None:
        """Begin, ``done`` epochs having been trained before a resume."""
        self._done, self._last_line = done, time.monotonic()
        if self._show and sys.stderr.isatty():
            columns = ("training", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = RichProgress(*columns, TextColumn("{task.description}"))
            self._bar.start()
            self._bar.add_task("", total=self._epochs, completed=done)

    def epoch(self, row: dict[str, Any]) -> None:
        """Show one finished epoch."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, description=_line(row))
        elif self._show and self._due():
            logger.info("epoch %d/%d  %s", self._done, self._epochs, _line(row))

    def stop(self) -> None:
        """End, however training ended."""
        if self._bar is not None:
            self._bar.stop()

    def _due(self) -> bool:
        now = time.monotonic()
        if self._done < self._epochs and now - self._last_line < QUIET_SECONDS:
            return False
        self._last_line = now
        return True


def _line(row: dict[str, Any]) -> str:
    parts = [str(row["stage"]), f"loss {row['loss']:.4f}", f"used {row['used_share']:.0%}"]
    for key, label in (("noisy_val_accuracy", "noisy val"), ("test_accuracy", "test")):
        if key in row:
            parts.append(f"{label} {row[key]:.2%}")
    return ", ".join(parts)
