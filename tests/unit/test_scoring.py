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
)
from labelrepair.transition import noise_rate_of

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


def drawn_labels(probs, seed):
    """Labels drawn from p T, and whether each is the true class drawn from p."""
    rng = np.random.default_rng(seed)
    rows = len(probs)
    true = (rng.random((rows, 1)) > np.cumsum(probs, axis=1)).sum(1).clip(0, 2)
    labels = (rng.random((rows, 1)) > np.cumsum(T[true], axis=1)).sum(1).clip(0, 2)
    return labels, labels == true


@pytest.mark.parametrize("sharper", [1.0, 3.0, 6.0])
def test_fitted_temperature_meets_the_noise_rate(sharper):
    """Probabilities sharpened to p^sharper: the mean quality ends at the share of right labels."""
    probs = random_probs(6, rows=20_000, sharpness=1.5)
    labels, right = drawn_labels(probs, 5)
    overconfident = probs**sharper / (probs**sharper).sum(1, keepdims=True)
    found = fit_temperature(overconfident, labels, T, noise_rate=1 - right.mean())
    assert found in TEMPERATURES
    posterior = label_posterior(soften(overconfident, found), labels, T)
    share = posterior[np.arange(len(labels)), labels].mean()
    assert share == pytest.approx(right.mean(), abs=0.02)
    assert found >= sharper / 2  # overconfidence is softened, not sharpened


def test_the_noise_rate_comes_from_transition_and_counts_unless_given():
    probs = random_probs(6, rows=5000, sharpness=1.5)
    labels, _ = drawn_labels(probs, 5)
    rate = noise_rate_of(T, given_frequencies=np.bincount(labels))
    assert fit_temperature(probs, labels, T) == fit_temperature(probs, labels, T, rate)
    assert fit_temperature(probs, labels, T, 0.02) != fit_temperature(probs, labels, T, 0.6)


def test_probabilities_that_learned_the_labels_leave_the_decision_to_the_arg_max():
    """They agree with 95 % of the labels, of which only half are right: lowest temperature."""
    rng = np.random.default_rng(3)
    labels = rng.integers(3, size=3000)
    believed = np.where(rng.random(3000) < 0.95, labels, (labels + 1) % 3)
    probs = np.full((3000, 3), 0.2) + 0.4 * np.eye(3)[believed]
    mixing = np.full((3, 3), 0.25) + 0.25 * np.eye(3)
    assert fit_temperature(probs, labels, mixing) == TEMPERATURES[0]
    suggested = score(probs, labels, mixing)["suggested_label"]
    np.testing.assert_array_equal(suggested, believed)


def test_out_of_reach_the_nearest_share_is_taken():
    """Labels that nothing explains: no temperature makes 99 % of them right."""
    probs = random_probs(1, rows=2000, sharpness=6)
    labels = np.random.default_rng(2).integers(3, size=2000)
    flat = np.full((3, 3), 1 / 3)
    shares = [
        label_posterior(soften(probs, t), labels, flat)[np.arange(2000), labels].mean()
        for t in TEMPERATURES
    ]
    found = fit_temperature(probs, labels, flat, noise_rate=0.01)
    assert found == TEMPERATURES[int(np.argmax(shares))]


def test_calibration_looks_at_evenly_spaced_rows():
    """500 honest rows, then 500 overconfident ones: what is looked at decides."""
    honest = random_probs(8, rows=500, sharpness=1.5)
    sharp = random_probs(9, rows=500, sharpness=1.5)
    probs = np.vstack([honest, sharp**8 / (sharp**8).sum(1, keepdims=True)])
    labels = np.concatenate([drawn_labels(honest, 1)[0], drawn_labels(sharp, 2)[0]])
    first = score(probs[:500], labels[:500], T, spec=ScoringSpec(True, 500))
    both = score(probs, labels, T, spec=ScoringSpec(True, 500))
    assert (first["label_quality"] != both["label_quality"].iloc[:500]).any()
    two = score(probs, labels, T, spec=ScoringSpec(True, 2))
    assert (two["label_quality"] != score(probs, labels, T)["label_quality"]).any()


def test_float32_and_inputs_left_alone():
    probs, labels = random_probs(0).astype(np.float32), np.arange(200) % 3
    copies = probs.copy(), labels.copy(), T.copy()
    score(probs, labels, T)
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
    with pytest.raises(TransitionError):
        score(probs, labels, np.ones((3, 3)))
    with pytest.raises(TransitionError, match=r"expected shape \(3, 3\)"):
        score(probs, labels, np.eye(2))
    with pytest.raises(ConfigError, match="calibration_rows"):
        ScoringSpec(calibration_rows=0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, np.nan, 0.5], "expected finite values"),
        ([-0.2, 0.7, 0.5], "expected no negative value"),
        ([2.0, 3.0, 5.0], "sum 10, expected a sum of 1 within 0.001"),
        ([0.0, 0.0, 0.0], "sum 0, expected a sum of 1 within 0.001"),
    ],
)
@pytest.mark.parametrize("temperature", [None, 1.0])
def test_rows_that_are_no_probabilities_are_refused(row, message, temperature, monkeypatch):
    monkeypatch.setattr("labelrepair.chunks.ELEMENTS", 12)
    probs, labels = random_probs(0, rows=30), np.zeros(30, np.int64)
    probs[17] = row
    with pytest.raises(DataError, match=f"^probs: row 17 is .*{message}"):
        score(probs, labels, T, temperature=temperature)


def test_scores_are_the_same_in_any_portion(monkeypatch):
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4), 300)
    given = rng.integers(0, 4, 300)
    transition = 0.6 * np.eye(4) + 0.1
    whole = score(probs, given, transition)
    monkeypatch.setattr("labelrepair.chunks.ELEMENTS", 12)

    pd.testing.assert_frame_equal(score(probs, given, transition), whole, check_exact=True)
