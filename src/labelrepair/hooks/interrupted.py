"""The hook that closes what an interrupted run left open."""

import atexit
import signal
import sys
import threading
from typing import Any, Protocol

from kedro.framework.hooks import hook_impl


class Holder(Protocol):
    """What a run holds while it works."""

    def give_back(self) -> None:
        """Let go of it."""


class InterruptHook:
    """Gives locks back and ends MLflow's run after a Ctrl-C, of which Kedro tells no hook.

    On the command line the process ends, and MLflow would call its run finished. A notebook lives
    on: its locks would refuse every other process, and the next run would write into the MLflow run
    of the interrupted one. In IPython this happens as soon as the cell has been interrupted,
    elsewhere when the next session begins. SIGTERM, by which schedulers and containers stop a
    process, ends a run in the same way.
    """

    def __init__(self, *holders: Holder) -> None:
        """Remember whose run this is about.

        Args:
            holders: the hooks that hold something during a run.
        """
        self._holders = holders
        self._open = self._registered = False
        self._before: str | None = None
        self._on_stop: Any = None

    @hook_impl(tryfirst=True)  # kedro-mlflow looks for an active run then
    def after_context_created(self) -> None:
        """Close what the last run of this process left open."""
        self._close()

    @hook_impl(tryfirst=True)  # before kedro-mlflow opens a run
    def before_pipeline_run(self) -> None:
        """Remember that a run is under way, and which MLflow run was active before."""
        self._open, self._before = True, _active()
        self._listen()
        shell = _ipython()
        if shell is not None and not self._registered:
            shell.events.register("post_run_cell", self._after_cell)
            self._registered = True

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Nothing is open any more."""
        self._ended()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Nothing is open any more."""
        self._ended()

    def _listen(self) -> None:
        """Close at the end of the process, before MLflow does; have SIGTERM end it in order."""
        atexit.unregister(self._close)  # what is registered last is called first
        atexit.register(self._close)
        here = threading.current_thread() is threading.main_thread()
        if here and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._on_stop = signal.signal(signal.SIGTERM, _stop)

    def _ended(self) -> None:
        self._open = False
        if self._on_stop is not None and signal.getsignal(signal.SIGTERM) is _stop:
            signal.signal(signal.SIGTERM, self._on_stop)
        self._on_stop = None

    def _after_cell(self, result: Any) -> None:
        if isinstance(result.error_in_exec, KeyboardInterrupt):
            self._close()

    def _close(self) -> None:
        if not self._open:
            return
        self._ended()
        for holder in self._holders:
            holder.give_back()
        active = _active()
        if active is not None and active != self._before:
            sys.modules["mlflow"].end_run("KILLED")


def _stop(number: int, _frame: Any) -> None:
    sys.exit(128 + number)


def _active() -> str | None:
    """Return the id of MLflow's active run, if there is one."""
    run = sys.modules["mlflow"].active_run() if "mlflow" in sys.modules else None
    return None if run is None else str(run.info.run_id)


def _ipython() -> Any:
    """Return the shell that this process is, or None."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
