import json
import re

import numpy as np
import pandas as pd
import pytest
from pandas import NA
from pandas.testing import assert_frame_equal

from labelrepair.errors import DataError, TransitionError
from labelrepair.evaluation import CURVE_POINTS, evaluate
from labelrepair.label_table import check_repaired_table
from labelrepair.run_summary import summary

# Twelve rows and two test rows, worked by hand. Wrong are s03, s07, s10 and s11; s03 and s07 are
# repaired rightly, s06 wrongly, s10 is missed, s11 goes to review and was held out of training.
TRUE = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
GIVEN = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 0, 0]
SUGGESTED = [0, 0, 0, 0, 1, 1, 2, 1, 2, 2, 0, 2]
QUALITY = [0.99, 0.98, 0.97, 0.1, 0.96, 0.95, 0.3, 0.2, 0.94, 0.93, 0.6, 0.4]
CONFIDENCE = [1.0, 0.99, 0.97, 0.96, 0.95, 0.96, 0.7, 0.5, 0.99, 0.98, 0.6, 0.8]
KEEP = "keep"
ACTION = [KEEP] * 3 + ["relabel"] + [KEEP] * 2 + ["relabel", "drop"] + [KEEP] * 3 + ["review"]
REPAIRED = [0, 0, 0, 0, 1, 1, 2, NA, 2, 2, 0, NA]
SOURCE = ["model" if action == "relabel" else "given" for action in ACTION]
NOISE = {
    "transition": [[0.75, 0.25, 0.0], [0.0, 0.75, 0.25], [0.25, 0.0, 0.75]],
    "noise_rate": 0.25,
    "interval": [0.2, 0.3],
    "method": "confident_joint",
    "class_prior": [0.25, 0.25, 0.5],
}
EPOCHS = 13


@pytest.fixture
def table():
    nothing = [NA, NA]
    return pd.DataFrame(
        {
            "sample_id": [f"s{row:02d}" for row in range(12)] + ["t0", "t1"],
            "given_label": [*GIVEN, 0, 1],
            "split": ["train"] * 11 + ["validation", "test", "test"],
            "content_hash": "0",
            "label_quality": [*QUALITY, np.nan, np.nan],
            "is_label_issue": pd.array(
                [a != b for a, b in zip(GIVEN, SUGGESTED, strict=True)] + nothing, dtype="boolean"
            ),
            "suggested_label": pd.array(SUGGESTED + nothing, dtype="Int64"),
            "confidence": [*CONFIDENCE, np.nan, np.nan],
            "action": [*ACTION, None, None],
            "repaired_label": pd.array(REPAIRED + nothing, dtype="Int64"),
            "label_source": [*SOURCE, None, None],
            "reason": "",
        }
    )


@pytest.fixture
def truth():
    ids = [f"s{row:02d}" for row in range(12)] + ["t0", "t1"]
    return pd.DataFrame({"sample_id": ids, "true_label": np.array([*TRUE, 0, 2])})


@pytest.fixture
def history():
    # The warm-up is better than everything after it, and must not count.
    val = np.full(EPOCHS, 0.7)
    val[[0, 3, 7]] = 0.9, 0.8, 0.8
    test = 0.5 + 0.01 * np.arange(EPOCHS)
    test[0] = 0.99
    return pd.DataFrame(
        {
            "stage": ["warmup"] + ["train"] * 12,
            "epoch": range(EPOCHS),
            "lr": 0.1,
            "loss": 1.0,
            "train_accuracy_given": 0.5,
            "used_share": 1.0,
            "noisy_val_accuracy": val,
            "noisy_val_loss": 1.0,
            "test_accuracy": test,
        }
    )


@pytest.fixture
def used():
    """All rows but the held-out one, until the networks part in the last two epochs."""
    rows = np.zeros((EPOCHS, 2, 12), dtype=bool)
    rows[:, :, :11] = True
    rows[-2:] = False
    rows[-2, 0, :4] = True
    rows[-2, 1, :2] = True
    rows[-1, 1, 3:5] = True  # the first network learns from nothing
    return np.packbits(rows, axis=-1)


def test_the_example_keeps_the_rules_of_a_repaired_table(table):
    check_repaired_table(table, 3)


