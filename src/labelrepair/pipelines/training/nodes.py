"""The node that trains. It is given labels as they are, never the truth."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelrepair.label_table import check_estimated_on, made_from
from labelrepair.sealed import check_ingested, digest, seal
from labelrepair.workflow import (
    TrainedParts,
    check_alignment,
    checkpointer,
    choose_preset,
    fit,
    noise_from_dict,
    train_set,
    trained_parts,
)

Params = dict[str, Any]
EXAMPLES = 4  # rows of the model's input example


def train_model(  # one argument per catalog entry
    features: NDArray[Any],
    table: pd.DataFrame,
    class_names: list[str],
    input_format: Params,
    noise_estimate: Params,
    recipe: Params,
    preset: str,
    seed: int,
    checkpoints: str,
) -> TrainedParts:
    """Train the chosen preset, going on from its checkpoint if a run was interrupted.

    Raises:
        DataError: the noise was estimated on another label table, or a file is of another ingestion
            than the table.
    """
    chosen = choose_preset(recipe, preset)
    check_ingested(table, class_names=class_names, input_format=input_format)
    check_alignment(table, features)
    check_estimated_on(table, noise_estimate)
    fraction = chosen.training.validation_fraction
    data, test = train_set(table, features, len(class_names), fraction, seed)
    # What is served may hold words that no feature holds: long texts were cut.
    words = len(input_format.get("vocabulary") or ())
    tokens = digest(input_format) if words else ""  # what they are made by, beside the texts
    checkpoint = checkpointer(checkpoints, chosen, table, noise_estimate, seed, words, tokens)
    noise = noise_from_dict(noise_estimate)
    model, result = fit(
        chosen, data, noise, seed=seed, test=test, checkpoint=checkpoint, vocabulary_size=words
    )
    example = np.asarray(features[:EXAMPLES])
    parts = trained_parts(chosen, model, result, class_names, example, checkpoint, noise)
    # What tells which rows the probabilities belong to, and which the model has seen.
    parts.report.update({"seed": seed, **made_from(table)})
    written = {
        "training_probs": parts.probs,
        "training_selected": parts.selected,
        "model": parts.model,
        "class_names": class_names,
    }
    parts.report.update(seal(**written))
    return parts
