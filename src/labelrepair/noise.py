"""Label noise: kinds by name, transition matrices and the drawing of given labels from true ones.

Definitions and class maps: Patrini 2017 (asymmetric maps, CIFAR-100 superclass ring), Zhang and
Sabuncu 2018 (CIFAR-100 next-class ring), Tanaka 2018 (inclusive symmetric noise), Han 2018 (pair).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from labelrepair.config import in_unit_interval, one_of, positive, require, whole
from labelrepair.errors import ConfigError, nearest
from labelrepair.feature_noise import Array, instance_dependent, pseudo_labels
from labelrepair.transition import (
    Floats,
    Labels,
    actual_transition,
    check_labels,
    check_transition,
)

KINDS = (
    "none",
    "symmetric",
    "symmetric_inclusive",
    "pair_flip",
    "asymmetric",
    "binary_text",
    "transition",
    "instance_dependent",
    "pseudo_label",
)
WITHOUT_RATE = ("none", "transition", "pseudo_label")
OF_FEATURES = ("instance_dependent", "pseudo_label")
MODES = ("bernoulli", "exact", "exact_per_class")
_OPTIONS = {
    "spread": "instance_dependent",
    "embedding": "pseudo_label",
    "restarts": "pseudo_label",
}

# Fine labels of the 20 CIFAR-100 superclasses, in torchvision's (alphabetical) class order.
_CIFAR100_SUPERCLASSES = (
    (4, 30, 55, 72, 95),  # aquatic mammals
    (1, 32, 67, 73, 91),  # fish
    (54, 62, 70, 82, 92),  # flowers
    (9, 10, 16, 28, 61),  # food containers
    (0, 51, 53, 57, 83),  # fruit and vegetables
    (22, 39, 40, 86, 87),  # household electrical devices
    (5, 20, 25, 84, 94),  # household furniture
    (6, 7, 14, 18, 24),  # insects
    (3, 42, 43, 88, 97),  # large carnivores
    (12, 17, 37, 68, 76),  # large man-made outdoor things
    (23, 33, 49, 60, 71),  # large natural outdoor scenes
    (15, 19, 21, 31, 38),  # large omnivores and herbivores
    (34, 63, 64, 66, 75),  # medium mammals
    (26, 45, 77, 79, 99),  # non-insect invertebrates
    (2, 11, 35, 46, 98),  # people
    (27, 29, 44, 78, 93),  # reptiles
    (36, 50, 65, 74, 80),  # small mammals
    (47, 52, 56, 59, 96),  # trees
    (8, 13, 48, 58, 90),  # vehicles 1
    (41, 69, 81, 85, 89),  # vehicles 2
)


def _rings(groups: tuple[tuple[int, ...], ...]) -> dict[int, int]:
    """Map each class to the next one of its group, the last to the first."""
    return {
        source: group[(position + 1) % len(group)]
        for group in groups
        for position, source in enumerate(group)
    }


CLASS_MAPS: dict[str, dict[int, int]] = {
    "mnist": {2: 7, 3: 8, 7: 1, 5: 6, 6: 5},
    "fashion_mnist": {9: 7, 7: 5, 2: 6, 4: 3, 3: 4},
    "cifar10": {9: 1, 2: 0, 4: 7, 3: 5, 5: 3},
    # What Patrini's text says; "block5" is what its code (and JoCoR's) does, which are not the
    # superclasses; "next" is Zhang and Sabuncu's. Numbers under different maps do not compare.
    "cifar100_superclass": _rings(_CIFAR100_SUPERCLASSES),
    "cifar100_next": _rings((tuple(range(100)),)),
    "cifar100_block5": _rings(tuple(tuple(range(k, k + 5)) for k in range(0, 100, 5))),
}


def symmetric(num_classes: int, rate: float, inclusive: bool = False) -> Floats:
    """Return symmetric noise as a (C, C) float64 transition matrix.

    Args:
        num_classes: C, at least 2.
        rate: in [0, 1]; the share of labels that are redrawn.
        inclusive: False redraws from the C-1 other classes, so ``rate`` is the real noise rate;
            True redraws from all C (Tanaka 2018 eq. 13), so the real rate is ``rate * (C-1)/C``.

    Raises:
        ConfigError: for a rate outside [0, 1] or fewer than two classes.
    """
    _check(num_classes, rate)
    changed = rate * (num_classes - 1) / num_classes if inclusive else rate
    transition = np.full((num_classes, num_classes), changed / (num_classes - 1))
    np.fill_diagonal(transition, 1.0 - changed)
    return transition


def pair_flip(num_classes: int, rate: float) -> Floats:
    """Return (C, C) noise from each class i to ``(i + 1) % C`` with probability ``rate``.

    Raises:
        ConfigError: for a rate outside [0, 1] or fewer than two classes.
    """
    _check(num_classes, rate)
    return asymmetric(num_classes, _rings((tuple(range(num_classes)),)), rate)


def asymmetric(num_classes: int, class_map: Mapping[int, int], rate: float) -> Floats:
    """Return (C, C) noise that sends each mapped class to its target with probability ``rate``.

    The maps act at once: with 2 -> 7 and 7 -> 1 a 2 becomes a 7 and stays one.

    Args:
        num_classes: C, at least 2.
        class_map: true class -> given class; unmapped classes keep their labels.
        rate: in [0, 1]; the real noise rate is ``rate`` times the share of mapped samples.

    Raises:
        ConfigError: for a rate outside [0, 1] or a class outside 0..C-1 or mapped to itself.
    """
    _check(num_classes, rate)
    for source, target in class_map.items():
        inside = 0 <= source < num_classes and 0 <= target < num_classes
        require(inside, f"class_map: {source} -> {target} leaves classes 0..{num_classes - 1}")
        require(source != target, f"class_map: class {source} is mapped to itself")
    transition = np.eye(num_classes)
    sources, targets = list(class_map), list(class_map.values())
    transition[sources, sources] = 1.0 - rate
    transition[sources, targets] = rate
    return transition


def binary_text(rate: float, base_rate: float = 0.05) -> Floats:
    """Return Patrini's (2, 2) IMDB noise: 1 -> 0 with ``rate``, 0 -> 1 with ``base_rate``.

    At ``rate`` 0 it is the identity: the base rate applies only when there is noise at all.

    Raises:
        ConfigError: for a rate outside [0, 1].
    """
    in_unit_interval(rate=rate, base_rate=base_rate)
    if rate == 0:
        return np.eye(2)
    return np.array([[1.0 - base_rate, base_rate], [rate, 1.0 - rate]])


def inject(
    true_labels: ArrayLike,
    transition: ArrayLike,
    rng: np.random.Generator,
    mode: str = "bernoulli",
) -> Labels:
    """Draw given labels from true ones under ``transition``.

    - ``bernoulli``: every sample draws from its row on its own.
    - ``exact``: ``round(sum_i n_i (1 - T[i, i]))`` labels change in all; class i gets its share
      ``n_i (1 - T[i, i])`` to within one (largest remainder); the new labels are drawn.
    - ``exact_per_class``: every count (i, j) is ``n_i T[i, j]`` to within one (largest remainder,
      ties at random), so the empirical rows equal T to rounding; only who changes is drawn.

    Which samples of a class change is uniform in all modes. Inclusive noise is part of T: its
    draws back to the true class are unchanged labels here. Deviations from published generators:
    Tanaka's and D2L's global selection leaves the split over classes to chance, and Tanaka's
    inclusive noise leaves the changed count random; here ``exact`` fixes both.

    Args:
        true_labels: (N,) integers in 0..C-1; not modified.
        transition: (C, C) row-stochastic.
        rng: the generator; keep its seed apart from the training seed.
        mode: one of :data:`MODES`.

    Returns:
        (N,) int64 given labels.

    Raises:
        ConfigError: for an unknown mode.
        TransitionError: for an invalid matrix.
        DataError: for a label out of range.
    """
    one_of(MODES, mode=mode)
    matrix = check_transition(transition)
    true = check_labels(true_labels, len(matrix), "true_labels")
    if mode == "bernoulli":
        return _draw_rows(true, matrix, rng)
    class_counts = np.bincount(true, minlength=len(matrix))
    if mode == "exact":
        counts = _exact_counts(class_counts, matrix, rng)
    else:
        counts = _largest_remainder(class_counts[:, None] * matrix, class_counts, rng)
    return _deal(true, counts, rng)


@dataclass(frozen=True)
class NoiseSpec:
    """What noise to inject; checks its own ranges and refuses options that its kind ignores.

    Attributes:
        kind: one of :data:`KINDS`.
        rate: in [0, 1]; must stay 0 for ``none``, ``transition`` and ``pseudo_label``.
        class_map: for ``asymmetric``: a name in :data:`CLASS_MAPS` or an explicit mapping, whose
            keys may be strings because YAML and JSON write them so.
        transition: for ``transition``: the rows of T.
        mode: one of :data:`MODES`, see :func:`inject`; ``bernoulli`` for the kinds of features.
        seed: of the noise alone, at least 0.
        spread: for ``instance_dependent``: standard deviation of the flip rates; None = 0.1.
        embedding: for ``pseudo_label``: where the features come from, a .npy file with one row per
            row of the label table (of any network), or a model file that a training wrote (its
            penultimate layer); None = the samples themselves.
        restarts: for ``pseudo_label``: runs of k-means; None = 10.
    """

    kind: str = "none"
    rate: float = 0.0
    class_map: str | dict[int | str, int] | None = None
    transition: tuple[tuple[float, ...], ...] | None = None
    mode: str = "bernoulli"
    seed: int = 0
    spread: float | None = None
    embedding: str | None = None
    restarts: int | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for a value out of range or one that the kind does not use."""
        one_of(KINDS, kind=self.kind)
        one_of(MODES, mode=self.mode)
        in_unit_interval(rate=self.rate)
        whole(0, seed=self.seed)
        uses_rate = self.kind not in WITHOUT_RATE
        require(uses_rate or self.rate == 0, f"rate: {self.rate} has no effect, kind={self.kind}")
        counted = self.kind not in OF_FEATURES or self.mode == "bernoulli"
        require(counted, f"mode: {self.mode} is not for kind={self.kind}; leave it at bernoulli")
        positive(spread=self.spread, restarts=self.restarts)
        for name, kind in _OPTIONS.items():
            unused = getattr(self, name) is not None and self.kind != kind
            require(not unused, f"{name}: has no effect, kind={self.kind}; it is for {kind}")
        for name, kind in (("class_map", "asymmetric"), ("transition", "transition")):
            found = getattr(self, name) is not None
            require(found == (self.kind == kind), f"{name}: needed for kind={kind} and only there")
        if isinstance(self.class_map, str) and self.class_map not in CLASS_MAPS:
            hint = nearest(self.class_map, CLASS_MAPS)
            raise ConfigError(f"class_map: unknown map '{self.class_map}'; {hint}")
        _resolve_map(self.class_map)


