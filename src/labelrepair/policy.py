"""The repair policy: scores in, one action per row out. Nothing is overwritten."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelrepair.config import in_unit_interval
from labelrepair.transition import are_lost

Bools = NDArray[np.bool_]
Labels = NDArray[np.int64]
REPAIR_COLUMNS = ("action", "repaired_label", "label_source", "reason")
_KEEP, _RELABEL, _DROP, _REVIEW = range(4)
CALM, _SURE, _ISSUE, _DOUBT = range(4)  # no sign; a sure suggestion; an unsure one; a doubt
_REASONS = (
    "the given label is the most probable class",
    "another class is more probable",
    "another class is more probable, but not surely",
    "the given label is doubtful",
    "wrong by all signs, right label unclear",
    "doubtful, but the most probable class",
    "kept to hold the class floor",
    "kept, as the model has lost its class",
)


@dataclass(frozen=True)
class Policy:
    """Thresholds and budgets, all shares in [0, 1].

    Attributes:
        relabel_confidence: least confidence at which a suggestion replaces the given label.
        keep_quality: a given label at least this probable is kept without a second look.
        review_budget: share of all rows that people are willing to look at; the uncertain rows
            with the lowest label quality go to them first.
        class_floor: share of a class's rows (by given label) that must carry it after repair; of a
            class under its floor, rows to be dropped or relabelled are kept instead, best label
            quality first. Of a class that the model has lost (of at least ten rows given it, it
            suggests it for under a tenth) none is dropped or relabelled. 0 = neither.
    """

    relabel_confidence: float = 0.7
    keep_quality: float = 0.5
    review_budget: float = 0.02
    class_floor: float = 0.5

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(
            relabel_confidence=self.relabel_confidence,
            keep_quality=self.keep_quality,
            review_budget=self.review_budget,
            class_floor=self.class_floor,
        )


def apply_policy(scores: pd.DataFrame, given_labels: Labels, policy: Policy) -> pd.DataFrame:
    """Decide about every row.

    A label that is no issue and of sufficient quality is kept. An issue with a confident suggestion
    is relabelled. The rest is uncertain: up to the budget it goes to review, worst first; beyond,
    an issue is dropped and a mere doubt is kept. A row that the method's own selection (column
    ``selected``, if present) disbelieved although the probabilities agree with its label counts as
    a doubt.

    Args:
        scores: frame from :func:`labelrepair.scoring.score`, optionally with ``selected``.
        given_labels: int64 ``(N,)``, same order.
        policy: thresholds and budgets.

    Returns:
        Frame of N rows: ``action`` (keep, relabel, drop, review), ``repaired_label`` (Int64, null
        for drop and review), ``label_source`` (model for relabel, else given) and ``reason``.
    """
    quality = scores["label_quality"].to_numpy()
    suggested = scores["suggested_label"].to_numpy()
    signs = signs_of(scores, policy)
    actions, reasons = settle(signs, given_labels, suggested, quality, policy)
    return worded(actions, reasons, given_labels, suggested)


def signs_of(scores: pd.DataFrame, policy: Policy) -> NDArray[np.int8]:
    """Return what each row says for itself, int8 ``(N,)``; :data:`CALM` rows are kept.

    The frame is that of :func:`apply_policy`.
    """
    issue = scores["is_label_issue"].to_numpy(dtype=bool)
    confident = scores["confidence"].to_numpy() >= policy.relabel_confidence
    doubt = scores["label_quality"].to_numpy() < policy.keep_quality
    if "selected" in scores:
        doubt = doubt | ~scores["selected"].to_numpy(dtype=bool)
    signs = np.select([issue & confident, issue, doubt], [_SURE, _ISSUE, _DOUBT], CALM)
    return signs.astype(np.int8)


def settle(
    signs: NDArray[np.int8],
    given_labels: Labels,
    suggested: Labels,
    quality: NDArray[np.float64],
    policy: Policy,
    calm: Labels | None = None,
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Decide what takes all rows together: who goes to review, and the classes' floors.

    Args:
        signs: int8 ``(N,)`` of :func:`signs_of`, and the other columns of the same rows.
        given_labels: int64 ``(N,)``.
        suggested: int64 ``(N,)``.
        quality: float64 ``(N,)``, label quality.
        policy: thresholds and budgets.
        calm: int64 ``(C,)``, calm rows of each class that are not among the N. Nothing happens to
            them, so they need not be here; the others have to be, in the order of the table.

    Returns:
        Actions and reasons, int8 ``(N,)``, for :func:`worded`.
    """
    total = len(signs) + (0 if calm is None else int(calm.sum()))
    sure, issue, doubt = signs == _SURE, signs == _ISSUE, signs == _DOUBT
    lost = np.zeros_like(sure)
    if policy.class_floor:  # what the model says of these rows is a doubt at most
        lost = (sure | issue) & of_lost_classes(given_labels, suggested, calm)
        sure, issue, doubt = sure & ~lost, issue & ~lost, doubt | lost
    review = _worst(issue | doubt, quality, int(_exact(policy.review_budget * total)))
    conditions = [sure, review, issue]
    # Numbers instead of texts until the end: a text for every row would take gigabytes.
    actions = np.select(conditions, [_RELABEL, _REVIEW, _DROP], _KEEP).astype(np.int8)
    conditions = [sure, review & issue, review, issue, lost, doubt]
    reasons = np.select(conditions, (1, 2, 3, 4, 7, 5), 0).astype(np.int8)
    floor = policy.class_floor
    restored = _class_floor(actions, given_labels, suggested, quality, floor, calm)
    actions[restored], reasons[restored] = _KEEP, 6
    return actions, reasons


