"""What an estimate is asked for, and what it gives."""

from dataclasses import dataclass

from labelrepair.config import in_unit_interval, one_of, require, within
from labelrepair.transition import Floats

METHODS = ("confident_joint", "anchor", "curated", "cleanlab", "given")
ANCHOR_RULES = ("code", "at")
MOST_RESAMPLES = 10_000  # more say nothing new about an interval, and take hours
KNOWN = ("given", "known", "curated")  # methods by which T comes from people, not predictions


@dataclass(frozen=True)
class EstimationSpec:
    """How to estimate T, and how to bootstrap the noise rate.

    Attributes:
        method: one of :data:`METHODS`.
        quantile: for ``anchor``: in [0, 1], or None for the argmax anchor (use it for C = 100).
        rule: for ``anchor``: one of :data:`ANCHOR_RULES`, see :func:`anchor_transition`.
        smoothing: for ``curated``: pseudo-count added to every pair, at least 0.
        transition: for ``given``: the rows of T.
        bootstrap: number of resamples behind the interval, 2 to :data:`MOST_RESAMPLES`.
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
        within(2, MOST_RESAMPLES, bootstrap=self.bootstrap)
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
        probe_accuracy: share of the rows whose true class the probabilities' arg max is, see
            :func:`labelrepair.estimation.accuracy.probe_accuracy`; None where that cannot be told,
            or there are no such probabilities.
        kappa: how far these probabilities' arg max agrees with the given labels beyond chance, in
            [-1, 1], see :func:`labelrepair.estimation.accuracy.cohens_kappa`; None without them.
        level: coverage of the intervals.
    """

    transition: Floats
    noise_rate: float
    interval: tuple[float, float]
    method: str
    class_prior: Floats
    transition_interval: tuple[Floats, Floats] | None = None
    rows: int | None = None
    probe_accuracy: float | None = None
    kappa: float | None = None
    level: float = 0.95


def known_transition(transition: Floats) -> EstimationSpec:
    """Return the settings that take ``transition`` ``(C, C)`` as it is."""
    rows = tuple(tuple(map(float, row)) for row in transition)
    return EstimationSpec(method="given", transition=rows)
