"""Repaired table and truth in; metrics, curves, plots and summary out."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.evaluation.nodes import draw, evaluate_repair, summarise


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline."""
    return Pipeline(
        [
            Node(
                evaluate_repair,
                inputs=[
                    "repaired_table",
                    "true_labels",
                    "refined_noise",
                    "training_history",
                    "training_used",
                    "training_report",
                    "class_names",
                ],
                outputs=[
                    "evaluation",
                    "metrics",
                    "metrics_made_from",
                    "tracked_curves",
                    "tracked_metrics",
                ],
                name="evaluate_repair",
            ),
            Node(
                draw,
                inputs=["evaluation", "refined_noise", "class_names"],
                outputs=["plots", "plot_data"],
                name="draw",
            ),
            Node(
                summarise,
                inputs=["metrics", "params:places"],
                outputs="summary",
                name="summarise",
            ),
        ]
    )
