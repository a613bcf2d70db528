"""Features on disk as one .npy file: written whole or not at all, read by memory map."""

from pathlib import Path
from typing import Any

import numpy as np

from labelrepair.atomic import whole_file
from labelrepair.data.samples import Array
from labelrepair.errors import DataError, shown


def write_features(path: str | Path, features: Array) -> None:
    """Write an array (N, ...) to ``path``, atomically: a crash leaves the old file or none.

    Raises:
        DataError: an object array, which would need pickle.
    """
    path = Path(path)
    if features.dtype.hasobject:
        raise DataError(f"{path}: features are {features.dtype}, expected numbers")
    with whole_file(path) as stream:
        np.save(stream, features, allow_pickle=False)


def read_features(path: str | Path, mmap: bool = True) -> Array:
    """Return the array written by :func:`write_features`, read-only.

    Args:
        path: the .npy file.
        mmap: map the file instead of loading it; pages are read when they are touched.

    Raises:
        DataError: no such file, or it is damaged.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no features file; run the ingestion first")
    try:
        features: Any = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    # A damaged header raises all kinds of exceptions.
    except Exception as error:
        raise DataError(f"{path}: not a readable .npy file: {shown(error, 300)}") from error
    if not isinstance(features, np.ndarray):
        raise DataError(f"{path}: not a readable .npy file: it holds {type(features).__name__}")
    array: Array = features
    array.flags.writeable = False
    return array
