"""A paper's table in, our measurements beside it out. Not part of the default run."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from labelrepair.pipelines.benchmark.nodes import collect, compare, draw, measure, report


def create_pipeline(**_kwargs: Any) -> Pipeline:
    """Return the pipeline: one grid's cells, table, plot and section; the page of all results."""
    return Pipeline(
        [
            Node(
                measure,
                inputs=["params:benchmark", "params:benchmark_cells", "params:benchmark_cache"],
                outputs="benchmark_cells",
                name="measure_cells",
            ),
            Node(
                compare,
                inputs=["benchmark_cells", "published_results", "params:benchmark"],
                outputs="benchmark_table",
                name="compare_with_published",
            ),
            Node(
                draw,
                inputs=["benchmark_table", "params:benchmark"],
                outputs="benchmark_plot",
                name="draw_benchmark",
            ),
            Node(
                report,
                inputs=[
                    "benchmark_table",
                    "benchmark_cells",
                    "published_results",
                    "params:benchmark",
                ],
                outputs="benchmark_page",
                name="report_benchmark",
            ),
            Node(
                collect,
                inputs=["benchmark_page", "benchmark_pages"],
                outputs="results_page",
                name="collect_results",
            ),
        ]
    )
