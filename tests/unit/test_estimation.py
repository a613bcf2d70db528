import re
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

from labelrepair.config import from_dict
from labelrepair.errors import ConfigError, DataError, TransitionError
from labelrepair.estimation import (
    METHODS,
    EstimationSpec,
    anchor_transition,
    check_probs,
    cleanlab_transition,
    confident_issues,
    confident_joint,
    confident_transition,
    curated_transition,
    estimate_noise,
    known_transition,
)
from labelrepair.estimation.accuracy import WEAK, cohens_kappa, probe_accuracy, promised_kappa
from labelrepair.noise import asymmetric, inject, symmetric
from labelrepair.transition import transition_error

# Seven rows, worked by hand below; the last is confident in neither class.
HAND_PROBS = np.array(
    [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8], [0.75, 0.25], [0.4, 0.6]]
)
HAND_LABELS = np.array([0, 0, 1, 1, 1, 1, 0])


def noisy_problem(transition, rows, sharpness=6.0, seed=0):
    """Return near-ideal noisy posteriors, true labels and given labels drawn from T."""
    rng = np.random.default_rng(seed)
    size = len(transition)
    true = np.arange(rows) % size
    logits = rng.normal(size=(rows, size)) + sharpness * np.eye(size)[true]
    clean = np.exp(logits - logits.max(axis=1, keepdims=True))
    clean /= clean.sum(axis=1, keepdims=True)
    return clean @ transition, true, inject(true, transition, rng)


def ideal_posteriors(transition, seed):
    """Return ``A @ T`` where A holds one one-hot row per class, shuffled."""
    rng = np.random.default_rng(seed)
    clean = np.vstack([rng.dirichlet(np.ones(len(transition)), size=40), np.eye(len(transition))])
    return rng.permutation(clean) @ transition


def naive_anchor(probs, quantile):
    """Patrini's released rule, sample by sample, on a copy of each column."""
    rows = []
    for label in range(probs.shape[1]):
        column = sorted(probs[:, label])
        theta = column[int(np.ceil(quantile * (len(column) - 1)))]
        best = max((p, row) for row, p in enumerate(probs[:, label]) if p < theta)[1]
        rows.append(probs[best] / probs[best].sum())
    return np.array(rows)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7))
def test_argmax_anchor_recovers_t_from_ideal_posteriors(seed, size):
    rows = np.random.default_rng(seed).dirichlet(np.ones(size), size=size)
    transition = 0.55 * np.eye(size) + 0.45 * rows
    probs = ideal_posteriors(transition, seed)
    estimated = anchor_transition(probs)
    np.testing.assert_allclose(estimated, transition, rtol=0, atol=1e-12)
    shuffled = np.random.default_rng(seed + 1).permutation(probs)
    np.testing.assert_allclose(anchor_transition(shuffled), estimated, rtol=0, atol=1e-15)


