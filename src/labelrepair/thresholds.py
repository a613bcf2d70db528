"""Which threshold the policy works with: the one that is set, or the one that reviewers support."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from labelrepair import audit
from labelrepair.config import in_unit_interval, positive, require
from labelrepair.policy import Policy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReviewedThresholds:
    """Whether reviewers choose the policy's ``relabel_confidence``.

    Attributes:
        apply: take the lowest value that audits show to keep the precision.
        precision: share of right relabels to keep.
        level: of that statement, one-sided; of the interval of the precision so far, two-sided.
        min_relabels: fewer audited relabels (with an answer) choose nothing.
    """

    apply: bool = False
    precision: float = 0.95
    level: float = 0.95
    min_relabels: int = 60

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(precision=self.precision)
        require(0.5 < self.level < 1, f"level: must lie in (0.5, 1), found {self.level}")
        positive(min_relabels=self.min_relabels)


def choose(
    policy: Policy,
    spec: ReviewedThresholds,
    ledger: pd.DataFrame,
    decided: pd.DataFrame,
    table: pd.DataFrame,
    method: str,
) -> dict[str, Any]:
    """Return the threshold in force and why it is what it is.

    Reviewers can raise ``relabel_confidence``, never lower it: nobody has audited what lies below.
    Only audits drawn from the scores in ``table`` count, as the confidences of another preset or
    training mean something else. For a table without scores nothing is known, so nothing is chosen.

    Args:
        policy: as set.
        spec: whether reviewers choose, and what is promised.
        ledger: events so far.
        decided: decisions in force (see :mod:`labelrepair.decisions`).
        table: label table with suggested_label and confidence as this run has them.
        method: what decides in this run, as the ledger calls it.

    Returns:
        Plain values: relabel_confidence, set, chosen_by ("conf" or "reviews"), why; audited, right,
        precision with low and high (None without audits): of the relabels so far, see
        :func:`labelrepair.audit.relabel_precision`; level, and tested: the thresholds tried, see
        :func:`labelrepair.audit.thresholds`.

    Raises:
        DataError: an audit has more answers than rows were drawn.
    """
    value = policy.relabel_confidence
    found = audit.verdicts(ledger, decided, table)
    right, audited, low, high = audit.relabel_precision(found, spec.level)
    _, missing = audit.relabels(found)
    tested = audit.thresholds(found, spec.precision, spec.level)
    held = tested[tested["holds"]]
    supported = None if held.empty else max(float(held["relabel_confidence"].min()), value)
    chooses = spec.apply and audited >= spec.min_relabels and supported is not None
    known = (right / audited, low, high) if audited else (None, None, None)
    record = {
        "relabel_confidence": supported if chooses else value,
        "set": value,
        "chosen_by": "reviews" if chooses else "conf",
        "why": _why(policy, spec, method, audited, supported, held)
        + (f"; {missing} drawn without an answer count as wrong" if missing else ""),
        "audited": audited,
        "right": right,
        **dict(zip(("precision", "low", "high"), known, strict=True)),
        "level": spec.level,
        "tested": tested.to_dict("records"),
    }
    if spec.apply:
        changed = record["relabel_confidence"] != value or supported is None
        logger.log(
            logging.WARNING if changed else logging.INFO,
            "policy.relabel_confidence is %g: %s",
            record["relabel_confidence"],
            record["why"],
        )
    return record


def in_force(policy: Policy, record: Mapping[str, Any]) -> Policy:
    """Return the policy with the threshold of :func:`choose`."""
    return replace(policy, relabel_confidence=record["relabel_confidence"])


def metrics(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what MLflow is told: the threshold, and the precision of the audited relabels."""
    return {
        "policy.relabel_confidence": record["relabel_confidence"],
        "audit.relabels": record["audited"],
        "audit.relabel_precision": record["precision"],
        "audit.relabel_precision_low": record["low"],
        "audit.relabel_precision_high": record["high"],
    }


def _why(
    policy: Policy,
    spec: ReviewedThresholds,
    method: str,
    audited: int,
    supported: float | None,
    held: pd.DataFrame,
) -> str:
    """Say in half a sentence where the threshold comes from."""
    promise = f"a precision of {100 * spec.precision:g} %, at {100 * spec.level:g} %"
    if audited == 0:
        return f"as set; no relabel by this training of {method} has been audited"
    if not spec.apply:
        offer = "no value" if supported is None else f"{supported:g}"
        return f"as set; the audits would support {offer} ({promise}), but are not asked to choose"
    if audited < spec.min_relabels:
        return f"as set; {audited} relabels have been audited, {spec.min_relabels} are needed"
    if supported is None:
        return f"as set; the audits show for no value that it keeps {promise}"
    last = held.iloc[-1]
    evidence = f"{last['right']} of {last['audited']} audited relabels from there on are right"
    if supported == policy.relabel_confidence:
        return f"as set; the audits show that it keeps {promise} ({evidence})"
    return (
        f"chosen by the audits, the lowest value shown to keep {promise} ({evidence}); "
        f"set is {policy.relabel_confidence:g}"
    )
