"""Arrays that the user prepared: one NumPy .npz file."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labelrepair.data.files import require_file
from labelrepair.data.labels import encode_labels
from labelrepair.data.samples import UNKNOWN, Array, Samples, check_not_blank, numbered_ids
from labelrepair.data.unpacked import check_memory
from labelrepair.errors import DataError, nearest, shown
from labelrepair.label_table import Split


def read_npz(
    path: str,
    *,
    features_key: str = "features",
    labels_key: str = "labels",
    split_key: str = "split",
    ids_key: str = "sample_ids",
    true_labels_key: str = "true_labels",
    class_names: tuple[str, ...] | None = None,
    labels_are_true: bool = False,
) -> Samples:
    """Read features and labels; split, sample ids and true labels are used where present.

    uint8 of three axes is (N, H, W). uint8 of four axes is (N, ch, H, W) when axis 1 has 1 or 3
    entries and (N, H, W, ch) when axis 3 has; both or neither is refused. Float arrays are vectors
    (N, D). Pickled objects are never loaded.

    Args:
        path: the .npz file.
        features_key: name of the features, see above.
        labels_key: name of the (N,) class numbers or names.
        split_key: name of the (N,) splits; absent: all rows are train.
        ids_key: name of the (N,) ids, text or whole numbers; absent: "row-00000", ...
        true_labels_key: name of the (N,) true labels, -1 or blank where unknown.
        class_names: the classes in order; default: from the labels.
        labels_are_true: the labels are the truth.

    Raises:
        DataError: unreadable, a missing name, an unusable shape or type, or a value that is not
            finite (naming the row).
    """
    arrays = load_arrays(path)
    for key in (features_key, labels_key):
        if key not in arrays:
            raise DataError(f"{path}: no array '{key}'; {nearest(key, arrays)}")
    features = _features(arrays[features_key], f"{path}, array '{features_key}'")
    count = len(features)
    for key in (labels_key, split_key, ids_key, true_labels_key):
        if key in arrays and arrays[key].shape != (count,):
            shape = arrays[key].shape
            raise DataError(f"{path}: array '{key}' is {shape}, expected ({count},)")
        if key in arrays:
            check_type(arrays[key], f"{path}: array '{key}'")
    check_not_blank(arrays.get(ids_key, ()), f"{path}: array '{ids_key}'")
    ids = _text(arrays.get(ids_key, np.array(numbered_ids("row", count))), path, ids_key)
    truth = None
    if true_labels_key in arrays:
        truth = pd.Series(_unpacked(arrays[true_labels_key], path, true_labels_key))
        if truth.dtype.kind in "if":
            truth = truth.where(truth != UNKNOWN)
    where = f"{path}, array '{labels_key}'"
    given = pd.Series(_unpacked(arrays[labels_key], path, labels_key))
    names, labels, true_labels = encode_labels(given, ids, class_names, where, truth)
    splits = _text(arrays.get(split_key, np.full(count, str(Split.TRAIN))), path, split_key)
    return Samples(ids, features, labels, splits, names, true_labels, labels_are_true)


def load_arrays(path: str) -> dict[str, Array]:
    """Return the arrays of a .npz file, or of a .npy file under the name "".

    Raises:
        DataError: missing, damaged, larger than the memory, or it holds pickled objects.
    """
    file = require_file(path, "arrays")
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                check_memory(sum(member.file_size for member in archive.infolist()), str(path))
        else:
            _check_start(file)
        loaded: Any = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except DataError:
        raise
    # Damaged archives and headers raise all kinds of exceptions, zlib.error and TokenError too.
    except Exception as error:
        found = shown(error, 300)
        raise DataError(f"{path}: not a readable array file without pickle: {found}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise DataError(f"{path}: not a readable array file: '{name}' is no NumPy array")
    return arrays


def _check_start(file: Path) -> None:
    """Raise DataError for other files than NumPy's, all of which it takes for pickled objects."""
    with file.open("rb") as stream:
        start = stream.read(16)
    if not start.startswith((b"PK", b"\x93NUMPY")):
        found = f"begins with {start!r}" if start else "is empty"
        raise DataError(f"{file}: not a readable array file: it {found}, expected .npz or .npy")


def check_type(values: Array, where: str) -> None:
    """Raise DataError for structures and for bytes without a type, which are no values of rows."""
    if values.dtype.kind == "V":
        found = shown(values.dtype)
        raise DataError(f"{where} is of type {found}, expected text or numbers")


def _features(features: Array, where: str) -> Array:
    found = f"{where}: found {features.dtype} {features.shape}"
    if features.ndim == 0 or features.size == 0:
        raise DataError(f"{found}, expected at least one row")
    if features.dtype == np.uint8 and features.ndim == 3:
        return features[:, None]
    if features.dtype == np.uint8 and features.ndim == 4:
        first, last = features.shape[1] in (1, 3), features.shape[3] in (1, 3)
        if first == last:
            raise DataError(f"{found}, expected one axis of 1 or 3 channels, second or last")
        return features if first else np.ascontiguousarray(features.transpose(0, 3, 1, 2))
    if features.dtype.kind != "f" or features.ndim != 2:
        raise DataError(f"{found}, expected uint8 images (3 or 4 axes) or float vectors (2 axes)")
    with np.errstate(over="ignore"):  # an overflow to infinity is reported just below
        vectors = features.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise DataError(f"{where}: row {bad[0]} holds NaN or infinity ({bad.size} such rows)")
    return vectors


def _text(values: Array, path: str, key: str) -> Array:
    return _unpacked(values, path, key).astype(np.str_)


def _unpacked(values: Array, path: str, key: str) -> Array:
    """Return text for the bytes that some writers make of it."""
    if values.dtype.kind != "S":
        return values
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: array '{key}' is not UTF-8 text: {error}") from None
