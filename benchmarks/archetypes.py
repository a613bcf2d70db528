"""Run one preset after the other on one data set and tabulate what `kedro run` measured.

    python benchmarks/archetypes.py --data-root FOLDER --out FOLDER [--dataset mnist]
        [--seeds 0 1 ...] [--again] [PRESET ...]

PRESET is a preset's name, perhaps followed by +PARAMETER=VALUE.

Resumable: a preset whose metrics exist is not run again, an interrupted one goes on from its
checkpoint. --again scores, repairs and evaluates finished trainings with the present code. The
table goes to docs/results/archetypes_DATASET.csv.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

PROJECT = Path(__file__).parents[1]
# A preset, perhaps with parameters that differ from it: NLNL's 3,120 epochs are cut to a tenth.
PRESETS = (
    "jocor_mnist",
    "cross_entropy_mnist",
    "forward_mnist",
    "backward_mnist",
    "lq_mnist",
    "mae_mnist",
    "truncated_lq_mnist",
    "joint_optimization_mnist",
    "nlnl_mnist_mlp+recipe.training.budget=0.1",
)
COLUMNS = {
    "test.accuracy_last": "test accuracy, last epoch",
    "test.accuracy_last10": "test accuracy, last 10",
    "test.accuracy_best_noisy_val": "test accuracy, best noisy validation",
    "labels.given_accuracy": "given labels right",
    "labels.repaired_accuracy": "repaired labels right",
    "labels.kept_share": "rows kept",
    "recovery.accuracy": "recovery accuracy",
    "detect.f1": "issue detection F1",
    "detect.average_precision": "issue detection AP",
    "noise.rate_estimated": "noise rate, estimated",
    "noise.rate_actual": "noise rate, actual",
    "noise.transition_mean_absolute_error": "T, mean absolute error",
}
# Where samples of no class are among the data (--dataset mnist_open_set).
OPEN_SET = {
    "open_set.rows": "samples of no class",
    "open_set.flagged": "of these, flagged",
    "open_set.removed": "of these, dropped or sent to review",
    "open_set.share_of_removed": "share of them among what was removed",
}


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=PRESETS)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--seeds", nargs="*", default=[0], type=int)
    parser.add_argument("--again", action="store_true")
    arguments = parser.parse_args()
    cells = [(preset, seed) for preset in arguments.presets for seed in arguments.seeds]
    for preset, seed in cells:
        run(preset, seed, arguments)
    table = pd.DataFrame([row(preset, seed, arguments) for preset, seed in cells])
    target = PROJECT / "docs" / "results" / f"archetypes_{arguments.dataset}.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # what other calls have measured stays
        old = pd.read_csv(target)
        others = ~pd.MultiIndex.from_frame(old[["preset", "seed"]]).isin(cells)
        table = pd.concat([old[others], table], ignore_index=True)
    table.to_csv(target, index=False, float_format="%.4f")
    print(table.to_string(index=False))


def place(preset: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Return the workspace of one preset."""
    name = preset.replace("+", "_").replace("=", "_")
    return (arguments.out / f"{arguments.dataset}_{name}_seed{seed}").resolve()


def run(preset: str, seed: int, arguments: argparse.Namespace) -> None:
    """Run one preset unless its metrics are there."""
    workspace = place(preset, seed, arguments)
    finished = (workspace / "seconds.json").exists()
    if finished and not arguments.again:
        return
    name, *changes = preset.split("+")
    choices = {
        "preset": name,
        "dataset": arguments.dataset,
        "seed": seed,
        "data_root": Path(arguments.data_root).resolve(),
        "workspace": workspace,
    }
    params = ",".join([*(f"{key}={value}" for key, value in choices.items()), *changes])
    started = time.perf_counter()
    kedro = Path(sys.executable).with_name("kedro")
    pipelines = ["--pipelines", "repair,evaluation"] if finished else []
    subprocess.run([kedro, "run", *pipelines, "--params", params], cwd=PROJECT, check=True)
    if finished:
        return
    facts = {
        "seconds": time.perf_counter() - started,
        "revision": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    (workspace / "seconds.json").write_text(json.dumps(facts))


def row(preset: str, seed: int, arguments: argparse.Namespace) -> dict[str, object]:
    """Return one row of the table."""
    workspace = place(preset, seed, arguments)
    metrics = json.loads((workspace / "08_reporting" / "metrics.json").read_text())
    facts = json.loads((workspace / "seconds.json").read_text())
    values = {label: metrics.get(key) for key, label in COLUMNS.items()}
    values |= {label: metrics[key] for key, label in OPEN_SET.items() if key in metrics}
    wall = round(facts["seconds"])
    return {
        "preset": preset,
        "seed": seed,
        **values,
        "wall seconds": wall,
        "revision": facts["revision"],
    }


if __name__ == "__main__":
    main()
