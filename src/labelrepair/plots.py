"""Pictures of an evaluation, as matplotlib figures that need no display and no pyplot.

Shares are drawn in percent. Colours are Okabe and Ito's, which colour-blind readers can tell apart:
blue is right or repaired, vermilion is wrong or given. matplotlib is imported on first use.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from labelrepair.evaluation import Evaluation
from labelrepair.label_table import (
    GIVEN_LABEL,
    LABEL_QUALITY,
    REPAIRED_LABEL,
    SPLIT,
    SUGGESTED_LABEL,
    TRUE_LABEL,
    Split,
)
from labelrepair.transition import count_pairs, normalise_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"
INK, GREY, LIGHT = "#333333", "#8C8C8C", "#E6E6E6"
ANNOTATED_CLASSES = 20  # more numbers than 20 x 20 cannot be read
QUALITY_BINS = 25


def transition_heat_map(transition: ArrayLike, class_names: Sequence[str], title: str) -> "Figure":
    """Draw ``T[i, j] = P(given = j | true = i)``, (C, C): true classes are rows."""
    matrix = np.asarray(transition, dtype=np.float64)
    figure, (axes,) = _figure(*_heat_map_size(len(matrix)))
    _heat_map(axes, matrix, class_names, ("given label", "true class"), title)
    return figure


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
    shown = [panel for panel in panels if any(_has(curves, name) for name in panel[2])]
    figure, axes = _figure(8, 2.3 * len(shown) + 0.4, rows=len(shown), sharex=True)
    for panel, (title, unit, lines) in zip(axes, shown, strict=True):
        _title(panel, title)
        panel.set_ylabel(unit)
        for name, (label, colour) in lines.items():
            _line(panel, curves, name, label, colour, 100 if "%" in unit else 1)
        if len(panel.lines) > 1:
            _legend_right(panel)
        _stage_marks(panel, curves, named=panel is axes[0])
    axes[-1].set_xlabel("epoch")
    return figure


def label_precision_curve(curves: pd.DataFrame, given_accuracy: float | None = None) -> "Figure":
    """Draw the share of right labels among the rows learned from, by epoch and network.

    Args:
        curves: with ``selection_precision``, perhaps ``selection_precision_0`` and so on.
        given_accuracy: share of right labels among all rows, drawn for comparison.
    """
    figure, (axes,) = _figure(8, 3.6)
    _title(axes, "Label precision: right labels among the rows learned from")
    each = [name for name in curves if str(name).startswith("selection_precision_")]
    for name, colour in zip(each, (SKY, GREEN, ORANGE, PURPLE), strict=False):
        _line(axes, curves, str(name), f"network {str(name).rsplit('_', 1)[1]}", colour, 100)
    _line(axes, curves, "selection_precision", "mean" if each else "rows used", BLUE, 100)
    if given_accuracy is not None:
        axes.axhline(100 * given_accuracy, color=VERMILION, ls="--", lw=1.2, label="all rows")
    _stage_marks(axes, curves, named=True)
    axes.set(xlabel="epoch", ylabel="right labels (%)")
    _legend_right(axes)
    return figure


def precision_recall_plot(
    precision_recall: pd.DataFrame, operating_point: tuple[float, float] | None = None
) -> "Figure":
    """Draw precision over recall of finding wrong labels by rising label quality.

    Args:
        precision_recall: see :attr:`labelrepair.evaluation.Evaluation.precision_recall`.
        operating_point: (recall, precision) of the rows that were flagged.
    """
    figure, (axes,) = _figure(5.6, 4.6)
    _title(axes, "Finding wrong labels, most suspect first")
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
    counts = _quality_counts(table)
    figure, (axes,) = _figure(7, 4)
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
    _title(axes, "Label quality of the given labels")
    axes.set(
        xlabel="label quality (0 = surely wrong, 1 = surely right)", ylabel="rows", xlim=(0, 1)
    )
    if len(axes.containers) > 1:
        axes.legend(loc="upper center", frameon=False, fontsize=9)
    return figure


def recovery_plot(recovery_by_confidence: pd.DataFrame) -> "Figure":
    """Draw the share of right suggestions per bin of confidence, with the bins' sizes."""
    figure, (axes,) = _figure(6.4, 4)
    _title(axes, "Suggested labels that are right, by confidence")
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
    panels = _confusions(delivered, len(class_names))
    width, height = _heat_map_size(len(class_names))
    figure, axes = _figure(width * len(panels), height, columns=len(panels))
    for panel, (title, (labels, counts)) in zip(axes, panels.items(), strict=True):
        _heat_map(panel, normalise_rows(counts.astype(np.float64)), class_names, labels, title)
    return figure


