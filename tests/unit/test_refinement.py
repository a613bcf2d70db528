from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelrepair.errors import ConfigError
from labelrepair.estimation import intervals
from labelrepair.refinement import (
    RefinementSpec,
    calibrated,
    fit_likelihood,
    fit_transition,
    matched,
    refined_noise,
    refining,
)
from labelrepair.scoring import soften
from labelrepair.training import TrainingConfig
from labelrepair.training.probe import ProbeSpec


def world(rate=0.3, count=20_000, classes=4, seed=0, sharpness=2.0):
    """Posteriors, true labels drawn from them, and given labels drawn by T."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(count, classes))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (probs.cumsum(1) > rng.random((count, 1))).argmax(1)
    transition = np.eye(classes) * (1 - rate) + np.roll(np.eye(classes), 1, axis=1) * rate
    given_labels = (transition.cumsum(1)[truth] > rng.random((count, 1))).argmax(1)
    return probs, truth, given_labels, transition


def test_matched_probabilities_give_a_lost_class_back():
    probs, truth, _, _ = world(sharpness=3.0)
    lost = probs * [1.0, 1.0, 1.0, 1e-3]
    lost /= lost.sum(1, keepdims=True)
    assert (lost.argmax(1) == 3).mean() < 0.05
    found = matched(lost.astype(np.float32), np.bincount(truth) / len(truth))
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(found, probs, rtol=0, atol=0.02)
    hopeless = matched(np.eye(3)[np.zeros(6, int)], np.array([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(hopeless, np.tile([0.5, 0.5, 0.0], (6, 1)))


def test_em_finds_the_transition_matrix_of_calibrated_probabilities():
    probs, _, labels, transition = world()
    start = np.full((4, 4), 0.2 / 3)
    np.fill_diagonal(start, 0.8)
    found, _ = fit_transition(probs, labels, start, iterations=200)
    np.testing.assert_allclose(found.sum(1), 1)
    assert np.abs(found - transition).max() < 0.03


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(0.05, 0.6))
def test_no_step_of_em_lowers_the_likelihood(seed, rate):
    probs, _, labels, _ = world(rate, count=300, seed=seed)
    transition = np.full((4, 4), 0.3 / 3)
    np.fill_diagonal(transition, 0.7)
    values = []
    for _ in range(5):
        transition, value = fit_transition(probs, labels, transition, iterations=1)
        values.append(value)
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(values))


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_the_likelihood_finds_the_temperature(power):
    """Too sharp probabilities (power 2) are softened, too soft ones sharpened."""
    probs, _, labels, transition = world()
    fit = fit_likelihood(soften(probs, 1 / power), labels, transition, RefinementSpec())
    assert fit.temperature == power
    again = calibrated(soften(probs, 1 / power), fit.temperature)
    np.testing.assert_allclose(again, probs, atol=1e-4)


def test_a_known_transition_matrix_is_kept():
    probs, _, labels, transition = world()
    wrong = np.roll(transition, 1, axis=0)
    kept = fit_likelihood(probs, labels, wrong, RefinementSpec(), known=True)
    np.testing.assert_array_equal(kept.transition, wrong)


def test_exact_zeros_and_ones_are_finite():
    probs = np.eye(3)[[0, 1, 2, 0]]
    fit = fit_likelihood(probs, np.array([0, 1, 2, 1]), np.eye(3), RefinementSpec())
    assert np.isfinite(fit.transition).all()
    assert np.isfinite(fit.value)
    assert np.isfinite(calibrated(probs, 4.0)).all()


def test_the_interval_holds_the_noise_rate():
    probs, truth, labels, transition = world(rate=0.3)
    spec = RefinementSpec()
    estimate = refined_noise(probs, labels, transition, spec, np.random.default_rng(0))
    low, high = estimate.interval
    assert low < estimate.noise_rate < high
    assert high - low < 0.02
    assert abs(estimate.noise_rate - (labels != truth).mean()) < 0.01
    lower, upper = estimate.transition_interval
    assert ((lower <= transition + 0.02) & (transition - 0.02 <= upper)).all()


def test_a_second_look_that_sees_no_wrong_label_leaves_room_for_some():
    labels = np.arange(192) % 3
    found = refined_noise(
        np.eye(3)[labels], labels, np.eye(3), RefinementSpec(), np.random.default_rng(0)
    )
    assert found.noise_rate == pytest.approx(0.0, abs=1e-6)
    assert found.interval[1] == pytest.approx(0.01903, abs=1e-5)


def test_elements_of_many_classes_have_no_intervals(monkeypatch):
    """As the first estimate's: they would take gigabytes."""
    probs, _, labels, transition = world(rate=0.3)
    spec, rngs = RefinementSpec(), [np.random.default_rng(0) for _ in range(2)]
    small = refined_noise(probs, labels, transition, spec, rngs[0])
    monkeypatch.setattr(intervals, "MAX_RESAMPLED", spec.bootstrap * transition.size - 1)
    large = refined_noise(probs, labels, transition, spec, rngs[1])
    assert large.transition_interval is None
    assert large.interval == small.interval


def test_only_images_are_shifted_and_training_is_longer():
    probe = ProbeSpec(training=TrainingConfig())
    images = refining(probe, RefinementSpec(), torch.zeros(1, 1, 28, 28)).training
    vectors = refining(probe, RefinementSpec(longer=0.1), torch.zeros(1, 64)).training
    assert images.augment.crop == 2
    assert (images.schedule.epochs, images.schedule.decay_from) == (600, 300)
    assert vectors.augment.crop == 0
    assert vectors.schedule.epochs == 20


@pytest.mark.parametrize(
    "wrong", [{"rounds": -1}, {"folds": 1}, {"shift": 0.5}, {"longer": 0.0}, {"level": 1.0}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RefinementSpec(**wrong)
