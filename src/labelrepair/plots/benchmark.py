"""Our figures beside the published ones."""

from typing import TYPE_CHECKING

import pandas as pd

from labelrepair.plots._drawing import (
    BLUE,
    ORANGE,
    new_figure,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def benchmark_plot(table: pd.DataFrame, label: str = "test accuracy (%)") -> "Figure":
    """Draw our means and spreads per method, published values marked, one panel per noise.

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
        place = [methods.index(name) for name in rows["method"]]
        spread = rows["std"].fillna(0.0)
        axes.errorbar(
            rows["mean"], place, xerr=spread, fmt="o", color=BLUE, capsize=3, label="ours"
        )
        if rows["published_mean"].notna().any():
            axes.plot(rows["published_mean"], place, "D", color=ORANGE, ms=5, label="published")
        set_title(axes, f"{str(noise).replace('_', ' ')}, {rate:.0%}")
        axes.set_xlabel(label)
    panels[0].set_yticks(range(len(methods)), [name.replace("_", " ") for name in methods])
    panels[0].set_ylim(len(methods) - 0.5, -0.5)  # the first row on top, none cut by the frame
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure
