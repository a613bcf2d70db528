"""The hook that keeps ``kedro labels`` and a run's repair from writing labels at the same time."""

from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from labelrepair.label_io import LedgerDataset
from labelrepair.locks import Lock
from labelrepair.pipelines.repair.nodes import choose_policy, record_changes, repair_labels


class LabelLockHook:
    """Holds the ledger's lock from reading what people decided until all labels are written.

    A decision that came in between would be in its file, but neither in the repaired table nor in
    the ledger until the next run. Trainings hold nothing: the repair takes seconds.
    """

    def __init__(self) -> None:
        """Nothing is held."""
        self._locks: dict[str, Lock] = {}  # by node
        self._last: dict[str, Lock] = {}  # by the dataset that is written last
        self._held: list[Lock] = []

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> None:
        """Find the ledgers, one per namespace, and the nodes that write with them."""
        self._locks, self._last = {}, {}
        for recorder in (node for node in pipeline.nodes if node.func is record_changes):
            dataset = catalog.get(recorder.outputs[0])
            if isinstance(dataset, LedgerDataset):
                writers = [node for node in pipeline.nodes if _repairs_for(node, recorder)]
                self._locks |= {node.name: dataset.lock for node in (recorder, *writers)}
                self._last[recorder.outputs[-1]] = dataset.lock

    @hook_impl
    def before_dataset_loaded(self, node: Node) -> None:
        """Take the lock before the first input of the first of these nodes is read."""
        lock = self._locks.get(node.name)
        if lock is not None and lock not in self._held:
            lock.acquire()
            self._held.append(lock)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Give the lock back after the last output."""
        self._give_back(self._last.get(dataset_name))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Give back what a part of the pipeline has not."""
        self.give_back()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Give everything back."""
        self.give_back()

    def give_back(self) -> None:
        """Let go of every lock."""
        self._give_back(*self._held)

    def _give_back(self, *locks: Lock | None) -> None:
        for lock in locks:
            if lock is not None and lock in self._held:
                self._held.remove(lock)
                lock.release()


def _repairs_for(node: Node, recorder: Node) -> bool:
    return node.func in (choose_policy, repair_labels) and node.outputs[0] in recorder.inputs
