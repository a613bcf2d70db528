import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelrepair import transition
from labelrepair.errors import ConfigError, DataError, TransitionError
from labelrepair.noise import CLASS_MAPS, asymmetric, binary_text, pair_flip, symmetric
from labelrepair.transition import (
    actual_transition,
    check_labels,
    check_transition,
    condition_number,
    count_pairs,
    invert_transition,
    noise_rate_of,
    paired_share,
    solve_prior,
    transition_error,
)

T3 = np.array([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.25, 0.25, 0.5]])


@st.composite
def transitions(draw, diagonally_dominant=False):
    size = draw(st.integers(2, 6))
    raw = draw(arrays(np.float64, (size, size), elements=st.floats(0.01, 1.0)))
    rows = raw / raw.sum(axis=1, keepdims=True)
    return 0.6 * np.eye(size) + 0.4 * rows if diagonally_dominant else rows


@given(transitions())
def test_check_returns_equal_copy_with_rows_summing_to_one(matrix):
    checked = check_transition(matrix)
    assert checked is not matrix
    assert not np.shares_memory(checked, matrix)
    np.testing.assert_allclose(checked.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(checked, matrix, rtol=0, atol=1e-12)


def test_check_renormalises_rows_typed_with_rounded_numbers():
    checked = check_transition([[0.333333, 0.333333, 0.333333], [0, 1, 0], [0, 0, 1]])
    assert checked.dtype == np.float64
    np.testing.assert_allclose(checked[0], 1 / 3, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1.0, 0.0], [0.5, 0.499998]], r"row 1 .*sum 0\.999998$"),
        ([[1.0, 0.0], [0.5, 0.49999]], r"row 1 .*sum 0\.99999$"),
        ([[1.1, -0.1], [0.5, 0.5]], "must not be negative; row 0"),
        ([[1.0, 0.0], [np.nan, 1.0]], "must be finite; row 1"),
        ([[1.0, 0.0], [np.inf, 0.0]], "must be finite; row 1"),
        ([[1.0, 0.0]], r"square matrix, found shape \(1, 2\)"),
        ([1.0], r"found shape \(1,\)"),
        ([], r"found shape \(0,\)"),
        ([[1.0], [0.5, 0.5]], "square matrix of numbers"),
        ([["a", "b"], ["c", "d"]], "square matrix of numbers"),
        ([[0.9, 0.4], [0.1, 0.6]], r"may be the transpose; row 0 .*sum 1\.3"),
    ],
)
def test_check_names_what_is_wrong(matrix, message):
    with pytest.raises(TransitionError, match=message):
        check_transition(matrix, name="mine")
    with pytest.raises(TransitionError, match=r"^mine: "):
        check_transition(matrix, name="mine")


def test_check_refuses_another_number_of_classes():
    with pytest.raises(TransitionError, match=r"expected shape \(3, 3\), found \(2, 2\)"):
        check_transition(np.eye(2), num_classes=3)


@settings(deadline=None)
@given(transitions(diagonally_dominant=True))
def test_inverse_times_transition_is_the_identity(matrix):
    inverse = invert_transition(matrix)
    np.testing.assert_allclose(matrix @ inverse, np.eye(len(matrix)), rtol=0, atol=1e-10)
    np.testing.assert_allclose(inverse.sum(axis=1), 1.0, rtol=0, atol=1e-10)


def test_inverse_of_a_hand_worked_matrix():
    # det = 0.9 * 0.8 - 0.1 * 0.2 = 0.7
    expected = np.array([[0.8, -0.1], [-0.2, 0.9]]) / 0.7
    inverse = invert_transition([[0.9, 0.1], [0.2, 0.8]])
    np.testing.assert_allclose(inverse, expected, rtol=0, atol=1e-14)
    assert inverse.dtype == np.float64


