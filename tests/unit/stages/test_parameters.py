"""From a node's parameter to the files and keys that DVC has to watch."""

import pytest
import yaml

from labelrepair.errors import ConfigError
from labelrepair.stages.parameters import ParameterFiles

FILES = {
    "globals": {"seed": 0, "preset": "a", "root": "data", "unused": 1},
    "parameters": {
        "preset": "${runtime_params:preset,${globals:preset}}",
        "seed": "${globals:seed}",
        "chosen": "${choose:presets,${preset}}",
        "folder": "${globals:root}/models",
        "plain": {"left": 1, "right": {"deep": 2}},
        "fixed": "${choose:presets,b}",
    },
    "parameters_training": {
        "recipe": "${choose:presets,${preset}}",
        "probe": {"folds": 2, "settings": "${chosen.training}"},
        "plain": {"more": 3},
        "bad": "${.seed}",
    },
    "parameters_presets/a": {"presets": {"a": {"training": {"lr": 1}, "other": "${plain.left}"}}},
    "parameters_presets/b": {"presets": {"b": {"training": {"place": "${globals:root}/b"}}}},
}


@pytest.fixture
def files(tmp_path):
    for name, content in FILES.items():
        file = tmp_path / f"conf/base/{name}.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(content))
    return ParameterFiles(tmp_path, tmp_path / "conf/base")


def watched(files, *names):
    return [f"{file.removeprefix('conf/base/')}:{key}" for file, key in files.places(names)]


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("params:plain.right", ["parameters.yml:plain.right"]),
        # One parameter in two files, as Kedro merges them.
        ("params:plain", ["parameters.yml:plain", "parameters_training.yml:plain"]),
        ("params:plain.more", ["parameters_training.yml:plain.more"]),
        ("params:seed", ["globals.yml:seed", "parameters.yml:seed"]),
        ("params:folder", ["globals.yml:root", "parameters.yml:folder"]),
        (
            "params:recipe",
            [
                "globals.yml:preset",
                "globals.yml:root",  # in b's file
                "parameters.yml:plain.left",  # in a's file
                "parameters.yml:preset",
                "parameters_presets/${preset}.yml:presets.${preset}",
                "parameters_training.yml:recipe",
            ],
        ),
        (
            "params:probe",
            [
                "globals.yml:preset",
                "globals.yml:root",
                "parameters.yml:chosen",
                "parameters.yml:preset",
                "parameters_presets/${preset}.yml:presets.${preset}.training",
                "parameters_training.yml:probe",
            ],
        ),
        (
            "params:fixed.training.place",
            [
                "globals.yml:root",
                "parameters.yml:fixed",
                "parameters_presets/b.yml:presets.b.training.place",
            ],
        ),
        ("label_table", []),
    ],
)
def test_places(files, name, places):
    assert watched(files, name) == places


def test_all_parameters_are_whole_files(files):
    assert watched(files, "parameters", "params:plain") == [
        "parameters.yml:",
        "parameters_presets/a.yml:",
        "parameters_presets/b.yml:",
        "parameters_training.yml:",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [("params:absent", "no file of parameters has it"), ("params:bad", "relative")],
)
def test_refused(files, name, message):
    with pytest.raises(ConfigError, match=message):
        files.places([name])


def test_variables(files):
    assert files.variables == ["conf/base/globals.yml"]
