"""Given labels and the noise estimate in, a robust model and its probabilities out."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.training.nodes import train_model


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline; ``training_report`` is saved last and so seals the others."""
    return Pipeline(
        [
            Node(
                train_model,
                inputs=[
                    "features",
                    "label_table",
                    "class_names",
                    "input_format",
                    "noise_estimate",
                    "params:recipe",
                    "params:preset",
                    "params:seed",
                    "params:checkpoints",
                ],
                outputs=[
                    "training_probs",
                    "training_selected",
                    "training_history",
                    "training_used",
                    "model",
                    "tracked_model",
                    "training_report",
                ],
                name="train_model",
            )
        ]
    )
