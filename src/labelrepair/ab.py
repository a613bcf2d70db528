"""Is the repair worth it? A plain network on given against repaired labels, seed by seed."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit  # scipy.stats takes half a second of every start

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
        ``rows``: name, mean_difference, low, high, seeds, for the report (the interval covers the
        chance of the trainings and that of the test rows, see :func:`_half_width`; not an error of
        T); ``runs``: both accuracies per seed; ``metrics``: flat numbers.

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
    runs, leads = [], []
    for number in range(spec.seeds):
        run: dict[str, Any] = {"seed": number}
        hits = {}
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
            hits[kind] = corrected_hits(probs.argmax(1), labels, transition)
            run[kind] = float(hits[kind].mean())
        runs.append(run)
        leads.append(hits["repaired"] - hits["given"])
    return _evidence(runs, np.array(leads), spec, judged_by)


def _test_labels(
    test: pd.DataFrame, true_labels: pd.DataFrame, noise_transition: Array
) -> tuple[Array, Array, str]:
    """Return labels of the test rows, their T, and in words what they are."""
    truth = true_labels.set_index(SAMPLE_ID)[TRUE_LABEL].reindex(test[SAMPLE_ID])
    known = truth.fillna(-1).to_numpy(dtype=np.int64)
    if (known >= 0).all():
        return known, np.eye(len(noise_transition)), "true labels"
    return test[GIVEN_LABEL].to_numpy(), noise_transition, "given labels, corrected by T"


def _half_width(leads: Array, level: float) -> float:
    """Return half the width of the interval of the mean lead.

    Seeds and rows are crossed: Student's interval over the seeds covers the trainings, the normal
    one over the rows (each by its mean over the seeds) the choice of test rows. They are added as
    independent errors, which counts what is left of both twice: rather too wide than too narrow.

    Args:
        leads: float64 (S, N), S >= 2 seeds and N test rows.
        level: in (0, 1).
    """
    seeds, rows = leads.mean(axis=1), leads.mean(axis=0)
    of_seeds = stdtrit(len(seeds) - 1, 0.5 + level / 2) * seeds.std(ddof=1) / np.sqrt(len(seeds))
    of_rows = ndtri(0.5 + level / 2) * rows.std() / np.sqrt(len(rows))
    return float(np.hypot(of_seeds, of_rows))


def _evidence(
    runs: list[dict[str, Any]], leads: Array, spec: AbSpec, judged_by: str
) -> dict[str, Any]:
    half, mean = _half_width(leads, spec.level), float(leads.mean())
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
        "(%+.1f to %+.1f, %d seeds; %d test rows, %s)",
        *(100 * value for value in metrics.values()),
        *leads.shape,
        judged_by,
    )
    return {"rows": [row], "runs": runs, "metrics": metrics, "level": spec.level}
