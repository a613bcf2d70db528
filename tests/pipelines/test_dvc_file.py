"""dvc.yaml is what the Kedro graph wants, and the command says what differs."""

import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from kedro.inspection.models import NodeSnapshot, PipelineSnapshot

import labelrepair
from labelrepair.commands.dvc import commands
from labelrepair.errors import ConfigError
from labelrepair.stages import dvc_file
from labelrepair.stages.raw_data import raw_data

ROOT = Path(labelrepair.__file__).parents[2]
STAGES = ["ingestion", "estimation", "training", "repair", "evaluation"]


@pytest.fixture(scope="module")
def rendered():
    return dvc_file.render(ROOT)


@pytest.fixture
def kedro(tmp_path, monkeypatch, rendered):
    """Return a runner of ``kedro dvc ...`` in a folder of its own."""
    metadata = bootstrap_project(ROOT)._replace(project_path=tmp_path)
    monkeypatch.setattr(dvc_file, "render", lambda project: rendered)
    return lambda *command: CliRunner().invoke(commands, command, obj=metadata)


def test_it_is_not_stale(rendered):
    """If this fails: kedro dvc write."""
    assert (ROOT / "dvc.yaml").read_text() == rendered


def test_write_and_check(kedro, tmp_path):
    missing = kedro("dvc", "write", "--check")
    assert missing.exit_code == 1
    assert not (tmp_path / "dvc.yaml").exists()

    people = "data/03_primary/human_decisions.csv"
    assert kedro("dvc", "write").output == (
        "data/01_raw/.gitkeep made, empty: DVC wants it to exist\n"
        f"{people} made, empty: DVC wants it to exist\ndvc.yaml written\n"
    )
    assert (tmp_path / people).read_text() == (ROOT / people).read_text().splitlines()[0] + "\n"
    (tmp_path / people).write_text("mine")

    assert kedro("dvc", "write").output == "dvc.yaml is up to date\n"
    assert kedro("dvc", "write", "--check").exit_code == 0
    assert (tmp_path / people).read_text() == "mine"
    (tmp_path / people).unlink()
    (tmp_path / people).symlink_to(tmp_path / "share.csv")  # not mounted now
    assert kedro("dvc", "write").output == "dvc.yaml is up to date\n"
    assert not (tmp_path / "share.csv").exists()


def test_a_stale_file_is_shown_and_left_alone(kedro, tmp_path, rendered):
    stale = rendered.replace("          - policy\n", "").replace("seed\n", "sed\n", 1)
    (tmp_path / "dvc.yaml").write_text(stale)

    done = kedro("dvc", "write", "--check")

    assert done.exit_code == 1
    assert "\n+          - policy\n" in done.output
    assert "\n-          - sed\n+          - seed\n" in done.output
    assert "kedro dvc write" in done.output
    assert (tmp_path / "dvc.yaml").read_text() == stale


def test_stages(rendered):
    stages = yaml.safe_load(rendered)["stages"]

    assert [name for name in stages if name in STAGES] == STAGES
    for name, stage in stages.items():
        assert stage["cmd"] == f"kedro run --pipelines {name}"
        assert f"src/labelrepair/pipelines/{name}" in stage["deps"]
    assert stages["evaluation"]["metrics"] == [{"data/08_reporting/metrics.json": {"cache": False}}]
    assert {"data/07_model_output/label_ledger.parquet": {"persist": True}} in (
        stages["repair"]["outs"]
    )
    assert {"data/07_model_output/label_changes.csv": {"cache": False}} in stages["repair"]["outs"]
    assert {
        "conf/base/parameters_presets/${preset}.yml": ["presets.${preset}"]
    } in stages["training"]["params"]  # fmt: skip


def test_the_code_of_one_step_reruns_no_earlier_one(rendered):
    stages = yaml.safe_load(rendered)["stages"]

    def users(module):
        path = Path("src/labelrepair", module)
        return [
            name
            for name in STAGES
            if {str(p) for p in (path, path.parent)} & {*stages[name]["deps"]}
        ]

    assert users("policy.py") == ["repair"]
    assert users("plots/training.py") == ["evaluation"]
    assert users("methods/jocor.py") == ["training"]
    assert users("data/manifest.py") == ["ingestion"]


def node(name, inputs, outputs):
    return NodeSnapshot(name, func_name=name, inputs=inputs, outputs=outputs)


