"""Runs by DVC, in temporary copies and from subfolders: one MLflow store, nothing lost."""

import json
import logging
import re
import time
from pathlib import Path

import mlflow
import pytest
import yaml

from labelrepair.errors import ConfigError
from labelrepair.stages.workspace import absolute_store, home, in_home, stage_tags

PRESET = "conf/base/parameters_presets/small.yml"
CONFIDENCE = "conf/base/parameters_repair.yml:policy.relabel_confidence"
SECONDS = 240  # for the queue's worker to come and to finish


@pytest.fixture
def copy_of(tmp_path):
    """Return (copy, original): folders as DVC lays them out for ``--temp``."""
    original = tmp_path / "project"
    copy = original / ".dvc/tmp/exps/tmp1234"
    for folder in (original, copy):
        (folder / ".dvc").mkdir(parents=True, exist_ok=True)
        (folder / "pyproject.toml").write_text(
            "[tool.kedro]\npackage_name = 'a'\nproject_name = 'a'\nkedro_init_version = '1.7.0'\n"
        )
    return copy, original


def test_home_of_a_copy(copy_of, monkeypatch):
    copy, original = copy_of
    monkeypatch.setenv("DVC_ROOT", str(original))
    assert home(copy) == copy  # somebody's variable, no stage

    monkeypatch.setenv("DVC_STAGE", "training")

    assert home(copy) == original
    assert home(copy / "sub/project") == original / "sub/project"  # a project inside a repository
    assert home(original) == original


@pytest.mark.parametrize("folder", [".", "docs/deep"])
def test_checkpoints_lie_in_the_home_project(copy_of, monkeypatch, folder):
    copy, original = copy_of
    (copy / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(copy / folder)

    assert in_home("data/checkpoints") == str(copy / "data/checkpoints")
    monkeypatch.setenv("DVC_ROOT", str(original))
    monkeypatch.setenv("DVC_STAGE", "training")
    assert in_home("data/checkpoints") == str(original / "data/checkpoints")


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("sqlite:///mlflow.db", "sqlite:////project/mlflow.db"),
        ("sqlite:///a/mlflow.db", "sqlite:////project/a/mlflow.db"),
        ("sqlite:////elsewhere/mlflow.db", "sqlite:////elsewhere/mlflow.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("databricks", "databricks"),
    ],
)
def test_absolute_store(uri, absolute):
    assert absolute_store(uri, Path("/project")) == absolute


@pytest.mark.parametrize("folder", ["a?b", "100%41", "q%3f"])
def test_a_folder_that_an_address_cannot_name_is_refused(folder):
    with pytest.raises(ConfigError, match=rf"^/x/{re.escape(folder)}/mlflow.db: '.*move or rename"):
        absolute_store("sqlite:///mlflow.db", Path("/x", folder))
    assert absolute_store("sqlite:///m.db", Path("/x/5% #1 ü")) == "sqlite:////x/5% #1 ü/m.db"


def test_tags_outside_dvc(monkeypatch):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert stage_tags() == {}


def test_settings_that_dvc_does_not_watch(project, monkeypatch, caplog):
    local = project / "conf/local"
    (local / "parameters_repair.yml").write_text("policy: {class_floor: 0.1}\n")
    (local / "mlflow.yml").write_text("")  # changes no result

    def warnings():
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            project.run("ingestion", data_root="data/01_raw")
        return [line for line in caplog.messages if "DVC does not watch" in line]

    assert warnings() == []
    monkeypatch.setenv("DVC_STAGE", "ingestion")
    (message,) = warnings()

    assert "--params data_root and conf/local/parameters_repair.yml:" in message
    (run, _) = project.mlflow_runs()
    assert run.data.tags["labelrepair.dvc_stage"] == "ingestion"


@pytest.mark.slow
def test_a_run_from_a_subfolder_uses_the_project_s_store(project):
    (project / "docs").mkdir()
    (project / "mlflow.db").unlink()
    project.edit("conf/base/globals.yml", dataset="digits")

    project.command("sh", "-c", "cd docs && kedro run --pipelines ingestion")

    (run,) = project.mlflow_runs()
    assert run.info.artifact_uri.startswith((project / "mlruns").as_uri())
    assert [path.name for path in (project / "docs").iterdir()] == []


