"""The hook that keeps two runs from writing into one folder at the same time."""

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from labelrepair.atomic import ADVICE
from labelrepair.errors import StoreError
from labelrepair.locks import Lock

FILE, HOLDER = ".run.lock", ".run.holder"
TABLES = ("label_table", "repaired_table")  # their folders lie in the run's folder
APART = (
    "labelrepair.pipelines.benchmark"  # a grid's cells are files of their own, made side by side
)


class RunLockHook:
    """Refuses a run while another one works in its folder, before anything has happened.

    A run reads at its end what it wrote at its beginning: of two at once, one would repair the
    labels of the other's data. Refused, not kept waiting: the second would do again what the first
    is doing, or overwrite what somebody wants to look at.
    """

    def __init__(self) -> None:
        """Nothing is held."""
        self._held: list[Lock] = []

    @hook_impl(tryfirst=True)  # before kedro-mlflow opens a run
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> None:
        """Take the lock of every folder that the pipeline works in.

        Raises:
            StoreError: another run has one of them, or a folder cannot be written.
        """
        self.give_back()  # of a run that another hook refused
        for folder, prefix in sorted(dict(_folders(pipeline, catalog)).items()):
            self._take(folder, prefix)

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Let the next one in."""
        self.give_back()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Let the next one in."""
        self.give_back()

    def _take(self, folder: Path, prefix: str) -> None:
        other = f"use another folder: --params {prefix}workspace=FOLDER"
        lock, holder = Lock(folder / FILE, f"run in {folder}", patience=0.0), folder / HOLDER
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        me = f"process {os.getpid()} on {socket.gethostname()} since {now}"
        try:
            lock.acquire()
            self._held.append(lock)
            holder.write_text(me, "utf-8")
        except (StoreError, OSError) as error:
            self.give_back()
            refused = error if isinstance(error, OSError) else error.__cause__
            if refused:
                advice = ADVICE.get(getattr(refused, "errno", None) or 0, other)
                raise StoreError(
                    f"{folder}: cannot be written ({getattr(refused, 'strerror', refused)}); "
                    f"nothing has been done. To go on, {advice} and run again"
                ) from None
            there = holder.exists()
            who = holder.read_text("utf-8", errors="replace") if there else "another process"
            raise StoreError(
                f"{folder}: another run works there ({who}); nothing has been done. Wait for its "
                f"end, or {other}"
            ) from None

    def give_back(self) -> None:
        """Let go of every folder."""
        while self._held:
            lock = self._held.pop()
            lock.file.with_name(HOLDER).unlink(missing_ok=True)
            lock.release()


def _folders(pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield (folder around the label tables, prefix) of every namespace that is worked in."""
    for prefix in {prefix for node in pipeline.nodes for prefix in _prefixes(node)}:
        entries = [catalog.get(prefix + name) for name in TABLES if prefix + name in catalog]
        files = [getattr(entry, "_filepath", None) for entry in entries]
        local = [Path(file).absolute() for file in files if file and "://" not in str(file)]
        if local:
            yield Path(os.path.commonpath([file.parent for file in local])), prefix


def _prefixes(node: Node) -> Iterator[str]:
    """Yield the namespaces of what a node of ours reads and writes, with their dots."""
    module = node.func.__module__
    if module.startswith("labelrepair.") and not module.startswith(APART):
        for name in (*node.inputs, *node.outputs):
            if not name.startswith("params:"):
                yield "".join(name.rpartition(".")[:2])
