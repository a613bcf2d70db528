"""What git must keep, and what is done about a .gitignore that leaves it out."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

import labelrepair
from labelrepair.commands import dvc, host
from labelrepair.commands.git_files import BEGIN, END, KEPT, ignored, keep, left_out
from labelrepair.defaults import starter_folder
from labelrepair.stages import dvc_file

ROOT = Path(labelrepair.__file__).parents[2]
# As `kedro new` writes it.
KEDROS = "conf/local/**\n!conf/local/.gitkeep\n\ndata/**\n\n!data/**/\n!.gitkeep\nmlruns/*\n"
RAW = ("data/01_raw/tickets.csv.dvc", "data/01_raw/.gitignore", "data/01_raw/sub/.gitignore")
DVC_YAML = """
stages:
  tickets:
    cmd: kedro run --pipelines tickets
    deps: [data/01_raw, data/tickets/03_primary/human_decisions.csv, src/shop/nodes.py]
    outs:
    - data/tickets/04_feature/features.npy
    - data/tickets/07_model_output/label_changes.csv: {cache: false}
    metrics:
    - data/tickets/08_reporting/metrics.json: {cache: false}
"""


@pytest.fixture
def shop(tmp_path):
    """Return an existing Kedro project in git."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text(KEDROS)
    (tmp_path / "conf/base").mkdir(parents=True)
    return tmp_path


def texts(workspace):
    return [f"{workspace}/{name}" for name in KEPT]


def test_git_keeps_texts_and_pointers_and_leaves_products_out(shop):
    assert ignored(shop, [*texts("data/tickets"), *RAW]) == [*texts("data/tickets"), *RAW]
    assert ignored(shop, ["mlflow.db"]) == []

    assert keep(shop, "data/tickets", store=True)

    assert ignored(shop, [*texts("data/tickets"), *RAW]) == []
    products = ["data/tickets/03_primary/label_table.parquet", "data/01_raw/tickets.csv"]
    products += ["data/08_reporting/metrics.json", "mlflow.db", "mlruns/1/x"]
    assert ignored(shop, products) == products


@pytest.mark.parametrize("ending", ["\n", "", "\r\n"])
def test_what_is_there_stays_and_the_block_grows(shop, ending):
    before = KEDROS.rstrip("\n").encode() + ending.encode()
    (shop / ".gitignore").write_bytes(before)
    assert keep(shop, "data/faces", store=True)
    assert keep(shop, "data/tickets", store=False)
    found = (shop / ".gitignore").read_bytes()
    assert not keep(shop, "data/tickets", store=True), "nothing is missing"
    assert (shop / ".gitignore").read_bytes() == found
    assert found.startswith(before)
    added = found[len(before) :].decode()
    assert (added.count(BEGIN), added.count(END)) == (1, 1)
    assert added.endswith(f"!data/tickets/08_reporting/metrics.json\n{END}\n")
    assert ignored(shop, [*texts("data/faces"), *texts("data/tickets"), *RAW]) == []


def test_what_stands_below_the_block_stays_there(shop):
    keep(shop, "data/faces", store=False)
    with (shop / ".gitignore").open("a") as stream:
        stream.write("data/faces/*.csv\n")
    before = (shop / ".gitignore").read_text()
    keep(shop, "data/tickets", store=False)
    assert (shop / ".gitignore").read_text().startswith(before)


@pytest.mark.parametrize("workspace", ["My Files #1/x", "a[1]/b*", "out"])
def test_a_workspace_of_any_name(shop, workspace):
    (shop / ".gitignore").write_text("*.csv\n*.json\n")
    keep(shop, workspace, store=False)
    assert ignored(shop, texts(workspace)) == []
    assert ignored(shop, [f"{workspace}/03_primary/other.csv"]) != []


@pytest.mark.parametrize("workspace", ["/elsewhere", "../elsewhere"])
def test_a_workspace_elsewhere_is_no_business_of_this_repository(shop, workspace):
    keep(shop, workspace, store=False)
    assert "elsewhere" not in (shop / ".gitignore").read_text()
    assert ignored(shop, texts(workspace)) == []