def of_lost_classes(given: Labels, suggested: Labels, calm: Labels | None = None) -> Bools:
    """Return the mask of rows whose given class is suggested for hardly any row.

    Args:
        given: int64 ``(N,)``.
        suggested: int64 ``(N,)``.
        calm: see :func:`settle`; these rows suggest the class that they carry.
    """
    expected, others = _given(given, suggested, calm)
    found = np.bincount(suggested, minlength=len(others)) + others
    return are_lost(found, expected)[given]


def worded(
    actions: NDArray[np.int8],
    reasons: NDArray[np.int8],
    given_labels: Labels,
    suggested: Labels,
) -> pd.DataFrame:
    """Return the columns of :func:`apply_policy` for the numbers of :func:`settle`."""
    relabelled = actions == _RELABEL
    labels = pd.array(np.where(relabelled, suggested, given_labels), dtype="Int64")
    labels[(actions == _DROP) | (actions == _REVIEW)] = pd.NA
    return pd.DataFrame(
        {
            "action": _texts(("keep", "relabel", "drop", "review"), actions),
            "repaired_label": labels,
            "label_source": _texts(("given", "model"), relabelled),
            "reason": _texts(_REASONS, reasons),
        }
    )


def _texts(values: tuple[str, ...], codes: NDArray[np.integer] | Bools) -> Any:
    """Return ``values[code]`` of every code, as text."""
    return pd.array(values, dtype="str").take(codes.astype(np.intp))


def _exact(rows: Any) -> Any:
    """Return a share of rows without the last digits: 0.29 * 100 falls a hair short of 29."""
    return np.round(rows, 9)


def _worst(candidates: Bools, quality: NDArray[np.float64], count: int) -> Bools:
    """Return the mask of the ``count`` candidates of lowest quality; ties go to the earlier row."""
    mask = np.zeros_like(candidates)
    if count <= 0:
        return mask
    rows = np.flatnonzero(candidates)
    if count < len(rows):
        of_rows = quality[rows]
        # A selection takes time in proportion to the rows; sorting them all takes more.
        last = np.partition(of_rows, count - 1)[count - 1]
        worse, level = rows[of_rows < last], rows[of_rows == last]
        rows = np.concatenate([worse, level[: count - len(worse)]])
    mask[rows] = True
    return mask


def _given(given: Labels, suggested: Labels, calm: Labels | None) -> tuple[Labels, Labels]:
    """Return how many rows of each class there are, ``(C,)``, and how many of them are calm."""
    classes = int(max(given.max(), suggested.max())) + 1 if len(given) else 0
    others = np.zeros(classes, np.int64)
    if calm is not None:
        others = np.pad(calm, (0, max(0, classes - len(calm))))
    return np.bincount(given, minlength=len(others)) + others, others


def _class_floor(
    actions: NDArray[np.int8],
    given: Labels,
    suggested: Labels,
    quality: NDArray[np.float64],
    floor: float,
    calm: Labels | None,
) -> Bools:
    """Return the mask of rows to keep after all so that no class falls under its floor."""
    counts, others = _given(given, suggested, calm)
    needed = np.ceil(_exact(floor * counts)).astype(int) - others
    restored = np.zeros(len(given), dtype=bool)
    # Keeping a row of one class may take a relabelled row away from another: look again until
    # there is nothing to keep. A row once kept stays so, hence this ends.
    before = -1
    while before < restored.sum():
        before = int(restored.sum())
        repaired = np.where((actions == _RELABEL) & ~restored, suggested, given)
        remains = (actions == _KEEP) | (actions == _RELABEL) | restored
        missing = needed - np.bincount(repaired[remains], minlength=len(needed))
        for label in np.flatnonzero(missing > 0):
            taken = (actions == _DROP) | (actions == _RELABEL)
            removed = taken & (given == label) & ~restored
            restored |= _best(removed, quality, int(missing[label]))
    return restored


def _best(candidates: Bools, quality: NDArray[np.float64], count: int) -> Bools:
    """Return the mask of the ``count`` candidates of highest quality."""
    return _worst(candidates, -quality, count)
