import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelrepair.errors import ConfigError, DataError
from labelrepair.metrics import (
    accuracy,
    detection_metrics,
    last_mean,
    memorisation,
    precision_recall_curve,
    recovery_by_confidence,
    repaired_accuracy,
    selection_precision_recall,
)

# Twelve samples: rows 0-3 carry a wrong label, rows 0, 1, 2, 4, 5 are flagged (quality < 0.5).
# By suspicion the wrong rows come at ranks 1, 2, 5 and 6.
WRONG = np.array([True] * 4 + [False] * 8)
QUALITY = np.array([0.05, 0.1, 0.4, 0.8, 0.2, 0.3, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95])
FLAGGED = QUALITY < 0.5


def test_accuracy():
    assert accuracy([0, 1, 2, 2], [0, 1, 1, 2]) == 0.75
    with pytest.raises(DataError, match="at least one row"):
        accuracy([], [])
    with pytest.raises(DataError, match="labels: expected 2 rows, found 3"):
        accuracy([0, 1], [0, 1, 2])
    with pytest.raises(DataError, match=r"predicted: expected shape \(N,\), found \(2, 1\)"):
        accuracy([[0], [1]], [0, 1])


def test_selection_on_twelve_samples():
    # 7 selected, 5 of them clean, 8 clean in all.
    selected = np.array([1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0], dtype=bool)
    assert selection_precision_recall(selected, ~WRONG) == (5 / 7, 5 / 8)


def test_selection_with_empty_denominators():
    none, some = np.zeros(3, dtype=bool), np.array([True, False, True])
    assert selection_precision_recall(none, some) == (None, 0.0)
    assert selection_precision_recall(some, none) == (0.0, None)
    assert selection_precision_recall(none, none) == (None, None)


def test_detection_on_twelve_samples():
    found = detection_metrics(FLAGGED, QUALITY, WRONG)
    assert found["precision"] == 3 / 5
    assert found["recall"] == 3 / 4
    assert found["f1"] == 6 / 9
    expected = (1 + 1 + 3 / 5 + 4 / 6) / 4
    assert found["average_precision"] == pytest.approx(expected, abs=1e-15)


def test_detection_with_empty_denominators():
    nothing = np.zeros(12, dtype=bool)
    assert detection_metrics(nothing, QUALITY, nothing) == {
        "precision": None,
        "recall": None,
        "f1": None,
        "average_precision": None,
    }
    unflagged = detection_metrics(nothing, QUALITY, WRONG)
    assert (unflagged["precision"], unflagged["recall"], unflagged["f1"]) == (None, 0.0, 0.0)
    clean = detection_metrics(FLAGGED, QUALITY, nothing)
    assert (clean["precision"], clean["recall"], clean["f1"]) == (0.0, None, 0.0)
    assert clean["average_precision"] is None


def test_average_precision_separates_tiny_qualities():
    # 1 - q is 1.0 for both; the wrong row is the more suspect one.
    found = detection_metrics([True, False], [1e-20, 1e-18], [True, False])
    assert found["average_precision"] == 1.0


def test_precision_recall_curve_on_twelve_samples():
    curve = precision_recall_curve(QUALITY, WRONG)
    assert list(curve.columns) == ["threshold", "flagged", "precision", "recall"]
    np.testing.assert_array_equal(curve["threshold"], np.sort(QUALITY))
    hits = np.array([1, 2, 2, 2, 3, 4, 4, 4, 4, 4, 4, 4])
    np.testing.assert_allclose(curve["precision"], hits / np.arange(1, 13), rtol=0, atol=1e-15)
    np.testing.assert_array_equal(curve["recall"], hits / 4)


