"""One JoCoR epoch against its bare floor, and against the authors' script.

    python benchmarks/floor.py --data-root FOLDER [--script FOLDER] [--again N] [--out FILE]
    python benchmarks/floor.py --recipe cifar10 --device cuda [--script FOLDER] ...

Recipe mnist: two networks 784-256-10 on MNIST; cifar10: two 7-layer CNNs on random pictures of that
size (what they show does not change what a step costs). Batches of 128, the evaluation of both
networks on the test split included. The floor does the same forward passes, losses, backward passes
and optimizer steps on one batch that is already there: no data, no metrics, no evaluation. All take
turns in one process; figures are the best seconds of an epoch, of CPU time and of the clock.

--script: a checkout of github.com/hongxin001/JoCoR, the authors' repository, whose main.py runs
in a process of its own on as many rows (see HARNESS). Nothing is fetched; without it this part is
left out.
"""

import argparse
import json
import pickle
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelrepair import methods
from labelrepair.data import SourceSpec, read_source
from labelrepair.estimation import NoiseEstimate
from labelrepair.networks import build
from labelrepair.noise import inject, symmetric
from labelrepair.training import (
    Batch,
    Holdout,
    Run,
    Schedule,
    Stage,
    TrainingConfig,
    TrainSet,
    choose_device,
    train,
)
from labelrepair.training.device import autocast, layout
from labelrepair.training.optimizer import build_optimizer

RATE, BATCH = 0.2, 128
OPTIONS = {"noise_rate": RATE, "co_lambda": 0.9}


@dataclass(frozen=True)
class Recipe:
    """What is trained, and for how many epochs the authors train it."""

    network: str
    shape: tuple[int, ...]
    rows: int
    test_rows: int = 10_000
    epochs: int = 200


RECIPES = {
    "mnist": Recipe("mlp", (1, 28, 28), 60_000),
    "cifar10": Recipe("cnn7", (3, 32, 32), 50_000),
}


def main() -> None:
    """Measure, print, and with --out write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=RECIPES, default="mnist")
    parser.add_argument("--data-root", help="folder with MNIST; without it, random pictures")
    parser.add_argument("--rows", type=int, help="train on so many rows (a try on a small machine)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--script", type=Path, help="checkout of the authors' JoCoR")
    parser.add_argument("--workers", type=int, default=0, help="of the script's loader")
    parser.add_argument("--threads", type=int, default=1, help="of ours and of the script")
    parser.add_argument("--again", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = ours(arguments)
    if arguments.script is None:
        print("the authors' script: left out; --script FOLDER names a checkout of it")
    else:
        theirs, wall = script_seconds(arguments)
        figures |= {
            "script, epoch": theirs,
            "script, epoch, by the clock": wall,
            "script / epoch": theirs / figures["epoch"],
            "script / epoch, by the clock": wall / figures["epoch, by the clock"],
        }
    device = choose_device(arguments.device)
    machine = platform.processor() or platform.machine()
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    figures |= {"machine": machine, "torch": torch.__version__}
    for name, value in figures.items():
        print(f"{name:34} {value:.3f}" if isinstance(value, float) else f"{name:34} {value}")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


def ours(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of our loop and of its floor."""
    recipe = RECIPES[arguments.recipe]
    data, test = sets(recipe, arguments)
    measured = [
        (
            epoch_seconds(recipe, data, test, arguments),
            floor_seconds(recipe, data, arguments),
            evaluation_seconds(recipe, test, arguments),
        )
        for _ in range(arguments.again)
    ]
    # By the clock where a GPU works: the CPU's seconds say little there.
    kind = 1 if choose_device(arguments.device).type == "cuda" else 0
    epoch, floor, look = (min(turn[part][kind] for turn in measured) for part in range(3))
    clock = min(turn[0][1] for turn in measured)
    return {
        "recipe": f"{arguments.recipe}, {len(data.train_rows)} rows, {arguments.precision}",
        "epoch": epoch,
        "epoch, by the clock": clock,
        f"{recipe.epochs} epochs, by the clock": recipe.epochs * clock,
        "floor": floor,
        "evaluation alone": look,
        "epoch / floor": epoch / floor,
        "epoch without evaluation / floor": (epoch - look) / floor,
    }


