from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelrepair.config import from_dict
from labelrepair.errors import ConfigError, DataError, TransitionError
from labelrepair.noise import (
    CLASS_MAPS,
    KINDS,
    MODES,
    OF_FEATURES,
    NoiseSpec,
    asymmetric,
    binary_text,
    build_transition,
    corrupt,
    inject,
    pair_flip,
    symmetric,
)
from labelrepair.transition import count_pairs, noise_rate_of

MAP_SIZES = {
    "mnist": (10, 5),
    "fashion_mnist": (10, 5),
    "cifar10": (10, 5),
    "cifar100_superclass": (100, 100),
    "cifar100_next": (100, 100),
    "cifar100_block5": (100, 100),
}
rates = st.floats(0.0, 1.0)
sizes = st.integers(2, 12)


def random_transition(seed, size):
    return np.random.default_rng(seed).dirichlet(np.full(size, 0.5), size=size)


@given(sizes, rates)
def test_rows_sum_to_one_and_the_diagonal_is_one_minus_rate(size, rate):
    for matrix, changed in (
        (symmetric(size, rate), rate),
        (symmetric(size, rate, inclusive=True), rate * (size - 1) / size),
        (pair_flip(size, rate), rate),
    ):
        np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=0, atol=1e-12)
        np.testing.assert_allclose(np.diag(matrix), 1.0 - changed, rtol=0, atol=1e-12)
        assert (matrix >= 0).all()


