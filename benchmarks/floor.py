"""One JoCoR epoch on MNIST against its bare floor, and against the authors' script.

    python benchmarks/floor.py --data-root FOLDER [--script FOLDER] [--again N] [--out FILE]

Two networks 784-256-10, batches of 128, the evaluation of both on the test split included. The
floor does the same forward passes, losses, backward passes and optimizer steps on one batch that is
already there: no data, no metrics, no evaluation. All take turns in one process with one thread;
figures are the best CPU seconds of an epoch.

--script: a checkout of github.com/hongxin001/JoCoR, the authors' repository, whose main.py runs
in a process of its own on the same rows (see HARNESS). Nothing is fetched; without it this part is
left out.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    train,
)
from labelrepair.training.optimizer import build_optimizer

RATE, BATCH = 0.2, 128
OPTIONS = {"noise_rate": RATE, "co_lambda": 0.9}


def main() -> None:
    """Measure, print, and with --out write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--script", type=Path, help="checkout of the authors' JoCoR")
    parser.add_argument("--workers", type=int, default=0, help="of the script's loader")
    parser.add_argument("--threads", type=int, default=1, help="of ours and of the script")
    parser.add_argument("--again", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data, test = mnist(arguments.data_root)
    loops, clocks, floors, looks = [], [], [], []
    for _ in range(arguments.again):
        seconds, clock = epoch_seconds(data, test)
        loops.append(seconds)
        clocks.append(clock)
        floors.append(floor_seconds(data))
        looks.append(evaluation_seconds(test))
    figures = {
        "epoch": min(loops),
        "epoch, by the clock": min(clocks),
        "floor": min(floors),
        "evaluation alone": min(looks),
        "epoch / floor": min(loops) / min(floors),
        "epoch without evaluation / floor": (min(loops) - min(looks)) / min(floors),
    }
    if arguments.script is None:
        print("the authors' script: left out; --script FOLDER names a checkout of it")
    else:
        theirs, wall = script_seconds(data, test, arguments)
        figures |= {
            "script, epoch": theirs,
            "script, epoch, by the clock": wall,
            "script / epoch": theirs / min(loops),
            "script / epoch, by the clock": wall / min(clocks),
        }
    figures |= {"machine": platform.processor() or platform.machine(), "torch": torch.__version__}
    for name, value in figures.items():
        print(f"{name:34} {value:.3f}" if isinstance(value, float) else f"{name:34} {value}")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


def mnist(root: str) -> tuple[TrainSet, Holdout]:
    """Return the training rows with symmetric noise, and the test split."""
    samples = read_source(SourceSpec("torchvision", name="MNIST", root=root))
    is_test = samples.splits == "test"
    given = inject(samples.labels[~is_test], symmetric(10, RATE), np.random.default_rng(0))
    rows = torch.arange(len(given))
    data = TrainSet(
        torch.from_numpy(samples.features[~is_test]), torch.from_numpy(given), 10, rows, rows[:0]
    )
    test = torch.from_numpy(samples.features[is_test]), torch.from_numpy(samples.labels[is_test])
    return data, Holdout(*test)


def config(epochs: int) -> TrainingConfig:
    """Return JoCoR's settings on MNIST."""
    return TrainingConfig(
        schedule=Schedule(epochs=epochs), batch_size=BATCH, drop_last=True, device="cpu"
    )


def stage(epochs: int) -> Stage:
    """Return JoCoR's one stage."""
    noise = NoiseEstimate(symmetric(10, RATE), RATE, (RATE, RATE), "given", np.full(10, 0.1))
    return methods.plan("jocor", OPTIONS, config(epochs), noise)[0]


def network() -> torch.nn.Module:
    """Return one fresh network."""
    return build("mlp", (1, 28, 28), 10)


def epoch_seconds(data: TrainSet, test: Holdout) -> tuple[float, float]:
    """Return an epoch's CPU and wall seconds: three epochs less one, to leave the start out."""
    spent = []
    for epochs in (1, 3):
        started, clock = time.process_time(), time.perf_counter()
        train(data, [stage(epochs)], network, config(epochs), seed=0, test=test, progress=False)
        spent.append((time.process_time() - started, time.perf_counter() - clock))
    return (spent[1][0] - spent[0][0]) / 2, (spent[1][1] - spent[0][1]) / 2


def floor_seconds(data: TrainSet) -> float:
    """Return the seconds of the same steps on one batch."""
    networks = torch.nn.ModuleList([network(), network()])
    optimizer = build_optimizer(networks, config(1).optimizer, 0.001)
    plan = stage(1)
    batch = Batch(torch.arange(BATCH), data.features[:BATCH] / 255.0, data.given_labels[:BATCH])
    run = Run(data, config(1), None, networks, None, plan, None)  # type: ignore[arg-type]
    started = time.process_time()
    for _ in range(len(data.train_rows) // BATCH):
        logits = torch.stack([one(batch.features) for one in networks])
        step = plan.step(logits, batch, run)
        optimizer.zero_grad(set_to_none=True)
        step.loss.backward()
        optimizer.step()
    return time.process_time() - started


def evaluation_seconds(test: Holdout) -> float:
    """Return the seconds of both networks' forward passes over the test split."""
    networks = [network().eval(), network().eval()]
    started = time.process_time()
    with torch.no_grad():
        for part in torch.split(test.features, 2048):
            inputs = part.float() / 255.0
            for one in networks:
                (one(inputs).argmax(1) == 0).sum()
    return time.process_time() - started


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
runpy.run_path(os.path.join(script, "main.py"), run_name="__main__")
"""


def script_seconds(
    data: TrainSet, test: Holdout, arguments: argparse.Namespace
) -> tuple[float, ...]:
    """Return CPU and wall seconds of an epoch of the authors' script."""
    options = ["--noise_type", "symmetric", "--noise_rate", str(RATE), "--n_epoch", "2"]
    options += ["--num_gradual", "2", "--num_iter_per_epoch", str(len(data.train_rows) // BATCH)]
    options += ["--num_workers", str(arguments.workers), "--print_freq", "1000"]
    with tempfile.TemporaryDirectory() as folder:
        files = (
            Path(folder) / "data" / "processed"
        )  # where their data set looks before it downloads
        files.mkdir(parents=True)
        torch.save((data.features[:, 0], data.given_labels), files / "training.pt")
        torch.save((test.features[:, 0], test.labels), files / "test.pt")
        command = [sys.executable, "-c", HARNESS, str(arguments.script.resolve())]
        command += [str(arguments.threads), *options]
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("TOOK")]
    if not found:
        raise SystemExit(f"the authors' script failed:\n{done.stderr[-2000:]}")
    return tuple(map(float, found[0]))


if __name__ == "__main__":
    main()
