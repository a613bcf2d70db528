"""Probabilities in, repaired label table out."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.repair.nodes import repair_labels


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline: repaired_table."""
    return Pipeline(
        [
            Node(
                repair_labels,
                inputs=[
                    "label_table",
                    "training_probs",
                    "training_selected",
                    "noise_estimate",
                    "params:scoring",
                    "params:policy",
                ],
                outputs="repaired_table",
                name="repair_labels",
            )
        ]
    )