def corrupt(
    true_labels: ArrayLike,
    spec: NoiseSpec,
    num_classes: int,
    rng: np.random.Generator,
    features: Array | None = None,
) -> tuple[Labels, Floats]:
    """Draw given labels of any kind of noise.

    Args:
        true_labels: (N,) integers in 0..C-1; not modified.
        spec: what noise.
        num_classes: C.
        rng: the generator; ``spec.seed`` is not read here.
        features: (N, ...), for the kinds in :data:`OF_FEATURES`.

    Returns:
        (N,) int64 given labels, and T: the nominal one, or for :data:`OF_FEATURES`, which no
        matrix describes, the average that came about.

    Raises:
        ConfigError: features are needed and were not given; else as :func:`inject`.
    """
    if spec.kind not in OF_FEATURES:
        transition = build_transition(spec, num_classes)
        return inject(true_labels, transition, rng, spec.mode), transition
    if features is None:
        raise ConfigError(f"kind: '{spec.kind}' needs the samples' features")
    true = check_labels(true_labels, num_classes, "true_labels")
    if spec.kind == "instance_dependent":
        spread = 0.1 if spec.spread is None else spec.spread
        given = instance_dependent(true, features, num_classes, spec.rate, rng, spread)
    else:
        seed = int(rng.integers(2**31))
        given = pseudo_labels(true, features, num_classes, seed, spec.restarts or 10)
    return given, actual_transition(true, given, num_classes)