@given(sizes, rates)
def test_inclusive_is_exclusive_at_the_real_rate(size, rate):
    inclusive = symmetric(size, rate, inclusive=True)
    expected = (1 - rate) * np.eye(size) + rate / size
    np.testing.assert_allclose(inclusive, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(inclusive, symmetric(size, rate * (size - 1) / size), atol=1e-12)


def test_published_inclusive_rates():
    np.testing.assert_allclose(symmetric(10, 0.5, inclusive=True), symmetric(10, 0.45), atol=1e-15)
    for nominal, real in ((0.1, 0.09), (0.3, 0.27), (0.5, 0.45)):
        found = noise_rate_of(symmetric(10, nominal, inclusive=True))
        assert found == pytest.approx(real, abs=1e-12)


def test_pair_flip_goes_to_the_next_class():
    expected = [[0.6, 0.4, 0], [0, 0.6, 0.4], [0.4, 0, 0.6]]
    np.testing.assert_array_equal(pair_flip(3, 0.4), expected)


def test_binary_text_by_hand():
    np.testing.assert_array_equal(binary_text(0.4), [[0.95, 0.05], [0.4, 0.6]])
    np.testing.assert_array_equal(binary_text(0.4, base_rate=0.1), [[0.9, 0.1], [0.4, 0.6]])
    np.testing.assert_array_equal(binary_text(0.0), np.eye(2))


def test_class_maps_match_the_papers():
    assert CLASS_MAPS["mnist"] == {2: 7, 3: 8, 7: 1, 5: 6, 6: 5}
    assert CLASS_MAPS["fashion_mnist"] == {9: 7, 7: 5, 2: 6, 4: 3, 3: 4}
    assert CLASS_MAPS["cifar10"] == {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
    assert set(CLASS_MAPS) == set(MAP_SIZES)
    superclass = CLASS_MAPS["cifar100_superclass"]
    assert [superclass[k] for k in (4, 30, 55, 72, 95)] == [30, 55, 72, 95, 4]
    assert [superclass[k] for k in (41, 69, 81, 85, 89)] == [69, 81, 85, 89, 41]
    assert CLASS_MAPS["cifar100_next"][99] == 0
    block = CLASS_MAPS["cifar100_block5"]
    assert [block[k] for k in (0, 4, 5, 9, 99)] == [1, 0, 6, 5, 95]


@pytest.mark.parametrize("name", sorted(MAP_SIZES))
def test_maps_leave_unmapped_classes_alone(name):
    num_classes, mapped = MAP_SIZES[name]
    matrix = asymmetric(num_classes, CLASS_MAPS[name], 0.3)
    assert len(CLASS_MAPS[name]) == mapped
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    for label in range(num_classes):
        expected = np.eye(num_classes)[label]
        if label in CLASS_MAPS[name]:
            expected = 0.7 * expected + 0.3 * np.eye(num_classes)[CLASS_MAPS[name][label]]
        np.testing.assert_allclose(matrix[label], expected, rtol=0, atol=1e-15)
    assert noise_rate_of(matrix) == pytest.approx(0.3 * mapped / num_classes, abs=1e-12)


def test_superclass_map_permutes_twenty_rings_of_five():
    ring = CLASS_MAPS["cifar100_superclass"]
    assert sorted(ring) == sorted(ring.values()) == list(range(100))
    fives = {frozenset([k, ring[k], ring[ring[k]], ring[ring[ring[k]]]]) for k in ring}
    assert all(len(four) == 4 for four in fives)
    assert all(ring[ring[ring[ring[ring[k]]]]] == k for k in ring)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize(
    "build",
    [
        lambda rate: symmetric(10, rate),
        lambda rate: symmetric(10, rate, inclusive=True),
        lambda rate: pair_flip(10, rate),
        lambda rate: asymmetric(10, {0: 1}, rate),
        binary_text,
        lambda rate: NoiseSpec("symmetric", rate),
    ],
)
def test_rate_outside_the_unit_interval_is_named(build, rate):
    with pytest.raises(ConfigError, match=r"^rate: must lie in \[0, 1\]"):
        build(rate)


def test_other_bad_arguments_are_named():
    with pytest.raises(ConfigError, match="base_rate"):
        binary_text(0.1, base_rate=2)
    with pytest.raises(ConfigError, match="num_classes: must be at least 2, found 1"):
        symmetric(1, 0.1)
    with pytest.raises(ConfigError, match=r"class_map: 0 -> 10 leaves classes 0\.\.9"):
        asymmetric(10, {0: 10}, 0.1)
    with pytest.raises(ConfigError, match=r"class_map: -1 -> 2 leaves"):
        asymmetric(10, {-1: 2}, 0.1)
    with pytest.raises(ConfigError, match="class 3 is mapped to itself"):
        asymmetric(10, {3: 3}, 0.1)


def test_inject_refuses_bad_input():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="mode: unknown value 'exakt'; did you mean 'exact'"):
        inject([0, 1], np.eye(2), rng, mode="exakt")
    with pytest.raises(DataError, match="true_labels: row 1 holds label 2"):
        inject([0, 2], np.eye(2), rng)
    with pytest.raises(TransitionError, match="row 0"):
        inject([0, 1], [[0.5, 0.4], [0, 1]], rng)


@pytest.mark.parametrize("mode", MODES)
def test_same_seed_same_labels_and_input_untouched(mode):
    true = np.arange(3000) % 10
    before = true.copy()
    first, again, other = (
        inject(true, symmetric(10, 0.4), np.random.default_rng(seed), mode) for seed in (7, 7, 8)
    )
    assert first.dtype == np.int64
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(true, before)


@pytest.mark.parametrize("mode", MODES)
def test_degenerate_inputs(mode):
    rng = np.random.default_rng(0)
    assert inject(np.empty(0, dtype=np.int64), np.eye(3), rng, mode).shape == (0,)
    true = np.array([2, 0, 2, 1])
    np.testing.assert_array_equal(inject(true, np.eye(3), rng, mode), true)
    # Full rates move every label, also when class 1 has no sample.
    np.testing.assert_array_equal(inject([0, 2, 2], pair_flip(3, 1.0), rng, mode), [1, 0, 0])


@pytest.mark.parametrize("mode", MODES)
def test_unmapped_classes_keep_their_labels(mode):
    true = np.random.default_rng(0).integers(10, size=20_000)
    matrix = asymmetric(10, CLASS_MAPS["cifar10"], 0.4)
    counts = count_pairs(true, inject(true, matrix, np.random.default_rng(1), mode), 10)
    assert (counts[matrix == 0] == 0).all()
    assert (counts[matrix > 0] > 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_row_frequencies_within_four_standard_errors(mode):
    matrix = random_transition(3, 6)
    true = np.arange(60_000) % 6
    counts = count_pairs(true, inject(true, matrix, np.random.default_rng(2), mode), 6)
    error = np.sqrt(matrix * (1 - matrix) / 10_000)
    assert (np.abs(counts / 10_000 - matrix) <= 4 * error + 1e-4).all()


def test_bernoulli_never_draws_a_label_of_probability_zero():
    # cumsum of ten 0.1 ends below 1: the largest uniform must still fall on class 9, not beyond.
    rows = np.tile(np.append(np.full(10, 0.1), 0.0), (11, 1))
    largest = type("Largest", (), {"random": lambda self, n: np.full(n, np.nextafter(1.0, 0.0))})()
    np.testing.assert_array_equal(inject(np.arange(11), rows, largest), np.full(11, 9))
    smallest = type("Smallest", (), {"random": lambda self, n: np.zeros(n)})()
    shifted = np.roll(rows, 1, axis=1)
    np.testing.assert_array_equal(inject(np.arange(11), shifted, smallest), np.ones(11))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 400))
