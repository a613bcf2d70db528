"""Images per second of a training step, by network, batch, precision and memory format.

    python benchmarks/networks.py [--device cuda] [--networks NAME ...] [--batches N ...]
                                  [--rows N] [--again N] [--out FILE]

"bare": forward pass, cross entropy, backward pass and optimizer step on one batch that is already
there, in the loop's memory format. "loop": the training loop over random pictures, data path,
augmentation (crop and flip) and books included, without evaluation. "loop / bare" is the loop's
time by the bare step's. Seconds are of the clock; on a CPU of one thread, in CPU seconds. The best
of several turns.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import torch
from torch.nn import functional

from labelrepair import methods
from labelrepair.networks import available, build
from labelrepair.training import (
    Augment,
    Optimizer,
    Schedule,
    TrainingConfig,
    TrainSet,
    choose_device,
    train,
)
from labelrepair.training.device import autocast, layout
from labelrepair.training.optimizer import build_optimizer

CLASSES = 10
GREY = {"lenet", "lenet5"}
HEADER = ("network", "batch", "precision", "memory format", "bare", "loop", "loop / bare")


def main() -> None:
    """Measure, print, and with --out write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", nargs="+", default=["lenet5", "lenet", "cnn7"])
    parser.add_argument("--batches", nargs="+", type=int, default=[128])
    parser.add_argument("--precisions", nargs="+", default=["float32"])
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--again", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON to write")
    arguments = parser.parse_args()
    of_images = [name for name in available() if not name.startswith("embedding")]
    unknown = set(arguments.networks) - set(of_images)
    if unknown:
        parser.error(f"--networks: {sorted(unknown)} not among {of_images}")
    device = choose_device(arguments.device)
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    print(f"{name}, torch {torch.__version__}; images per second")
    print("".join(f"{head:>15}" for head in HEADER))
    rows = []
    for network in arguments.networks:
        for batch in arguments.batches:
            for precision in arguments.precisions:
                for memory_format in ("contiguous", "channels_last"):
                    config = settings(network, batch, precision, memory_format, device)
                    bare, loop = measure(network, config, arguments.rows, arguments.again, device)
                    rows.append((network, batch, precision, memory_format, bare, loop, bare / loop))
                    print("".join(f"{value:>15.6g}" if isinstance(value, float) else f"{value:>15}"
                                  for value in rows[-1]), flush=True)  # fmt: skip
    if arguments.out:
        found = [dict(zip(HEADER, row, strict=True)) for row in rows]
        content = {"machine": name, "torch": torch.__version__, "rows": found}
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")


def settings(
    network: str, batch: int, precision: str, memory_format: str, device: torch.device
) -> TrainingConfig:
    """Return plain SGD with crop and flip, one epoch."""
    return TrainingConfig(
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule(epochs=1, lr=0.01),
        batch_size=batch,
        drop_last=True,
        augment=Augment(0 if network in GREY else 4, network not in GREY),
        precision=precision,
        memory_format=memory_format,
        device=str(device),
        threads=1,
    )


def measure(
    network: str, config: TrainingConfig, rows: int, again: int, device: torch.device
) -> tuple[float, float]:
    """Return images per second of the bare step and of the loop, the best of each."""
    shape = (1, 28, 28) if network in GREY else (3, 32, 32)
    draws = torch.Generator().manual_seed(0)
    steps = max(2, rows // config.batch_size)
    count = steps * config.batch_size
    features = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=draws)
    labels = torch.randint(0, CLASSES, (count,), generator=draws)
    order = torch.arange(count)
    data = TrainSet(features.to(device), labels.to(device), CLASSES, order, order[:0])
    bare, loop = [], []
    for _ in range(again):
        bare.append(count / bare_seconds(network, shape, config, steps, device))
        loop.append(count / loop_seconds(network, shape, config, data, device))
    return max(bare), max(loop)


def clock(device: torch.device) -> float:
    """Return seconds, once the device has done what it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def bare_seconds(
    network: str, shape: tuple[int, ...], config: TrainingConfig, steps: int, device: torch.device
) -> float:
    """Return the seconds of so many steps on one batch."""
    order = layout(config.memory_format, config.precision, device)
    model = torch.nn.ModuleList([build(network, shape, CLASSES)]).to(device, memory_format=order)
    optimizer = build_optimizer(model, config.optimizer, config.schedule.lr)
    inputs = torch.rand(config.batch_size, *shape, device=device)
    labels = torch.arange(config.batch_size, device=device) % CLASSES

    def step() -> None:
        with autocast(config.precision, device):
            logits = model[0](inputs)
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    step()  # kernels are chosen and memory is taken now
    begun = clock(device)
    for _ in range(steps):
        step()
    return clock(device) - begun


def loop_seconds(
    network: str,
    shape: tuple[int, ...],
    config: TrainingConfig,
    data: TrainSet,
    device: torch.device,
) -> float:
    """Return the seconds of an epoch of the loop: three epochs less one, to leave the start out."""
    spent = []
    for epochs in (1, 3):
        changed = TrainingConfig(**{**vars(config), "schedule": Schedule(epochs=epochs, lr=0.01)})
        stages = methods.plan("cross_entropy", {}, changed, None)
        begun = clock(device)
        train(data, stages, lambda: build(network, shape, CLASSES), changed, seed=0, progress=False)
        spent.append(clock(device) - begun)
    return (spent[1] - spent[0]) / 2


if __name__ == "__main__":
    main()
