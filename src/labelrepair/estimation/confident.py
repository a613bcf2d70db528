"""Confident learning (Northcutt et al. 2021): the joint of given and true labels, and issues."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelrepair.chunks import row_slices
from labelrepair.estimation.probs import check_probs, matching_labels, rows_or_identity, shaped
from labelrepair.transition import Floats, Labels

# cleanlab's slack below a threshold and the lowest threshold it allows (internal/constants.py).
_SLACK = 1e-6
_LOWEST_THRESHOLD = 2e-6
_NEAR = 1e-8  # its tolerance for "the given label is the most probable class"
# Given labels of a class before its own probabilities say anything. Held out, a class's only row
# has a probability of about 0, which as a threshold makes half of all rows confident of that class.
FEWEST_LABELS = 5


def confident_joint(probs: ArrayLike, given_labels: ArrayLike, calibrate: bool = True) -> Labels:
    """Count rows by confidently guessed true class and given label (Northcutt 2021, section 3.1).

    A row is confident in class k when ``probs[:, k]`` reaches the mean of that column over the
    rows labelled k. It counts as the only confident class or, with several, as the argmax of the
    whole row; without one it is left out. Results equal ``cleanlab.count.compute_confident_joint``
    (2.9) transposed; there, ties between equal rounding remainders are resolved arbitrarily.

    Args:
        probs: (N, C) out-of-sample probabilities.
        given_labels: (N,) integers in 0..C-1.
        calibrate: scale each column to the count of that given label, rounded to integers that
            keep the column sums. False returns the raw counts (diagonal at least 1).

    Returns:
        (C, C) int64, ``[i, j]``: true class i, given label j. A class k missing from the given
        labels has no threshold: no row is guessed to be k, calibrated row and column k are zero.

    Raises:
        DataError: for invalid probabilities or labels.
    """
    cells = confident_cells(probs, given_labels)
    return joint_of(cells) if calibrate else _raw_joint(cells)


def confident_issues(probs: ArrayLike, given_labels: ArrayLike) -> NDArray[np.bool_]:
    """Flag the rows off the diagonal of the raw :func:`confident_joint` (Northcutt 2021).

    Equal to ``cleanlab.filter.find_label_issues(..., filter_by="confident_learning")`` (2.9): a row
    whose given label is its most probable class, within 1e-8, is not flagged.

    Args:
        probs: (N, C) out-of-sample probabilities; a memory map is read in portions.
        given_labels: (N,) integers in 0..C-1.

    Returns:
        Bool (N,).

    Raises:
        DataError: for invalid probabilities or labels.
    """
    array = shaped(probs)
    labels = matching_labels(array, given_labels)
    flagged = np.zeros(len(labels), dtype=bool)
    for part, portion, guess in _guesses(array, labels):
        given = labels[part]
        rows = np.flatnonzero((guess != given) & (guess < array.shape[1]))
        kept = portion[rows].copy()
        kept[np.arange(len(rows)), given[rows]] += _NEAR
        flagged[part.start + rows] = kept.argmax(axis=1) != given[rows]
    return flagged


def confident_transition(probs: ArrayLike, given_labels: ArrayLike) -> Floats:
    """Estimate T as the row-normalised :func:`confident_joint`, (C, C) float64.

    Warns:
        UserWarning: naming the classes without a confident row (all those missing from the given
            labels); they get the identity row.
    """
    joint = confident_joint(probs, given_labels)
    return rows_or_identity(joint.astype(np.float64), "confident joint")


def confident_cells(probs: ArrayLike, given_labels: ArrayLike, fewest: int = 1) -> Labels:
    """Return (C + 1, C) counts of (guessed true class, given label); guess C means none.

    No row is guessed to be of a class with fewer given labels than ``fewest``.
    """
    array = shaped(probs)
    labels = matching_labels(array, given_labels)
    num_classes = array.shape[1]
    cells = np.zeros((num_classes + 1) * num_classes, np.int64)
    for part, _, guess in _guesses(array, labels, fewest):
        cells += np.bincount(guess * num_classes + labels[part], minlength=len(cells))
    return cells.reshape(num_classes + 1, num_classes)


def _thresholds(array: NDArray[np.floating], labels: Labels, fewest: int) -> Floats:
    """Return the mean probability of every class over the rows that are given it, less the slack.

    A class that fewer rows than ``fewest`` are given has no threshold: infinity.
    """
    num_classes = array.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    own = np.concatenate(
        [array[s][np.arange(s.stop - s.start), labels[s]] for s in row_slices(*array.shape)]
    )
    sums = np.bincount(labels, weights=own, minlength=num_classes)
    means = np.where(counts >= fewest, sums / np.maximum(counts, 1), np.inf)
    return np.maximum(means, _LOWEST_THRESHOLD) - _SLACK


def _guesses(
    array: NDArray[np.floating], labels: Labels, fewest: int = 1
) -> Iterator[tuple[slice, Floats, Labels]]:
    """Yield rows in portions: which, their checked probabilities, and the guessed class (C: none).

    The classes that a row is confident of are counted, and their numbers added up, by one matrix
    product: where there is one class, the sum is it. That is much faster than reductions over rows
    of a few numbers. Both sums are exact.
    """
    num_classes = array.shape[1]
    thresholds = _thresholds(array, labels, fewest)
    weights = np.stack([np.ones(num_classes), np.arange(num_classes)], axis=1).astype(np.float32)
    for part in row_slices(*array.shape):
        probs = check_probs(array[part], first=part.start)
        number, total = ((probs >= thresholds).astype(np.float32) @ weights).T
        guess = np.where(number == 0, num_classes, total).astype(np.int64)
        several = np.flatnonzero(number > 1)
        guess[several] = probs[several].argmax(axis=1)
        yield part, probs, guess


def _raw_joint(cells: Labels) -> Labels:
    """Drop the unconfident rows; every class keeps at least one correctly labelled row."""
    joint = cells[:-1].copy()
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return joint


def joint_of(cells: Labels) -> Labels:
    """Calibrate: scale each column to its given count, round, keep the column sums."""
    raw = _raw_joint(cells)
    totals = cells.sum(axis=0)
    scaled = raw * (totals / raw.sum(axis=0))
    rounded = np.rint(scaled)
    missing = totals - rounded.sum(axis=0)
    # The largest remainders go up by one, or the smallest (rounded up already) down by one. Only
    # filled cells have one, and with many classes most are empty.
    row, column = np.nonzero(raw)
    order = np.lexsort((row, (scaled - rounded)[row, column], column))
    row, column = row[order], column[order]
    filled = np.bincount(column, minlength=len(missing))
    rank = np.arange(len(column)) - (np.cumsum(filled) - filled)[column]
    up, down = rank >= (filled - missing)[column], rank < -missing[column]
    rounded[row, column] += up - down.astype(np.float64)
    joint: Labels = rounded.astype(np.int64)
    return joint
