"""One MLflow model with two faces: ``mlflow.pytorch`` (stored features) and pyfunc (raw samples).

A custom flavor in MLflow's sense: :func:`save_model` writes what ``Model.log`` uploads. The network
is an exported graph (no code of ours needed to run it); the input format and the package's own code
travel beside it, so that a service needs no installation of labelrepair.

A graph is a program: reading one can run what its file says, and MLflow's services run code of the
folder anyway. The handoff opens the champion's only if it is byte for byte the one handed over.
"""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

import labelrepair
from labelrepair.data.input_format import InputFormat
from labelrepair.data.tokens import OUT_OF_VOCABULARY
from labelrepair.errors import DataError
from labelrepair.exports import exporting
from labelrepair.handoff import Contender, Package
from labelrepair.served_model import FORMAT_FILE, VERSION, predictor_of
from labelrepair.serving import Predictor

GRAPH_FILE = Path("data") / "model.pt2"
SEEN_FILE = "trained_on.npy"
# What predicting imports; MLflow brings the versions that are installed.
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pillow", "pyarrow", "scikit-learn", "scipy", "torch")


def save_model(
    path: str,
    mlflow_model: Any,
    package: Package,
    *,
    sums: dict[str, str] | None = None,
    validate_serving_input: bool = False,  # noqa: ARG001 - read by Model.log
) -> None:
    """Write the model folder; called by ``mlflow.models.Model.log``.

    Args:
        path: a new folder.
        mlflow_model: its description, to which both flavors are added.
        package: what to write.
        sums: gets the SHA-256 of the graph's file as ``graph_sha256``.
        validate_serving_input: for ``Model.log``: True loads the model once more.

    Raises:
        DataError: an input example of fewer than 2 rows, which would freeze the batch size.
    """
    import mlflow  # noqa: PLC0415
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.models.utils import _save_example  # noqa: PLC0415
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

    example, predictor = package.example, package.contender.predictor
    if len(example) < 2:
        raise DataError("the input example needs 2 rows: 1 would freeze the batch size")
    classes = TensorSpec(np.dtype(np.float32), (-1, len(predictor.class_names)))
    features = TensorSpec(example.dtype, (-1, *example.shape[1:]))
    with exporting(package.model):
        mlflow.pytorch.save_model(
            package.model.eval(),
            path,
            mlflow_model=mlflow_model,
            # The graph is exported with the batch size that this signature leaves open.
            signature=ModelSignature(Schema([features]), Schema([classes])),
            # A tensor, so that MLflow neither stores it as the example nor adds its own pyfunc.
            input_example=torch.from_numpy(example),
            code_paths=[str(Path(labelrepair.__file__).parent)],
            pip_requirements=_requirements(),
        )
    root = Path(path)
    if sums is not None:
        sums["graph_sha256"] = graph_sha256(root)
    content = {
        "input_format": predictor.input_format.written(),
        "class_names": predictor.class_names,
        "digest": package.digest,
        VERSION: labelrepair.__version__,
    }
    (root / FORMAT_FILE).write_text(json.dumps(content))
    np.save(root / SEEN_FILE, package.contender.trained_on, allow_pickle=False)
    mlflow.pyfunc.add_to_model(
        mlflow_model,
        loader_module="labelrepair.served_model",
        code=mlflow_model.flavors["pytorch"]["code"],
        conda_env="conda.yaml",
        python_env="python_env.yaml",
    )
    mlflow_model.signature = _signature(predictor)
    _save_example(mlflow_model, raw_example(example, predictor.input_format), path)
    mlflow_model.save(str(root / "MLmodel"))


def raw_example(features: NDArray[Any], form: InputFormat) -> Any:
    """Return stored features as a service gets them: base64 of PNG files, texts, or numbers.

    Numbers whose columns have names come as a frame.
    """
    if form.kind == "image":
        return [base64.b64encode(_png(image)).decode() for image in features]
    if form.columns:
        return pd.DataFrame(features, columns=list(form.columns))
    if form.vocabulary is None:
        return features
    words = np.array(form.vocabulary, dtype=object)
    return [" ".join(words[row[row > OUT_OF_VOCABULARY]]) for row in features]


def _png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return stream.getvalue()


def load_contender(path: str | Path, expected_sha256: str, version: str | None = None) -> Contender:
    """Return a model from its downloaded folder, without touching ``sys.path``.

    Args:
        path: the folder.
        expected_sha256: what the registry says of its graph's file.
        version: its number.

    Raises:
        DataError: the graph is not the one that was handed over.
    """
    found = graph_sha256(path)
    if found != expected_sha256:
        raise DataError(
            f"{GRAPH_FILE} of version {version} has the SHA-256 {found}, not "
            f"'{expected_sha256}' as when it was handed over; it is not opened. Bring the file "
            "back and run the handoff again, or move `champion` by hand"
        )
    seen: NDArray[np.uint64] = np.load(Path(path) / SEEN_FILE, allow_pickle=False)
    graph = torch.export.load(Path(path) / GRAPH_FILE).module()
    return Contender(predictor_of(path, graph), seen, version)


def graph_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a model folder's graph, 64 hex characters."""
    with (Path(path) / GRAPH_FILE).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _signature(predictor: Predictor) -> Any:
    """Return the signature of the pyfunc.

    It documents; it is not enforced: MLflow would accept an array or a frame, not both, and its
    messages name no row. The mark says so: "the model checks its input itself".
    """
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec  # noqa: PLC0415

    form = predictor.input_format
    if form.kind == "vector":
        inputs = Schema([TensorSpec(np.dtype(np.float32), (-1, *form.shape))])
    else:
        kind = DataType.binary if form.kind == "image" else DataType.string
        inputs = Schema([ColSpec(kind, form.kind)])
    outputs: list[Any] = [ColSpec(DataType.string, "label")]
    outputs += [ColSpec(DataType.float, name) for name in predictor.class_names]
    signature = ModelSignature(inputs, Schema(outputs))
    signature._is_signature_from_type_hint = True
    return signature


def _requirements() -> list[str]:
    from importlib.metadata import version  # noqa: PLC0415

    return [f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS]
