"""Metrics against the truth: accuracy, selection, detection and recovery; evaluation only.

A ratio whose denominator is zero is None (NaN inside a frame), never 0.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score

from labelrepair.config import positive
from labelrepair.errors import DataError
from labelrepair.transition import Floats

Array = NDArray[np.generic]
Mask = NDArray[np.bool_]

# Tanaka 2018, tables 12 and 13; the first bin is closed above.
CONFIDENCE_BINS = (
    ("[0.99,1]", 0.99, np.inf),
    ("[0.95,0.99)", 0.95, 0.99),
    ("[0.9,0.95)", 0.9, 0.95),
    ("[0,0.9)", 0.0, 0.9),
    ("all", 0.0, np.inf),
)


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of rows where ``predicted`` equals ``labels``, both (N,).

    Raises:
        DataError: for no rows or unequal lengths.
    """
    found, expected = _aligned(predicted=predicted, labels=labels)
    if not len(found):
        raise DataError("predicted: accuracy needs at least one row, found none")
    return float((found == expected).mean())


def selection_precision_recall(
    selected: ArrayLike, is_clean: ArrayLike
) -> tuple[float | None, float | None]:
    """Return ``|S & clean| / |S|`` and ``|S & clean| / |clean|`` of a selected set S (Wei 2020).

    Args:
        selected: (N,) bool, the rows a network learned from.
        is_clean: (N,) bool, given label equals true label, also for a label that noise redrew to
            the true class.
    """
    chosen, clean = _masks(selected=selected, is_clean=is_clean)
    both = int((chosen & clean).sum())
    return _ratio(both, int(chosen.sum())), _ratio(both, int(clean.sum()))


def detection_metrics(
    is_label_issue: ArrayLike, label_quality: ArrayLike, is_wrong: ArrayLike
) -> dict[str, float | None]:
    """Score the flagged rows and the ranking; positive means a wrong label.

    Args:
        is_label_issue: (N,) bool, flagged as wrong.
        label_quality: (N,) floats, lower is more suspect.
        is_wrong: (N,) bool, given label differs from the true label.

    Returns:
        ``precision`` TP/(TP+FP), ``recall`` TP/(TP+FN), ``f1`` 2TP/(2TP+FP+FN) and
        ``average_precision`` (scikit-learn's, on descending suspicion ``1 - label_quality``; mean
        of the precision at each wrong row when there are no ties).

    Raises:
        DataError: for unequal lengths, masks that are not boolean, or a quality that is NaN.
    """
    flagged, wrong = _masks(is_label_issue=is_label_issue, is_wrong=is_wrong)
    suspicion = -_quality(label_quality, len(flagged))
    hits = int((flagged & wrong).sum())
    ranked = float(average_precision_score(wrong, suspicion)) if wrong.any() else None
    return {
        "precision": _ratio(hits, int(flagged.sum())),
        "recall": _ratio(hits, int(wrong.sum())),
        "f1": _ratio(2 * hits, int(flagged.sum()) + int(wrong.sum())),
        "average_precision": ranked,
    }


def precision_recall_curve(label_quality: ArrayLike, is_wrong: ArrayLike) -> pd.DataFrame:
    """Return one point per distinct ``label_quality``, from the most suspect one on.

    Args:
        label_quality: (N,) floats, lower is more suspect.
        is_wrong: (N,) bool.

    Returns:
        ``threshold`` (flag a row when its quality is at most this), ``flagged`` (their number),
        ``precision`` and ``recall`` (NaN when no row is wrong).

    Raises:
        DataError: for unequal lengths, a mask that is not boolean, or a quality that is NaN.
    """
    (wrong,) = _masks(is_wrong=is_wrong)
    quality = _quality(label_quality, len(wrong))
    thresholds, counts = np.unique(quality, return_counts=True)
    flagged = np.cumsum(counts)
    hits = np.cumsum(wrong[np.argsort(quality, kind="stable")])[flagged - 1]
    recall = hits / wrong.sum() if wrong.any() else np.full(len(hits), np.nan)
    columns = {"threshold": thresholds, "flagged": flagged, "precision": hits / flagged}
    return pd.DataFrame({**columns, "recall": recall})


