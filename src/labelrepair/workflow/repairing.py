"""From class probabilities to the repaired label table."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelrepair.errors import DataError
from labelrepair.estimation import NoiseEstimate
from labelrepair.label_table import GIVEN_LABEL, SAMPLE_ID, check_repaired_table, extend
from labelrepair.policy import Policy, apply_policy
from labelrepair.scoring import ScoringSpec, score
from labelrepair.workflow.rows import repairable

Array = NDArray[Any]


def repair_rows(
    probs: Array,
    given_labels: NDArray[np.int64],
    noise: NoiseEstimate,
    *,
    selected: Array | None = None,
    scoring: ScoringSpec | None = None,
    policy: Policy | None = None,
) -> pd.DataFrame:
    """Score the given labels and decide about each.

    Returns:
        Frame of N rows: the score columns, ``selected`` where the method selects, and the columns
        of :func:`labelrepair.policy.apply_policy`.
    """
    scores = score(probs, given_labels, noise.transition, noise_rate=noise.noise_rate, spec=scoring)
    if selected is not None:
        scores["selected"] = np.asarray(selected, dtype=bool)
    decisions = apply_policy(scores, given_labels, policy or Policy())
    return pd.concat([scores, decisions], axis=1)


def repair_table(
    table: pd.DataFrame,
    probs: Array,
    selected: Array,
    noise: NoiseEstimate,
    scoring: ScoringSpec,
    policy: Policy,
) -> pd.DataFrame:
    """Add the repair columns to the label table; rows of the test split get nulls.

    Raises:
        DataError: probabilities and repairable rows differ in number, or an invariant of the
            repaired table does not hold.
    """
    kept = table.loc[repairable(table)]
    if len(kept) != len(probs):
        raise DataError(f"training saw {len(probs)} rows, the label table has {len(kept)}")
    rows = repair_rows(
        probs,
        kept[GIVEN_LABEL].to_numpy(),
        noise,
        selected=selected if len(selected) else None,
        scoring=scoring,
        policy=policy,
    )
    rows.insert(0, SAMPLE_ID, kept[SAMPLE_ID].to_numpy())
    repaired = extend(table, rows)
    check_repaired_table(repaired, probs.shape[1])
    return repaired
