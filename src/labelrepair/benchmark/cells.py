"""Run the cells of a grid: several at a time, each once."""

import json
import logging
import os
import platform
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from hashlib import blake2b
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from labelrepair import __version__, methods
from labelrepair.atomic import whole_file
from labelrepair.benchmark.baselines import BASELINES
from labelrepair.benchmark.data import Labels, load, prepare, with_labels
from labelrepair.benchmark.grid import Cell, Grid, preset_of, source_content
from labelrepair.benchmark.measures import accuracies, filtered, recovery, repairs
from labelrepair.config import from_dict, non_defaults, require
from labelrepair.errors import LabelRepairError, StoreError
from labelrepair.estimation import NoiseEstimate
from labelrepair.locks import FOREVER, Lock
from labelrepair.noise import corrupt
from labelrepair.training import Holdout, TrainSet
from labelrepair.training.seeds import derive_seed
from labelrepair.transition import actual_transition
from labelrepair.workflow import (
    default_estimation,
    estimate,
    fit,
    noise_from_dict,
    noise_to_dict,
    refine,
    repair_rows,
)

logger = logging.getLogger(__name__)


def run_grid(grid: Grid, folder: str | Path, cache: str | Path) -> pd.DataFrame:
    """Run the missing cells, several at a time, and return all of them.

    Args:
        grid: what to run.
        folder: where finished cells are kept, one small JSON file each.
        cache: where the prepared data and the noise estimates are kept; may be emptied.

    Returns:
        One row per cell: noise, noise_rate, method, seed, the measures, label precision, recovery
        accuracy, noise rate, seconds and where it ran.

    Raises:
        LabelRepairError: a cell failed, e.g. as its loss was no longer finite; the others have run.
    """
    root, prepared = Path(folder), Path(cache)
    cells = [Cell(grid, n, m, s) for s in grid.seeds for n in grid.noises for m in grid.methods]
    missing = [cell for cell in cells if not cell_file(root, cell).exists()]
    missing.sort(key=_chooses)  # last: what they choose may have run by then, see _twin
    logger.info("%s: %d of %d cells are there", grid.name, len(cells) - len(missing), len(cells))
    if not grid.run_missing:
        cells = [cell for cell in cells if cell not in missing]
        require(len(cells) > 0, f"{grid.name}: no cell is finished")
    elif missing:
        with Lock(prepared / "locks" / "data", f"{grid.name}: data", FOREVER):
            prepare(grid, prepared)
        busy = _run(missing, root, prepared, patience=0.0)
        if busy:
            logger.info("%d cells are being run by somebody else; waiting for them", len(busy))
            _run(busy, root, prepared, patience=FOREVER)
    rows = [json.loads(cell_file(root, cell).read_text()) for cell in cells]
    return pd.DataFrame(rows)


def _run(cells: list[Cell], root: Path, cache: Path, patience: float) -> list[Cell]:
    """Run the cells, several at a time; return those that another run has begun.

    Raises:
        LabelRepairError: of the first cell that failed, once all others have run.
    """
    grid, busy = cells[0].grid, []
    failed: list[tuple[Cell, LabelRepairError]] = []
    jobs = min(grid.jobs or os.cpu_count() or 1, len(cells))
    spawn = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=end_with_parent) as pool:
        futures = {
            pool.submit(run_once, cell, str(root), str(cache), patience): cell for cell in cells
        }
        for done, future in enumerate(as_completed(futures), start=1):
            cell = futures[future]
            try:
                found = future.result()
            except LabelRepairError as error:
                logger.error("%d/%d  %s  failed: %s", done, len(cells), cell.key, error)
                failed.append((cell, error))
                continue
            if found is None:
                busy.append(cell)
                continue
            measured = 100 * found.get(grid.measure, float("nan"))  # a baseline may only repair
            told = (done, len(cells), cell.key, measured, found["seconds"])
            logger.info("%d/%d  %s  %.2f %%  %.0f s", *told)
    if failed:
        cell, first = failed[0]
        raise type(first)(
            f"{grid.name}: {len(failed)} of {len(cells)} cells failed, the others are kept "
            f"(benchmark.run_missing=false shows them); {cell.key}: {first}"
        ) from first
    return busy


def end_with_parent() -> None:
    """Let this process end when the one that started it does, also in the middle of a cell."""

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _chooses(cell: Cell) -> bool:
    name = cell.grid.methods[cell.method].method
    return name not in BASELINES and methods.chooses(name)


def run_once(cell: Cell, folder: str, cache: str, patience: float) -> dict[str, Any] | None:
    """Run one cell unless it is finished by the time that nobody else runs it.

    Args:
        cell: what to run.
        folder: of the finished cells.
        cache: of the prepared data; the locks lie there, too.
        patience: seconds to wait for another run that has begun the cell, or ``FOREVER``.

    Returns:
        What was measured; None where the other run is not done with it.
    """
    file = cell_file(Path(folder), cell)
    lock = Lock(Path(cache) / "locks" / f"{cell.grid.name}-{cell.key}", cell.key, patience)
    try:
        lock.acquire()
    except StoreError:
        return None
    try:
        if not file.exists():
            return run_cell(cell, folder, cache)
        finished: dict[str, Any] = json.loads(file.read_text())
        return finished
    finally:
        lock.release()


