"""Kedro datasets that write to the active MLflow run.

Only this module, ``hooks``, ``registry`` and what writes and reads models may import mlflow.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from labelrepair.exports import exporting
from labelrepair.networks.classifier import Classifier
from labelrepair.provenance import run_page

BATCH = 1000  # metrics that MLflow takes in one call


def active_run_id() -> str:
    """Return the id of the active MLflow run, or nothing without one."""
    try:
        import mlflow  # noqa: PLC0415
    except ImportError:
        return ""
    run = mlflow.active_run()
    return str(run.info.run_id) if run else ""


def run_tag(name: str) -> str | None:
    """Return a tag of ours of the active MLflow run, e.g. ``git_revision``; None without one."""
    import mlflow  # noqa: PLC0415

    run = mlflow.active_run()
    if run is None:
        return None
    tags = mlflow.MlflowClient().get_run(run.info.run_id).data.tags
    return tags.get(f"labelrepair.{name}")


def trained(report: Mapping[str, Any]) -> str:
    """Return the name of the tag of the run that has made a training's products.

    The checkpoint is named after settings, labels, noise estimate and seed. The run's own id cannot
    stand in the products: they are the same bytes whenever the same is trained.
    """
    return f"training.{str(report['checkpoint']).removesuffix('.pt')}"


def training_run(report: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return id and page ("" without a server) of the latest run that trained what is reported.

    None if there is no active run, or none that trained it in its experiment.
    """
    import mlflow  # noqa: PLC0415

    run = mlflow.active_run()
    if run is None:
        return None
    found = mlflow.MlflowClient().search_runs(
        [run.info.experiment_id],
        filter_string=f"tags.`labelrepair.{trained(report)}` = 'finished'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return (found[0].info.run_id, run_page(found[0])) if found else None


class MlflowCurvesDataset(AbstractDataset[pd.DataFrame, NoReturn]):
    """A frame of curves as MLflow metrics: a column is a metric, ``epoch`` is the step.

    kedro-mlflow's history dataset makes one call per point, 2,000 for 200 epochs of ten curves;
    this one sends batches.
    """

    def __init__(self, *, prefix: str = "", metadata: dict[str, Any] | None = None) -> None:
        """Choose a prefix for the metrics' names."""
        self._prefix = prefix
        self._logging_activated = True
        self.metadata = metadata

    def load(self) -> NoReturn:
        """Refuse: curves are read from the plots' data or from MLflow."""
        raise DatasetError("curves are only written to MLflow, not read back")

    def save(self, data: pd.DataFrame) -> None:
        """Log all numeric columns; missing values are left out."""
        import mlflow  # noqa: PLC0415
        from mlflow.entities import Metric  # noqa: PLC0415

        run = mlflow.active_run()
        if run is None or not self._logging_activated:
            return
        now = int(time.time() * 1000)
        numbers = data.select_dtypes("number").drop(columns="epoch")
        points = [
            Metric(f"{self._prefix}{name}", float(value), now, int(step))
            for name, column in numbers.items()
            for step, value in zip(data["epoch"], column, strict=True)
            if math.isfinite(value)
        ]
        client = mlflow.MlflowClient()
        for start in range(0, len(points), BATCH):
            client.log_batch(run.info.run_id, metrics=points[start : start + BATCH])

    def _describe(self) -> dict[str, Any]:
        return {"prefix": self._prefix}


class MlflowMetricsDataset(AbstractDataset[dict[str, Any], NoReturn]):
    """A flat dictionary as MLflow metrics of the active run; None is left out."""

    def __init__(self, *, prefix: str = "", metadata: dict[str, Any] | None = None) -> None:
        """Choose a prefix for the metrics' names."""
        self._prefix = prefix
        self._logging_activated = True
        self.metadata = metadata

    def load(self) -> NoReturn:
        """Refuse: metrics are read from metrics.json."""
        raise DatasetError("metrics are only written to MLflow, not read back")

    def save(self, data: dict[str, Any]) -> None:
        """Log the numbers in one call."""
        import mlflow  # noqa: PLC0415

        if mlflow.active_run() is not None and self._logging_activated:
            known = {k: float(v) for k, v in data.items() if v is not None}
            mlflow.log_metrics({f"{self._prefix}{k}": v for k, v in known.items()})

    def _describe(self) -> dict[str, Any]:
        return {"prefix": self._prefix}


class MlflowClassifierDataset(AbstractDataset[tuple[Classifier, np.ndarray[Any, Any]], Classifier]):
    """The model as an MLflow logged model of the active run.

    kedro-mlflow's model dataset takes its options from YAML, which cannot hold the input example
    that MLflow's default format needs; this one takes (model, input example) from the node.
    """

    def __init__(self, *, name: str = "model", metadata: dict[str, Any] | None = None) -> None:
        """Choose the model's name inside the run."""
        self._name = name
        self._logging_activated = True
        self.metadata = metadata

    def load(self) -> Any:
        """Return the model of the active run."""
        import mlflow  # noqa: PLC0415

        run = mlflow.active_run()
        if run is None:
            raise DatasetError("no active MLflow run to load the model from")
        return mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/{self._name}")

    def save(self, data: tuple[Classifier, np.ndarray[Any, Any]]) -> None:
        """Log the model with a signature of any batch size and the example."""
        import mlflow  # noqa: PLC0415
        import torch  # noqa: PLC0415
        from mlflow.models import ModelSignature  # noqa: PLC0415
        from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

        if mlflow.active_run() is None or not self._logging_activated:
            return
        model, example = data
        if len(example) < 2:
            raise DatasetError("the input example needs 2 rows: 1 would freeze the batch size")
        inputs = TensorSpec(example.dtype, (-1, *example.shape[1:]))
        classes = int(model.spec["num_classes"])
        outputs = TensorSpec(np.dtype(np.float32), (-1, classes))
        with exporting(model):
            mlflow.pytorch.log_model(
                model.eval(),
                name=self._name,
                signature=ModelSignature(Schema([inputs]), Schema([outputs])),
                input_example=np.array(example),  # a writable copy
                # Given, because inferring them loads the model in another process: ten seconds.
                pip_requirements=[f"torch=={torch.__version__.split('+')[0]}"],
            )

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name}
