"""The gate's estimates against simulation and hand-worked values, and its rule."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from labelrepair.errors import ConfigError
from labelrepair.gate import (
    GateSpec,
    Judged,
    accuracy,
    corrected_hits,
    decide,
    most_frequent,
    paired_difference,
    paired_difference_by_class,
    transition_at,
)

T = np.array([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.1, 0.6]])
PRIOR = np.array([0.5, 0.3, 0.2])
EYE = np.eye(3)


def predictions(rng, true, right, classes=3):
    """Return predictions that are right with probability ``right[true]``, else another class."""
    other = (true + rng.integers(1, classes, len(true))) % classes
    return np.where(rng.random(len(true)) < np.asarray(right)[true], true, other)


def draw(rng, rows, ours=(0.9, 0.8, 0.7), theirs=(0.8, 0.8, 0.8)):
    """Return true labels, given labels noisy by T, and two models' predictions."""
    true = rng.choice(3, rows, p=PRIOR)
    noisy = (T[true].cumsum(axis=1) < rng.random(rows)[:, None]).sum(axis=1)
    return true, noisy, predictions(rng, true, ours), predictions(rng, true, theirs)


# -- estimates ---------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_expected_hit_over_the_given_label_is_the_hit_on_the_true_one(classes, seed):
    """sum_j T[i, j] inv(T)[j, p] = 1 if i = p else 0, for any invertible T."""
    rng = np.random.default_rng(seed)
    noise = rng.dirichlet(np.ones(classes), classes)
    transition = 0.6 * np.eye(classes) + 0.4 * noise
    given_labels = np.arange(classes)
    for predicted in range(classes):
        hits = corrected_hits(np.full(classes, predicted), given_labels, transition)
        np.testing.assert_allclose(transition @ hits, np.eye(classes)[predicted], atol=1e-9)


def test_corrected_accuracy_and_lead_are_unbiased_in_simulation():
    rng = np.random.default_rng(0)
    right = np.array([0.9, 0.8, 0.7])
    expected = float(PRIOR @ right)
    found, leads, naive = [], [], []
    for _ in range(400):
        _, noisy, ours, theirs = draw(rng, 200)
        found.append(corrected_hits(ours, noisy, T).mean())
        leads.append(found[-1] - corrected_hits(theirs, noisy, T).mean())
        naive.append((ours == noisy).mean())
    for values, truth in ((found, expected), (leads, expected - 0.8)):
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert abs(np.mean(values) - truth) < 4 * error
    assert abs(np.mean(naive) - expected) > 0.1  # what the correction is for


@pytest.mark.parametrize("rows", [60, 400])
def test_the_paired_interval_covers(rows):
    """Of 500 intervals at 95 %, more than 92 % contain the true lead, also of few rows."""
    rng = np.random.default_rng(1)
    truth = float(PRIOR @ (np.array([0.9, 0.8, 0.7]) - 0.8))
    inside = 0
    for _ in range(500):
        _, noisy, ours, theirs = draw(rng, rows)
        found = paired_difference(ours, theirs, noisy, T, 0.95)
        inside += found.low <= truth <= found.high
    assert inside / 500 > 0.92


def test_the_class_intervals_cover():
    rng = np.random.default_rng(2)
    truth = np.array([0.1, 0.0, -0.1])
    inside, known = np.zeros(3), np.zeros(3)
    for _ in range(300):
        _, noisy, ours, theirs = draw(rng, 500)
        for label, found in enumerate(paired_difference_by_class(ours, theirs, noisy, T, 0.95)):
            if found.value is not None:
                known[label] += 1
                inside[label] += found.low <= truth[label] <= found.high
    assert (known > 250).all()
    assert (inside / known > 0.92).all()


def test_without_noise_it_is_the_adjusted_wald_interval():
    """Bonett and Price 2012: p12 = (f12+1)/(n+2), p21 = (f21+1)/(n+2), here f = 12 and 5 of 100."""
    true = np.zeros(100, dtype=int)
    ours, theirs = true.copy(), true.copy()
    theirs[:12], ours[12:17] = 1, 1
    p12, p21 = 13 / 102, 6 / 102
    half = norm.ppf(0.975) * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / 102)

    found = paired_difference(ours, theirs, true, np.eye(2), 0.95)

    assert found.value == pytest.approx(0.07)
    assert found.low == pytest.approx(p12 - p21 - half, abs=2e-3)
    assert found.high == pytest.approx(p12 - p21 + half, abs=2e-3)


def test_models_that_never_disagree_still_have_an_interval():
    labels = np.zeros(50, dtype=int)

    found = paired_difference(labels, labels, labels, np.eye(2), 0.95)

    assert found.value == 0
    assert found.low < -0.03 < 0.03 < found.high


def test_accuracy_stays_in_the_unit_interval():
    labels = np.arange(300) % 3

    found = accuracy(labels, labels, EYE, 0.95)

    assert found.value == found.high == 1
    assert 0.97 < found.low < 1


def test_a_class_that_the_rows_do_not_show_has_no_estimate():
    labels = np.arange(90) % 2

    found = paired_difference_by_class(labels, labels, labels, EYE, 0.95)

    assert found[2].value is None
    assert found[0].value == 0


