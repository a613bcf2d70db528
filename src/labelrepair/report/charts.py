"""Line charts, histograms and bars of the report, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from labelrepair.report.svg import Axes, path_of, picture, tag, ticks

MAX_POINTS = 300  # of a line; more cannot be seen at this size
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One line: ``style`` is a class of the style sheet (accent, wrong, muted, second)."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "accent"


@dataclass(frozen=True)
class Chart:
    """A drawing, what its colours mean (name, style) and the numbers behind it."""

    svg: Markup
    legend: tuple[tuple[str, str], ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def line_chart(
    title: str,
    lines: Sequence[Line],
    labels: tuple[str, str],
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    percent: bool = True,
    point: tuple[float, float] | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Draw lines over a common x.

    Args:
        title: the alternative text.
        lines: at least one; missing values are left out. Shares when ``percent``.
        labels: of the x and the y axis.
        x_range: default: that of the data.
        y_range: default: that of the data, rounded outwards.
        percent: write the y values in percent.
        point: one (x, y) to be marked.
        marks: vertical lines: (x, name).
    """
    drawn = [_measured(line) for line in lines]
    every = np.concatenate([y for _, y in drawn])
    places = np.concatenate([x for x, _ in drawn])
    axes = Axes(
        x_range or (float(places.min()), float(max(places.max(), places.min() + 1))),
        y_range or _outwards(float(every.min()), float(every.max()), percent),
        left=74 if labels[1] else 58,
    )
    parts = [
        axes.grid(_x_ticks(axes, percent_x=x_range == (0, 1)), _y_ticks(axes, percent), *labels)
    ]
    for number, (x, name) in enumerate(marks):
        across, top = axes.x(x), axes.top
        floor = axes.height - axes.bottom
        parts.append(tag("line", class_="mark", x1=across, x2=across, y1=top, y2=floor))
        parts.append(tag("text", name, class_="tick", x=across + 3, y=top + 10 + 12 * (number % 2)))
    for line, (xs, ys) in zip(lines, drawn, strict=True):
        kept = np.unique(np.linspace(0, len(xs) - 1, min(len(xs), MAX_POINTS)).astype(int))
        points = [(axes.x(xs[i]), axes.y(ys[i])) for i in kept]
        if len(points) == 1:
            parts.append(
                tag("circle", class_=f"dot {line.style}", cx=points[0][0], cy=points[0][1], r=4.0)
            )
        else:
            parts.append(tag("path", class_=f"line {line.style}", d=path_of(points)))
    if point is not None:
        parts.append(
            tag("circle", class_="dot wrong", cx=axes.x(point[0]), cy=axes.y(point[1]), r=5.0)
        )
    return Chart(
        picture(axes.width, axes.height, title, *parts),
        tuple((line.name, line.style) for line in lines),
        (labels[0], *(line.name for line in lines)),
        _rows(lines, percent),
    )


def histogram(
    title: str,
    edges: Floats,
    parts: Sequence[tuple[str, str, Floats]],
    x_label: str,
) -> Chart:
    """Draw stacked counts per bin.

    Args:
        title: the alternative text.
        edges: (B + 1,) rising.
        parts: name, style and (B,) counts, from the bottom up.
        x_label: of the x axis.
    """
    total = np.sum([np.zeros(len(edges) - 1), *(counts for *_, counts in parts)], axis=0)
    axes = Axes(
        (float(edges[0]), float(edges[-1])), (0.0, float(max(total.max(), 1)) * 1.04), left=62
    )
    y_ticks = [(value, compact(value)) for value in ticks(*axes.y_range, 4)]
    x_ticks = [(value, f"{value:g}") for value in ticks(*axes.x_range, 5)]
    drawn = [axes.grid(x_ticks, y_ticks, x_label, "rows")]
    base = np.zeros(len(edges) - 1)
    for _, style, counts in parts:
        for low, high, start, count in zip(edges, edges[1:], base, counts, strict=False):
            if count:
                left, top = axes.x(low) + 0.6, axes.y(start + count)
                drawn.append(
                    tag(
                        "rect",
                        class_=f"fill {style}",
                        x=left,
                        y=top,
                        width=axes.x(high) - left - 0.6,
                        height=max(axes.y(start) - top, 1.2),
                    )
                )
        base = base + counts
    shown = [f"{edge:.{_decimals(edges)}f}" for edge in edges]
    rows = tuple(
        (f"{shown[i]} to {shown[i + 1]}", *(f"{int(part[2][i]):,}" for part in parts))
        for i in range(len(total))
    )
    return Chart(
        picture(axes.width, axes.height, title, *drawn),
        tuple((name, style) for name, style, _ in parts),
        (x_label, *(name for name, *_ in parts)),
        rows,
    )


