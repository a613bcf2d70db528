"""Grids of trainings beside published numbers: one paper's table, measured again.

A grid is noises x methods x seeds on one data set. Each cell is a small JSON file named by
everything that decides its result; a finished cell is never run again, so an interrupted grid goes
on.
"""

import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats

from labelrepair import methods
from labelrepair.atomic import whole_file
from labelrepair.config import from_dict, non_defaults, one_of, require
from labelrepair.data import SourceSpec, read_source
from labelrepair.data.splits import assign_test, holdout
from labelrepair.data.store import read_features, write_features
from labelrepair.estimation import NoiseEstimate
from labelrepair.label_table import Split
from labelrepair.metrics import (
    detection_metrics,
    last_mean,
    recovery_by_confidence,
    selection_precision_recall,
)
from labelrepair.noise import NoiseSpec, corrupt
from labelrepair.training import Holdout, TrainingConfig, TrainSet
from labelrepair.training.seeds import derive_seed
from labelrepair.workflow import (
    Preset,
    default_estimation,
    estimate,
    fit,
    noise_from_dict,
    noise_to_dict,
    repair_rows,
    resolved,
)

logger = logging.getLogger(__name__)
MEASURES = (
    "test_accuracy_last",
    "test_accuracy_last10",
    "test_accuracy_best_val",
    "test_accuracy_model",
)
SIGNIFICANCE = 0.05
TEST_FRACTION = 0.2  # of sources without a test split
POINTS = 0.5  # allowed difference, in points, where the paper gives no spread
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class GridNoise:
    """One column group of a table.

    Attributes:
        name: the published id of the noise, e.g. ``symmetric_exclusive``.
        rate: the published nominal rate.
        spec: what is injected.
    """

    name: str
    rate: float
    spec: NoiseSpec


@dataclass(frozen=True)
class GridMethod:
    """One row of a table; ``training`` is laid over the grid's.

    Attributes:
        method: module of :mod:`labelrepair.methods`.
        options: its options.
        training: loop settings that differ from the grid's, top-level keys replaced whole.
    """

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """One table.

    Attributes:
        name: of the grid.
        paper, table, dataset, model: which published rows to put beside it; ``model`` None = any.
        source: the data; its labels must be true.
        noises: see :class:`GridNoise`.
        methods: by published method id.
        training: loop settings that all methods share.
        seeds: one run each; noise, initialisation and order all vary with it.
        measure: which test accuracy is compared.
        noise_known: hand the methods the true T and realised rate, as the papers do (an oracle);
            False estimates them as a user would have to.
        jobs: cells side by side, each on one thread; 0 = as many as there are cores.
        note: printed under the table.
    """

    name: str
    paper: str
    table: str
    dataset: str
    source: SourceSpec
    noises: tuple[GridNoise, ...]
    methods: dict[str, GridMethod]
    model: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1)
    measure: str = "test_accuracy_last10"
    noise_known: bool = True
    jobs: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        """Check names and ranges."""
        one_of(MEASURES, measure=self.measure)
        require(len(self.seeds) > 0, "seeds: at least one is needed")
        require(len(set(self.seeds)) == len(self.seeds), f"seeds: one is repeated in {self.seeds}")
        require(len(self.noises) > 0 and len(self.methods) > 0, "noises, methods: none given")
        require(self.jobs >= 0, f"jobs: must be >= 0, found {self.jobs}")
        for name in self.methods:
            preset_of(self, name)


@dataclass(frozen=True)
class Cell:
    """One training of a grid."""

    grid: Grid
    noise: GridNoise
    method: str
    seed: int

    @property
    def key(self) -> str:
        """A readable name with a hash of everything that decides the result."""
        row = self.grid.methods[self.method]
        preset = preset_of(self.grid, self.method)
        options: Any = from_dict(methods.load(row.method).Options, row.options, "options")
        content = {
            "source": _source_content(self.grid),
            "noise": non_defaults(self.noise),
            "method": row.method,
            "options": non_defaults(options),
            "training": non_defaults(preset.training),
            "noise_known": self.grid.noise_known,
            "seed": self.seed,
        }
        digest = blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=5).hexdigest()
        return f"{self.method}-{self.noise.name}-{self.noise.rate}-{self.seed}-{digest}"


