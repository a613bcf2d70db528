"""Is the repair worth it? A plain network on given against repaired labels, seed by seed."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit  # scipy.stats takes half a second of every start

from labelrepair.config import require
from labelrepair.data.rows import RowStore, take
from labelrepair.errors import DataError
from labelrepair.label_table import GIVEN_LABEL, REPAIRED_LABEL, SAMPLE_ID, TRUE_LABEL
from labelrepair.serving import probabilities
from labelrepair.training import TrainingConfig, TrainSet
from labelrepair.training.seeds import derive_seed
from labelrepair.transition import corrected_hits
from labelrepair.workflow import Preset, fit, loop_features, repairable, token_count

logger = logging.getLogger(__name__)
Array = NDArray[Any]


@dataclass(frozen=True)
class AbSpec:
    """Attributes: seeds: trainings per kind of label; level: of the interval."""

    seeds: int = 3
    level: float = 0.95

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.seeds >= 2, f"seeds: an interval needs at least 2, found {self.seeds}")
        require(0 < self.level < 1, f"level: must lie in (0, 1), found {self.level}")


def compare(
    features: Array | RowStore,
    repaired: pd.DataFrame,
    true_labels: pd.DataFrame,
    noise_transition: Array,
    training: TrainingConfig,
    spec: AbSpec,
    seed: int,
) -> dict[str, Any]:
    """Train on given and on repaired labels with the same seeds; compare on the test split.

    Rows that repair dropped or sent to review are left out of the second training. Test rows count
    by their true labels where all are known, else by their given labels corrected by T (the mean is
    then an unbiased estimate of the accuracy on clean labels, see :mod:`labelrepair.gate`).

    Args:
        features: (M, ...), rows as in ``repaired``.
        repaired: the repaired label table.
        true_labels: what is known of the truth; evaluation only.
        noise_transition: (C, C) estimated T.
        training: the plain recipe.
        spec: seeds and level.
        seed: from which the trainings' seeds are derived.

    Returns:
        ``rows``: name, mean_difference, low, high, seeds, for the report (Student's interval of the
        paired differences: it covers the training's chance, not that of the test rows); ``runs``:
        both accuracies per seed; ``metrics``: flat numbers.

    Raises:
        DataError: there is no test split, or repair left no row to train on.
    """
    mask = repairable(repaired)
    if mask.all():
        raise DataError("label table: no test split to compare on; set ingestion.split")
    labels, transition, judged_by = _test_labels(repaired[~mask], true_labels, noise_transition)
    kept = repaired[mask]
    given = kept[GIVEN_LABEL].to_numpy()
    fixed = kept[REPAIRED_LABEL].astype("Int64")
    used = fixed.notna().to_numpy()
    if not used.any():
        raise DataError("repaired table: no row keeps a label, so there is nothing to train on")
    kinds = {
        "given": (given, np.arange(len(kept))),
        "repaired": (fixed.fillna(0).to_numpy(np.int64), np.flatnonzero(used)),
    }
    stored, unseen = loop_features(features, mask), take(features, ~mask)
    preset = Preset("ab", "cross_entropy", training=training)
    words = token_count(loop_features(features, ~mask))  # a rare one may stand only here
    runs = []
    for number in range(spec.seeds):
        run: dict[str, Any] = {"seed": number}
        for kind, (targets, rows) in kinds.items():
            none = torch.empty(0, dtype=torch.int64)
            data = TrainSet(
                stored,
                torch.from_numpy(targets.copy()),
                len(transition),
                torch.from_numpy(rows),
                none,
            )
            model, _ = fit(
                preset,
                data,
                None,
                seed=derive_seed(seed, "ab", number),
                progress=False,
                vocabulary_size=words,
            )
            probs = probabilities(model.cpu().eval(), unseen, len(transition))
            hits = corrected_hits(probs.argmax(1), labels, transition)
            run[kind] = float(hits.mean())
        runs.append(run)
    return _evidence(runs, spec, judged_by)


def _test_labels(
    test: pd.DataFrame, true_labels: pd.DataFrame, noise_transition: Array
) -> tuple[Array, Array, str]:
    """Return labels of the test rows, their T, and in words what they are."""
    truth = true_labels.set_index(SAMPLE_ID)[TRUE_LABEL].reindex(test[SAMPLE_ID])
    known = truth.fillna(-1).to_numpy(dtype=np.int64)
    if (known >= 0).all():
        return known, np.eye(len(noise_transition)), "true labels"
    return test[GIVEN_LABEL].to_numpy(), noise_transition, "given labels, corrected by T"


def _evidence(runs: list[dict[str, Any]], spec: AbSpec, judged_by: str) -> dict[str, Any]:
    differences = np.array([run["repaired"] - run["given"] for run in runs])
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    half = float(stdtrit(len(differences) - 1, 0.5 + spec.level / 2) * error)
    mean = float(differences.mean())
    row = {
        "name": f"test accuracy, repaired minus given ({judged_by})",
        "mean_difference": mean,
        "low": mean - half,
        "high": mean + half,
        "seeds": len(runs),
    }
    metrics = {
        "ab.accuracy_given": float(np.mean([run["given"] for run in runs])),
        "ab.accuracy_repaired": float(np.mean([run["repaired"] for run in runs])),
        "ab.difference": mean,
        "ab.difference_low": mean - half,
        "ab.difference_high": mean + half,
    }
    logger.info(
        "accuracy %.1f %% trained on given labels, %.1f %% on repaired labels: %+.1f points "
        "(%+.1f to %+.1f, %d seeds; test split, %s)",
        *(100 * value for value in metrics.values()),
        len(runs),
        judged_by,
    )
    return {"rows": [row], "runs": runs, "metrics": metrics, "level": spec.level}
