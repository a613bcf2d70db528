import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelrepair.errors import ConfigError, DataError, TransitionError
from labelrepair.scoring import (
    SCORE_COLUMNS,
    TEMPERATURES,
    ScoringSpec,
    fit_temperature,
    label_posterior,
    score,
    soften,
    unmix,
)

T = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.3, 0.0, 0.7]])
PLAIN = ScoringSpec(calibrate=False)


def random_probs(seed, rows=200, classes=3, sharpness=1.0):
    logits = sharpness * np.random.default_rng(seed).normal(size=(rows, classes))
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


def test_posterior_by_hand():
    """p = (.5, .3, .2): p_i T[i, 1] = (.05, .21, 0), sum .26; p_i T[i, 0] = (.45, .06, .06)."""
    found = label_posterior(np.array([[0.5, 0.3, 0.2]] * 2), np.array([1, 0]), T)
    np.testing.assert_allclose(found[0], np.array([0.05, 0.21, 0.0]) / 0.26, atol=1e-15)
    np.testing.assert_allclose(found[1], np.array([0.45, 0.06, 0.06]) / 0.57, atol=1e-15)


def test_without_noise_the_given_label_is_certain():
    probs, labels = random_probs(0), np.arange(200) % 3
    np.testing.assert_allclose(label_posterior(probs, labels, np.eye(3)), np.eye(3)[labels])
    table = score(probs, labels, np.eye(3), spec=PLAIN)
    assert (table["label_quality"] == 1.0).all()
    assert not table["is_label_issue"].any()


def test_where_transition_rules_out_all_probable_classes_the_probabilities_decide():
    """Only class 2 is probable, and T[2, 1] = 0: the label says nothing."""
    probs = np.array([[0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(label_posterior(probs, np.array([1]), T), probs)
    row = score(probs, np.array([1]), T, spec=PLAIN).iloc[0]
    assert (row["suggested_label"], row["confidence"], row["label_quality"]) == (2, 1.0, 0.0)
    assert row["is_label_issue"]


def test_a_column_of_zeros_is_no_division_by_zero():
    never = np.array([[0.5, 0.5, 0.0]] * 3)
    probs = random_probs(1, rows=4)
    np.testing.assert_array_equal(label_posterior(probs, np.array([2] * 4), never), probs)


@given(st.integers(0, 10_000), st.floats(0.5, 8))
def test_posterior_rows_are_distributions(seed, sharpness):
    probs = random_probs(seed, rows=20, sharpness=sharpness)
    found = label_posterior(probs, np.arange(20) % 3, T)
    np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-12)
    assert (found >= 0).all()


def test_scores_by_hand():
    """Joint: (.05, .21, 0) for y = 1; (.18, .16, 0) and (.09, .18, 0) for y = 0."""
    probs = np.array([[0.5, 0.3, 0.2], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]])
    table = score(probs, np.array([1, 0, 0]), T, spec=PLAIN)
    assert tuple(table.columns) == SCORE_COLUMNS
    assert table["label_quality"].tolist() == pytest.approx([0.21 / 0.26, 0.18 / 0.34, 1 / 3])
    assert table["suggested_label"].tolist() == [1, 0, 1]
    assert table["confidence"].tolist() == pytest.approx([0.21 / 0.26, 0.18 / 0.34, 2 / 3])
    assert table["is_label_issue"].tolist() == [False, False, True]
    assert table["suggested_label"].dtype == np.int64
    assert table["is_label_issue"].dtype == bool


def test_a_tie_goes_to_the_given_label():
    half = np.array([[0.5, 0.5], [0.5, 0.5]])
    table = score(half, np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.5]]), spec=PLAIN)
    assert table["suggested_label"].tolist() == [0, 1]
    assert not table["is_label_issue"].any()


@given(st.integers(0, 10_000))
def test_scores_fit_together(seed):
    labels = np.random.default_rng(seed).integers(3, size=30)
    table = score(random_probs(seed, rows=30, sharpness=5), labels, T)
    assert table["label_quality"].between(0, 1).all()
    assert table["confidence"].between(0, 1).all()
    assert (table["confidence"] >= table["label_quality"] - 1e-12).all()
    differs = table["suggested_label"].to_numpy() != labels
    np.testing.assert_array_equal(table["is_label_issue"], differs)
    same = table[~differs]
    np.testing.assert_allclose(same["confidence"], same["label_quality"])


def test_temperature_by_hand():
    """Softmax of log p / 2 is sqrt(p), normalised."""
    probs = np.array([[0.64, 0.32, 0.04]])
    roots = np.sqrt([0.64, 0.32, 0.04])
    np.testing.assert_allclose(soften(probs, 2.0)[0], roots / roots.sum(), atol=1e-15)
    assert soften(probs, 1.0) is probs
    sure = soften(np.array([[1.0, 0.0, 0.0]]), 20.0)
    np.testing.assert_array_equal(sure, [[1.0, 0.0, 0.0]])


