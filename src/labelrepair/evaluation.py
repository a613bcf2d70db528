"""What a repair achieved: numbers, curves and tables. Only here do results meet true labels.

Only rows outside the test split count (but for the metrics called ``test.``), and wherever the
truth is needed only those whose true label is known. Without any known true label the metrics that
need one are absent, not null.

A sample of the open set (true label -2) belongs to no class: its given label is wrong, and so is
every repaired label; only dropping it or sending it to review is right. Recovery, memorisation and
the errors of T are about the classes and leave it out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelrepair import metrics
from labelrepair.errors import DataError
from labelrepair.label_table import (
    ACTION,
    CONFIDENCE,
    GIVEN_LABEL,
    IS_LABEL_ISSUE,
    LABEL_QUALITY,
    OPEN_SET,
    REPAIRED_LABEL,
    SAMPLE_ID,
    SPLIT,
    SUGGESTED_LABEL,
    TRUE_LABEL,
    Action,
    Split,
    extend,
)
from labelrepair.transition import (
    actual_transition,
    check_labels,
    check_transition,
    transition_error,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Metric = float | int | None
SELECTED = "selected"
CURVE_POINTS = 1000  # of the precision-recall curve; more only make the file larger


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What :func:`evaluate` found.

    Attributes:
        metrics: flat, dotted keys; plain Python numbers, None where a denominator is zero.
        curves: ``history`` with ``selection_precision`` and ``selection_recall`` (mean over the
            networks) and, where networks learned from different rows, one column per network
            (``selection_precision_0``, ...).
        recovery_by_confidence: see :func:`labelrepair.metrics.recovery_by_confidence`.
        precision_recall: see :func:`labelrepair.metrics.precision_recall_curve`; at most 1000
            points, the first and the last among them.
        classes: one row per class: ``class``, ``name`` (if names were given), ``given_count``,
            ``estimated_true_count`` (class prior times rows), ``issues``, ``relabelled_out``,
            ``dropped``, ``review`` and ``mean_quality`` of the rows given this label,
            ``relabelled_in``; where the truth is known ``given_accuracy`` and
            ``repaired_accuracy``: the share of rows given (repaired to) this class that are of it.
        flows: ``count`` of rows by ``given_label``, ``repaired_label`` (null for drop and review)
            and ``action``.
        delivered: the whole table with ``true_label`` (Int64, null = unknown, -2 = open set).

    The frames that need the truth have no rows where none is known.
    """

    metrics: dict[str, Metric]
    curves: pd.DataFrame
    recovery_by_confidence: pd.DataFrame
    precision_recall: pd.DataFrame
    classes: pd.DataFrame
    flows: pd.DataFrame
    delivered: pd.DataFrame


def evaluate(
    table: pd.DataFrame,
    true_labels: pd.DataFrame,
    noise: Mapping[str, Any],
    history: pd.DataFrame,
    used: NDArray[np.uint8],
    num_classes: int,
    *,
    class_names: Sequence[str] | None = None,
) -> Evaluation:
    """Measure a repair.

    Args:
        table: the repaired label table with its test rows; N rows are not of the test split.
        true_labels: ``sample_id`` and ``true_label`` (-1 = unknown, -2 = of no class), of all, some
            or no rows.
        noise: ``transition`` (C, C), ``noise_rate``, ``interval`` (low, high), ``class_prior``.
        history: E rows, one per epoch; test and validation accuracies where they were measured.
        used: uint8 ``(E, K, ceil(N / 8))``, packed bits of the rows that each network learned from;
            rows that are never visited (held out, or cut off by ``drop_last``) count as not used.
        num_classes: C.
        class_names: C names for ``classes``.

    Returns:
        The evaluation; nothing that is passed in is modified.

    Raises:
        DataError: a true label belongs to an unknown sample or lies outside the classes, a row
            outside the test split was not scored, or ``used`` fits neither history nor table.
        TransitionError: ``noise["transition"]`` is no transition matrix of C classes.
    """
    transition = check_transition(noise["transition"], num_classes, "noise.transition")
    delivered = _with_truth(table, true_labels, num_classes)
    rows = _scored_rows(delivered)
    is_known = rows[TRUE_LABEL].notna().to_numpy(dtype=bool)
    known = rows[is_known].astype({TRUE_LABEL: np.int64})
    _check_used(used, len(history), len(rows))
    curves = history.reset_index(drop=True).copy()
    found = {**_training_metrics(curves), **_noise_metrics(noise), **_count_metrics(rows)}
    if "test.accuracy_last" in found:
        found |= _test_split_metrics(delivered)
    if len(known):
        curves = pd.concat([curves, _selection_curves(used, is_known, _is_clean(known))], axis=1)
        found |= _truth_metrics(known, transition) | _selection_metrics(known, curves)
    prior = np.asarray(noise["class_prior"], dtype=np.float64)
    return Evaluation(
        metrics={name: _plain(value) for name, value in found.items()},
        curves=curves,
        recovery_by_confidence=_recovery(known),
        precision_recall=_precision_recall(known),
        classes=_classes(rows, known, prior, class_names),
        flows=_flows(rows),
        delivered=delivered,
    )