@pytest.fixture(scope="module")
def repository(make_project, tmp_path_factory):
    """Return a repository after ``dvc repro``, everything committed; no MLflow store before it."""
    project = make_project(tmp_path_factory.mktemp("dvc") / "project")
    (project / "mlflow.db").unlink()
    project.command("dvc", "add", "data/01_raw/digits.npz")
    project.commit()
    project.command("dvc", "repro")
    project.commit()
    return project


def runs_of(project, dvc_run=None) -> dict[str, mlflow.entities.Run]:
    """Return the MLflow runs of one DVC run, by stage."""
    found = [run for run in project.mlflow_runs() if "labelrepair.dvc_run" in run.data.tags]
    wanted = dvc_run or found[0].data.tags["labelrepair.dvc_run"]
    return {
        run.data.tags["labelrepair.dvc_stage"]: run
        for run in found
        if run.data.tags["labelrepair.dvc_run"] == wanted
    }


def files(project, run) -> dict[str, Path]:
    """Return the artifacts of a run where MLflow says they are."""
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert folder.is_relative_to(project / "mlruns"), folder
    return {path.name: path for path in folder.rglob("*") if path.is_file()}


def experiments(project) -> list[str]:
    return project.command("dvc", "exp", "list", "--name-only").stdout.split()


@pytest.mark.slow
def test_the_runs_of_one_repro_are_found_together(repository):
    runs = runs_of(repository)

    assert {*runs} == {*yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]}
    assert len(runs) > 4
    (name,) = {run.data.tags["labelrepair.dvc_run"] for run in runs.values()}
    assert re.fullmatch(r"repro-\d+-\d+", name)
    assert len({run.data.tags["labelrepair.data_hash"] for run in runs.values()}) == 1


@pytest.mark.slow
def test_a_temporary_experiment_keeps_its_runs_and_models(repository):
    option = f"{PRESET}:presets.small.options.co_lambda=0.5"
    before = repository.data()

    repository.command("dvc", "exp", "run", "--temp", "--name", "temporary", "-S", option)

    assert "temporary" in experiments(repository)
    assert repository.data() == before  # the workspace is as it was
    runs = runs_of(repository, "temporary")
    assert {*runs} == {"training", "refinement", "repair", "evaluation", "report"}
    (path,) = [p for n, p in files(repository, runs["evaluation"]).items() if n == "metrics.json"]
    metrics = json.loads(path.read_text())
    mlflow.set_tracking_uri(f"sqlite:///{repository / 'mlflow.db'}")
    (model,) = repository.mlflow_client().search_logged_models(
        [runs["training"].info.experiment_id],
        filter_string=f"source_run_id = '{runs['training'].info.run_id}'",
    )
    assert mlflow.pytorch.load_model(model.model_uri) is not None
    copies = repository / ".dvc/tmp/exps"
    assert not [path for path in copies.rglob("mlflow.db")]
    # The experiment can be taken over, without a run.
    repository.command("dvc", "exp", "apply", "temporary")
    settings = yaml.safe_load((repository / PRESET).read_text())
    assert settings["presets"]["small"]["options"]["co_lambda"] == 0.5
    assert json.loads((repository / "data/08_reporting/metrics.json").read_text()) == metrics
    repository.command("git", "checkout", "--", ".")
    repository.command("dvc", "checkout")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "confidences"),  # each gives another table: DVC's run cache knows the old ones
    [(("queue", "start"), (0.5, 0.6)), (("exp", "run", "--run-all"), (0.8, 0.9))],
)
def test_queued_experiments(repository, start, confidences):
    names = []
    for confidence in confidences:
        names.append(f"confidence-{round(100 * confidence)}")
        setting = f"{CONFIDENCE}={confidence}"
        repository.command("dvc", "exp", "run", "--queue", "--name", names[-1], "-S", setting)

    repository.command("dvc", *start)
    deadline = time.monotonic() + SECONDS
    while not {*names} <= {*experiments(repository)}:
        assert time.monotonic() < deadline, repository.command("dvc", "queue", "status").stdout
        time.sleep(1)

    for name in names:
        runs = runs_of(repository, name)
        assert {"repair", "evaluation"} <= {*runs}
        assert not {"ingestion", "training"} & {*runs}
        assert "metrics.json" in files(repository, runs["evaluation"])
        assert "repaired_labels.parquet" in files(repository, runs["repair"])
