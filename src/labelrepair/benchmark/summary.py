"""A grid's cells beside the published numbers: one tidy table and a page."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from labelrepair.benchmark.grid import Grid
from labelrepair.benchmark.quantities import QUANTITIES

SIGNIFICANCE = 0.05
POINTS = 0.5  # allowed difference, in points, where the paper gives no spread


def summarise(cells: pd.DataFrame, published: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Return one tidy row per (noise, rate, method) with the published value beside ours.

    The verdict compares means: Welch's t-test at 5 % where both sides have a spread and at least
    two runs, else a difference of at most half a point counts as agreement. So does, always, one
    that the rounding of the published numbers explains.

    Args:
        cells: from :func:`run_grid`.
        published: the published table: paper, table, dataset, model, noise, noise_rate, method,
            metric, protocol, mean, std, runs.
        grid: what was run.

    Returns:
        Frame: noise, noise_rate, method, mean, std, runs, published_mean, published_std,
        published_runs, difference (points), verdict, seconds (mean per run).
    """
    keys = ["noise", "noise_rate", "method"]
    groups = cells.assign(value=100 * _compared(cells, grid)).groupby(keys, sort=False)
    ours = groups.agg(
        mean=("value", "mean"),
        std=("value", "std"),
        runs=("value", "count"),
        seconds=("seconds", "mean"),
    ).reset_index()
    rows = published[
        (published["paper"] == grid.paper)
        & (published["table"].astype(str) == grid.table)
        & (published["dataset"] == grid.dataset)
        & (published["metric"] == "test_accuracy")
    ]
    if grid.model is not None:
        rows = rows[rows["model"] == grid.model]
    rows = rows.drop_duplicates(keys)[[*keys, "mean", "std", "runs"]]
    names = {"mean": "published_mean", "std": "published_std", "runs": "published_runs"}
    both = ours.merge(rows.rename(columns=names), on=keys, how="left")
    both = both[both["mean"].notna()].reset_index(drop=True)  # a baseline may only repair
    both["difference"] = both["mean"] - both["published_mean"]
    rounding = _rounding(both["published_mean"].dropna())
    both["verdict"] = [_verdict(row, rounding) for _, row in both.iterrows()]
    order = [*keys, "mean", "std", "runs", *names.values(), "difference", "verdict", "seconds"]
    return both[order]


def _compared(cells: pd.DataFrame, grid: Grid) -> "pd.Series[float]":
    """Return the measure; of a repair, what the second look makes of it where there is one."""
    second = f"refined_{grid.measure}"
    if second in cells:
        return cells[second].fillna(cells[grid.measure])
    return cells[grid.measure]


def axis_label(grid: Grid) -> str:
    """Return what the plot of a grid shows."""
    repairs = grid.measure == "recovery_accuracy"
    return "right labels (%)" if repairs else "test accuracy (%)"


def page(table: pd.DataFrame, cells: pd.DataFrame, grid: Grid, published: pd.DataFrame) -> str:
    """Return one grid's results as a section of Markdown for ``docs/results.md``.

    Args:
        table: from :func:`summarise`.
        cells: from :func:`run_grid`.
        grid: what was run.
        published: as in :func:`summarise`.
    """
    wanted = len(grid.seeds) * len(grid.noises) * len(grid.methods)
    done = "" if len(cells) == wanted else f" of {wanted}; the others have not run yet"
    lines = [
        f"## {grid.name}",
        "",
        (f"{grid.paper}, table {grid.table}, {grid.dataset}. " if grid.paper != "none" else "")
        + f"{_MEASURED[grid.measure]} in %; mean ± standard deviation over seeds "
        f"{', '.join(map(str, sorted(set(cells['seed']))))}. "
        + ("The methods know the noise, as in the paper. " if grid.noise_known else "")
        + grid.note,
        "",
        *(_repair_rows(cells) if grid.measure == "recovery_accuracy" else _published_rows(table)),
        "",
        *_second_table(cells, grid, published),
        *(f"- {remark}" for remark in grid.remarks),
        *([""] if grid.remarks else []),
        f"![{grid.name}](results/{grid.name}.png)",
        "",
        f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'}{done}; {_conditions(cells)}. "
        f"`kedro run --pipelines benchmark --params table={grid.name}`",
        "",
    ]
    return "\n".join(lines)


def _conditions(cells: pd.DataFrame) -> str:
    """Return time, machine and versions; cells of before 2026-11-29 have no clock and no NumPy."""
    told = [f"{cells['seconds'].sum() / 3600:.1f} h of CPU time on one thread"]
    if "wall_seconds" in cells:
        clocked = cells["wall_seconds"].dropna()
        which = "" if len(clocked) == len(cells) else f" ({len(clocked)} of them)"
        told.append(f"{clocked.sum() / 3600:.1f} h by the clock{which}")
    shown = {"machine": "", "python": "Python ", "torch": "torch ", "numpy": "NumPy "}
    for column, name in {**shown, "labelrepair": "labelrepair "}.items():
        if column in cells:
            told.append(name + ", ".join(sorted(set(cells[column].dropna()))))
    return "; ".join(told)


