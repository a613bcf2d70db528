"""The nodes that decide about every row, and that write down what changed."""

from typing import Any

import pandas as pd
from numpy.typing import NDArray

from labelrepair import decisions, label_diff, ledger
from labelrepair.config import from_dict
from labelrepair.policy import Policy
from labelrepair.scoring import ScoringSpec
from labelrepair.workflow import noise_from_dict, repair_table


def repair_labels(  # one argument per catalog entry
    table: pd.DataFrame,
    probs: NDArray[Any],
    selected: NDArray[Any],
    noise_estimate: dict[str, Any],
    human_decisions: pd.DataFrame,
    class_names: list[str],
    scoring: dict[str, Any],
    policy: dict[str, Any],
) -> pd.DataFrame:
    """Score the given labels, apply the policy, then what people decided; test rows stay."""
    repaired = repair_table(
        table,
        probs,
        selected,
        noise_from_dict(noise_estimate),
        from_dict(ScoringSpec, scoring, "scoring"),
        from_dict(Policy, policy, "policy"),
    )
    decided = decisions.from_file(human_decisions, class_names, "human_decisions")
    return decisions.apply(repaired, decided, len(class_names))


def record_changes(
    repaired: pd.DataFrame, human_decisions: pd.DataFrame, class_names: list[str], preset: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what the ledger is told, and the changes as a text for git."""
    decided = decisions.from_file(human_decisions, class_names, "human_decisions")
    proposed = ledger.propose(repaired, preset, decided)
    return proposed, label_diff.label_changes(repaired, class_names)