def _with_truth(table: pd.DataFrame, true_labels: pd.DataFrame, num_classes: int) -> pd.DataFrame:
    """Return a copy of the table with ``true_label``, Int64 and null where it is unknown."""
    labels = true_labels[TRUE_LABEL]
    check_labels(labels[labels >= 0].to_numpy(np.int64), num_classes, "true_labels")
    truth = true_labels[(labels >= 0) | (labels == OPEN_SET)]
    if truth.empty:
        return table.assign(**{TRUE_LABEL: pd.array([pd.NA] * len(table), dtype="Int64")})
    delivered = extend(table, truth[[SAMPLE_ID, TRUE_LABEL]])
    return delivered.astype({TRUE_LABEL: "Int64"})


def _scored_rows(delivered: pd.DataFrame) -> pd.DataFrame:
    """Return the N rows outside the test split, plain dtypes, index 0..N-1."""
    rows = delivered[delivered[SPLIT] != Split.TEST].reset_index(drop=True)
    kinds: dict[str, Any] = {
        LABEL_QUALITY: np.float64,
        IS_LABEL_ISSUE: np.bool_,
        SUGGESTED_LABEL: np.int64,
        CONFIDENCE: np.float64,
        ACTION: "str",
    }
    for name in kinds:
        missing = rows[name].isna()
        if missing.any():
            sample = rows.loc[missing, SAMPLE_ID].iloc[0]
            raise DataError(
                f"sample '{sample}': {name} is missing ({int(missing.sum())} such rows); every "
                "row outside the test split must be scored before it is evaluated"
            )
    return rows.astype(kinds)


def _check_used(used: NDArray[np.uint8], epochs: int, count: int) -> None:
    width = math.ceil(count / 8)
    if used.ndim != 3 or len(used) != epochs or used.shape[2] != width:
        raise DataError(
            f"used: expected shape ({epochs}, K, {width}) for {epochs} epochs and {count} rows "
            f"outside the test split, found {used.shape}"
        )


def _is_clean(known: pd.DataFrame) -> Bools:
    clean: Bools = known[GIVEN_LABEL].to_numpy() == known[TRUE_LABEL].to_numpy()
    return clean


def _training_metrics(history: pd.DataFrame) -> dict[str, Metric]:
    """Return accuracies of the last stage: earlier stages trained another model."""
    last = history.iloc[_last_stage(history) :]
    found: dict[str, Metric] = {}
    val = _measured(last, "noisy_val_accuracy")
    if len(val):
        found["val.noisy_accuracy_last"] = val.iloc[-1]
    test = _measured(last, "test_accuracy")
    if len(test):
        final = test[test.index > last.index[-1] - 10]
        found["test.accuracy_last"] = test.iloc[-1]
        found["test.accuracy_last10"] = metrics.last_mean(final.to_numpy())
        best = val.index[int(val.argmax())] if len(val) else None  # the earliest on ties
        # None also where the test split was not looked at in that epoch (``test_every``): another
        # epoch's would be called what it is not.
        found["test.accuracy_best_noisy_val"] = None if best is None else test.get(best)
    return found


def _last_stage(history: pd.DataFrame) -> int:
    """Return the position of the last stage's first epoch."""
    stage = history["stage"].to_numpy()
    starts = np.flatnonzero(stage[1:] != stage[:-1]) + 1
    return int(starts[-1]) if len(starts) else 0


