import dataclasses
import io
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("matplotlib")

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from labelrepair.evaluation import evaluate
from labelrepair.fonts import _families, families
from labelrepair.noise import inject, symmetric
from labelrepair.plots import (
    all_plots,
    benchmark_plot,
    class_health_plot,
    confusion_flow,
    label_precision_curve,
    plot_data,
    precision_recall_plot,
    quality_histogram,
    recovery_plot,
    training_curves,
    transition_heat_map,
)
from labelrepair.plots.numbers import QUALITY_BINS
from labelrepair.transition import actual_transition, count_pairs

EPOCHS = 6
ALWAYS = ["transition", "training_curves", "quality_histogram", "confusion", "class_health"]
WITH_TRUTH = ["label_precision", "precision_recall", "recovery"]


def example(num_classes=4, rows=600, *, known=True, seed=0):
    """Return evaluation, noise and names of a made-up repair that is right in 80 % of the rows."""
    rng = np.random.default_rng(seed)
    transition = symmetric(num_classes, 0.3)
    true = np.arange(rows) % num_classes
    given = inject(true, transition, rng)
    suggested = np.where(rng.random(rows) < 0.8, true, rng.integers(0, num_classes, rows))
    issue, confidence = suggested != given, rng.random(rows)
    action = np.where(~issue, "keep", np.where(confidence > 0.5, "relabel", "drop"))
    action[np.flatnonzero(action == "drop")[:5]] = "review"
    repaired = pd.array(np.where(action == "keep", given, suggested), dtype="Int64")
    repaired[np.isin(action, ["drop", "review"])] = pd.NA
    ids = [f"{row:06d}" for row in range(rows)]
    table = pd.DataFrame(
        {
            "sample_id": ids,
            "given_label": given,
            "split": "train",
            "content_hash": "0",
            "label_quality": np.where(issue, 0.4, 0.6) + 0.4 * (rng.random(rows) - 0.5),
            "is_label_issue": issue,
            "suggested_label": suggested,
            "confidence": confidence,
            "action": action,
            "repaired_label": repaired,
            "label_source": "given",
            "reason": "",
        }
    )
    history = pd.DataFrame(
        {
            "stage": ["warmup"] * 2 + ["train"] * 4,
            "epoch": range(EPOCHS),
            "lr": 0.1,
            "loss": np.linspace(2, 1, EPOCHS),
            "train_accuracy_given": np.linspace(0.2, 0.7, EPOCHS),
            "used_share": 0.8,
            "noisy_val_accuracy": np.linspace(0.3, 0.6, EPOCHS),
            "test_accuracy": [0.4, np.nan, 0.5, np.nan, 0.6, 0.7],
        }
    )
    used = np.packbits(rng.random((EPOCHS, 2, rows)) < 0.8, axis=-1)
    noise = {
        "transition": transition.tolist(),
        "noise_rate": 0.3,
        "interval": [0.28, 0.32],
        "method": "anchor",
        "class_prior": np.full(num_classes, 1 / num_classes).tolist(),
    }
    names = [f"class {label}" for label in range(num_classes)]
    truth = pd.DataFrame({"sample_id": ids, "true_label": true if known else -1})
    found = evaluate(table, truth, noise, history, used, num_classes, class_names=names)
    return found, noise, names


@pytest.fixture(scope="module")
def drawn():
    return example()


def texts(axes):
    return [item.get_text() for item in axes.texts]


