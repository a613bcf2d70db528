"""A second look at the repaired labels: out-of-sample probabilities, and T by likelihood.

A network that was trained on the given labels leans towards them, so neither its temperature nor T
can be learned from how well it explains them. Networks of a cross-validation on the *repaired*
labels have seen neither a row nor its given label, and the labels that they learned from are mostly
right. Their probabilities are evidence of its own beside the given label, which is what Bayes' rule
wants, and the likelihood of the given labels under them fits T and the temperature (the observed
labels are a mixture: ``P(given | x) = sum_i p_i(x) T[i, given]``; EM for T).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from labelrepair.config import positive, require, within
from labelrepair.estimation import NoiseEstimate
from labelrepair.estimation.accuracy import cohens_kappa
from labelrepair.estimation.intervals import resampled, unseen
from labelrepair.estimation.spec import MOST_RESAMPLES
from labelrepair.networks.features import Features
from labelrepair.scoring import label_posterior, soften
from labelrepair.training.probe import ProbeSpec
from labelrepair.transition import check_transition, normalise_rows

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
TEMPERATURES = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0, 2.8, 4.0)
METHOD = "maximum_likelihood"
_FLOOR = 1e-9  # of probabilities: a float32 softmax may be exactly 0, and its logarithm infinite


@dataclass(frozen=True)
class RefinementSpec:
    """The second look.

    Attributes:
        rounds: cross-validations, each on the labels that the ones before it agree on; 0 leaves
            the method's own probabilities and the first estimate of T.
        folds: of each cross-validation.
        shift: images are shifted at random by up to this share of their side while the networks
            train, which keeps them from learning wrong labels by heart; 0 = as the probe.
        longer: epochs of each network, as a multiple of the probe's: these labels are better.
        fit_rows: most rows that T and the temperature are fitted on, evenly spaced.
        iterations: EM steps.
        bootstrap: resamples behind the intervals.
        level: coverage of the intervals.
    """

    rounds: int = 1
    folds: int = 5
    shift: float = 0.07
    longer: float = 3.0
    fit_rows: int = 200_000
    iterations: int = 30
    bootstrap: int = 100
    level: float = 0.95

    def __post_init__(self) -> None:
        """Check ranges."""
        within(0, 20, rounds=self.rounds)
        require(self.folds >= 2, f"folds: must be at least 2, found {self.folds}")
        require(0 <= self.shift < 0.5, f"shift: must lie in [0, 0.5), found {self.shift}")
        positive(longer=self.longer, fit_rows=self.fit_rows, iterations=self.iterations)
        within(2, MOST_RESAMPLES, bootstrap=self.bootstrap)
        require(0 < self.level < 1, f"level: must lie strictly in (0, 1), found {self.level}")


class Likelihood(NamedTuple):
    """A fit: T ``(C, C)``, the temperature of the probabilities, mean log likelihood of a label."""

    transition: Floats
    temperature: float
    value: float


def refining(probe: ProbeSpec, spec: RefinementSpec, features: Features) -> ProbeSpec:
    """Return the probe's training as the second look uses it: longer, decaying, images shifted."""
    plain = probe.training
    epochs = max(1, round(spec.longer * plain.schedule.epochs))
    schedule = replace(plain.schedule, epochs=epochs, decay_from=epochs // 2)
    augment = plain.augment
    if len(features.shape) == 4 and spec.shift:
        augment = replace(augment, crop=round(spec.shift * features.shape[-1]))
    training = replace(plain, schedule=schedule, augment=augment)
    return ProbeSpec(folds=spec.folds, training=training)


def fit_transition(
    probs: Floats, given_labels: Labels, start: Floats, iterations: int = 30
) -> tuple[Floats, float]:
    """Fit T by EM to the given labels, the clean posteriors held fixed.

    Args:
        probs: float64 ``(N, C)`` estimates of P(true = i | features) made without these labels.
        given_labels: int64 ``(N,)``.
        start: ``(C, C)`` first T; an element that is 0 stays 0, as EM keeps it.
        iterations: EM steps; each raises the likelihood or leaves it.

    Returns:
        T ``(C, C)``, rows sum to 1 (a class that no row can be keeps the row of ``start``), and the
        mean log likelihood of a given label under it.
    """
    transition = check_transition(start, probs.shape[1])
    for _ in range(iterations):
        counts = _counts(label_posterior(probs, given_labels, transition), given_labels)
        transition = np.where(counts.sum(1, keepdims=True) > 0, normalise_rows(counts), transition)
    seen = np.einsum("ni,in->n", probs, transition[:, given_labels])
    return transition, float(np.log(np.maximum(seen, _FLOOR)).mean())


def fit_likelihood(
    probs: NDArray[np.floating],
    given_labels: Labels,
    start: Floats,
    spec: RefinementSpec,
    known: bool = False,
) -> Likelihood:
    """Return the temperature and T under which the given labels are most probable.

    Args:
        probs: float ``(N, C)``, made without the given labels of the rows.
        given_labels: int64 ``(N,)``.
        start: ``(C, C)`` first T. Zero elements are raised a little, so that EM may leave them.
        spec: rows and iterations.
        known: ``start`` is the T, not an estimate: only the temperature is fitted.
    """
    rows = np.linspace(0, len(probs) - 1, min(len(probs), spec.fit_rows)).astype(int)
    some, labels = np.maximum(probs[rows].astype(np.float64), _FLOOR), given_labels[rows]
    begin = start if known else normalise_rows(start + 1e-4)
    steps = 0 if known else spec.iterations
    fits = []
    for temperature in TEMPERATURES:
        found, value = fit_transition(soften(some, temperature), labels, begin, steps)
        fits.append(Likelihood(found, temperature, value))
    return max(fits, key=lambda fit: fit.value)


def calibrated(probs: NDArray[np.floating], temperature: float) -> NDArray[np.float32]:
    """Return the probabilities at a temperature, float32 ``(N, C)``."""
    raised = np.maximum(probs.astype(np.float64), _FLOOR)
    return soften(raised / raised.sum(1, keepdims=True), temperature).astype(np.float32)


def matched(probs: NDArray[np.floating], prior: Floats, steps: int = 200) -> Floats:
    """Return the probabilities, weighted by class so that each occurs as often as expected.

    A network that has lost a class still ranks the rows by it. Iterative proportional fitting: the
    classes are scaled to the expected sums, then the rows to 1, and so on.

    Args:
        probs: float ``(N, C)``; rows sum to 1.
        prior: ``(C,)`` estimated shares of the true classes; a class of share 0 vanishes.
        steps: of the fitting.

    Returns:
        Float64 ``(N, C)``; rows sum to 1, the means of the columns come near ``prior``.
    """
    result: Floats = np.maximum(probs.astype(np.float64), _FLOOR)
    for _ in range(steps):
        result *= len(result) * prior / np.maximum(result.sum(0), _FLOOR)
        result /= result.sum(1, keepdims=True)
    return result


def refined_noise(
    probs: NDArray[np.floating],
    given_labels: Labels,
    transition: Floats,
    spec: RefinementSpec,
    rng: np.random.Generator,
) -> NoiseEstimate:
    """Return what the likelihood says about the noise, with bootstrap intervals.

    Rows are resampled and T takes one EM step from its optimum in each resample: the spread of the
    sample, not an error of the model of the noise.

    Args:
        probs: calibrated ``(N, C)``.
        given_labels: int64 ``(N,)``.
        transition: the fitted T.
        spec: resamples and level.
        rng: draws the resamples.

    Returns:
        The estimate; its noise rate is the mean probability that a given label is wrong.
    """
    posterior = label_posterior(probs.astype(np.float64), given_labels, transition)
    count = len(posterior)
    wrong = 1.0 - posterior[np.arange(count), given_labels]
    rates, matrices = [], []
    for _ in range(spec.bootstrap):
        weights = rng.multinomial(count, np.full(count, 1 / count)).astype(np.float64)
        rates.append(float((weights * wrong).sum() / count))
        if not resampled(spec.bootstrap, len(transition)):
            continue
        counts = _counts(posterior * weights[:, None], given_labels)
        matrices.append(
            np.where(counts.sum(1, keepdims=True) > 0, normalise_rows(counts), transition)
        )
    tails = ((1 - spec.level) / 2, (1 + spec.level) / 2)
    low, high = np.quantile(rates, tails)
    low, high = unseen(low, high, count, spec.level)
    interval = np.quantile(np.stack(matrices), tails, axis=0) if matrices else None
    return NoiseEstimate(
        transition=transition,
        noise_rate=float(wrong.mean()),
        interval=(low, high),
        method=METHOD,
        class_prior=posterior.mean(0),
        transition_interval=None if interval is None else (interval[0], interval[1]),
        rows=count,
        kappa=cohens_kappa(probs, given_labels),
        level=spec.level,
    )


def _counts(posterior: Floats, given_labels: Labels) -> Floats:
    """Return (C, C), the posterior summed over the rows of each given label; true class first."""
    count, classes = posterior.shape
    ones = (np.ones(count), (given_labels, np.arange(count)))
    found: Floats = (sparse.csr_array(ones, shape=(classes, count)) @ posterior).T
    return found
