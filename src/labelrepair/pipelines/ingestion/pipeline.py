"""Raw samples in, label table and feature store out."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.ingestion.nodes import add_noise, choose_curated, read_samples


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline: features, label_table, true_labels, class_names, curated_labels."""
    return Pipeline(
        [
            Node(
                read_samples,
                inputs=[
                    "params:ingestion.source",
                    "params:ingestion.split",
                    "params:ingestion.storage",
                    "params:dataset",
                ],
                outputs=[
                    "features",
                    "source_table",
                    "true_labels",
                    "class_names",
                    "input_format",
                    "ingested",
                ],
                name="read_samples",
            ),
            Node(
                add_noise,
                inputs=[
                    "source_table",
                    "true_labels",
                    "class_names",
                    "features",
                    "params:ingestion.noise",
                ],
                outputs=["label_table", "injected_noise"],
                name="add_noise",
            ),
            Node(
                choose_curated,
                inputs=[
                    "label_table",
                    "true_labels",
                    "human_decisions",
                    "class_names",
                    "params:ingestion.curated",
                ],
                outputs="curated_labels",
                name="choose_curated",
            ),
        ]
    )
