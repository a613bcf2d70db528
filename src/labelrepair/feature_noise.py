"""Label noise that depends on the features, so that no transition matrix describes it.

Instance-dependent noise: Xia et al. 2020 ("Part-dependent label noise"), algorithm 2. Pseudo-label
noise: Tanaka 2018, section 5.1 (PL-CIFAR).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelrepair.config import in_unit_interval, positive
from labelrepair.errors import DataError
from labelrepair.transition import Floats, Labels, check_labels, count_pairs

CHUNK_ROWS = 8192  # rows projected at once ...
CHUNK_BYTES = 1 << 28  # ... and at most so many bytes of their float64 copy
Array = NDArray[np.generic]


def instance_dependent(
    true_labels: Labels,
    features: Array,
    num_classes: int,
    rate: float,
    rng: np.random.Generator,
    spread: float = 0.1,
) -> Labels:
    """Draw given labels whose probabilities depend on each sample's features.

    Sample i flips with probability ``q_i``, drawn from a normal distribution of mean ``rate`` and
    standard deviation ``spread`` truncated to [0, 1]. Where it goes is drawn from
    ``softmax(x_i W_y)`` over the other classes, ``W_y`` a standard normal (d, C) matrix of the true
    class y. So samples that look alike are mistaken for the same class.

    Deviation: uint8 features are projected as they enter a network, divided by 255; published
    code differs in its normalisation, which decides how sharp the softmax is.

    Args:
        true_labels: (N,) integers in 0..C-1; not modified.
        features: (N, ...) numbers; flattened.
        num_classes: C.
        rate: in [0, 1]. Truncation to [0, 1] moves the mean flip rate towards a half, the more the
            nearer to an end: of spread 0.1, 0.05 to 0.100, 0.1 to 0.129, 0.2 to 0.206, 0.9 to
            0.871; 0 and 1 are kept.
        rng: the generator.
        spread: greater than 0.

    Returns:
        (N,) int64 given labels.

    Raises:
        ConfigError: rate or spread out of range.
        DataError: a label out of range, or features that are tokens or do not fit the labels.
    """
    in_unit_interval(rate=rate)
    positive(spread=spread)
    true = check_labels(true_labels, num_classes, "true_labels")
    _check(features, len(true))
    width = math.prod(features.shape[1:])
    step = max(1, min(CHUNK_ROWS, CHUNK_BYTES // (8 * max(1, width))))
    low, high = -rate / spread, (1.0 - rate) / spread
    from scipy.stats import truncnorm  # noqa: PLC0415

    flips = truncnorm.rvs(low, high, rate, spread, size=len(true), random_state=rng)
    if rate in (0.0, 1.0):
        flips = np.full(len(true), rate)
    uniform = rng.random(len(true))
    given = true.copy()
    for label in range(num_classes):
        weights = rng.standard_normal((width, num_classes))
        rows = np.flatnonzero(true == label)
        for part in np.split(rows, range(step, len(rows), step)):
            probs = _other_classes(_rows(features, part) @ weights, label) * flips[part, None]
            probs[:, label] = 1.0 - flips[part]
            cumulative = np.cumsum(probs, axis=1)
            # At most the last class that is possible at all: the sum may end a hair below 1.
            drawn = (uniform[part, None] * cumulative[:, -1:] >= cumulative).sum(axis=1)
            given[part] = np.minimum(drawn, num_classes - 1)
    return given


def pseudo_labels(
    true_labels: Labels, features: Array, num_classes: int, seed: int, restarts: int = 10
) -> Labels:
    """Return labels that know nothing but the features: k-means clusters, matched to classes.

    k-means with k-means++ seeding, k = C, the lowest inertia of ``restarts``. Clusters become
    classes by the matching that keeps most labels right (Hungarian method), one cluster each:
    majority vote could leave a class without a sample. The paper states neither k nor the matching.

    Args:
        true_labels: (N,) integers in 0..C-1, for the matching only.
        features: (N, ...) numbers; flattened. The paper's are the pool5 features of an ImageNet
            ResNet-50.
        num_classes: C.
        seed: of k-means.
        restarts: at least 1.

    Returns:
        (N,) int64 given labels.

    Raises:
        DataError: fewer samples than classes, or features that are tokens or do not fit the labels.
    """
    true = check_labels(true_labels, num_classes, "true_labels")
    _check(features, len(true))
    if len(true) < num_classes:
        raise DataError(f"features: {len(true)} samples for {num_classes} clusters")
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415
    from sklearn.cluster import KMeans  # noqa: PLC0415

    means = KMeans(num_classes, init="k-means++", n_init=restarts, random_state=seed)
    clusters = means.fit_predict(_rows(features, slice(None)).astype(np.float32))
    counts = count_pairs(clusters.astype(np.int64), true, num_classes)
    _, classes = linear_sum_assignment(counts, maximize=True)
    given: Labels = classes[clusters].astype(np.int64)
    return given


def _other_classes(scores: Floats, label: int) -> Floats:
    """Return the softmax of (n, C) scores over all classes but ``label``."""
    scores[:, label] = -np.inf
    powered = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Floats = powered / powered.sum(axis=1, keepdims=True)
    return result


def _check(features: Array, count: int) -> None:
    if len(features) != count:
        raise DataError(f"features: {len(features)} rows for {count} labels")
    if features.dtype.kind in "iu" and features.dtype != np.uint8:
        raise DataError(
            f"features: {features.dtype} token numbers say nothing by their size; noise that "
            "depends on features needs images or vectors (for pseudo_label: set embedding)"
        )


def _rows(features: Array, rows: Any) -> Floats:
    """Return rows flattened, images as they enter a network."""
    part = np.asarray(features[rows])
    scale = 255.0 if part.dtype == np.uint8 else 1.0
    flat: Floats = part.reshape(len(part), math.prod(part.shape[1:])).astype(np.float64) / scale
    return flat
