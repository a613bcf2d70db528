"""How many labels are right: as the model believes, and, where the truth is known, as measured."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from labelrepair.label_table import (
    ACTION,
    CONFIDENCE,
    GIVEN_LABEL,
    IS_LABEL_ISSUE,
    LABEL_QUALITY,
    LABEL_SOURCE,
    REPAIRED_LABEL,
    TRUE_LABEL,
    Action,
    LabelSource,
)

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
UNKNOWN, NONE = -1, -3  # true, repaired label where there is none; OPEN_SET lies between


@dataclass(frozen=True)
class Share:
    """A share in [0, 1] with its interval, out of ``count`` rows."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Quantity:
    """One question about the repair with the answers that there are.

    ``comparable`` is what was measured of the rows that are estimated: people's are not.
    """

    key: str
    name: str
    estimated: Share | None
    measured: Share | None
    comparable: Share | None

    @property
    def best(self) -> Share | None:
        """Return what was measured, else what was estimated."""
        return self.measured or self.estimated

    @property
    def contradicted(self) -> bool:
        """Return whether the intervals of the two answers lie apart."""
        if self.estimated is None or self.comparable is None:
            return False
        low, high = self.estimated.low, self.estimated.high
        return self.comparable.high < low or self.comparable.low > high


def of_people(rows: pd.DataFrame) -> Bools:
    """Return which rows people decided about: what the model says is not about their labels."""
    return np.asarray(rows[LABEL_SOURCE].to_numpy() == LabelSource.HUMAN, dtype=bool)


def quantities(
    rows: pd.DataFrame, noise_rate: float, interval: tuple[float, float], level: float
) -> dict[str, Quantity]:
    """Return what a reader wants to know about the labels.

    An estimate is the mean of the model's own probabilities, which scoring has calibrated to the
    noise rate. Its interval adds to the counting error (of independent rows) all of the noise
    rate's sampling error as if it fell on the rows in question. It does not cover a bias: where
    the noise rate or the model is wrong beyond that, so is the estimate. Rows that people decided
    about are measured, but only ``given`` estimates them: the model may believe the contrary.

    Args:
        rows: decided rows with their scores and ``true_label`` (null = unknown, -2 = of no class:
            whatever such a row was given, or is repaired to, is wrong).
        noise_rate: estimated share of wrong given labels.
        interval: its interval.
        level: coverage of that interval, and of those returned.

    Returns:
        By key: ``given`` and ``repaired`` (share of right labels), ``relabel`` and ``flagged``
        (share of the changed labels that are right, of the flagged ones that are wrong) and
        ``found`` (share of the wrong given labels that are flagged).
    """
    quality, confidence = (rows[c].to_numpy(np.float64) for c in (LABEL_QUALITY, CONFIDENCE))
    action, issue = rows[ACTION].to_numpy(), rows[IS_LABEL_ISSUE].to_numpy(dtype=bool)
    known = rows[TRUE_LABEL].notna().to_numpy(dtype=bool)
    true = rows[TRUE_LABEL].astype("Int64").fillna(UNKNOWN).to_numpy(np.int64)
    repaired = rows[REPAIRED_LABEL].astype("Int64").fillna(NONE).to_numpy(np.int64)
    wrong = true != rows[GIVEN_LABEL].to_numpy(np.int64)
    models = ~of_people(rows)
    relabelled = action == Action.RELABEL
    kept = relabelled | (action == Action.KEEP)
    # More noise than estimated: fewer given labels are right, more flagged ones are wrong, and more
    # changes are right. Repaired labels are of both kinds: either error may fall either way.
    error = (interval[1] - noise_rate) * len(rows), (noise_rate - interval[0]) * len(rows)
    reverse, either = error[::-1], (max(error), max(error))
    believed = np.where(relabelled, confidence, quality)

    def quantity(
        key: str, name: str, probs: Floats, hits: Bools, group: Bools, error: tuple[float, float]
    ) -> Quantity:
        return Quantity(
            key,
            name,
            _estimated(probs[group & models], error, level),
            _measured(hits[group & known], level),
            _measured(hits[group & known & models], level),
        )

    missed = 1.0 - quality
    given = Share(1 - noise_rate, 1 - interval[1], 1 - interval[0], len(rows))
    right = _measured(~wrong[known], level)
    listed = [
        Quantity("given", "Given labels that are right", given, right, right),
        quantity(
            "repaired", "Repaired labels that are right", believed, repaired == true, kept, either
        ),
        quantity(
            "relabel",
            "Changed labels that are right",
            confidence,
            repaired == true,
            relabelled,
            reverse,
        ),
        quantity("flagged", "Flagged labels that are wrong", missed, wrong, issue, reverse),
        Quantity(
            "found",
            "Wrong labels that are flagged",
            _found(missed[models], issue[models], error),
            _measured(issue[wrong & known], level),
            _measured(issue[wrong & known & models], level),
        ),
    ]
    return {item.key: item for item in listed}


def _estimated(probs: Floats, error: tuple[float, float], level: float) -> Share | None:
    """Return the mean of the rows' probabilities; it may be ``error`` rows too (high, low)."""
    if not len(probs):
        return None
    value = float(probs.mean())
    counting = ndtri((1 + level) / 2) * np.sqrt((probs * (1 - probs)).sum()) / len(probs)
    low = value - np.hypot(counting, error[0] / len(probs))
    high = value + np.hypot(counting, error[1] / len(probs))
    return Share(value, max(0.0, float(low)), min(1.0, float(high)), len(probs))


def _found(missed: Floats, issue: Bools, error: tuple[float, float]) -> Share | None:
    """Return the share of the wrong rows that is flagged; the error falls on those not flagged."""
    flagged, rest = float(missed[issue].sum()), float(missed[~issue].sum())
    if flagged == 0:
        return None
    low = flagged / (flagged + rest + error[0])
    high = flagged / (flagged + max(0.0, rest - error[1]))
    return Share(flagged / (flagged + rest), low, high, len(missed))


def _measured(hits: Any, level: float) -> Share | None:
    """Return a share of rows with known truth, with Wilson's interval."""
    if not len(hits):
        return None
    count = int(np.sum(hits))
    from scipy.stats import binomtest  # noqa: PLC0415

    interval = binomtest(count, len(hits)).proportion_ci(level, method="wilson")
    return Share(count / len(hits), float(interval.low), float(interval.high), len(hits))
