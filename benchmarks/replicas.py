"""How much faster S seeds train at once than one after the other.

    python benchmarks/replicas.py [--seeds S] [--device cuda] [--out FILE]

JoCoR (two networks a seed) on random pictures: small ones as scikit-learn's digits with a small
network, and MNIST's size with its MLP. Seconds of an epoch of all seeds, the best of several; CPU
seconds of one thread on a CPU, else wall time. Results are compared as well: the largest
difference of any probability after these epochs.
"""

import argparse
import platform
import time
from pathlib import Path

import pandas as pd
import torch

from labelrepair import methods
from labelrepair.config import from_dict
from labelrepair.estimation import NoiseEstimate
from labelrepair.networks import build
from labelrepair.noise import symmetric
from labelrepair.training import TrainingConfig, TrainSet, train, train_replicas

CLASSES, RATE, EPOCHS = 10, 0.3, 4
SETTINGS = {
    "digits, 64-64-10": (1_400, (1, 8, 8), 64),
    "MNIST, 784-256-10": (6_000, (1, 28, 28), 256),
}


def main() -> None:
    """Measure, print, and with --out write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--again", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(name, arguments) for name in SETTINGS]
    table = pd.DataFrame(rows)
    place = torch.cuda.get_device_name() if arguments.device == "cuda" else platform.machine()
    print(f"{place}, torch {torch.__version__}, {arguments.seeds} seeds of JoCoR")
    print(table.to_string(index=False))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(arguments.out, index=False)


def measure(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Return seconds of an epoch, apart and together, and how far the results are apart."""
    count, shape, hidden = SETTINGS[name]
    draws = torch.Generator().manual_seed(0)
    features = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=draws)
    labels = torch.randint(0, CLASSES, (count,), generator=draws)
    data = TrainSet(features, labels, CLASSES, torch.arange(count), torch.arange(0))
    settings = {"batch_size": 128, "drop_last": True, "device": arguments.device, "threads": 1}
    config = from_dict(TrainingConfig, settings | {"schedule": {"epochs": EPOCHS, "lr": 0.001}})
    prior = torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64).numpy()
    noise = NoiseEstimate(symmetric(CLASSES, RATE), RATE, (RATE, RATE), "known", prior)
    seeds = range(arguments.seeds)
    plans = [methods.plan("jocor", {}, config, noise) for _ in seeds]

    def make() -> torch.nn.Module:
        return build("mlp", shape, CLASSES, hidden=(hidden,))

    def apart() -> list[torch.Tensor]:
        return [
            train(data, plan, make, config, seed=seed, progress=False).probs
            for plan, seed in zip(plans, seeds, strict=True)
        ]

    def together() -> list[torch.Tensor]:
        found = train_replicas([data] * len(seeds), plans, make, config, seeds=list(seeds))
        return [result.probs for result in found]

    clock = time.perf_counter if arguments.device == "cuda" else time.process_time
    best = dict.fromkeys((apart, together), float("inf"))
    probs = {}
    for _ in range(arguments.again):
        for way in best:
            started = clock()
            probs[way] = torch.stack(way())
            best[way] = min(best[way], (clock() - started) / EPOCHS)
    return {
        "data and network": name,
        "apart (ms)": round(1000 * best[apart], 1),
        "together (ms)": round(1000 * best[together], 1),
        "speed-up": round(best[apart] / best[together], 2),
        "largest difference": f"{float((probs[apart] - probs[together]).abs().max()):.0e}",
    }


if __name__ == "__main__":
    main()
