"""The estimate of T and of the noise rate, with intervals from resampled rows."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from labelrepair.config import require
from labelrepair.estimation.confident import confident_cells, confident_transition, joint_of
from labelrepair.estimation.estimators import (
    anchor_transition,
    cleanlab_transition,
    curated_transition,
)
from labelrepair.estimation.probs import (
    check_probs,
    matching_labels,
    shaped,
    smooth,
)
from labelrepair.estimation.spec import EstimationSpec, NoiseEstimate
from labelrepair.transition import (
    Floats,
    Labels,
    check_transition,
    count_pairs,
    noise_rate_of,
    normalise_rows,
    solve_prior,
)

MAX_RESAMPLED = 25_000_000  # values of T kept for intervals, 200 MB: 200 resamples of 353 classes


def estimate_noise(
    probs: ArrayLike,
    given_labels: ArrayLike,
    spec: EstimationSpec,
    rng: np.random.Generator,
    curated: tuple[ArrayLike, ArrayLike] | None = None,
) -> NoiseEstimate:
    """Estimate T and the noise rate, with bootstrap intervals of both.

    The resampling unit is the row. ``anchor`` and ``cleanlab`` are refitted on resampled rows;
    ``confident_joint`` keeps its thresholds and per-row cells, so that a resample is one
    multinomial draw over the cells (an approximation that ignores the thresholds' own sampling
    error); ``curated`` draws the trusted pairs and, on its own, the given label counts; ``given``
    draws the given label counts only.

    Args:
        probs: (N, C) out-of-sample probabilities.
        given_labels: (N,) integers in 0..C-1.
        spec: method, its options and the bootstrap.
        rng: generator of the resampling.
        curated: (true_labels, given_labels) of the trusted rows, for method ``curated``.

    Raises:
        ConfigError: when ``curated`` is missing for its method or supplied for another.
        DataError: for invalid probabilities or labels.
        TransitionError: for an invalid ``spec.transition``.
    """
    lazy = spec.method == "confident_joint"  # reads and checks the rows in portions
    array: Any = shaped(probs) if lazy else check_probs(probs)
    labels = matching_labels(array, given_labels)
    needed = spec.method == "curated"
    require((curated is not None) == needed, "curated: trusted rows go with method=curated only")
    given_counts = np.bincount(labels, minlength=array.shape[1])
    transition = _point_estimate(array, labels, spec, curated)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the point estimate has already warned
        rates, matrices = _bootstrap(array, labels, spec, rng, curated)
    low, high = np.quantile(rates, _tails(spec))
    return NoiseEstimate(
        transition=transition,
        noise_rate=noise_rate_of(transition, given_frequencies=given_counts),
        interval=(float(low), float(high)),
        method=spec.method,
        class_prior=solve_prior(transition, given_counts),
        transition_interval=_element_wise(matrices, spec),
        rows=len(labels),
    )


def _bootstrap(
    probs: Floats,
    labels: Labels,
    spec: EstimationSpec,
    rng: np.random.Generator,
    curated: tuple[ArrayLike, ArrayLike] | None,
) -> tuple[list[float], list[Floats]]:
    """Return the noise rate of every resample, and its T where that varies and fits in memory."""
    size = spec.bootstrap * probs.shape[1] ** 2
    wanted = spec.method != "given" and size <= MAX_RESAMPLED
    rates: list[float] = []
    matrices: list[Floats] = []
    for resampled, counts in _resamples(probs, labels, spec, rng, curated):
        rates.append(noise_rate_of(resampled, given_frequencies=counts))
        if wanted:
            matrices.append(resampled)
    return rates, matrices


def _tails(spec: EstimationSpec) -> list[float]:
    return [(1 - spec.level) / 2, (1 + spec.level) / 2]


def _element_wise(matrices: list[Floats], spec: EstimationSpec) -> tuple[Floats, Floats] | None:
    """Return the lower and the upper end of every element's interval, each (C, C)."""
    if not matrices:
        return None
    low, high = np.quantile(np.stack(matrices), _tails(spec), axis=0)
    return low, high


def _point_estimate(
    probs: Floats,
    labels: Labels,
    spec: EstimationSpec,
    curated: tuple[ArrayLike, ArrayLike] | None,
) -> Floats:
    num_classes = probs.shape[1]
    if curated is not None:
        return curated_transition(*curated, num_classes, spec.smoothing)
    if spec.method == "given":
        return check_transition(spec.transition or (), num_classes, "estimation.transition")
    return _fitter(spec)(probs, labels)


def _fitter(spec: EstimationSpec) -> Callable[[Floats, Labels], Floats]:
    if spec.method == "anchor":
        return lambda probs, _: anchor_transition(probs, spec.quantile, rule=spec.rule)
    return cleanlab_transition if spec.method == "cleanlab" else confident_transition


def _resamples(
    probs: Floats,
    labels: Labels,
    spec: EstimationSpec,
    rng: np.random.Generator,
    curated: tuple[ArrayLike, ArrayLike] | None,
) -> Iterator[tuple[Floats, Labels]]:
    """Yield ``spec.bootstrap`` pairs of a resampled T (C, C) and given label counts (C,)."""
    num_rows, num_classes = probs.shape
    if spec.method in ("anchor", "cleanlab"):
        fit = _fitter(spec)
        for _ in range(spec.bootstrap):
            rows = rng.integers(num_rows, size=num_rows)
            counts = np.bincount(labels[rows], minlength=num_classes)
            yield fit(probs[rows], labels[rows]), counts
    elif spec.method == "confident_joint":
        for cells in _redraw(confident_cells(probs, labels), spec.bootstrap, rng):
            yield normalise_rows(joint_of(cells).astype(np.float64)), cells.sum(axis=0)
    else:
        given = np.bincount(labels, minlength=num_classes)
        draws = _redraw(given, spec.bootstrap, rng)
        if curated is None:
            fixed = check_transition(spec.transition or (), num_classes)
            yield from ((fixed, counts) for counts in draws)
            return
        pairs = _redraw(count_pairs(*curated, num_classes), spec.bootstrap, rng)
        smoothed = smooth(pairs.astype(np.float64), spec.smoothing)
        yield from zip(normalise_rows(smoothed), draws, strict=True)


def _redraw(counts: Labels, times: int, rng: np.random.Generator) -> Labels:
    """Return (times, *counts.shape) multinomial redraws of ``counts`` with the same total."""
    total = counts.sum()
    drawn = rng.multinomial(total, counts.ravel() / total, size=times)
    return drawn.reshape(times, *counts.shape).astype(np.int64)