def recovery_by_confidence(
    confidence: ArrayLike, recovered_labels: ArrayLike, true_labels: ArrayLike
) -> pd.DataFrame:
    """Return recovery accuracy per bin of confidence (Tanaka 2018, tables 12 and 13).

    Args:
        confidence: (N,) floats in [0, 1], ``max_j`` of the soft label.
        recovered_labels: (N,) reassigned labels.
        true_labels: (N,).

    Returns:
        ``bin``, ``count`` and ``accuracy`` (NaN for an empty bin) of [0.99,1], [0.95,0.99),
        [0.9,0.95), [0,0.9) and all, in this order.

    Raises:
        DataError: for unequal lengths or a confidence outside [0, 1].
    """
    recovered, true = _aligned(recovered_labels=recovered_labels, true_labels=true_labels)
    sure = np.asarray(confidence, dtype=np.float64)
    if sure.shape != recovered.shape:
        raise DataError(f"confidence: expected shape {recovered.shape}, found {sure.shape}")
    # A float32 softmax may exceed 1 by rounding.
    outside = ~((sure >= 0) & (sure <= 1 + 1e-6))
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(f"confidence: row {row} is {sure[row]}, expected a value in [0, 1]")
    right = recovered == true
    rows = []
    for name, low, high in CONFIDENCE_BINS:
        inside = (sure >= low) & (sure < high)
        share = _ratio(int((right & inside).sum()), int(inside.sum()))
        rows.append((name, int(inside.sum()), np.nan if share is None else share))
    return pd.DataFrame(rows, columns=["bin", "count", "accuracy"])


def repaired_accuracy(
    repaired_labels: ArrayLike, kept_mask: ArrayLike, true_labels: ArrayLike
) -> float | None:
    """Return the share of right labels among the kept rows; None when none is kept.

    Args:
        repaired_labels: (N,), read only where kept, so dropped rows may hold null.
        kept_mask: (N,) bool, rows that still carry a label (not dropped, not under review).
        true_labels: (N,).

    Raises:
        DataError: for unequal lengths or a kept row without a label.
    """
    repaired, true = _aligned(repaired_labels=repaired_labels, true_labels=true_labels)
    (kept,) = _masks(kept_mask=kept_mask)
    _same_length(len(kept), len(true), "kept_mask")
    missing = kept & np.asarray(pd.isna(repaired))
    if missing.any():
        row = int(np.argmax(missing))
        raise DataError(f"repaired_labels: row {row} is kept but has no label")
    return _ratio(int((repaired[kept] == true[kept]).sum()), int(kept.sum()))


def memorisation(
    predicted: ArrayLike, given_labels: ArrayLike, true_labels: ArrayLike
) -> float | None:
    """Return the share of corrupted rows whose prediction equals the wrong given label.

    Returns:
        A value in [0, 1], or None when no given label differs from the true one.
    """
    guess, given, true = _aligned(
        predicted=predicted, given_labels=given_labels, true_labels=true_labels
    )
    corrupted = given != true
    return _ratio(int((guess[corrupted] == given[corrupted]).sum()), int(corrupted.sum()))


def last_mean(values: Sequence[float] | Floats, count: int = 10) -> float:
    """Return the mean of the last ``count`` values, of all when there are fewer.

    Raises:
        DataError: for no values.
        ConfigError: for a count below 1.
    """
    positive(count=count)
    if not len(values):
        raise DataError("values: expected at least one, found none")
    return float(np.mean(np.asarray(values, dtype=np.float64)[-count:]))


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def _aligned(**columns: ArrayLike) -> tuple[Array, ...]:
    """Return the columns as (N,) arrays of one length, or raise DataError."""
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    first = next(iter(arrays.values()))
    for name, array in arrays.items():
        if array.ndim != 1:
            raise DataError(f"{name}: expected shape (N,), found {array.shape}")
        _same_length(len(array), len(first), name)
    return tuple(arrays.values())


def _masks(**columns: ArrayLike) -> tuple[Mask, ...]:
    """Return aligned boolean columns; integers would turn ``&`` and indexing into nonsense."""
    arrays = _aligned(**columns)
    for name, array in zip(columns, arrays, strict=True):
        if array.size and array.dtype != np.bool_:
            raise DataError(f"{name}: expected booleans, found dtype {array.dtype}")
    return tuple(array.astype(np.bool_) for array in arrays)


def _quality(label_quality: ArrayLike, length: int) -> Floats:
    """Return the qualities as float64; rank by them, as ``1 - q`` merges those below 1e-16."""
    (values,) = _aligned(label_quality=label_quality)
    quality = values.astype(np.float64)
    _same_length(len(quality), length, "label_quality")
    if np.isnan(quality).any():
        raise DataError(f"label_quality: row {int(np.isnan(quality).argmax())} is NaN")
    return quality


def _same_length(found: int, expected: int, name: str) -> None:
    if found != expected:
        raise DataError(f"{name}: expected {expected} rows, found {found}")
