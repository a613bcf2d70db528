"""The method's probabilities in; those of a second look and the noise estimate out."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.refinement.nodes import look_again


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline: refined_probs, refined_noise."""
    return Pipeline(
        [
            Node(
                look_again,
                inputs=[
                    "features",
                    "label_table",
                    "class_names",
                    "training_probs",
                    "training_report",
                    "noise_estimate",
                    "params:estimation",
                    "params:refinement",
                    "params:seed",
                ],
                outputs=["refined_probs", "refined_noise"],
                name="look_again",
            )
        ]
    )
