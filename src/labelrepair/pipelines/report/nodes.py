"""The node that writes the report; beside evaluation the only reader of the truth."""

import logging
from collections.abc import Callable
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from labelrepair.config import from_dict
from labelrepair.pictures import pngs
from labelrepair.report import ReportSpec, Sources, build_context, drawings, render_context
from labelrepair.sealed import check_ingested
from labelrepair.workflow import check_alignment, check_classes, noise_from_dict

logger = logging.getLogger(__name__)


def write_report(
    *,
    table: pd.DataFrame,
    true_labels: pd.DataFrame,
    noise: dict[str, Any],
    metrics: dict[str, Any],
    plot_data: dict[str, Callable[[], pd.DataFrame]],
    features: NDArray[Any],
    class_names: list[str],
    training: dict[str, Any],
    facts: dict[str, str],
    ab: dict[str, Any],
    policy: dict[str, Any],
    input_format: dict[str, Any],
    dataset: str,
    settings: dict[str, Any],
) -> tuple[str, dict[str, Image.Image]]:
    """Return the page as text, and all that it draws as pictures; log what it warns of.

    Raises:
        DataError: a file is of another ingestion than the table.
    """
    check_classes(table, len(class_names))
    check_alignment(table, features)
    written = {"true_labels": true_labels, "class_names": class_names}
    check_ingested(table, input_format=input_format, **written)
    noise_from_dict(noise)  # an edited one is refused
    sources = Sources(
        table=table,
        true_labels=true_labels,
        noise=noise,
        metrics=metrics,
        frames={name: load() for name, load in sorted(plot_data.items())},
        features=features,
        class_names=class_names,
        vocabulary=input_format["vocabulary"] or (),
        columns=input_format.get("columns") or (),
        training=training,
        facts={"dataset": dataset, **facts},
        ab=ab,
        policy=policy,
    )
    context = build_context(sources, from_dict(ReportSpec, settings, "report"))
    for warning in context["warnings"]:  # who only looks at the terminal must not overlook them
        logger.warning("%s", warning)
    return render_context(context), pngs(drawings(context))
