"""Pictures of an evaluation, as matplotlib figures that need no display and no pyplot.

Shares are drawn in percent. matplotlib is imported on first use.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labelrepair.evaluation import Evaluation
from labelrepair.plots.benchmark import benchmark_plot
from labelrepair.plots.labels import (
    class_health_plot,
    confusion_flow,
    precision_recall_plot,
    quality_histogram,
    recovery_plot,
    transition_heat_map,
)
from labelrepair.plots.numbers import plot_data
from labelrepair.plots.training import label_precision_curve, training_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "all_plots",
    "benchmark_plot",
    "class_health_plot",
    "confusion_flow",
    "label_precision_curve",
    "plot_data",
    "precision_recall_plot",
    "quality_histogram",
    "recovery_plot",
    "training_curves",
    "transition_heat_map",
]


def all_plots(
    evaluation: Evaluation, noise: Mapping[str, Any], class_names: Sequence[str]
) -> dict[str, "Figure"]:
    """Return every picture that the evaluation has data for, by name.

    Args:
        evaluation: from :func:`labelrepair.evaluation.evaluate`.
        noise: the same mapping as there.
        class_names: C names.
    """
    found = evaluation.metrics
    title = f"Estimated transition matrix ({noise['method']})"
    figures = {
        "transition": transition_heat_map(noise["transition"], class_names, title),
        "training_curves": training_curves(evaluation.curves),
        "quality_histogram": quality_histogram(evaluation.delivered),
        "confusion": confusion_flow(evaluation.delivered, class_names),
        "class_health": class_health_plot(evaluation.classes.assign(name=list(class_names))),
    }
    if "labels.given_accuracy" in found:
        recall, precision = found["detect.recall"], found["detect.precision"]
        point = None if recall is None or precision is None else (recall, precision)
        share = found["labels.given_accuracy"]
        figures |= {
            "label_precision": label_precision_curve(evaluation.curves, share),
            "precision_recall": precision_recall_plot(evaluation.precision_recall, point),
            "recovery": recovery_plot(evaluation.recovery_by_confidence),
        }
    return figures
