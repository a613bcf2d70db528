"""Which decisions of the handoff hold, and which are made again; against a database."""

import dataclasses
import itertools
import json
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlparse

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from test_handoff import FORM, evidence, package, report, state

from labelrepair.gate import GateSpec
from labelrepair.handoff import HandoffSpec, facts_of
from labelrepair.label_table import content_hashes, make_label_table
from labelrepair.registry import hand_over

ROWS = 600
GATE = GateSpec(min_rows=50, margin=0.2, class_margin=0.3)
OTHER_RULE = dataclasses.replace(GATE, margin=0.25)
GRAPH = "labelrepair.graph_sha256"
NUMBERS = itertools.count()
GOOD, AS_GOOD, BAD, AS_BAD = 1.0, 2.0, -1.0, -2.0


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Return a database with an experiment that keeps its files beside it."""
    folder, before = tmp_path_factory.mktemp("store"), mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("x", (folder / "runs").as_uri()))
    yield folder / "mlflow.db"
    mlflow.set_tracking_uri(before)


class Model:
    """One registered model, and handoffs to it; the model files are what MLflow has written."""

    def __init__(self, name):
        self.name, self.client = name, mlflow.MlflowClient()
        rng = np.random.default_rng(0)
        noise = rng.normal(size=(ROWS, 3))
        self.features = (4 * np.eye(3)[np.arange(ROWS) % 3] + noise).astype(np.float32)
        splits = np.repeat(["train", "validation", "test"], [300, 150, 150])
        ids, hashes = [f"s{row:04d}" for row in range(ROWS)], content_hashes(self.features)
        self.table = make_label_table(ids, np.arange(ROWS) % 3, splits, hashes)

    def hand_over(self, sharpness, gate=GATE):
        """Return the record."""
        about, rows = report(self.table), evidence(self.table, self.features)
        made = package(state(sharpness), FORM, self.table, self.features, about)
        facts, spec = facts_of(made, rows, about, {}, 0.95), HandoffSpec(self.name, gate)
        return hand_over(made, rows, facts, spec)[0]

    def version(self, number):
        return self.client.get_model_version(self.name, number)

    def champion(self, number=None):
        """Return the champion's number, or set it by hand."""
        if number is not None:
            self.client.set_registered_model_alias(self.name, "champion", number)
        return str(self.client.get_registered_model(self.name).aliases.get("champion"))

    def untag(self, number, tag):
        self.client.delete_model_version_tag(self.name, number, tag)

    def files(self, number):
        """Return the folder of a version's files."""
        return folder(self.client.get_model_version_download_uri(self.name, number))

    def record(self, number):
        """Return the file of a version's record."""
        run = self.client.get_run(self.version(number).run_id)
        return folder(run.info.artifact_uri) / "handoff" / self.name / number / "record.json"


def folder(address):
    return Path(urlparse(address).path)


@pytest.fixture
def registered(database):
    """Return a registered model of this test's own, whose champion is version 1."""
    made = Model(f"model {next(NUMBERS)}")
    assert made.hand_over(GOOD)["gate"]["passed"]
    return made


def test_a_champion_without_the_tag_of_its_graph_is_judged_against_once_it_is_set(registered):
    tag = registered.version("1").tags[GRAPH]
    registered.untag("1", GRAPH)
    for _ in range(2):
        found = registered.hand_over(AS_GOOD)
        (reason,) = found["gate"]["reasons"]
        assert "version 1 of" in reason
        assert f"by an earlier labelrepair and cannot be judged (it has no tag {GRAPH})" in reason
        assert "set the tag to the SHA-256 of that file and run the handoff again" in reason

    registered.client.set_model_version_tag(registered.name, "1", GRAPH, tag)

    assert registered.hand_over(AS_GOOD)["gate"]["passed"]
    assert registered.champion() == "2"


def test_a_champion_without_the_tag_that_is_handed_over_again_gets_it(registered):
    registered.untag("1", GRAPH)

    found = registered.hand_over(GOOD)

    assert (found["version"], found["parent_version"], found["champion"]) == ("2", "1", "2")
    assert found["digest"] == registered.version("1").tags["labelrepair.digest"]
    assert registered.champion() == "2"
    assert len(registered.version("2").tags[GRAPH]) == 64
    assert registered.hand_over(GOOD) == found
    # Of no use as a champion, the old one is none that would have to be registered again.
    registered.champion("1")
    assert registered.hand_over(GOOD)["version"] == "2"
    assert registered.hand_over(AS_GOOD)["version"] == "3"


def test_a_champion_whose_files_come_back_is_judged_against(registered):
    files = registered.files("1")
    shutil.move(files, f"{files}-away")
    found = registered.hand_over(AS_GOOD)
    (reason,) = found["gate"]["reasons"]
    assert "version 1 of" in reason
    assert "cannot be judged: its files cannot be read" in reason
    assert "bring them back and run the handoff again" in reason
    assert str(Path(tempfile.gettempdir(), "tmp")) not in reason
    assert "judged" not in found["gate"], "how to go on is no part of the record"

    shutil.move(f"{files}-away", files)

    assert registered.hand_over(AS_GOOD)["gate"]["passed"]
    assert registered.champion() == "2"


