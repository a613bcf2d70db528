"""The table of docs/methods.md says what the code does."""

import re
from pathlib import Path

import numpy as np
import pytest

import labelrepair
from labelrepair import methods
from labelrepair.config import from_dict
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.training import TrainingConfig

PAGE = Path(labelrepair.__file__).parents[2] / "docs/methods.md"
NOISE = NoiseEstimate(np.eye(3), 0.2, (0.2, 0.2), "given", np.full(3, 1 / 3))
RESULTS = PAGE.with_name("results") / "digits.md"
NEEDS = {"transition": "T", "noise_rate": "noise rate"}
# The grid's row of a method that has several.
ROWS = {
    "bootstrap": "bootstrap_hard",
    "generalized_cross_entropy": "truncated_lq",
    "loss_correction": "forward",
}


def table():
    lines = PAGE.read_text().split("## All of them")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    return {row[0].strip("`"): dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def test_every_method_has_a_row_and_a_section():
    assert sorted(table()) == methods.available()
    headings = " ".join(re.findall(r"^## (.*)$", PAGE.read_text(), flags=re.MULTILINE))
    for name in methods.available():
        assert f"`{name}`" in headings


@pytest.mark.parametrize("name", methods.available())
def test_a_row_says_what_the_code_does(name):
    row, module = table()[name], methods.load(name)
    config = from_dict(TrainingConfig, module.TRAINING)
    stages = methods.plan(name, {}, config, NOISE)
    assert int(row["networks"]) == stages[-1].networks
    assert int(row["stages"]) == len(stages)
    assert int(row["epochs"]) == sum(stage.schedule.epochs for stage in stages)
    assert row["cost of an epoch"].startswith(row["networks"])
    assert (row["validation"] == "yes") == any(stage.tracks_best for stage in stages)
    needed = "nothing"
    try:
        methods.plan(name, {}, config, None)
    except ConfigError as error:
        needed = NEEDS[str(error).split(":")[0]]
    assert row["needs"] == needed


def test_a_row_shows_the_measured_strength():
    lines = RESULTS.read_text().split("Labels after the repair")[1].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    measured = {(row[2], row[0]): row[3].split()[0] for row in cells if len(row) > 3}
    for name, row in table().items():
        both = [
            measured[ROWS.get(name, name), kind] for kind in ("symmetric_exclusive", "pair_flip")
        ]
        assert row["labels right (%)"] == " / ".join(f"{float(share):.1f}" for share in both), name


@pytest.mark.parametrize("name", methods.available())
def test_every_option_is_named(name):
    text = PAGE.read_text()
    for option in methods.load(name).Options.__dataclass_fields__:
        assert f"`{option}`" in text or f"`{option}:" in text, f"{name}: {option}"
