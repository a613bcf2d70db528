"""What is written into another project means the same as our own configuration."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from omegaconf import OmegaConf

from labelrepair import defaults
from labelrepair.choices import ChoiceLoader, choose
from labelrepair.defaults import (
    Host,
    add_to_project,
    conf_folder,
    host_files,
    shipped,
    shipped_file,
)
from labelrepair.errors import ConfigError
from labelrepair.hooks import DatasetHook, ParameterHook
from labelrepair.settings import CONFIG_LOADER_ARGS

LOOKED_UP = {"datasets", "presets", "benchmarks", "benchmark", "benchmark_cells"}


def load(conf: Path, **runtime):
    arguments = {**CONFIG_LOADER_ARGS, "default_run_env": "base"}
    return OmegaConfigLoader(str(conf), runtime_params=runtime, **arguments)


@pytest.fixture
def host(tmp_path):
    """Return the loader of a project with two namespaces, and the files."""
    (tmp_path / "conf/base").mkdir(parents=True)
    add_to_project(tmp_path, Host("faces", workspace="data"))
    add_to_project(tmp_path, Host("digits", preset="cross_entropy_digits", seed=4, mlflow=False))
    return load(tmp_path / "conf")


def test_the_parameters_are_our_own_under_a_namespace(host):
    ours = load(conf_folder(), workspace="data")["parameters"]
    expected = {key: value for key, value in ours.items() if key not in LOOKED_UP}
    found = host["parameters"]
    assert found["faces"].keys() >= {"ingestion", "estimation", "refinement", "recipe", "policy"}
    assert {key: expected[key] for key in found["faces"]} == found["faces"]


def test_another_choice(host):
    found = host["parameters"]["digits"]
    assert (found["seed"], found["preset"]) == (4, "cross_entropy_digits")
    assert found["recipe"]["name"] == "cross_entropy_digits"
    assert found["workspace"] == "data/digits"
    assert found["places"]["metrics"].startswith("data/digits/")


def test_the_catalog_is_our_own_under_a_namespace(host):
    ours, found = load(conf_folder(), workspace="data")["catalog"], host["catalog"]
    faces = {name.removeprefix("faces."): found[name] for name in found if name[0] == "f"}
    assert {"features", "repaired_table", "tracked_model", "summary"} <= faces.keys()
    named = ("artifact_path", "prefix", "name")
    for name, entry in faces.items():
        bare = {key: value for key, value in entry.items() if key not in named}
        assert bare == {k: v for k, v in ours[name].items() if k not in named}, name
    assert faces["tracked_metrics"]["prefix"] == "faces."
    assert faces["tracked_curves"]["prefix"] == "faces.epoch."
    assert faces["tracked_model"]["name"] == "faces_model"
    assert faces["repaired_table"]["artifact_path"] == "faces"


def test_a_run_in_another_workspace_reads_and_writes_there(tmp_path, host):
    """What the summary names is what the catalog writes."""
    other = load(tmp_path / "conf", faces={"workspace": "other"})
    assert other["parameters"]["faces"]["places"]["plots"] == "other/08_reporting/plots"
    catalog = other["catalog"]
    assert "'other/07_model_output/repaired_labels.parquet'" in str(catalog["faces.repaired_table"])
    assert "'data/digits/07_model_output" in str(catalog["digits.repaired_table"])


@pytest.mark.parametrize("folder", ["My Files #1/x", "out: x", "a, b", "1", "no", 'a "b"', "{a}"])
def test_a_workspace_of_any_name(tmp_path, folder):
    (tmp_path / "conf/base").mkdir(parents=True)
    add_to_project(tmp_path, Host("faces", workspace=folder))
    found = load(tmp_path / "conf")
    assert found["parameters"]["faces"]["workspace"] == folder
    assert found["catalog"]["faces.features"]["filepath"] == f"{folder}/04_feature/features.npy"


@pytest.mark.parametrize("folder", ["it's", "${x}", "C:\\x"])
def test_a_workspace_that_the_files_cannot_name(folder):
    with pytest.raises(ConfigError, match=r"workspace: .* means something else in Kedro's files"):
        Host("faces", workspace=folder)


def test_the_comments_say_what_is_true_in_a_host():
    ours = (conf_folder() / "base/parameters.yml").read_text().splitlines()[0]
    text = host_files(Host("faces"))["parameters_faces.yml"]
    assert ours not in text
    assert "globals" not in text
    assert "# What is chosen: edit here (`workspace` also in catalog_faces.yml)" in text
    chosen = host_files(Host("faces"))["parameters_faces_chosen.yml"]
    assert "--params faces.recipe.options.co_lambda=0.9" in chosen
    assert "--params recipe" not in chosen


def context(tmp_path, **runtime):
    return SimpleNamespace(config_loader=load(tmp_path / "conf", **runtime))


@pytest.mark.parametrize(
    "runtime",
    [
        {"preset": "cross_entropy_mnist"},
        {"seed": 7},
        {"workspace": "foo"},
        {"policy": {"review_budget": 0.5}},
    ],
)
def test_a_choice_without_its_namespace_is_refused(tmp_path, host, runtime):
    (name,) = runtime
    told = f"--params {name}: no such parameter; did you mean 'digits.{name}' or 'faces.{name}'?"
    with pytest.raises(ConfigError, match=re.escape(told)):
        ParameterHook().after_context_created(context(tmp_path, **runtime))


def test_a_parameter_of_the_hosts_own_is_not(tmp_path, host):
    (tmp_path / "conf/base/parameters.yml").write_text("seed: 3\nmine: {workspace: x}\n")
    runtime = {"seed": 7, "asked_for_by_code": 1, "mine": {"workspace": None}}
    ParameterHook().after_context_created(context(tmp_path, **runtime, faces={"seed": 1}))
    with pytest.raises(ConfigError, match=r"faces\.workspace: expected a folder, found None"):
        ParameterHook().after_context_created(context(tmp_path, faces={"workspace": None}))


def test_another_data_set_in_a_namespace_is_told_with_it():
    entries = {"params:faces.dataset": "mine", "faces.ingested": {"dataset": "digits"}}
    catalog = DataCatalog({name: MemoryDataset(value) for name, value in entries.items()})
    reads = Pipeline([Node(len, "label_table", "rows", name="count")], namespace="faces")
    with pytest.raises(ConfigError) as refused:
        DatasetHook().before_pipeline_run(reads, catalog)
    for told in ("faces.dataset=digits", "conf/base/parameters_faces.yml", "faces.workspace=F"):
        assert told in str(refused.value)


def test_without_mlflow(host):
    digits = {name: entry for name, entry in host["catalog"].items() if name.startswith("digits.")}
    assert "digits.tracked_model" not in digits
    assert not any("mlflow" in str(entry).lower() for entry in digits.values())
    table = digits["digits.repaired_table"]
    assert table["validator"] == "labelrepair.schemas.RepairedTable"
    assert "data/digits/07_model_output/repaired_labels.parquet" in str(table)


def test_every_shipped_file_has_the_entry_of_its_name():
    for group in ("presets", "datasets", "benchmarks"):
        assert len(shipped(group)) > 2
        for name in shipped(group):
            assert name in yaml.safe_load(shipped_file(group, name).read_text())[group]


def test_own_entries_come_before_shipped_ones():
    text = "presets: {jocor_digits: 1}\na: ${choose:presets,jocor_digits}\n"
    text += "b: ${choose:presets,jocor_mnist}\nc: ${choose:presets,jocor_mist}"
    OmegaConf.register_new_resolver("choose", choose, replace=True)
    found = OmegaConf.create(text)
    assert found.a == 1
    assert found.b.options.co_lambda == 0.95
    with pytest.raises(Exception, match=r"unknown name 'jocor_mist' .* did you mean 'jocor_m"):
        _ = found.c


def test_what_cannot_be_added(tmp_path):
    (tmp_path / "conf/base").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"namespace: expected letters.* found 'a\.b'"):
        Host("a.b")
    (tmp_path / "conf/base/parameters_faces.yml").touch()
    with pytest.raises(ConfigError, match=r"parameters_faces\.yml: exists already"):
        add_to_project(tmp_path, Host("faces"))
    assert not (tmp_path / "conf/base/catalog_faces.yml").exists()
    files = {"catalog_x.yml", "parameters_x.yml", "parameters_x_chosen.yml"}
    assert set(host_files(Host("x"))) == files


@pytest.mark.parametrize("name", ["no", "Yes", "on", "off", "true", "FALSE", "null"])
def test_a_namespace_that_yaml_reads_as_another_thing(name):
    with pytest.raises(ConfigError, match=f"namespace: '{name}' means something else in YAML"):
        Host(name)


def test_a_choice_that_is_not_there_is_not_added(tmp_path):
    base = tmp_path / "conf/base"
    base.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"'mnits' under 'datasets'; did you mean 'mnist'"):
        add_to_project(tmp_path, Host("faces", dataset="mnits"))
    with pytest.raises(ConfigError, match="unknown name 'mine' under 'presets'; "):
        add_to_project(tmp_path, Host("faces", preset="mine"))
    assert not list(base.iterdir())
    (base / "parameters.yml").write_text("presets: {mine: {name: mine}}\nother: 1\n")
    add_to_project(tmp_path, Host("faces", preset="mine"))
    assert (base / "parameters_faces.yml").exists()
    (base / "parameters.yml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match=r"parameters\.yml: not readable as YAML"):
        add_to_project(tmp_path, Host("others"))


def test_the_projects_own_folder_of_configuration(tmp_path, monkeypatch):
    theirs = {"CONF_SOURCE": "config", "CONFIG_LOADER_ARGS": {"base_env": "common"}}
    monkeypatch.setattr(defaults, "settings", SimpleNamespace(**theirs))
    written = add_to_project(tmp_path, Host("faces"))
    assert {file.parent for file in written} == {tmp_path / "config/common"}
    assert not (tmp_path / "conf").exists()


def test_every_product_of_a_repair_has_a_layer(host):
    """Kedro-Viz sorts the graph by them."""
    without = [
        name
        for name, entry in host["catalog"].items()
        if not name.startswith("_") and "layer" not in entry["metadata"]["kedro-viz"]
    ]
    assert without == []


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("noise", "the data set that is chosen says nothing of its noise; add 'noise: {kind: none"),
        ("probe", "says nothing of its probe; add the plain training"),
        ("source", "says nothing of its source; add where it is"),
    ],
)
def test_what_a_data_set_lacks_is_told(tmp_path, left_out, told):
    entry = {"source": {"kind": "digits"}, "noise": {"kind": "none"}, "probe": {}}
    del entry[left_out]
    shutil.copytree(conf_folder(), tmp_path / "conf")
    file = tmp_path / "conf/base/parameters_own.yml"
    file.write_text(yaml.safe_dump({"datasets": {"own": entry}}))
    arguments = {**CONFIG_LOADER_ARGS, "default_run_env": "base"}
    loader = ChoiceLoader(str(tmp_path / "conf"), runtime_params={"dataset": "own"}, **arguments)
    with pytest.raises(ConfigError, match=re.escape(told)):
        loader["parameters"]