def build_transition(spec: NoiseSpec, num_classes: int) -> Floats:
    """Return the nominal (C, C) float64 transition matrix of ``spec``.

    Raises:
        ConfigError: when the spec does not fit ``num_classes``, or its noise depends on the
            features and so has no matrix.
        TransitionError: when an explicit matrix is not row-stochastic (C, C).
    """
    require(spec.kind not in OF_FEATURES, f"kind: no transition matrix describes '{spec.kind}'")
    if spec.kind == "asymmetric":
        return asymmetric(num_classes, _resolve_map(spec.class_map), spec.rate)
    if spec.kind == "transition":
        return check_transition(spec.transition or (), num_classes, "noise.transition")
    if spec.kind == "binary_text":
        require(num_classes == 2, f"kind: binary_text needs 2 classes, found {num_classes}")
        return binary_text(spec.rate)
    if spec.kind == "pair_flip":
        return pair_flip(num_classes, spec.rate)
    return symmetric(num_classes, spec.rate, inclusive=spec.kind == "symmetric_inclusive")


def _resolve_map(class_map: str | dict[int | str, int] | None) -> dict[int, int]:
    if isinstance(class_map, str):
        return CLASS_MAPS[class_map]
    resolved: dict[int, int] = {}
    for key, target in (class_map or {}).items():
        require(str(key).isdecimal(), f"class_map: key {key!r} is not a class number")
        require(int(key) not in resolved, f"class_map: class {key} appears twice")
        resolved[int(key)] = target
    return resolved


