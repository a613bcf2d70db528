"""Time and memory of the work on label tables, at growing size; beside cleanlab where it has one.

    python benchmarks/label_table.py [--rows 10000 100000 ...] [--classes 10] [--out FILE]
        [--again N] [--no-cleanlab]

Every size runs in a process of its own. Seconds are the CPU time of the program itself (user time)
of one thread, the best of several where a step is short. "system" is the kernel's time on top, at
the largest size: it hands out memory page by page, at a price that differs between machines by more
than tenfold. Memory is the peak of a step above what the process held before it. The last column is
the growth exponent: the slope of log seconds over log rows (1 = twice the rows, twice the time),
over the sizes of at least 10^5 rows, as smaller ones measure constant costs.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labelrepair import estimation, evaluation, label_diff
from labelrepair.label_table import data_hash, make_label_table
from labelrepair.policy import Policy, apply_policy
from labelrepair.scoring import ScoringSpec, score
from labelrepair.workflow import noise_to_dict, repair_table

ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
SHORT = 1.0  # seconds; shorter steps are repeated
SMALL = 100_000  # rows; fewer do not count for the exponent
RATE = 0.3


def main() -> None:
    """Measure every size, print the table and, with --out, write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", type=int, default=ROWS)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--again", type=int, default=5, help="repeats of a short step")
    parser.add_argument("--cleanlab", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, help="CSV to write")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.one, arguments.classes, arguments.again, arguments.cleanlab)
        return
    found = pd.concat([in_a_process(rows, arguments) for rows in arguments.rows])
    table = tabulate(found)
    print(
        f"{arguments.classes} classes; {platform.machine()}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, pandas {pd.__version__}"
    )
    print(table.to_string(index=False))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(arguments.out, index=False)


def in_a_process(rows: int, arguments: argparse.Namespace) -> pd.DataFrame:
    """Return the steps of one size: step, rows, seconds, megabytes."""
    command = [sys.executable, __file__, "--one", str(rows), "--classes", str(arguments.classes)]
    command += ["--again", str(arguments.again)]
    command += [] if arguments.cleanlab else ["--no-cleanlab"]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | threads
    )
    return pd.DataFrame([json.loads(line) for line in done.stdout.splitlines()])


def tabulate(found: pd.DataFrame) -> pd.DataFrame:
    """Return one row per step: time and memory at every size, and the growth exponent."""
    table = pd.DataFrame({"step": found["step"].unique()})
    for name, digits in (("seconds", 4), ("MB", 0)):
        wide = found.pivot_table(name, "step", "rows", sort=False)
        for rows in wide:
            table[f"{name}, {rows:.0e}".replace("e+0", "e")] = (
                table["step"].map(wide[rows]).round(digits)
            )
    largest = found[found["rows"] == found["rows"].max()].set_index("step")
    table["system"] = table["step"].map(largest["system"]).round(3)
    seconds = found[found["rows"] >= SMALL].pivot_table("seconds", "step", "rows", sort=False)
    if seconds.shape[1] > 1:
        at = np.log(seconds.columns.to_numpy(float))
        known = seconds[seconds > 0].dropna()  # less than the clock can tell is 0
        slope = {step: np.polyfit(at, np.log(row), 1)[0] for step, row in known.iterrows()}
        table["exponent"] = table["step"].map(slope).round(3)
    return table


# -- one size -----------------------------------------------------------------------------------


def measure(rows: int, classes: int, again: int, cleanlab: bool) -> None:
    """Print a line of JSON per step."""
    warnings.simplefilter("ignore")
    timer = Timer(rows, again)
    with tempfile.TemporaryDirectory() as folder:
        probs, given, truth = data(rows, classes, Path(folder))
        timer("flags (confident learning)", lambda: estimation.confident_issues(probs, given))
        if cleanlab:
            compare(timer, probs, given)
        noise = judge(timer, probs, given)
        table = labelled(timer, given)
        inside = rows - rows // 20
        args = (probs[:inside], np.empty(0, bool), noise, ScoringSpec(), Policy())
        repaired = timer("repaired table, checked", lambda: repair_table(table, *args))
        timer("hash", lambda: data_hash(repaired))
        differences(timer, table, repaired, classes)
        report(timer, repaired, truth, noise, inside)
        file = Path(folder) / "repaired.parquet"
        timer("write Parquet", lambda: repaired.to_parquet(file, index=False))
        timer("read Parquet", lambda: pd.read_parquet(file))