def test_quantile_rules_by_hand():
    # 11 rows, quantile 0.8: order statistic ceil(0.8 * 10) = 8 (0-based) is 0.8 in column 0 and
    # 1 - 0.2 in column 1; the code's rule takes the next lower one.
    first = np.arange(11) / 10
    probs = np.column_stack([first, 1 - first])
    at = anchor_transition(probs, 0.8, rule="at")
    np.testing.assert_allclose(at, [[0.8, 0.2], [0.2, 0.8]], rtol=0, atol=1e-15)
    code = anchor_transition(probs, 0.8, rule="code")
    np.testing.assert_allclose(code, [[0.7, 0.3], [0.3, 0.7]], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(anchor_transition(probs, 0.8), code)


@pytest.mark.parametrize("quantile", [0.9, 0.97, 0.995])
def test_quantile_anchor_equals_the_released_rule_without_overwriting(quantile):
    probs, _, _ = noisy_problem(symmetric(3, 0.2), 601, sharpness=2.0)
    expected = naive_anchor(probs, quantile)
    np.testing.assert_allclose(anchor_transition(probs, quantile), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("rule", ["code", "at"])
def test_anchors_of_coarse_probabilities_do_not_fall_to_the_next_lower_value(rule):
    """Trees and neighbours say 0, 0.2, ..., 1: a third of the rows tie at the quantile."""
    certain = np.repeat(np.eye(3), 100, axis=0)
    certain[::10] = [[0.6, 0.2, 0.2]] * 10 + [[0.2, 0.6, 0.2]] * 10 + [[0.2, 0.2, 0.6]] * 10
    np.testing.assert_array_equal(anchor_transition(certain, 0.97, rule=rule), np.eye(3))
    # Order statistics 3 and 4 of 0, .1, .4, .4, .8: a tie below the quantile is none at it.
    first = np.array([0.4, 0.8, 0.1, 0.4, 0.0])
    found = anchor_transition(np.column_stack([first, 1 - first]), 0.99, rule=rule)
    np.testing.assert_array_equal(found[0, 0], {"code": 0.4, "at": 0.8}[rule])


def test_columns_that_share_anchors_do_not_disturb_each_other():
    # The two largest rows of column 1 are the ones excluded for column 0; the released code
    # would read their column 0 as zero.
    probs = np.array(
        [
            [0.50, 0.45, 0.05],
            [0.46, 0.40, 0.14],
            [0.4, 0.39, 0.21],
            [0.1, 0.2, 0.7],
            [0.2, 0.1, 0.7],
        ]
    )
    before = probs.copy()
    with pytest.warns(UserWarning, match="rarest class"):
        estimated = anchor_transition(probs, 0.75)
    np.testing.assert_array_equal(probs, before)
    np.testing.assert_allclose(estimated[0], probs[2], rtol=0, atol=1e-15)
    np.testing.assert_allclose(estimated[1], probs[2], rtol=0, atol=1e-15)


def test_quantile_anchor_of_a_constant_column_falls_back_to_it():
    with pytest.warns(UserWarning, match="quantile"):
        np.testing.assert_array_equal(anchor_transition(np.full((4, 2), 0.5), 0.5), 0.5)


def test_anchor_renormalises_and_leaves_read_only_input_alone():
    probs = np.array([[0.9004, 0.1], [0.2, 0.8]])
    probs.flags.writeable = False
    np.testing.assert_allclose(anchor_transition(probs).sum(axis=1), 1.0, rtol=0, atol=1e-15)


def test_quantile_above_half_the_rarest_class_warns_and_collapses():
    transition = symmetric(100, 0.4)
    probs, _, _ = noisy_problem(transition, 5000, sharpness=12.0)
    with pytest.warns(UserWarning, match=r"0\.97 leaves 0\.03 of the rows .* share of 0\.0"):
        bad = anchor_transition(probs, 0.97)
    assert transition_error(bad, transition)["relative_frobenius"] > 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        good = anchor_transition(probs)
        ten, _, _ = noisy_problem(symmetric(10, 0.4), 5000, sharpness=12.0)
        ten_classes = anchor_transition(ten, 0.97)
    assert transition_error(good, transition)["relative_frobenius"] < 0.01
    assert transition_error(ten_classes, symmetric(10, 0.4))["relative_frobenius"] < 0.03


def test_anchor_refuses_bad_options():
    with pytest.raises(ConfigError, match=r"quantile: must lie in \[0, 1\], found 97"):
        anchor_transition(HAND_PROBS, 97)
    with pytest.raises(ConfigError, match="rule: unknown value 'text'"):
        anchor_transition(HAND_PROBS, 0.9, rule="text")


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        (np.array([0.5, 0.5]), r"shape \(N, C\).*found \(2,\)"),
        (np.empty((0, 3)), "N >= 1"),
        (np.ones((3, 1)), "C >= 2"),
        (np.array([[0.5, 0.5], [0.5, np.nan]]), "row 1 .*finite"),
        (np.array([[0.5, 0.5], [1.2, -0.2]]), "row 1 .*no negative"),
        (np.array([[0.5, 0.5], [0.5, 0.4]]), "row 1 .*sum 0.9, expected a sum of 1 within 0.001"),
    ],
)
def test_bad_probs_name_the_row(probs, message):
    for estimator in (anchor_transition, lambda p: confident_joint(p, np.zeros(len(p), int))):
        with pytest.raises(DataError, match=f"probs: .*{message}"):
            estimator(probs)


def test_probs_within_the_tolerance_pass_unchanged():
    probs = np.array([[0.5, 0.5009], [0.4, 0.6]])
    assert check_probs(probs) is probs
    assert check_probs(probs.astype(np.float32)).dtype == np.float64


def test_labels_are_checked_against_probs():
    with pytest.raises(DataError, match="given_labels: row 1 holds label 2"):
        confident_joint(HAND_PROBS, [0, 2, 0, 0, 0, 0, 0])
    with pytest.raises(DataError, match="given_labels: expected 7 rows like probs, found 2"):
        confident_joint(HAND_PROBS, [0, 1])


