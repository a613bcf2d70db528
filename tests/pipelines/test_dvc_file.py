"""dvc.yaml is what the Kedro graph wants, and the command says what differs."""

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