def class_health_plot(classes: pd.DataFrame) -> "Figure":
    """Draw what repair did to each class, the one with the largest share of issues on top."""
    counts = classes["given_count"].clip(lower=1)
    order = np.argsort((classes["issues"] / counts).to_numpy(), kind="stable")
    frame, counts = classes.iloc[order], counts.iloc[order]
    rows = np.arange(len(frame))
    height = max(2.8, 1.4 + len(frame) * (0.3 if len(frame) <= ANNOTATED_CLASSES else 0.16))
    figure, (left, middle, right) = _figure(13, height, columns=3, sharey=True)
    kept = frame["given_count"] - frame[["relabelled_out", "dropped", "review"]].sum(axis=1)
    fates = {
        "kept": (kept / counts, SKY),
        "relabelled": (frame["relabelled_out"] / counts, ORANGE),
        "dropped": (frame["dropped"] / counts, PURPLE),
        "to review": (frame["review"] / counts, GREY),
    }
    _stacked_shares(left, rows, fates)
    _title(left, "What became of the rows given this label")
    left.set(xlabel="rows given this label (%)", ylabel="class", xlim=(0, 100))
    left.set_ylim(-0.6, len(frame) - 0.4)
    names = frame["name" if "name" in frame else "class"].astype(str)
    left.set_yticks(rows, names, fontsize=_font(len(frame)))
    _dumbbells(middle, rows, frame["given_count"], kept + frame["relabelled_in"])
    estimate = frame["estimated_true_count"]
    middle.plot(estimate, rows, "|", color=INK, ms=9, mew=1.5, label="estimated true", zorder=4)
    _title(middle, "How many rows have this label")
    middle.set(xlabel="rows", xlim=(0, None))
    if "given_accuracy" in frame:
        accuracies = (100 * frame[f"{name}_accuracy"] for name in ("given", "repaired"))
        _dumbbells(right, rows, *accuracies)
        _title(right, "How many of these are right")
    else:
        right.plot(100 * frame["mean_quality"], rows, "o", color=VERMILION, ms=5, clip_on=False)
        _title(right, "Mean quality of the given labels")
    right.set(xlabel="right (%)" if "given_accuracy" in frame else "quality (%)", xlim=(0, 102))
    for panel in (left, middle, right):
        panel.grid(axis="x", color=LIGHT, lw=0.8)
        panel.grid(visible=False, axis="y")
        panel.tick_params(axis="y", length=0)
    style: dict[str, Any] = {"ncols": 4, "frameon": False, "fontsize": 9}
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", **style)
    figure.legend(*middle.get_legend_handles_labels(), loc="outside lower right", **style)
    return figure


