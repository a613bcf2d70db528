"""dvc.yaml in a real repository: what runs again, and what does not."""

import dataclasses
import json
import re

import pandas as pd
import pytest
import yaml
from dvc.repo import Repo

PRESET = "conf/base/parameters_presets/small.yml"
STAGES = ["ingestion", "estimation", "training", "refinement", "repair", "evaluation", "report"]


@pytest.fixture(scope="module")
def repository(make_project, tmp_path_factory):
    """Return a git and DVC repository whose lock holds the products of one ``kedro run``."""
    folder = tmp_path_factory.mktemp("dvc")
    project = make_project(folder / "project")
    project.command("dvc", "config", "core.analytics", "false")
    project.command("dvc", "remote", "add", "--default", "store", str(folder / "remote"))
    project.command("dvc", "add", "data/01_raw/digits.npz")
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
        "data/01_raw/digits.npz.dvc",
        "data/03_primary/human_decisions.csv",
        "data/07_model_output/label_changes.csv",
        "data/08_reporting/.gitignore",  # of DVC, about folders of pictures
        "data/08_reporting/metrics.json",
    ]
    assert not repository.command("git", "status", "--porcelain").stdout
    lock = yaml.safe_load((repository / "dvc.lock").read_text())
    assert sorted(lock["stages"]) == sorted(STAGES)


def test_a_method_option_reruns_what_depends_on_it(repository, change):
    change(PRESET, "presets", "small", "options", co_lambda=0.5)

    assert would_run(repository) == ["training", "refinement", "repair", "evaluation", "report"]


@pytest.mark.parametrize(
    ("path", "keys", "changes", "stages"),
    [
        ("conf/base/parameters_repair.yml", ["policy"], {"class_floor": 0.1}, STAGES[4:]),
        ("conf/base/parameters_repair.yml", ["scoring"], {"calibrate": False}, STAGES[4:]),
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
        ("policy.py", ["repair", "evaluation", "report"]),
        ("plots/labels.py", ["evaluation", "report"]),
        ("report/charts.py", ["report"]),
        ("refinement.py", STAGES[3:]),
        ("methods/jocor.py", ["training", "refinement", "repair", "evaluation", "report"]),
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


def metrics_differ(project):
    shown = json.loads(project.command("dvc", "metrics", "diff", "--json").stdout)
    committed = project.command("git", "show", "HEAD:data/08_reporting/metrics.json").stdout
    present = json.loads((project / "data/08_reporting/metrics.json").read_text())
    differences = shown["data/08_reporting/metrics.json"]
    assert differences
    for name, found in differences.items():
        assert found["old"] == pytest.approx(json.loads(committed)[name])
        assert found["new"] == pytest.approx(present[name])


def plots_differ(project, folder):
    """The page holds the curves and the pictures of both revisions."""
    project.command("dvc", "plots", "diff", "HEAD", "--out", str(folder / "plots"))
    page = (folder / "plots/index.html").read_text()
    for text in ("selection_precision", '"rev": "HEAD"', '"rev": "workspace"'):
        assert text in page
    pictures = sorted(path.name for path in (folder / "plots/static").iterdir())
    for revision in ("HEAD", "workspace"):
        assert [name for name in pictures if name.startswith(revision) and name.endswith(".png")]


@pytest.mark.slow
def test_an_experiment_with_another_option(repository, tmp_path):
    option = f"{PRESET}:presets.small.options.co_lambda=0.5"
    before = repository.untouched()

    done = repository.command("dvc", "exp", "run", "-S", option)

    try:
        assert running(done) == ["training", "refinement", "repair", "evaluation", "report"]
        changed = {name for name, now in repository.untouched().items() if before[name] != now}
        assert "data/07_model_output/training_probs.npy" in changed
        assert "data/08_reporting/metrics.json" in changed
        assert not [name for name in changed if re.search(r"0[1-5]_.*(?<!\.dvc)$", name)]
        report = json.loads((repository / "data/07_model_output/training_report.json").read_text())
        assert report["settings"]["options"]["co_lambda"] == 0.5
        metrics_differ(repository)
        plots_differ(repository, tmp_path)
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

        # Ingestion too: what people decided is part of the curated rows.
        assert running(done) == ["ingestion", "repair", "evaluation", "report"]
        pd.testing.assert_frame_equal(reverted.iloc[: len(before)], before)
        assert reverted["method"].iloc[-1] == "revert"
        pd.testing.assert_frame_equal(pd.read_parquet(book), reverted)  # nothing new to say
        assert table.read_bytes() == labels
        shown = repository.command("kedro", "labels", "diff", "HEAD").stdout
        assert "1 rows differ" in shown
    finally:
        repository.command("git", "checkout", "--", ".")
        repository.command("dvc", "checkout")


@pytest.mark.slow
def test_a_clone_pulls_the_same_bytes(repository, tmp_path):
    clone = dataclasses.replace(repository, root=tmp_path / "clone")
    repository.command("dvc", "push")
    repository.command("git", "clone", "-q", ".", str(clone.root))
    assert not (clone / "data/07_model_output/repaired_labels.parquet").exists()

    clone.command("dvc", "pull")

    def ignored(name):
        return name.endswith((".gitignore", ".lock"))  # lock: of who writes labels just now

    there = {name: sum_ for name, sum_ in repository.data().items() if not ignored(name)}
    assert {name: sum_ for name, sum_ in clone.data().items() if not ignored(name)} == there
    assert len(there) > 20
    assert "up to date" in clone.command("dvc", "status").stdout


def locked(project) -> dict[str, str]:
    """Return the sums of all files that dvc.lock names."""
    stages = yaml.safe_load((project / "dvc.lock").read_text())["stages"].values()
    return {
        file["path"]: file["md5"] for stage in stages for file in [*stage["deps"], *stage["outs"]]
    }


@pytest.mark.slow  # five commands, each with its own start
def test_a_clean_checkout_reproduces_the_run(repository, tmp_path):
    """Stage by stage, each in a process of its own, DVC finds the bytes that one run has made."""
    clone = dataclasses.replace(repository, root=tmp_path / "clone")
    repository.command("git", "clone", "-q", ".", str(clone.root))
    repository.command("dvc", "push", "data/01_raw/digits.npz.dvc")
    clone.command("dvc", "pull", "data/01_raw/digits.npz.dvc")

    done = clone.command("dvc", "repro")

    assert running(done) == STAGES
    # The same lock, but for the ledger and the report: they tell when and by which run.
    assert locked(clone).keys() == locked(repository).keys()
    differ = {path for path, sum_ in locked(clone).items() if locked(repository)[path] != sum_}
    assert differ <= {"data/07_model_output/label_ledger.parquet", "data/08_reporting/report.html"}
    assert running(clone.command("dvc", "repro")) == []