def test_a_sample_of_no_class_is_right_only_when_it_is_removed(table, truth, history, used):
    """s07 (dropped), s10 (kept) and s11 (to review) belong to no class."""
    before = evaluate(table, truth, NOISE, history, used, 3).metrics
    truth.loc[[7, 10, 11], "true_label"] = -2
    found = evaluate(table, truth, NOISE, history, used, 3)
    change = {
        name: value
        for name, value in found.metrics.items()
        if before.get(name) != pytest.approx(value, rel=1e-12)
    }
    assert change == pytest.approx(
        {
            "recovery.accuracy": 8 / 9,  # of the others; s06 is wrong
            "labels.effective_accuracy_all_rows": 8 / 12,
            "memorisation.rate": 0.0,
            # actual: rows (.75 .25 0), (0 1 0), (0 0 1)
            "noise.transition_mean_absolute_error": 1 / 9,
            "noise.transition_relative_frobenius": np.sqrt(0.25 / 2.625),
            "open_set.rows": 3,
            "open_set.flagged": 2 / 3,
            "open_set.removed": 2 / 3,
            "open_set.share_of_removed": 1.0,
        },
        rel=1e-9,
    )
    assert found.recovery_by_confidence["count"].tolist()[-1] == 9
    assert found.delivered["true_label"].tolist()[7] == -2
    assert "samples of no class" in summary(found.metrics, {})


def test_metrics_of_the_example(table, truth, history, used):
    found = evaluate(table, truth, NOISE, history, used, 3).metrics
    assert found == pytest.approx(
        {
            "val.noisy_accuracy_last": 0.7,
            "test.accuracy_last": 0.62,
            "test.accuracy_last10": 0.575,
            "test.accuracy_best_noisy_val": 0.53,
            "test.labels_right": 0.5,
            "noise.rate_estimated": 0.25,
            "noise.rate_low": 0.2,
            "noise.rate_high": 0.3,
            "noise.rate_actual": 4 / 12,
            # actual: rows (.75 .25 0), (0 .75 .25), (.5 0 .5)
            "noise.transition_mean_absolute_error": 0.5 / 9,
            "noise.transition_relative_frobenius": np.sqrt(0.125 / 1.75),
            "labels.rows": 12,
            "labels.rows_with_truth": 12,
            "labels.given_accuracy": 8 / 12,
            "labels.repaired_accuracy": 8 / 10,
            "labels.kept_share": 10 / 12,
            "labels.effective_accuracy_all_rows": 10 / 12,
            "recovery.accuracy": 10 / 12,
            "relabel.precision": 1 / 2,
            "drop.precision": 1.0,
            "detect.precision": 3 / 4,
            "detect.recall": 3 / 4,
            "detect.f1": 3 / 4,
            "detect.average_precision": (1 + 1 + 3 / 4 + 4 / 5) / 4,
            "memorisation.rate": 1 / 4,
            "selection.precision_last": 1 / 2,
            "selection.recall_last": 1 / 16,
            "counts.keep": 8,
            "counts.relabel": 2,
            "counts.drop": 1,
            "counts.review": 1,
            "counts.issues": 4,
        },
        rel=1e-12,
    )
    assert {type(value) for value in found.values()} == {int, float}
    counts = [name for name in found if name.startswith(("counts", "labels.rows"))]
    assert all(type(found[name]) is int for name in counts)


def test_curves_average_the_networks_and_show_them_where_they_differ(table, truth, history, used):
    curves = evaluate(table, truth, NOISE, history, used, 3).curves
    assert_frame_equal(curves[history.columns], history)
    names = [f"selection_precision{end}" for end in ("", "_0", "_1")]
    expected = [[8 / 11] * 3, [0.875, 0.75, 1.0], [0.5, np.nan, 0.5]]
    np.testing.assert_allclose(curves[names].iloc[[0, -2, -1]], expected, rtol=1e-12)
    names = [f"selection_recall{end}" for end in ("", "_0", "_1")]
    expected = [[1.0] * 3, [5 / 16, 3 / 8, 2 / 8], [1 / 16, 0.0, 1 / 8]]
    np.testing.assert_allclose(curves[names].iloc[[0, -2, -1]], expected, rtol=1e-12)


def test_networks_that_agree_get_no_columns_of_their_own(table, truth, history, used):
    used = np.repeat(used[:, :1], 2, axis=1)
    curves = evaluate(table, truth, NOISE, history, used, 3).curves
    added = [name for name in curves if name not in history]
    assert added == ["selection_precision", "selection_recall"]