def _check(num_classes: int, rate: float) -> None:
    require(num_classes >= 2, f"num_classes: must be at least 2, found {num_classes}")
    in_unit_interval(rate=rate)


def _draw_rows(true: Labels, matrix: Floats, rng: np.random.Generator) -> Labels:
    """Inverse-CDF draw of one label per sample from its row of ``matrix``."""
    uniform = rng.random(len(true))
    cumulative = np.cumsum(matrix, axis=1)
    # Ending at exactly 1 (> any uniform) keeps labels of probability 0 from ever being drawn.
    cumulative /= cumulative[:, -1:]
    given = np.empty(len(true), dtype=np.int64)
    for label in range(len(matrix)):
        rows = true == label
        given[rows] = np.searchsorted(cumulative[label], uniform[rows], side="right")
    return given


def _exact_counts(class_counts: Labels, matrix: Floats, rng: np.random.Generator) -> Labels:
    """Return (C, C) label counts with an exact number of changes and random new labels."""
    expected = class_counts * (1.0 - np.diag(matrix))
    total = np.rint(expected.sum(keepdims=True)).astype(np.int64)
    changed = _largest_remainder(expected[None], total, rng)[0]
    others = matrix * (1.0 - np.eye(len(matrix)))
    mass = others.sum(axis=1, keepdims=True)
    # A row without noise changes nothing, but the multinomial still wants probabilities.
    others = np.where(mass > 0, others / np.where(mass > 0, mass, 1.0), 1.0 / len(matrix))
    counts = rng.multinomial(changed, others)
    counts[np.diag_indices(len(matrix))] += class_counts - changed
    return counts.astype(np.int64)


def _largest_remainder(shares: Floats, totals: Labels, rng: np.random.Generator) -> Labels:
    """Round each row of ``shares`` to integers that sum to ``totals``, ties at random."""
    whole = np.floor(shares)
    # Nine decimals: shares equal on paper must tie in floating point too.
    remainder = np.round(shares - whole, 9)
    order = np.lexsort((rng.random(shares.shape), -remainder), axis=-1)
    rank = np.argsort(order, axis=-1)
    missing = totals - whole.sum(axis=-1)
    rounded: Labels = (whole + (rank < missing[:, None])).astype(np.int64)
    return rounded


def _deal(true: Labels, counts: Labels, rng: np.random.Generator) -> Labels:
    """Hand out ``counts[i, j]`` labels j to random samples of each true class i."""
    shuffled = rng.permutation(len(true))
    by_class = shuffled[np.argsort(true[shuffled], kind="stable")]
    num_classes = len(counts)
    given = np.empty(len(true), dtype=np.int64)
    given[by_class] = np.repeat(np.tile(np.arange(num_classes), num_classes), counts.ravel())
    return given
