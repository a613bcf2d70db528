"""Probabilities and labels as the estimators take them: checked, of one length."""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelrepair.errors import DataError, shown
from labelrepair.transition import Floats, Labels, check_labels, normalise_rows

ROW_SUM_TOLERANCE = 1e-3
MOST_CLASSES = 10_000  # a matrix of pairs of classes takes 800 MB


def check_probs(probs: ArrayLike, name: str = "probs", first: int = 0) -> Floats:
    """Return ``probs`` as float64 (N, C), the input itself where it already is that.

    Args:
        probs: (N, C).
        name: how messages call them.
        first: the number of their first row, for messages.

    Raises:
        DataError: unless N >= 1, 2 <= C <= :data:`MOST_CLASSES`, and every row is finite,
            non-negative and sums to 1 within 1e-3; the message names the first offending row.
    """
    array = shaped(probs, name).astype(np.float64, copy=False)
    sums = array @ np.ones(array.shape[1])  # much faster than a sum over rows of a few numbers
    if array.min() >= 0 and (abs(sums - 1) <= ROW_SUM_TOLERANCE).all():
        return array
    sums = array.sum(axis=1)
    rules = {
        "expected finite values": ~np.isfinite(sums),
        "expected no negative value": (array < 0).any(axis=1),
        f"expected a sum of 1 within {ROW_SUM_TOLERANCE:g}": abs(sums - 1) > ROW_SUM_TOLERANCE,
    }
    for rule, wrong in rules.items():
        if wrong.any():
            row = int(np.argmax(wrong))
            found = np.array2string(array[row], threshold=8)
            where = f"{name}: row {first + row}"
            raise DataError(f"{where} is {found} with sum {sums[row]:.6g}, {rule}")
    return array


def shaped(probs: ArrayLike, name: str = "probs") -> NDArray[np.floating]:
    """Return ``probs`` as an array (N, C) of whatever kind of float it is; values unchecked.

    Raises:
        DataError: unless they are numbers, N >= 1 and 2 <= C <= :data:`MOST_CLASSES`.
    """
    try:
        array = np.asarray(probs)
        if array.dtype.kind != "f":
            array = np.asarray(probs, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected rows of numbers ({error})") from None
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise DataError(f"{name}: expected shape (N, C) with N >= 1, C >= 2, found {array.shape}")
    if array.shape[1] > MOST_CLASSES:
        pairs = f"every pair of classes would take {8 * array.shape[1] ** 2 / 1e9:.1f} GB"
        found = f"found {array.shape}: {pairs}"
        raise DataError(f"{name}: expected shape (N, C) with C <= {MOST_CLASSES}, {found}")
    return array


def matching_labels(probs: NDArray[np.floating], given_labels: ArrayLike) -> Labels:
    """Return the labels (N,), checked, one for each row of ``probs``."""
    labels = check_labels(given_labels, probs.shape[1], "given_labels")
    if len(labels) != len(probs):
        raise DataError(f"given_labels: expected {len(probs)} rows like probs, found {len(labels)}")
    return labels


def rows_or_identity(counts: Floats, name: str) -> Floats:
    """Normalise rows; an empty one becomes the identity's, with a warning naming its class."""
    empty = np.flatnonzero(counts.sum(axis=1) == 0)
    if empty.size:
        classes = shown(empty.tolist(), 400)
        warnings.warn(
            f"{name}: no row for true class {classes}; assumed to carry no noise",
            UserWarning,
            stacklevel=3,
        )
    return normalise_rows(counts)


def smooth(counts: Floats, smoothing: float) -> Floats:
    """Add ``smoothing`` to every pair of the classes (rows) that were seen at all."""
    smoothed: Floats = counts + smoothing * (counts.sum(axis=-1, keepdims=True) > 0)
    return smoothed