@pytest.mark.parametrize(
    "matrix",
    [
        symmetric(10, 0.9),
        symmetric(2, 0.5),
        symmetric(10, 1.0, inclusive=True),
        asymmetric(10, CLASS_MAPS["mnist"], 0.5),
        asymmetric(10, CLASS_MAPS["fashion_mnist"], 0.5),
        asymmetric(10, CLASS_MAPS["cifar10"], 0.5),
        asymmetric(100, CLASS_MAPS["cifar100_next"], 0.5),
        pair_flip(10, 0.5),
        binary_text(0.95),
    ],
)
def test_singular_noise_is_refused_with_its_condition_number(matrix):
    with pytest.raises(TransitionError, match=r"condition number (inf|[0-9.]+e[+])"):
        invert_transition(matrix)


def test_odd_rings_at_one_half_are_invertible():
    for matrix in (pair_flip(5, 0.5), asymmetric(100, CLASS_MAPS["cifar100_superclass"], 0.5)):
        inverse = invert_transition(matrix)
        np.testing.assert_allclose(inverse @ matrix, np.eye(len(matrix)), rtol=0, atol=1e-12)


def test_max_condition_decides():
    with pytest.raises(TransitionError, match="condition number 9, expected below 8"):
        invert_transition(symmetric(10, 0.8), max_condition=8)
    with pytest.raises(ConfigError, match="max_condition"):
        invert_transition(np.eye(2), max_condition=0)


@pytest.mark.parametrize(("rate", "expected"), [(0.2, 9 / 7), (0.4, 1.8), (0.6, 3.0), (0.8, 9.0)])
def test_condition_number_of_symmetric_noise(rate, expected):
    assert condition_number(symmetric(10, rate)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (pair_flip(10, 0.4), 5.0),
        (pair_flip(10, 0.45), 10.0),
        (asymmetric(10, CLASS_MAPS["cifar10"], 0.2), 1.7),
        (asymmetric(10, CLASS_MAPS["cifar10"], 0.4), 5.5),
        (asymmetric(10, CLASS_MAPS["cifar10"], 0.6), 5.9),
    ],
)
def test_condition_number_of_published_noise(matrix, expected):
    assert condition_number(matrix) == pytest.approx(expected, abs=0.05)


@given(transitions(diagonally_dominant=True), st.integers(0, 2**32 - 1))
def test_solve_prior_inverts_the_mixing(matrix, seed):
    prior = np.random.default_rng(seed).dirichlet(np.ones(len(matrix)))
    np.testing.assert_allclose(solve_prior(matrix, prior @ matrix), prior, rtol=0, atol=1e-9)


def test_solve_prior_accepts_counts_and_stays_non_negative():
    np.testing.assert_allclose(solve_prior(np.eye(2), [30, 10]), [0.75, 0.25], rtol=0, atol=1e-15)
    # No prior gives class 0 less than a share of 0.2 here: the nearest is all of class 1.
    np.testing.assert_allclose(solve_prior([[0.9, 0.1], [0.2, 0.8]], [0.1, 0.9]), [0, 1])


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        ([0.5, 0.5, 0.0], r"expected 2 values, found shape \(3,\)"),
        ([-1.0, 2.0], "non-negative"),
        ([0, 0], "positive sum"),
        ([np.nan, 1.0], "non-negative"),
    ],
)
def test_solve_prior_names_bad_frequencies(frequencies, message):
    with pytest.raises(DataError, match=f"given_frequencies: .*{message}"):
        solve_prior(np.eye(2), frequencies)


def test_solve_prior_names_labels_that_are_ruled_out():
    with pytest.raises(TransitionError, match="no sample is ever labelled class 1: all of the"):
        solve_prior([[1, 0], [1, 0]], [0, 20])


