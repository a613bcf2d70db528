"""Start the processes of a training, or be one of those that torchrun has started.

A job is a function by its import path and one file of tensors and plain values; every process maps
the file and reads what it needs of it. Only rank 0's answer is kept.
"""

import atexit
import contextlib
import datetime
import importlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from labelrepair import errors
from labelrepair.atomic import whole_file
from labelrepair.errors import ConfigError, LabelRepairError
from labelrepair.training.config import Distributed
from labelrepair.training.ranks import LostRank, Ranks

logger = logging.getLogger(__name__)
Content = dict[str, Any]
FOREVER = datetime.timedelta(days=30)  # others wait so long for rank 0 to have a job for them
# Seconds for which a rank that met an error waits for rank 0 to end the job as well: what a host
# sees of a shared folder may be a minute old.
GRACE = 90.0
_MAIN = "labelrepair.training.rank_main"
_AGAIN = (
    "the other ranks have been stopped and nothing but the checkpoint has been written; start the "
    "run again to go on from the last epoch that was saved"
)
_joined: list[Ranks] = []  # our place among the processes that torchrun started, if it did


def together(config: Distributed) -> bool:
    """Return whether a training with these settings is one of several processes."""
    return bool(_joined) or config.processes > 1


def run(target: str, content: Content, config: Distributed, folder: Path | None = None) -> Content:
    """Run a function in several processes and return what it returns on rank 0.

    Args:
        target: ``package.module:function``, called with the content and :class:`Ranks`; its answer
            holds tensors and plain values only, as does the content.
        content: what it needs.
        config: how many processes; where torchrun has started some, these are taken.
        folder: of the file that hands over the content, where torchrun has started the processes:
            those of several hosts must see it. None = the working folder.

    Raises:
        StoreError: the disk is full.
        LabelRepairError: the one that a process raised, or one that names the process that ended.
    """
    shared = folder or Path.cwd()
    if _joined:
        shared.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=".ranks-", dir=shared if _joined else None))
    try:
        save(content, place / "content.pt")
        if _joined:
            with _contact():
                _joined[0].from_first((target, str(place), config.backend, config.timeout))
            try:
                return work(target, place, training_group(config.backend, config.timeout)) or {}
            except LostRank as error:
                found = said(place)
                if found is None:
                    raise
                raise found from error  # what made the other one leave
        _start(target, place, config)
        return _load(place / "answer.pt")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def work(target: str, place: Path, ranks: Ranks) -> Content | None:
    """Do this process's part of a job; rank 0 returns the answer."""
    module, _, name = target.partition(":")
    function: Callable[[Content, Ranks], Content] = getattr(importlib.import_module(module), name)
    with _contact():
        content = _load(place / "content.pt")
        if _joined:  # rank 0 deletes the file when it is done, or fails: first all must have it
            _joined[0].add(torch.zeros(1))
        answer = function(content, ranks)
    return answer if ranks.rank == 0 else None


def join() -> None:
    """Join the processes that torchrun has started; call it before anything else.

    Rank 0 returns at once and goes on alone; its trainings are shared with the others, which stay
    in here and leave the process when rank 0 does, or with code 1 after an error that rank 0 did
    not meet. All end with torchrun. Without it (no ``RANK`` and ``WORLD_SIZE`` in the environment)
    or with one process nothing happens.
    """
    if _joined or int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        return
    if distributed.is_torchelastic_launched():  # else our parent may be a shell that ends first
        watch_parent()
    own_gpu()
    distributed.init_process_group("gloo", timeout=FOREVER)
    ranks = Ranks.joined()
    if ranks is None:
        return
    _joined.append(ranks)
    if ranks.rank == 0:
        atexit.register(_dismiss, ranks)
        return
    logging.getLogger("labelrepair").setLevel(logging.ERROR)
    _serve(ranks)
    sys.exit(0)


def training_group(backend: str, timeout: float) -> Ranks:
    """Return the ranks with a group of their own for one training, on the fastest backend."""
    everyone = Ranks.joined()
    if everyone is None:
        raise RuntimeError("no process group")
    group = distributed.new_group(
        backend=choose_backend(backend), timeout=datetime.timedelta(seconds=timeout)
    )
    return Ranks(everyone.rank, everyone.size, group)


def choose_backend(name: str) -> str:
    """Return the backend: ``auto`` is NCCL where each local process has its own GPU, else gloo.

    Raises:
        ConfigError: NCCL was asked for and there are fewer GPUs than processes.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    enough = torch.cuda.is_available() and torch.cuda.device_count() >= local
    if name == "nccl" and not enough:
        raise ConfigError(
            f"training.distributed.backend: nccl needs a GPU for each of the {local} processes of "
            f"this machine, found {torch.cuda.device_count()}; choose gloo or fewer processes"
        )
    return name if name != "auto" else "nccl" if enough else "gloo"


def own_gpu() -> None:
    """Take the GPU that is this process's turn as the one that ``auto`` and ``cuda`` mean."""
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(local % torch.cuda.device_count())