def all_plots(
    evaluation: Evaluation, noise: Mapping[str, Any], class_names: Sequence[str]
) -> dict[str, "Figure"]:
    """Return every picture that the evaluation has data for, by name.

    Args:
        evaluation: from :func:`labelrepair.evaluation.evaluate`.
        noise: the same mapping as there.
        class_names: C names.
    """
    found = evaluation.metrics
    title = f"Estimated transition matrix ({noise['method']})"
    figures = {
        "transition": transition_heat_map(noise["transition"], class_names, title),
        "training_curves": training_curves(evaluation.curves),
        "quality_histogram": quality_histogram(evaluation.delivered),
        "confusion": confusion_flow(evaluation.delivered, class_names),
        "class_health": class_health_plot(evaluation.classes.assign(name=list(class_names))),
    }
    if "labels.given_accuracy" in found:
        recall, precision = found["detect.recall"], found["detect.precision"]
        point = None if recall is None or precision is None else (recall, precision)
        share = found["labels.given_accuracy"]
        figures |= {
            "label_precision": label_precision_curve(evaluation.curves, share),
            "precision_recall": precision_recall_plot(evaluation.precision_recall, point),
            "recovery": recovery_plot(evaluation.recovery_by_confidence),
        }
    return figures


def plot_data(
    evaluation: Evaluation, noise: Mapping[str, Any], class_names: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Return the numbers behind each picture of :func:`all_plots`, under the same names."""
    curves, size = evaluation.curves, len(class_names)
    transition = _long(noise["transition"], class_names, ("true_class", "given_class"), "share")
    confusions = [
        _long(counts, class_names, ("row_class", "column_class"), "count").assign(panel=title)
        for title, (_, counts) in _confusions(evaluation.delivered, size).items()
    ]
    frames = {
        "transition": transition,
        "training_curves": curves,
        "quality_histogram": _quality_counts(evaluation.delivered),
        "confusion": pd.concat(confusions, ignore_index=True),
        "class_health": evaluation.classes.assign(name=list(class_names)),
    }
    if "labels.given_accuracy" in evaluation.metrics:
        chosen = [name for name in curves if str(name).startswith("selection_precision")]
        frames |= {
            "label_precision": curves[["stage", "epoch", *chosen]],
            "precision_recall": evaluation.precision_recall,
            "recovery": evaluation.recovery_by_confidence,
        }
    return frames


# -- the data behind the pictures ------------------------------------------------------------


def _quality_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows per bin of label quality: ``low``, ``high``, then right and wrong or unknown."""
    rows = table[table[LABEL_QUALITY].notna()]
    edges = np.linspace(0, 1, QUALITY_BINS + 1)
    true = rows[TRUE_LABEL] if TRUE_LABEL in rows else pd.Series(pd.NA, rows.index, dtype="Int64")
    known = true.notna().to_numpy(dtype=bool)
    right = (true == rows[GIVEN_LABEL]).fillna(False).to_numpy(dtype=bool)
    parts = {"right": right, "wrong": known & ~right, "unknown": ~known}
    frame = pd.DataFrame({"low": edges[:-1], "high": edges[1:]})
    quality = rows[LABEL_QUALITY].to_numpy(np.float64)
    for name, mask in parts.items():
        if known.any() if name != "unknown" else mask.any():
            frame[name] = np.histogram(quality[mask], edges)[0]
    return frame


def _confusions(
    delivered: pd.DataFrame, num_classes: int
) -> dict[str, tuple[tuple[str, str], NDArray[np.int64]]]:
    """Return title -> ((column label, row label), (C, C) counts) of the rows to compare."""
    rows = delivered[delivered[SPLIT] != Split.TEST]
    known = rows[(rows[TRUE_LABEL] >= 0).fillna(False).astype(bool)]  # neither null nor open set

    def count(frame: pd.DataFrame, first: str, second: str) -> NDArray[np.int64]:
        both = frame[frame[second].notna()]
        return count_pairs(
            both[first].to_numpy(np.int64), both[second].to_numpy(np.int64), num_classes
        )

    if known.empty:
        counts = count(rows, GIVEN_LABEL, SUGGESTED_LABEL)
        return {"Given and suggested labels": (("suggested label", "given label"), counts)}
    return {
        "Before: given labels": (
            ("given label", "true class"),
            count(known, TRUE_LABEL, GIVEN_LABEL),
        ),
        "After: repaired labels": (
            ("repaired label", "true class"),
            count(known, TRUE_LABEL, REPAIRED_LABEL),
        ),
    }


def _long(
    matrix: ArrayLike, class_names: Sequence[str], axes: tuple[str, str], value: str
) -> pd.DataFrame:
    """Return a (C, C) matrix as one row per cell."""
    names = np.asarray(class_names, dtype=object)
    rows = {axes[0]: np.repeat(names, len(names)), axes[1]: np.tile(names, len(names))}
    return pd.DataFrame({**rows, value: np.asarray(matrix).ravel()})


# -- drawing ---------------------------------------------------------------------------------


def benchmark_plot(table: pd.DataFrame, label: str = "test accuracy (%)") -> "Figure":
    """Draw our means and spreads per method, published values marked, one panel per noise.

    Args:
        table: from :func:`labelrepair.benchmark.summarise`, values in percent.
        label: of the horizontal axes.
    """
    groups = list(table.groupby(["noise", "noise_rate"], sort=False))
    methods = list(dict.fromkeys(table["method"]))
    figure, panels = _figure(
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
        _title(axes, f"{str(noise).replace('_', ' ')}, {rate:.0%}")
        axes.set_xlabel(label)
    panels[0].set_yticks(range(len(methods)), [name.replace("_", " ") for name in methods])
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _figure(
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


def _title(axes: "Axes", text: str, pad: float = 6) -> None:
    axes.set_title(text, loc="left", fontsize=11, color=INK, fontweight="bold", pad=pad)


def _has(curves: pd.DataFrame, name: str) -> bool:
    return name in curves and bool(curves[name].notna().any())


def _line(
    axes: "Axes", curves: pd.DataFrame, name: str, label: str, colour: str, scale: float
) -> None:
    """Draw one column over the epochs in which it was measured."""
    if _has(curves, name):
        measured = curves[curves[name].notna()]
        values = scale * measured[name].astype(float)
        marker = "o" if len(measured) == 1 else None
        axes.plot(measured["epoch"], values, color=colour, lw=1.6, label=label, marker=marker)


def _legend_right(axes: "Axes") -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def _stage_marks(axes: "Axes", curves: pd.DataFrame, named: bool) -> None:
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
        _title(axes, axes.get_title(loc="left"), pad=28)


def _heat_map_size(num_classes: int) -> tuple[float, float]:
    """Return inches: cells hold a number up to 20 classes, and shrink beyond."""
    side = 2.2 + num_classes * (0.42 if num_classes <= ANNOTATED_CLASSES else 0.11)
    return max(5.2, side + 0.8), max(4.4, side)


def _font(num_classes: int) -> float:
    return float(np.interp(num_classes, [20, 100], [9, 6]))


def _heat_map(
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
    _title(axes, title)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    longest = max(map(len, class_names))
    font = _font(size)
    angle = 90 if longest > max(3, 20 // size) or size > ANNOTATED_CLASSES else 0
    axes.set_xticks(range(size), class_names, fontsize=font, rotation=angle)
    axes.set_yticks(range(size), class_names, fontsize=font)
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


def _stacked_shares(
    axes: "Axes", rows: NDArray[np.int64], parts: dict[str, tuple["pd.Series[Any]", str]]
) -> None:
    """Draw one horizontal bar per row: label -> (shares, colour), one behind the other."""
    base = np.zeros(len(rows))
    for label, (shares, colour) in parts.items():
        percent = 100 * shares.to_numpy(np.float64)
        axes.barh(rows, percent, left=base, color=colour, label=label, height=0.75)
        base += percent


def _dumbbells(
    axes: "Axes", rows: NDArray[np.int64], before: "pd.Series[Any]", after: "pd.Series[Any]"
) -> None:
    """Draw one line per row from its value with given to that with repaired labels."""
    axes.hlines(rows, before, after, color=GREY, lw=1.2)
    dots: dict[str, Any] = {"ls": "", "marker": "o", "ms": 5, "clip_on": False, "zorder": 3}
    axes.plot(before, rows, color=VERMILION, label="given labels", **dots)
    axes.plot(after, rows, color=BLUE, label="repaired labels", **dots)
