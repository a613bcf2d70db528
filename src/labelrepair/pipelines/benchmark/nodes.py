"""Nodes that measure a grid and put the published numbers beside it."""

import logging
from collections.abc import Callable
from typing import Any

import pandas as pd

from labelrepair import benchmark, plots
from labelrepair.config import from_dict

logger = logging.getLogger(__name__)

Params = dict[str, Any]


def measure(grid: Params, cells: str, cache: str) -> pd.DataFrame:
    """Run the cells that are missing; return all."""
    return benchmark.run_grid(from_dict(benchmark.Grid, grid, "benchmark"), cells, cache)


def compare(cells: pd.DataFrame, published: pd.DataFrame, grid: Params) -> pd.DataFrame:
    """Return one row per (noise, method) with mean, spread, published values and a verdict."""
    spec = from_dict(benchmark.Grid, grid, "benchmark")
    table = benchmark.summarise(cells, published, spec)
    missed = benchmark.unexplained(table, spec)
    if missed:
        found = ", ".join(missed)
        logger.warning("%s: no remark says why these miss their values: %s", spec.name, found)
    return table


def draw(table: pd.DataFrame, grid: Params) -> Any:
    """Return the picture: our means and spreads, the published values marked."""
    label = benchmark.axis_label(from_dict(benchmark.Grid, grid, "benchmark"))
    return plots.benchmark_plot(table, label)


def report(table: pd.DataFrame, cells: pd.DataFrame, published: pd.DataFrame, grid: Params) -> str:
    """Return the table as a section of Markdown with machine, versions, seeds and time."""
    return benchmark.page(table, cells, from_dict(benchmark.Grid, grid, "benchmark"), published)


def collect(_newest: str, pages: dict[str, Callable[[], str]]) -> str:
    """Return the page of all results; the newest section only makes this node wait for it."""
    return benchmark.collect({name: load() for name, load in pages.items()})