def bars(
    title: str,
    names: Sequence[str],
    shares: Sequence[float | None],
    sizes: Sequence[int],
    labels: tuple[str, str],
) -> Chart:
    """Draw one bar per name: a share in percent with the number of rows behind it."""
    axes = Axes((-0.5, len(names) - 0.5), (0.0, 1.12), left=74 if labels[1] else 58)
    y_ticks = [(value / 100, f"{value} %") for value in range(0, 101, 25)]
    drawn = [axes.grid(list(enumerate(names)), y_ticks, *labels)]
    for place, (share, size) in enumerate(zip(shares, sizes, strict=True)):
        value = 0.0 if share is None else share
        middle, top = axes.x(place), axes.y(value)
        style = "muted" if names[place] == "all" else "accent"
        if size:
            height = axes.y(0) - top
            drawn.append(
                tag("rect", class_=f"fill {style}", x=middle - 22, y=top, width=44, height=height)
            )
        text = f"{100 * value:.1f} %" if size else "no rows"
        drawn.append(tag("text", text, class_="tick middle strong", x=middle, y=top - 6))
    rows = tuple(
        (name, "" if share is None or not size else f"{100 * share:.1f} %", f"{size:,}")
        for name, share, size in zip(names, shares, sizes, strict=True)
    )
    return Chart(
        picture(axes.width, axes.height, title, *drawn),
        (),
        (labels[0], labels[1] or "share", "rows"),
        rows,
    )


def line_of(frame: pd.DataFrame, x: str, y: str, name: str, style: str) -> Line | None:
    """Return a column as a line, None where it was never measured."""
    if y not in frame or not frame[y].notna().any():
        return None
    return Line(name, frame[x].tolist(), frame[y].astype(float).tolist(), style)


def compact(value: float) -> str:
    """Return a count for an axis: 1.5k, 20k, 2M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _decimals(edges: Floats) -> int:
    """Return with how many decimals, at least two, edges are written as they are; six at most."""
    exact = (n for n in range(2, 6) if np.allclose(edges, edges.round(n), rtol=0, atol=1e-9))
    return next(exact, 6)


def _measured(line: Line) -> tuple[Floats, Floats]:
    x, y = np.asarray(line.x, dtype=np.float64), np.asarray(line.y, dtype=np.float64)
    known = np.isfinite(y)
    return x[known], y[known]


def _outwards(low: float, high: float, percent: bool) -> tuple[float, float]:
    """Return a range with some room; of shares at least ten points, and hardly beyond 0 and 1."""
    if percent:
        pad = max(0.06 * (high - low), 0.05 - (high - low) / 2)
        return max(0.0, low - pad), min(1.02, high + pad)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return (0.0 if 0 <= low < 2 * pad else low - pad), high + pad


def _x_ticks(axes: Axes, percent_x: bool) -> list[tuple[float, str]]:
    values = ticks(*axes.x_range, 5)
    if percent_x:
        return [(value, f"{100 * value:.0f} %") for value in values]
    return [(value, f"{value:g}") for value in values if value == round(value)]


def _y_ticks(axes: Axes, percent: bool) -> list[tuple[float, str]]:
    values = ticks(*axes.y_range, 4)
    if not percent:
        return [(value, f"{value:g}") for value in values]
    whole = all(abs(100 * value - round(100 * value)) < 1e-9 for value in values)
    return [(value, f"{100 * value:.{0 if whole else 1}f} %") for value in values]


def _rows(lines: Sequence[Line], percent: bool, most: int = 20) -> tuple[tuple[str, ...], ...]:
    """Return at most ``most`` evenly spaced rows of the numbers; lines share their x."""
    first = lines[0]
    kept = np.unique(np.linspace(0, len(first.x) - 1, min(len(first.x), most)).astype(int))

    def shown(value: float) -> str:
        if not np.isfinite(value):
            return ""
        return f"{100 * value:.1f} %" if percent else f"{value:.4g}"

    def place(value: float) -> str:
        return f"{value:g}" if value == round(value) else f"{value:.3f}"

    return tuple(
        (place(first.x[i]), *(shown(line.y[i]) if i < len(line.y) else "" for line in lines))
        for i in kept
    )
