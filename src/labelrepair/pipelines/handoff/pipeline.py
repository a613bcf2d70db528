"""A trained model in, a registered version and a decision about it out. Not in the default run."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.handoff.nodes import hand_over


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline: handoff_record and model_card."""
    return Pipeline(
        [
            Node(
                hand_over,
                inputs=[
                    "model",
                    "input_format",
                    "features",
                    "label_table",
                    "refined_noise",
                    "curated_labels",
                    "injected_noise",
                    "training_report",
                    "metrics",
                    "metrics_made_from",
                    "params:handoff",
                    "params:recipe",
                    "params:preset",
                ],
                outputs=["handoff_record", "model_card"],
                name="hand_over",
            )
        ]
    )
