"""From class probabilities and given labels to label quality and suggestions."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelrepair.chunks import row_slices
from labelrepair.config import positive
from labelrepair.errors import DataError
from labelrepair.estimation import check_probs
from labelrepair.transition import check_labels, check_transition, noise_rate_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SCORE_COLUMNS = ("label_quality", "is_label_issue", "suggested_label", "confidence")
# The lowest nearly leaves the decision to the arg max and still tells doubtful rows from sure ones.
TEMPERATURES = np.geomspace(0.3, 20.0, 43)
TOLERANCE = 0.005  # share of labels by which the expected share of right ones may be missed


@dataclass(frozen=True)
class ScoringSpec:
    """How scores are formed.

    Attributes:
        calibrate: choose the temperature of the probabilities by the noise rate, see
            :func:`fit_temperature`. Without it probabilities are taken at face value.
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


def fit_temperature(
    probs: Floats, given_labels: Ints, transition: Floats, noise_rate: float | None = None
) -> float:
    """Return the temperature at which the expected share of right labels is 1 - noise rate.

    The network that made ``probs`` has usually been trained on these very labels and leans towards
    them; likelihood cannot tell that from evidence and would trust the labels too much. The noise
    rate comes from elsewhere (out-of-sample predictions) and is not misled: the mean of
    P(given label right) over the rows has to equal 1 - noise rate. At low temperatures that mean is
    the share of labels that agree with the arg max; it rises with the temperature and falls back
    towards uninformative probabilities. The first temperature that reaches it (within 0.005) is
    taken: the lowest, where agreement alone exceeds it, and the best where none does.

    Args:
        probs: as in :func:`label_posterior`.
        given_labels: int64 ``(N,)``.
        transition: float64 ``(C, C)``.
        noise_rate: share of wrong labels; None = that of ``transition`` and the label counts.

    Returns:
        One of :data:`TEMPERATURES`.
    """
    if noise_rate is None:
        counts = np.bincount(given_labels, minlength=len(transition))
        noise_rate = noise_rate_of(transition, given_frequencies=counts)
    shares, right = [], np.empty(len(probs))
    for t in TEMPERATURES:
        for part in row_slices(*probs.shape):
            given = given_labels[part]
            posterior = label_posterior(soften(probs[part], t), given, transition)
            right[part] = posterior[np.arange(len(given)), given]
        shares.append(right.mean())
        if shares[-1] >= 1.0 - noise_rate - TOLERANCE:
            return float(t)
    return float(TEMPERATURES[int(np.argmax(shares))])


def score(
    probs: NDArray[np.floating],
    given_labels: Ints,
    transition: Floats,
    *,
    noise_rate: float | None = None,
    spec: ScoringSpec | None = None,
    temperature: float | None = None,
) -> pd.DataFrame:
    """Score every given label.

    Args:
        probs: float ``(N, C)`` estimates of P(true = i | features), rows sum to 1.
        given_labels: int64 ``(N,)`` in 0..C-1.
        transition: ``(C, C)``, ``T[i, j] = P(given = j | true = i)``.
        noise_rate: share of wrong labels; None = that of ``transition`` and the label counts.
        spec: see :class:`ScoringSpec`.
        temperature: of the probabilities, where it is known already (from all shards of a table,
            see :func:`calibration_rows` and :func:`fit_temperature`); None = fitted to these rows.

    Returns:
        Frame of N rows: ``label_quality`` (probability that the given label is right, 0..1),
        ``is_label_issue`` (another class is more probable), ``suggested_label`` (the most probable
        class; the given one on a tie) and ``confidence`` (its probability).

    Raises:
        DataError: shapes do not fit, a row of ``probs`` holds no probabilities (see
            :func:`labelrepair.estimation.check_probs`), or a label is no class.
        TransitionError: T is not row-stochastic.
    """
    spec = spec or ScoringSpec()
    values = np.asarray(probs)
    if values.ndim != 2 or len(values) != len(given_labels):
        raise DataError(f"probs: shape {values.shape} does not fit {len(given_labels)} labels")
    for part in row_slices(*values.shape):
        check_probs(values[part], first=part.start)
    given_labels = check_labels(given_labels, values.shape[1], "given_labels")
    matrix = check_transition(transition, values.shape[1])
    if temperature is None and spec.calibrate and len(values):
        rows = calibration_rows(len(values), spec)
        sample = values[rows].astype(np.float64)
        temperature = fit_temperature(sample, given_labels[rows], matrix, noise_rate)
    temperature = 1.0 if temperature is None else temperature
    quality, confidence = np.empty(len(values)), np.empty(len(values))
    suggested = np.empty(len(values), np.int64)
    for part in row_slices(*values.shape):
        softened = soften(values[part].astype(np.float64, copy=False), temperature)
        found = _judge(label_posterior(softened, given_labels[part], matrix), given_labels[part])
        quality[part], suggested[part], confidence[part] = found
    return pd.DataFrame(
        {
            "label_quality": np.clip(quality, 0.0, 1.0),
            "is_label_issue": suggested != given_labels,
            "suggested_label": suggested,
            "confidence": np.clip(confidence, 0.0, 1.0),
        }
    )


def calibration_rows(count: int, spec: ScoringSpec) -> Ints:
    """Return the rows of ``count`` that the temperature is fitted to, ascending."""
    return np.linspace(0, count - 1, min(count, spec.calibration_rows)).astype(np.int64)


def _judge(posterior: Floats, given_labels: Ints) -> tuple[Floats, Ints, Floats]:
    """Return label quality, suggested label (the given one on a tie) and its probability."""
    every = np.arange(len(posterior))
    quality, suggested = posterior[every, given_labels], posterior.argmax(1)
    suggested = np.where(quality >= posterior[every, suggested], given_labels, suggested)
    return quality, suggested, posterior[every, suggested]
