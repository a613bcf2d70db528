"""Nodes that compare with the truth, where it is known, and draw: its only reader."""

from typing import Any

import pandas as pd
from numpy.typing import NDArray

from labelrepair import evaluation, plots
from labelrepair.label_table import check_made_from, origin
from labelrepair.run_summary import summary
from labelrepair.sealed import check_ingested
from labelrepair.workflow import check_classes, noise_from_dict


def evaluate_repair(
    table: pd.DataFrame,
    true_labels: pd.DataFrame,
    noise_estimate: dict[str, Any],
    history: pd.DataFrame,
    used: NDArray[Any],
    training_report: dict[str, Any],
    class_names: list[str],
) -> tuple[evaluation.Evaluation, dict[str, Any], dict[str, Any], pd.DataFrame, dict[str, Any]]:
    """Return the evaluation, its metrics, which training they are of, its curves, the metrics.

    The metrics are returned twice, for the file and for MLflow. Both hold numbers only, so that the
    training stands in a file of its own; it is written later, so that it never vouches for others.

    Raises:
        DataError: the training saw another label table than the one that was repaired, or truth or
            class names are of another ingestion.
    """
    check_made_from(table, training_report, "training")
    check_classes(table, len(class_names))
    check_ingested(table, true_labels=true_labels, class_names=class_names)
    noise_from_dict(noise_estimate)  # an edited one is refused
    found = evaluation.evaluate(table, true_labels, noise_estimate, history, used, len(class_names))
    return found, found.metrics, origin(training_report), found.curves, found.metrics


def draw(
    found: evaluation.Evaluation, noise_estimate: dict[str, Any], class_names: list[str]
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Return the pictures by file name, and the data behind each."""
    figures = plots.all_plots(found, noise_estimate, class_names)
    data = plots.plot_data(found, noise_estimate, class_names)
    return {f"{name}.png": figure for name, figure in figures.items()}, data


def summarise(metrics: dict[str, Any], places: dict[str, str]) -> str:
    """Return the text that ends a run."""
    return summary(metrics, places)
