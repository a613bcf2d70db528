"""The node that decides about every row."""

from typing import Any

import pandas as pd
from numpy.typing import NDArray

from labelrepair.config import from_dict
from labelrepair.policy import Policy
from labelrepair.scoring import ScoringSpec
from labelrepair.workflow import noise_from_dict, repair_table


def repair_labels(
    table: pd.DataFrame,
    probs: NDArray[Any],
    selected: NDArray[Any],
    noise_estimate: dict[str, Any],
    scoring: dict[str, Any],
    policy: dict[str, Any],
) -> pd.DataFrame:
    """Score the given labels, apply the policy, add the columns; test rows stay as they are."""
    return repair_table(
        table,
        probs,
        selected,
        noise_from_dict(noise_estimate),
        from_dict(ScoringSpec, scoring, "scoring"),
        from_dict(Policy, policy, "policy"),
    )
