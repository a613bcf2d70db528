"""Flows of rows, as SVG: from given to repaired labels, and from true labels to either."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from labelrepair.label_table import (
    ACTION,
    GIVEN_LABEL,
    OPEN_SET,
    REPAIRED_LABEL,
    TRUE_LABEL,
    Action,
)
from labelrepair.report.svg import TEXT_WIDTH, picture, tag

Integers = NDArray[np.int64]
# Ends of a flow that are no class; class numbers are not negative.
OTHERS, DROPPED, REVIEW = -1, -2, -3
NAMES = {OTHERS: "other classes", DROPPED: "dropped", REVIEW: "to review"}
ENDS = {Action.DROP: DROPPED, Action.REVIEW: REVIEW}
NODE_STYLES = {DROPPED: "node drop", REVIEW: "node review"}
RIGHT, WRONG = "keep", "wrong"  # styles of a flow from a true label
FAINT_BELOW = 0.06  # share of a class; diffuse noise must not hide a systematic confusion
LETTERS = 14  # of a class name at most; the page has the whole one in a table
ROW_HEIGHT, LEAST_HEIGHT, GAP, TOP, NODE = 30.0, 200.0, 7.0, 24.0, 8.0


@dataclass(frozen=True)
class Flow:
    """So many rows of the label ``source`` that ended at ``target``, each a class or an end.

    ``action`` is an :class:`Action`, or right or wrong: the style of the band.
    """

    source: int
    target: int
    action: str
    count: int


@dataclass(frozen=True)
class Node:
    """The rows of one class or end: where its box begins, how tall it is, how many there are."""

    top: float
    height: float
    total: int


def flows_of(table: pd.DataFrame, num_classes: int, limit: int) -> list[Flow]:
    """Count the rows per given label, where they went and why.

    Args:
        table: decided rows: ``given_label``, ``repaired_label`` and ``action``.
        num_classes: C.
        limit: so many classes, those with the most changed rows, stay apart; the others are one.

    Returns:
        The flows: kept, relabelled, dropped, reviewed; each by given, then repaired label.
    """
    given = table[GIVEN_LABEL].to_numpy(np.int64)
    repaired = table[REPAIRED_LABEL].astype("Int64").fillna(0).to_numpy(np.int64)
    actions = table[ACTION].to_numpy()
    if num_classes > limit:
        changed = actions != Action.KEEP
        moved = np.concatenate([given[changed], repaired[actions == Action.RELABEL]])
        totals = np.bincount(moved, minlength=num_classes)
        merged = _merged(totals, limit)
        given, repaired = merged[given], merged[repaired]
    flows = []
    for action in Action:
        rows = actions == action
        ends = np.full(int(rows.sum()), ENDS[action]) if action in ENDS else repaired[rows]
        pairs, counts = np.unique(np.stack([given[rows], ends]), axis=1, return_counts=True)
        found = zip(*pairs.tolist(), counts.tolist(), strict=True)
        flows += [Flow(source, target, action, n) for source, target, n in found]
    return flows


def truth_flows(table: pd.DataFrame, num_classes: int, limit: int) -> tuple[list[Flow], list[Flow]]:
    """Count the rows per true label and what they were given, and what they carry after repair.

    Args:
        table: decided rows, see :func:`flows_of`, with ``true_label``; null, and what
            belongs to no class, is left out.
        num_classes: C.
        limit: as there: the classes with the most wrong given labels stay apart.

    Returns:
        The flows before and after; both with the same classes.
    """
    rows = table[table[TRUE_LABEL].fillna(OPEN_SET) != OPEN_SET]
    true, given = (rows[name].to_numpy(np.int64) for name in (TRUE_LABEL, GIVEN_LABEL))
    after = rows[REPAIRED_LABEL].astype("Int64").fillna(DROPPED).to_numpy(np.int64)
    after = np.where(rows[ACTION] == Action.REVIEW, REVIEW, after)
    wrong = true != given
    totals = np.bincount(np.concatenate([true[wrong], given[wrong]]), minlength=num_classes)
    merged = _merged(totals, limit if num_classes > limit else num_classes)
    both = []
    for label in (given, after):
        style = np.where(label == true, RIGHT, WRONG).astype(object)
        style[label == DROPPED], style[label == REVIEW] = str(Action.DROP), str(Action.REVIEW)
        ends = np.where(label < 0, label, merged[np.maximum(label, 0)])
        counted = Counter(zip(merged[true].tolist(), ends.tolist(), style, strict=True))
        both.append([Flow(*ends, counted[ends]) for ends in sorted(counted)])
    return both[0], both[1]


def _merged(totals: Integers, limit: int) -> Integers:
    """Return each class's own number if it is among the ``limit`` largest totals, else OTHERS."""
    merged = np.full(len(totals), OTHERS)
    apart = np.argsort(-totals, kind="stable")[:limit]
    merged[apart] = apart
    return merged


