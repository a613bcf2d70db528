"""Files of two runs, or changed ones, are refused by the step that would mix them."""

import json

import numpy as np
import pandas as pd
import pytest

from labelrepair.errors import DataError


@pytest.fixture(scope="module")
def made(make_project, tmp_path_factory):
    """A project whose default run is done."""
    project = make_project(tmp_path_factory.mktemp("mixed") / "project")
    project.run("ingestion", "estimation", "training", "refinement", "repair")
    return project


def refused(project, said, *pipelines):
    table = project / "data/07_model_output/repaired_labels.parquet"
    before = table.read_bytes()
    with pytest.raises(DataError, match=said):
        project.run(*pipelines)
    assert table.read_bytes() == before


ARRAYS = {
    "training_probs": ("refinement", "training"),
    "refined_probs": ("repair", "refinement"),
    "training_selected": ("repair", "training"),
}


@pytest.mark.parametrize(("name", "pipelines"), ARRAYS.items(), ids=ARRAYS)
def test_rows_in_another_order(made, name, pipelines):
    reads, makes = pipelines
    (file,) = (made / "data").glob(f"*/{name}.npy")
    stored = file.read_bytes()
    array = np.load(file)
    try:
        np.save(file, array[::-1])
        refused(made, rf"^{name}: not what the same run wrote.*--pipelines {makes}$", reads)
    finally:
        file.write_bytes(stored)
    made.run(reads)


def test_class_names_in_another_order(made):
    (file,) = (made / "data").glob("*/class_names.json")
    stored = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(stored)[::-1]))
        for reads in ("refinement", "repair"):
            refused(made, "^class_names: not what the same run wrote", reads)
    finally:
        file.write_text(stored)


def test_noise_that_was_estimated_on_other_labels(made):
    file, noise = "conf/base/parameters_datasets/small.yml", {"kind": "symmetric", "seed": 1}
    try:
        made.edit(file, "datasets", "small", noise={**noise, "rate": 0.5})
        made.run("ingestion")
        refused(made, "the estimation worked on label table", "training")
    finally:
        made.edit(file, "datasets", "small", noise={**noise, "rate": 0.3})
        made.run("ingestion")
    made.run("refinement")


def test_the_ledger_names_the_training_that_was(made):
    """``kedro run --params preset=other``, then repair alone as the review page says."""
    made.run("training", "refinement", preset="cross_entropy_digits")
    made.run("repair", policy={"relabel_confidence": 0.95})
    events = pd.read_parquet(made / "data/07_model_output/label_ledger.parquet")
    assert "cross_entropy_digits" in set(events["method"])
    assert events["method"].iloc[-1] == "cross_entropy_digits"
    policy = json.loads((made / "data/07_model_output/policy.json").read_text())
    assert policy["relabel_confidence"] == 0.95
    made.run("training", "refinement")


def test_a_second_look_at_another_training(made):  # last: what it leaves is mixed
    (report,) = (made / "data").glob("*/training_report.json")
    earlier = json.loads(report.read_text())["checkpoint"]
    made.run("training", seed=5)
    later = json.loads(report.read_text())["checkpoint"]
    assert later != earlier
    refused(made, rf"^refined_noise: .*{earlier}.*{later}; .*--pipelines refinement$", "repair")