def test_exact_changes_the_expected_number_of_labels(seed, size, rows):
    rng = np.random.default_rng(seed)
    matrix = random_transition(seed, size)
    true = rng.integers(size, size=rows)
    counts = count_pairs(true, inject(true, matrix, rng, "exact"), size)
    class_counts = np.bincount(true, minlength=size)
    np.testing.assert_array_equal(counts.sum(axis=1), class_counts)
    expected = class_counts * (1 - np.diag(matrix))
    changed = class_counts - np.diag(counts)
    assert changed.sum() == round(expected.sum())
    assert (np.abs(changed - expected) < 1 + 1e-9).all()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 400))
def test_exact_per_class_rounds_every_row(seed, size, rows):
    rng = np.random.default_rng(seed)
    matrix = random_transition(seed, size)
    true = rng.integers(size, size=rows)
    counts = count_pairs(true, inject(true, matrix, rng, "exact_per_class"), size)
    class_counts = np.bincount(true, minlength=size)
    np.testing.assert_array_equal(counts.sum(axis=1), class_counts)
    assert (np.abs(counts - class_counts[:, None] * matrix) < 1 + 1e-9).all()


def test_exact_counts_by_hand():
    true = np.repeat([0, 1, 2], [100, 50, 50])
    rng = np.random.default_rng(5)
    per_class = count_pairs(true, inject(true, symmetric(3, 0.2), rng, "exact_per_class"), 3)
    np.testing.assert_array_equal(per_class, [[80, 10, 10], [5, 40, 5], [5, 5, 40]])
    total = count_pairs(true, inject(true, symmetric(3, 0.2), rng, "exact"), 3)
    np.testing.assert_array_equal(np.diag(total), [80, 40, 40])


def test_exact_modes_pick_samples_and_ties_at_random():
    true = np.zeros(10, dtype=np.int64)
    matrix = np.array([[0.9, 0.05, 0.05], [0, 1, 0], [0, 0, 1]])
    changed_rows, new_labels = set(), set()
    for seed in range(60):
        labels = inject(true, matrix, np.random.default_rng(seed), "exact_per_class")
        changed_rows |= set(np.flatnonzero(labels))
        new_labels |= set(labels)
    assert changed_rows == set(range(10))
    assert new_labels == {0, 1, 2}


SPECS = {
    "none": ({}, np.eye(10)),
    "symmetric": ({"rate": 0.3}, symmetric(10, 0.3)),
    "symmetric_inclusive": ({"rate": 0.3}, symmetric(10, 0.27)),
    "pair_flip": ({"rate": 0.3}, pair_flip(10, 0.3)),
    "asymmetric": ({"rate": 0.3, "class_map": "mnist"}, asymmetric(10, CLASS_MAPS["mnist"], 0.3)),
    "binary_text": ({"rate": 0.3}, binary_text(0.3)),
    "transition": ({"transition": [[0.9, 0.1], [0.3, 0.7]]}, np.array([[0.9, 0.1], [0.3, 0.7]])),
}


def test_the_kinds_with_a_matrix_and_those_without_are_all():
    assert sorted([*SPECS, *OF_FEATURES]) == sorted(KINDS)