def test_a_challenger_is_judged_again_by_another_champion(registered):
    assert registered.hand_over(BAD)["parent_version"] == "1"
    assert not registered.hand_over(AS_BAD)["gate"]["passed"]
    registered.champion("3")

    found = registered.hand_over(BAD)

    assert (found["version"], found["parent_version"], found["champion"]) == ("2", "3", "2")
    assert found["gate"]["passed"]
    assert registered.champion() == "2"


def test_without_a_champion_a_challenger_is_judged_as_a_first_version(registered):
    registered.hand_over(BAD)
    registered.client.delete_registered_model_alias(registered.name, "champion")

    found = registered.hand_over(BAD)

    assert found["parent_version"] is found["champion"] is None
    assert found["gate"]["reasons"][0].startswith("does not beat the most frequent class")


def test_a_version_that_was_taken_down_comes_back_by_hand_only(registered, caplog):
    caplog.set_level("INFO")
    assert registered.hand_over(AS_GOOD)["gate"]["passed"]
    registered.champion("1")

    for gate in (GATE, OTHER_RULE):
        found = registered.hand_over(AS_GOOD, gate)
        assert found["champion"] == registered.champion() == "1"
    assert "version 2: was champion, now version 1 is; it is not judged again" in caplog.text

    registered.untag("2", "labelrepair.gate")  # as the page on the handoff says
    assert registered.hand_over(AS_GOOD)["champion"] == registered.champion() == "2"


@pytest.mark.parametrize("damage", [None, '{"name": "t', "[]", "{}"])
def test_a_challenger_whose_record_is_lost_is_judged_again(registered, damage, caplog):
    before = registered.hand_over(BAD)
    file = registered.record("2")
    spoil(file, damage)

    assert registered.hand_over(BAD) == before

    place = f"{file.parent.relative_to(file.parents[3])}/record.json"
    assert f"{place}: no record of the handoff" in caplog.text
    assert "it is judged again" in caplog.text
    assert json.loads(file.read_text()) == before


@pytest.mark.parametrize("damage", [None, '{"name": "t', "[]", "{}"])
@pytest.mark.parametrize("stands", [True, False])
def test_of_a_champion_whose_record_is_lost_the_tags_count(registered, damage, stands, caplog):
    before = dict(registered.version("1").tags)
    if not stands:
        registered.hand_over(AS_GOOD)
    spoil(registered.record("1"), damage)

    found = registered.hand_over(GOOD)

    now = "1" if stands else "2"
    assert (found["champion"], found["parent_version"]) == (now, None)
    assert found["gate"]["passed"]
    assert registered.champion() == now
    assert registered.version("1").tags == before
    assert "its tags count" in caplog.text
    assert registered.hand_over(GOOD) == found


def test_a_champion_set_by_hand_keeps_its_reasons_without_a_record(registered):
    reasons = registered.hand_over(BAD)["gate"]["reasons"]
    registered.champion("2")
    spoil(registered.record("2"), None)

    assert registered.hand_over(BAD)["gate"]["reasons"] == ["; ".join(reasons)]
    assert registered.champion() == "2"


def test_a_handoff_whose_run_was_purged_ends_no_other(registered, monkeypatch, caplog):
    """As by `mlflow gc`."""
    registered.hand_over(BAD)
    for number in ("1", "2"):
        spoil(registered.record(number), None)

    def purged(_, run_id, *__):
        raise MlflowException(f"Run with id={run_id} not found", RESOURCE_DOES_NOT_EXIST)

    monkeypatch.setattr(mlflow.MlflowClient, "log_text", purged)

    assert not registered.hand_over(BAD)["gate"]["passed"]
    assert registered.hand_over(GOOD)["champion"] == "1"
    for number in ("1", "2"):
        told = f"{registered.name}/{number}: record and card are kept in the project only (Run with"
        assert told in caplog.text


def test_no_version_without_the_tag_becomes_champion(registered):
    assert not registered.hand_over(AS_GOOD, GateSpec(min_rows=10_000))["gate"]["passed"]
    registered.untag("2", GRAPH)  # as an earlier labelrepair has left it
    found = registered.hand_over(AS_GOOD)
    assert found["version"] == registered.champion() == "3"
    assert registered.hand_over(3.0)["gate"]["passed"], "it can be judged against"


def test_a_champion_that_mlflow_cannot_fetch_cannot_be_judged(registered, monkeypatch):
    def gone(*_, **__):
        raise MlflowException("Registered Model not found")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", gone)
    (reason,) = registered.hand_over(AS_GOOD)["gate"]["reasons"]
    assert "cannot be judged: its files cannot be read (MlflowException: Registered" in reason


def test_a_champion_of_somebody_else_is_named_as_such(registered):
    for tag in ("labelrepair.digest", GRAPH):
        registered.untag("1", tag)
    (reason,) = registered.hand_over(AS_GOOD)["gate"]["reasons"]
    assert "version 1 of" in reason
    assert "was not handed over by labelrepair (it has no tag labelrepair.digest)" in reason


def spoil(file, content):
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
