"""Checks and algebra of transition matrices: ``T[i, j] = P(given=j | true=i)``, rows sum to 1."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelrepair.config import positive
from labelrepair.errors import ConfigError, DataError, TransitionError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

DOUBTFUL_CONDITION = 100.0
MAX_CONDITION_CLASSES = 500  # beyond, finding a condition number takes seconds to hours
LOST = 0.1  # of the expected rows of a class
FEWEST = 10  # rows that must be expected before their absence says anything
# The last digits let a row like 0.333333 x 3, which misses by 1e-6 on paper, pass in floats too.
ROW_SUM_TOLERANCE = 1e-6 + 1e-12


def check_transition(
    transition: ArrayLike, num_classes: int | None = None, name: str = "transition"
) -> Floats:
    """Return a row-stochastic float64 copy of ``transition``.

    Args:
        transition: (C, C) array or nested lists; each row may miss a sum of 1 by at most 1e-6,
            the room that rounded numbers typed into YAML need.
        num_classes: the C that is expected, or None to accept any.
        name: how messages call the matrix.

    Returns:
        A new (C, C) float64 array whose rows are divided by their sums.

    Raises:
        TransitionError: for a wrong shape, an entry that is not finite or is negative, or a row
            that does not sum to 1; the message names the row and its sum.
    """
    try:
        matrix = np.array(transition, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TransitionError(f"{name}: expected a square matrix of numbers ({error})") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise TransitionError(f"{name}: expected a square matrix, found shape {matrix.shape}")
    if num_classes is not None and len(matrix) != num_classes:
        expected = (num_classes, num_classes)
        raise TransitionError(f"{name}: expected shape {expected}, found {matrix.shape}")
    _refuse_row(~np.isfinite(matrix), matrix, f"{name}: entries must be finite")
    _refuse_row(matrix < 0, matrix, f"{name}: entries must not be negative")
    sums = matrix.sum(axis=1)
    rule = f"{name}: every row must sum to 1 (T[i, j] = P(given=j | true=i))"
    if np.allclose(matrix.sum(axis=0), 1.0, rtol=0, atol=ROW_SUM_TOLERANCE):
        rule += "; the columns do, so this may be the transpose"
    _refuse_row(np.abs(sums - 1.0)[:, None] > ROW_SUM_TOLERANCE, matrix, rule)
    checked: Floats = matrix / sums[:, None]
    return checked


def check_labels(labels: ArrayLike, num_classes: int, name: str = "labels") -> Labels:
    """Return ``labels`` as int64 (N,), each in ``0..num_classes - 1``.

    Raises:
        DataError: for another shape or a dtype that is not integer, or a label out of range; the
            message names the first offending row.
    """
    array = np.asarray(labels)
    if array.ndim != 1:
        raise DataError(f"{name}: expected one label per row, found shape {array.shape}")
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name}: expected integers, found dtype {array.dtype}")
    wrong = (array < 0) | (array >= num_classes)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{name}: row {row} holds label {array[row]}, expected 0..{num_classes - 1}"
        )
    return array.astype(np.int64, copy=False)


def condition_number(transition: ArrayLike) -> float:
    """Return the 2-norm condition number of a transition matrix: 1 for the identity, up to inf."""
    return float(np.linalg.cond(check_transition(transition)))


def warn_if_doubtful(transition: Floats) -> None:
    """Warn where T ``(C, C)`` hardly tells some classes apart, as labels are judged by it.

    Of more than ``MAX_CONDITION_CLASSES`` classes nothing is said.
    """
    if len(transition) > MAX_CONDITION_CLASSES:
        return
    condition = condition_number(transition)
    if condition >= DOUBTFUL_CONDITION:
        warnings.warn(
            f"transition: condition number {condition:.3g}: given labels hardly tell some classes "
            "apart, and the noise rate and the labels suggested for them may be far off",
            stacklevel=3,
        )


def invert_transition(transition: ArrayLike, max_condition: float = 1e6) -> Floats:
    """Return the float64 inverse of T, as backward correction needs it (Patrini 2017, theorem 1).

    Cast it to the training precision only afterwards: the inversion itself needs float64.

    Args:
        transition: (C, C) row-stochastic.
        max_condition: the largest 2-norm condition number accepted.

    Returns:
        (C, C) float64; its rows sum to 1, its entries may be negative.

    Raises:
        TransitionError: when T is singular or ill-conditioned, with its condition number; from 100
            on there is a warning that tells it. Singular are symmetric noise at rate (C-1)/C, a
            two-way class swap at 0.5, a ring of even length at 0.5, and `binary_text` at 0.95.
    """
    positive(max_condition=max_condition)
    matrix = check_transition(transition)
    condition = float(np.linalg.cond(matrix))
    if not condition < max_condition:
        raise TransitionError(
            f"transition: condition number {condition:.3g}, expected below {max_condition:g}: "
            "given labels cannot tell some classes apart, so T cannot be inverted; "
            "use forward correction or mix T with the identity"
        )
    if condition >= DOUBTFUL_CONDITION:
        warnings.warn(
            f"transition: condition number {condition:.3g}: backward correction may amplify the "
            "noise of the losses as much; forward correction does not invert T",
            stacklevel=2,
        )
    return np.linalg.inv(matrix).astype(np.float64)


def corrected_hits(predicted: ArrayLike, given: ArrayLike, transition: ArrayLike) -> Floats:
    """Return float64 (N,) whose mean is an unbiased estimate of the accuracy on clean labels.

    Args:
        predicted: int64 (N,).
        given: int64 (N,), noisy by ``transition``.
        transition: (C, C); the identity makes it the plain 0/1 hit.

    Raises:
        DataError: a label outside 0..C-1.
        TransitionError: T cannot be inverted.
    """
    inverse = invert_transition(transition)
    hits: Floats = inverse[
        check_labels(given, len(inverse), "given"), check_labels(predicted, len(inverse))
    ]
    return hits


def check_reachable(transition: ArrayLike, given_counts: ArrayLike) -> None:
    """Check that every label that occurs can come from some true class.

    Args:
        transition: (C, C) row-stochastic.
        given_counts: (C,) how often each label was given.

    Raises:
        TransitionError: T's column of such a label is 0, naming the classes.
    """
    matrix, counts = np.asarray(transition), np.asarray(given_counts)
    if ((matrix.max(axis=0) <= 0) & (counts > 0)).any():
        raise TransitionError(
            f"transition: {_never_given(matrix, counts)}, though such labels occur: set "
            "identity_mix above 0, or estimate T with smoothing above 0 or from more trusted rows"
        )


def _never_given(matrix: Floats, counts: NDArray[Any]) -> str:
    classes = np.flatnonzero((matrix.max(axis=0) <= 0) & (counts > 0)).tolist()
    some = ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
    return f"by it no sample is ever labelled class {some}"


def solve_prior(transition: ArrayLike, given_frequencies: ArrayLike) -> Floats:
    """Return the clean class prior pi that solves ``pi @ T = given_frequencies``.

    Non-negative least squares, then divided by its sum: exact when a solution exists, the nearest
    non-negative one otherwise. With a singular T the prior is not unique; one of them is returned.

    Args:
        transition: (C, C) row-stochastic.
        given_frequencies: (C,) shares or counts of the given labels.

    Returns:
        (C,) float64, non-negative, summing to 1.

    Raises:
        DataError: when the frequencies are not C finite non-negative numbers with a positive sum.
        TransitionError: when T rules out every label that was given.
    """
    matrix = check_transition(transition)
    frequencies = _distribution(given_frequencies, len(matrix), "given_frequencies")
    solution = _exact_prior(matrix, frequencies)
    if solution is None:
        from scipy.optimize import nnls  # noqa: PLC0415 - as slow to import as half of torch

        solution = np.asarray(nnls(matrix.T, frequencies)[0], dtype=np.float64)
    if not solution.sum() > 0:
        raise TransitionError(f"transition: {_never_given(matrix, frequencies)}: all of the labels")
    prior: Floats = solution / solution.sum()
    return prior


def _exact_prior(matrix: Floats, frequencies: Floats) -> Floats | None:
    """Return the non-negative solution if there is one; much faster than nnls for many classes."""
    try:
        solution = np.linalg.solve(matrix.T, frequencies).astype(np.float64)
    except np.linalg.LinAlgError:
        return None
    fits = (solution >= 0).all() and np.allclose(solution @ matrix, frequencies, rtol=0, atol=1e-12)
    return solution if fits else None


def lost_classes(predicted: ArrayLike, prior: Floats) -> Labels:
    """Return the classes that are hardly ever predicted though rows of them are expected.

    Args:
        predicted: int64 ``(N,)``, the class predicted for each row.
        prior: ``(C,)`` estimated shares of the true classes.

    Returns:
        Ascending: those predicted for under a tenth of the expected rows, of which there are at
        least ten. Where one class is predicted for everything, all others.
    """
    found = np.bincount(np.asarray(predicted), minlength=len(prior))
    return np.flatnonzero(are_lost(found, prior * len(np.asarray(predicted))))


def are_lost(found: ArrayLike, expected: ArrayLike) -> NDArray[np.bool_]:
    """Return which classes have been found on hardly any row, bool ``(C,)``.

    Args:
        found: rows of each class, ``(C,)``.
        expected: how many there should be, ``(C,)``; under ten say nothing.
    """
    wanted = np.asarray(expected)
    return (wanted >= FEWEST) & (np.asarray(found) < LOST * wanted)


def noise_rate_of(
    transition: ArrayLike,
    prior: ArrayLike | None = None,
    given_frequencies: ArrayLike | None = None,
) -> float:
    """Return the share of wrong labels, ``1 - sum_i pi_i T[i, i]``.

    Args:
        transition: (C, C) row-stochastic.
        prior: (C,) clean class shares or counts pi.
        given_frequencies: (C,) given label shares or counts from which pi is solved
            (:func:`solve_prior`). Without this and ``prior``, pi is uniform.

    Returns:
        A rate in [0, 1].

    Raises:
        ConfigError: when both ``prior`` and ``given_frequencies`` are given.
    """
    matrix = check_transition(transition)
    if prior is not None and given_frequencies is not None:
        raise ConfigError("prior: give either prior or given_frequencies, found both")
    if given_frequencies is not None:
        weights = solve_prior(matrix, given_frequencies)
    else:
        weights = _distribution(np.ones(len(matrix)) if prior is None else prior, len(matrix))
    # Summing the off-diagonal mass keeps an identity T at exactly 0, which 1 - sum does not.
    return float(np.clip(weights @ (1.0 - np.diag(matrix)), 0.0, 1.0))


def paired_share(transition: ArrayLike, prior: ArrayLike | None = None) -> float:
    """Return the share of wrong labels that go to their true class's most frequent wrong label.

    1 where each class is mixed up with one other, about ``1 / (C - 1)`` where noise is symmetric.

    Args:
        transition: (C, C) row-stochastic.
        prior: (C,) clean class shares or counts; None = uniform.

    Returns:
        A share in (0, 1]; 0 where T says that no label is wrong.
    """
    matrix = check_transition(transition)
    weights = _distribution(np.ones(len(matrix)) if prior is None else prior, len(matrix))
    wrong = matrix * (1.0 - np.eye(len(matrix)))
    total = float(weights @ wrong.sum(1))
    return float(weights @ wrong.max(1)) / total if total > 0 else 0.0


def transition_error(estimated: ArrayLike, true: ArrayLike) -> dict[str, float]:
    """Return how far an estimated T is from the true one, both (C, C).

    Returns:
        ``mean_absolute``: mean of ``|T - T_hat|`` over all C*C entries;
        ``relative_frobenius``: the Frobenius norm of T - T_hat divided by that of T.
    """
    reference = check_transition(true, name="true")
    difference = reference - check_transition(estimated, len(reference), name="estimated")
    return {
        "mean_absolute": float(np.abs(difference).mean()),
        "relative_frobenius": float(np.linalg.norm(difference) / np.linalg.norm(reference)),
    }


def count_pairs(true_labels: ArrayLike, given_labels: ArrayLike, num_classes: int) -> Labels:
    """Return (C, C) int64 counts of rows with true label i (row) and given label j (column)."""
    true = check_labels(true_labels, num_classes, "true_labels")
    given = check_labels(given_labels, num_classes, "given_labels")
    if len(true) != len(given):
        raise DataError(f"given_labels: expected {len(true)} rows like true_labels, {len(given)}")
    pairs = np.bincount(true * num_classes + given, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes).astype(np.int64)


def actual_transition(true_labels: ArrayLike, given_labels: ArrayLike, num_classes: int) -> Floats:
    """Return the T that the two label columns show; evaluation only, it needs the truth.

    Returns:
        (C, C) float64 row frequencies; a class without a row gets the identity row.
    """
    return normalise_rows(count_pairs(true_labels, given_labels, num_classes).astype(np.float64))


def normalise_rows(counts: Floats) -> Floats:
    """Return (..., C, C) counts divided by their row sums; an empty row becomes the identity's."""
    sums = counts.sum(axis=-1, keepdims=True)
    identity = np.broadcast_to(np.eye(counts.shape[-1]), counts.shape)
    rows: Floats = np.where(sums > 0, counts / np.where(sums > 0, sums, 1.0), identity)
    return rows


def _distribution(values: ArrayLike, size: int, name: str = "prior") -> Floats:
    """Return ``values`` as (size,) float64 shares summing to 1, or raise DataError."""
    shares = np.asarray(values, dtype=np.float64)
    if shares.shape != (size,):
        raise DataError(f"{name}: expected {size} values, found shape {shares.shape}")
    if not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise DataError(f"{name}: expected non-negative numbers with a positive sum, got {shares}")
    normalised: Floats = shares / shares.sum()
    return normalised


def _refuse_row(wrong: NDArray[np.bool_], matrix: Floats, rule: str) -> None:
    """Raise TransitionError naming the first row where ``wrong`` (C, C) or (C, 1) holds."""
    if wrong.any():
        row = int(np.argwhere(wrong)[0, 0])
        raise TransitionError(
            f"{rule}; row {row} is {np.array2string(matrix[row], threshold=8)} "
            f"with sum {matrix[row].sum():.9g}"
        )
