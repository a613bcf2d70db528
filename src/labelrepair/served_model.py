"""What ``mlflow.pyfunc.load_model`` runs in a service: small, and without the training code."""

import json
from pathlib import Path
from typing import Any

from labelrepair.config import from_dict
from labelrepair.data.input_format import InputFormat
from labelrepair.serving import Predictor

FORMAT_FILE = "labelrepair.json"


def predictor_of(folder: str | Path, graph: Any) -> Predictor:
    """Return the predictor of a model folder, around its loaded graph."""
    content = json.loads((Path(folder) / FORMAT_FILE).read_text(encoding="utf-8"))
    form = from_dict(InputFormat, content["input_format"], FORMAT_FILE)
    return Predictor(graph, form, content["class_names"])


def _load_pyfunc(path: str, _model_config: dict[str, Any] | None = None) -> Predictor:
    """Return the model from its folder; MLflow calls this by name."""
    import mlflow  # noqa: PLC0415

    return predictor_of(path, mlflow.pytorch.load_model(path, device="cpu"))
