"""The hook that shows our warnings as the sentences that they are."""

import warnings
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl

PACKAGE = Path(__file__).parents[1]


class WarningHook:
    """Leaves file and line of our code out of our warnings while a run lasts.

    The core warns as libraries do, by ``warnings``. What a run logs of that begins with the place
    in our sources, which says nothing to whom the sentence is meant for. Others' stay as they are.
    """

    def __init__(self) -> None:
        """Nothing is changed yet."""
        self._usual: Any = None

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Begin."""
        if self._usual is None:
            self._usual, warnings.formatwarning = warnings.formatwarning, self._formatted

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Leave Python's way as it was."""
        self._end()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Leave Python's way as it was."""
        self._end()

    def _end(self) -> None:
        if self._usual is not None:
            warnings.formatwarning, self._usual = self._usual, None

    def _formatted(
        self, message: Any, category: Any, filename: str, lineno: int, line: str | None = None
    ) -> str:
        if Path(filename).is_relative_to(PACKAGE):
            return str(message)
        return str(self._usual(message, category, filename, lineno, line))
