"""dvc.yaml in a real repository: what runs again, and what does not."""

import dataclasses
import json
import re
import shutil

import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from kedro.framework.project import configure_project

from labelrepair.pipeline_registry import register_pipelines

PRESET = "conf/base/parameters_presets/small.yml"
STAGES = ["ingestion", "estimation", "training", "repair", "evaluation"]


@pytest.fixture(scope="module")
def repository(make_project, tmp_path_factory):
    """Return a git and DVC repository whose lock holds the products of one ``kedro run``."""
    project = make_project(tmp_path_factory.mktemp("dvc"))
    project.command("dvc", "config", "core.analytics", "false")
    project.run()
    project.command("dvc", "commit", "--force")
    project.commit()
    return project


def running(done) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", done.stdout)


def would_run(project) -> list[str]:
    """Return the stages that a change reaches, by dependency, without running them."""
    with project.active(), Repo(project.root) as repo:
        return [stage.name for stage in repo.reproduce(dry=True, force_downstream=True)]


@pytest.fixture
def change(repository):
    """Return a function that changes a YAML file until the end of the test."""
    undo = {}

    def change(path, *keys, **changes):
        undo.setdefault(path, (repository / path).read_bytes())
        repository.edit(path, *keys, **changes)

    yield change
    for path, content in undo.items():
        (repository / path).write_bytes(content)


def test_a_second_repro_does_nothing(repository):
    before = repository.untouched()

    done = repository.command("dvc", "repro")

    assert running(done) == []
    assert "up to date" in done.stdout
    assert repository.untouched() == before


def test_the_lock_is_committed_and_the_data_are_not(repository):
    tracked = repository.command("git", "ls-files").stdout.splitlines()

    assert "dvc.lock" in tracked
    files = [name for name in tracked if name.startswith("data/") and "gitkeep" not in name]
    assert files == [
        "data/03_primary/human_decisions.csv",
        "data/07_model_output/label_changes.csv",
    ]
    assert not repository.command("git", "status", "--porcelain").stdout
    lock = yaml.safe_load((repository / "dvc.lock").read_text())
    assert sorted(lock["stages"]) == sorted(STAGES)


def test_a_method_option_reruns_what_depends_on_it(repository, change):
    change(PRESET, "presets", "small", "options", co_lambda=0.5)

    assert would_run(repository) == ["training", "repair", "evaluation"]


@pytest.mark.parametrize(
    ("path", "keys", "changes", "stages"),
    [
        ("conf/base/parameters_repair.yml", ["policy"], {"class_floor": 0.1}, STAGES[3:]),
        ("conf/base/parameters_repair.yml", ["scoring"], {"calibrate": False}, STAGES[3:]),
        ("conf/base/globals.yml", [], {"seed": 1}, STAGES[1:]),
        (
            "conf/base/parameters_estimation.yml",
            ["estimation", "estimator"],
            {"quantile": 0.9},
            STAGES[1:],
        ),
        (
            "conf/base/parameters_datasets/small.yml",
            ["datasets", "small", "noise"],
            {"rate": 0.2},
            STAGES,
        ),
        ("conf/base/parameters_datasets/small.yml", ["datasets", "small"], {"more": 1}, []),
        ("conf/base/parameters_presets/jocor_digits.yml", ["presets"], {"other": {}}, []),
    ],
)
def test_other_changes(repository, change, path, keys, changes, stages):
    change(path, *keys, **changes)

    assert would_run(repository) == stages


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("policy.py", ["repair", "evaluation"]),
        ("plots.py", ["evaluation"]),
        ("methods/jocor.py", ["training", "repair", "evaluation"]),
        ("data/manifest.py", STAGES),
    ],
)
def test_changed_code(repository, module, stages):
    file = repository / f"src/labelrepair/{module}"
    content = file.read_bytes()
    file.write_bytes(content + b"\n# changed\n")
    try:
        assert would_run(repository) == stages
    finally:
        file.write_bytes(content)


def test_metrics_show(repository):
    shown = json.loads(repository.command("dvc", "metrics", "show", "--json").stdout)

    (content,) = shown.values()
    file = "data/08_reporting/metrics.json"
    written = json.loads((repository / file).read_text())
    assert content["data"][file]["data"] == pytest.approx(
        {name: value for name, value in written.items() if value is not None}
    )


def test_plots_show(repository, tmp_path):
    repository.command("dvc", "plots", "show", "--out", str(tmp_path / "plots"))

    page = (tmp_path / "plots/index.html").read_text()
    for column in ("selection_precision", "precision", "given_accuracy"):
        assert column in page


