"""Pictures of given and repaired labels, their quality, and T."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from labelrepair.plots._drawing import (
    ANNOTATED_CLASSES,
    BLUE,
    GREY,
    INK,
    LIGHT,
    NAMED_CLASSES,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    dumbbells,
    heat_map,
    heat_map_size,
    literal,
    name_style,
    new_figure,
    set_title,
    stacked_shares,
)
from labelrepair.plots.numbers import confusions, quality_counts
from labelrepair.transition import normalise_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def transition_heat_map(transition: ArrayLike, class_names: Sequence[str], title: str) -> "Figure":
    """Draw ``T[i, j] = P(given = j | true = i)``, (C, C): true classes are rows."""
    matrix = np.asarray(transition, dtype=np.float64)
    figure, (axes,) = new_figure(*heat_map_size(len(matrix)))
    heat_map(axes, matrix, class_names, ("given label", "true class"), title)
    return figure


def precision_recall_plot(
    precision_recall: pd.DataFrame, operating_point: tuple[float, float] | None = None
) -> "Figure":
    """Draw precision over recall of finding wrong labels by rising label quality.

    Args:
        precision_recall: see :attr:`labelrepair.evaluation.Evaluation.precision_recall`.
        operating_point: (recall, precision) of the rows that were flagged.
    """
    figure, (axes,) = new_figure(5.6, 4.6)
    set_title(axes, "Finding wrong labels, most suspect first")
    recall, precision = 100 * precision_recall["recall"], 100 * precision_recall["precision"]
    axes.plot(recall, precision, color=BLUE, lw=1.8, label="ranked by label quality")
    if len(precision):
        chance = precision.iloc[-1]  # everything flagged
        axes.axhline(chance, color=GREY, ls="--", lw=1.2, label=f"by chance ({chance:.1f} %)")
    if operating_point is not None:
        x, y = (100 * value for value in operating_point)
        axes.plot([x], [y], "o", color=VERMILION, ms=8, label="flagged as wrong", zorder=3)
    axes.set(xlim=(0, 101), ylim=(0, 103))
    axes.set_xlabel("recall: wrong labels found (%)")
    axes.set_ylabel("precision: wrong among those found (%)")
    axes.legend(loc="lower left", frameon=False, fontsize=9)
    return figure


def quality_histogram(table: pd.DataFrame) -> "Figure":
    """Draw how label quality is distributed, right and wrong given labels apart where known.

    Args:
        table: ``Evaluation.delivered``, or any table with ``label_quality``.
    """
    counts = quality_counts(table)
    figure, (axes,) = new_figure(7, 4)
    low, width = counts["low"].to_numpy(), (counts["high"] - counts["low"]).to_numpy()
    base = np.zeros(len(counts))
    styles = {
        "wrong": ("given label wrong", VERMILION),
        "right": ("given label right", BLUE),
        "unknown": ("truth unknown", GREY),
    }
    for name, (label, colour) in styles.items():
        if name in counts:
            values = counts[name].to_numpy()
            axes.bar(low, values, 0.92 * width, base, align="edge", color=colour, label=label)
            base += values
    set_title(axes, "Label quality of the given labels")
    axes.set(
        xlabel="label quality (0 = surely wrong, 1 = surely right)", ylabel="rows", xlim=(0, 1)
    )
    if len(axes.containers) > 1:
        axes.legend(loc="upper center", frameon=False, fontsize=9)
    return figure


def recovery_plot(recovery_by_confidence: pd.DataFrame) -> "Figure":
    """Draw the share of right suggestions per bin of confidence, with the bins' sizes."""
    figure, (axes,) = new_figure(6.4, 4)
    set_title(axes, "Suggested labels that are right, by confidence")
    names = recovery_by_confidence["bin"].tolist()
    shares = 100 * recovery_by_confidence["accuracy"].fillna(0.0)
    colours = [GREY if name == "all" else BLUE for name in names]
    bars = axes.bar(names, shares, color=colours, width=0.7)
    sizes = recovery_by_confidence["count"].astype(int)
    for bar, share, size in zip(bars, shares, sizes, strict=True):
        text = f"{share:.1f} %\n{size:,} rows" if size else "no rows"
        middle = bar.get_x() + bar.get_width() / 2
        axes.annotate(
            text,
            (middle, bar.get_height()),
            (0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=INK,
        )
    axes.set(xlabel="confidence in the suggested label", ylabel="right (%)", ylim=(0, 118))
    axes.set_yticks(range(0, 101, 20))
    return figure


def confusion_flow(delivered: pd.DataFrame, class_names: Sequence[str]) -> "Figure":
    """Draw true x given beside true x repaired labels, else given x suggested labels."""
    panels = confusions(delivered, len(class_names))
    width, height = heat_map_size(len(class_names))
    figure, axes = new_figure(width * len(panels), height, columns=len(panels))
    for panel, (title, (labels, counts)) in zip(axes, panels.items(), strict=True):
        heat_map(panel, normalise_rows(counts.astype(np.float64)), class_names, labels, title)
    return figure


def class_health_plot(classes: pd.DataFrame) -> "Figure":
    """Draw what repair did to each class, at most 100, the largest share of issues on top."""
    counts = classes["given_count"].clip(lower=1)
    order = np.argsort((classes["issues"] / counts).to_numpy(), kind="stable")[-NAMED_CLASSES:]
    frame, counts = classes.iloc[order], counts.iloc[order]
    rows = np.arange(len(frame))
    height = max(2.8, 1.4 + len(frame) * (0.3 if len(frame) <= ANNOTATED_CLASSES else 0.16))
    figure, (left, middle, right) = new_figure(13, height, columns=3, sharey=True)
    kept = frame["given_count"] - frame[["relabelled_out", "dropped", "review"]].sum(axis=1)
    fates = {
        "kept": (kept / counts, SKY),
        "relabelled": (frame["relabelled_out"] / counts, ORANGE),
        "dropped": (frame["dropped"] / counts, PURPLE),
        "to review": (frame["review"] / counts, GREY),
    }
    stacked_shares(left, rows, fates)
    set_title(left, "What became of the rows given this label")
    some = len(frame) < len(classes)
    which = f"the {len(frame)} most suspect of {len(classes):,} classes" if some else "class"
    left.set(xlabel="rows given this label (%)", ylabel=which, xlim=(0, 100))
    left.set_ylim(-0.6, len(frame) - 0.4)
    names = literal(frame["name" if "name" in frame else "class"].astype(str))
    left.set_yticks(rows, names, **name_style(names))
    dumbbells(middle, rows, frame["given_count"], kept + frame["relabelled_in"])
    estimate = frame["estimated_true_count"]
    middle.plot(estimate, rows, "|", color=INK, ms=9, mew=1.5, label="estimated true", zorder=4)
    set_title(middle, "How many rows have this label")
    middle.set(xlabel="rows", xlim=(0, None))
    if "given_accuracy" in frame:
        accuracies = (100 * frame[f"{name}_accuracy"] for name in ("given", "repaired"))
        dumbbells(right, rows, *accuracies)
        set_title(right, "How many of these are right")
    else:
        right.plot(100 * frame["mean_quality"], rows, "o", color=VERMILION, ms=5, clip_on=False)
        set_title(right, "Mean quality of the given labels")
    right.set(xlabel="right (%)" if "given_accuracy" in frame else "quality (%)", xlim=(0, 102))
    for panel in (left, middle, right):
        panel.grid(axis="x", color=LIGHT, lw=0.8)
        panel.grid(visible=False, axis="y")
        panel.tick_params(axis="y", length=0)
    style: dict[str, Any] = {"ncols": 4, "frameon": False, "fontsize": 9}
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", **style)
    figure.legend(*middle.get_legend_handles_labels(), loc="outside lower right", **style)
    return figure
