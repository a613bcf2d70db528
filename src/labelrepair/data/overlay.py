"""Other labels over a data set's own, as CIFAR-10N and CIFAR-100N publish them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labelrepair.data.files import column_of, read_table
from labelrepair.data.labels import as_text, check_scalars, encode_labels
from labelrepair.data.npz import check_type, load_arrays
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
        DataError: the number of labels is not that of the training rows, a label is no class, the
            labels can be read as numbers and as names of other classes, or the file is pickled.
    """
    values = _read_labels(file, key, column)
    train = base.splits == Split.TRAIN
    if len(values) != train.sum():
        raise DataError(f"{file}: {len(values)} labels for {train.sum()} training rows of the base")
    _check_one_reading(values, base.class_names, file)
    labels = base.labels.copy()
    _, labels[train], _ = encode_labels(values, base.sample_ids[train], base.class_names, file)
    true_labels = base.labels if base.labels_are_true else base.true_labels
    return dataclasses.replace(base, labels=labels, true_labels=true_labels, labels_are_true=False)


def _check_one_reading(values: "pd.Series[Any]", names: Sequence[str], file: str) -> None:
    """Refuse numbers that are those of classes and at once the names of others.

    Such are codes over a base whose names are numbers, sorted as text ("0", "1", "10", "2"), but
    also stars 1 to 5 over classes "1" to "5": nothing in the file tells which. Text in an array
    is a name.
    """
    if file.lower().endswith((".npy", ".npz")) and values.dtype.kind not in "iuf":
        return
    codes = {name: str(code) for code, name in enumerate(names)}
    check_scalars(values, file)
    found = as_text(values).dropna().unique().tolist()
    if not set(found) <= set(names) & set(codes.values()):
        return
    for value in found:
        if codes[value] != value:
            raise DataError(
                f"{file}: label {value} is the number of class '{names[int(value)]}', but the name "
                f"of class number {codes[value]}; store the labels as text (names) in a .npy file"
            )


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
    check_type(labels, f"{file}: the array")
    return pd.Series(labels)


def _only(wanted: str | None, found: list[str], file: str, option: str) -> str:
    if wanted is None and len(found) == 1:
        return found[0]
    if wanted not in found:
        hint = nearest(wanted, found) if wanted else f"one of {', '.join(found)}"
        raise DataError(f"{file}: set {option} to the labels' name; {hint}")
    return wanted
