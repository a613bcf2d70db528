"""Repaired table in, evidence that the repair helps (or not) out. Not in the default run."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.ab.nodes import compare_labels


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline: ab_evidence and tracked_ab."""
    return Pipeline(
        [
            Node(
                compare_labels,
                inputs=[
                    "features",
                    "repaired_table",
                    "true_labels",
                    "refined_noise",
                    "params:estimation",
                    "params:ab",
                    "params:seed",
                ],
                outputs=["ab_evidence", "tracked_ab"],
                name="compare_labels",
            )
        ]
    )
