import dataclasses
import json
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labelrepair.benchmark import Cell, Grid, collect, run_cell, run_grid, summarise, unexplained
from labelrepair.benchmark import cells as cells_module
from labelrepair.benchmark import page as page_of
from labelrepair.benchmark.cells import cell_file
from labelrepair.benchmark.data import prepare
from labelrepair.config import from_dict
from labelrepair.errors import ConfigError, LabelRepairError
from labelrepair.refinement import RefinementSpec

RAW = {
    "name": "tiny",
    "paper": "jocor",
    "table": "2",
    "dataset": "digits",
    "source": {"kind": "digits"},
    "noises": [
        {"name": "symmetric_exclusive", "rate": 0.2, "spec": {"kind": "symmetric", "rate": 0.2}}
    ],
    "training": {"schedule": {"epochs": 3, "lr": 0.01}, "threads": 1},
    "methods": {"cross_entropy": {"method": "cross_entropy"}, "jocor": {"method": "jocor"}},
    "seeds": [0, 1],
    "jobs": 1,
}


@pytest.fixture
def grid():
    return from_dict(Grid, RAW, "benchmark")


@pytest.fixture
def ran(monkeypatch):
    """Run cells in this process; the keys of those asked for."""
    ran = []

    class Here:
        """An executor that runs at once."""

        def __init__(self, *_args, **_kwargs):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_args):
            return None

        def submit(self, function, cell, *rest):
            ran.append(cell.key)
            future = Future()
            try:
                future.set_result(function(cell, *rest))
            except LabelRepairError as error:
                future.set_exception(error)
            return future

    monkeypatch.setattr(cells_module, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(cells_module, "as_completed", list)
    return ran


def test_missing_cells_run_once(grid, tmp_path, ran):
    """A second call runs none, a new method only its own."""
    cells = run_grid(grid, tmp_path / "cells", tmp_path / "cache")
    assert len(ran) == len(cells) == 4
    assert set(cells["method"]) == {"cross_entropy", "jocor"}
    plain = cells[cells["method"] == "cross_entropy"]
    assert (plain["test_accuracy_last10"] > 0.6).all()
    assert cells["actual_noise_rate"].between(0.15, 0.25).all()
    pd.testing.assert_frame_equal(run_grid(grid, tmp_path / "cells", tmp_path / "cache"), cells)
    assert len(ran) == 4
    more = {**RAW, "methods": {**RAW["methods"], "small_loss": {"method": "small_loss"}}}
    assert len(run_grid(from_dict(Grid, more, ""), tmp_path / "cells", tmp_path / "cache")) == 6
    assert len(ran) == 6


def test_a_cell_that_fails_is_named_and_the_others_run(tmp_path, ran, caplog):
    """As a method that diverges at one noise."""
    wild = {"method": "jocor", "training": {"schedule": {"epochs": 3, "lr": 1e30}}}
    grid = from_dict(Grid, {**RAW, "methods": {"wild": wild, **RAW["methods"]}, "seeds": [0]}, "")
    told = r"tiny: 1 of 3 cells failed, the others are kept .*; wild-symm.*: the loss is nan; lower"
    with pytest.raises(LabelRepairError, match=told):
        run_grid(grid, tmp_path / "cells", tmp_path / "cache")
    assert len(ran) == 3
    assert "wild-symmetric_exclusive-0.2-0-" in caplog.text
    shown = dataclasses.replace(grid, run_missing=False)
    assert len(run_grid(shown, tmp_path / "cells", tmp_path / "cache")) == 2


HOLDER = """
import sys, time
from pathlib import Path
from labelrepair.locks import Lock

lock, cell, go = (Path(name) for name in sys.argv[1:])
with Lock(lock, "cell"):
    print("held", flush=True)
    while not go.exists():
        time.sleep(0.01)
    cell.parent.mkdir(parents=True)
    cell.write_text('{"method": "cross_entropy", "seed": 0, "seconds": 1.0, "by": "the other"}')
"""


def test_a_cell_that_another_run_has_begun_is_awaited_and_not_run_again(
    grid, tmp_path, ran, monkeypatch
):
    grid = dataclasses.replace(grid, seeds=(0,))
    cell = Cell(grid, grid.noises[0], "cross_entropy", 0)
    file, go = cell_file(tmp_path / "cells", cell), tmp_path / "go"
    lock = tmp_path / "cache" / "locks" / f"tiny-{cell.key}"
    command = [sys.executable, "-c", HOLDER, lock, file, go]
    trained = []

    def count(cell, folder, cache):
        trained.append(cell.method)
        go.touch()  # the other ends its cell only after this run has done what it can
        return run_cell(cell, folder, cache)

    monkeypatch.setattr(cells_module, "run_cell", count)
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        cells = run_grid(grid, tmp_path / "cells", tmp_path / "cache")
    finally:
        go.touch()
        other.communicate(timeout=60)
    assert trained == ["jocor"]
    assert cells.set_index("method")["by"].dropna().to_dict() == {"cross_entropy": "the other"}


def test_a_cell_repeats_and_depends_on_its_seed(grid, tmp_path):
    prepare(grid, tmp_path)
    cell = Cell(grid, grid.noises[0], "jocor", 0)
    first, again = (run_cell(cell, str(tmp_path), str(tmp_path)) for _ in range(2))
    other = run_cell(dataclasses.replace(cell, seed=1), str(tmp_path), str(tmp_path))
    timed = ("seconds", "wall_seconds")
    same = {k: v for k, v in first.items() if k not in timed}
    assert same == {k: v for k, v in again.items() if k not in timed}
    assert first["actual_noise_rate"] != other["actual_noise_rate"]
    assert json.loads((tmp_path / "tiny" / f"{cell.key}.json").read_text())["seed"] == 0


def test_a_cell_tells_what_the_filter_and_the_confidence_are_worth(grid, tmp_path):
    prepare(grid, tmp_path)
    found = {
        name: run_cell(Cell(grid, grid.noises[0], name, 0), str(tmp_path), str(tmp_path))
        for name in grid.methods
    }
    own = found["jocor"]  # its selection leaves out the share of noise that it was told
    assert own["filtered_share"] == pytest.approx(own["actual_noise_rate"], abs=1e-3)
    wrong, kept = own["actual_noise_rate"], 1 - own["filtered_share"]
    caught = wrong - kept * (1 - own["selection_precision"])
    assert own["filter_recall"] == pytest.approx(caught / wrong)
    assert own["filter_precision"] == pytest.approx(caught / own["filtered_share"])
    assert found["cross_entropy"]["filter_recall"] is None
    for cell in found.values():
        *bins, every = cell["recovery_by_confidence"]
        assert sum(entry["count"] for entry in bins) == every["count"] == 1438
        assert every["accuracy"] == pytest.approx(cell["argmax_accuracy"])
        assert bins[0]["bin"] == "[0.99,1]"


def test_a_method_that_was_chosen_is_not_trained_twice(tmp_path, monkeypatch):
    of_auto = {"method": "auto", "options": {"small": {"method": "small_loss"}}}
    rows = {"auto": of_auto, "own": {"method": "small_loss"}}
    grid = from_dict(Grid, {**RAW, "seeds": [0], "methods": rows, "noise_known": False}, "")
    prepare(grid, tmp_path)
    first, second = (Cell(grid, grid.noises[0], name, 0) for name in rows)
    alone = run_cell(first, str(tmp_path / "alone"), str(tmp_path))
    assert "chosen_by" not in alone
    own = run_cell(second, str(tmp_path), str(tmp_path))
    monkeypatch.setattr(cells_module, "_trained", None)
    found = run_cell(first, str(tmp_path), str(tmp_path))
    assert (found["method"], own["method"]) == ("auto", "own")
    assert " of only 1,438 labels are wrong" in found["chosen_by"]
    timed = ("seconds", "wall_seconds", "method", "chosen_by")
    for other in (own, found):
        assert {k: v for k, v in other.items() if k not in timed} == {
            k: v for k, v in alone.items() if k not in timed
        }


def test_one_draw_of_the_noise_may_serve_all_seeds(grid, tmp_path):
    prepare(grid, tmp_path)
    one = dataclasses.replace(grid, one_noise=True)
    cells = [Cell(one, one.noises[0], "cross_entropy", seed) for seed in (0, 1)]
    first, second = (run_cell(cell, str(tmp_path), str(tmp_path)) for cell in cells)
    assert first["actual_noise_rate"] == second["actual_noise_rate"]
    assert first["test_accuracy_last"] != second["test_accuracy_last"]
    assert cells[0].key != dataclasses.replace(cells[0], grid=grid).key


def test_validation_rows_may_be_judged_by_their_true_labels(grid, tmp_path, monkeypatch):
    prepare(grid, tmp_path)
    seen = {}

    def trained(cell, data, truth, noise, test):
        right = data.given_labels.numpy() == truth
        seen[cell.grid.clean_validation] = (
            right[data.val_rows].mean(),
            right[data.train_rows].mean(),
        )
        return {}

    monkeypatch.setattr(cells_module, "_trained", trained)
    held_out = {**RAW, "training": {**RAW["training"], "validation_fraction": 0.2}}
    for clean in (False, True):
        own = from_dict(Grid, {**held_out, "clean_validation": clean}, "benchmark")
        prepare(own, tmp_path)
        cell = Cell(own, own.noises[0], "cross_entropy", 0)
        run_cell(cell, str(tmp_path / str(clean)), str(tmp_path))
    assert seen[False][0] == pytest.approx(0.8, abs=0.06)
    assert seen[True][0] == 1.0
    assert seen[True][1] == seen[False][1]
    with pytest.raises(ConfigError, match="clean_validation: only where noise_known is true"):
        from_dict(Grid, {**RAW, "clean_validation": True, "noise_known": False}, "benchmark")


def test_a_key_changes_with_what_decides_the_result(grid):
    noise = grid.noises[0]
    key = Cell(grid, noise, "jocor", 0).key
    assert key != Cell(grid, noise, "jocor", 1).key
    other = from_dict(Grid, {**RAW, "training": {"schedule": {"epochs": 4}}}, "")
    assert key != Cell(other, noise, "jocor", 0).key
    estimated = dataclasses.replace(grid, noise_known=False)
    assert key != Cell(estimated, noise, "jocor", 0).key
    assert key == Cell(dataclasses.replace(grid, seeds=(0,), jobs=2), noise, "jocor", 0).key


def test_a_key_ignores_folders_and_settings_at_their_defaults(grid):
    """A finished cell stays valid on another machine and when a setting is added later."""
    noise = grid.noises[0]
    here = {"kind": "torchvision", "name": "MNIST", "root": "/here"}
    there = {"kind": "torchvision", "name": "MNIST", "root": "/there"}
    keys = {
        Cell(from_dict(Grid, {**RAW, "source": source}, ""), noise, "jocor", 0).key
        for source in (here, there)
    }
    assert len(keys) == 1
    explicit = {**RAW, "training": {**RAW["training"], "batch_size": 128}}
    key = Cell(grid, noise, "jocor", 0).key
    assert key == Cell(from_dict(Grid, explicit, ""), noise, "jocor", 0).key


def published(**changes):
    row = {
        "paper": "jocor",
        "table": "2",
        "dataset": "digits",
        "model": "mlp2",
        "noise": "symmetric_exclusive",
        "noise_rate": 0.2,
        "method": "jocor",
        "metric": "test_accuracy",
        "mean": 98.0,
        "std": 0.1,
        "runs": 5,
    }
    return pd.DataFrame([row | changes])


def measured(values):
    return pd.DataFrame(
        {
            "noise": "symmetric_exclusive",
            "noise_rate": 0.2,
            "method": "jocor",
            "seed": range(len(values)),
            "test_accuracy_last10": np.array(values) / 100,
            "seconds": 10.0,
        }
    )


@pytest.mark.parametrize(
    ("values", "changes", "verdict"),
    [
        ([98.0, 98.1, 97.9], {}, "agrees"),
        ([99.0, 99.1, 98.9], {}, "higher"),
        ([97.0, 97.1, 96.9], {}, "lower"),
        ([98.4], {}, "agrees"),  # one run has no spread: half a point
        ([98.6], {}, "higher"),
        ([98.4, 98.4], {"std": np.nan}, "agrees"),
        ([97.4, 97.4], {"std": np.nan}, "lower"),
        ([98.0], {"method": "other"}, "not published"),
    ],
)
def test_verdicts(grid, values, changes, verdict):
    table = summarise(measured(values), published(**changes), grid)
    assert table["verdict"].tolist() == [verdict]
    assert table["mean"].item() == pytest.approx(np.mean(values))
    if verdict != "not published":
        assert table["difference"].item() == pytest.approx(np.mean(values) - 98.0)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (97.96, 98.0, "agrees"),  # published with one digit: may have been 97.95
        (97.94, 98.0, "lower"),
        (98.044, 98.04, "agrees"),
        (98.05, 98.04, "higher"),
    ],
)
def test_what_rounding_explains_is_no_difference(grid, ours, theirs, verdict):
    cells = measured([ours - 0.0002, ours + 0.0002])
    table = summarise(cells, published(mean=theirs, std=0.0), grid)
    assert table["verdict"].tolist() == [verdict]