def pipeline(name, *nodes):
    return PipelineSnapshot(name, [*nodes], sorted({i for n in nodes for i in n.inputs}))


def test_the_smallest_pipelines_become_stages_in_order_of_their_data():
    first, second = node("first", ["raw"], ["x"]), node("second", ["x"], ["y"])
    pipelines = {
        "all": pipeline("all", first, second),
        "b": pipeline("b", first),
        "a": pipeline("a", second),
        "apart": pipeline("apart", node("other", ["y"], ["z"])),
        "__default__": pipeline("__default__", first, second),
    }

    assert [p.name for p in dvc_file._stages(pipelines)] == ["b", "a"]


def test_two_stages_with_one_out_are_refused():
    pipelines = [pipeline("a", node("m", [], ["x"])), pipeline("b", node("n", [], ["y"]))]
    entry = dvc_file.Entry("data/same.csv", dvc_file.DvcFacts())

    with pytest.raises(ConfigError, match=r"'a' and 'b' both write data/same\.csv"):
        dvc_file._check_outs(pipelines, {"x": entry, "y": entry})


@pytest.fixture(scope="module")
def project(make_project, tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("elsewhere") / "project")


def ingestion_reads(project):
    """Return what DVC watches for the ingestion beside code, and what was said."""
    done = project.command("kedro", "dvc", "write")
    deps = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]["ingestion"]["deps"]
    said = " ".join((done.stdout + done.stderr).split())
    return [dep for dep in deps if not dep.startswith("src/")], said


def test_raw_data_elsewhere_in_the_project_are_watched(project):
    source = {"kind": "manifest", "path": "rows/labels.parquet", "image_root": "pictures"}
    project.dataset("mine", source)
    project.edit("conf/base/globals.yml", dataset="mine")
    project.edit("conf/base/parameters_ingestion.yml", "ingestion", curated={"path": "trusted.csv"})

    watched, said = ingestion_reads(project)

    expected = ["data/01_raw", "pictures", "rows/labels.parquet", "trusted.csv"]
    assert [dep for dep in watched if dep != "data/03_primary/human_decisions.csv"] == expected
    assert "does not watch" not in said
    assert not project.command("kedro", "dvc", "write", "--check").returncode
    project.edit("conf/base/parameters_ingestion.yml", "ingestion", curated={"path": None})
    project.edit("conf/base/globals.yml", dataset="small")
    assert project.command("kedro", "dvc", "write", "--check", check=False).returncode == 1
    assert "trusted.csv" not in ingestion_reads(project)[0]


@pytest.mark.slow
def test_raw_data_outside_the_project_are_warned_of(project):
    source = {"kind": "torchvision", "name": "MNIST", "root": "${globals:data_root}"}
    project.dataset("theirs", source)
    project.edit("conf/base/globals.yml", dataset="theirs", data_root="/elsewhere")
    watched, said = ingestion_reads(project)
    assert "/elsewhere" not in watched
    told = "DVC does not watch /elsewhere, which stage 'ingestion' reads: it lies outside"
    assert told in said
    assert "dvc repro --force ingestion" in said
    done = project.command("kedro", "dvc", "write", "--check")
    assert told in " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("source", "places"),
    [
        ({"kind": "digits"}, []),
        ({"kind": "manifest", "path": "a/m.csv"}, ["a", "a/m.csv"]),
        ({"kind": "manifest", "path": "a/m.csv", "text_column": "text"}, ["a/m.csv"]),
        ({"kind": "manifest", "path": "a/m.csv", "feature_columns": ["*"]}, ["a/m.csv"]),
        ({"kind": "huggingface", "files": {"train": "a/train-*.parquet", "test": "b.parquet"}},
         ["a", "b.parquet"]),
        ({"kind": "overlay", "labels": "l.pt", "base": {"kind": "npz", "path": "../b.npz"}},
         ["../b.npz", "l.pt"]),
        ({"kind": "open_set", "base": {"kind": "torchvision", "root": "r"},
          "other": {"kind": "image_folder", "path": "/o"}}, ["/o", "r"]),
    ],
)  # fmt: skip
def test_what_a_source_reads(tmp_path, source, places):
    values = {"faces": {"ingestion": {"source": source, "curated": {"path": None}}}}
    names = ["params:faces.ingestion.source", "params:faces.ingestion.curated", "faces.x"]
    found = raw_data(names, values, tmp_path)
    assert found == {Path(os.path.normpath(tmp_path / place)) for place in places}
