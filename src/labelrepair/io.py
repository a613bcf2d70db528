"""Kedro datasets for what kedro-datasets has no safe format for: arrays and tensors."""

from pathlib import Path
from typing import Any

import numpy as np
from kedro.io import AbstractDataset, DatasetError
from numpy.typing import NDArray

from labelrepair.atomic import whole_file
from labelrepair.data.store import read_features, write_features

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


class TorchStateDataset(AbstractDataset[dict[str, Any], dict[str, Any]]):
    """Tensors and plain values in one torch file, read with ``weights_only``: no code is run."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Name the file."""
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, Any]:
        """Return the content, tensors on the CPU."""
        import torch  # noqa: PLC0415

        if not self._filepath.exists():
            raise DatasetError(f"{self._filepath}: no such file; run the training pipeline")
        state: dict[str, Any] = torch.load(self._filepath, map_location="cpu", weights_only=True)
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
