"""What a cell records of a training and of the repaired table."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelrepair.metrics import (
    detection_metrics,
    last_mean,
    recovery_by_confidence,
    selection_precision_recall,
)

Labels = NDArray[np.int64]


def repairs(
    repaired: pd.DataFrame, truth: Labels, right: NDArray[np.bool_]
) -> dict[str, float | None]:
    """Return how good the repaired table is."""
    labels = repaired["repaired_label"]
    kept = labels.notna().to_numpy()
    hits = labels[kept].to_numpy(dtype=np.int64) == truth[kept]
    quality = repaired["label_quality"].to_numpy()
    issues = detection_metrics(repaired["is_label_issue"].to_numpy(), quality, ~right)
    return {
        "recovery_accuracy": float((repaired["suggested_label"].to_numpy() == truth).mean()),
        "repaired_accuracy": float(hits.mean()),
        "kept_share": float(kept.mean()),
        "detection_f1": issues["f1"],
    }


def filtered(
    selected: NDArray[np.bool_] | None, right: NDArray[np.bool_]
) -> dict[str, float | None]:
    """Return NLNL's table 1: the rows not selected as a filter of wrong labels."""
    names = ("filtered_share", "filter_precision", "filter_recall")
    if selected is None:
        return dict.fromkeys(names)
    precision, recall = selection_precision_recall(~selected, ~right)
    return dict(zip(names, (float((~selected).mean()), precision, recall), strict=True))


def recovery(
    probs: NDArray[np.floating], truth: Labels, rows: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return Tanaka's tables 12 and 13, of the training rows: bin, count, accuracy (or None)."""
    seen = np.clip(probs[rows].max(1), 0.0, 1.0)
    bins = recovery_by_confidence(seen, probs[rows].argmax(1), truth[rows])
    found = bins.astype(object).where(bins.notna(), None)
    return [dict(zip(map(str, bins), row, strict=True)) for row in found.to_numpy().tolist()]


def accuracies(history: pd.DataFrame) -> dict[str, float]:
    """Return the last stage's measures: last epoch, mean of last ten, best noisy validation."""
    measured = history.dropna(subset=["test_accuracy"])
    last = measured[measured["stage"] == measured["stage"].iloc[-1]]
    accuracy = last["test_accuracy"].to_numpy()
    best = accuracy[-1]
    if "noisy_val_accuracy" in last and last["noisy_val_accuracy"].notna().any():
        best = accuracy[int(np.nanargmax(last["noisy_val_accuracy"].to_numpy()))]
    return {
        "test_accuracy_last": float(accuracy[-1]),
        "test_accuracy_last10": float(last_mean(accuracy)),
        "test_accuracy_best_val": float(best),
    }