def test_a_cell_that_misses_its_value_needs_a_remark_that_names_its_method(grid):
    rows = [(98.0, 0.1, 0.25), (98.0, 0.1, 0.36), (98.1, None, 0.5), (98.0, None, -0.6)]
    table = pd.DataFrame(rows, columns=["published_mean", "published_std", "difference"])
    table = table.assign(method=["a", "b", "c", "d"], noise="symmetric", noise_rate=0.2)
    # Two spreads of 0.1, which may be 0.15, and a mean that may be 0.05 off: 0.35.
    assert unexplained(table, grid) == ["symmetric 0.2 b (+0.36)", "symmetric 0.2 d (-0.60)"]
    told = dataclasses.replace(grid, remarks=("`b` was tried with less", "d"))
    assert unexplained(table, told) == ["symmetric 0.2 d (-0.60)"]


def test_the_page_shows_what_was_measured(grid):
    cells = measured([98.0, 98.2]).assign(machine="x86_64, 2 cores", torch="2")
    page = page_of(summarise(cells, published(), grid), cells, grid, published())
    assert "h of CPU time on one thread; x86_64, 2 cores; torch 2." in page
    newer = cells.assign(wall_seconds=[1800.0, None], python=["3.11.7", None])
    page = page_of(summarise(cells, published(), grid), newer, grid, published())
    assert "; 0.5 h by the clock (1 of them); x86_64, 2 cores; Python 3.11.7; torch 2." in page
    assert "98.10 ± 0.14" in page
    assert "98.00 ± 0.10" in page
    assert "| +0.10 | agrees |" in page
    assert "seeds 0, 1" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measure": "accuracy"}, "measure: unknown value 'accuracy'"),
        ({"seeds": [1, 1]}, "seeds: one is repeated"),
        ({"methods": {"x": {"method": "jocr"}}}, "unknown method 'jocr'; did you mean 'jocor'"),
        ({"methods": {"x": {"method": "jocor", "options": {"lamda": 1}}}}, "lamda"),
        ({"training": {"epochs": 3}}, "benchmark.methods.cross_entropy.training.epochs"),
    ],
)
def test_wrong_grids_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Grid, RAW | changes, "benchmark")


