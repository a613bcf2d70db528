"""The steps of a repair on arrays and frames; Kedro nodes and the Python face call these."""

from labelrepair.workflow.building import network_builder, token_count
from labelrepair.workflow.fitting import (
    TrainedParts,
    checkpointer,
    fit,
    fit_rank,
    job,
    trained_parts,
)
from labelrepair.workflow.noise import (
    EstimationConfig,
    default_estimation,
    estimate,
    noise_from_dict,
    noise_to_dict,
    probe_probs,
    probe_rank,
    refine,
)
from labelrepair.workflow.presets import Preset, choose_preset, resolved
from labelrepair.workflow.repairing import repair_rows, repair_table
from labelrepair.workflow.rows import (
    check_alignment,
    check_classes,
    check_probs_of,
    curated_pairs,
    held_out_rows,
    loop_features,
    repairable,
    train_set,
)

__all__ = [
    "EstimationConfig",
    "Preset",
    "TrainedParts",
    "check_alignment",
    "check_classes",
    "check_probs_of",
    "checkpointer",
    "choose_preset",
    "curated_pairs",
    "default_estimation",
    "estimate",
    "fit",
    "fit_rank",
    "held_out_rows",
    "job",
    "loop_features",
    "network_builder",
    "noise_from_dict",
    "noise_to_dict",
    "probe_probs",
    "probe_rank",
    "refine",
    "repair_rows",
    "repair_table",
    "repairable",
    "resolved",
    "token_count",
    "train_set",
    "trained_parts",
]
