"""What ``make`` does to a user's files."""

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
STAY = (
    "data/01_raw/labels.csv",
    "data/01_raw/images/a.png",
    "data/02_intermediate/.gitkeep",
    "data/03_primary/human_decisions.csv",
    "data/07_model_output/label_ledger.parquet",
    "data/08_reporting/round 1/review.csv",
    "mlflow.db",
)
GO = (
    "data/03_primary/label_table.parquet",
    "data/04_feature/features.npy",
    "data/08_reporting/plots/flows.png",
)


def test_clean_removes_what_runs_can_write_again_and_nothing_else(tmp_path):
    shutil.copy(MAKEFILE, tmp_path)
    for name in STAY + GO:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert {name for name in STAY + GO if (tmp_path / name).exists()} == set(STAY)


@pytest.mark.parametrize("python", ["exit 1", None], ids=["too old", "not there"])
def test_another_python_makes_no_environment(tmp_path, python):
    """One that it made would stay, and be taken the next time as well."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(MAKEFILE.with_name(name), tmp_path)
    if python:
        (tmp_path / "python3").write_text(f"#!/bin/sh\n{python}\n")
        (tmp_path / "python3").chmod(0o755)
    command = ["make", "run", f"PYTHON={tmp_path / 'python3'}"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    told = f"Python 3.11 or newer is needed, found '{tmp_path / 'python3'}'; name one: make run"
    assert told in done.stdout
    assert not (tmp_path / ".venv").exists()
