import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import truncnorm

from labelrepair.errors import ConfigError, DataError
from labelrepair.feature_noise import instance_dependent, pseudo_labels
from labelrepair.transition import count_pairs


def rng(seed=0):
    return np.random.default_rng(seed)


def flip(rows=20_000, classes=5, width=6, rate=0.4, spread=0.1, seed=0, features=None):
    true = np.arange(rows) % classes
    features = rng(9).normal(size=(rows, width)) if features is None else features
    return true, instance_dependent(true, features, classes, rate, rng(seed), spread)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.45, 0.9])
def test_the_mean_rate_is_that_of_the_truncated_normal(rate):
    true, found = flip(rate=rate)
    expected = truncnorm.mean(-rate / 0.1, (1 - rate) / 0.1, rate, 0.1)
    error = np.sqrt(expected * (1 - expected) / len(true))
    assert (found != true).mean() == pytest.approx(expected, abs=4 * error)
    assert found.dtype == np.int64
    assert set(found) == set(range(5))


def test_rates_of_none_and_all_are_kept():
    true, found = flip(rate=0.0)
    assert np.array_equal(found, true)
    true, found = flip(rate=1.0)
    assert not (found == true).any()


def test_where_a_sample_goes_follows_its_features():
    """Copies of one sample, flipped, mostly become one class; another sample's another."""
    prototypes = 10 * rng(4).normal(size=(8, 6))
    features = np.repeat(prototypes, 500, axis=0)
    true = np.zeros(len(features), dtype=np.int64)
    found = instance_dependent(true, features, 5, 0.9, rng(1))
    flipped = found.reshape(8, 500)
    targets = [np.bincount(part[part != 0], minlength=5) for part in flipped]
    shares = np.array([counts.max() / counts.sum() for counts in targets])
    assert (shares > 0.9).mean() > 0.7
    assert len({int(counts.argmax()) for counts in targets}) > 1


def test_each_class_has_a_projection_of_its_own():
    """One and the same sample under each true class: who of classes 2 and 3 attracts it differs."""
    features = np.repeat(0.3 * rng(4).normal(size=(1, 6)), 8000, axis=0)
    true = np.arange(8000) % 4
    counts = count_pairs(true, instance_dependent(true, features, 4, 0.9, rng(2)), 4)
    odds = counts[:2, 2] / counts[:2, 3]
    assert abs(np.log(odds[0] / odds[1])) > 0.3  # about four standard errors


def test_the_flip_probability_is_each_samples_own():
    """Without spread to speak of, the count is binomial; with it the rates themselves vary."""
    rates = []
    for spread in (1e-6, 0.3):
        draws = np.stack([flip(rows=50, rate=0.5, spread=spread, seed=s)[1] for s in range(200)])
        rates.append((draws != np.arange(50) % 5).mean())
    assert rates == pytest.approx([0.5, 0.5], abs=0.02)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 8), st.integers(0, 60), st.floats(0, 1), st.integers(0, 1000))
def test_labels_stay_in_range_and_repeat(classes, rows, rate, seed):
    true = rng(seed).integers(classes, size=rows)
    features = rng(seed).normal(size=(rows, 3)) * 100
    before = true.copy()
    first, again = (instance_dependent(true, features, classes, rate, rng(seed)) for _ in range(2))
    assert ((first >= 0) & (first < classes)).all()
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(true, before)


def test_images_are_seen_as_a_network_sees_them():
    images = rng(1).integers(256, size=(2000, 1, 3, 3), dtype=np.uint8)
    true = np.arange(2000) % 4
    from_bytes = instance_dependent(true, images, 4, 0.5, rng(3))
    from_floats = instance_dependent(true, images.reshape(2000, 9) / 255.0, 4, 0.5, rng(3))
    np.testing.assert_array_equal(from_bytes, from_floats)


def test_chunks_do_not_matter(monkeypatch):
    whole = flip(rows=1000)[1]
    monkeypatch.setattr("labelrepair.feature_noise.CHUNK_ROWS", 7)
    np.testing.assert_array_equal(flip(rows=1000)[1], whole)


def test_bad_arguments_are_named():
    with pytest.raises(ConfigError, match=r"rate: must lie in \[0, 1\]"):
        flip(rate=1.2)
    with pytest.raises(ConfigError, match="spread: must be greater than 0"):
        flip(spread=0)
    with pytest.raises(DataError, match="features: 3 rows for 2 labels"):
        instance_dependent(np.array([0, 1]), np.ones((3, 2)), 2, 0.1, rng())
    tokens = np.ones((2, 3), np.int32)
    with pytest.raises(DataError, match=r"int32 token numbers .* set embedding"):
        instance_dependent(np.array([0, 1]), tokens, 2, 0.1, rng())
    with pytest.raises(DataError, match="true_labels: row 1 holds label 2"):
        instance_dependent(np.array([0, 2]), np.ones((2, 2)), 2, 0.1, rng())


# -- pseudo labels ----------------------------------------------------------------------------


def blobs(spread, rows=300):
    true = np.arange(rows) % 3
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    return true, centres[true] + spread * rng(2).normal(size=(rows, 2))


def test_clear_clusters_become_the_classes():
    true, features = blobs(0.5)
    np.testing.assert_array_equal(pseudo_labels(true, features, 3, seed=0), true)


def test_overlapping_clusters_are_wrong_at_their_borders_only():
    true, features = blobs(2.5)
    found = pseudo_labels(true, features, 3, seed=0)
    right = found == true
    assert 0.5 < right.mean() < 0.98
    margin = np.sort(np.linalg.norm(features[:, None] - [[0, 0], [6, 0], [0, 6]], axis=-1))
    doubt = margin[:, 0] - margin[:, 1]
    assert doubt[~right].mean() > doubt[right].mean()


def test_every_class_keeps_a_cluster():
    """Two of the three clusters hold mostly class 0: a majority vote would leave a class empty."""
    true = np.array([0] * 90 + [1] * 20 + [2] * 10)
    features = np.concatenate([np.zeros(45), np.full(45, 10.0), np.full(30, 20.0)])[:, None]
    assert set(pseudo_labels(true, features, 3, seed=0)) == {0, 1, 2}


def test_the_matching_keeps_most_labels_right():
    true, features = blobs(0.5)
    renamed = (true + 1) % 3
    np.testing.assert_array_equal(pseudo_labels(renamed, features, 3, seed=5), renamed)


def test_pseudo_labels_refuse_what_does_not_fit():
    with pytest.raises(DataError, match="features: 2 samples for 3 clusters"):
        pseudo_labels(np.array([0, 1]), np.ones((2, 1)), 3, seed=0)
    with pytest.raises(DataError, match="features: 1 rows for 2 labels"):
        pseudo_labels(np.array([0, 1]), np.ones((1, 1)), 2, seed=0)