def test_precision_recall_curve_groups_ties_and_knows_no_recall_without_wrong_rows():
    curve = precision_recall_curve([0.5, 0.5, 0.2, 0.5], [True, False, False, True])
    np.testing.assert_array_equal(curve["flagged"], [1, 4])
    np.testing.assert_array_equal(curve["precision"], [0, 0.5])
    np.testing.assert_array_equal(curve["recall"], [0, 1])
    clean = precision_recall_curve([0.5, 0.2], [False, False])
    assert clean["recall"].isna().all()
    np.testing.assert_array_equal(clean["precision"], [0, 0])


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40))
def test_average_precision_is_the_area_under_the_curve(rows):
    quality = np.array([score / 8 for score, _ in rows])
    wrong = np.array([label for _, label in rows])
    found = detection_metrics(wrong, quality, wrong)["average_precision"]
    curve = precision_recall_curve(quality, wrong)
    if not wrong.any():
        assert found is None
        return
    steps = np.diff(curve["recall"], prepend=0.0)
    assert found == pytest.approx(float((steps * curve["precision"]).sum()), abs=1e-12)


@pytest.mark.parametrize(
    ("flagged", "quality", "wrong", "message"),
    [
        ([True], [0.1], [True, False], "is_wrong: expected 1 rows, found 2"),
        ([True], [0.1, 0.2], [True], "label_quality: expected 1 rows, found 2"),
        ([1], [0.1], [True], "is_label_issue: expected booleans, found dtype int64"),
        ([True], [np.nan], [True], "label_quality: row 0 is NaN"),
    ],
)
def test_detection_refuses_bad_columns(flagged, quality, wrong, message):
    with pytest.raises(DataError, match=message):
        detection_metrics(flagged, quality, wrong)


def test_recovery_by_confidence_on_twelve_samples():
    confidence = [1.0, 0.99, 0.995, 0.95, 0.9899, 0.5, 0.1, 0.0, 0.8999, 0.3, 0.2, 0.6]
    true = np.zeros(12, dtype=int)
    recovered = np.array([0, 0, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1])
    frame = recovery_by_confidence(confidence, recovered, true)
    assert list(frame["bin"]) == ["[0.99,1]", "[0.95,0.99)", "[0.9,0.95)", "[0,0.9)", "all"]
    assert list(frame["count"]) == [3, 2, 0, 7, 12]
    expected = [2 / 3, 1 / 2, np.nan, 2 / 7, 5 / 12]
    np.testing.assert_allclose(frame["accuracy"], expected, rtol=0, atol=1e-15)


def test_recovery_refuses_impossible_confidence():
    assert recovery_by_confidence([np.float32(1.0000001)], [0], [0])["count"].iloc[0] == 1
    for value in (-0.1, 1.1, np.nan):
        with pytest.raises(DataError, match="confidence: row 1"):
            recovery_by_confidence([0.5, value], [0, 0], [0, 0])
    with pytest.raises(DataError, match=r"confidence: expected shape \(2,\), found \(1,\)"):
        recovery_by_confidence([0.5], [0, 0], [0, 0])


def test_repaired_accuracy_reads_kept_rows_only():
    repaired = pd.Series([0, 1, None, 2, 1], dtype="Int64")
    kept = np.array([True, True, False, True, False])
    assert repaired_accuracy(repaired, kept, [0, 2, 1, 2, 1]) == 2 / 3
    assert repaired_accuracy(repaired, np.zeros(5, dtype=bool), [0, 2, 1, 2, 1]) is None
    with pytest.raises(DataError, match="repaired_labels: row 2 is kept but has no label"):
        repaired_accuracy(repaired, np.ones(5, dtype=bool), [0, 2, 1, 2, 1])
    with pytest.raises(DataError, match="kept_mask: expected 5 rows, found 4"):
        repaired_accuracy(repaired, kept[:4], [0, 2, 1, 2, 1])


def test_memorisation_looks_at_corrupted_rows_only():
    true = np.array([0, 0, 0, 1, 1])
    given_labels = np.array([1, 2, 0, 1, 0])
    # Corrupted rows 0, 1, 4; only row 0 repeats its wrong label.
    assert memorisation([1, 0, 0, 1, 1], given_labels, true) == 1 / 3
    assert memorisation(true, true, true) is None


def test_last_mean():
    assert last_mean(list(range(20))) == 14.5
    assert last_mean([1.0, 2.0, 3.0], count=2) == 2.5
    assert last_mean([1.0, 2.0]) == 1.5
    with pytest.raises(DataError, match="at least one"):
        last_mean([])
    with pytest.raises(ConfigError, match="count"):
        last_mean([1.0], count=0)
