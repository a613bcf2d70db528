"""Is a new model at least as good as the present one, judged by labels that are partly wrong?

Backward correction (Patrini et al. 2017, theorem 1) of the 0/1 loss: with T[i, j] = P(given=j |
true=i), the expectation of ``inv(T)[given, predicted]`` over the given label is 1 if the prediction
is right and 0 if not. Its mean over rows is therefore an unbiased estimate of the accuracy on clean
labels, and so is ``inv(T)[given, i]`` of the share of class i.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from labelrepair.config import in_unit_interval, one_of, require
from labelrepair.errors import TransitionError
from labelrepair.transition import (
    Floats,
    check_labels,
    check_transition,
    corrected_hits,
    invert_transition,
    lost_classes,
    noise_rate_of,
    solve_prior,
)

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class GateSpec:
    """The rule by which ``champion`` moves.

    Attributes:
        rows: ``validation`` or ``test``; ``auto``: validation rows if enough of them are left that
            neither model was trained on, else test rows.
        margin: the challenger passes if the lower bound of its lead exceeds ``-margin``.
        class_margin: it fails if, for any class, the upper bound of its lead is below
            ``-class_margin``.
        level: of all intervals.
        min_rows: with fewer rows that neither was trained on, nothing moves.
        min_audited: with fewer audited rows these are left out of the rule.
    """

    rows: str = "auto"
    margin: float = 0.01
    class_margin: float = 0.05
    level: float = 0.95
    min_rows: int = 100
    min_audited: int = 20

    def __post_init__(self) -> None:
        """Check names and ranges."""
        one_of(("auto", "validation", "test"), rows=self.rows)
        in_unit_interval(margin=self.margin, class_margin=self.class_margin)
        require(0.5 <= self.level < 1, f"level: must lie in [0.5, 1), found {self.level}")
        require(self.min_rows >= 2, f"min_rows: must be at least 2, found {self.min_rows}")
        require(self.min_audited >= 2, f"min_audited: must be at least 2, {self.min_audited}")


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; all None where it cannot be estimated."""

    value: float | None
    low: float | None
    high: float | None


def accuracy(predicted: ArrayLike, given: ArrayLike, transition: Floats, level: float) -> Estimate:
    """Return the clean accuracy with its interval, clipped to [0, 1]."""
    hits = corrected_hits(predicted, given, transition)
    inverse = invert_transition(transition)
    value, low, high = _mean_interval(hits, (float(inverse.min()), float(inverse.max())), level)
    return Estimate(*(float(np.clip(number, 0, 1)) for number in (value, low, high)))


def paired_difference(
    challenger: ArrayLike, champion: ArrayLike, given: ArrayLike, transition: Floats, level: float
) -> Estimate:
    """Return accuracy of challenger minus champion with a paired interval.

    Normal interval of the mean of per-row differences, with two rows added: the largest possible
    lead and the largest possible deficit. For clean labels this is the adjusted Wald interval of
    Bonett and Price (2012), which does not shrink to nothing when the models hardly disagree.
    """
    hits = corrected_hits(challenger, given, transition)
    lead = hits - corrected_hits(champion, given, transition)
    reach = _reach(invert_transition(transition))
    value, low, high = _mean_interval(lead, (-reach, reach), level)
    return Estimate(*(float(np.clip(number, -1, 1)) for number in (value, low, high)))


def paired_difference_by_class(
    challenger: ArrayLike, champion: ArrayLike, given: ArrayLike, transition: Floats, level: float
) -> list[Estimate]:
    """Return, per true class, the lead in the share of the class's rows that are recognised.

    A ratio of two unbiased means, its interval by linearisation (delta method), with the added rows
    of :func:`paired_difference`. A class whose estimated share is not clearly above 0 has no
    estimate.
    """
    inverse = invert_transition(transition)
    labels = check_labels(given, len(inverse), "given")
    ours, theirs = np.asarray(challenger), np.asarray(champion)
    result = []
    for label in range(len(inverse)):
        share = inverse[labels, label]
        lead = share * ((ours == label).astype(float) - (theirs == label))
        result.append(_ratio_interval(lead, share, float(np.abs(inverse[:, label]).max()), level))
    return result


@dataclass(frozen=True)
class Judged:
    """Predictions of both models on the rows that neither was trained on.

    Attributes:
        challenger, champion: int64 (N,) predicted classes.
        labels: int64 (N,); noisy by ``transition``.
        transition: float64 (C, C); the identity where the labels are true.
        noise_interval: interval of the noise rate; None where the labels are true.
    """

    challenger: Labels
    champion: Labels
    labels: Labels
    transition: Floats
    noise_interval: tuple[float, float] | None = None


