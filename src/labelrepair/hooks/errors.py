"""The hook that shows our errors in one line."""

import os
import sys
from types import TracebackType

from kedro.framework.hooks import hook_impl
from omegaconf.errors import InterpolationResolutionError

from labelrepair.errors import LabelRepairError


class ErrorHook:
    """Ends a command with the message alone where the error is one of ours: it says what to do."""

    @hook_impl(tryfirst=True)
    def after_context_created(self) -> None:
        """Show them so, unless LABELREPAIR_TRACEBACK is set or a host has a way of its own."""
        if sys.excepthook is sys.__excepthook__ and not os.environ.get("LABELREPAIR_TRACEBACK"):
            sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    found: BaseException | None = error
    while isinstance(found, InterpolationResolutionError):  # around what a resolver has raised
        found = found.__cause__ or found.__context__
    if isinstance(found, LabelRepairError):
        sys.stderr.write(f"Error: {found}\n(LABELREPAIR_TRACEBACK=1 shows where)\n")
    else:
        sys.__excepthook__(kind, error, trace)
