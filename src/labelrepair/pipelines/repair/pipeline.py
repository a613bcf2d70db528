"""Probabilities and what people decided in; repaired label table, ledger and changes out."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.repair.nodes import record_changes, repair_labels


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline: repaired_table, label_ledger, label_changes."""
    return Pipeline(
        [
            Node(
                repair_labels,
                inputs=[
                    "label_table",
                    "refined_probs",
                    "training_selected",
                    "refined_noise",
                    "human_decisions",
                    "class_names",
                    "params:scoring",
                    "params:policy",
                ],
                outputs="repaired_table",
                name="repair_labels",
            ),
            Node(
                record_changes,
                inputs=["repaired_table", "human_decisions", "class_names", "params:preset"],
                outputs=["label_ledger", "label_changes"],
                name="record_changes",
            ),
        ]
    )