def test_curated_by_hand():
    true, given_labels = [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(curated_transition(true, given_labels, 2), [[0.75, 0.25], [0, 1]])
    # (3 + .5) / (4 + 1) and (0 + .5) / (2 + 1)
    smoothed = curated_transition(true, given_labels, 2, smoothing=0.5)
    np.testing.assert_allclose(smoothed, [[0.7, 0.3], [1 / 6, 5 / 6]], rtol=0, atol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_curated_class_without_rows_gets_the_identity_and_a_warning(smoothing):
    with pytest.warns(UserWarning, match=r"no row for true class \[1\]"):
        estimated = curated_transition([0, 0, 2], [0, 1, 2], 3, smoothing)
    np.testing.assert_array_equal(estimated[1], [0, 1, 0])


def test_curated_refuses_negative_smoothing():
    with pytest.raises(ConfigError, match="smoothing: must be at least 0"):
        curated_transition([0], [0], 2, smoothing=-1)


def test_confident_joint_by_hand():
    # Thresholds: class 0 (.9 + .8 + .4) / 3 = .7, class 1 (.3 + .9 + .8 + .25) / 4 = .5625.
    # Guesses: 0, 0, 0 (0.7 is reached), 1, 1, 0, 1.
    raw = confident_joint(HAND_PROBS, HAND_LABELS, calibrate=False)
    np.testing.assert_array_equal(raw, [[2, 2], [1, 2]])
    # Columns already hold the given counts 3 and 4.
    np.testing.assert_array_equal(confident_joint(HAND_PROBS, HAND_LABELS), raw)
    np.testing.assert_allclose(
        confident_transition(HAND_PROBS, HAND_LABELS), [[0.5, 0.5], [1 / 3, 2 / 3]], atol=1e-15
    )


def test_confident_joint_scales_up_for_rows_without_a_guess():
    # Thresholds .7 and .75. Given 0: rows .9, .5 -> guesses 0, none. Given 1: .9, .6 -> 1, none.
    probs = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.4, 0.6]])
    labels = np.array([0, 0, 1, 1])
    np.testing.assert_array_equal(confident_joint(probs, labels, calibrate=False), np.eye(2))
    np.testing.assert_array_equal(confident_joint(probs, labels), 2 * np.eye(2))


def untied(joint, labels, gap=1e-9):
    """Return whether no column's rounding cuts through a tie (cleanlab's sort is unstable)."""
    totals = np.bincount(labels, minlength=len(joint))
    scaled = joint * (totals / joint.sum(axis=0))
    remainders = np.sort(scaled - np.rint(scaled), axis=0)
    for column, missing in zip(remainders.T, totals - np.rint(scaled).sum(axis=0), strict=True):
        cut = int(-missing) % len(joint)  # entries from here up, or before here down
        if missing != 0 and column[cut] - column[cut - 1] <= gap:
            return False
    return True


@pytest.mark.parametrize(("size", "sharpness"), [(2, 2.0), (3, 1.0), (4, 3.0), (10, 2.0)])
@pytest.mark.parametrize("seed", range(6))
def test_confident_joint_equals_cleanlab(size, sharpness, seed):
    count = pytest.importorskip("cleanlab.count")
    rng = np.random.default_rng(seed)
    transition = 0.6 * np.eye(size) + 0.4 * rng.dirichlet(np.ones(size), size=size)
    probs, _, labels = noisy_problem(transition, 3000, sharpness, seed)
    raw = confident_joint(probs, labels, calibrate=False)
    np.testing.assert_array_equal(
        raw, count.compute_confident_joint(labels, probs, calibrate=False).T
    )
    ours, theirs = confident_joint(probs, labels), count.compute_confident_joint(labels, probs).T
    np.testing.assert_array_equal(ours.sum(axis=0), np.bincount(labels, minlength=size))
    assert np.abs(ours - theirs).max() <= (0 if untied(raw, labels) else 1)
    if untied(raw, labels):
        _, noise_matrix, _ = count.estimate_latent(theirs.T, labels)
        expected = noise_matrix.T
        np.testing.assert_allclose(confident_transition(probs, labels), expected, atol=1e-12)
        np.testing.assert_allclose(cleanlab_transition(probs, labels), expected, atol=1e-15)


