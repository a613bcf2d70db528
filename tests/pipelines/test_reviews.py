"""What reviewers audit feeds back into the next run, when it is asked for."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from labelrepair.commands.labels import commands

POLICY, REPORT = "data/07_model_output/policy.json", "data/08_reporting/report.html"
TABLE, LEDGER = "data/07_model_output/repaired_labels.parquet", "label_ledger.parquet"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def audited(make_project, tmp_path_factory):
    """Return a project whose relabels have all been audited; the least sure third was wrong."""
    project = make_project(tmp_path_factory.mktemp("reviews"))
    project.edit("conf/base/parameters_repair.yml", "policy", relabel_confidence=0.5)
    promise = {"precision": 0.8, "min_relabels": 30}
    project.edit("conf/base/parameters_repair.yml", "thresholds_from_reviews", **promise)
    project.run()
    table = pd.read_parquet(project / TABLE).set_index("sample_id")
    names = json.loads((project / "data/03_primary/class_names.json").read_text())
    labels(project, "audit", "draw", "--count", "1000", "-o", "audit.csv")
    sheet = pd.read_csv(project / "audit.csv", dtype=str, keep_default_na=False)
    # The labels that are given are right, where the model was not sure enough.
    rows = table.loc[sheet["sample_id"]]
    unsure = rows["confidence"] < rows["confidence"].quantile(1 / 3)
    answers = rows["suggested_label"].where(~unsure, rows["given_label"])
    sheet["reviewed_label"] = [names[int(code)] for code in answers]
    sheet.iloc[:-3].to_csv(project / "audit.csv", index=False)  # three have no answer
    labels(project, "import", "audit.csv", "--reviewer", "ada")
    return project, int((~unsure)[:-3].sum()), len(sheet) - 3


def labels(project, *arguments):
    with project.active():
        metadata = bootstrap_project(project.root)
        done = CliRunner().invoke(commands, ["labels", *arguments], obj=metadata)
    assert done.exit_code == 0, done.output


def supported(record):
    """Return the loosest threshold that holds: above the one that is set, with wrong rows left."""
    found = min(row["relabel_confidence"] for row in record["tested"] if row["holds"])
    assert 0.5 < found < 1
    return found


def test_without_being_asked_the_threshold_stays(audited):
    project, right, count = audited
    project.run("repair", "evaluation", "report")
    record = json.loads((project / POLICY).read_text())
    assert (record["relabel_confidence"], record["chosen_by"]) == (0.5, "conf")
    assert (record["right"], record["audited"]) == (right, count)
    page = " ".join((project / REPORT).read_text().split())
    support = supported(record)
    assert f"From a confidence of <b>0.5</b> on (as set; the audits would support {support}" in page
    assert f"People have checked {count} changed labels drawn at random: {right} are right" in page
    assert f"interval {100 * record['low']:.1f} % to {100 * record['high']:.1f} %)" in page


def test_asked_for_the_next_run_works_with_it_and_says_so(audited):
    project, *_ = audited
    project.edit("conf/base/parameters_repair.yml", "thresholds_from_reviews", apply=True)
    project.run("repair", "evaluation", "report")
    record = json.loads((project / POLICY).read_text())
    support = supported(record)
    assert (record["relabel_confidence"], record["set"]) == (support, 0.5)
    table = pd.read_parquet(project / TABLE)
    by_model = table[table["label_source"] == "model"]
    assert by_model["confidence"].min() >= support
    run = project.mlflow_runs()[0].data
    assert run.metrics["policy.relabel_confidence"] == support
    assert run.metrics["audit.relabel_precision_low"] == pytest.approx(record["low"])
    assert run.params["thresholds_from_reviews.apply"] == "True"
    assert f"From a confidence of <b>{support}</b> on (chosen by the audits" in (
        (project / REPORT).read_text()
    )
    # What the stricter threshold takes back is an event that says why.
    book = pd.read_parquet(project / "data/07_model_output" / LEDGER)
    last = book[book["run_id"] == book["run_id"].iloc[-1]]
    assert (last["source"] != "human").any()
    assert set(last["note"]) == {f"relabel_confidence {support}, chosen by audits"}
    again = project.data()
    project.run("repair")
    assert {name for name, content in project.data().items() if again.get(name) != content} == set()
