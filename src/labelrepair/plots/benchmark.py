"""Our figures beside the published ones."""

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from labelrepair.plots._drawing import (
    BLUE,
    ORANGE,
    new_figure,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Column: TypeAlias = "pd.Series[float]"
APART = 0.14  # half the distance of ours and theirs, in rows


def benchmark_plot(table: pd.DataFrame, label: str = "test accuracy (%)") -> "Figure":
    """Draw our means and spreads per method and the published ones, one panel per noise.

    Args:
        table: from :func:`labelrepair.benchmark.summarise`, values in percent.
        label: of the horizontal axes.
    """
    groups = list(table.groupby(["noise", "noise_rate"], sort=False))
    methods = list(dict.fromkeys(table["method"]))
    figure, panels = new_figure(
        3.1 * len(groups) + 1.6, 1.2 + 0.3 * len(methods), columns=len(groups), sharey=True
    )
    for axes, ((noise, rate), rows) in zip(panels, groups, strict=True):
        place = np.array([methods.index(name) for name in rows["method"]])
        known = bool(rows["published_mean"].notna().any())
        apart = APART if known else 0.0  # equal values would hide each other
        _marks(axes, rows["mean"], rows["std"], place - apart, "o", BLUE, "ours")
        if known:
            theirs = rows["published_mean"], rows["published_std"]
            _marks(axes, *theirs, place + apart, "D", ORANGE, "published")
        set_title(axes, f"{str(noise).replace('_', ' ')}, {rate:.0%}")
        axes.set_xlabel(label)
        axes.locator_params(axis="x", nbins=5)  # panels are narrow
    panels[0].set_yticks(range(len(methods)), [name.replace("_", " ") for name in methods])
    panels[0].set_ylim(len(methods) - 0.5, -0.5)  # the first row on top, none cut by the frame
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _marks(
    axes: "Axes", means: Column, spreads: Column, place: Any, mark: str, colour: str, name: str
) -> None:
    """Draw means with their standard deviations, where there are any."""
    style: dict[str, Any] = {"color": colour, "ms": 5, "capsize": 3, "elinewidth": 1.2}
    axes.errorbar(means, place, xerr=spreads.fillna(0.0), fmt=mark, label=name, **style)