@pytest.mark.parametrize("sharper", [1.0, 3.0, 6.0])
def test_fitted_temperature_undoes_overconfidence(sharper):
    """Labels drawn from p T, probabilities sharpened to p^sharper: the fit finds sharper."""
    rng = np.random.default_rng(5)
    probs = random_probs(6, rows=20_000, sharpness=1.5)
    noisy = np.cumsum(probs @ T, axis=1)
    labels = (rng.random((len(probs), 1)) > noisy).sum(1).clip(0, 2)
    overconfident = probs**sharper / (probs**sharper).sum(1, keepdims=True)
    found = fit_temperature(overconfident, labels, T)
    assert found in TEMPERATURES
    assert found == pytest.approx(sharper, rel=0.15)


def test_calibration_lets_the_transition_be_heard():
    """Overconfident probabilities call every wrong guess an issue; softened ones do not."""
    rng = np.random.default_rng(7)
    true = rng.integers(3, size=3000)
    guess = np.where(rng.random(3000) < 0.6, true, rng.integers(3, size=3000))
    probs = np.full((3000, 3), 1e-6)
    probs[np.arange(3000), guess] = 1 - 2e-6
    weak = np.full((3, 3), 0.05) + 0.85 * np.eye(3)
    sure, calibrated = score(probs, true, weak, spec=PLAIN), score(probs, true, weak)
    assert sure["is_label_issue"].mean() > 0.2
    assert not calibrated["is_label_issue"].any()


def test_calibration_looks_at_evenly_spaced_rows():
    probs = np.vstack([random_probs(8, rows=500), random_probs(9, rows=500, sharpness=8)])
    labels = probs.argmax(1)
    labels[500:] = np.random.default_rng(1).integers(3, size=500)
    first = score(probs[:500], labels[:500], T, spec=ScoringSpec(True, 500))
    both = score(probs, labels, T, spec=ScoringSpec(True, 500))
    assert (first["label_quality"] != both["label_quality"].iloc[:500]).any()
    two = score(probs, labels, T, spec=ScoringSpec(True, 2))
    assert (two["label_quality"] != score(probs, labels, T)["label_quality"]).any()


def test_unmix_recovers():
    probs = random_probs(2)
    np.testing.assert_allclose(unmix(probs @ T, T), probs, atol=1e-12)


def test_unmix_projects_what_no_true_distribution_explains():
    """T = [[.8, .2], [.2, .8]]: p_given (.9, .1) solves to (7/6, -1/6), clipped to (1, 0)."""
    mixing = np.array([[0.8, 0.2], [0.2, 0.8]])
    np.testing.assert_allclose(unmix(np.array([[0.9, 0.1]]), mixing), [[1.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(unmix(np.array([[0.5, 0.5]]), mixing), [[0.5, 0.5]], atol=1e-12)


def test_unmix_of_a_singular_matrix_is_finite():
    flat = np.full((3, 3), 1 / 3)
    np.testing.assert_allclose(unmix(random_probs(3), flat).sum(1), 1.0)


def test_probs_of_given_are_unmixed_first():
    probs, labels = random_probs(4, sharpness=3), np.arange(200) % 3
    pd.testing.assert_frame_equal(
        score(probs @ T, labels, T, probs_of="given", spec=PLAIN),
        score(probs, labels, T, spec=PLAIN),
    )


def test_float32_and_inputs_left_alone():
    probs, labels = random_probs(0).astype(np.float32), np.arange(200) % 3
    copies = probs.copy(), labels.copy(), T.copy()
    score(probs, labels, T, probs_of="given")
    for array, copy in zip((probs, labels, T), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_no_rows():
    assert len(score(np.zeros((0, 3)), np.zeros(0, np.int64), T)) == 0


def test_errors():
    probs, labels = random_probs(0, rows=4), np.zeros(4, np.int64)
    with pytest.raises(DataError, match=r"probs: shape \(4, 3\) does not fit 3 labels"):
        score(probs, labels[:3], T)
    with pytest.raises(DataError, match="does not fit"):
        score(probs[0], labels, T)
    broken = probs.copy()
    broken[2, 1] = np.nan
    with pytest.raises(DataError, match="row 2 is not finite"):
        score(broken, labels, T)
    with pytest.raises(TransitionError):
        score(probs, labels, np.ones((3, 3)))
    with pytest.raises(TransitionError, match=r"expected shape \(3, 3\)"):
        score(probs, labels, np.eye(2))
    with pytest.raises(ConfigError, match="calibration_rows"):
        ScoringSpec(calibration_rows=0)