def test_the_selected_column_outranks_the_last_epoch(table, truth, history, used):
    table["selected"] = pd.array([True] * 6 + [False] * 6 + [NA, NA], dtype="boolean")
    found = evaluate(table, truth, NOISE, history, used, 3).metrics
    assert found["selection.precision_last"] == pytest.approx(5 / 6)
    assert found["selection.recall_last"] == pytest.approx(5 / 8)


def test_frames_of_the_example(table, truth, history, used):
    names = ["cat", "dog", "emu"]
    found = evaluate(table, truth, NOISE, history, used, 3, class_names=names)
    expected = pd.DataFrame(
        {
            "class": [0, 1, 2],
            "name": names,
            "given_count": [5, 4, 3],
            "estimated_true_count": [3.0, 3.0, 6.0],
            "issues": [1, 2, 1],
            "relabelled_out": [0, 2, 0],
            "relabelled_in": [1, 0, 1],
            "dropped": [0, 0, 1],
            "review": [1, 0, 0],
            "mean_quality": [(0.99 + 0.98 + 0.97 + 0.6 + 0.4) / 5, 2.31 / 4, 2.07 / 3],
            "given_accuracy": [3 / 5, 3 / 4, 2 / 3],
            "repaired_accuracy": [4 / 5, 1.0, 2 / 3],
        }
    )
    assert_frame_equal(found.classes, expected)
    flows = pd.DataFrame(
        {
            "given_label": [0, 0, 1, 1, 1, 2, 2],
            "repaired_label": pd.array([0, NA, 0, 1, 2, 2, NA], dtype="Int64"),
            "action": ["keep", "review", "relabel", "keep", "relabel", "keep", "drop"],
            "count": [4, 1, 1, 2, 1, 2, 1],
        }
    )
    assert_frame_equal(found.flows, flows, check_dtype=False)
    recovery = found.recovery_by_confidence
    assert recovery["count"].tolist() == [3, 5, 0, 4, 12]
    np.testing.assert_allclose(recovery["accuracy"], [1, 1, np.nan, 0.5, 10 / 12])
    curve = found.precision_recall
    assert curve["flagged"].tolist() == list(range(1, 13))
    np.testing.assert_allclose(curve["precision"].iloc[:5], [1, 1, 2 / 3, 3 / 4, 4 / 5])
    assert curve["recall"].iloc[3] == 0.75


def test_delivered_is_the_whole_table_with_the_truth(table, truth, history, used):
    before = table.copy(), truth.copy(), history.copy(), used.copy()
    found = evaluate(table, truth.iloc[:-1], NOISE, history, used, 3)
    delivered = found.delivered
    assert_frame_equal(delivered[table.columns], table)
    assert delivered["true_label"].dtype == "Int64"
    assert delivered["true_label"].tolist() == [*TRUE, 0, NA]
    for old, new in zip(before[:3], (table, truth, history), strict=True):
        assert_frame_equal(old, new)
    np.testing.assert_array_equal(before[3], used)


def test_without_truth_its_metrics_are_absent(table, truth, history, used):
    for nothing in (truth.iloc[:0], truth.assign(true_label=-1), truth.iloc[12:]):
        found = evaluate(table, nothing, NOISE, history, used, 3)
        of_test = {"test.labels_right"} & found.metrics.keys()
        assert bool(of_test) == (len(nothing) == 2)  # the truth of the test split alone
        assert found.metrics.keys() - of_test == {
            "val.noisy_accuracy_last",
            "test.accuracy_last",
            "test.accuracy_last10",
            "test.accuracy_best_noisy_val",
            "noise.rate_estimated",
            "noise.rate_low",
            "noise.rate_high",
            "labels.rows",
            "labels.kept_share",
            "counts.keep",
            "counts.relabel",
            "counts.drop",
            "counts.review",
            "counts.issues",
        }
        assert_frame_equal(found.curves, history)
        assert found.recovery_by_confidence.empty
        assert found.precision_recall.empty
        assert "given_accuracy" not in found.classes
        assert found.flows["count"].sum() == 12
        assert found.delivered["true_label"].dtype == "Int64"


