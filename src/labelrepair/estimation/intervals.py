"""The estimate of T and of the noise rate, with intervals from resampled rows."""

import warnings
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelrepair.config import require
from labelrepair.errors import TransitionError
from labelrepair.estimation.accuracy import cohens_kappa, probe_accuracy
from labelrepair.estimation.confident import FEWEST_LABELS, confident_cells, joint_of
from labelrepair.estimation.estimators import (
    anchor_transition,
    cleanlab_transition,
    curated_transition,
)
from labelrepair.estimation.probs import (
    check_probs,
    matching_labels,
    rows_or_identity,
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
    warn_if_doubtful,
)

Fitted = tuple[Floats, Floats]  # T (C, C) and the clean class prior (C,)

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
    error) and takes no row for one of a class that fewer than five rows are given; ``curated``
    draws the trusted pairs and, on its own, the given label counts; ``given`` draws the given label
    counts only.

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

    Warns:
        UserWarning: T, given or estimated, is ill-conditioned, with its condition number; or
            classes have too few labels for the confident joint, which are then believed.
    """
    lazy = spec.method == "confident_joint"  # reads and checks the rows in portions
    array: Any = shaped(probs) if lazy else check_probs(probs)
    labels = matching_labels(array, given_labels)
    needed = spec.method == "curated"
    require((curated is not None) == needed, "curated: trusted rows go with method=curated only")
    believed = np.zeros(array.shape[1], bool)
    if spec.method == "confident_joint":
        cells = confident_cells(array, labels, FEWEST_LABELS)
        believed = _believed(cells)
        (transition, prior), resamples = _from_cells(cells, spec, rng)
    elif spec.method in ("anchor", "cleanlab"):
        (transition, prior), resamples = _from_rows(array, labels, spec, rng)
    else:
        given_counts = np.bincount(labels, minlength=array.shape[1])
        (transition, prior), resamples = _from_pairs(given_counts, spec, rng, curated)
    warn_if_doubtful(transition)
    rates, matrices = _bootstrap(resamples, spec, array.shape[1])
    low, high = np.quantile(rates, _tails(spec))
    if believed.all():  # classes that are too small for an estimate: nothing is known
        low, high = 0.0, 1.0
    elif spec.method != "given":
        rows = len(labels) if curated is None else len(np.asarray(curated[1]))
        low, high = unseen(low, high, rows, spec.level)
    return NoiseEstimate(
        transition=transition,
        noise_rate=noise_rate_of(transition, prior=prior),
        interval=(float(low), float(high)),
        method=spec.method,
        class_prior=prior,
        transition_interval=_element_wise(matrices, spec),
        rows=len(labels),
        probe_accuracy=probe_accuracy(array, labels),
        kappa=cohens_kappa(array, labels),
        level=spec.level,
    )


def unseen(low: float, high: float, rows: int, level: float) -> tuple[float, float]:
    """Return an interval of a share that leaves room for what ``rows`` rows happen not to show.

    Resamples of rows without a wrong label have none either. Clopper and Pearson's exact interval
    of a share that was seen never, or always, is the least that ends may keep from 0 and 1.

    Args:
        low: lower end, by resampling.
        high: upper end, by resampling.
        rows: n > 0.
        level: coverage, in (0, 1).
    """
    room = 1.0 - ((1.0 - level) / 2.0) ** (1.0 / rows)
    return float(min(low, 1.0 - room)), float(max(high, room))


def resampled(resamples: int, num_classes: int) -> bool:
    """Return whether so many resamples of T fit into memory, for intervals of its elements."""
    return resamples * num_classes**2 <= MAX_RESAMPLED


def _bootstrap(
    resamples: Iterator[Fitted], spec: EstimationSpec, num_classes: int
) -> tuple[list[float], list[Floats]]:
    """Return the noise rate of every resample, and its T where that varies and fits in memory."""
    wanted = spec.method != "given" and resampled(spec.bootstrap, num_classes)
    rates: list[float] = []
    matrices: list[Floats] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the point estimate has already warned
        for transition, prior in resamples:
            rates.append(noise_rate_of(transition, prior=prior))
            if wanted:
                matrices.append(transition)
    return rates, matrices


def _tails(spec: EstimationSpec) -> list[float]:
    return [(1 - spec.level) / 2, (1 + spec.level) / 2]


def _element_wise(matrices: list[Floats], spec: EstimationSpec) -> tuple[Floats, Floats] | None:
    """Return the lower and the upper end of every element's interval, each (C, C)."""
    if not matrices:
        return None
    low, high = np.quantile(np.stack(matrices), _tails(spec), axis=0)
    return low, high