@pytest.mark.parametrize(("size", "sharpness"), [(3, 1.0), (10, 2.0)])
def test_cleanlab_comparison_has_untied_cases(size, sharpness):
    found = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        transition = 0.6 * np.eye(size) + 0.4 * rng.dirichlet(np.ones(size), size=size)
        probs, _, labels = noisy_problem(transition, 3000, sharpness, seed)
        found += untied(confident_joint(probs, labels, calibrate=False), labels)
    assert found >= 1


def test_confident_joint_turned_the_right_way():
    # Only class 0 leaks, into class 2. Near-exact posteriors: with spread ones the method itself
    # is biased (about half of the leaked rows fall below the threshold of class 0).
    transition = asymmetric(3, {0: 2}, 0.4)
    probs, _, labels = noisy_problem(transition, 6000, sharpness=30.0)
    np.testing.assert_allclose(confident_transition(probs, labels), transition, rtol=0, atol=0.03)


@pytest.mark.parametrize("name", ["confident_joint", "cleanlab"])
def test_class_missing_from_the_given_labels(name):
    if name == "cleanlab":
        pytest.importorskip("cleanlab")
    estimator = {"confident_joint": confident_transition, "cleanlab": cleanlab_transition}[name]
    probs, _, labels = noisy_problem(symmetric(4, 0.2), 400)
    labels[labels == 2] = 3
    with pytest.warns(UserWarning, match=r"no row for true class \[2\]"):
        estimated = estimator(probs, labels)
    np.testing.assert_array_equal(estimated[2], [0, 0, 1, 0])
    np.testing.assert_allclose(estimated.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    joint = confident_joint(probs, labels)
    assert joint[2].sum() == joint[:, 2].sum() == 0


def test_missing_cleanlab_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(ConfigError, match=r"pip install labelrepair\[cleanlab\]"):
        cleanlab_transition(HAND_PROBS, HAND_LABELS)


# Rows of unequal noise, so that the rate depends on the prior; 0.3 under a uniform one.
TRUE_T = np.array(
    [[0.5, 0.3, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.05, 0.05, 0.8, 0.1], [0.05, 0.05, 0.1, 0.8]]
)
FIXED_T = tuple(map(tuple, TRUE_T.tolist()))


def run(method, seed=0, **options):
    probs, true, labels = noisy_problem(TRUE_T, 4000, sharpness=8.0)
    options = {"transition": FIXED_T, **options} if method == "given" else options
    spec = EstimationSpec(method=method, **{"bootstrap": 30, **options})
    curated = (true[:400], labels[:400]) if method == "curated" else None
    return estimate_noise(probs, labels, spec, np.random.default_rng(seed), curated)


@pytest.mark.parametrize("method", METHODS)
def test_estimate_noise_by_every_method(method):
    if method == "cleanlab":
        pytest.importorskip("cleanlab")
    estimate = run(method)
    assert estimate.method == method
    assert estimate.transition.shape == (4, 4)
    assert estimate.noise_rate == pytest.approx(0.3, abs=0.05)
    low, high = estimate.interval
    assert 0 <= low <= high <= 1
    assert high - low < 0.15
    np.testing.assert_allclose(estimate.class_prior, 0.25, rtol=0, atol=0.06)
    assert estimate.noise_rate == pytest.approx(
        estimate.class_prior @ (1 - np.diag(estimate.transition)), abs=1e-12
    )


def test_confident_joint_knows_the_prior_where_t_alone_does_not():
    """Classes 0 and 1 are mixed up alike: any split of their 40 rows gives the same counts."""
    true = np.repeat([0, 1, 2], [30, 10, 20])
    labels = np.concatenate([np.arange(40) % 2, np.full(20, 2)])
    probs = np.full((60, 3), 0.05)
    probs[np.arange(60), true] = 0.9
    spec = EstimationSpec(method="confident_joint", bootstrap=10)
    with pytest.warns(UserWarning, match="transition: condition number"):
        estimate = estimate_noise(probs, labels, spec, np.random.default_rng(0))
    np.testing.assert_allclose(estimate.transition, [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])
    np.testing.assert_allclose(estimate.class_prior, [1 / 2, 1 / 6, 1 / 3])
    assert estimate.noise_rate == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("transition", "number"),
    [
        ([[0.5005, 0.4995, 0.0], [0.4995, 0.5005, 0.0], [0.0, 0.0, 1.0]], "1e+03"),
        (np.full((3, 3), 1 / 3), "(inf|[0-9.]+e[+])"),
        ([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]], None),
    ],
)
def test_an_ill_conditioned_t_is_named_once_with_its_condition_number(transition, number):
    probs, labels = np.full((30, 3), 1 / 3), np.arange(30) % 3
    spec = known_transition(np.array(transition))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimate_noise(probs, labels, spec, np.random.default_rng(0))
    told = [str(warning.message) for warning in caught]
    assert len(told) == (number is not None)
    for message in told:
        assert re.match(f"transition: condition number {number.replace('1e+', '1e[+]')}", message)


