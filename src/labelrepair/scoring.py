"""From class probabilities and given labels to label quality and suggestions."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelrepair.config import positive
from labelrepair.errors import DataError
from labelrepair.transition import check_transition

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SCORE_COLUMNS = ("label_quality", "is_label_issue", "suggested_label", "confidence")
TEMPERATURES = np.geomspace(1.0, 20.0, 25)  # a trained network is over-, hardly ever underconfident


@dataclass(frozen=True)
class ScoringSpec:
    """How scores are formed.

    Attributes:
        calibrate: soften the probabilities by the temperature that makes the given labels most
            likely under T; without it a network's overconfidence overrules T.
        calibration_rows: rows used to find the temperature, evenly spaced.
    """

    calibrate: bool = True
    calibration_rows: int = 20_000

    def __post_init__(self) -> None:
        """Check ranges."""
        positive(calibration_rows=self.calibration_rows)


def label_posterior(probs: Floats, given_labels: Ints, transition: Floats) -> Floats:
    """Return P(true | features, given label), by Bayes' rule.

    ``posterior_i = p_i T[i, y] / sum_k p_k T[k, y]``, with p the class probabilities of the
    features and y the given label. Given label and features are taken as independent given the true
    class, which is what a transition matrix says.

    Args:
        probs: float ``(N, C)`` estimates of P(true = i | features); rows sum to 1.
        given_labels: int64 ``(N,)``.
        transition: float64 ``(C, C)``, row-stochastic.

    Returns:
        Float64 ``(N, C)``, rows sum to 1; where T rules out every class that p allows, p itself.
    """
    joint = probs * transition.T[given_labels]
    total = joint.sum(1, keepdims=True)
    return np.where(total > 0, joint / np.where(total > 0, total, 1.0), probs)


def soften(probs: Floats, temperature: float) -> Floats:
    """Return ``softmax(log p / temperature)``, float64 ``(N, C)``."""
    if temperature == 1.0:
        return probs
    powered = np.power(probs, 1.0 / temperature)
    result: Floats = powered / powered.sum(1, keepdims=True)
    return result


def fit_temperature(probs: Floats, given_labels: Ints, transition: Floats) -> float:
    """Return the temperature of 1 to 20 under which the given labels are most likely.

    Minimises ``-mean log sum_i softmax(log p / t)_i T[i, y]``: the forward-corrected log loss
    (Patrini et al. 2017, theorem 2) as a function of the temperature alone.

    Args:
        probs: as in :func:`label_posterior`.
        given_labels: int64 ``(N,)``.
        transition: float64 ``(C, C)``.
    """
    column = transition.T[given_labels]
    losses = [
        -np.log(np.clip((soften(probs, t) * column).sum(1), 1e-300, None)).mean()
        for t in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(losses))])


def unmix(probs: Floats, transition: Floats) -> Floats:
    """Turn estimates of P(given | features) into P(true | features).

    Solves ``p_true T = p_given`` in the least-squares sense and projects onto the simplex by
    clipping and renormalising; a row that loses everything keeps ``p_given``.
    """
    solved = np.clip(probs @ np.linalg.pinv(transition), 0.0, None)
    total = solved.sum(1, keepdims=True)
    return np.where(total > 1e-12, solved / np.where(total > 1e-12, total, 1.0), probs)


def score(
    probs: NDArray[np.floating],
    given_labels: Ints,
    transition: Floats,
    *,
    probs_of: str = "true",
    spec: ScoringSpec | None = None,
) -> pd.DataFrame:
    """Score every given label.

    Args:
        probs: float ``(N, C)``, rows sum to 1.
        given_labels: int64 ``(N,)`` in 0..C-1.
        transition: ``(C, C)``, ``T[i, j] = P(given = j | true = i)``.
        probs_of: what ``probs`` estimates: the ``true`` class (robust methods), or the ``given``
            one (cross entropy), which is unmixed with T first.
        spec: see :class:`ScoringSpec`.

    Returns:
        Frame of N rows: ``label_quality`` (probability that the given label is right, 0..1),
        ``is_label_issue`` (another class is more probable), ``suggested_label`` (the most probable
        class; the given one on a tie) and ``confidence`` (its probability).

    Raises:
        DataError: shapes do not fit, or a row of ``probs`` is not finite.
        TransitionError: T is not row-stochastic.
    """
    spec = spec or ScoringSpec()
    values = np.asarray(probs, dtype=np.float64)
    if values.ndim != 2 or len(values) != len(given_labels):
        raise DataError(f"probs: shape {values.shape} does not fit {len(given_labels)} labels")
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise DataError(f"probs: row {int(np.argmax(bad))} is not finite")
    matrix = check_transition(transition, values.shape[1])
    if probs_of == "given":
        values = unmix(values, matrix)
    if spec.calibrate and len(values):
        rows = np.linspace(0, len(values) - 1, min(len(values), spec.calibration_rows)).astype(int)
        values = soften(values, fit_temperature(values[rows], given_labels[rows], matrix))
    posterior = label_posterior(values, given_labels, matrix)
    every = np.arange(len(posterior))
    quality, suggested = posterior[every, given_labels], posterior.argmax(1)
    suggested = np.where(quality >= posterior[every, suggested], given_labels, suggested)
    return pd.DataFrame(
        {
            "label_quality": np.clip(quality, 0.0, 1.0),
            "is_label_issue": suggested != given_labels,
            "suggested_label": suggested.astype(np.int64),
            "confidence": np.clip(posterior[every, suggested], 0.0, 1.0),
        }
    )
