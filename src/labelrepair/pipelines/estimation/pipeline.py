"""Label table in, transition matrix and noise rate out."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.estimation.nodes import estimate_label_noise


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline: noise_estimate and probe_probs."""
    return Pipeline(
        [
            Node(
                estimate_label_noise,
                inputs=[
                    "features",
                    "label_table",
                    "class_names",
                    "curated_labels",
                    "params:estimation",
                    "params:seed",
                ],
                outputs=["noise_estimate", "probe_probs"],
                name="estimate_label_noise",
            )
        ]
    )
