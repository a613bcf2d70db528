"""The numbers behind the pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from labelrepair.evaluation import Evaluation
from labelrepair.label_table import (
    GIVEN_LABEL,
    LABEL_QUALITY,
    REPAIRED_LABEL,
    SPLIT,
    SUGGESTED_LABEL,
    TRUE_LABEL,
    Split,
)
from labelrepair.transition import count_pairs

QUALITY_BINS = 25


def plot_data(
    evaluation: Evaluation, noise: Mapping[str, Any], class_names: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Return the numbers behind each picture of :func:`all_plots`, under the same names."""
    curves, size = evaluation.curves, len(class_names)
    transition = long_form(noise["transition"], class_names, ("true_class", "given_class"), "share")
    tables = [
        long_form(counts, class_names, ("row_class", "column_class"), "count").assign(panel=title)
        for title, (_, counts) in confusions(evaluation.delivered, size).items()
    ]
    frames = {
        "transition": transition,
        "training_curves": curves,
        "quality_histogram": quality_counts(evaluation.delivered),
        "confusion": pd.concat(tables, ignore_index=True),
        "class_health": evaluation.classes.assign(name=list(class_names)),
    }
    if "labels.given_accuracy" in evaluation.metrics:
        chosen = [name for name in curves if str(name).startswith("selection_precision")]
        frames |= {
            "label_precision": curves[["stage", "epoch", *chosen]],
            "precision_recall": evaluation.precision_recall,
            "recovery": evaluation.recovery_by_confidence,
        }
    return frames


def quality_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows per bin of label quality: ``low``, ``high``, then right and wrong or unknown."""
    rows = table[table[LABEL_QUALITY].notna()]
    edges = np.linspace(0, 1, QUALITY_BINS + 1)
    true = rows[TRUE_LABEL] if TRUE_LABEL in rows else pd.Series(pd.NA, rows.index, dtype="Int64")
    known = true.notna().to_numpy(dtype=bool)
    right = (true == rows[GIVEN_LABEL]).fillna(False).to_numpy(dtype=bool)
    parts = {"right": right, "wrong": known & ~right, "unknown": ~known}
    frame = pd.DataFrame({"low": edges[:-1], "high": edges[1:]})
    quality = rows[LABEL_QUALITY].to_numpy(np.float64)
    for name, mask in parts.items():
        if known.any() if name != "unknown" else mask.any():
            frame[name] = np.histogram(quality[mask], edges)[0]
    return frame


def confusions(
    delivered: pd.DataFrame, num_classes: int
) -> dict[str, tuple[tuple[str, str], NDArray[np.int64]]]:
    """Return title -> ((column label, row label), (C, C) counts) of the rows to compare."""
    rows = delivered[delivered[SPLIT] != Split.TEST]
    known = rows[(rows[TRUE_LABEL] >= 0).fillna(False).astype(bool)]  # neither null nor open set

    def count(frame: pd.DataFrame, first: str, second: str) -> NDArray[np.int64]:
        both = frame[frame[second].notna()]
        return count_pairs(
            both[first].to_numpy(np.int64), both[second].to_numpy(np.int64), num_classes
        )

    if known.empty:
        counts = count(rows, GIVEN_LABEL, SUGGESTED_LABEL)
        return {"Given and suggested labels": (("suggested label", "given label"), counts)}
    return {
        "Before: given labels": (
            ("given label", "true class"),
            count(known, TRUE_LABEL, GIVEN_LABEL),
        ),
        "After: repaired labels": (
            ("repaired label", "true class"),
            count(known, TRUE_LABEL, REPAIRED_LABEL),
        ),
    }


def long_form(
    matrix: ArrayLike, class_names: Sequence[str], axes: tuple[str, str], value: str
) -> pd.DataFrame:
    """Return a (C, C) matrix as one row per cell."""
    names = np.asarray(class_names, dtype=object)
    rows = {axes[0]: np.repeat(names, len(names)), axes[1]: np.tile(names, len(names))}
    return pd.DataFrame({**rows, value: np.asarray(matrix).ravel()})
