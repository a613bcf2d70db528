"""What an epoch of each method costs, relative to cross entropy on the same network.

    python benchmarks/methods.py [--rows N] [--again N] [--only METHOD ...] [--network NAME]
        [--out FILE]

"cost" is relative to a cross entropy with the method's own network, optimizer and batches; beside
it "theory", what it should cost: the rows that went through networks, a forward pass counted as 1
and a forward and backward pass as 3, counted while the method trained. "over" is the first by the
second: what the method itself adds (losses, selection, book-keeping). CPU seconds of one thread
on random pictures of MNIST's size and its MLP, or another network. A cost is the median over turns
in which the method and its cross entropy train one right after the other, twice each: a machine
whose speed changes from minute to minute changes both.
"""

import argparse
import platform
import time
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from labelrepair import methods
from labelrepair.config import from_dict
from labelrepair.estimation import NoiseEstimate
from labelrepair.networks import build
from labelrepair.noise import symmetric
from labelrepair.training import TrainingConfig, TrainSet, train

CLASSES, RATE, EPOCHS, BATCH = 10, 0.3, 8, 128
NOISE = NoiseEstimate(
    symmetric(CLASSES, RATE), RATE, (RATE, RATE), "given", np.full(CLASSES, 1 / CLASSES)
)
# A budget would also bring the epochs between two detections down to one: the recipe's first ones.
WHOLE = {"iterative_open_set": 22}


class Counted(nn.Module):
    """Counts the rows that pass, with and without a backward pass to come."""

    rows: ClassVar[dict[bool, int]] = {True: 0, False: 0}

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, features: Tensor) -> Tensor:
        self.rows[torch.is_grad_enabled()] += len(features)
        return self.inner(features)


def main() -> None:
    """Measure all methods in turn, print, and with --out write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--again", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], help="these methods instead of all")
    parser.add_argument("--network", default="mlp")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    data = pictures(arguments.rows)
    names = [name for name in arguments.only or methods.available() if name != "auto"]
    network = arguments.network
    pair("cross_entropy", data, network)  # torch imports its compiler at the first step
    turns = [[pair(name, data, network) for name in names] for _ in range(arguments.again)]
    # (turns, names, method and base, seconds and units)
    found = np.array(turns)
    seconds, units = found[..., 0], found[0, ..., 1]
    ratios = seconds[..., 0] / seconds[..., 1]
    cost, theory = np.median(ratios, 0), units[:, 0] / units[:, 1]
    low, high = np.quantile(ratios / theory, (0.25, 0.75), 0)
    table = pd.DataFrame(
        {
            "method": names,
            "ms per epoch": (1000 * seconds[..., 0].min(0)).round(1),
            "cost": cost.round(2),
            "theory": theory.round(2),
            "over": (cost / theory).round(2),
            "half of the turns": [f"{a:.2f} to {b:.2f}" for a, b in zip(low, high, strict=True)],
        }
    )
    print(
        f"{platform.machine()}, torch {torch.__version__}, one thread, {arguments.rows} rows, "
        f"{network}"
    )
    print(table.to_string(index=False))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(arguments.out, index=False)


def pictures(rows: int) -> TrainSet:
    """Return pictures of random greys, brighter where their class says, under noisy labels."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, rows)
    images = rng.integers(0, 120, (rows, 1, 28, 28), dtype=np.uint8)
    for label in range(CLASSES):
        images[truth == label, :, 2 * label : 2 * label + 4] += 100
    given = np.where(rng.random(rows) < RATE, rng.integers(0, CLASSES, rows), truth)
    order = torch.from_numpy(rng.permutation(rows))
    cut = rows // 10
    return TrainSet(
        torch.from_numpy(images), torch.from_numpy(given), CLASSES, order[cut:], order[:cut]
    )


def pair(
    name: str, data: TrainSet, network: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return what an epoch of a method takes, and one of cross entropy under its settings."""
    method = methods.load(name)
    loop = {**method.TRAINING, "batch_size": BATCH, "device": "cpu"}
    whole = methods.plan(name, {}, from_dict(TrainingConfig, loop), NOISE)
    budget = {"budget": EPOCHS / sum(stage.schedule.epochs for stage in whole)}
    plain = {"schedule": {"epochs": EPOCHS, "lr": 0.001}}
    own = {"schedule": {"epochs": WHOLE[name], "lr": 0.001}} if name in WHOLE else budget
    turns = [
        (
            epoch(name, data, loop | own, network),
            epoch("cross_entropy", data, loop | plain, network),
        )
        for _ in range(2)
    ]
    return min(mine for mine, _ in turns), min(base for _, base in turns)


def epoch(name: str, data: TrainSet, loop: dict[str, Any], network: str) -> tuple[float, float]:
    """Train a method; return CPU seconds and units of work of one of its epochs."""
    config = from_dict(TrainingConfig, loop | {"evaluate_every": 1_000})
    stages = methods.plan(name, {}, config, NOISE)
    needed = config.network.options
    Counted.rows.update({True: 0, False: 0})
    started = time.process_time()
    result = train(
        data,
        stages,
        lambda: Counted(build(network, (1, 28, 28), CLASSES, **needed)),
        config,
        seed=0,
        progress=False,
    )
    seconds, epochs = time.process_time() - started, len(result.history)
    return seconds / epochs, (3 * Counted.rows[True] + Counted.rows[False]) / epochs


if __name__ == "__main__":
    main()