def unexplained(table: pd.DataFrame, grid: Grid) -> list[str]:
    """Return the cells that miss the published value and whose method no remark of the grid names.

    Missing it is lying more than two published standard deviations from it (half a point where none
    is given), whatever the rounding of the published numbers.
    """
    rounding = _rounding(table["published_mean"].dropna())
    allowed = (2 * (table["published_std"] + rounding) + rounding).fillna(POINTS)
    missed = table[table["difference"].abs() > allowed]
    said = " ".join(grid.remarks)
    return [
        f"{row['noise']} {row['noise_rate']:g} {row['method']} ({row['difference']:+.2f})"
        for row in missed.to_dict("records")
        if f"`{row['method']}`" not in said
    ]


def collect(pages: Mapping[str, str]) -> str:
    """Return all sections as one page: what stands apart from the grids first, then by name."""
    order = sorted(pages, key=lambda name: (name != "archetypes", name))
    return "\n".join(["# Results", "", *(pages[name].strip() + "\n" for name in order)])


def _second_table(cells: pd.DataFrame, grid: Grid, published: pd.DataFrame) -> list[str]:
    """Return what a grid measures beside test accuracy: a quantity of the paper, or repairs."""
    if grid.quantity:
        rows = published[
            (published["paper"] == grid.paper) & (published["table"].astype(str) == grid.table)
        ]
        return [*QUANTITIES[grid.quantity](cells, rows), ""]
    if grid.refinement.rounds and grid.measure != "recovery_accuracy":
        return ["Labels after the repair, every row kept:", "", *_repair_rows(cells), ""]
    return []


def _published_rows(table: pd.DataFrame) -> list[str]:
    lines = [
        "| noise | rate | method | ours | published | difference | verdict | s per run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        published = _spread(row["published_mean"], row["published_std"])
        difference = "" if np.isnan(row["difference"]) else f"{row['difference']:+.2f}"
        lines.append(
            f"| {row['noise']} | {row['noise_rate']:g} | {row['method']} "
            f"| {_spread(row['mean'], row['std'])} | {published} | {difference} "
            f"| {row['verdict']} | {row['seconds']:.0f} |"
        )
    return lines


def _repair_rows(cells: pd.DataFrame) -> list[str]:
    """Return the quality of the repair, every row kept, beside that of the baseline."""
    lines = [
        "| noise | rate | method | labels right | wrong, of cleanlab's | detection F1 | error of T "
        "| s per run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    keys = ["noise", "noise_rate"]
    for (noise, rate), group in cells.groupby(keys, sort=False):
        baseline = group[group["method"] == "cleanlab"].set_index("seed")["recovery_accuracy"]
        for method, runs in group.groupby("method", sort=False):
            for prefix, name in (("", method), ("refined_", f"{method}, second look")):
                found = runs.get(f"{prefix}recovery_accuracy", pd.Series(dtype=float)).dropna()
                if found.empty:
                    continue
                f1, error = (
                    runs[f"{prefix}{key}"].mean() for key in ("detection_f1", "transition_error")
                )
                same = baseline.reindex(runs.loc[found.index, "seed"])  # a method may lack a seed
                share = (1 - found.mean()) / (1 - same.mean(skipna=False))
                beside = "" if np.isnan(share) else f"{share:.2f}"
                right = _spread(100 * found.mean(), 100 * found.std())
                lines.append(
                    f"| {noise} | {rate:g} | {name} | {right} "
                    f"| {beside} | {f1:.3f} | {error:.4f} | {runs['seconds'].mean():.0f} |"
                )
    return lines


_MEASURED = {
    "test_accuracy_last": "Test accuracy, last epoch,",
    "test_accuracy_last10": "Test accuracy, mean of the last ten epochs,",
    "test_accuracy_best_val": "Test accuracy, epoch of the best noisy validation accuracy,",
    "test_accuracy_model": "Test accuracy of the weights that the method keeps",
    "recovery_accuracy": "Right labels after the repair",
}


def _spread(mean: float, std: float) -> str:
    if np.isnan(mean):
        return ""
    return f"{mean:.2f}" if std is None or np.isnan(std) else f"{mean:.2f} ± {std:.2f}"


def _rounding(values: "pd.Series[float]") -> float:
    """Return half a unit of the last decimal of a table's published values; they have 1 to 3."""
    digits = next(n for n in (1, 2, 3) if n == 3 or np.allclose(values, values.round(n), atol=1e-9))
    return 0.5 * 10.0**-digits


def _verdict(row: "pd.Series[Any]", rounding: float) -> str:
    if not np.isfinite(row["published_mean"]):
        return "not published"
    spread = all(np.isfinite(row[k]) for k in ("std", "published_std", "published_runs"))
    if spread and row["runs"] >= 2 and row["published_runs"] >= 2:
        test = stats.ttest_ind_from_stats(
            row["mean"],
            row["std"],
            int(row["runs"]),
            row["published_mean"],
            row["published_std"],
            int(row["published_runs"]),
            equal_var=False,
        )
        agrees = not test.pvalue < SIGNIFICANCE
    else:
        agrees = abs(row["difference"]) <= POINTS
    agrees = agrees or abs(row["difference"]) <= rounding
    return "agrees" if agrees else ("higher" if row["difference"] > 0 else "lower")
