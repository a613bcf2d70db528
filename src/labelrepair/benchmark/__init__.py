"""Grids of trainings beside published numbers: one paper's table, measured again.

A grid is noises x methods x seeds on one data set. Each cell is a small JSON file named by
everything that decides its result; a finished cell is never run again, so an interrupted grid goes
on.
"""

from labelrepair.benchmark.cells import run_cell, run_grid
from labelrepair.benchmark.grid import Cell, Grid, GridMethod, GridNoise
from labelrepair.benchmark.summary import axis_label, collect, page, summarise, unexplained

__all__ = [
    "Cell",
    "Grid",
    "GridMethod",
    "GridNoise",
    "axis_label",
    "collect",
    "page",
    "run_cell",
    "run_grid",
    "summarise",
    "unexplained",
]
