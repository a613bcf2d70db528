"""Other labels over a data set's own, as CIFAR-10N and CIFAR-100N publish them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labelrepair.data.files import column_of, read_table
from labelrepair.data.labels import encode_labels
from labelrepair.data.npz import load_arrays
from labelrepair.data.samples import Samples
from labelrepair.errors import DataError, nearest
from labelrepair.label_table import Split

_PICKLED = (".pt", ".pth", ".pkl", ".pickle")


def overlay_labels(
    base: Samples, file: str, key: str | None = None, column: str | None = None
) -> Samples:
    """Return ``base`` with the training rows' given labels taken from ``file``.

    Warning: the file is matched by position to the base's training rows in the order in which the
    base reads them, and nothing in it can prove that the orders agree. CIFAR-N is in torchvision's
    order (data_batch_1..5); its README warns that TensorFlow Datasets has the images in another
    one. Laid over such a base, about 90 % of ten-class labels look wrong.

    Args:
        base: in its own order, not sorted by id. Its labels become the true labels if they are
            true; else its true labels, if any, stay.
        file: .npy, .npz or .csv with one class number (or name) per training row.
        key: the array in an .npz file; may be left out if there is only one.
        column: the column in a .csv file; may be left out if there is only one.

    Raises:
        DataError: the number of labels is not that of the training rows, a label is no class, or
            the file is pickled.
    """
    values = _read_labels(file, key, column)
    train = base.splits == Split.TRAIN
    if len(values) != train.sum():
        raise DataError(f"{file}: {len(values)} labels for {train.sum()} training rows of the base")
    labels = base.labels.copy()
    _, labels[train], _ = encode_labels(values, base.sample_ids[train], base.class_names, file)
    true_labels = base.labels if base.labels_are_true else base.true_labels
    return dataclasses.replace(base, labels=labels, true_labels=true_labels, labels_are_true=False)


def _read_labels(file: str, key: str | None, column: str | None) -> "pd.Series[Any]":
    suffix = Path(file).suffix.lower()
    if suffix in _PICKLED:
        raise DataError(
            f"{file}: a pickled file can run code and is not read; where you trust it, "
            "convert it once: numpy.savez('labels.npz', **torch.load(file, weights_only=False))"
        )
    if suffix not in (".npy", ".npz"):
        table = read_table(file)
        return column_of(
            table, _only(column, [str(c) for c in table.columns], file, "column"), file
        )
    arrays = load_arrays(file)
    if suffix == ".npy" and key is not None:
        raise DataError(f"{file}: a .npy file holds one array without a name; leave out key")
    labels = arrays[_only(key, list(arrays), file, "key")]
    if labels.ndim != 1:
        raise DataError(f"{file}: labels are {np.shape(labels)}, expected one axis")
    return pd.Series(labels)


def _only(wanted: str | None, found: list[str], file: str, option: str) -> str:
    if wanted is None and len(found) == 1:
        return found[0]
    if wanted not in found:
        hint = nearest(wanted, found) if wanted else f"one of {', '.join(found)}"
        raise DataError(f"{file}: set {option} to the labels' name; {hint}")
    return wanted