@pytest.mark.parametrize("method", METHODS)
def test_an_ordinary_estimate_is_silent(method):
    if method == "cleanlab":
        pytest.importorskip("cleanlab")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(method)


def test_calibrated_joint_of_many_sparse_classes_keeps_every_count():
    rng = np.random.default_rng(0)
    true, labels = rng.integers(300, size=(2, 900))
    labels = np.where(rng.random(900) < 0.4, labels, true)
    probs = 0.001 * rng.dirichlet(np.ones(300), size=900) + 0.999 * np.eye(300)[true]
    joint = confident_joint(probs, labels)
    np.testing.assert_array_equal(joint.sum(axis=0), np.bincount(labels, minlength=300))
    assert (joint >= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_bootstrap_depends_on_the_generator_only(method):
    if method == "cleanlab":
        pytest.importorskip("cleanlab")
    first, again = run(method), run(method)
    assert first.interval == again.interval
    assert first.interval != run(method, seed=1).interval
    assert first.noise_rate == run(method, seed=1).noise_rate


def test_interval_of_the_confident_joint_has_the_binomial_width():
    low, high = run("confident_joint", bootstrap=400).interval
    # 4000 rows at 0.3: standard error 0.0072.
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.3 * 0.7 / 4000), rel=0.2)
    narrow = run("confident_joint", bootstrap=400, level=0.5).interval
    assert narrow[1] - narrow[0] < 0.5 * (high - low)


@pytest.mark.parametrize("method", ["confident_joint", "anchor", "curated"])
def test_every_element_of_t_has_an_interval(method):
    estimate = run(method, bootstrap=100)
    low, high = estimate.transition_interval
    assert low.shape == high.shape == (4, 4)
    assert (low >= 0).all()
    assert (low < high).all()
    assert (high <= 1).all()
    inside = (low <= estimate.transition) & (estimate.transition <= high)
    assert inside.mean() >= 0.9
    widest = run(method, bootstrap=100, level=0.5).transition_interval
    assert (widest[1] - widest[0]).mean() < 0.6 * (high - low).mean()


def test_interval_of_an_element_has_the_binomial_width():
    low, high = run("curated", bootstrap=400).transition_interval
    # 100 trusted rows per class, T[0, 0] = 0.5: standard error 0.05.
    assert high[0, 0] - low[0, 0] == pytest.approx(2 * 1.96 * 0.05, rel=0.2)


def test_a_t_that_is_not_resampled_has_no_intervals(monkeypatch):
    assert run("given").transition_interval is None
    monkeypatch.setattr("labelrepair.estimation.intervals.MAX_RESAMPLED", 30 * 16 - 1)
    assert run("confident_joint").transition_interval is None


@pytest.mark.filterwarnings("ignore:quantile")
def test_options_change_the_estimate():
    argmax, quantile = run("anchor", quantile=None), run("anchor", quantile=0.9)
    assert argmax.noise_rate != quantile.noise_rate
    assert quantile.noise_rate != run("anchor", quantile=0.9, rule="at").noise_rate
    assert run("curated").noise_rate != run("curated", smoothing=5.0).noise_rate


def test_estimate_noise_keeps_its_inputs_and_warns_once():
    probs, _, labels = noisy_problem(symmetric(4, 0.2), 400)
    labels[labels == 2] = 3
    before = probs.copy(), labels.copy()
    with pytest.warns(UserWarning, match="no row for true class") as caught:
        estimate_noise(probs, labels, EstimationSpec(), np.random.default_rng(0))
    assert len(caught) == 1
    np.testing.assert_array_equal(probs, before[0])
    np.testing.assert_array_equal(labels, before[1])