def test_a_page_of_repairs_shows_the_share_of_wrong_labels_that_the_baseline_leaves(grid):
    right = {"cleanlab": 0.95, "jocor": 0.96}
    cells = pd.DataFrame(
        [
            {
                "noise": "symmetric_exclusive",
                "noise_rate": 0.2,
                "method": method,
                "seed": 0,
                "recovery_accuracy": value,
                "refined_recovery_accuracy": 0.98 if method == "jocor" else None,
                "detection_f1": 0.9,
                "refined_detection_f1": 0.99,
                "transition_error": 0.004,
                "refined_transition_error": 0.001,
                "seconds": 60.0,
                "machine": "x86_64, 2 cores",
                "torch": "2",
            }
            for method, value in right.items()
        ]
    )
    raw = {**RAW, "paper": "none", "measure": "recovery_accuracy", "remarks": ["tried this"]}
    raw["methods"] = {name: {"method": name} for name in right}
    repairs = from_dict(Grid, raw, "")
    table = summarise(cells, published(), repairs)
    assert list(table["mean"]) == [95.0, 98.0], "the second look's, where there is one"
    page = page_of(table, cells, repairs, published())
    assert "| cleanlab | 95.00 | 1.00 | 0.900 | 0.0040 | 60 |" in page
    assert "| jocor | 96.00 | 0.80 | 0.900 |" in page
    assert "| jocor, second look | 98.00 | 0.40 | 0.990 | 0.0010 | 60 |" in page
    assert "- tried this" in page
    assert "2 cells of 4; the others have not run yet" in page
    both = dataclasses.replace(repairs, measure="test_accuracy_model")
    both = dataclasses.replace(both, refinement=RefinementSpec(rounds=1))
    cells["test_accuracy_model"] = [np.nan, 0.9]
    table = summarise(cells, published(), both)
    assert list(table["method"]) == ["jocor"]
    page = page_of(table, cells, both, published())
    assert "| symmetric_exclusive | 0.2 | jocor | 90.00 |" in page
    assert "| jocor, second look | 98.00 | 0.40 |" in page
    # A seed that only the baseline has run, and one that only the method has.
    worse, other = cells[:1].assign(seed=1, recovery_accuracy=0.5), cells[1:].assign(seed=2)
    page = page_of(table, pd.concat([cells, worse]), repairs, published())
    assert "| jocor | 96.00 | 0.80 |" in page
    page = page_of(table, pd.concat([cells, other]), repairs, published())
    assert "| jocor | 96.00 ± 0.00 |  |" in page


