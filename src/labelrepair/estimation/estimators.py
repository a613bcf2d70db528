"""T from anchor points, from a curated subset, or as cleanlab estimates it."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from labelrepair.config import in_unit_interval, one_of, require
from labelrepair.errors import ConfigError
from labelrepair.estimation.probs import check_probs, matching_labels, rows_or_identity, smooth
from labelrepair.estimation.spec import ANCHOR_RULES
from labelrepair.transition import Floats, count_pairs


def anchor_transition(
    probs: ArrayLike, quantile: float | None = None, *, rule: str = "code"
) -> Floats:
    """Estimate T from anchor rows (Patrini 2017 section 4.3): row i is ``probs`` at class i's.

    Args:
        probs: (N, C) noisy posteriors, each row summing to 1; not modified.
        quantile: None takes the row with the largest ``probs[:, i]``; in [0, 1] (paper: 0.97) the
            row at that quantile of the column, upper interpolation.
        rule: ``at`` takes the row at the quantile, as the text says; ``code`` the one before it in
            the column's order, as the released code does (equal to ``at`` where none is before).
            Of rows with the same value it is the first.

    Returns:
        (C, C) float64, rows divided by their sums.

    Deviations: the code blanks the excluded rows inside ``probs``, so later classes read zeros;
    here the input stays whole. Of rows that tie at the quantile it excludes all, and falls to the
    next lower value, however low that is; here they count one by one.

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
        place = int(np.ceil(quantile * (len(array) - 1)))
        if rule == "code":
            place = max(place - 1, 0)
        rows = (array == np.partition(array, place, axis=0)[place]).argmax(axis=0)
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
    return rows_or_identity(smooth(counts, smoothing), "true_labels")


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
    labels = matching_labels(array, given_labels)
    joint = count.compute_confident_joint(labels, array, calibrate=True)
    _, noise_matrix, _ = count.estimate_latent(joint, labels)
    return rows_or_identity(np.asarray(noise_matrix, dtype=np.float64).T, "cleanlab")
