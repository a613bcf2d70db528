"""``dvc exp run -S`` writes into the files that docs/versioning.md says, as DVC does it."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from kedro.config import OmegaConfigLoader

import labelrepair
from labelrepair.defaults import Host, add_to_project, conf_folder
from labelrepair.settings import CONFIG_LOADER_ARGS

cli_parse = pytest.importorskip("dvc.utils.cli_parse")
hydra = pytest.importorskip("dvc.utils.hydra")
PAGE = Path(labelrepair.__file__).parents[2] / "docs/versioning.md"
SETTINGS = re.findall(r"-S (conf/base/\S+:\+?[\w.]+=[\w.]+)", PAGE.read_text())
OWN = {"presets": {"mine": {"training": {"schedule": {"epochs": 60}}}}}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Work in a project with our own configuration; return its folder ``base``."""
    shutil.copytree(conf_folder() / "base", tmp_path / "conf/base")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "conf/base"


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Work in a project like one of the starter; return its folder ``base``."""
    base = tmp_path / "conf/base"
    base.mkdir(parents=True)
    add_to_project(tmp_path, Host("labels", workspace="data"))
    (base / "parameters.yml").write_text(yaml.safe_dump(OWN))
    monkeypatch.chdir(tmp_path)
    return base


def set_param(setting):
    """Do to the file what ``dvc exp run -S`` does."""
    for path, overrides in cli_parse.to_path_overrides([setting]).items():
        hydra.apply_overrides(path, overrides)


def loaded(base, kind, key):
    """Return a value as a run sees it."""
    arguments = {**CONFIG_LOADER_ARGS, "default_run_env": "base"}
    value = OmegaConfigLoader(str(base.parent), **arguments)[kind]
    for part in key.split("."):
        value = value[part]
    return value


def test_the_page_names_settings():
    assert len(SETTINGS) > 10
    assert {Path(setting.partition(":")[0]).name for setting in SETTINGS} >= {
        "globals.yml",
        "parameters_labels.yml",
        "parameters_ingestion.yml",
        "parameters_estimation.yml",
    }


@pytest.mark.parametrize("setting", sorted(set(SETTINGS)))
def test_what_the_page_says_can_be_set(setting, request):
    path, _, override = setting.partition(":")
    key, _, value = override.removeprefix("+").partition("=")
    in_host = key.startswith("labels.") or "mine" in key
    base = request.getfixturevalue("host" if in_host else "checkout")
    kind = "globals" if path.endswith("globals.yml") else "parameters"
    if not override.startswith("+"):
        assert str(loaded(base, kind, key)) != value

    set_param(setting)

    assert str(loaded(base, kind, key)) == value


@pytest.mark.parametrize(
    ("project", "setting"),
    [
        ("checkout", "parameters_chosen.yml:ingestion.noise=x"),
        ("host", "parameters_labels_chosen.yml:labels.checkpoints=x"),
    ],
)
def test_what_the_page_says_cannot(project, setting, request):
    request.getfixturevalue(project)
    with pytest.raises(Exception, match=r"Unsupported interpolation type|key .* not found"):
        set_param(f"conf/base/{setting}")


@pytest.mark.parametrize("project", ["checkout", "host"])
def test_all_that_is_no_reference_can_be_set(project, request):
    base = request.getfixturevalue(project)
    holding = {file.name for file in base.glob("parameters*.yml") if "${" in file.read_text()}
    apart = {"parameters.yml", "parameters_chosen.yml", "parameters_benchmark.yml"}
    assert holding == (apart if project == "checkout" else {"parameters_labels_chosen.yml"})