def lines_of(quantity, cells, rows):
    """The page's rows of one quantity, without its head."""
    grid = from_dict(Grid, {**RAW, "table": "9", "quantity": quantity}, "")
    cells = pd.DataFrame(cells).assign(**{grid.measure: 0.9}, seconds=1.0, machine="x", torch="2")
    rows = pd.DataFrame(rows).assign(paper="jocor", table="9", dataset="elsewhere", noise_rate=0.2)
    text = page_of(summarise(cells, published(), grid), cells, grid, rows)
    return text.split("|---|---|---|---|---|---|", 2)[2]


def test_a_page_shows_what_the_filter_is_worth_beside_another_data_set():
    values = {"filtered_share": 0.21, "filter_recall": 0.9, "filter_precision": 0.8}
    where = {"noise": "symmetric_exclusive", "noise_rate": 0.2, "actual_noise_rate": 0.19}
    cells = [
        {**where, "method": "jocor", "seed": seed, **values, "filter_recall": recall}
        for seed, recall in ((0, 0.9), (1, 0.8))
    ] + [{**where, "method": "other", "seed": 0, **values}]
    rows = [
        {"method": "jocor", "metric": metric, "protocol": "filter", "mean": mean}
        for metric, mean in (("estimated_noise_rate", 20.5), ("noise_filter_recall", 99.25))
    ]
    text = lines_of("filter", cells, rows)
    assert "| jocor | 19.00 | 21.00, 20.50 | 85.00, 99.25 | 80.00 |" in text
    assert "| other | 19.00 | 21.00 | 90.00 | 80.00 |" in text


