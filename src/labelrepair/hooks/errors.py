"""The hook that shows our errors in one line."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import TypeGuard

from kedro.framework.hooks import hook_impl
from kedro.io import DatasetError
from omegaconf.errors import InterpolationResolutionError

from labelrepair.errors import LabelRepairError, StoreError, shown

_MLFLOW_SAYS = "mlflow.store.db.utils"  # it logs each traceback of its database, and raises it


class ErrorHook:
    """Ends a command with the message alone where the error is one of ours: it says what to do."""

    @hook_impl(tryfirst=True)
    def after_context_created(self) -> None:
        """Show them so, unless LABELREPAIR_TRACEBACK is set or a host has a way of its own."""
        if sys.excepthook is sys.__excepthook__ and not os.environ.get("LABELREPAIR_TRACEBACK"):
            sys.excepthook = _show
            logging.getLogger(_MLFLOW_SAYS).setLevel(logging.CRITICAL)


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    found: BaseException | None = error
    # Around what a resolver, or a dataset of ours, has raised.
    while isinstance(found, InterpolationResolutionError) or _is_foreign(found):
        found = found.__cause__ or found.__context__
    if not isinstance(found, LabelRepairError):
        found = _of_mlflows_database(error) or found
    if isinstance(found, LabelRepairError | DatasetError):
        sys.stderr.write(f"Error: {found}\n(LABELREPAIR_TRACEBACK=1 shows where)\n")
    else:
        sys.__excepthook__(kind, error, trace)


def _of_mlflows_database(error: BaseException) -> LabelRepairError | None:
    """Return what to show for a refusal of MLflow's database; None if this is something else.

    MLflow also writes down that a run has failed: then what it failed of is shown instead.
    """
    chain = list(_chain(error))
    # By name: SQLAlchemy takes a second to import, and every database has an error of its own.
    refused = [found for found in chain if type(found).__name__ == "OperationalError"]
    if not refused or not any("mlflow" in _packages(found) for found in chain):
        return None
    reasons = [found for found in chain if isinstance(found, LabelRepairError)]
    if reasons:
        return reasons[-1]
    if any("kedro" in _packages(older) for older in chain[chain.index(refused[-1]) + 1 :]):
        return None
    return StoreError(
        f"MLflow's database: cannot be written ({shown(refused[-1])}); the products in data/ are "
        "whole, each of them either new or as it was. To go on, free some space, make the "
        "database's file and folder writable, or name another store in conf/local/mlflow.yml, and "
        "run again"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _packages(error: BaseException) -> set[str]:
    """Return the packages whose code an error has come through."""
    frames = traceback.walk_tb(error.__traceback__)
    return {str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in frames}


def _is_foreign(error: BaseException | None) -> TypeGuard[DatasetError]:
    """Return whether this is Kedro's word about a dataset, and not that of a dataset of ours."""
    if not isinstance(error, DatasetError):
        return False
    frames = list(traceback.walk_tb(error.__traceback__))
    module = frames[-1][0].f_globals["__name__"] if frames else ""
    return not str(module).startswith("labelrepair.")
