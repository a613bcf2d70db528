"""What the pictures are made of: empty figures, lines, heat maps, and the colours.

matplotlib is imported on first use, without pyplot. Colours are Okabe and Ito's, which colour-blind
readers can tell apart: blue is right or repaired, vermilion is wrong or given.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelrepair.fonts import families

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"
INK, GREY, LIGHT = "#333333", "#8C8C8C", "#E6E6E6"
ANNOTATED_CLASSES = 20  # more numbers than 20 x 20 cannot be read
NAMED_CLASSES = 100  # more names on an axis make a picture that no screen shows


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple["Figure", list["Axes"]]:
    """Return an empty figure (inches) and its axes, without frame, with light grid lines."""
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(width, height), dpi=120, layout=layout, facecolor="white")
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(GREY)
        panel.tick_params(colors=INK, labelsize=9, color=GREY)
        panel.grid(axis="y", color=LIGHT, lw=0.8)
        panel.set_axisbelow(True)
    return figure, axes


def set_title(axes: "Axes", text: str, pad: float = 6) -> None:
    axes.set_title(text, loc="left", fontsize=11, color=INK, fontweight="bold", pad=pad)


def literal(names: Iterable[str]) -> list[str]:
    """Return names as matplotlib has to be given them: between two $ it reads mathematics."""
    return [str(name).replace("$", r"\$") for name in names]


def has(curves: pd.DataFrame, name: str) -> bool:
    return name in curves and bool(curves[name].notna().any())


def draw_line(
    axes: "Axes", curves: pd.DataFrame, name: str, label: str, colour: str, scale: float
) -> None:
    """Draw one column over the epochs in which it was measured."""
    if has(curves, name):
        measured = curves[curves[name].notna()]
        values = scale * measured[name].astype(float)
        marker = "o" if len(measured) == 1 else None
        axes.plot(measured["epoch"], values, color=colour, lw=1.6, label=label, marker=marker)


def legend_right(axes: "Axes") -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def stage_marks(axes: "Axes", curves: pd.DataFrame, named: bool) -> None:
    """Mark where each stage but the first begins; name all of them above the axes."""
    stage = curves["stage"].to_numpy()
    starts = [0, *(np.flatnonzero(stage[1:] != stage[:-1]) + 1)]
    if len(starts) == 1:
        return
    for number, start in enumerate(starts):
        epoch = curves["epoch"].iloc[start]
        if start:
            axes.axvline(epoch - 0.5, color=GREY, lw=1, ls=":")
        if named:  # alternately at two heights, because short stages stand close together
            axes.annotate(
                stage[start],
                (epoch, 1),
                (0, 3 + 10 * (number % 2)),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                fontsize=8,
                color=INK,
            )
    if named:
        set_title(axes, axes.get_title(loc="left"), pad=28)


def heat_map_size(num_classes: int) -> tuple[float, float]:
    """Return inches: cells hold a number up to 20 classes, and shrink beyond 20 and 100."""
    cell = 0.42 if num_classes <= ANNOTATED_CLASSES else 0.11
    side = 2.2 + min(num_classes, NAMED_CLASSES) * cell
    return max(5.2, side + 0.8), max(4.4, side)


def name_style(names: Sequence[str]) -> dict[str, Any]:
    """Return how the names of an axis are set: smaller the more, in fonts that have them."""
    size = float(np.interp(len(names), [20, 100], [9, 6]))
    return {"fontsize": size, "fontfamily": families(names)}


def heat_map(
    axes: "Axes",
    shares: Floats,
    class_names: Sequence[str],
    labels: tuple[str, str],
    title: str,
) -> None:
    """Draw (C, C) shares of rows; the colour scale is stretched so that rare errors show."""
    from matplotlib.colors import PowerNorm  # noqa: PLC0415

    size = len(shares)
    percent = 100 * shares
    image = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, 0, 100))
    set_title(axes, title)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    longest = max(map(len, class_names))
    angle = 90 if longest > max(3, 20 // size) or size > ANNOTATED_CLASSES else 0
    named = range(0, size, -(-size // NAMED_CLASSES))
    names = literal(class_names[label] for label in named)
    axes.set_xticks(named, names, rotation=angle, **name_style(names))
    axes.set_yticks(named, names, **name_style(names))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if size <= ANNOTATED_CLASSES:
        for (row, column), value in np.ndenumerate(percent):
            if value >= 0.05:
                text = f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
                colour = "white" if value > 36 else INK
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.85, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    bar.set_label(f"share of the {labels[1]} (%)", color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK, labelsize=8, length=0)


def stacked_shares(
    axes: "Axes", rows: NDArray[np.int64], parts: dict[str, tuple["pd.Series[Any]", str]]
) -> None:
    """Draw one horizontal bar per row: label -> (shares, colour), one behind the other."""
    base = np.zeros(len(rows))
    for label, (shares, colour) in parts.items():
        percent = 100 * shares.to_numpy(np.float64)
        axes.barh(rows, percent, left=base, color=colour, label=label, height=0.75)
        base += percent


def dumbbells(
    axes: "Axes", rows: NDArray[np.int64], before: "pd.Series[Any]", after: "pd.Series[Any]"
) -> None:
    """Draw one line per row from its value with given to that with repaired labels."""
    axes.hlines(rows, before, after, color=GREY, lw=1.2)
    dots: dict[str, Any] = {"ls": "", "marker": "o", "ms": 5, "clip_on": False, "zorder": 3}
    axes.plot(before, rows, color=VERMILION, label="given labels", **dots)
    axes.plot(after, rows, color=BLUE, label="repaired labels", **dots)