def test_estimate_noise_refuses_a_wrong_call():
    rng = np.random.default_rng(0)
    pair = (HAND_LABELS, HAND_LABELS)
    for method, curated in (("curated", None), ("confident_joint", pair)):
        with pytest.raises(ConfigError, match="curated: trusted rows go with method=curated"):
            estimate_noise(HAND_PROBS, HAND_LABELS, EstimationSpec(method=method), rng, curated)
    spec = EstimationSpec(method="given", transition=FIXED_T)
    with pytest.raises(TransitionError, match=r"estimation.transition: expected shape \(2, 2\)"):
        estimate_noise(HAND_PROBS, HAND_LABELS, spec, rng)
    with pytest.raises(DataError, match="probs: row 0"):
        estimate_noise(HAND_PROBS * 2, HAND_LABELS, EstimationSpec(), rng)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"method": "confident"}, "method: unknown value 'confident'; did you mean"),
        ({"method": "anchor", "quantile": 97.0}, "quantile: must lie in"),
        ({"rule": "text"}, "rule: unknown value"),
        ({"smoothing": -0.5}, "smoothing: must be at least 0"),
        ({"bootstrap": 1}, r"bootstrap: must lie in \[2, 10000\], found 1"),
        ({"bootstrap": 10**7}, r"bootstrap: must lie in \[2, 10000\], found 10000000"),
        ({"level": 1.0}, "level: must lie strictly"),
        ({"method": "given"}, "transition: needed for method=given"),
        ({"transition": [[1.0]]}, "transition: needed for method=given"),
        ({"quantil": 0.9}, "quantil: unknown option"),
    ],
)
def test_estimation_spec_refuses(raw, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(EstimationSpec, raw)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("elements", [8, 1 << 18])
def test_confident_issues_are_cleanlabs_at_any_portion(dtype, elements, monkeypatch):
    find = pytest.importorskip("cleanlab.filter").find_label_issues
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(5, 0.4), 700).astype(dtype)
    probs[:40] = 0.2  # several confident classes, and ties
    labels = rng.integers(0, 5, 700)
    monkeypatch.setattr("labelrepair.chunks.ELEMENTS", elements)

    flags = confident_issues(probs, labels)

    expected = find(labels, probs.astype(np.float64), filter_by="confident_learning", n_jobs=1)
    assert flags.tolist() == expected.tolist()
    assert 0 < flags.sum() < 700


# -- rare classes and the probe --------------------------------------------------------------------


def digits_with_a_mistyped_label(mistyped, count=300):
    """Return out-of-sample probabilities and given labels: 20 % wrong, some sevens a class 10."""
    draws, bunch = np.random.default_rng(0), load_digits()
    rows = draws.permutation(len(bunch.target))[:count]
    true = bunch.target[rows]
    wrong = draws.random(count) < 0.2
    given_labels = np.where(wrong, (true + draws.integers(1, 10, count)) % 10, true)
    given_labels[np.flatnonzero(true == 7)[:mistyped]] = 10
    probs = np.zeros((count, 11 if mistyped else 10))
    for part in range(5):
        held = np.arange(count) % 5 == part
        model = LogisticRegression(max_iter=300).fit(
            bunch.data[rows][~held] / 16, given_labels[~held]
        )
        probs[np.ix_(held, model.classes_)] = model.predict_proba(bunch.data[rows][held] / 16)
    return probs, given_labels, true


def test_of_classes_too_small_for_an_estimate_nothing_is_claimed():
    """A quarter of the labels is wrong; four of each class are given."""
    true = np.repeat(np.arange(50), 4)
    given_labels = true.copy()
    given_labels[::4] = (true[::4] + 1) % 50
    probs = np.full((200, 50), 0.05 / 49)
    probs[np.arange(200), true] = 0.95
    with pytest.warns(UserWarning, match=r"50 of 50 classes have fewer than 5 .*0, 1, .*9, \.\.\."):
        found = estimate_noise(probs, given_labels, EstimationSpec(), np.random.default_rng(0))
    assert found.interval == (0.0, 1.0)


