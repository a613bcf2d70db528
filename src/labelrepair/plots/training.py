"""Curves of a training, by epoch."""

from typing import TYPE_CHECKING

import pandas as pd

from labelrepair.plots._drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    draw_line,
    has,
    legend_right,
    new_figure,
    set_title,
    stage_marks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_curves(curves: pd.DataFrame) -> "Figure":
    """Draw loss, accuracies and selection by epoch; panels without data are left out."""
    panels = (
        ("Training loss", "loss", {"loss": ("loss", INK)}),
        (
            "Accuracy",
            "accuracy (%)",
            {
                "test_accuracy": ("test", BLUE),
                "noisy_val_accuracy": ("validation (given labels)", ORANGE),
                "train_accuracy_given": ("training (given labels)", GREY),
            },
        ),
        (
            "Selection of the rows learned from",
            "rows (%)",
            {
                "selection_precision": ("precision: right of those used", BLUE),
                "selection_recall": ("recall: used of the right ones", SKY),
            },
        ),
    )
    shown = [panel for panel in panels if any(has(curves, name) for name in panel[2])]
    figure, axes = new_figure(8, 2.3 * len(shown) + 0.4, rows=len(shown), sharex=True)
    for panel, (title, unit, lines) in zip(axes, shown, strict=True):
        set_title(panel, title)
        panel.set_ylabel(unit)
        for name, (label, colour) in lines.items():
            draw_line(panel, curves, name, label, colour, 100 if "%" in unit else 1)
        if len(panel.lines) > 1:
            legend_right(panel)
        stage_marks(panel, curves, named=panel is axes[0])
    axes[-1].set_xlabel("epoch")
    return figure


def label_precision_curve(curves: pd.DataFrame, given_accuracy: float | None = None) -> "Figure":
    """Draw the share of right labels among the rows learned from, by epoch and network.

    Args:
        curves: with ``selection_precision``, perhaps ``selection_precision_0`` and so on.
        given_accuracy: share of right labels among all rows, drawn for comparison.
    """
    figure, (axes,) = new_figure(8, 3.6)
    set_title(axes, "Label precision: right labels among the rows learned from")
    each = [name for name in curves if str(name).startswith("selection_precision_")]
    for name, colour in zip(each, (SKY, GREEN, ORANGE, PURPLE), strict=False):
        draw_line(axes, curves, str(name), f"network {str(name).rsplit('_', 1)[1]}", colour, 100)
    draw_line(axes, curves, "selection_precision", "mean" if each else "rows used", BLUE, 100)
    if given_accuracy is not None:
        axes.axhline(100 * given_accuracy, color=VERMILION, ls="--", lw=1.2, label="all rows")
    stage_marks(axes, curves, named=True)
    axes.set(xlabel="epoch", ylabel="right labels (%)")
    legend_right(axes)
    return figure
