"""The site builds without a warning; the walk-throughs run and say what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import labelrepair

ROOT = Path(labelrepair.__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def executed(name):
    """Run a notebook; return what it printed and how many pictures it drew."""
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
    place = {"metadata": {"path": str(ROOT / "notebooks")}}
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    text = "\n".join(output.text for output in outputs if output.output_type == "stream")
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    return text, pictures


def share(text, before):
    """Return the percentage that follows some words."""
    return float(re.search(rf"{before}\s*(\d+\.\d)%", text)[1])


def test_the_licences_are_those_of_the_pinned_versions():
    pinned = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text(), re.M)
    page = (ROOT / "docs/licences.md").read_text()
    listed = set(re.findall(r"^\| (\S+) \| (\S+) \|", page, re.M))
    wanted = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in pinned}
    assert wanted - listed == set(), "run make licences"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_lie_in_git_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 5
    assert not [cell.id for cell in code if cell.outputs or cell.execution_count]


@pytest.mark.slow
def test_the_walk_through_of_digits():
    text, pictures = executed("digits")
    assert pictures == 5
    assert share(text, "it was trained on:") > 95, "the plain network memorises"
    plain, robust = re.findall(r"right on unseen digits:\s+(\d+\.\d)%", text)
    assert float(robust) > float(plain) + 15
    assert share(text, r"flagged;") > 90


@pytest.mark.data
def test_the_walk_through_of_mnist():
    text, pictures = executed("mnist")
    assert pictures == 4
    assert abs(share(text, "noise rate") - share(text, "actual")) < 6


def test_the_site_builds_without_a_warning(tmp_path):
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-D"]
    command += ["nb_execution_mode=off", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [sys.executable, *command, str(ROOT / "docs"), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    front = (tmp_path / "site/index.html").read_text()
    for page in ("your_data", "choose_method", "scikit_learn", "other_projects", "results"):
        assert f'href="{page}.html"' in front
    reference = (tmp_path / "site/reference/face.html").read_text()
    assert "labelrepair.RobustClassifier" in reference
    assert "predict_proba" in reference
    loaded = re.findall(r'(?:src|<link[^>]* href)="(https?://[^"]+)"', front)
    assert loaded == [], "the site is readable offline"
