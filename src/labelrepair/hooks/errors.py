"""The hook that shows our errors in one line."""

import os
import sys
import traceback
from types import TracebackType
from typing import TypeGuard

from kedro.framework.hooks import hook_impl
from kedro.io import DatasetError
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
    # Around what a resolver, or a dataset of ours, has raised.
    while isinstance(found, InterpolationResolutionError) or _is_foreign(found):
        found = found.__cause__ or found.__context__
    if isinstance(found, LabelRepairError | DatasetError):
        sys.stderr.write(f"Error: {found}\n(LABELREPAIR_TRACEBACK=1 shows where)\n")
    else:
        sys.__excepthook__(kind, error, trace)


def _is_foreign(error: BaseException | None) -> TypeGuard[DatasetError]:
    """Return whether this is Kedro's word about a dataset, and not that of a dataset of ours."""
    if not isinstance(error, DatasetError):
        return False
    frames = list(traceback.walk_tb(error.__traceback__))
    module = frames[-1][0].f_globals["__name__"] if frames else ""
    return not str(module).startswith("labelrepair.")