def sets(recipe: Recipe, arguments: argparse.Namespace) -> tuple[TrainSet, Holdout]:
    """Return training rows with symmetric noise, and a test split."""
    if arguments.data_root and arguments.recipe == "mnist":
        samples = read_source(SourceSpec("torchvision", name="MNIST", root=arguments.data_root))
        is_test = samples.splits == "test"
        parts = [torch.from_numpy(samples.features[part]) for part in (~is_test, is_test)]
        labels = [samples.labels[part] for part in (~is_test, is_test)]
    else:
        draws = np.random.default_rng(0)
        counts = (recipe.rows, recipe.test_rows)
        shapes = [(count, *recipe.shape) for count in counts]
        parts = [torch.from_numpy(draws.integers(0, 256, s, dtype=np.uint8)) for s in shapes]
        labels = [draws.integers(0, 10, count) for count in counts]
    kept = slice(arguments.rows)
    parts[0], labels[0] = parts[0][kept], labels[0][kept]
    given = inject(labels[0], symmetric(10, RATE), np.random.default_rng(0))
    rows = torch.arange(len(given))
    data = TrainSet(parts[0], torch.from_numpy(given), 10, rows, rows[:0])
    return data, Holdout(parts[1], torch.from_numpy(labels[1]))


def config(epochs: int, arguments: argparse.Namespace) -> TrainingConfig:
    """Return JoCoR's settings."""
    return TrainingConfig(
        schedule=Schedule(epochs=epochs),
        batch_size=BATCH,
        drop_last=True,
        device=arguments.device,
        precision=arguments.precision,
    )


def stage(settings: TrainingConfig) -> Stage:
    """Return JoCoR's one stage."""
    noise = NoiseEstimate(symmetric(10, RATE), RATE, (RATE, RATE), "given", np.full(10, 0.1))
    return methods.plan("jocor", OPTIONS, settings, noise)[0]


def two_networks(recipe: Recipe, settings: TrainingConfig) -> torch.nn.ModuleList:
    """Return two fresh networks where and how the loop would have them."""
    device = choose_device(settings.device)
    order = layout(settings.memory_format, settings.precision, device)
    networks = [build(recipe.network, recipe.shape, 10) for _ in range(2)]
    return torch.nn.ModuleList(networks).to(device).to(memory_format=order)


def now(device: torch.device) -> tuple[float, float]:
    """Return the seconds of CPU and clock once the device has done what it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.process_time(), time.perf_counter()


def since(begun: tuple[float, float], device: torch.device) -> tuple[float, float]:
    """Return the seconds of CPU and clock since ``begun``."""
    cpu, clock = now(device)
    return cpu - begun[0], clock - begun[1]


def epoch_seconds(
    recipe: Recipe, data: TrainSet, test: Holdout, arguments: argparse.Namespace
) -> tuple[float, float]:
    """Return an epoch's seconds: three epochs less one, to leave the start out.

    One before them warms up: what a process does once would be in the epoch that is taken off.
    """
    spent = []
    device = choose_device(arguments.device)
    for epochs in (1, 1, 3):
        settings = config(epochs, arguments)
        begun = now(device)
        train(
            data,
            [stage(settings)],
            lambda: build(recipe.network, recipe.shape, 10),
            settings,
            seed=0,
            test=test,
            progress=False,
        )
        spent.append(since(begun, device))
    _, one, three = spent
    return (three[0] - one[0]) / 2, (three[1] - one[1]) / 2


def floor_seconds(
    recipe: Recipe, data: TrainSet, arguments: argparse.Namespace
) -> tuple[float, float]:
    """Return the seconds of the same steps on one batch."""
    settings = config(1, arguments)
    device, plan = choose_device(settings.device), stage(settings)
    networks = two_networks(recipe, settings)
    optimizer = build_optimizer(networks, settings.optimizer, 0.001)
    features = (data.features[:BATCH] / 255.0).to(device)
    batch = Batch(
        torch.arange(BATCH, device=device), features, data.given_labels[:BATCH].to(device)
    )
    run = Run(data, settings, None, networks, None, plan, None)  # type: ignore[arg-type]

    def make_step() -> None:
        with autocast(settings.precision, device):
            outputs = [one(batch.features) for one in networks]
        step = plan.step(torch.stack(outputs).float(), batch, run)
        optimizer.zero_grad(set_to_none=True)
        step.loss.backward()
        optimizer.step()

    make_step()  # kernels are chosen and memory is taken now
    begun = now(device)
    for _ in range(len(data.train_rows) // BATCH):
        make_step()
    return since(begun, device)


def evaluation_seconds(
    recipe: Recipe, test: Holdout, arguments: argparse.Namespace
) -> tuple[float, float]:
    """Return the seconds of both networks' forward passes over the test split."""
    settings = config(1, arguments)
    device = choose_device(settings.device)
    networks = two_networks(recipe, settings).eval()
    features, labels = test.features.to(device), test.labels.to(device)
    begun = now(device)
    with torch.no_grad():
        for part, true in zip(torch.split(features, 2048), torch.split(labels, 2048), strict=True):
            inputs = part.float() / 255.0
            for one in networks:
                (one(inputs).argmax(1) == true).sum()
    return since(begun, device)


