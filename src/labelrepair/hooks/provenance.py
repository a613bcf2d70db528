"""The hook that says on the MLflow run where it comes from."""

import platform
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

import labelrepair
from labelrepair.label_table import data_hash
from labelrepair.provenance import project_facts
from labelrepair.stages.workspace import stage_tags
from labelrepair.tracking import trained
from labelrepair.training import choose_device


class ProvenanceHook:
    """Tags the MLflow run with git revision, dirty flag, data hash, device and versions."""

    def __init__(self) -> None:
        """Nothing is known before the context exists."""
        self._project = Path()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the project's folder."""
        self._project = Path(context.project_path)

    @hook_impl(trylast=True)
    def before_pipeline_run(self) -> None:
        """Set the tags that are known before anything has run, DVC's stage and run among them."""
        _tag(
            {
                **project_facts(self._project),
                "device": str(choose_device("auto")),
                "python": platform.python_version(),
                "torch": torch.__version__,
                "labelrepair": labelrepair.__version__,
                **stage_tags(),
            }
        )

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Tag the hash of a label table that has just been written, and a training that ended."""
        self._tag_table(dataset_name, data)
        if dataset_name.rpartition(".")[2] == "training_report":
            _tag({trained(data): "finished"})

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Tag the hash of the label table that a later pipeline starts from."""
        self._tag_table(dataset_name, data)

    def _tag_table(self, name: str, data: Any) -> None:
        prefix, _, last = name.rpartition(".")
        tables = ("label_table", "repaired_table")  # one hash: repairs touch none of its columns
        if last in tables and isinstance(data, pd.DataFrame):
            _tag({f"{prefix}.data_hash".removeprefix("."): data_hash(data)})


def _tag(tags: dict[str, str]) -> None:
    """Set tags on the active MLflow run; nothing happens without one, or without MLflow."""
    try:
        import mlflow  # noqa: PLC0415
    except ImportError:
        return
    if mlflow.active_run() is not None:
        mlflow.set_tags({f"labelrepair.{key}": value for key, value in tags.items()})
