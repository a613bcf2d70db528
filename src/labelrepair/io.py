"""Kedro datasets that are written whole: arrays, tensors, and any file format of kedro-datasets."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from kedro.io import AbstractDataset, DatasetError
from kedro.io.core import parse_dataset_definition
from kedro_datasets.json import JSONDataset
from numpy.typing import NDArray

from labelrepair.atomic import whole_file, whole_path
from labelrepair.config import affordable, one_of
from labelrepair.data.rows import RowStore
from labelrepair.data.storage import load_features, save_features
from labelrepair.data.store import read_features, write_features
from labelrepair.errors import shown

Array = NDArray[Any]


class ArrayDataset(AbstractDataset[Array, Array]):
    """A NumPy array in one ``.npy`` file: written whole or not at all, read as a memory map."""

    def __init__(
        self, *, filepath: str, mmap: bool = True, metadata: dict[str, Any] | None = None
    ) -> None:
        """Name the file; ``mmap=False`` reads it into memory."""
        self._filepath = Path(filepath)
        self._mmap = mmap
        self.metadata = metadata

    def load(self) -> Array:
        """Return the array, read-only if memory-mapped."""
        if not self._filepath.exists():
            raise DatasetError(f"{self._filepath}: no such file; run the pipeline that writes it")
        return read_features(self._filepath, mmap=self._mmap)

    def save(self, data: Array) -> None:
        """Write the array; refuses object arrays, which would be pickled."""
        if np.asarray(data).dtype.hasobject:
            raise DatasetError(f"{self._filepath}: refusing to pickle an object array")
        write_features(self._filepath, np.asarray(data))

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "mmap": self._mmap}


class FeatureDataset(AbstractDataset[Any, Any]):
    """Features as ingestion keeps them: a ``.npy`` file, or a folder of shards or of paths.

    Written whole or not at all. An array is read as a memory map; rows of a folder when needed.
    """

    def __init__(
        self,
        *,
        filepath: str,
        mmap: bool = True,
        workers: int | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file or folder.

        Args:
            filepath: a local path.
            mmap: False reads an array into memory.
            workers: processes that decode images of ``storage: files``; None = by cores.
            metadata: for other tools, as everywhere in Kedro.

        Raises:
            ConfigError: ``workers`` is none that this machine could do with.
        """
        affordable(workers=workers or 0)
        self._filepath, self._mmap, self._workers = Path(filepath), mmap, workers
        self.metadata = metadata

    def load(self) -> Any:
        """Return an array or a :class:`~labelrepair.data.rows.RowStore`."""
        if not self._filepath.exists():
            raise DatasetError(f"{self._filepath}: no features; run the ingestion pipeline")
        return load_features(self._filepath, self._mmap, self._workers)

    def save(self, data: Any) -> None:
        """Write beside the target, then rename."""
        if not isinstance(data, RowStore) and np.asarray(data).dtype.hasobject:
            raise DatasetError(f"{self._filepath}: refusing to pickle an object array")
        save_features(self._filepath, data)

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "mmap": self._mmap, "workers": self._workers}