# -- each kind of evidence: the point estimate and what resamples of it give ----------------------


def _from_cells(
    cells: Labels, spec: EstimationSpec, rng: np.random.Generator
) -> tuple[Fitted, Iterator[Fitted]]:
    """Fit the confident joint's counts; its true classes are the prior, so nothing is solved.

    Where nobody keeps the T of a resample, classes without a row are left out of them: three rows
    of a thousand classes hold a few. What is drawn stays the same.
    """
    num_classes = cells.shape[1]
    used = np.ones(num_classes, bool)
    if not resampled(spec.bootstrap, num_classes):
        used[:] = cells[:-1].any(axis=1) | cells.any(axis=0)
        used[-1] = True  # its last cell takes what the others leave, without a draw of its own
        cells = cells[np.ix_(np.append(used, True), used)]
    joint = np.zeros((num_classes, num_classes))
    joint[np.ix_(used, used)] = joint_of(cells)
    point = rows_or_identity(joint, "confident joint"), joint.sum(axis=1) / joint.sum()

    def fitted(counts: Labels) -> Fitted:
        found = joint_of(counts).astype(np.float64)
        return normalise_rows(found), found.sum(axis=1) / found.sum()

    return point, map(fitted, _redraw(cells, spec.bootstrap, rng))


def _believed(cells: Labels) -> NDArray[np.bool_]:
    """Return which classes (C,) are too small for an estimate, and warn of those that occur."""
    given = cells.sum(axis=0)
    small: NDArray[np.bool_] = given < FEWEST_LABELS
    found = np.flatnonzero(small & (given > 0))
    if len(found):
        some = ", ".join(map(str, found[:10])) + (", ..." if len(found) > 10 else "")
        warnings.warn(
            f"{len(found)} of {len(given)} classes have fewer than {FEWEST_LABELS} given labels, "
            f"too few to tell wrong ones: nothing is known of their noise (class {some})",
            stacklevel=3,
        )
    return small


def _from_rows(
    probs: Floats, labels: Labels, spec: EstimationSpec, rng: np.random.Generator
) -> tuple[Fitted, Iterator[Fitted]]:
    """Fit the rows themselves, anew for every resample."""

    def fitted(rows: Any) -> Fitted:
        if spec.method == "anchor":
            transition = anchor_transition(probs[rows], spec.quantile, rule=spec.rule)
        else:
            transition = cleanlab_transition(probs[rows], labels[rows])
        counts = np.bincount(labels[rows], minlength=probs.shape[1])
        return transition, solve_prior(transition, counts)

    draws = (rng.integers(len(labels), size=len(labels)) for _ in range(spec.bootstrap))
    return fitted(slice(None)), (fitted(rows) for rows in draws)


def _from_pairs(
    given_counts: Labels,
    spec: EstimationSpec,
    rng: np.random.Generator,
    curated: tuple[ArrayLike, ArrayLike] | None,
) -> tuple[Fitted, Iterator[Fitted]]:
    """Take T as it is given, or fit it to the trusted pairs; the prior follows from the counts."""
    num_classes = len(given_counts)
    drawn = list(_redraw(given_counts, spec.bootstrap, rng))
    if curated is None:
        fixed = check_transition(spec.transition or (), num_classes, "estimation.transition")
        transitions: Iterator[Floats] = repeat(fixed, spec.bootstrap)
    else:
        fixed = curated_transition(*curated, num_classes, spec.smoothing)
        pairs = _redraw(count_pairs(*curated, num_classes), spec.bootstrap, rng)
        smoothed = (smooth(counts.astype(np.float64), spec.smoothing) for counts in pairs)
        transitions = map(normalise_rows, smoothed)
    resamples = zip(transitions, drawn, strict=True)
    return (fixed, solve_prior(fixed, given_counts)), ((t, _prior(t, c)) for t, c in resamples)


def _prior(transition: Floats, given_counts: Labels) -> Floats:
    """Return the prior; the labels' own shares where few trusted rows rule out every label."""
    try:
        return solve_prior(transition, given_counts)
    except TransitionError:
        shares: Floats = given_counts / given_counts.sum()
        return shares


def _redraw(counts: Labels, times: int, rng: np.random.Generator) -> Iterator[Labels]:
    """Yield ``times`` multinomial redraws of ``counts`` with the same total, one at a time."""
    total = counts.sum()
    for _ in range(times):
        yield rng.multinomial(total, counts.ravel() / total).reshape(counts.shape)
