"""Everything that a run has made in, one HTML page and its pictures out."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.report.nodes import write_report


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline: report and report_pictures."""
    return Pipeline(
        [
            Node(
                write_report,
                inputs={
                    "table": "repaired_table",
                    "true_labels": "true_labels",
                    "noise": "refined_noise",
                    "metrics": "metrics",
                    "plot_data": "plot_data",
                    "features": "features",
                    "class_names": "class_names",
                    "training": "training_report",
                    "facts": "run_facts",
                    "ab": "known_ab_evidence",
                    "policy": "policy_in_force",
                    "input_format": "input_format",
                    "dataset": "params:dataset",
                    "settings": "params:report",
                },
                outputs=["report", "report_pictures"],
                name="write_report",
            )
        ]
    )