def test_most_frequent_class_is_of_the_true_labels():
    noisy = np.repeat([0, 1], [52, 48])  # 60 % are 1, of which 2 in 10 are given as 0 ...
    transition = np.array([[1.0, 0.0], [0.2, 0.8]])

    assert most_frequent(noisy, transition) == 1
    assert most_frequent(noisy, np.eye(2)) == 0


def test_transition_at_another_rate():
    uniform = np.arange(300) % 3
    symmetric = 0.7 * EYE + 0.3 / 2 * (1 - EYE)

    np.testing.assert_allclose(np.diag(transition_at(symmetric, 0.2, uniform)), 0.8)
    np.testing.assert_allclose(transition_at(symmetric, 5.0, uniform).sum(1), 1)
    assert (transition_at(symmetric, 5.0, uniform) >= 0).all()
    assert transition_at(EYE, 0.2, uniform) is not None


# -- the rule ----------------------------------------------------------------------------------


def judged(ours, theirs, rows=3000, seed=0, interval=(0.2, 0.3)):
    rng = np.random.default_rng(seed)
    _, noisy, first, second = draw(rng, rows, ours, theirs)
    return Judged(first, second, noisy, T, interval)


def clean(ours, theirs, rows=60):
    true = np.arange(rows) % 3
    rng = np.random.default_rng(3)
    return Judged(predictions(rng, true, ours), predictions(rng, true, theirs), true, EYE)


def test_a_better_model_passes():
    found = decide(judged([0.95] * 3, [0.8] * 3), None, GateSpec())

    assert found["passed"], found["reasons"]
    assert found["overall"]["low"] > 0.05
    assert found["rows"] == 3000


def test_a_worse_model_does_not_and_the_reason_has_the_numbers():
    found = decide(judged([0.75] * 3, [0.9] * 3), None, GateSpec())

    assert not found["passed"]
    assert "lead over the champion -0.1" in found["reasons"][0]
    assert "above -0.0100" in found["reasons"][0]


def test_few_rows_cannot_show_that_an_equal_model_is_not_worse():
    few, many = (Judged(x, x, x, EYE) for x in (np.arange(60) % 3, np.arange(6000) % 3))

    assert not decide(few, None, GateSpec())["passed"]
    assert decide(many, None, GateSpec())["passed"]


def test_the_margin_decides():
    equal = judged([0.9] * 3, [0.9] * 3)

    assert not decide(equal, None, GateSpec(margin=0.0))["passed"]
    assert decide(equal, None, GateSpec(margin=0.1, class_margin=0.5))["passed"]


def test_a_class_that_gets_worse_blocks_an_overall_better_model():
    case = judged([0.99, 0.99, 0.6], [0.8, 0.8, 0.9], rows=8000)

    found = decide(case, None, GateSpec())

    assert found["overall"]["low"] > 0
    assert not found["passed"]
    assert [reason[:7] for reason in found["reasons"]] == ["class 2"]
    assert decide(case, None, GateSpec(class_margin=0.6))["passed"]


def test_audited_rows_can_block():
    better = judged([0.95] * 3, [0.8] * 3)

    assert not decide(better, clean([0.3] * 3, [0.99] * 3), GateSpec())["passed"]
    found = decide(better, clean([0.95] * 3, [0.95] * 3), GateSpec())
    assert found["passed"]
    assert found["audited_rows"] == 60


def test_the_first_version_must_beat_chance():
    chance = np.zeros(3000, dtype=int)
    rng = np.random.default_rng(4)
    _, noisy, ours, _ = draw(rng, 3000)

    assert decide(Judged(ours, chance, noisy, T), None, GateSpec(), first=True)["passed"]
    blind = decide(Judged(chance, chance, noisy, T), None, GateSpec(), first=True)
    assert not blind["passed"]
    assert "most frequent class" in blind["reasons"][0]


def test_the_first_version_may_not_have_lost_a_class():
    rng = np.random.default_rng(4)
    true, noisy, ours, _ = draw(rng, 3000)
    chance = np.zeros(3000, dtype=int)
    lost = np.where(ours == 2, 1, ours)

    found = decide(Judged(lost, chance, noisy, T), None, GateSpec(), first=True)

    expected = (true == 2).sum()
    (reason,) = found["reasons"]
    told = re.fullmatch(r"class 2: predicted for 0 rows where (\d+) are expected", reason)
    assert abs(int(told[1]) - expected) < 0.1 * expected  # by T, from noisy labels
    # A champion without the class is no reason to keep out a challenger without it.
    assert decide(Judged(lost, lost, noisy, T), None, GateSpec(margin=0.1))["passed"]


def test_the_uncertainty_of_the_noise_rate_widens_the_interval():
    narrow = decide(judged([0.95] * 3, [0.8] * 3, interval=None), None, GateSpec())["overall"]
    wide = decide(judged([0.95] * 3, [0.8] * 3, interval=(0.1, 0.4)), None, GateSpec())["overall"]

    assert wide["low"] < narrow["low"]
    assert wide["high"] > narrow["high"]
    assert wide["value"] == narrow["value"]


def test_a_transition_that_hides_the_classes_cannot_decide():
    labels = np.arange(300) % 2
    blind = Judged(labels, labels, labels, np.full((2, 2), 0.5))

    found = decide(blind, None, GateSpec())

    assert not found["passed"]
    assert "condition number" in found["reasons"][0]


@pytest.mark.parametrize(
    "wrong", [{"margin": -0.1}, {"level": 1.0}, {"rows": "train"}, {"min_rows": 0}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GateSpec(**wrong)
