"""The pinned versions against those that pyproject admits."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pinned(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {found.lower(): Version(version) for found, version in pairs}


def required(*extras: str) -> dict[str, Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    return {line.name.lower(): line for line in map(Requirement, lines)}


def test_the_oldest_versions_are_the_lower_bounds_of_pyproject():
    # `make test-oldest` installs them; a bound raised alone would leave it without a solution.
    oldest = pinned("constraints-oldest.txt")
    for name, line in required("cleanlab", "dvc", "kedro", "mlflow", "plots").items():
        bound = max(Version(part.version) for part in line.specifier if part.operator == ">=")
        same = oldest[name].release[: len(bound.release)] == bound.release  # 1.11.0 may be yanked
        assert same, f"{name}: pinned {oldest[name]}, pyproject admits {bound}"


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-oldest.txt"])
def test_pinned_versions_are_admitted_and_carry_no_address(name):
    versions = pinned(name)
    found = required(*EXTRAS)
    for package in found.keys() & versions.keys():
        assert versions[package] in found[package].specifier, package
    assert "://" not in (ROOT / name).read_text("utf-8")