@pytest.mark.parametrize("kind", SPECS)
def test_build_transition_of_every_kind(kind):
    options, expected = SPECS[kind]
    spec = from_dict(NoiseSpec, {"kind": kind, **options}, "noise")
    np.testing.assert_allclose(build_transition(spec, len(expected)), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("class_map", [{2: 0, 9: 1}, {"2": 0, "9": 1}, {"2": 0, 9: 1}])
def test_class_map_keys_may_be_strings(class_map):
    raw = {"kind": "asymmetric", "rate": 0.5, "class_map": class_map}
    matrix = build_transition(from_dict(NoiseSpec, raw), 10)
    np.testing.assert_array_equal(matrix, asymmetric(10, {2: 0, 9: 1}, 0.5))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"kind": "symetric"}, "kind: unknown value 'symetric'; did you mean 'symmetric'"),
        ({"kind": "symmetric", "mode": "global"}, "mode: unknown value"),
        ({"rate": 0.4}, "rate: 0.4 has no effect, kind=none"),
        ({"kind": "transition", "transition": [[1.0]], "rate": 0.1}, "rate: 0.1 has no effect"),
        ({"seed": -1}, "seed: expected a whole number of at least 0"),
        ({"kind": "asymmetric", "rate": 0.1}, "class_map: needed for kind=asymmetric"),
        ({"kind": "symmetric", "class_map": "mnist"}, "class_map: needed for kind=asymmetric"),
        ({"kind": "transition"}, "transition: needed for kind=transition"),
        ({"kind": "none", "transition": [[1.0]]}, "transition: needed for kind=transition"),
        ({"kind": "asymmetric", "class_map": "cifar"}, "unknown map 'cifar'; did you mean"),
        ({"kind": "asymmetric", "class_map": {"two": 7}}, "key 'two' is not a class number"),
        ({"kind": "asymmetric", "class_map": {2.5: 7}}, "key 2.5 is not a class number"),
        ({"kind": "asymmetric", "class_map": {"2": 7, 2: 3}}, "class 2 appears twice"),
        ({"inclusive": True}, "inclusive: unknown option"),
        ({"kind": "pseudo_label", "rate": 0.3}, "rate: 0.3 has no effect, kind=pseudo_label"),
        ({"kind": "instance_dependent", "mode": "exact"}, "mode: exact is not for kind="),
        ({"kind": "instance_dependent", "spread": 0.0}, "spread: must be greater than 0"),
        ({"kind": "symmetric", "spread": 0.2}, "spread: has no effect, kind=symmetric"),
        ({"kind": "instance_dependent", "embedding": "x"}, "embedding: has no effect"),
        ({"kind": "none", "restarts": 3}, "restarts: has no effect"),
    ],
)
def test_noise_spec_refuses(raw, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(NoiseSpec, raw)


def test_specs_that_do_not_fit_the_classes():
    with pytest.raises(ConfigError, match="binary_text needs 2 classes, found 10"):
        build_transition(NoiseSpec("binary_text", 0.1), 10)
    with pytest.raises(ConfigError, match=r"class_map: 3 -> 8 leaves classes 0\.\.7"):
        build_transition(NoiseSpec("asymmetric", 0.1, class_map="mnist"), 8)
    build = partial(build_transition, NoiseSpec("transition", transition=((0.5, 0.5), (0.0, 1.0))))
    with pytest.raises(TransitionError, match=r"noise.transition: expected shape \(3, 3\)"):
        build(3)


def test_corrupt_draws_what_inject_draws_and_returns_the_nominal_matrix():
    true = np.arange(500) % 10
    spec = NoiseSpec("asymmetric", 0.3, class_map="mnist", mode="exact")
    given, matrix = corrupt(true, spec, 10, np.random.default_rng(3))
    expected = inject(true, build_transition(spec, 10), np.random.default_rng(3), "exact")
    np.testing.assert_array_equal(given, expected)
    np.testing.assert_array_equal(matrix, build_transition(spec, 10))


@pytest.mark.parametrize("kind", OF_FEATURES)
def test_noise_of_features_has_no_nominal_matrix_and_returns_the_actual_one(kind):
    rng = np.random.default_rng(0)
    true, features = np.arange(600) % 3, rng.normal(size=(600, 5))
    spec = NoiseSpec(kind, 0.4 if kind == "instance_dependent" else 0.0)
    given, matrix = corrupt(true, spec, 3, rng, features)
    np.testing.assert_allclose(matrix, count_pairs(true, given, 3) / 200, rtol=0, atol=1e-15)
    with pytest.raises(ConfigError, match=f"no transition matrix describes '{kind}'"):
        build_transition(spec, 3)
    with pytest.raises(ConfigError, match=f"'{kind}' needs the samples' features"):
        corrupt(true, spec, 3, rng)


def test_the_options_of_noise_of_features_matter():
    true, features = np.arange(600) % 3, np.random.default_rng(0).normal(size=(600, 5))

    def drawn(**options):
        return corrupt(true, NoiseSpec(**options), 3, np.random.default_rng(1), features)[0]

    base = {"kind": "instance_dependent", "rate": 0.4}
    assert (drawn(**base) != drawn(**base, spread=0.01)).any()
    np.testing.assert_array_equal(drawn(**base), drawn(**base, spread=0.1))
    pseudo = {"kind": "pseudo_label"}
    np.testing.assert_array_equal(drawn(**pseudo), drawn(**pseudo, restarts=10))
