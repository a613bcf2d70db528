"""What ``mlflow.pyfunc.load_model`` runs in a service: small, and without the training code."""

import json
import warnings
from functools import cache
from hashlib import md5
from pathlib import Path
from typing import Any

import labelrepair
from labelrepair.config import from_dict
from labelrepair.data.input_format import InputFormat
from labelrepair.errors import ConfigError
from labelrepair.serving import Predictor

FORMAT_FILE = "labelrepair.json"
VERSION = "labelrepair"  # key of the version that wrote the file; files of before have none


def predictor_of(folder: str | Path, graph: Any) -> Predictor:
    """Return the predictor of a model folder, around its loaded graph.

    Raises:
        ConfigError: its input format is none that this version knows.
    """
    content = _content(folder)
    form = from_dict(InputFormat, content["input_format"], FORMAT_FILE)
    return Predictor(graph, form, content["class_names"])


def _load_pyfunc(path: str, _model_config: dict[str, Any] | None = None) -> Predictor:
    """Return the model from its folder; MLflow calls this by name.

    Python loads one labelrepair in a process: that of the first model serves the others, too.

    Raises:
        ConfigError: the input format of a model of another labelrepair is unknown to this one.
    """
    import mlflow  # noqa: PLC0415

    other = _other_code(Path(path))
    if other:
        # Not logged: importing mlflow.pytorch sets the root logger to errors only.
        warnings.warn(other, RuntimeWarning, stacklevel=2)
    graph = mlflow.pytorch.load_model(path, device="cpu")
    try:
        return predictor_of(path, graph)
    except ConfigError as error:
        if other is None:
            raise
        raise ConfigError(f"{error}; {other}") from error


def _other_code(folder: Path) -> str | None:
    """Return what to say if the code beside the model is another than the one that is loaded."""
    loaded, own = Path(labelrepair.__file__).parent, folder / "code" / "labelrepair"
    # By content: a version may have been changed, and models of before name none.
    if not own.is_dir() or _digest_of_loaded() == _digest(own):
        return None
    version = _content(folder).get(VERSION, "of an unknown version")
    return (
        f"{folder}: the model brings labelrepair {version}, but another labelrepair, "
        f"{labelrepair.__version__}, is already loaded in this process from {loaded} and is used; "
        "load the model in a process of its own"
    )


@cache
def _digest_of_loaded() -> str:
    """Return the digest as it is at the first model: its folder may be gone at the next."""
    return _digest(Path(labelrepair.__file__).parent)


def _digest(folder: Path) -> str:
    """Return a digest of a package's code, 32 hex digits."""
    digest = md5(usedforsecurity=False)
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder).as_posix()} ".encode() + file.read_bytes())
    return digest.hexdigest()


def _content(folder: str | Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / FORMAT_FILE).read_text(encoding="utf-8"))
    return content
