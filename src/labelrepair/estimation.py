"""Estimate the transition matrix and the noise rate from probabilities and given labels.

``T[i, j] = P(given=j | true=i)`` and every joint here has the true class on axis 0; cleanlab's
matrices are the transpose. ``probs`` should be out of sample, or come from the weights at the best
noisy validation loss: an overfitted network gives one-hot rows and T near the identity.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelrepair.chunks import row_slices
from labelrepair.config import in_unit_interval, one_of, require
from labelrepair.errors import ConfigError, DataError
from labelrepair.transition import (
    Floats,
    Labels,
    check_labels,
    check_transition,
    count_pairs,
    noise_rate_of,
    normalise_rows,
    solve_prior,
)

METHODS = ("confident_joint", "anchor", "curated", "cleanlab", "given")
ANCHOR_RULES = ("code", "at")
ROW_SUM_TOLERANCE = 1e-3
MAX_RESAMPLED = (
    25_000_000  # values of T kept for its intervals, 200 MB: 200 resamples of 353 classes
)

# cleanlab's slack below a threshold and the lowest threshold it allows (internal/constants.py).
_SLACK = 1e-6
_LOWEST_THRESHOLD = 2e-6
_NEAR = 1e-8  # its tolerance for "the given label is the most probable class"


@dataclass(frozen=True)
class EstimationSpec:
    """How to estimate T, and how to bootstrap the noise rate.

    Attributes:
        method: one of :data:`METHODS`.
        quantile: for ``anchor``: in [0, 1], or None for the argmax anchor (use it for C = 100).
        rule: for ``anchor``: one of :data:`ANCHOR_RULES`, see :func:`anchor_transition`.
        smoothing: for ``curated``: pseudo-count added to every pair, at least 0.
        transition: for ``given``: the rows of T.
        bootstrap: number of resamples behind the interval, at least 2.
        level: coverage of the interval, strictly between 0 and 1.
    """

    method: str = "confident_joint"
    quantile: float | None = 0.97
    rule: str = "code"
    smoothing: float = 0.0
    transition: tuple[tuple[float, ...], ...] | None = None
    bootstrap: int = 100
    level: float = 0.95

    def __post_init__(self) -> None:
        """Raise ConfigError for a value out of range."""
        one_of(METHODS, method=self.method)
        one_of(ANCHOR_RULES, rule=self.rule)
        in_unit_interval(quantile=self.quantile)
        require(self.smoothing >= 0, f"smoothing: must be at least 0, found {self.smoothing}")
        require(self.bootstrap >= 2, f"bootstrap: must be at least 2, found {self.bootstrap}")
        require(0 < self.level < 1, f"level: must lie strictly in (0, 1), found {self.level}")
        found = self.transition is not None
        require(found == (self.method == "given"), "transition: needed for method=given only")


@dataclass(frozen=True, eq=False)
class NoiseEstimate:
    """An estimated T and what it says about the share of wrong labels.

    Attributes:
        transition: (C, C) float64.
        noise_rate: ``1 - sum_i pi_i T[i, i]``, in [0, 1].
        interval: bootstrap percentile interval (low, high) of the noise rate. It covers sampling
            error only; a biased method can put its point estimate outside.
        method: which estimator gave T.
        class_prior: (C,) float64 clean class shares pi, solved from ``pi @ T = given shares``.
        transition_interval: (low, high), each (C, C) float64: the same kind of interval of every
            element of T. None where T was not resampled (known, or of more than
            :data:`MAX_RESAMPLED` values in all resamples).
        rows: N, the labels that it was estimated on; None where T is known.
    """

    transition: Floats
    noise_rate: float
    interval: tuple[float, float]
    method: str
    class_prior: Floats
    transition_interval: tuple[Floats, Floats] | None = None
    rows: int | None = None


def known_transition(transition: Floats) -> EstimationSpec:
    """Return the settings that take ``transition`` ``(C, C)`` as it is."""
    rows = tuple(tuple(map(float, row)) for row in transition)
    return EstimationSpec(method="given", transition=rows)


def check_probs(probs: ArrayLike, name: str = "probs", first: int = 0) -> Floats:
    """Return ``probs`` as float64 (N, C), the input itself where it already is that.

    Args:
        probs: (N, C).
        name: how messages call them.
        first: the number of their first row, for messages.

    Raises:
        DataError: unless N >= 1, C >= 2, and every row is finite, non-negative and sums to 1
            within 1e-3; the message names the first offending row.
    """
    array = _shaped(probs, name).astype(np.float64, copy=False)
    sums = array @ np.ones(array.shape[1])  # much faster than a sum over rows of a few numbers
    if array.min() >= 0 and (abs(sums - 1) <= ROW_SUM_TOLERANCE).all():
        return array
    sums = array.sum(axis=1)
    rules = {
        "expected finite values": ~np.isfinite(sums),
        "expected no negative value": (array < 0).any(axis=1),
        f"expected a sum of 1 within {ROW_SUM_TOLERANCE:g}": abs(sums - 1) > ROW_SUM_TOLERANCE,
    }
    for rule, wrong in rules.items():
        if wrong.any():
            row = int(np.argmax(wrong))
            found = np.array2string(array[row], threshold=8)
            where = f"{name}: row {first + row}"
            raise DataError(f"{where} is {found} with sum {sums[row]:.6g}, {rule}")
    return array


def _shaped(probs: ArrayLike, name: str = "probs") -> NDArray[np.floating]:
    """Return ``probs`` as an array (N, C) of whatever kind of float it is; values unchecked."""
    try:
        array = np.asarray(probs)
        if array.dtype.kind != "f":
            array = np.asarray(probs, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected rows of numbers ({error})") from None
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise DataError(f"{name}: expected shape (N, C) with N >= 1, C >= 2, found {array.shape}")
    return array


def anchor_transition(
    probs: ArrayLike, quantile: float | None = None, *, rule: str = "code"
) -> Floats:
    """Estimate T from anchor rows (Patrini 2017 section 4.1): row i is ``probs`` at class i's.

    Args:
        probs: (N, C) noisy posteriors, each row summing to 1; not modified.
        quantile: None takes the row with the largest ``probs[:, i]``; in [0, 1] (paper: 0.97) the
            row at that quantile of the column, upper interpolation.
        rule: ``at`` takes the row at the quantile, as the text says; ``code`` the largest one
            strictly below it, as the released code does (equal to ``at`` where none is below).

    Returns:
        (C, C) float64, rows divided by their sums.

    Deviations: the code blanks the excluded rows inside ``probs``, so later classes read zeros;
    here the input stays whole.

    Raises:
        ConfigError: for a quantile outside [0, 1] or an unknown rule.
        DataError: for invalid probabilities.

    Warns:
        UserWarning: when ``1 - quantile`` is at least half the share of the rarest class (mean of
            its column): its anchor is then likely a sample of another class. Use None there.
    """
    in_unit_interval(quantile=quantile)
    one_of(ANCHOR_RULES, rule=rule)
    array = check_probs(probs)
    rarest = float(array.mean(axis=0).min())
    if quantile is not None and 1 - quantile >= 0.5 * rarest:
        warnings.warn(
            f"quantile: {quantile} leaves {1 - quantile:.3g} of the rows above each anchor, but "
            f"the rarest class has a share of {rarest:.3g}; use a higher quantile or None",
            UserWarning,
            stacklevel=2,
        )
    if quantile is None:
        rows = array.argmax(axis=0)
    else:
        theta = np.quantile(array, quantile, axis=0, method="higher")
        rows = (array == theta).argmax(axis=0)
        if rule == "code":
            below = array < theta
            largest = np.where(below, array, -np.inf).argmax(axis=0)
            rows = np.where(below.any(axis=0), largest, rows)
    anchors: Floats = array[rows] / array[rows].sum(axis=1, keepdims=True)
    return anchors


def curated_transition(
    true_labels: ArrayLike, given_labels: ArrayLike, num_classes: int, smoothing: float = 0.0
) -> Floats:
    """Estimate T from trusted rows that carry both labels (Patrini 2017, Clothing1M).

    Args:
        true_labels: (M,) integers in 0..C-1.
        given_labels: (M,) integers in 0..C-1.
        num_classes: C.
        smoothing: pseudo-count eps >= 0: ``T[i, j] = (N[i, j] + eps) / (N[i] + C eps)``.

    Returns:
        (C, C) float64. A class absent from ``true_labels`` gets the identity row at any smoothing.

    Raises:
        ConfigError: for a negative smoothing.
        DataError: for labels out of range or of unequal length.

    Warns:
        UserWarning: naming the absent classes.
    """
    require(smoothing >= 0, f"smoothing: must be at least 0, found {smoothing}")
    counts = count_pairs(true_labels, given_labels, num_classes).astype(np.float64)
    return _rows_or_identity(_smooth(counts, smoothing), "true_labels")


def confident_joint(probs: ArrayLike, given_labels: ArrayLike, calibrate: bool = True) -> Labels:
    """Count rows by confidently guessed true class and given label (Northcutt 2021, section 3.1).

    A row is confident in class k when ``probs[:, k]`` reaches the mean of that column over the
    rows labelled k. It counts as the only confident class or, with several, as the argmax of the
    whole row; without one it is left out. Results equal ``cleanlab.count.compute_confident_joint``
    (2.9) transposed; there, ties between equal rounding remainders are resolved arbitrarily.

    Args:
        probs: (N, C) out-of-sample probabilities.
        given_labels: (N,) integers in 0..C-1.
        calibrate: scale each column to the count of that given label, rounded to integers that
            keep the column sums. False returns the raw counts (diagonal at least 1).

    Returns:
        (C, C) int64, ``[i, j]``: true class i, given label j. A class k missing from the given
        labels has no threshold: no row is guessed to be k, calibrated row and column k are zero.

    Raises:
        DataError: for invalid probabilities or labels.
    """
    cells = _confident_cells(probs, given_labels)
    return _joint_of(cells) if calibrate else _raw_joint(cells)


def confident_issues(probs: ArrayLike, given_labels: ArrayLike) -> NDArray[np.bool_]:
    """Flag the rows off the diagonal of the raw :func:`confident_joint` (Northcutt 2021).

    Equal to ``cleanlab.filter.find_label_issues(..., filter_by="confident_learning")`` (2.9): a row
    whose given label is its most probable class, within 1e-8, is not flagged.

    Args:
        probs: (N, C) out-of-sample probabilities; a memory map is read in portions.
        given_labels: (N,) integers in 0..C-1.

    Returns:
        Bool (N,).

    Raises:
        DataError: for invalid probabilities or labels.
    """
    array = _shaped(probs)
    labels = _matching_labels(array, given_labels)
    flagged = np.zeros(len(labels), dtype=bool)
    for part, portion, guess in _guesses(array, labels):
        given = labels[part]
        rows = np.flatnonzero((guess != given) & (guess < array.shape[1]))
        kept = portion[rows].copy()
        kept[np.arange(len(rows)), given[rows]] += _NEAR
        flagged[part.start + rows] = kept.argmax(axis=1) != given[rows]
    return flagged


def confident_transition(probs: ArrayLike, given_labels: ArrayLike) -> Floats:
    """Estimate T as the row-normalised :func:`confident_joint`, (C, C) float64.

    Warns:
        UserWarning: naming the classes without a confident row (all those missing from the given
            labels); they get the identity row.
    """
    joint = confident_joint(probs, given_labels)
    return _rows_or_identity(joint.astype(np.float64), "confident joint")


def cleanlab_transition(probs: ArrayLike, given_labels: ArrayLike) -> Floats:
    """Estimate T with the installed cleanlab, turned to this package's orientation.

    Returns:
        (C, C) float64; classes for which cleanlab has no count get the identity row, with a
        UserWarning.

    Raises:
        ConfigError: when cleanlab is not installed.
    """
    try:
        from cleanlab import count  # noqa: PLC0415
    except ImportError:
        raise ConfigError(
            "method: cleanlab is not installed; pip install labelrepair[cleanlab], "
            "or use method confident_joint"
        ) from None
    array = check_probs(probs)
    labels = _matching_labels(array, given_labels)
    joint = count.compute_confident_joint(labels, array, calibrate=True)
    _, noise_matrix, _ = count.estimate_latent(joint, labels)
    return _rows_or_identity(np.asarray(noise_matrix, dtype=np.float64).T, "cleanlab")


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
    array: Any = _shaped(probs) if lazy else check_probs(probs)
    labels = _matching_labels(array, given_labels)
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
        for cells in _redraw(_confident_cells(probs, labels), spec.bootstrap, rng):
            yield normalise_rows(_joint_of(cells).astype(np.float64)), cells.sum(axis=0)
    else:
        given = np.bincount(labels, minlength=num_classes)
        draws = _redraw(given, spec.bootstrap, rng)
        if curated is None:
            fixed = check_transition(spec.transition or (), num_classes)
            yield from ((fixed, counts) for counts in draws)
            return
        pairs = _redraw(count_pairs(*curated, num_classes), spec.bootstrap, rng)
        smoothed = _smooth(pairs.astype(np.float64), spec.smoothing)
        yield from zip(normalise_rows(smoothed), draws, strict=True)


def _redraw(counts: Labels, times: int, rng: np.random.Generator) -> Labels:
    """Return (times, *counts.shape) multinomial redraws of ``counts`` with the same total."""
    total = counts.sum()
    drawn = rng.multinomial(total, counts.ravel() / total, size=times)
    return drawn.reshape(times, *counts.shape).astype(np.int64)


def _smooth(counts: Floats, smoothing: float) -> Floats:
    """Add ``smoothing`` to every pair of the classes (rows) that were seen at all."""
    smoothed: Floats = counts + smoothing * (counts.sum(axis=-1, keepdims=True) > 0)
    return smoothed


def _confident_cells(probs: ArrayLike, given_labels: ArrayLike) -> Labels:
    """Return (C + 1, C) counts of (guessed true class, given label); guess C means none."""
    array = _shaped(probs)
    labels = _matching_labels(array, given_labels)
    num_classes = array.shape[1]
    cells = np.zeros((num_classes + 1) * num_classes, np.int64)
    for part, _, guess in _guesses(array, labels):
        cells += np.bincount(guess * num_classes + labels[part], minlength=len(cells))
    return cells.reshape(num_classes + 1, num_classes)


def _thresholds(array: NDArray[np.floating], labels: Labels) -> Floats:
    """Return the mean probability of every class over the rows that are given it, less the slack.

    A class that nobody is given has no threshold: infinity.
    """
    num_classes = array.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    own = np.concatenate(
        [array[s][np.arange(s.stop - s.start), labels[s]] for s in row_slices(*array.shape)]
    )
    sums = np.bincount(labels, weights=own, minlength=num_classes)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    return np.maximum(means, _LOWEST_THRESHOLD) - _SLACK


def _guesses(array: NDArray[np.floating], labels: Labels) -> Iterator[tuple[slice, Floats, Labels]]:
    """Yield rows in portions: which, their checked probabilities, and the guessed class (C: none).

    The classes that a row is confident of are counted, and their numbers added up, by one matrix
    product: where there is one class, the sum is it. That is much faster than reductions over rows
    of a few numbers. Both sums are exact.
    """
    num_classes = array.shape[1]
    thresholds = _thresholds(array, labels)
    weights = np.stack([np.ones(num_classes), np.arange(num_classes)], axis=1).astype(np.float32)
    for part in row_slices(*array.shape):
        probs = check_probs(array[part], first=part.start)
        number, total = ((probs >= thresholds).astype(np.float32) @ weights).T
        guess = np.where(number == 0, num_classes, total).astype(np.int64)
        several = np.flatnonzero(number > 1)
        guess[several] = probs[several].argmax(axis=1)
        yield part, probs, guess


def _raw_joint(cells: Labels) -> Labels:
    """Drop the unconfident rows; every class keeps at least one correctly labelled row."""
    joint = cells[:-1].copy()
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return joint


def _joint_of(cells: Labels) -> Labels:
    """Calibrate: scale each column to its given count, round, keep the column sums."""
    raw = _raw_joint(cells)
    totals = cells.sum(axis=0)
    scaled = raw * (totals / raw.sum(axis=0))
    rounded = np.rint(scaled)
    missing = totals - rounded.sum(axis=0)
    order = np.argsort(scaled - rounded, axis=0, kind="stable")
    rank = np.argsort(order, axis=0)
    # The largest remainders go up by one, or the smallest (rounded up already) down by one.
    up, down = rank >= len(raw) - missing, rank < -missing
    joint: Labels = (rounded + up - down.astype(np.float64)).astype(np.int64)
    return joint


def _rows_or_identity(counts: Floats, name: str) -> Floats:
    """Normalise rows; an empty one becomes the identity's, with a warning naming its class."""
    empty = np.flatnonzero(counts.sum(axis=1) == 0)
    if empty.size:
        warnings.warn(
            f"{name}: no row for true class {empty.tolist()}; assumed to carry no noise",
            UserWarning,
            stacklevel=3,
        )
    return normalise_rows(counts)


def _matching_labels(probs: NDArray[np.floating], given_labels: ArrayLike) -> Labels:
    labels = check_labels(given_labels, probs.shape[1], "given_labels")
    if len(labels) != len(probs):
        raise DataError(f"given_labels: expected {len(probs)} rows like probs, found {len(labels)}")
    return labels
