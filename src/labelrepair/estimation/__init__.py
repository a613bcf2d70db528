"""Estimate the transition matrix and the noise rate from probabilities and given labels.

``T[i, j] = P(given=j | true=i)`` and every joint here has the true class on axis 0; cleanlab's
matrices are the transpose. ``probs`` should be out of sample, or come from the weights at the best
noisy validation loss: an overfitted network gives one-hot rows and T near the identity.
"""

from labelrepair.estimation.confident import (
    FEWEST_LABELS,
    confident_issues,
    confident_joint,
    confident_transition,
)
from labelrepair.estimation.estimators import (
    anchor_transition,
    cleanlab_transition,
    curated_transition,
)
from labelrepair.estimation.intervals import estimate_noise
from labelrepair.estimation.probs import ROW_SUM_TOLERANCE, check_probs
from labelrepair.estimation.spec import (
    ANCHOR_RULES,
    METHODS,
    EstimationSpec,
    NoiseEstimate,
    known_transition,
)

__all__ = [
    "ANCHOR_RULES",
    "FEWEST_LABELS",
    "METHODS",
    "ROW_SUM_TOLERANCE",
    "EstimationSpec",
    "NoiseEstimate",
    "anchor_transition",
    "check_probs",
    "cleanlab_transition",
    "confident_issues",
    "confident_joint",
    "confident_transition",
    "curated_transition",
    "estimate_noise",
    "known_transition",
]