def test_a_page_shows_recovery_by_confidence_beside_another_data_set():
    names = ("[0.99,1]", "[0.95,0.99)", "[0.9,0.95)", "[0,0.9)", "all")
    found = [
        [dict(bin=b, count=c, accuracy=a) for b, c, a in zip(names, counts, accuracy, strict=True)]
        for counts, accuracy in (
            ((6, 2, 0, 2, 10), (1.0, 0.5, None, 0.0, 0.7)),
            ((2, 2, 0, 6, 10), (0.5, 0.5, None, 1.0, 0.8)),
        )
    ]
    where = {"noise": "symmetric_exclusive", "noise_rate": 0.2, "method": "jocor"}
    cells = [{**where, "seed": s, "recovery_by_confidence": b} for s, b in enumerate(found)]
    rows = [
        {"method": "jocor", "metric": metric, "protocol": f"label_confidence_range={b}", "mean": m}
        for metric, b, m in (
            ("label_count", "0.99-1", 300),
            ("label_count", "0-1", 400),
            ("recovery_accuracy", "0.99-1", 99.8),
            ("recovery_accuracy", "0-1", 95.1),
        )
    ]
    text = lines_of("recovery_by_confidence", cells, rows)
    assert "| jocor | [0.99,1] | 40.0, 75.0 | 87.5, 99.8 |" in text
    assert "| jocor | [0.95,0.99) | 20.0 | 50.0 |" in text
    assert "| jocor | [0.9,0.95) | 0.0 | none |" in text
    assert "| jocor | all | 100.0, 100.0 | 75.0, 95.1 |" in text