def line_of(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def heat_maps(figure):
    """Return the panels that hold an image, without the colour bars."""
    return [axes for axes in figure.axes if axes.images]


def test_transition_heat_map_shows_the_matrix_in_percent():
    matrix = np.array([[0.9, 0.1, 0.0], [0.004, 0.996, 0.0], [0.25, 0.25, 0.5]])
    (axes,) = heat_maps(transition_heat_map(matrix, ["a", "b", "c"], "T"))
    np.testing.assert_allclose(axes.images[0].get_array(), 100 * matrix)
    assert texts(axes) == ["90", "10", "0.4", "100", "25", "25", "50"]  # zeros stay blank
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("given label", "true class")
    assert axes.get_title(loc="left") == "T"


def test_cells_of_many_classes_carry_no_numbers():
    for size, expected in ((20, 400), (21, 0)):
        names = [str(label) for label in range(size)]
        (axes,) = heat_maps(transition_heat_map(symmetric(size, 0.5), names, "T"))
        assert len(axes.texts) == expected
        assert len(axes.get_xticks()) == size


def test_training_curves_draw_what_was_measured(drawn):
    curves = drawn[0].curves
    loss, accuracy, selection = training_curves(curves).axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), curves["loss"])
    test = line_of(accuracy, "test")
    assert test.get_xdata().tolist() == [
        0,
        2,
        4,
        5,
    ]  # epochs without a look at the test are skipped
    np.testing.assert_allclose(test.get_ydata(), [40, 50, 60, 70])
    recall = line_of(selection, "recall: used of the right ones")
    np.testing.assert_allclose(recall.get_ydata(), 100 * curves["selection_recall"])
    assert texts(loss) == ["warmup", "train"]
    assert loss.lines[-1].get_xdata() == [1.5, 1.5]
    assert selection.get_xlabel() == "epoch"


def test_training_curves_leave_out_panels_without_data(drawn):
    curves = drawn[0].curves[["stage", "epoch", "loss"]]
    (axes,) = training_curves(curves).axes
    assert axes.get_xlabel() == "epoch"
    one = training_curves(curves.assign(stage="train")).axes[0]
    assert texts(one) == []
    assert len(one.lines) == 1


def test_label_precision_shows_networks_mean_and_all_rows(drawn):
    curves = drawn[0].curves
    (axes,) = label_precision_curve(curves, 0.7).axes
    names = {"network 0": "_0", "network 1": "_1", "mean": ""}
    for label, end in names.items():
        expected = 100 * curves[f"selection_precision{end}"]
        np.testing.assert_allclose(line_of(axes, label).get_ydata(), expected)
    assert line_of(axes, "all rows").get_ydata() == [70, 70]


def test_precision_recall_plot(drawn):
    curve = drawn[0].precision_recall
    (axes,) = precision_recall_plot(curve, (0.5, 0.9)).axes
    line = line_of(axes, "ranked by label quality")
    np.testing.assert_allclose(line.get_xdata(), 100 * curve["recall"])
    np.testing.assert_allclose(line.get_ydata(), 100 * curve["precision"])
    point = line_of(axes, "flagged as wrong")
    assert (point.get_xdata(), point.get_ydata()) == ([50], [90])
    rate = drawn[0].metrics["noise.rate_actual"]
    chance = next(line for line in axes.lines if line.get_label().startswith("by chance"))
    assert chance.get_ydata()[0] == pytest.approx(100 * rate)


def test_quality_histogram_stacks_wrong_and_right(drawn):
    delivered = drawn[0].delivered
    (axes,) = quality_histogram(delivered).axes
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}
    wrong = delivered["true_label"] != delivered["given_label"]
    assert sum(heights["given label wrong"]) == wrong.sum()
    assert sum(heights["given label right"]) == (~wrong).sum()
    first = delivered["label_quality"] < 0.24  # six bins of 1/25
    assert sum(heights["given label wrong"][:6]) == (wrong & first).sum()
    (plain,) = quality_histogram(delivered.drop(columns="true_label")).axes
    (bars,) = plain.containers
    assert len(bars) == QUALITY_BINS
    assert sum(bar.get_height() for bar in bars) == len(delivered)


def test_recovery_plot_has_one_bar_per_bin():
    frame = pd.DataFrame(
        {"bin": ["[0.9,1]", "[0,0.9)", "all"], "count": [4, 0, 4], "accuracy": [0.75, np.nan, 0.75]}
    )
    (axes,) = recovery_plot(frame).axes
    assert [bar.get_height() for bar in axes.patches] == [75, 0, 75]
    assert texts(axes) == ["75.0 %\n4 rows", "no rows", "75.0 %\n4 rows"]


