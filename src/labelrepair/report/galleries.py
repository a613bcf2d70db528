"""The samples that are worth looking at: surest relabels, surest drops, most ambiguous cases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labelrepair.label_table import (
    ACTION,
    CONFIDENCE,
    GIVEN_LABEL,
    LABEL_QUALITY,
    OPEN_SET,
    REASON,
    SAMPLE_ID,
    SUGGESTED_LABEL,
    TRUE_LABEL,
    Action,
)
from labelrepair.report.estimates import of_people
from labelrepair.report.samples import View

NO_CLASS = "(no class)"


@dataclass(frozen=True)
class Card:
    """One sample: what was given, what is suggested, how surely, and what is true if known."""

    sample_id: str
    given: str
    suggested: str
    confidence: float
    quality: float
    action: str
    reason: str
    true: str | None
    verdict: str
    view: View


@dataclass(frozen=True)
class Gallery:
    """A named row of cards out of ``total`` such rows."""

    key: str
    title: str
    text: str
    total: int
    cards: tuple[Card, ...]


def galleries(
    rows: pd.DataFrame, class_names: Sequence[str], view: Callable[[int], View], size: int
) -> tuple[Gallery, ...]:
    """Choose the samples.

    Args:
        rows: decided rows with ``true_label`` (null = unknown, -2 = of no class) and ``position``:
            their row in the feature store.
        class_names: C names.
        view: feature row -> what to show.
        size: cards per gallery.

    Returns:
        Three galleries of what the model did: rows that people decided about only if they wait for
        review. Given classes take turns in the first two, so that none fills them alone.
    """
    # The confidence is in the suggested label, which people need not have chosen.
    rows = rows[~of_people(rows) | (rows[ACTION] == Action.REVIEW)]
    models = rows[~of_people(rows)]
    relabel = models[models[ACTION] == Action.RELABEL]
    drop = models[models[ACTION] == Action.DROP]
    review = rows[ACTION] == Action.REVIEW
    order = np.lexsort((rows[SAMPLE_ID], rows[CONFIDENCE], ~review))
    unsure = rows.iloc[order]
    count = int(review.sum()) if review.sum() >= size else len(rows)
    chosen = (
        (
            "relabels",
            "Surest relabels",
            "Labels that the model changed with the highest confidence, given classes in turn.",
            _in_turn(relabel, CONFIDENCE, rising=False, size=size),
            len(relabel),
        ),
        (
            "drops",
            "Surest drops",
            "Rows that it left out: the given label is almost surely wrong, the right one unclear.",
            _in_turn(drop, LABEL_QUALITY, rising=True, size=size),
            len(drop),
        ),
        (
            "ambiguous",
            "Most ambiguous cases",
            "For people to decide first: the best guess is hardly better than the next one."
            if review.any()
            else "Rows whose best guess is hardly better than the next. No row waits for review.",
            unsure.head(size),
            count,
        ),
    )
    return tuple(
        Gallery(key, title, text, total, tuple(_cards(frame, class_names, view)))
        for key, title, text, frame, total in chosen
    )


def _in_turn(rows: pd.DataFrame, column: str, *, rising: bool, size: int) -> pd.DataFrame:
    """Return the best rows of every given class in turn: all firsts, then all seconds, ..."""
    ranked = rows.sort_values([column, SAMPLE_ID], ascending=[rising, True], kind="stable")
    turn = ranked.groupby(GIVEN_LABEL, sort=False).cumcount()
    return ranked.assign(_turn=turn).sort_values("_turn", kind="stable").head(size)


def _cards(
    rows: pd.DataFrame, class_names: Sequence[str], view: Callable[[int], View]
) -> list[Card]:
    cards = []
    for row in rows.to_dict("records"):
        true = row[TRUE_LABEL]
        known = not pd.isna(true)
        suggested = int(row[SUGGESTED_LABEL])
        cards.append(
            Card(
                sample_id=str(row[SAMPLE_ID]),
                given=str(class_names[int(row[GIVEN_LABEL])]),
                suggested=str(class_names[suggested]),
                confidence=float(row[CONFIDENCE]),
                quality=float(row[LABEL_QUALITY]),
                action=str(row[ACTION]),
                reason=str(row.get(REASON, "")),
                true=_true_name(int(true), class_names) if known else None,
                verdict=("right" if int(true) == suggested else "wrong") if known else "",
                view=view(int(row["position"])),
            )
        )
    return cards


def _true_name(label: int, class_names: Sequence[str]) -> str:
    return NO_CLASS if label == OPEN_SET else str(class_names[label])