def alluvial(
    flows: Sequence[Flow],
    class_names: Sequence[str],
    width: float = 760,
    heads: tuple[str, str] = ("given label", "repaired label"),
) -> Markup:
    """Draw the flows: labels left; on the right what became of them and the rows taken out."""
    known = {flow.source for flow in flows} | {flow.target for flow in flows}
    names = {i: (NAMES[i] if i < 0 else str(class_names[i])) for i in known}
    classes = [*sorted(i for i in known if i >= 0), *sorted(known & {OTHERS})]
    row = max(ROW_HEIGHT, LEAST_HEIGHT / len(classes))
    scale = len(classes) * row / max(sum(flow.count for flow in flows), 1)
    left = _stack(classes, [(f.source, f.count) for f in flows], scale)
    ends = [end for end in (DROPPED, REVIEW) if end in known]
    right = _stack([*classes, *ends], [(f.target, f.count) for f in flows], scale)
    sides = (left, right)
    # Both sides leave a fifth of the picture to the flows: large numbers shorten the names.
    room = int((0.4 * width - 14) / TEXT_WIDTH)
    largest = max(node.total for side in sides for node in side.values())
    most = min(LETTERS, max(4, room - len(_label("", largest, LETTERS))))
    labels = [{i: _label(names[i], node.total, most) for i, node in side.items()} for side in sides]
    longest = max(len(text) for side in labels for text in side.values())
    # A head begins where the boxes are and must not be cut at the picture's edge.
    margin = max(14 + TEXT_WIDTH * longest, TEXT_WIDTH * max(map(len, heads)))
    height = max(node.top + node.height for node in (*left.values(), *right.values())) + 12
    parts = [
        tag("text", heads[0], class_="label end", x=margin, y=14),
        tag("text", heads[1], class_="label", x=width - margin, y=14),
        *_bands(flows, left, right, scale, (margin + NODE / 2, width - margin - NODE / 2), names),
    ]
    for side, texts, x, shift, anchor in (
        (left, labels[0], margin, -10, "tick end"),
        (right, labels[1], width - margin, 10, "tick"),
    ):
        for i, node in side.items():
            style = NODE_STYLES.get(i, "node")
            box = {"x": x - NODE / 2, "y": node.top, "width": NODE, "height": max(node.height, 1.0)}
            middle = node.top + node.height / 2 + 4
            parts.append(tag("rect", class_=style, **box))
            parts.append(tag("text", texts[i], class_=anchor, x=x + shift, y=middle))
    moved = sum(flow.count for flow in flows if flow.action != Action.KEEP)
    changed, wrong = (
        ("changes or leaves", "is wrong or left out")
        if moved == 1
        else ("change or leave", "are wrong or left out")
    )
    differ = changed if heads[0] == "given label" else wrong
    title = f"Flow of rows from {heads[0]} to {heads[1]}: {_rows(moved)} {differ}"
    return picture(width, height, title, *parts, class_="flow")


def _stack(
    order: Sequence[int], counts: Sequence[tuple[int, int]], scale: float
) -> dict[int, Node]:
    """Return the boxes of one side, one below the other."""
    totals = dict.fromkeys(order, 0)
    for end, count in counts:
        totals[end] += count
    stack, top = {}, TOP
    for end, total in totals.items():
        stack[end] = Node(top, total * scale, total)
        top += max(total * scale, 12.0) + GAP  # room for the text of a small one
    return stack


def _bands(
    flows: Sequence[Flow],
    left: dict[int, Node],
    right: dict[int, Node],
    scale: float,
    inner: tuple[float, float],
    names: dict[int, str],
) -> list[Markup]:
    """Return one band per flow; those of kept rows lie below the others."""
    rank = {end: place for place, end in enumerate(right)}
    leave = {end: node.top for end, node in left.items()}
    arrive = {end: node.top for end, node in right.items()}
    starts = {}
    for flow in sorted(flows, key=lambda f: (rank[f.target], f.action)):
        starts[flow] = leave[flow.source]
        leave[flow.source] += flow.count * scale
    drawn = []
    x0, x1 = inner
    mid = (x0 + x1) / 2
    for flow in sorted(flows, key=lambda f: (rank[f.source], f.action)):
        y0, y1, thick = starts[flow], arrive[flow.target], flow.count * scale
        arrive[flow.target] += thick
        low0, low1 = y0 + max(thick, 0.4), y1 + max(thick, 0.4)
        path = (
            f"M{x0:.0f} {y0:.1f}C{mid:.0f} {y0:.1f} {mid:.0f} {y1:.1f} {x1:.0f} {y1:.1f}"
            f"V{low1:.1f}C{mid:.0f} {low1:.1f} {mid:.0f} {low0:.1f} {x0:.0f} {low0:.1f}Z"
        )
        text = f"{names[flow.source]} → {names[flow.target]}: {_rows(flow.count)}"
        weight = " faint" if flow.count < FAINT_BELOW * left[flow.source].total else ""
        band = tag("path", tag("title", text), class_=f"band {flow.action}{weight}", d=path)
        drawn.append((flow.action != Action.KEEP, band))
    return [band for _, band in sorted(drawn, key=lambda pair: pair[0])]


def _label(name: str, total: int, most: int) -> str:
    short = name if len(name) <= most else name[: most - 1] + "…"
    return f"{short} · {total:,}"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