def test_confusion_flow_compares_given_and_repaired_with_the_truth(drawn):
    delivered, names = drawn[0].delivered, drawn[2]
    before, after = heat_maps(confusion_flow(delivered, names))
    true = delivered["true_label"].to_numpy(np.int64)
    expected = actual_transition(true, delivered["given_label"].to_numpy(), 4)
    np.testing.assert_allclose(before.images[0].get_array(), 100 * expected)
    kept = delivered["repaired_label"].notna().to_numpy()
    repaired = delivered["repaired_label"][kept].to_numpy(np.int64)
    expected = actual_transition(true[kept], repaired, 4)
    np.testing.assert_allclose(after.images[0].get_array(), 100 * expected)


def test_confusion_flow_without_truth_compares_given_and_suggested():
    found, _, names = example(known=False)
    (axes,) = heat_maps(confusion_flow(found.delivered, names))
    table = found.delivered
    expected = actual_transition(table["given_label"], table["suggested_label"], 4)
    np.testing.assert_allclose(axes.images[0].get_array(), 100 * expected)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("suggested label", "given label")


def test_class_health_puts_the_most_suspect_class_on_top(drawn):
    classes = drawn[0].classes
    fates, sizes, right = class_health_plot(classes).axes
    share = (classes["issues"] / classes["given_count"]).to_numpy()
    order = np.argsort(share)
    names = [label.get_text() for label in fates.get_yticklabels()]
    assert names == classes["name"].iloc[order].tolist()
    widths = np.array([[bar.get_width() for bar in bars] for bars in fates.containers])
    np.testing.assert_allclose(widths.sum(axis=0), 100)
    relabelled = 100 * classes["relabelled_out"] / classes["given_count"]
    np.testing.assert_allclose(widths[1], relabelled.iloc[order])
    repaired = count_pairs(*kept_labels(drawn[0].delivered), 4).sum(axis=0)
    np.testing.assert_allclose(line_of(sizes, "repaired labels").get_xdata(), repaired[order])
    accuracy = 100 * classes["given_accuracy"].iloc[order]
    np.testing.assert_allclose(line_of(right, "given labels").get_xdata(), accuracy)


def kept_labels(delivered):
    kept = delivered[delivered["repaired_label"].notna()]
    return kept["true_label"].to_numpy(np.int64), kept["repaired_label"].to_numpy(np.int64)


def test_class_health_without_truth_or_names_shows_quality():
    classes = example(known=False)[0].classes.drop(columns="name")
    axes = class_health_plot(classes).axes[2]
    assert "quality" in axes.get_title(loc="left")
    np.testing.assert_allclose(
        np.sort(axes.lines[0].get_xdata()), np.sort(100 * classes["mean_quality"])
    )


@pytest.mark.parametrize("known", [True, False])
def test_every_picture_has_its_numbers(known):
    found, noise, names = example(known=known)
    figures, frames = all_plots(found, noise, names), plot_data(found, noise, names)
    assert sorted(figures) == sorted(frames) == sorted(ALWAYS + WITH_TRUTH * known)
    assert all(len(frame) for frame in frames.values())
    transition = frames["transition"]
    assert transition.columns.tolist() == ["true_class", "given_class", "share"]
    cell = transition[
        (transition["true_class"] == names[1]) & (transition["given_class"] == names[2])
    ]
    assert cell["share"].tolist() == pytest.approx([0.1])
    assert frames["class_health"]["name"].tolist() == names
    confusion = frames["confusion"].groupby("panel")["count"].sum()
    counts = found.metrics["counts.keep"] + found.metrics["counts.relabel"]
    assert confusion.tolist() == ([counts, 600] if known else [600])


def test_names_reach_the_picture_of_an_evaluation_without_them(drawn):
    found, noise, names = drawn
    bare = dataclasses.replace(found, classes=found.classes.drop(columns="name"))
    ticks = all_plots(bare, noise, names)["class_health"].axes[0].get_yticklabels()
    assert sorted(label.get_text() for label in ticks) == names


def test_class_names_with_dollars_are_no_mathematics(drawn):
    figure = transition_heat_map(np.eye(2), ["$5_to_$10", "over $10"], "T")
    figure.savefig(io.BytesIO(), format="png")
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == [r"\$5_to_\$10", r"over \$10"]  # which matplotlib draws without the strokes