def _measured(history: pd.DataFrame, name: str) -> "pd.Series[float]":
    """Return the values of the epochs in which ``name`` was measured."""
    column = history[name] if name in history else pd.Series(index=history.index, dtype=float)
    return column.astype(float).dropna()


def _test_split_metrics(delivered: pd.DataFrame) -> dict[str, Metric]:
    """Return which share of the test split's labels is known to be right; nothing without truth.

    Only where it is all of them are the accuracies on that split what they are called.
    """
    test = delivered[delivered[SPLIT] == Split.TEST]
    if test[TRUE_LABEL].isna().all():
        return {}
    right = (test[TRUE_LABEL] == test[GIVEN_LABEL]).fillna(False).to_numpy(dtype=bool)
    return {"test.labels_right": _mean(right)}


def _noise_metrics(noise: Mapping[str, Any]) -> dict[str, Metric]:
    low, high = noise["interval"]
    return {
        "noise.rate_estimated": noise["noise_rate"],
        "noise.rate_low": low,
        "noise.rate_high": high,
    }


def _count_metrics(rows: pd.DataFrame) -> dict[str, Metric]:
    counts = {action: int((rows[ACTION] == action).sum()) for action in Action}
    kept = counts[Action.KEEP] + counts[Action.RELABEL]
    return {
        "labels.rows": len(rows),
        "labels.kept_share": kept / len(rows),
        **{f"counts.{action}": count for action, count in counts.items()},
        "counts.issues": int(rows[IS_LABEL_ISSUE].sum()),
    }


def _truth_metrics(known: pd.DataFrame, transition: Floats) -> dict[str, Metric]:
    given, true = known[GIVEN_LABEL].to_numpy(), known[TRUE_LABEL].to_numpy()
    suggested, repaired = known[SUGGESTED_LABEL].to_numpy(), known[REPAIRED_LABEL]
    wrong = given != true
    relabelled = (known[ACTION] == Action.RELABEL).to_numpy(dtype=bool)
    dropped = (known[ACTION] == Action.DROP).to_numpy(dtype=bool)
    labels = repaired.fillna(-1).to_numpy(np.int64)
    closed = true != OPEN_SET
    actual = actual_transition(true[closed], given[closed], len(transition))
    error = transition_error(transition, actual)
    hits = suggested == true
    detection = metrics.detection_metrics(known[IS_LABEL_ISSUE], known[LABEL_QUALITY], wrong)
    return {
        "noise.rate_actual": wrong.mean(),
        "noise.transition_mean_absolute_error": error["mean_absolute"],
        "noise.transition_relative_frobenius": error["relative_frobenius"],
        "labels.rows_with_truth": len(known),
        "labels.given_accuracy": metrics.accuracy(given, true),
        "labels.repaired_accuracy": metrics.repaired_accuracy(
            labels, repaired.notna().to_numpy(dtype=bool), true
        ),
        "labels.effective_accuracy_all_rows": _mean(hits),
        "recovery.accuracy": _mean(hits[closed]),
        "relabel.precision": _mean(labels[relabelled] == true[relabelled]),
        "drop.precision": _mean(wrong[dropped]),
        **{f"detect.{name}": value for name, value in detection.items()},
        "memorisation.rate": metrics.memorisation(suggested[closed], given[closed], true[closed]),
        **_open_set_metrics(known),
    }


def _open_set_metrics(known: pd.DataFrame) -> dict[str, Metric]:
    """Return what became of the samples that belong to no class; nothing where there are none."""
    is_open = (known[TRUE_LABEL] == OPEN_SET).to_numpy()
    if not is_open.any():
        return {}
    removed = known[ACTION].isin([Action.DROP, Action.REVIEW]).to_numpy(dtype=bool)
    return {
        "open_set.rows": int(is_open.sum()),
        "open_set.flagged": _mean(known[IS_LABEL_ISSUE].to_numpy(dtype=bool)[is_open]),
        "open_set.removed": _mean(removed[is_open]),
        "open_set.share_of_removed": _mean(is_open[removed]),
    }


def _selection_metrics(known: pd.DataFrame, curves: pd.DataFrame) -> dict[str, Metric]:
    """Return how well the method's own selection, else the last epoch's, tells right from wrong."""
    precision, recall = curves[["selection_precision", "selection_recall"]].iloc[-1]
    if SELECTED in known:
        chosen = known[SELECTED].to_numpy(dtype=bool)
        precision, recall = metrics.selection_precision_recall(chosen, _is_clean(known))
    return {"selection.precision_last": precision, "selection.recall_last": recall}