def test_without_a_repository_or_git(tmp_path, monkeypatch):
    assert ignored(tmp_path, ["data/x"]) == []
    monkeypatch.setenv("PATH", "")
    assert ignored(tmp_path, ["data/x"]) == []
    assert keep(tmp_path, "data/faces", store=True)
    assert (tmp_path / ".gitignore").read_text().startswith(BEGIN)


def test_lines_for_a_project_made_before(shop):
    lines = left_out(shop, DVC_YAML)
    assert lines == [
        "!data/**/*.dvc",
        "!data/**/.gitignore",
        "!data/tickets/03_primary/human_decisions.csv",
        "!data/tickets/07_model_output/label_changes.csv",
        "!data/tickets/08_reporting/metrics.json",
    ]
    (shop / ".gitignore").write_text(KEDROS + "\n".join(lines))
    assert left_out(shop, DVC_YAML) == []


def test_raw_data_elsewhere_in_the_project(shop):
    (shop / ".gitignore").write_text("rows/*\n/pictures*\n*.csv*\n")
    read = "stages: {a: {cmd: a, deps: [rows/labels.parquet, pictures, x.csv], outs: [b]}}"
    assert left_out(shop, read) == [
        "!/x.csv.dvc",
        "!pictures/**/*.dvc",
        "!pictures/**/.gitignore",
        "!rows/**/*.dvc",
        "!rows/**/.gitignore",
    ]


def test_a_folder_with_a_dot_in_its_name_is_none_the_less_one(shop):
    (shop / ".gitignore").write_text("/photos-v1.2*\n")
    (shop / "photos-v1.2").mkdir()
    read = "stages: {a: {cmd: a, deps: [photos-v1.2], outs: [b]}}"
    assert left_out(shop, read) == ["!photos-v1.2/**/*.dvc", "!photos-v1.2/**/.gitignore"]


def test_a_file_that_git_knows_is_not_left_out(shop):
    decided = shop / "data/tickets/03_primary/human_decisions.csv"
    decided.parent.mkdir(parents=True)
    decided.touch()
    subprocess.run(["git", "-C", str(shop), "add", "--force", str(decided)], check=True)
    assert ignored(shop, texts("data/tickets")) == texts("data/tickets")[1:]


def metadata(project):
    return bootstrap_project(ROOT)._replace(
        project_path=project, source_dir=project / "src", package_name="shop"
    )


def test_add_writes_the_lines_and_says_what_git_still_ignores(shop):
    add = ["labelrepair", "add", "faces"]
    told = CliRunner().invoke(host.commands, add, obj=metadata(shop)).output
    assert "wrote .gitignore (lines added: what git keeps of the products)" in told
    assert "still ignores" not in told
    assert ignored(shop, texts("data/faces")) == []
    assert ignored(shop, ["mlflow.db"]) == ["mlflow.db"]
    (shop / ".gitignore").write_text("/data/\n")  # nothing inside can be kept
    add = ["labelrepair", "add", "tickets", "--no-mlflow"]
    told = CliRunner().invoke(host.commands, add, obj=metadata(shop)).output
    for path in texts("data/tickets"):
        assert f"git still ignores {path}: change the line that says so" in told


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_dvc_write_names_the_lines(shop, monkeypatch, check):
    monkeypatch.setattr(dvc_file, "render", lambda project: DVC_YAML)
    (shop / "dvc.yaml").write_text(DVC_YAML)
    done = CliRunner().invoke(dvc.commands, ["dvc", "write", *check], obj=metadata(shop))
    assert done.exit_code == 0
    told = "git ignores what a clone needs; add to .gitignore:\n  !data/**/*.dvc\n  !data/**/.git"
    assert told in done.output
    keep(shop, "data/tickets", store=True)
    done = CliRunner().invoke(dvc.commands, ["dvc", "write", *check], obj=metadata(shop))
    assert "git ignores" not in done.output


@pytest.mark.parametrize(
    "file",
    [ROOT / ".gitignore", starter_folder() / "{{ cookiecutter.repo_name }}/.gitignore"],
    ids=["checkout", "starter"],
)
def test_our_own_projects_keep_all_of_it(shop, file):
    (shop / ".gitignore").write_bytes(file.read_bytes())
    assert ignored(shop, [*texts("data"), *RAW]) == []
    assert ignored(shop, ["data/01_raw/x.csv", "mlflow.db"]) == ["data/01_raw/x.csv", "mlflow.db"]
