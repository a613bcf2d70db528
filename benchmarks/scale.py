"""What 1 million, 100 million and 10 billion rows take, from what was measured.

    python benchmarks/scale.py              # write the plan into docs/scale.md
    python benchmarks/scale.py --measure    # measure again first (minutes)

Measured, in CPU seconds of one thread: a training epoch in one process, and the same epoch as two
gloo ranks make it (what both spend, by what one spends). Read: seconds and memory of the work on
label tables, from docs/performance.md. Everything else is arithmetic with the assumptions below.
"""

import argparse
import json
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelrepair import methods
from labelrepair.config import from_dict
from labelrepair.estimation import NoiseEstimate
from labelrepair.networks import build
from labelrepair.noise import symmetric
from labelrepair.training import Distributed, TrainingConfig, TrainSet, launch, train

ROOT = Path(__file__).parents[1]
MEASURED, PERFORMANCE = ROOT / "docs/results/scale.json", ROOT / "docs/performance.md"
PAGE = ROOT / "docs/scale.md"
BEGIN, END = "<!-- plan: written by benchmarks/scale.py -->\n", "<!-- end of the plan -->\n"
CLASSES, RATE = 10, 0.2
# name: method, network, shape of a row, rows and batch of the measurement
CASES: dict[str, tuple[str, str, tuple[int, ...], int, int]] = {
    "JoCoR, two MLPs 784-256-10": ("jocor", "mlp", (1, 28, 28), 20_480, 128),
    "the same, batches of 1,024": ("jocor", "mlp", (1, 28, 28), 20_480, 1024),
    "cross entropy, ResNet-18, 32x32": ("cross_entropy", "resnet18", (3, 32, 32), 256, 128),
}
SMALL, LARGE = "the same, batches of 1,024", "cross entropy, ResNet-18, 32x32"
NETWORKS = {SMALL: 2, LARGE: 1}
# Assumptions of the plan; docs/scale.md states them.
SIZES = {"1 million": 10**6, "100 million": 10**8, "10 billion": 10**10}
EPOCHS = 20
LARGEST, SAMPLE = 10**9, 10**8  # beyond so many rows it is learned from so many
CORES, MEMORY = 64, 256  # of a machine; GiB
PIXELS = 784  # bytes of a row
FOLDS = 5
LOOKS = FOLDS * 0.8 * (8 + 24)  # epochs of a network in probe and second look
FORWARD = 1 / 3  # of a training pass
SIGNS, SIGN_BYTES = 0.3, 33  # share of rows with a sign of a wrong label; bytes of each


