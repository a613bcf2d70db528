"""How often the probe is right, and whether it knows anything at all, told without the truth."""

import warnings
from typing import Any

import numpy as np

from labelrepair.errors import TransitionError
from labelrepair.estimation.spec import KNOWN
from labelrepair.transition import Floats, Labels, corrected_hits, count_pairs, normalise_rows

SUREST = 0.2  # of the rows predicted to be of a class
MOST_ROWS = 200_000
FEW_CLASSES = 500  # a matrix of these is inverted in no time
WEAK = 0.25  # Cohen's kappa of networks that may only be guessing
UNACCOUNTED = 0.25  # of kappa that the estimated noise does not account for


def probe_accuracy(probs: Any, given_labels: Labels) -> float | None:
    """Estimate the share of rows whose true class the arg max is, from noisy labels alone.

    The given labels are corrected by a T of their own (:func:`corrected_hits`): row i is how the
    surest fifth of the rows predicted to be i are labelled, as these are hardly ever another class
    (anchor points, many of them). The confident joint's T would not do: it counts the probe's
    mistakes as noise, and so finds it right too often. Where wrong labels have taught the probe
    their structure (classes confused in pairs), the estimate is 2 to 3 points high.

    Args:
        probs: (N, C) out-of-sample probabilities, already checked; at most 200,000 evenly spaced
            rows of them are read.
        given_labels: int64 (N,).

    Returns:
        A share in [0, 1]; None where T cannot be inverted.
    """
    some, labels = _spaced(probs, given_labels)
    best, labels, num_classes = _numbered(some.argmax(axis=1), labels, some.shape[1])
    transition = _of_surest(best, some.max(axis=1), labels, num_classes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its condition, which matters to trainings
            hits = corrected_hits(best, labels, transition)
    except TransitionError:
        return None
    return float(np.clip(hits.mean(), 0.0, 1.0))


def cohens_kappa(probs: Any, given_labels: Labels) -> float:
    """Return how far the arg max agrees with the given labels beyond chance.

    0 is what guessing by the classes' shares would reach, 1 is agreement in every row. Below
    :data:`WEAK` either most labels are wrong or the network cannot tell the classes apart, and
    nothing in the labels says which: T and noise rate, which take all its disagreement for noise,
    may be far too high.

    Args:
        probs: as for :func:`probe_accuracy`.
        given_labels: int64 (N,).

    Returns:
        A number in [-1, 1], that of scikit-learn, whose import would take longer than all of the
        estimate; 0 (there NaN) where prediction and labels are of one class.
    """
    some, labels = _spaced(probs, given_labels)
    pairs = count_pairs(*_numbered(some.argmax(axis=1), labels, some.shape[1]))
    return _beyond_chance(pairs / len(labels))


def may_guess(kappa: float | None, method: str) -> bool:
    """Return whether an estimate may rest on networks that cannot tell the classes apart.

    Args:
        kappa: see :func:`cohens_kappa`; None where it is not known.
        method: how T was estimated; of a T that people vouch for this says nothing.
    """
    return kappa is not None and kappa < WEAK and method not in KNOWN


def promised_kappa(transition: Floats, class_prior: Floats) -> float:
    """Return the kappa of networks that know every true class, if the estimate holds.

    Args:
        transition: (C, C), ``P(given = j | true = i)``.
        class_prior: (C,), ``P(true = i)``.

    Returns:
        A number in [-1, 1], as of :func:`cohens_kappa`.
    """
    return _beyond_chance(np.asarray(class_prior)[:, None] * np.asarray(transition))


def disagrees_unaccountably(
    kappa: float | None, transition: Floats, class_prior: Floats, method: str
) -> bool:
    """Return whether networks agree with the labels far less than the estimated noise accounts for.

    Either they cannot tell the classes apart, or many samples belong to no class: networks are
    unsure of these, so that the confident joint counts none of them.

    Args:
        kappa: see :func:`cohens_kappa`; None where it is not known.
        transition: T.
        class_prior: see :func:`promised_kappa`.
        method: how T was estimated; of a T that people vouch for this says nothing.
    """
    if kappa is None or method in KNOWN or may_guess(kappa, method):
        return False
    return kappa < promised_kappa(transition, class_prior) - UNACCOUNTED


def _beyond_chance(joint: Floats) -> float:
    """Return Cohen's kappa of two labellings with these joint shares (C, C); 0 if of one class."""
    chance = float(joint.sum(0) @ joint.sum(1))
    return 0.0 if chance >= 1 else (float(np.trace(joint)) - chance) / (1 - chance)


def _spaced(probs: Any, given_labels: Labels) -> tuple[Floats, Labels]:
    """Return at most :data:`MOST_ROWS` evenly spaced rows."""
    rows = np.linspace(0, len(given_labels) - 1, min(len(given_labels), MOST_ROWS)).astype(int)
    return np.asarray(probs[rows]), np.asarray(given_labels)[rows]


def _numbered(best: Labels, labels: Labels, num_classes: int) -> tuple[Labels, Labels, int]:
    """Return predictions, labels and the number of classes, without those of which there is none.

    Only where there are many classes and fewer rows: a matrix of them all would be next to empty.
    """
    if num_classes <= max(FEW_CLASSES, len(labels)):
        return best, labels, num_classes
    used, numbers = np.unique(np.stack([best, labels]), return_inverse=True)
    best, labels = numbers.reshape(2, -1)
    return best, labels, len(used)


def _of_surest(best: Labels, top: Floats, labels: Labels, num_classes: int) -> Floats:
    """Return how the surest rows of each predicted class are labelled; a class without rows: I."""
    order = np.lexsort((-top, best))
    counts = np.bincount(best, minlength=num_classes)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = order[rank < np.ceil(SUREST * np.repeat(counts, counts))]
    found = count_pairs(best[chosen], labels[chosen], num_classes).astype(np.float64)
    found[counts == 0, counts == 0] = 1.0
    return normalise_rows(found)