@pytest.fixture
def cats_font(tmp_path):
    """A font file that has one character: 猫."""
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "cat"])
    font.setupCharacterMap({ord("猫"): "cat"})
    pen = TTGlyphPen(None)
    for step, point in enumerate([(0, 0), (0, 700), (700, 700)]):
        (pen.lineTo if step else pen.moveTo)(point)
    pen.closePath()
    shape = pen.glyph()
    font.setupGlyf({".notdef": shape, "cat": shape})
    font.setupHorizontalMetrics({".notdef": (800, 0), "cat": (800, 0)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Cats", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    file = tmp_path / "cats.ttf"
    font.save(file)
    return str(file)


def test_names_in_other_scripts_get_a_font_that_has_them(cats_font, monkeypatch, caplog):
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [__file__, cats_font])
    _families.cache_clear()
    assert families(("Katze", "кошка")) == ["DejaVu Sans"]
    figure = transition_heat_map(np.eye(2), ["猫\n", "b"], "T")
    assert figure.axes[0].get_xticklabels()[0].get_fontfamily() == ["DejaVu Sans", "Cats"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of what it draws as a box
        figure.savefig(io.BytesIO(), format="png")
    assert not caplog.records


def test_names_that_no_font_has_are_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    _families.cache_clear()
    assert families(("猫", "犬")) == ["DejaVu Sans"]
    assert "No font of this machine has 犬, 猫" in caplog.text
    _families.cache_clear()


def test_a_hundred_classes_are_drawn(tmp_path):
    found, noise, names = example(100, 3000)
    figures = all_plots(found, noise, names)
    for name in ("transition", "class_health"):
        figures[name].savefig(tmp_path / f"{name}.png", dpi=30)
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
    for axes in heat_maps(figures["confusion"]):
        assert axes.images[0].get_array().shape == (100, 100)
    assert len(figures["class_health"].axes[0].get_yticks()) == 100


def test_pictures_of_a_thousand_classes_fit_a_screen_and_name_every_tenth():
    figures = all_plots(*example(1000, 5000))
    for name in ("transition", "confusion", "class_health"):
        assert max(figures[name].get_size_inches()) < 30
    ticks = heat_maps(figures["confusion"])[0].get_yticklabels()
    assert [label.get_text() for label in ticks[:3]] == ["class 0", "class 10", "class 20"]
    worst = figures["class_health"].axes[0]
    assert len(worst.get_yticks()) == 100
    assert worst.get_ylabel() == "the 100 most suspect of 1,000 classes"


def test_all_pictures_of_the_example_are_rendered(drawn, tmp_path):
    for name, figure in all_plots(*drawn).items():
        figure.savefig(tmp_path / f"{name}.png", dpi=30)
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_import_is_light_and_drawing_needs_no_pyplot(tmp_path):
    code = """
import sys
import labelrepair.plots as plots
assert "matplotlib" not in sys.modules, "imported with the module"
assert "torch" not in sys.modules, "torch imported"
plots.transition_heat_map([[0.9, 0.1], [0.2, 0.8]], ["a", "b"], "T").savefig(sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules, "pyplot imported"
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "T.png")], check=True)


def test_benchmark_plot_shows_ours_and_published():
    table = pd.DataFrame(
        {
            "noise": ["symmetric_exclusive"] * 2,
            "noise_rate": [0.2] * 2,
            "method": ["jocor", "co_teaching"],
            "mean": [97.0, 95.0],
            "std": [0.1, np.nan],
            "published_mean": [98.06, 97.0],
            "published_std": [0.5, np.nan],
        }
    )
    figure = benchmark_plot(table)
    (panel,) = figure.axes
    lines = [line.get_xdata().tolist() for line in panel.lines if len(line.get_xdata()) == 2]
    assert [97.0, 95.0] in lines
    assert [98.06, 97.0] in lines
    spreads = [bar.get_segments()[0] for bar in panel.collections]
    assert [np.ptp(bar[:, 0]) / 2 for bar in spreads] == pytest.approx([0.1, 0.5])
    assert [text.get_text() for text in panel.get_yticklabels()] == ["jocor", "co teaching"]
    unpublished = benchmark_plot(table.assign(published_mean=np.nan))
    assert [text.get_text() for text in unpublished.legends[0].get_texts()] == ["ours"]