def preset_of(grid: Grid, method: str) -> Preset:
    """Return the recipe of one row.

    Raises:
        ConfigError: unknown method, option or setting, with its path.
    """
    row = grid.methods[method]
    training = from_dict(
        TrainingConfig, {**grid.training, **row.training}, f"benchmark.methods.{method}.training"
    )
    preset = Preset(f"{grid.name}.{method}", row.method, row.options, training)
    resolved(preset)
    return preset


def run_grid(grid: Grid, folder: str | Path, cache: str | Path) -> pd.DataFrame:
    """Run the missing cells, several at a time, and return all of them.

    Args:
        grid: what to run.
        folder: where finished cells are kept, one small JSON file each.
        cache: where the prepared data and the noise estimates are kept; may be emptied.

    Returns:
        One row per cell: noise, noise_rate, method, seed, the measures, label precision, recovery
        accuracy, noise rate, seconds and where it ran.
    """
    root, prepared = Path(folder), Path(cache)
    cells = [Cell(grid, n, m, s) for s in grid.seeds for n in grid.noises for m in grid.methods]
    missing = [cell for cell in cells if not _file(root, cell).exists()]
    logger.info("%s: %d of %d cells are there", grid.name, len(cells) - len(missing), len(cells))
    if missing:
        _prepare(grid, prepared)
        jobs = min(grid.jobs or os.cpu_count() or 1, len(missing))
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            futures = {
                pool.submit(run_cell, cell, str(root), str(prepared)): cell for cell in missing
            }
            for done, future in enumerate(as_completed(futures), start=1):
                found, cell = future.result(), futures[future]
                logger.info(
                    "%d/%d  %s  %.2f %%  %.0f s",
                    done,
                    len(missing),
                    cell.key,
                    100 * found[grid.measure],
                    found["seconds"],
                )
    rows = [json.loads(_file(root, cell).read_text()) for cell in cells]
    return pd.DataFrame(rows)