def judge(timer: "Timer", probs: np.ndarray, given: np.ndarray) -> estimation.NoiseEstimate:
    """Estimate the noise, score the labels, decide."""
    spec, rng = estimation.EstimationSpec(), np.random.default_rng(0)
    noise = timer(
        "estimate T with intervals", lambda: estimation.estimate_noise(probs, given, spec, rng)
    )
    scores = timer("score", lambda: score(probs, given, noise.transition))
    timer("policy (relabel, drop, review)", lambda: apply_policy(scores, given, Policy()))
    return noise


def labelled(timer: "Timer", given: np.ndarray) -> pd.DataFrame:
    """Make the label table; the last twentieth of the rows is the test split."""
    rows = len(given)
    ids = pd.array([f"sample-{row:09d}" for row in range(rows)], dtype="str")
    split = np.where(np.arange(rows) < rows - rows // 20, "train", "test")
    return timer("make table", lambda: make_label_table(ids, given, split, ids))


def differences(timer: "Timer", table: pd.DataFrame, repaired: pd.DataFrame, classes: int) -> None:
    """Compare the table with the repaired one."""
    patch = timer("diff", lambda: label_diff.diff(table, repaired))
    timer("diff in numbers", lambda: (label_diff.counts(patch), label_diff.flow(patch, classes)))
    names = [str(label) for label in range(classes)]
    timer("changes for git", lambda: label_diff.label_changes(repaired, names))


def report(
    timer: "Timer",
    repaired: pd.DataFrame,
    truth: np.ndarray,
    noise: estimation.NoiseEstimate,
    inside: int,
) -> None:
    """Measure the repair against the truth."""
    known = pd.DataFrame({"sample_id": repaired["sample_id"], "true_label": truth})
    history = pd.DataFrame({"stage": ["train"], "epoch": [0], "loss": [1.0]})
    used = np.packbits(np.ones((1, 1, inside), bool), axis=2)
    args = (noise_to_dict(noise), history, used, len(noise.transition))
    timer("report tables", lambda: evaluation.evaluate(repaired, known, *args))


def data(rows: int, classes: int, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities (a memory map of float32), given labels and true labels."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, rows)
    wrong = rng.random(rows) < RATE
    given = np.where(wrong, rng.integers(0, classes, rows), truth)
    file = folder / "probs.npy"
    probs = np.lib.format.open_memmap(file, "w+", np.float32, (rows, classes))
    step = max(1, 2_000_000 // classes)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        logits = rng.normal(size=(len(truth[part]), classes)).astype(np.float32)
        logits[np.arange(len(logits)), truth[part]] += 4.0 + np.log(classes / 10)
        powers = np.exp(logits)
        probs[part] = powers / powers.sum(1, keepdims=True)
    probs.flush()
    return np.load(file, mmap_mode="r"), given, truth


def compare(timer: "Timer", probs: np.ndarray, given: np.ndarray) -> None:
    """Time cleanlab and ours on the same array in memory; the flags must be the same."""
    from cleanlab.filter import find_label_issues  # noqa: PLC0415

    loaded = np.array(probs, dtype=np.float64)
    how: dict[str, Any] = {"filter_by": "confident_learning", "n_jobs": 1}
    theirs = timer("cleanlab's find_label_issues", lambda: find_label_issues(given, loaded, **how))
    ours = timer("flags, same array", lambda: estimation.confident_issues(loaded, given))
    if not np.array_equal(theirs, ours):
        raise SystemExit(f"{(theirs != ours).sum()} flags differ from cleanlab's")


class Timer:
    """Times a step and watches the memory while it runs."""

    def __init__(self, rows: int, again: int) -> None:
        self.rows, self.again = rows, again

    def __call__(self, step: str, work: Callable[[], Any]) -> Any:
        before = memory("VmRSS")
        forget_peak()
        result, *best = timed(work)
        grown = memory("VmHWM") - before
        if best[0] < SHORT:
            best = min([best, *(list(timed(work)[1:]) for _ in range(self.again - 1))])
        line = {"step": step, "rows": self.rows, "seconds": best[0], "system": best[1]}
        print(json.dumps(line | {"MB": max(grown, 0) / 1e6}), flush=True)
        return result


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result, and the seconds in the program and in the kernel."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return result, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime


def forget_peak() -> None:
    """Let the kernel's peak start again (Linux; elsewhere memory reads 0)."""
    if os.path.exists("/proc/self/clear_refs"):
        Path("/proc/self/clear_refs").write_text("5")


def memory(field: str) -> float:
    """Return bytes; file pages that are only mapped do not count."""
    if not os.path.exists("/proc/self/status"):
        return 0.0
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
