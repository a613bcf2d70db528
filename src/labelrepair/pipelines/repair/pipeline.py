"""Probabilities and what people decided in; repaired label table, ledger and changes out."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.repair.nodes import choose_policy, record_changes, repair_labels


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline: policy_in_force, repaired_table, label_ledger, label_changes."""
    return Pipeline(
        [
            Node(
                choose_policy,
                inputs=[
                    "training_report",
                    "refined_noise",
                    "known_ledger",
                    "human_decisions",
                    "label_table",
                    "refined_probs",
                    "training_selected",
                    "class_names",
                    "params:scoring",
                    "params:policy",
                    "params:thresholds_from_reviews",
                ],
                outputs=["policy_in_force", "tracked_policy"],
                name="choose_policy",
            ),
            Node(
                repair_labels,
                inputs=[
                    "label_table",
                    "refined_probs",
                    "training_selected",
                    "training_report",
                    "refined_noise",
                    "human_decisions",
                    "class_names",
                    "params:scoring",
                    "params:policy",
                    "policy_in_force",
                ],
                outputs="repaired_table",
                name="repair_labels",
            ),
            Node(
                record_changes,
                inputs=[
                    "repaired_table",
                    "human_decisions",
                    "class_names",
                    "policy_in_force",
                    "training_report",
                ],
                outputs=["label_ledger", "label_changes"],
                name="record_changes",
            ),
        ]
    )
