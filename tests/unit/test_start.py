"""Commands start without a warning that no user can do anything about."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import labelrepair

pytest.importorskip("kedro_mlflow")
ROOT = Path(labelrepair.__file__).parents[2]
START = """
from importlib.metadata import EntryPoint
EntryPoint("labelrepair", {value!r}, "kedro.init").load()()
{then}
"""
COMMANDS = "import kedro_mlflow.framework.cli.cli"  # as Kedro does next
OWN_CLASS = """
import mlflow
class Mine(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input):
        return model_input
"""


def warned(then, folder):
    """Return what is printed when Kedro's command line starts in a folder and does something."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    value = settings["project"]["entry-points"]["kedro.init"]["labelrepair"]
    command = [sys.executable, "-c", START.format(value=value, then=then)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_command_of_a_project_starts_quietly():
    assert "type hints" not in warned(COMMANDS, ROOT)


def test_a_model_class_of_ones_own_is_still_warned_of():
    assert "type hints" in warned(OWN_CLASS, ROOT)


def test_outside_of_projects_nothing_is_imported(tmp_path):
    warned("import sys; assert 'mlflow' not in sys.modules", tmp_path)