def test_an_experiment_with_another_option(repository):
    option = f"{PRESET}:presets.small.options.co_lambda=0.5"
    before = repository.untouched()

    done = repository.command("dvc", "exp", "run", "-S", option)

    try:
        assert running(done) == ["training", "repair", "evaluation"]
        changed = {name for name, now in repository.untouched().items() if before[name] != now}
        assert "data/07_model_output/training_probs.npy" in changed
        assert "data/08_reporting/metrics.json" in changed
        assert not [name for name in changed if re.search("0[1-5]_", name)]
        report = json.loads((repository / "data/07_model_output/training_report.json").read_text())
        assert report["settings"]["options"]["co_lambda"] == 0.5
    finally:
        repository.command("git", "checkout", "--", ".")
        repository.command("dvc", "checkout")
    # What has run once is not run again.
    assert running(repository.command("dvc", "repro")) == []


@pytest.mark.slow  # four commands, each with its own start
def test_the_ledger_and_peoples_decisions_survive_a_repro(repository):
    """DVC deletes a stage's outputs before it runs, but not the ledger."""
    book = repository / "data/07_model_output/label_ledger.parquet"
    table = repository / "data/07_model_output/repaired_labels.parquet"
    before = pd.read_parquet(book)
    sample = before.loc[before["action"] == "relabel", "sample_id"].iloc[0]
    try:
        repository.command("kedro", "labels", "revert", "--sample", sample, "--reviewer", "ada")
        reverted, labels = pd.read_parquet(book), table.read_bytes()

        done = repository.command("dvc", "repro")

        assert running(done) == ["ingestion", "repair", "evaluation"]
        pd.testing.assert_frame_equal(reverted.iloc[: len(before)], before)
        assert reverted["method"].iloc[-1] == "revert"
        pd.testing.assert_frame_equal(pd.read_parquet(book), reverted)  # nothing new to say
        assert table.read_bytes() == labels
        shown = repository.command("kedro", "labels", "diff", "HEAD").stdout
        assert "1 rows differ" in shown
    finally:
        repository.command("git", "checkout", "--", ".")
        repository.command("dvc", "checkout")


@pytest.mark.slow  # five commands, each with its own start
def test_a_clean_checkout_reproduces_the_run(repository, tmp_path):
    """Stage by stage, each in a process of its own, DVC finds the bytes that one run has made."""
    clone = dataclasses.replace(repository, root=tmp_path / "clone")
    repository.command("git", "clone", "-q", ".", str(clone.root))
    shutil.copy(repository / "data/01_raw/digits.npz", clone / "data/01_raw")

    done = clone.command("dvc", "repro")

    assert running(done) == STAGES
    # The same lock, but for the ledger: it tells when and by which run.
    changes = clone.command("git", "diff", "-U0").stdout.splitlines()
    lines = [line for line in changes if re.match(r"[-+] +\w+:", line)]
    assert all(re.match(r"[-+] +(md5|size): ", line) for line in lines)
    assert len(lines) <= 4
    assert running(clone.command("dvc", "repro")) == []


def test_every_product_is_a_dvc_output(repository):
    """dvc.yaml and the Kedro graph are two descriptions of one thing: they must agree."""
    stages = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    catalog = {}
    for file in (repository / "conf/base").glob("catalog_*.yml"):
        catalog |= yaml.safe_load(file.read_text())
    places = {}
    for name, entry in catalog.items():
        inner = entry.get("dataset", {}) if isinstance(entry, dict) else {}
        if isinstance(entry, dict):
            place = entry.get("filepath") or entry.get("path") or inner.get("filepath")
            if place:
                places[name] = place.replace("${_workspace}", "data")

    configure_project("labelrepair")
    pipelines = register_pipelines()
    assert list(stages) == STAGES
    for name, stage in stages.items():
        made = {places[n] for n in pipelines[name].all_outputs() if n in places}
        outs = [next(iter(out)) if isinstance(out, dict) else out for out in stage["outs"]]
        assert made == {*outs, *stage.get("metrics", [])}
        read = {places[n] for n in pipelines[name].inputs() if n in places}
        assert read == {dep for dep in stage["deps"] if dep.startswith("data/")}
        assert stage["cmd"] == f"kedro run --pipelines {name}"
        for dep in stage["deps"]:
            assert (repository / dep).exists()
