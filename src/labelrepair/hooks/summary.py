"""The hook that ends a run: what it says, and the checkpoint that it no longer needs."""

import re
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from labelrepair.printed import terminal
from labelrepair.provenance import without_password
from labelrepair.training.checkpoint import discard

CHECKPOINTS = r"params:(.*\.)?checkpoints"


class SummaryHook:
    """Ends a run: removes the checkpoint that is no longer needed and shows the summary."""

    def __init__(self) -> None:
        """Nothing has been summarised yet."""
        self._summaries: dict[str, str] = {}
        self._tracked = ""
        self._checkpoints: list[Path] = []

    @hook_impl(trylast=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> None:
        """Remember the MLflow run, which is closed before the summary, and the checkpoints."""
        self._summaries, self._tracked = {}, _run_address()
        names = [name for name in pipeline.inputs() if re.fullmatch(CHECKPOINTS, name)]
        self._checkpoints = [Path(catalog.load(name)) for name in names]

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Remove the checkpoint once everything that training made has been saved.

        ``training_report`` is the last output of the training node; Kedro saves outputs in order.
        """
        prefix, _, name = dataset_name.rpartition(".")
        if name == "training_report":
            for folder in self._checkpoints:
                discard(folder / data["checkpoint"])
        elif name == "summary":
            mounted = f"kedro labels --namespace {prefix} " if prefix else "kedro labels "
            self._summaries[prefix] = str(data).replace("kedro labels ", mounted)

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Print the summary, if this run made one; one for each namespace."""
        if not self._summaries:
            return
        console = terminal()
        for namespace, text in sorted(self._summaries.items()):
            console.print(f"\n{namespace}" if namespace else "", text, sep="\n")
        if self._tracked:
            console.print(self._tracked)


def _run_address() -> str:
    """Return the line that says where the active MLflow run is, or nothing without one."""
    try:
        import mlflow  # noqa: PLC0415
    except ImportError:
        return ""
    run = mlflow.active_run()
    label = "MLflow run".ljust(31)
    store = without_password(mlflow.get_tracking_uri())
    return f"{label}{run.info.run_id} in {store}" if run else ""