def test_noise_rate_weights_the_classes():
    assert noise_rate_of(T3) == pytest.approx((0.3 + 0.1 + 0.5) / 3, abs=1e-15)
    # Counts 2, 1, 1: 0.5 * 0.3 + 0.25 * 0.1 + 0.25 * 0.5
    assert noise_rate_of(T3, prior=[2, 1, 1]) == pytest.approx(0.3, abs=1e-15)
    seen = np.array([0.5, 0.25, 0.25]) @ T3
    assert noise_rate_of(T3, given_frequencies=seen) == pytest.approx(0.3, abs=1e-12)


def test_noise_rate_of_the_identity_is_exactly_zero():
    assert noise_rate_of(np.eye(7), prior=[0.1, 0.2, 0.1, 0.1, 0.3, 0.1, 0.1]) == 0.0


def test_noise_rate_refuses_both_priors_and_a_bad_one():
    with pytest.raises(ConfigError, match="found both"):
        noise_rate_of(T3, prior=[1, 1, 1], given_frequencies=[1, 1, 1])
    with pytest.raises(DataError, match="prior: expected 3 values"):
        noise_rate_of(T3, prior=[1, 1])


def test_transition_error_by_hand():
    # Differences 0.2 in four entries; the norm of the identity is sqrt(2).
    error = transition_error(symmetric(2, 0.2), np.eye(2))
    assert error["mean_absolute"] == pytest.approx(0.2, abs=1e-15)
    assert error["relative_frobenius"] == pytest.approx(0.4 / np.sqrt(2), abs=1e-15)
    assert transition_error(T3, T3) == {"mean_absolute": 0.0, "relative_frobenius": 0.0}


def test_transition_error_refuses_unequal_shapes():
    with pytest.raises(TransitionError, match="estimated: expected shape"):
        transition_error(np.eye(2), np.eye(3))


def test_actual_transition_counts_true_rows():
    true = np.array([0, 0, 0, 0, 1, 1])
    given_labels = np.array([0, 0, 1, 2, 1, 0])
    np.testing.assert_array_equal(
        count_pairs(true, given_labels, 3), [[2, 1, 1], [1, 1, 0], [0, 0, 0]]
    )
    # Class 2 has no row: identity.
    np.testing.assert_array_equal(
        actual_transition(true, given_labels, 3), [[0.5, 0.25, 0.25], [0.5, 0.5, 0], [0, 0, 1]]
    )


def test_labels_are_checked():
    with pytest.raises(DataError, match=r"true_labels: row 2 holds label 3, expected 0\.\.2"):
        actual_transition([0, 1, 3], [0, 1, 2], 3)
    with pytest.raises(DataError, match="given_labels: row 0 holds label -1"):
        actual_transition([0, 1], [-1, 2], 3)
    with pytest.raises(DataError, match="given_labels: expected 3 rows"):
        actual_transition([0, 1, 2], [0, 1], 3)
    with pytest.raises(DataError, match="expected integers, found dtype float64"):
        check_labels([0.0, 1.0], 2)
    with pytest.raises(DataError, match=r"one label per row, found shape \(1, 2\)"):
        check_labels([[0, 1]], 2)


def test_paired_share():
    assert paired_share(np.eye(3)) == 0.0
    assert paired_share(symmetric(10, 0.5)) == pytest.approx(1 / 9)
    assert paired_share([[0.6, 0.4, 0], [0, 1, 0], [0, 0.1, 0.9]]) == pytest.approx(1.0)
    # Two of three wrong labels of class 0, half of class 1's: (2 * 0.2 + 1 * 0.2) / (2 * 0.3 + 0.4)
    mixed = [[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0, 0, 1]]
    assert paired_share(mixed, [2, 1, 5]) == pytest.approx(0.6)


def test_the_condition_of_many_classes_is_not_looked_for(monkeypatch):
    singular = np.full((4, 4), 0.25)
    with pytest.warns(UserWarning, match="condition number"):
        transition.warn_if_doubtful(singular)
    monkeypatch.setattr(transition, "MAX_CONDITION_CLASSES", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transition.warn_if_doubtful(singular)