def run_cell(cell: Cell, folder: str, cache: str) -> dict[str, Any]:
    """Train one cell on one thread and write its file, whole or not at all."""
    torch.set_num_threads(1)
    started = time.process_time()  # of this one thread: the machine may be busy with other cells
    grid, root = cell.grid, Path(cache)
    data, truth, test = _load(grid, root)
    preset = preset_of(grid, cell.method)
    # Not the training's seed, so that noise and initialisation do not move together by accident.
    rng = np.random.default_rng([cell.noise.spec.seed, cell.seed])
    samples = data.features.numpy()
    given, transition = corrupt(truth, cell.noise.spec, data.num_classes, rng, samples)
    data = _with_labels(data, given, preset.training.validation_fraction, cell.seed)
    noise = _noise(cell, root, data, truth, transition)
    _, result = fit(preset, data, noise, seed=cell.seed, test=test, progress=False)
    history = pd.DataFrame(result.history)
    probs = result.probs.numpy()
    selected = None if result.selected is None else result.selected.numpy()
    repaired = repair_rows(probs, given, noise, selected=selected)
    right = given == truth
    found = {
        "noise": cell.noise.name,
        "noise_rate": cell.noise.rate,
        "method": cell.method,
        "seed": cell.seed,
        **_accuracies(history),
        "test_accuracy_model": result.test_accuracy,
        "actual_noise_rate": float((~right).mean()),
        "estimated_noise_rate": noise.noise_rate,
        **_repairs(repaired, truth, right),
        "argmax_accuracy": float((probs.argmax(1) == truth).mean()),
        "selection_precision": float(right[selected].mean()) if selected is not None else None,
        "selection_recall": float(selected[right].mean()) if selected is not None else None,
        **_filtered(selected, right),
        "recovery_by_confidence": _recovery(probs, truth, data.train_rows.numpy()),
        "shared": {k: v.tolist() for k, v in result.shared.items() if v.numel() <= 1},
        "epochs": len(history),
        "seconds": time.process_time() - started,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    _write(_file(Path(folder), cell), found)
    return found


def summarise(cells: pd.DataFrame, published: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Return one tidy row per (noise, rate, method) with the published value beside ours.

    The verdict compares means: Welch's t-test at 5 % where both sides have a spread and at least
    two runs, else a difference of at most half a point counts as agreement.

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
    groups = cells.assign(value=100 * cells[grid.measure]).groupby(keys, sort=False)
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
    both["difference"] = both["mean"] - both["published_mean"]
    both["verdict"] = [_verdict(row) for _, row in both.iterrows()]
    order = [*keys, "mean", "std", "runs", *names.values(), "difference", "verdict", "seconds"]
    return both[order]


def page(table: pd.DataFrame, cells: pd.DataFrame, grid: Grid) -> str:
    """Return one grid's results as Markdown.

    Args:
        table: from :func:`summarise`.
        cells: from :func:`run_grid`.
        grid: what was run.
    """
    lines = [
        f"## {grid.name}",
        "",
        (f"{grid.paper}, table {grid.table}, {grid.dataset}. " if grid.paper != "none" else "")
        + "Test accuracy in %, "
        f"{_MEASURED[grid.measure]}; mean ± standard deviation over seeds "
        f"{', '.join(map(str, grid.seeds))}. "
        + ("The methods know the noise, as in the paper. " if grid.noise_known else "")
        + grid.note,
        "",
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
    where = ", ".join(sorted(set(cells["machine"])))
    torches = ", ".join(sorted(set(cells["torch"])))
    hours = cells["seconds"].sum() / 3600
    lines += [
        "",
        f"{len(cells)} cells, {hours:.1f} h of one thread each; {where}; torch {torches}. "
        f"`kedro run --pipelines benchmark --params table={grid.name}`",
        "",
    ]
    return "\n".join(lines)


_MEASURED = {
    "test_accuracy_last": "last epoch",
    "test_accuracy_last10": "mean of the last ten epochs",
    "test_accuracy_best_val": "epoch of the best noisy validation accuracy",
    "test_accuracy_model": "of the weights that the method keeps",
}


def _spread(mean: float, std: float) -> str:
    if np.isnan(mean):
        return ""
    return f"{mean:.2f}" if std is None or np.isnan(std) else f"{mean:.2f} ± {std:.2f}"


def _verdict(row: "pd.Series[Any]") -> str:
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
    return "agrees" if agrees else ("higher" if row["difference"] > 0 else "lower")


def _repairs(
    repaired: pd.DataFrame, truth: Labels, right: NDArray[np.bool_]
) -> dict[str, float | None]:
    """Return how good the repaired table is."""
    labels = repaired["repaired_label"]
    kept = labels.notna().to_numpy()
    hits = labels[kept].to_numpy(dtype=np.int64) == truth[kept]
    quality = repaired["label_quality"].to_numpy()
    issues = detection_metrics(repaired["is_label_issue"].to_numpy(), quality, ~right)
    return {
        "recovery_accuracy": float((repaired["suggested_label"].to_numpy() == truth).mean()),
        "repaired_accuracy": float(hits.mean()),
        "kept_share": float(kept.mean()),
        "detection_f1": issues["f1"],
    }


def _filtered(
    selected: NDArray[np.bool_] | None, right: NDArray[np.bool_]
) -> dict[str, float | None]:
    """Return NLNL's table 1: the rows not selected as a filter of wrong labels."""
    names = ("filtered_share", "filter_precision", "filter_recall")
    if selected is None:
        return dict.fromkeys(names)
    precision, recall = selection_precision_recall(~selected, ~right)
    return dict(zip(names, (float((~selected).mean()), precision, recall), strict=True))


def _recovery(
    probs: NDArray[np.floating], truth: Labels, rows: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return Tanaka's tables 12 and 13, of the training rows: bin, count, accuracy (or None)."""
    seen = np.clip(probs[rows].max(1), 0.0, 1.0)
    bins = recovery_by_confidence(seen, probs[rows].argmax(1), truth[rows])
    names, rows_found = (
        list(map(str, bins)),
        bins.astype(object).where(bins.notna(), None).to_numpy(),
    )
    return [dict(zip(names, row, strict=True)) for row in rows_found.tolist()]


def _accuracies(history: pd.DataFrame) -> dict[str, float]:
    """Return the last stage's measures: last epoch, mean of last ten, best noisy validation."""
    measured = history.dropna(subset=["test_accuracy"])
    last = measured[measured["stage"] == measured["stage"].iloc[-1]]
    accuracy = last["test_accuracy"].to_numpy()
    best = accuracy[-1]
    if "noisy_val_accuracy" in last and last["noisy_val_accuracy"].notna().any():
        best = accuracy[int(np.nanargmax(last["noisy_val_accuracy"].to_numpy()))]
    return {
        "test_accuracy_last": float(accuracy[-1]),
        "test_accuracy_last10": float(last_mean(accuracy)),
        "test_accuracy_best_val": float(best),
    }


def _noise(
    cell: Cell, root: Path, data: TrainSet, truth: Labels, transition: NDArray[np.float64]
) -> NoiseEstimate:
    """Return what the methods are told about the noise; estimates are kept for the other cells."""
    grid = cell.grid
    if grid.noise_known:
        rate = float((data.given_labels.numpy() != truth).mean())
        prior = np.bincount(truth, minlength=data.num_classes) / len(truth)
        return NoiseEstimate(transition, rate, (rate, rate), "known", prior)
    config = default_estimation(preset_of(grid, cell.method).training, len(truth))
    content = [_source_content(grid), non_defaults(cell.noise), non_defaults(config)]
    digest = blake2b(json.dumps([*content, cell.seed]).encode(), digest_size=5).hexdigest()
    file = root / "estimates" / f"{digest}.json"
    if not file.exists():
        found, _ = estimate(data, config, derive_seed(cell.seed, "estimation"))
        _write(file, noise_to_dict(found))
    return noise_from_dict(json.loads(file.read_text()))


def _write(file: Path, content: dict[str, Any]) -> None:
    """Write JSON whole or not at all; several processes may write the same file."""
    with whole_file(file, writer=f".{os.getpid()}") as stream:
        stream.write(json.dumps(content).encode())


def _file(root: Path, cell: Cell) -> Path:
    return root / cell.grid.name / f"{cell.key}.json"


def _data_folder(grid: Grid, root: Path) -> Path:
    content = json.dumps(_source_content(grid), sort_keys=True).encode()
    return root / "data" / blake2b(content, digest_size=5).hexdigest()


def _source_content(grid: Grid) -> dict[str, Any]:
    """Return the source without the folders that it lies in on this machine."""
    content: dict[str, Any] = non_defaults(grid.source)
    content.pop("root", None)
    if "path" in content:
        content["path"] = Path(content["path"]).name
    if "files" in content:
        content["files"] = {key: Path(file).name for key, file in content["files"].items()}
    return content


def _prepare(grid: Grid, root: Path) -> None:
    """Read the source once and keep its arrays for the workers to memory-map."""
    folder = _data_folder(grid, root)
    if (folder / "ready").exists():
        return
    samples = read_source(grid.source)
    require(samples.labels_are_true, "benchmark.source: its labels are not known to be true")
    folder.mkdir(parents=True, exist_ok=True)
    splits = samples.splits
    if not (splits == Split.TEST).any():
        splits = assign_test(splits, samples.labels, samples.sample_ids, TEST_FRACTION, seed=0)
    test = splits == Split.TEST
    for name, rows in (("train", ~test), ("test", test)):
        write_features(folder / f"{name}_features.npy", samples.features[rows])
        write_features(folder / f"{name}_labels.npy", samples.labels[rows])
    (folder / "classes").write_text(str(len(samples.class_names)))
    (folder / "ready").touch()


def _load(grid: Grid, root: Path) -> tuple[TrainSet, Labels, Holdout]:
    """Return the training rows with true labels still in place, the truth, and the test split."""
    folder = _data_folder(grid, root)
    arrays = {
        name: np.array(read_features(folder / f"{name}.npy"))  # writable, as torch wants it
        for name in ("train_features", "train_labels", "test_features", "test_labels")
    }
    truth = arrays["train_labels"]
    every = torch.arange(len(truth))
    data = TrainSet(
        torch.from_numpy(arrays["train_features"]),
        torch.from_numpy(truth),
        int((folder / "classes").read_text()),
        every,
        every[:0],
    )
    test = Holdout(
        torch.from_numpy(arrays["test_features"]), torch.from_numpy(arrays["test_labels"])
    )
    return data, truth, test


def _with_labels(data: TrainSet, given: Labels, fraction: float, seed: int) -> TrainSet:
    held_out = holdout(given, fraction, derive_seed(seed, "validation"))
    return TrainSet(
        data.features,
        torch.from_numpy(given),
        data.num_classes,
        torch.from_numpy(np.flatnonzero(~held_out)),
        torch.from_numpy(np.flatnonzero(held_out)),
    )


__all__: Sequence[str] = ["Grid", "GridMethod", "GridNoise", "run_cell", "run_grid", "summarise"]
