"""Wrong arguments of the Python face, and tables that break a rule."""

import numpy as np
import pytest
from corpus import bounded
from corpus_calls import PROBS, N, Y, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from labelrepair import repair_with_probs
from labelrepair.errors import LabelRepairError
from labelrepair.estimation import accuracy, intervals

CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_refused(case, tmp_path):
    case.check(tmp_path)


def test_the_arrays_that_the_others_change_are_good():
    assert len(repair_with_probs(PROBS, Y).table) == N


def sparse(rows, classes):
    """Return probabilities of many classes, and labels of five of them, some wrong."""
    rng = np.random.default_rng(rows)
    true, other = rng.integers(0, 5, (2, rows)) * (classes // 6)
    probs = rng.dirichlet(np.full(classes, 0.1), rows)
    probs[np.arange(rows), true] += rng.random(rows)
    return probs / probs.sum(1, keepdims=True), np.where(rng.random(rows) < 0.4, other, true)


@pytest.mark.filterwarnings("ignore:confident joint. no row")
@pytest.mark.parametrize("classes", [1_000, 2_000])
def test_more_classes_than_samples_are_cheap(classes):
    probs, given_labels = sparse(3, classes)
    with bounded(f"{classes} classes"):
        result = repair_with_probs(probs, given_labels)
    assert result.transition_matrix.shape == (classes, classes)


@pytest.mark.filterwarnings("ignore:confident joint. no row")
@pytest.mark.parametrize("rows", [40, 55, 400])
def test_leaving_classes_without_a_row_out_changes_nothing(rows, monkeypatch):
    probs, given_labels = sparse(rows, 60)
    whole = repair_with_probs(probs, given_labels).noise
    monkeypatch.setattr(intervals, "MAX_RESAMPLED", 0)
    monkeypatch.setattr(accuracy, "FEW_CLASSES", 0)
    reduced = repair_with_probs(probs, given_labels).noise
    np.testing.assert_array_equal(reduced.transition, whole.transition)
    np.testing.assert_array_equal(reduced.class_prior, whole.class_prior)
    assert reduced.noise_rate == whole.noise_rate
    assert reduced.interval == pytest.approx(whole.interval, abs=1e-12)
    assert whole.interval[0] < whole.interval[1]
    assert reduced.probe_accuracy == pytest.approx(whole.probe_accuracy, abs=1e-9)
    assert reduced.kappa == pytest.approx(whole.kappa, abs=1e-12)


ANY_FLOATS = arrays.arrays(np.float64, (4, 3), elements=st.floats(width=64))
SHARES = arrays.arrays(np.float64, (4, 3), elements=st.sampled_from([0.0, 1e-320, 1e-9, 0.3, 1.0]))


@given(
    values=st.one_of(ANY_FLOATS, SHARES),
    labels=st.lists(st.integers(-1, 3), min_size=4, max_size=4),
)
@settings(max_examples=100, deadline=None)
def test_any_probabilities_are_scored_or_refused(values, labels):
    with np.errstate(all="ignore"):
        sums = values.sum(1, keepdims=True)
        probs = np.where(sums > 0, values / sums, values)
    with bounded("probs"):
        try:
            table = repair_with_probs(probs, labels).table
        except LabelRepairError:
            return
    assert table["label_quality"].between(0, 1).all()
    assert table["confidence"].between(0, 1).all()