def _selection_curves(used: NDArray[np.uint8], is_known: Bools, is_clean: Bools) -> pd.DataFrame:
    """Return precision and recall of the rows learned from, one row per epoch."""
    differ = (used != used[:, :1]).any()
    networks = range(used.shape[1] if differ else 1)
    scores = np.empty((len(used), len(networks), 2))
    for epoch, packed in enumerate(used):  # unpacked one by one: E * K * N bytes may not fit
        chosen = np.unpackbits(packed, axis=-1, count=len(is_known))[:, is_known].astype(bool)
        for k in networks:
            scores[epoch, k] = metrics.selection_precision_recall(chosen[k], is_clean)
    columns = {}
    for position, name in enumerate(("selection_precision", "selection_recall")):
        each = pd.DataFrame(scores[:, :, position])
        columns[name] = each.mean(axis=1)  # of the networks that selected anything
        if differ:
            columns |= {f"{name}_{k}": each[k] for k in networks}
    return pd.DataFrame(columns)


def _recovery(known: pd.DataFrame) -> pd.DataFrame:
    known = known[known[TRUE_LABEL] != OPEN_SET]
    curve = metrics.recovery_by_confidence(
        known[CONFIDENCE], known[SUGGESTED_LABEL], known[TRUE_LABEL]
    )
    return curve if len(known) else curve.iloc[:0]


def _precision_recall(known: pd.DataFrame) -> pd.DataFrame:
    curve = metrics.precision_recall_curve(known[LABEL_QUALITY], ~_is_clean(known))
    curve = curve[curve["recall"].notna()]  # no row is left where there is no wrong label to find
    points = np.linspace(0, len(curve) - 1, min(CURVE_POINTS, len(curve)))
    return curve.iloc[points.astype(int)].reset_index(drop=True)


def _classes(
    rows: pd.DataFrame,
    known: pd.DataFrame,
    prior: Floats,
    class_names: Sequence[str] | None,
) -> pd.DataFrame:
    """Return class health; classes are those of the given label but for ``relabelled_in``."""
    given, action, size = rows[GIVEN_LABEL], rows[ACTION], len(prior)
    relabelled = action == Action.RELABEL
    labels = {
        "issues": given[rows[IS_LABEL_ISSUE]],
        "relabelled_out": given[relabelled],
        "relabelled_in": rows.loc[relabelled, REPAIRED_LABEL],
        "dropped": given[action == Action.DROP],
        "review": given[action == Action.REVIEW],
    }
    frame = pd.DataFrame({"class": np.arange(size)})
    if class_names is not None:
        frame["name"] = list(class_names)
    frame["given_count"] = np.bincount(given, minlength=size)
    frame["estimated_true_count"] = prior * len(rows)
    for name, values in labels.items():
        frame[name] = np.bincount(values.to_numpy(np.int64), minlength=size)
    frame["mean_quality"] = rows.groupby(GIVEN_LABEL)[LABEL_QUALITY].mean().reindex(frame["class"])
    if len(known):
        for name, column in (("given", GIVEN_LABEL), ("repaired", REPAIRED_LABEL)):
            labelled = known[known[column].notna()]
            right = labelled[column] == labelled[TRUE_LABEL]
            shares = right.groupby(labelled[column].astype(np.int64)).mean().astype(float)
            frame[f"{name}_accuracy"] = shares.reindex(frame["class"])
    return frame


def _flows(rows: pd.DataFrame) -> pd.DataFrame:
    keys = [GIVEN_LABEL, REPAIRED_LABEL, ACTION]
    flows = rows.astype({REPAIRED_LABEL: "Int64"}).groupby(keys, dropna=False).size()
    return flows.reset_index(name="count")


def _mean(hits: Bools) -> float | None:
    return float(hits.mean()) if len(hits) else None


def _plain(value: Any) -> Metric:
    """Return an int, a float, or None for what is missing: JSON knows no NaN."""
    if value is None or not np.isfinite(value):
        return None
    return int(value) if isinstance(value, (int, np.integer)) else float(value)