def main() -> None:
    """Measure, if asked to, and write the plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--again", type=int, default=3)
    arguments = parser.parse_args()
    found = (
        measure(arguments.again) if arguments.measure else json.loads(MEASURED.read_text("utf-8"))
    )
    found["label_tables"] = dict(zip(("seconds", "megabytes"), table_costs(), strict=True))
    MEASURED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + BEGIN + plan() + END + rest.partition(END)[2], encoding="utf-8")
    print(plan())


# -- measuring -------------------------------------------------------------------------------------


def measure(again: int) -> dict[str, Any]:
    """Return CPU seconds per row and epoch, alone and summed over two ranks."""
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parent))  # where the ranks find this module
    found = {}
    for name in CASES:
        alone = min(epoch_seconds(name) for _ in range(again))
        two = Distributed(processes=2, backend="gloo")
        job = {"name": name, "again": again}
        both = launch.run("scale:in_rank", job, two)["seconds"]
        rows = CASES[name][3]
        found[name] = {"seconds_per_row": alone / rows, "two_ranks_by_one": both / alone}
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    return {"cases": found, **machine}


def in_rank(content: launch.Content, ranks: Any) -> launch.Content:
    """Return the CPU seconds of an epoch, summed over ranks, the best of several."""
    torch.set_num_threads(1)
    best = math.inf
    for _ in range(content["again"]):
        spent = torch.tensor([epoch_seconds(content["name"], ranks)], dtype=torch.float64)
        best = min(best, float(ranks.add(spent)))
    return {"seconds": best}


def epoch_seconds(name: str, ranks: Any = None) -> float:
    """Train three epochs on random rows; return the CPU seconds of the cheaper of the last two."""
    method, network, shape, rows, batch = CASES[name]
    config = from_dict(
        TrainingConfig,
        {"schedule": {"epochs": 3}, "batch_size": batch, "device": "cpu", "threads": 1},
    )
    noise = NoiseEstimate(
        symmetric(CLASSES, RATE), RATE, (RATE, RATE), "given", np.full(CLASSES, 0.1), rows=rows
    )
    draws = torch.Generator().manual_seed(0)
    features = torch.randint(0, 256, (rows, *shape), dtype=torch.uint8, generator=draws)
    labels = torch.randint(0, CLASSES, (rows,), generator=draws)
    data = TrainSet(features, labels, CLASSES, torch.arange(rows), torch.arange(0))
    (stage,) = methods.plan(method, {}, config, noise)
    clock: list[float] = []

    def tick(_run: Any) -> None:
        clock.append(time.process_time())

    watched = type(stage)(**{**vars(stage), "before_epoch": tick, "after_epoch": tick})
    train(
        data,
        [watched],
        lambda: build(network, shape, CLASSES),
        config,
        seed=0,
        progress=False,
        ranks=ranks,
    )
    return min(clock[i + 1] - clock[i] for i in (2, 4))


# -- planning --------------------------------------------------------------------------------------


def plan() -> str:
    """Return the tables, Markdown."""
    found = json.loads(MEASURED.read_text(encoding="utf-8"))
    cases, tables = found["cases"], found["label_tables"]
    lines = [
        "| one epoch, CPU of one core | rows a second | two gloo ranks together, by one |",
        "|---|---|---|",
        *(
            f"| {name} | {1 / case['seconds_per_row']:,.0f} | {case['two_ranks_by_one']:.2f} |"
            for name, case in cases.items()
        ),
        "",
        "| | " + " | ".join(SIZES) + " |",
        "|---|" + "---|" * len(SIZES),
    ]
    for name, of in quantities(cases, **tables).items():
        lines.append(f"| {name} | " + " | ".join(of(rows) for rows in SIZES.values()) + " |")
    return "\n".join(lines) + "\n"


def quantities(cases: Any, seconds: float, megabytes: float) -> dict[str, Any]:
    """Return name -> text for a number of rows."""

    def learned(rows: int) -> int:
        return rows if rows <= LARGEST else SAMPLE

    def machines(rows: int) -> int:
        return max(1, math.ceil(rows * PIXELS / 2**30 / MEMORY))

    def training(rows: int, name: str) -> str:
        """Epochs of all ranks, and one look at the rows that were not learned from."""
        case = cases[name]
        passes = learned(rows) * EPOCHS + (rows - learned(rows)) * FORWARD
        spent = passes * case["seconds_per_row"] * max(1.0, case["two_ranks_by_one"])
        return hours(spent / (CORES * machines(rows)))

    def looks(rows: int, name: str) -> str:
        """Estimation and second look, a core for each fold."""
        spent = learned(rows) * LOOKS * cases[name]["seconds_per_row"] / NETWORKS[name]
        return hours(spent / FOLDS)

    return {
        "rows learned from": lambda n: f"{learned(n):,}",
        "features, 784 bytes a row": lambda n: size(n * PIXELS / 2**30),
        "features, 3x224x224": lambda n: size(n * 3 * 224 * 224 / 2**30),
        "state of each rank": lambda n: size(learned(n) * (CLASSES * 4 + 18) / 2**30),
        "the same with 10 epochs' history": lambda n: size(
            learned(n) * (CLASSES * 44 + 18) / 2**30
        ),
        f"machines ({CORES} cores, {MEMORY} GiB)": lambda n: f"{machines(n)}",
        "training, two MLPs, all cores": lambda n: training(n, SMALL),
        "training, ResNet-18 at 32x32, all cores": lambda n: training(n, LARGE),
        "estimation and second look, MLP, five cores": lambda n: looks(n, SMALL),
        "the same, ResNet-18": lambda n: looks(n, LARGE),
        "label table, one process: peak": lambda n: size(n / 1e7 * megabytes / 1024),
        "label table, one process: time": lambda n: hours(n / 1e7 * seconds),
        "repair on Ray: memory of the driver": lambda n: size(n * SIGNS * SIGN_BYTES / 2**30),
    }


def hours(seconds: float) -> str:
    """Return a duration with its unit."""
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:,.0f} days"
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:,.0f} min" if seconds >= 60 else f"{seconds:,.0f} s"


def size(gibibytes: float) -> str:
    """Return a size with its unit."""
    if gibibytes >= 1024:
        return f"{gibibytes / 1024:,.1f} TiB"
    return f"{gibibytes:,.1f} GiB" if gibibytes >= 1 else f"{gibibytes * 1024:,.0f} MiB"


def table_costs() -> tuple[float, float]:
    """Return seconds of all steps at 10^7 rows, kernel included, and the largest step's MB there.

    Read from performance.md, whose cells may hold several numbers; the last is that of 10^7 rows.
    """
    text = PERFORMANCE.read_text(encoding="utf-8").partition("## Label tables")[2]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    header, end = lines[0], [line[0] for line in lines[1:]].index("step") + 1
    ours = [
        dict(zip(header, (cell.removesuffix(" s").split(", ")[-1] for cell in line), strict=True))
        for line in lines[1:end]
        if not line[0].startswith(("cleanlab", "the same flags"))
    ]
    memory = next(name for name in header if name.startswith("MB"))
    seconds = sum(float(row["10^7"]) + float(row["kernel at 10^7"]) for row in ours)
    return seconds, max(float(row[memory].replace(",", "")) for row in ours)


if __name__ == "__main__":
    main()
