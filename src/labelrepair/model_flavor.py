"""One MLflow model with two faces: ``mlflow.pytorch`` (stored features) and pyfunc (raw samples).

A custom flavor in MLflow's sense: :func:`save_model` writes what ``Model.log`` uploads. The network
is an exported graph (pt2: no pickle, no code of ours needed to run it); the input format and the
package's own code travel beside it, so that a service needs no installation of labelrepair.
"""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import labelrepair
from labelrepair.config import to_dict
from labelrepair.data.input_format import InputFormat
from labelrepair.data.tokens import OUT_OF_VOCABULARY
from labelrepair.errors import DataError
from labelrepair.exports import exporting
from labelrepair.handoff import Contender, Package
from labelrepair.served_model import FORMAT_FILE, predictor_of
from labelrepair.serving import Predictor

SEEN_FILE = "trained_on.npy"
# What predicting imports; MLflow brings the versions that are installed.
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pillow", "pyarrow", "scikit-learn", "scipy", "torch")


def save_model(
    path: str,
    mlflow_model: Any,
    package: Package,
    *,
    validate_serving_input: bool = False,  # noqa: ARG001 - read by Model.log
) -> None:
    """Write the model folder; called by ``mlflow.models.Model.log``.

    Args:
        path: a new folder.
        mlflow_model: its description, to which both flavors are added.
        package: what to write.
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
    content = {
        "input_format": to_dict(predictor.input_format),
        "class_names": predictor.class_names,
        "digest": package.digest,
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
    """Return stored features as a service gets them: base64 of PNG files, texts, or numbers."""
    if form.kind == "image":
        return [base64.b64encode(_png(image)).decode() for image in features]
    if form.vocabulary is None:
        return features
    words = np.array(form.vocabulary, dtype=object)
    return [" ".join(words[row[row > OUT_OF_VOCABULARY]]) for row in features]


def _png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return stream.getvalue()


def load_contender(path: str | Path, version: str | None = None) -> Contender:
    """Return a model from its downloaded folder, without touching ``sys.path``."""
    seen: NDArray[np.uint64] = np.load(Path(path) / SEEN_FILE, allow_pickle=False)
    graph = torch.export.load(Path(path) / "data" / "model.pt2").module()
    return Contender(predictor_of(path, graph), seen, version)


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
