"""The grids in conf: they build, and those of a paper find their published numbers."""

from pathlib import Path

import pandas as pd
import pytest
from kedro.config import OmegaConfigLoader
from kedro.io import AbstractDataset

import labelrepair
from labelrepair import settings
from labelrepair.benchmark import Cell, Grid, summarise, unexplained
from labelrepair.config import from_dict
from labelrepair.noise import build_transition

ROOT = Path(labelrepair.__file__).parents[2]
FILES = sorted((ROOT / "conf/base/parameters_benchmarks").glob("*.yml"))
CLASSES = {"digits": 10, "mnist": 10, "fashion_mnist": 10, "cifar10": 10, "imdb": 2}


@pytest.fixture(scope="module")
def loader():
    return OmegaConfigLoader(str(ROOT / "conf"), **settings.CONFIG_LOADER_ARGS)


@pytest.fixture(scope="module")
def grids(loader):
    return loader["parameters"]["benchmarks"]


@pytest.fixture(scope="module")
def published():
    return pd.read_csv(ROOT / "benchmarks/published/results.csv")


def cells_of(grid):
    return [Cell(grid, n, m, s) for s in grid.seeds for n in grid.noises for m in grid.methods]


def test_the_grids_were_found(grids):
    assert len(FILES) >= 15
    assert sorted(grids) == [file.stem for file in FILES]


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_a_grid_builds_and_finds_its_published_numbers(name, grids, published):
    grid = from_dict(Grid, grids[name])
    assert grid.name == name
    assert grid.note
    cells = cells_of(grid)
    assert len({cell.key for cell in cells}) == len(cells)
    for noise in grid.noises:
        assert build_transition(noise.spec, CLASSES[grid.dataset]) is not None
        assert noise.spec.rate == noise.rate
    if grid.paper == "none":
        return
    if grid.quantity:
        found = published[
            published["paper"].eq(grid.paper) & published["table"].astype(str).eq(grid.table)
        ]
        assert {noise.rate for noise in grid.noises} <= set(found["noise_rate"])
        assert set(found["method"]) <= set(grid.methods)
        return
    rows = pd.DataFrame(
        {
            "noise": [cell.noise.name for cell in cells],
            "noise_rate": [cell.noise.rate for cell in cells],
            "method": [cell.method for cell in cells],
            "seed": [cell.seed for cell in cells],
            grid.measure: 0.5,
            "seconds": 1.0,
        }
    )
    table = summarise(rows, published, grid)
    assert len(table) == len(grid.noises) * len(grid.methods)
    missing = table[table["published_mean"].isna()]
    assert missing.empty, missing[["noise", "noise_rate", "method"]]


def test_cells_come_back_from_the_catalog_as_they_were(loader, tmp_path):
    config = dict(loader["catalog"]["benchmark_cells"], filepath=str(tmp_path / "cells.json"))
    dataset = AbstractDataset.from_config("benchmark_cells", config)
    cells = pd.DataFrame(
        {
            "noise": ["none", "symmetric"],
            "noise_rate": [0.6, 0.7],  # by which the published values are found: to the last bit
            "test_accuracy_last": [0.9012345678901234, 1 / 3],
            "recovery_by_confidence": [[{"bin": "all", "count": 3, "accuracy": 0.5}], None],
        }
    )
    dataset.save(cells)
    loaded = dataset.load()
    assert loaded["noise_rate"].tolist() == [0.6, 0.7]
    pd.testing.assert_frame_equal(loaded, cells, rtol=1e-14)


TABLES = sorted((ROOT / "docs/results").glob("*.csv"))


@pytest.mark.parametrize("file", TABLES, ids=[file.stem for file in TABLES])
def test_a_remark_names_what_misses_its_published_value(file, grids):
    table = pd.read_csv(file)
    if "published_mean" in table:
        assert unexplained(table, from_dict(Grid, grids[file.stem])) == []
