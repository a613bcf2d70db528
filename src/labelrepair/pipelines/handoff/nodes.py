"""The node that hands the model over to the registry."""

from typing import Any

import pandas as pd
from numpy.typing import NDArray

from labelrepair import registry
from labelrepair.config import from_dict
from labelrepair.handoff import Evidence, HandoffSpec, check_measured, facts_of, package
from labelrepair.label_table import check_made_from, data_hash
from labelrepair.sealed import check_ingested, check_seal
from labelrepair.tracking import run_tag, training_run
from labelrepair.workflow import check_alignment, choose_preset, noise_from_dict

Params = dict[str, Any]


def hand_over(  # one argument per catalog entry
    model: Params,
    input_format: Params,
    features: NDArray[Any],
    table: pd.DataFrame,
    noise_estimate: Params,
    curated: pd.DataFrame,
    injected_noise: Params,
    training_report: Params,
    metrics: Params,
    metrics_made_from: Params,
    handoff: Params,
    recipe: Params,
    preset: str,
) -> tuple[Params, str]:
    """Register the trained model, judge it against the champion, move the alias if it passes.

    Raises:
        DataError: training, noise estimate or metrics are of another label table, the metrics of
            another training, the model is not the one that was trained, or features or input format
            are of another ingestion than the table.
    """
    spec = from_dict(HandoffSpec, handoff, "handoff")
    check_seal(training_report, "training,refinement,repair,evaluation", model=model)
    check_ingested(table, input_format=input_format)
    check_alignment(table, features)
    if len(curated):
        check_seal(curated.attrs, "ingestion", "curated_labels", label_table=data_hash(table))
    network = choose_preset(recipe, preset).training.network
    bundle = package(model, input_format, table, features, training_report, network)
    noise_from_dict(noise_estimate)  # an edited one is refused
    check_made_from(table, training_report, "training")
    check_made_from(table, noise_estimate, "refinement")
    check_measured(training_report, metrics_made_from)
    injected = injected_noise["kind"] != "none"
    evidence = Evidence(table, features, noise_estimate, curated, injected)
    facts = facts_of(bundle, evidence, training_report, metrics, spec.gate.level)
    facts["git_revision"] = run_tag("git_revision")
    facts["training_run_id"], facts["training_page"] = training_run(training_report) or ("", "")
    return registry.hand_over(bundle, evidence, facts, spec)