def test_rows_of_unknown_truth_do_not_count(table, truth, history, used):
    truth.loc[[3, 6], "true_label"] = -1  # both relabelled rows
    result = evaluate(table, truth, NOISE, history, used, 3)
    found = result.metrics
    assert found["labels.rows"] == 12
    assert found["labels.rows_with_truth"] == 10
    assert found["counts.relabel"] == 2
    assert found["labels.given_accuracy"] == pytest.approx(7 / 10)
    assert found["labels.repaired_accuracy"] == pytest.approx(7 / 8)
    assert found["labels.kept_share"] == pytest.approx(10 / 12)
    assert found["relabel.precision"] is None
    assert found["detect.precision"] == 1.0
    assert found["detect.recall"] == pytest.approx(2 / 3)
    assert found["selection.precision_last"] == 1.0  # of s03 and s04 only s04 is known
    assert found["selection.recall_last"] == pytest.approx(1 / 14)
    assert result.recovery_by_confidence["count"].iloc[-1] == 10
    assert result.delivered["true_label"].isna().tolist() == [row in (3, 6) for row in range(14)]
    json.dumps(found, allow_nan=False)


def test_missing_measurements(table, truth, history, used):
    plain = history.drop(columns=["noisy_val_accuracy", "noisy_val_loss"])
    found = evaluate(table, truth, NOISE, plain, used, 3).metrics
    assert found["test.accuracy_best_noisy_val"] is None
    assert "val.noisy_accuracy_last" not in found
    blind = history.drop(columns="test_accuracy")
    found = evaluate(table, truth, NOISE, blind, used, 3).metrics
    assert not any(name.startswith("test.") for name in found)
    # Measured every fifth epoch: the last ten hold the three of epochs 3, 8 and 12.
    rare = history.copy()
    kept = rare["epoch"].isin([3, 8, 12])
    rare["test_accuracy"] = rare["test_accuracy"].where(kept)
    rare["noisy_val_accuracy"] = rare["noisy_val_accuracy"].where(kept)
    found = evaluate(table, truth, NOISE, rare, used, 3).metrics
    assert found["test.accuracy_last"] == pytest.approx(0.62)
    assert found["test.accuracy_last10"] == pytest.approx((0.53 + 0.58 + 0.62) / 3)
    assert found["test.accuracy_best_noisy_val"] == pytest.approx(0.53)
    # The test split less often still: whether it was looked at in the best epoch decides.
    for seen, expected in (([8, 12], None), ([3, 12], pytest.approx(0.53))):
        seldom = rare.assign(test_accuracy=rare["test_accuracy"].where(rare["epoch"].isin(seen)))
        found = evaluate(table, truth, NOISE, seldom, used, 3).metrics
        assert found["test.accuracy_best_noisy_val"] == expected
        assert found["test.accuracy_last"] == pytest.approx(0.62)


def test_where_no_label_is_wrong_there_is_no_detection_curve(table, truth, history, used):
    truth = truth.assign(true_label=table["given_label"].to_numpy())
    found = evaluate(table, truth, NOISE, history, used, 3)
    assert len(found.precision_recall) == 0
    assert found.metrics["detect.recall"] is None


def test_a_table_read_back_from_parquet_gives_the_same(tmp_path, table, truth, history, used):
    expected = evaluate(table, truth, NOISE, history, used, 3).metrics
    table.to_parquet(tmp_path / "table.parquet")
    again = pd.read_parquet(tmp_path / "table.parquet")
    assert evaluate(again, truth, NOISE, history, used, 3).metrics == expected