# -- the authors' script --------------------------------------------------------------------------

# Runs main.py as it is, from the third argument on, and prints what its first training epoch and
# the evaluation after it took: seconds of CPU (workers included) and of the clock. Their script
# needs NumPy's old aliases, and two epochs more than it needs for its last line.
HARNESS = """
import os, resource, runpy, sys, time, warnings
import numpy
warnings.simplefilter("ignore")
for alias, kind in (("int", int), ("float", float), ("bool", bool)):
    if alias not in numpy.__dict__:
        setattr(numpy, alias, kind)
script, threads, sys.argv = sys.argv[1], int(sys.argv[2]), ["main.py", *sys.argv[3:]]
sys.path.insert(0, script)
import torch
torch.set_num_threads(threads)
from algorithm.jocor import JoCoR
def now():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used), time.perf_counter()
train, evaluate, begun = JoCoR.train, JoCoR.evaluate, []
def timed_train(self, *arguments):
    begun.append(now())
    return train(self, *arguments)
def timed_evaluate(self, *arguments):
    result = evaluate(self, *arguments)
    if begun:
        print("TOOK", *(after - before for after, before in zip(now(), begun[0])), flush=True)
        os._exit(0)
    return result
JoCoR.train, JoCoR.evaluate = timed_train, timed_evaluate
import data.cifar
data.cifar.CIFAR10._check_integrity = lambda self: True  # the benchmark's own pictures
runpy.run_path(os.path.join(script, "main.py"), run_name="__main__")
"""


def script_seconds(arguments: argparse.Namespace) -> tuple[float, ...]:
    """Return CPU and wall seconds of an epoch of the authors' script."""
    # It wants all rows of a set and is told to take a part of them.
    whole = argparse.Namespace(**{**vars(arguments), "rows": None})
    data, test = sets(RECIPES[arguments.recipe], whole)
    steps = (arguments.rows or len(data.train_rows)) // BATCH
    options = ["--noise_type", "symmetric", "--noise_rate", str(RATE), "--n_epoch", "2"]
    options += ["--num_gradual", "2", "--num_iter_per_epoch", str(steps)]
    options += ["--num_workers", str(arguments.workers), "--print_freq", "1000"]
    options += ["--dataset", arguments.recipe]
    if choose_device(arguments.device).type == "cuda":
        options += ["--gpu", str(choose_device(arguments.device).index)]
    with tempfile.TemporaryDirectory() as folder:
        write_for_script(arguments.recipe, data, test, Path(folder) / "data")
        command = [sys.executable, "-c", HARNESS, str(arguments.script.resolve())]
        command += [str(arguments.threads), *options]
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("TOOK")]
    if not found:
        raise SystemExit(f"the authors' script failed:\n{done.stderr[-2000:]}")
    return tuple(map(float, found[0]))


def write_for_script(recipe: str, data: TrainSet, test: Holdout, folder: Path) -> None:
    """Write the sets where the script's data set looks before it downloads."""
    splits = ((data.features, data.given_labels), (test.features, test.labels))
    if recipe == "mnist":
        files = folder / "processed"
        files.mkdir(parents=True)
        for name, (pixels, labels) in zip(("training", "test"), splits, strict=True):
            torch.save((pixels[:, 0], labels), files / f"{name}.pt")
        return
    files = folder / "cifar-10-batches-py"
    files.mkdir(parents=True)
    names = [f"data_batch_{number}" for number in range(1, 6)]
    for these, (pixels, labels) in zip((names, ["test_batch"]), splits, strict=True):
        parts = zip(torch.chunk(pixels, len(these)), torch.chunk(labels, len(these)), strict=True)
        for name, (rows, given) in zip(these, parts, strict=True):
            content = {"data": rows.flatten(1).numpy(), "labels": given.tolist()}
            (files / name).write_bytes(pickle.dumps(content))


if __name__ == "__main__":
    main()