def test_the_page_of_all_results_begins_with_the_archetypes():
    page = collect({"zeta": "## zeta\n", "archetypes": "## first\n", "alpha": "## alpha\n"})
    assert page == "# Results\n\n## first\n\n## alpha\n\n## zeta\n"


def test_cleanlab_is_a_row_of_a_grid(tmp_path):
    raw = {**RAW, "measure": "recovery_accuracy", "noise_known": False, "refinement": {"rounds": 1}}
    raw["training"] = {"schedule": {"epochs": 10, "lr": 0.01}, "threads": 1}
    raw["methods"] = {name: {"method": name} for name in ("cleanlab", "cross_entropy")}
    grid = from_dict(Grid, raw, "")
    prepare(grid, tmp_path)
    found = {
        name: run_cell(Cell(grid, grid.noises[0], name, 0), str(tmp_path), str(tmp_path))
        for name in grid.methods
    }
    assert found["cleanlab"]["recovery_accuracy"] > 0.9
    assert found["cleanlab"]["kept_share"] == 1.0
    assert found["cleanlab"]["transition_error"] < 0.05
    assert found["cross_entropy"]["refined_recovery_accuracy"] > 0.9
    with pytest.raises(ConfigError, match="folds"):
        from_dict(Grid, {**raw, "methods": {"x": {"method": "cleanlab", "options": {"folds": 1}}}})


# A grid's pool as run_grid starts it, with a task that goes on for longer than any test waits.
PARENT = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from labelrepair.benchmark.cells import end_with_parent

if __name__ == "__main__":
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=end_with_parent) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600)
        time.sleep(600)
"""


def test_a_cell_ends_with_the_run_that_started_it(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    try:
        worker = Path(f"/proc/{int(parent.stdout.readline())}")
        assert worker.exists()
    finally:
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + 20
    while worker.exists():
        assert time.monotonic() < deadline, "the worker goes on alone"
        time.sleep(0.05)
