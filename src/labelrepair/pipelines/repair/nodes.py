"""The nodes that decide about every row, and that write down what changed and why."""

import logging
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from labelrepair import audit, decisions, label_diff, ledger, thresholds
from labelrepair.config import from_dict
from labelrepair.errors import DataError
from labelrepair.label_table import SAMPLE_ID, check_made_from
from labelrepair.policy import Policy
from labelrepair.scoring import ScoringSpec
from labelrepair.sealed import check_ingested, check_seal
from labelrepair.workflow import (
    check_classes,
    check_probs_of,
    noise_from_dict,
    repair_table,
)

logger = logging.getLogger(__name__)


def choose_policy(  # one argument per catalog entry
    training_report: dict[str, Any],
    noise_estimate: dict[str, Any],
    known_ledger: pd.DataFrame,
    human_decisions: pd.DataFrame,
    table: pd.DataFrame,
    probs: NDArray[Any],
    selected: NDArray[Any],
    class_names: list[str],
    scoring: dict[str, Any],
    policy: dict[str, Any],
    reviewed: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, float | None]]:
    """Return the threshold that the policy works with, and why; and its metrics for MLflow.

    The noise makes this node wait for the training: it reads what people decided and takes the
    ledger's lock, which nobody else shall wait for through a training, and a training that fails
    leaves the policy of the table that is there.

    Raises:
        DataError: training or refinement saw another label table, or a decision does not fit this
            one: a repair that is refused must leave the policy of the table that is there.
    """
    _check_origin(table, training_report, noise_estimate, probs, selected, class_names)
    decided = decisions.from_file(human_decisions, class_names, "human_decisions")
    known, names = ledger.in_classes(known_ledger, class_names)
    decisions.check(table, decided)
    _warn_of_regiven(ledger.regiven(known, table), decided, names)
    _warn_of_lost(ledger.without_decision(known, table, decided))
    as_set = from_dict(Policy, policy, "policy")
    if audit.of_relabels(decided):  # only they need scores
        noise, spec = noise_from_dict(noise_estimate), from_dict(ScoringSpec, scoring, "scoring")
        table = repair_table(table, probs, selected, noise, spec, as_set)
    record = thresholds.choose(
        as_set,
        from_dict(thresholds.ReviewedThresholds, reviewed, "thresholds_from_reviews"),
        known,
        decided,
        table,
        training_report["preset"],
    )
    return record, thresholds.metrics(record)


def repair_labels(  # one argument per catalog entry
    table: pd.DataFrame,
    probs: NDArray[Any],
    selected: NDArray[Any],
    training_report: dict[str, Any],
    noise_estimate: dict[str, Any],
    human_decisions: pd.DataFrame,
    class_names: list[str],
    scoring: dict[str, Any],
    policy: dict[str, Any],
    policy_in_force: dict[str, Any],
) -> pd.DataFrame:
    """Score the given labels, apply the policy, then what people decided; test rows stay.

    Raises:
        DataError: training or refinement saw another label table.
    """
    _check_origin(table, training_report, noise_estimate, probs, selected, class_names)
    repaired = repair_table(
        table,
        probs,
        selected,
        noise_from_dict(noise_estimate),
        from_dict(ScoringSpec, scoring, "scoring"),
        thresholds.in_force(from_dict(Policy, policy, "policy"), policy_in_force),
    )
    decided = decisions.from_file(human_decisions, class_names, "human_decisions")
    return decisions.apply(repaired, decided, len(class_names))


def record_changes(
    repaired: pd.DataFrame,
    human_decisions: pd.DataFrame,
    class_names: list[str],
    policy_in_force: dict[str, Any],
    training_report: dict[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what the ledger is told, and the changes as a text for git.

    Raises:
        DataError: the class names are of another ingestion than the table.
    """
    check_ingested(repaired, class_names=class_names)
    decided = decisions.from_file(human_decisions, class_names, "human_decisions")
    value, by_reviews = (
        policy_in_force["relabel_confidence"],
        policy_in_force["chosen_by"] != "conf",
    )
    note = f"relabel_confidence {value:g}, chosen by audits" if by_reviews else ""
    proposed = ledger.propose(repaired, training_report["preset"], decided, note, class_names)
    return proposed, label_diff.label_changes(repaired, class_names)


def _warn_of_lost(samples: list[str]) -> None:
    """Tell of people's decisions that are gone: a line may have been removed, or the file lost."""
    if samples:
        logger.warning(
            "human_decisions has no line any more about %d samples whose label a person has "
            "decided: %s; this run decides about them again. If that is not meant, bring the lines "
            "back from git and run again",
            len(samples),
            ", ".join(samples[:5]) + (", ..." if len(samples) > 5 else ""),
        )


def _warn_of_regiven(before: "pd.Series[Any]", decided: pd.DataFrame, names: list[str]) -> None:
    """Tell of people's decisions about samples to which the source gives another label now."""
    found = before[before.index.intersection(pd.Index(decided[SAMPLE_ID]))]
    if len(found):
        shown = [f"{sample} (it was '{names[code]}')" for sample, code in found[:5].items()]
        logger.warning(
            "the source gives another label than before to %d samples that a person has decided "
            "about: %s; the decisions stay in force. If somebody has corrected these labels there, "
            "remove their lines from human_decisions and run again",
            len(found),
            ", ".join(shown) + (", ..." if len(found) > 5 else ""),
        )


def _check_origin(
    table: pd.DataFrame,
    training_report: dict[str, Any],
    noise_estimate: dict[str, Any],
    probs: NDArray[Any],
    selected: NDArray[Any],
    class_names: list[str],
) -> None:
    """Refuse probabilities (refinement) and selected rows (training) of different origins."""
    check_made_from(table, training_report, "training")
    check_made_from(table, noise_estimate, "refinement")
    trained = training_report.get("checkpoint")
    refined = noise_estimate.get("checkpoint", trained)  # a host's own estimate has none
    if refined != trained:
        raise DataError(
            f"refined_noise: made from another training, {refined}, than the one that is there, "
            f"{trained}; run again: kedro run --pipelines refinement"
        )
    check_classes(table, len(class_names))
    check_probs_of(table, probs, len(class_names), "refinement", selected)
    check_seal(noise_estimate, "refinement", refined_probs=probs)
    check_seal(training_report, "training", training_selected=selected, class_names=class_names)
    check_ingested(table, class_names=class_names)