def test_the_detection_curve_is_thinned(history):
    size = 5000
    quality = np.linspace(0, 1, size)
    table = pd.DataFrame(
        {
            "sample_id": [f"{row:05d}" for row in range(size)],
            "given_label": 0,
            "split": "train",
            "content_hash": "0",
            "label_quality": quality,
            "is_label_issue": False,
            "suggested_label": 0,
            "confidence": 1.0,
            "action": "keep",
            "repaired_label": 0,
            "label_source": "given",
            "reason": "",
        }
    )
    truth = pd.DataFrame({"sample_id": table["sample_id"], "true_label": np.arange(size) % 2})
    noise = {**NOISE, "transition": np.eye(2).tolist(), "class_prior": [0.5, 0.5]}
    used = np.zeros((EPOCHS, 1, size // 8), dtype=np.uint8)
    found = evaluate(table, truth, noise, history, used, 2)
    curve = found.precision_recall
    assert len(curve) == CURVE_POINTS
    assert (curve["flagged"].iloc[0], curve["flagged"].iloc[-1]) == (1, size)
    assert found.metrics["selection.precision_last"] is None
    assert found.metrics["detect.precision"] is None
    assert np.isnan(found.classes["given_accuracy"].iloc[1])  # no row is given class 1


def test_errors_name_what_is_wrong(table, truth, history, used):
    with pytest.raises(DataError, match=r"used: expected shape \(13, K, 2\).*found \(12, 2, 2\)"):
        evaluate(table, truth, NOISE, history, used[1:], 3)
    with pytest.raises(DataError, match="sample 'x'"):
        evaluate(table, truth.replace("s00", "x"), NOISE, history, used, 3)
    with pytest.raises(DataError, match="row 0 holds label 3"):
        evaluate(table, truth.replace({"true_label": {0: 3}}), NOISE, history, used, 3)
    with pytest.raises(TransitionError, match=r"noise\.transition"):
        evaluate(table, truth, {**NOISE, "transition": [[1.0]]}, history, used, 3)
    table.loc[4, "label_quality"] = np.nan
    with pytest.raises(DataError, match="sample 's04': label_quality is missing"):
        evaluate(table, truth, NOISE, history, used, 3)


@pytest.mark.parametrize(
    ("truth_of_test", "ends"),
    [
        ([0, 1], [" 62.0 %", " 57.5 % (mean)"]),
        ([0, 2], [" 62.0 %, by given labels", " 57.5 % (mean), by given labels"]),  # one is wrong
        ([0, -1], [" 62.0 %, by given labels", " 57.5 % (mean), by given labels"]),  # one may be
        ([-1, -1], [" 62.0 %, by given labels", " 57.5 % (mean), by given labels"]),
    ],
)
def test_the_summary_says_when_test_labels_may_be_wrong(
    table, truth, history, used, truth_of_test, ends
):
    truth.loc[[12, 13], "true_label"] = truth_of_test
    found = evaluate(table, truth, NOISE, history, used, 3).metrics
    right = np.mean(np.array(truth_of_test) == [0, 1])
    assert found.get("test.labels_right") == (right if max(truth_of_test) >= 0 else None)
    lines = [line for line in summary(found, {}).splitlines() if "test accuracy" in line]
    assert [line.endswith(end) for line, end in zip(lines, ends, strict=True)] == [True, True]
    # The line about the MLflow run, which is printed below, has its text there.
    assert all(line[31:].lstrip() == line[31:] for line in lines)


def test_summary_with_truth(table, truth, history, used):
    truth.loc[13, "true_label"] = 1
    found = json.loads(json.dumps(evaluate(table, truth, NOISE, history, used, 3).metrics))
    text = summary(found, {"table": "out/table.parquet", "MLflow run": "abc"})
    lines = text.splitlines()
    assert lines[0] == (
        "given labels 66.7 % correct -> repaired labels 80.0 % correct (83.3 % of rows kept)"
    )
    body = dict(line.split("  ", 1) for line in lines[2:])
    body = {label: rest.strip() for label, rest in body.items()}
    assert body["rows"] == "12 (without the held-out test split)"
    assert body["noise rate, estimated"] == "25.0 % (interval 20.0 % to 30.0 %)"
    assert body["noise rate, actual"] == "33.3 %"
    assert body["flagged as wrong"] == "4 (precision 75.0 %, recall 75.0 %)"
    assert body["relabelled"] == "2 (new label right: 50.0 %)"
    assert body["to review"] == f"{found['counts.review']} (to ask people: kedro labels export)"
    assert "kedro labels" not in summary({**found, "counts.review": 0}, {})
    assert body["test accuracy, last epoch"] == "62.0 %"
    assert body["test accuracy, last 10 epochs"] == "57.5 % (mean)"
    assert list(body)[-2:] == ["table", "MLflow run"]
    starts = {len(line) - len(line.split("  ", 1)[1].lstrip()) for line in lines[2:]}
    assert len(starts) == 1  # the second column is aligned


def test_summary_without_truth_says_so(table, truth, history, used):
    found = evaluate(table, truth.iloc[:0], NOISE, history, used, 3).metrics
    text = summary(found, {})
    alone = {name: value for name, value in found.items() if not name.startswith("test.")}
    assert re.search(r"^rows +12$", summary(alone, {}), re.MULTILINE)
    assert text.startswith(
        "an estimated 25.0 % of the given labels are wrong -> 2 relabelled, 1 dropped"
    )
    assert "unknown" in text
    assert "given labels correct" not in text
    assert "actual" not in text
    assert "precision" not in text


def test_summary_of_a_ratio_without_rows(table, truth, history, used):
    truth.loc[[3, 6], "true_label"] = -1
    found = evaluate(table, truth, NOISE, history, used, 3).metrics
    text = summary(found, {})
    assert "new label right: n/a" in text
    assert "known for 10 rows" in text