class TorchStateDataset(AbstractDataset[dict[str, Any], dict[str, Any]]):
    """Tensors and plain values in one torch file, read with ``weights_only``: no code is run."""

    def __init__(
        self,
        *,
        filepath: str,
        keys: Sequence[str] = (),
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file, and the keys that it must hold."""
        self._filepath = Path(filepath)
        self._keys = tuple(keys)
        self.metadata = metadata

    def load(self) -> dict[str, Any]:
        """Return the content, tensors on the CPU.

        Raises:
            DatasetError: there is no such file, or it holds something else.
        """
        from labelrepair import torch_files  # noqa: PLC0415 - imports torch

        if not self._filepath.exists():
            raise DatasetError(f"{self._filepath}: no such file; run the training pipeline")
        state = torch_files.load(self._filepath)
        found = list(state) if isinstance(state, dict) else type(state).__name__
        if not isinstance(state, dict) or not set(self._keys) <= {*state}:
            raise DatasetError(
                f"{self._filepath}: expected {', '.join(self._keys) or 'a mapping'}, found "
                f"{shown(found)}; run the pipeline that writes it again"
            )
        return state

    def save(self, data: dict[str, Any]) -> None:
        """Write to a temporary file beside the target, then rename it."""
        import torch  # noqa: PLC0415

        with whole_file(self._filepath) as stream:
            torch.save(data, stream)

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class CheckedJSONDataset(JSONDataset):  # type: ignore[misc]
    """A JSON file that holds what its catalog entry says, so that no node meets another type.

    ``object``: a mapping. ``names``: the class names, a list of two or more distinct texts.
    """

    def __init__(
        self,
        *,
        filepath: str,
        holds: str = "object",
        save_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file, and what it holds.

        Raises:
            ConfigError: ``holds`` is another word.
        """
        one_of(("object", "names"), holds=holds)
        super().__init__(filepath=filepath, save_args=save_args, metadata=metadata)
        self._holds = holds

    def load(self) -> Any:
        """Return the content.

        Raises:
            DatasetError: there is no such file, it is not JSON, or it holds something else.
        """
        content = super().load()
        fits, expected = isinstance(content, dict), "an object"
        if self._holds == "names":
            fits, expected = _are_names(content), "a list of two or more distinct class names"
        if not fits:
            raise DatasetError(
                f"{self._filepath}: expected {expected}, found {shown(json.dumps(content))}; run "
                "the pipeline that writes it again"
            )
        return content


def _are_names(content: Any) -> bool:
    if not isinstance(content, list) or len(content) < 2:
        return False
    texts = all(isinstance(name, str) and name.strip() for name in content)
    return texts and len(set(content)) == len(content)


class OptionalJSONDataset(AbstractDataset[NoReturn, dict[str, Any]]):
    """A JSON object that another tool may have written; empty while there is no such file.

    The argument is ``filename``, which Kedro resolves like any path, so that ``dvc.yaml`` does not
    ask for a file that need not be there.
    """

    def __init__(self, *, filename: str, metadata: dict[str, Any] | None = None) -> None:
        """Name the file."""
        self._filename = Path(filename)
        self.metadata = metadata

    def load(self) -> dict[str, Any]:
        """Return the object, or an empty one.

        Raises:
            DatasetError: the file holds something else.
        """
        if not self._filename.exists():
            return {}
        try:
            content = json.loads(self._filename.read_text("utf-8"))
        except ValueError as error:
            raise DatasetError(f"{self._filename}: not JSON: {error}") from error
        if not isinstance(content, dict):
            raise DatasetError(f"{self._filename}: expected an object, found {type(content)}")
        return content

    def save(self, data: NoReturn) -> NoReturn:  # noqa: ARG002
        """Refuse: whoever makes it writes it."""
        raise DatasetError(f"{self._filename}: only read here")

    def _exists(self) -> bool:
        return True  # empty counts as there

    def _describe(self) -> dict[str, Any]:
        return {"filename": str(self._filename)}


class WholeFile(AbstractDataset[Any, Any]):
    """Any dataset of local files, written whole or not at all.

    The datasets of kedro-datasets write in place: a kill or a full disk leaves half a file. This
    one lets them write beside the target and renames. A rename also never writes through a link
    into DVC's cache. In a catalog, and inside ``MlflowArtifactDataset``:

    .. code-block:: yaml

        type: labelrepair.io.WholeFile
        filepath: data/03_primary/label_table.parquet
        dataset: {type: pandas.ParquetDataset, save_args: {index: false}}
    """

    def __init__(
        self,
        *,
        filepath: str,
        dataset: str | dict[str, Any],
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file, or the folder, and the dataset that knows its format.

        Args:
            filepath: a local path.
            dataset: type and arguments of the dataset, without the path.
            metadata: for other tools, as everywhere in Kedro.

        Raises:
            DatasetError: a remote path (object stores write whole objects by themselves) or
                ``versioned`` (DVC keeps the versions).
        """
        definition = {"type": dataset} if isinstance(dataset, str) else dict(dataset)
        if "://" in filepath:
            raise DatasetError(f"{filepath}: WholeFile is for local files; use the dataset itself")
        if definition.get("versioned"):
            raise DatasetError(f"{filepath}: versioned datasets are not written whole; use DVC")
        self._kind, self._arguments = parse_dataset_definition(definition)
        self._filepath = Path(filepath)
        self._inner = self._at(self._filepath)
        self.metadata = metadata
        if hasattr(self._inner, "preview"):
            self.preview = self._inner.preview  # Kedro-Viz

    def load(self) -> Any:
        """Return what the inner dataset loads.

        Raises:
            DatasetError: there is nothing to load, perhaps as an earlier version has run here.
        """
        if not self._filepath.exists():
            raise DatasetError(
                f"{self._filepath}: no such file; run the pipeline that writes it, or kedro run"
            )
        return self._inner.load()

    def save(self, data: Any) -> None:
        """Let the inner dataset write beside the target, then rename."""
        with whole_path(self._filepath) as path:
            self._at(path).save(data)

    def _at(self, path: Path) -> AbstractDataset[Any, Any]:
        """Return the inner dataset at a path; folders of partitions call it ``path``."""
        known = inspect.signature(self._kind.__init__).parameters
        key = "filepath" if "filepath" in known else "path"
        inner: AbstractDataset[Any, Any] = self._kind(**{key: path.as_posix()}, **self._arguments)
        return inner

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "dataset": self._kind.__name__}