def test_no_wrong_label_seen_is_not_none_there():
    """Clopper and Pearson: 0 of 100 leaves up to 3.6 %, by ``1 - 0.025 ** (1 / 100)``."""
    true = np.arange(100) % 4
    probs = np.full((100, 4), 0.01) + 0.96 * np.eye(4)[true]
    found = estimate_noise(probs, true, EstimationSpec(), np.random.default_rng(0))
    assert found.noise_rate == 0.0
    assert found.interval == (0.0, pytest.approx(0.03622, abs=1e-5))
    pairs = (np.arange(20) % 4, np.arange(20) % 4)
    spec = EstimationSpec(method="curated", smoothing=0.0)
    few = estimate_noise(probs, true, spec, np.random.default_rng(0), pairs)
    assert few.interval == (0.0, pytest.approx(0.16843, abs=1e-5)), "20 trusted rows tell less"


@pytest.mark.parametrize("mistyped", [1, 2])
def test_a_mistyped_label_is_no_class_that_other_rows_are_taken_for(mistyped):
    plain, odd = (
        estimate_noise(
            *digits_with_a_mistyped_label(n)[:2], EstimationSpec(), np.random.default_rng(0)
        )
        for n in (0, mistyped)
    )
    assert odd.noise_rate == pytest.approx(plain.noise_rate, abs=0.03)
    assert odd.class_prior[10] < 0.02


def test_the_accuracy_of_the_probe_is_told_without_the_truth():
    probs, given_labels, true = digits_with_a_mistyped_label(0, count=1797)

    found = estimate_noise(probs, given_labels, EstimationSpec(), np.random.default_rng(0))

    assert found.probe_accuracy == pytest.approx((probs.argmax(1) == true).mean(), abs=0.03)
    # Labels that have nothing to do with what is predicted say nothing.
    coins = np.array([[0.6, 0.4], [0.6, 0.4], [0.4, 0.6], [0.4, 0.6]] * 10)
    assert probe_accuracy(coins, np.array([0, 1, 0, 1] * 10)) is None


def test_the_accuracy_of_the_probe_by_hand():
    # The surest fifth of ten rows predicted to be 0 are two, labelled 0 and 1; of ten 1s, 1 and 1.
    probs = np.array([[0.9, 0.1]] * 2 + [[0.8, 0.2]] * 8 + [[0.1, 0.9]] * 2 + [[0.2, 0.8]] * 8)
    labels = np.array([0, 1] + [0] * 6 + [1, 1] + [1] * 10)
    # T = [[1/2, 1/2], [0, 1]], its inverse [[2, -1], [0, 1]]: hits of 2, 0 and 1.
    assert probe_accuracy(probs, labels) == pytest.approx(min(1.0, (7 * 2 + 10) / 20))
    fewer = np.where(np.arange(20) < 4, labels, 1)
    assert probe_accuracy(probs, fewer) == pytest.approx((3 * 2 + 10) / 20)


def test_kappa_is_scikit_learns():
    probs, given_labels, _ = digits_with_a_mistyped_label(0, count=1797)

    found = estimate_noise(probs, given_labels, EstimationSpec(), np.random.default_rng(0))

    assert found.kappa == pytest.approx(cohen_kappa_score(probs.argmax(1), given_labels))
    assert found.kappa > 2 * WEAK


@pytest.mark.parametrize(
    ("transition", "prior", "kappa"),
    [
        (np.eye(3), [0.2, 0.3, 0.5], 1.0),
        (symmetric(4, 0.1), [0.25] * 4, (0.9 - 0.25) / 0.75),
        # 0.8 and 0.2 of two classes, the second always given as the first: all by chance.
        (np.array([[1.0, 0.0], [1.0, 0.0]]), [0.8, 0.2], 0.0),
        (np.eye(2), [1.0, 0.0], 0.0),  # nothing to tell apart
    ],
)
def test_the_kappa_that_an_estimate_promises(transition, prior, kappa):
    assert promised_kappa(transition, prior) == pytest.approx(kappa)


@pytest.mark.parametrize(
    ("predicted", "labels", "kappa"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 1.0),
        ([0, 0, 1, 1], [0, 1, 0, 1], 0.0),
        ([0, 0, 1, 1], [1, 1, 0, 0], -1.0),
        ([0, 0, 0, 1], [0, 0, 1, 1], 0.5),  # 3/4 agree, 1/2 would by chance
        ([0, 0, 0, 0], [0, 0, 0, 0], 0.0),  # nothing to tell apart
        ([0, 0, 0, 0], [0, 0, 0, 1], 0.0),
    ],
)
def test_kappa_by_hand(predicted, labels, kappa):
    assert cohens_kappa(np.eye(2)[predicted], np.array(labels)) == pytest.approx(kappa)