def decide(
    judged: Judged, audited: Judged | None, spec: GateSpec, *, first: bool = False
) -> dict[str, Any]:
    """Apply the rule.

    T is an estimate: the intervals are the widest over T as estimated and T at both ends of the
    noise rate's interval.

    Args:
        judged: rows with given labels.
        audited: rows with trusted labels, if there are enough.
        spec: the rule.
        first: there is no champion yet; ``judged.champion`` is chance, the class that is most
            frequent, and the challenger must beat it, without a margin, and may not have lost a
            class (:func:`labelrepair.transition.lost_classes`).

    Returns:
        Plain values: ``passed``, ``reasons`` (why not), ``overall``, ``per_class``, ``audited``,
        ``challenger_accuracy``, ``champion_accuracy``, ``rows``.
    """
    try:
        matrices = _matrices(judged)
        overall = _widest([_overall(judged, matrix, spec.level) for matrix in matrices])
        classes = _by_class(judged, matrices, spec.level)
    except TransitionError as error:
        return {"passed": False, "reasons": [str(error)], "rows": len(judged.labels)}
    trusted = None if audited is None else _overall(audited, audited.transition, spec.level)
    reasons = []
    if first and not _above(overall.low, 0.0):
        reasons.append(f"does not beat the most frequent class: lead {_shown(overall)}")
    elif not first and not _above(overall.low, -spec.margin):
        rule = f"expected a lower bound above {-spec.margin:+.4f}"
        reasons.append(f"lead over the champion {_shown(overall)}; {rule}")
    if first:
        reasons += _lost(judged)
    else:
        for label, lead in enumerate(classes):
            if lead.high is not None and lead.high < -spec.class_margin:
                rule = f"expected an upper bound of at least {-spec.class_margin:+.4f}"
                reasons.append(f"class {label}: lead {_shown(lead)}; {rule}")
    if trusted is not None and trusted.high is not None and trusted.high < 0:
        reasons.append(f"worse on the audited rows: lead {_shown(trusted)}")
    return {
        "passed": not reasons,
        "reasons": reasons,
        "overall": vars(overall),
        "per_class": [vars(lead) for lead in classes],
        "audited": None if trusted is None else vars(trusted),
        "challenger_accuracy": vars(_accuracy(judged.challenger, judged, matrices, spec.level)),
        "champion_accuracy": vars(_accuracy(judged.champion, judged, matrices, spec.level)),
        "rows": len(judged.labels),
        "audited_rows": 0 if audited is None else len(audited.labels),
    }


def most_frequent(given: ArrayLike, transition: ArrayLike) -> int:
    """Return the class of the largest share by the T-corrected frequencies: the best guess."""
    counts = np.bincount(np.asarray(given), minlength=len(check_transition(transition)))
    return int(solve_prior(transition, counts).argmax())


def transition_at(transition: Floats, rate: float, given: ArrayLike) -> Floats:
    """Return T with its noise scaled so that the noise rate is ``rate``, as far as rows allow."""
    counts = np.bincount(np.asarray(given), minlength=len(transition))
    found = noise_rate_of(transition, given_frequencies=counts)
    if found <= 0:
        return transition
    identity = np.eye(len(transition))
    most = 1.0 / max(1e-12, float((1.0 - np.diag(transition)).max()))
    return np.asarray(identity + min(rate / found, most) * (transition - identity))


def _matrices(judged: Judged) -> list[Floats]:
    matrices = [check_transition(judged.transition)]
    for rate in judged.noise_interval or ():
        matrices.append(transition_at(matrices[0], rate, judged.labels))
    return matrices


def _overall(judged: Judged, transition: Floats, level: float) -> Estimate:
    return paired_difference(judged.challenger, judged.champion, judged.labels, transition, level)


def _by_class(judged: Judged, matrices: list[Floats], level: float) -> list[Estimate]:
    found = [
        paired_difference_by_class(judged.challenger, judged.champion, judged.labels, matrix, level)
        for matrix in matrices
    ]
    return [_widest(list(leads)) for leads in zip(*found, strict=True)]


def _lost(judged: Judged) -> list[str]:
    """Name the classes that the challenger hardly ever predicts, by the T-corrected shares."""
    classes = len(judged.transition)
    given, found = (
        np.bincount(labels, minlength=classes) for labels in (judged.labels, judged.challenger)
    )
    prior = solve_prior(judged.transition, given)
    return [
        f"class {label}: predicted for {found[label]} rows where "
        f"{prior[label] * len(judged.labels):.0f} are expected"
        for label in lost_classes(judged.challenger, prior)
    ]


def _accuracy(predicted: Labels, judged: Judged, matrices: list[Floats], level: float) -> Estimate:
    return _widest([accuracy(predicted, judged.labels, matrix, level) for matrix in matrices])


def _widest(found: list[Estimate]) -> Estimate:
    """Return the first value with the lowest and highest bound; None if any is None."""
    lows = [estimate.low for estimate in found if estimate.low is not None]
    highs = [estimate.high for estimate in found if estimate.high is not None]
    if len(lows) < len(found):
        return Estimate(None, None, None)
    return Estimate(found[0].value, min(lows), max(highs))


def _mean_interval(
    values: Floats, added: tuple[float, float], level: float
) -> tuple[float, float, float]:
    """Return mean and normal interval of ``values`` with two rows added."""
    padded = np.append(values, added)
    spread = ndtri(0.5 + level / 2) * padded.std(ddof=1) / np.sqrt(len(padded))
    return float(values.mean()), float(padded.mean() - spread), float(padded.mean() + spread)


def _ratio_interval(lead: Floats, share: Floats, reach: float, level: float) -> Estimate:
    z = ndtri(0.5 + level / 2)
    weight = share.mean()
    if weight <= z * share.std(ddof=1) / np.sqrt(len(share)):
        return Estimate(None, None, None)
    ratio = lead.mean() / weight
    residual = np.append(lead - ratio * share, (-reach, reach))
    spread = z * residual.std(ddof=1) / np.sqrt(len(residual)) / weight
    bounds = np.clip([ratio, ratio - spread, ratio + spread], -1, 1)
    return Estimate(*map(float, bounds))


def _reach(inverse: Floats) -> float:
    """Return the largest difference that one row can make: max over given, a, b."""
    return float((inverse.max(axis=1) - inverse.min(axis=1)).max())


def _above(bound: float | None, limit: float) -> bool:
    return bound is not None and bound > limit


def _shown(lead: Estimate) -> str:
    if lead.value is None:
        return "unknown"
    return f"{lead.value:+.4f} [{lead.low:+.4f}, {lead.high:+.4f}]"