def run_cell(cell: Cell, folder: str, cache: str) -> dict[str, Any]:
    """Run one cell on one thread and write its file, whole or not at all."""
    torch.set_num_threads(1)
    # Of this one thread, as the machine may be busy with other cells; and by the clock.
    started, clock = time.process_time(), time.monotonic()
    data, truth, test = load(cell.grid, Path(cache))
    # Not the training's seed, so that noise and initialisation do not move together by accident.
    draw = [] if cell.grid.one_noise else [cell.seed]
    rng = np.random.default_rng([cell.noise.spec.seed, *draw])
    samples = np.asarray(data.features)
    given, transition = corrupt(truth, cell.noise.spec, data.num_classes, rng, samples)
    right = given == truth
    fraction = preset_of(cell.grid, cell.method).training.validation_fraction
    data = with_labels(data, given, fraction, cell.seed)
    if cell.grid.clean_validation:
        labels = data.given_labels.clone()
        labels[data.val_rows] = torch.from_numpy(truth)[data.val_rows]
        data = replace(data, given_labels=labels)
    if cell.grid.methods[cell.method].method in BASELINES:
        measured = _baseline(cell, data, truth)
    else:
        noise = _noise(cell, Path(cache), data, truth, transition)
        measured = _twin(cell, noise, Path(folder)) or _trained(cell, data, truth, noise, test)
    found = {
        "noise": cell.noise.name,
        "noise_rate": cell.noise.rate,
        "method": cell.method,
        "seed": cell.seed,
        "actual_noise_rate": float((~right).mean()),
        "seconds": time.process_time() - started,
        "wall_seconds": time.monotonic() - clock,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "labelrepair": __version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        **measured,
    }
    _write(cell_file(Path(folder), cell), found)
    return found


def _twin(cell: Cell, noise: NoiseEstimate, folder: Path) -> dict[str, Any] | None:
    """Return what was measured of the method that this cell's method chose, if that has run.

    The same method, options, training, noise and seed give the same bits; None where the grid has
    no such cell, or it is not finished.
    """
    mine = preset_of(cell.grid, cell.method)
    choice = methods.chosen(mine.method, mine.options, mine.training, noise)
    if not choice.why:
        return None
    wanted = replace(cell.grid.methods[cell.method], method=choice.method, options=choice.options)
    grid = replace(cell.grid, methods={"wanted": wanted})
    digest = Cell(grid, cell.noise, "wanted", cell.seed).key.rpartition("-")[2]
    for file in (folder / cell.grid.name).glob(f"*-{digest}.json"):
        logger.info("%s: the same run as %s (%s)", cell.key, file.stem, choice.why)
        found: dict[str, Any] = json.loads(file.read_text())
        return {**found, "method": cell.method, "chosen_by": choice.why}
    return None


def _trained(
    cell: Cell, data: TrainSet, truth: Labels, noise: NoiseEstimate, test: Holdout
) -> dict[str, Any]:
    """Train the cell's method and return what is recorded of it."""
    preset = preset_of(cell.grid, cell.method)
    _, result = fit(preset, data, noise, seed=cell.seed, test=test, progress=False)
    history = pd.DataFrame(result.history)
    probs, given = result.probs.numpy(), data.given_labels.numpy()
    selected = None if result.selected is None else result.selected.numpy()
    right = given == truth
    return {
        **accuracies(history),
        "test_accuracy_model": result.test_accuracy,
        "estimated_noise_rate": noise.noise_rate,
        "transition_error": _transition_error(noise.transition, truth, given),
        **repairs(repair_rows(probs, given, noise, selected=selected), truth, right),
        "argmax_accuracy": float((probs.argmax(1) == truth).mean()),
        "selection_precision": float(right[selected].mean()) if selected is not None else None,
        "selection_recall": float(selected[right].mean()) if selected is not None else None,
        **filtered(selected, right),
        "recovery_by_confidence": recovery(probs, truth, data.train_rows.numpy()),
        **_refined(cell, data, truth, probs, noise),
        "shared": {k: v.tolist() for k, v in result.shared.items() if v.numel() <= 1},
        "epochs": len(history),
    }


def _refined(
    cell: Cell, data: TrainSet, truth: Labels, probs: NDArray[Any], noise: NoiseEstimate
) -> dict[str, Any]:
    """Return what a second look makes of the method's probabilities."""
    spec = cell.grid.refinement
    if not spec.rounds:
        return {}
    training = preset_of(cell.grid, cell.method).training
    probe = default_estimation(training, len(truth)).probe
    second, found = refine(data, probs, noise, probe, spec, cell.seed)
    given = data.given_labels.numpy()
    measured = {
        "noise_rate": found.noise_rate,
        "transition_error": _transition_error(found.transition, truth, given),
        **repairs(repair_rows(second, given, found), truth, given == truth),
    }
    return {f"refined_{name}": value for name, value in measured.items()}


def _baseline(cell: Cell, data: TrainSet, truth: Labels) -> dict[str, Any]:
    """Run the cell's baseline and return what is recorded of it."""
    preset = preset_of(cell.grid, cell.method)
    options_type, repair = BASELINES[preset.method]
    options: Any = from_dict(options_type, preset.options, "options")
    frame, transition, probs = repair(data, options, preset.training, cell.seed)
    given = data.given_labels.numpy()
    return {
        "estimated_noise_rate": float(frame["is_label_issue"].mean()),
        "transition_error": _transition_error(transition, truth, given),
        **repairs(frame, truth, given == truth),
        "argmax_accuracy": float((probs.argmax(1) == truth).mean()),
    }


def _transition_error(transition: NDArray[np.float64], truth: Labels, given: Labels) -> float:
    """Return the mean absolute error of T's elements against the injected labels."""
    actual = actual_transition(truth, given, len(transition))
    return float(np.abs(transition - actual).mean())


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
    content = [source_content(grid), non_defaults(cell.noise), non_defaults(config)]
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


def cell_file(root: Path, cell: Cell) -> Path:
    """Return where a cell's result is kept."""
    return root / cell.grid.name / f"{cell.key}.json"