def _serve(ranks: Ranks) -> None:
    """Do jobs of rank 0 until it has no more."""
    while True:
        try:
            job = ranks.from_first(None)
        except LostRank:
            return  # rank 0 is gone; what happened it or torchrun says
        if job is None:
            # As rank 0 does: groups that the interpreter's end takes apart may abort the process.
            with contextlib.suppress(RuntimeError):
                distributed.destroy_process_group()
            return
        target, place, backend, timeout = job
        try:
            work(target, Path(place), training_group(backend, timeout))
        except LabelRepairError as error:
            _end_with_first(error, Path(place), ranks)


def _end_with_first(error: LabelRepairError, place: Path, ranks: Ranks) -> None:
    """Return once rank 0 has ended the job; leave the process if it goes on without us.

    Most errors are everyone's: rank 0 raises them, and may have another job. Where it does not, it
    waits for us in an exchange that only our end ends (torchrun then ends all).
    """
    until = time.monotonic() + GRACE
    while place.exists():
        if time.monotonic() > until:
            say(error, place, ranks.rank)
            kind = type(error).__name__
            sys.stderr.write(f"rank {ranks.rank} of {ranks.size}: {kind}: {error}\n")
            sys.stderr.flush()
            os._exit(1)  # the usual way out may wait for the others
        time.sleep(0.1)


def _dismiss(ranks: Ranks) -> None:
    """Send the others home."""
    with contextlib.suppress(LabelRepairError):
        ranks.from_first(None)
        distributed.destroy_process_group()


def watch_parent(parent: int | None = None, place: Path | None = None) -> None:
    """End with the process that started us, however it ends.

    Args:
        parent: its number, where it can have ended before we ask who it is; None = ask now.
        place: the folder of the job, which nobody else would delete any more.
    """
    started_by = os.getppid() if parent is None else parent

    def watch() -> None:
        while os.getppid() == started_by:
            time.sleep(1)
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def say(error: LabelRepairError, place: Path, rank: int) -> None:
    """Leave the error of a rank for :func:`said`; on a full disk nothing is left."""
    with contextlib.suppress(OSError):
        text = f"{type(error).__name__}\n{error}"
        (place / f"error-{rank}.txt").write_text(text, encoding="utf-8")


def said(place: Path) -> LabelRepairError | None:
    """Return the error that a rank met, if one said more than that another was gone."""
    for file in sorted(place.glob("error-*.txt")):
        kind, _, text = file.read_text(encoding="utf-8").partition("\n")
        if kind != LostRank.__name__:
            found: LabelRepairError = getattr(errors, kind, LabelRepairError)(text)
            return found
    return None


def save(content: Content, file: Path) -> None:
    """Write what a process hands over.

    Raises:
        StoreError: the disk is full.
    """
    with whole_file(file) as stream:
        torch.save(content, stream)


def _load(file: Path) -> Content:
    content: Content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    return content


@contextlib.contextmanager
def _contact() -> Iterator[None]:
    """Say what to do when another process is gone."""
    try:
        yield
    except LostRank as error:
        raise LostRank(f"{error}; {_AGAIN}") from error


# -- processes that we start ---------------------------------------------------------------------


def _start(target: str, place: Path, config: Distributed) -> None:
    """Run ``rank_main`` in processes of this machine and wait for them.

    Programs rather than functions: a function's process would import the user's script again. The
    launcher is imported here, as it costs time and few need it.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=config.processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.1,
    )
    how = (config.backend, str(config.timeout), str(os.getpid()))
    arguments = ("-m", _MAIN, target, str(place), *how)
    with _environment(), _signals(), _quiet():
        try:
            elastic_launch(launch, sys.executable)(*arguments)
        except ChildFailedError as error:
            raise _explained(error, place, config.processes) from None


def _explained(error: Any, place: Path, processes: int) -> LabelRepairError:
    """Return what the processes said before they ended, or which one ended without a word."""
    found = said(place)
    if found is not None:
        return found
    failed = error.failures
    killed = [r for r, f in failed.items() if f.exitcode < 0 and f.exitcode != -signal.SIGTERM]
    silent = [r for r in failed if not (place / f"error-{r}.txt").exists()]
    rank = (killed or silent or list(failed))[0]
    code = failed[rank].exitcode
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    memory = " (out of memory?)" if code == -signal.SIGKILL else ""
    return LabelRepairError(f"rank {rank} of {processes} {how}{memory}; {_AGAIN}")


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Let the processes find the same modules, and one another without a network."""
    wanted = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "LABELREPAIR_LOG_LEVEL": str(logging.getLogger("labelrepair").getEffectiveLevel()),
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT",
    }
    if sys.platform == "linux":
        wanted["GLOO_SOCKET_IFNAME"] = "lo"
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the launcher from reporting what our own error says."""
    launcher = logging.getLogger("torch.distributed.elastic")
    before = launcher.level
    launcher.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        launcher.setLevel(before)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Put the signal handlers back that the launcher replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield  # it replaces none there
        return
    names = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = {name: signal.getsignal(name) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
