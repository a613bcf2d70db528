"""A set larger than the memory: ingested and trained on for an epoch, from shards and from files.

    python benchmarks/large_set.py --folder FOLDER [--rows 25000 50000 100000 200000]
        [--pixels 224] [--sources shards files] [--keep] [--blank] [--out FILE]

Makes its images itself: smooth random JPEGs in ten classes, in FOLDER, which needs 12 KB a row, and
150 KB a row more while shards of 224 pixels exist. Each step runs in a process of its own, and a
benchmark that was stopped goes on where it was. Memory is the proportional share (PSS) of the
process and of those it starts, so that shared pages count once; sampled, the peak. What the process
held with everything imported and the network built is reported apart. The network is tiny: what is
measured is the way of the rows, not the arithmetic.

With --blank the shards are files of zeros with nothing on the disk behind them, and only the epoch
is measured: its memory at numbers of rows that the disk would not hold.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from labelrepair.atomic import whole_file
from labelrepair.data import SourceSpec, read_source
from labelrepair.data.shards import as_numbers, shard_name, write_manifest
from labelrepair.data.storage import StorageSpec, load_features, save_features
from labelrepair.ingest import SplitSpec, tabulate
from labelrepair.label_table import content_hashes, make_label_table
from labelrepair.training import Network, Schedule, TrainingConfig
from labelrepair.workflow import Preset, fit, train_set

CLASSES = 10
EVERY = 0.5  # seconds between looks at the memory
COLUMNS = ("source", "rows", "step", "seconds", "images/s", "before MB", "above MB")


def main() -> None:
    """Make the images, run every step that has no result yet, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[25_000, 50_000, 100_000, 200_000])
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--sources", nargs="+", default=["shards", "files"])
    parser.add_argument("--workers", type=int, help="processes that decode; default: one per core")
    parser.add_argument("--keep", action="store_true", help="leave images and stores in FOLDER")
    parser.add_argument("--blank", action="store_true", help="shards of zeros that take no disk")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, source, rows = options.step
        print(json.dumps(STEPS[step](options, source, int(rows))))
        return
    options.folder /= f"{options.pixels}_pixels"  # what was made at another size is no result here
    made = 0.0 if options.blank else make_images(options.folder, max(options.rows), options.pixels)
    found = [result for rows in options.rows for result in measure(options, rows)]
    table = report(found, made)
    print(table)
    if options.out:
        options.out.write_text(table + "\n", encoding="utf-8")
    if not options.keep and not options.blank:
        shutil.rmtree(options.folder / "images")


def measure(options: argparse.Namespace, rows: int) -> list[dict[str, Any]]:
    """Return the results of all sources at one size."""
    found = []
    for source in ["blank"] if options.blank else options.sources:
        if options.blank:
            make_blank(store(options.folder, source, rows), rows, options.pixels)
        for step in ["epoch"] if options.blank else STEPS:
            by = f"-{options.workers}" if options.workers else ""
            file = options.folder / f"{source}-{rows}-{step}{by}.json"
            if not file.exists():
                arguments = [sys.executable, __file__, "--step", step, source, str(rows)]
                arguments += ["--folder", str(options.folder), "--pixels", str(options.pixels)]
                arguments += ["--workers", str(options.workers)] if options.workers else []
                done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
                file.write_text(done.stdout.splitlines()[-1], encoding="utf-8")
            found.append(json.loads(file.read_text(encoding="utf-8")))
            print(" ".join(f"{found[-1][name]}" for name in COLUMNS), file=sys.stderr, flush=True)
        if not options.keep:
            shutil.rmtree(store(options.folder, source, rows), ignore_errors=True)
    return found


# -- images --------------------------------------------------------------------------------------


def make_images(folder: Path, rows: int, pixels: int) -> float:
    """Write the images that are missing; return the seconds."""
    started = time.perf_counter()
    parts = [range(first, min(first + 500, rows)) for first in range(0, rows, 500)]
    for part in parts:
        (folder / "images" / f"{part[0] // 10_000:04d}").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(make_part, [folder] * len(parts), parts, [pixels] * len(parts)))
    return time.perf_counter() - started


def make_part(folder: Path, rows: range, pixels: int) -> None:
    """Write some images: a smooth random picture in a shade of its class."""
    for row in rows:
        path = folder / image_name(row)
        if path.exists():
            continue
        rng = np.random.default_rng(row)
        coarse = rng.integers(0, 160, (14, 14, 3), dtype=np.uint8)
        coarse[..., row % 3] += 9 * (row % CLASSES)
        picture = Image.fromarray(coarse).resize((pixels, pixels), Image.Resampling.BICUBIC)
        with whole_file(path) as stream:
            picture.save(stream, "JPEG", quality=80)


def make_blank(place: Path, rows: int, pixels: int) -> None:
    """Write shards of zeros as files with a hole each, and their label table."""
    shape = (rows, 3, pixels, pixels)
    blank = np.zeros((1, *shape[1:]), np.uint8)
    per_shard, folder = int(StorageSpec().shard_bytes // blank.nbytes), place / "features"
    folder.mkdir(parents=True, exist_ok=True)
    for number, first in enumerate(range(0, rows, per_shard)):
        count = min(per_shard, rows - first)
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape[1:])}
        with (folder / shard_name(number)).open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            stream.truncate(stream.tell() + count * blank.nbytes)
    content, hashes = {"storage": "shards", "rows_per_shard": per_shard}, content_hashes(blank)
    write_manifest(folder, content, np.broadcast_to(blank, shape), as_numbers(hashes * rows))
    ids = np.array([f"{row:08d}" for row in range(rows)])
    splits = np.full(rows, "train")
    table = make_label_table(ids, np.arange(rows) % CLASSES, splits, hashes * rows)
    table.to_parquet(place / "table.parquet", index=False)


def image_name(row: int) -> str:
    """Return the path of an image below the folder."""
    return f"images/{row // 10_000:04d}/{row:08d}.jpg"


# -- the steps, each in a process of its own -------------------------------------------------------


class Tiny(nn.Sequential):
    """Two strided convolutions and a dense layer: 2.4 million multiplications at 224 pixels."""

    def __init__(self, in_shape: tuple[int, ...], num_classes: int) -> None:
        """Build for any image of 32 pixels or more."""
        super().__init__(
            nn.Conv2d(in_shape[0], 8, 8, stride=8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(16 * 9, num_classes),
        )


class Memory:
    """Samples the proportional memory of this process and of its children."""

    def __init__(self) -> None:
        """Note what is held before the work begins."""
        self.before = self.peak = tree_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        """Begin."""
        self._started = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.seconds = time.perf_counter() - self._started
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(EVERY):
            self.peak = max(self.peak, tree_bytes())


def tree_bytes() -> int:
    """Return the PSS of this process and its children, of Linux's ``smaps_rollup``."""
    me, total = os.getpid(), 0
    children = Path(f"/proc/{me}/task").glob("*/children")
    for process in [str(me), *(pid for file in children for pid in file.read_text().split())]:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total


def ingest(options: argparse.Namespace, source: str, rows: int) -> dict[str, Any]:
    """Read a manifest of the first rows, write features and label table."""
    manifest = options.folder / f"manifest-{rows}.csv"
    lines = [f"{row:08d},{row % CLASSES},{image_name(row)}" for row in range(rows)]
    manifest.write_text("\n".join(["sample_id,label,path", *lines]) + "\n", encoding="utf-8")
    place = store(options.folder, source, rows)
    spec = StorageSpec(source, unfinished=str(place / "unfinished"))
    with Memory() as memory:
        read = SourceSpec("manifest", path=str(manifest), image_root=str(options.folder))
        samples = read_source(read, decode=False)
        features, table, _, _ = tabulate(samples, SplitSpec(test_fraction=0.0), spec)
        save_features(place / "features", features)
        table.to_parquet(place / "table.parquet", index=False)
    return result(memory, source, rows, "ingestion", memory.seconds)


def train(options: argparse.Namespace, source: str, rows: int) -> dict[str, Any]:
    """Train for an epoch; the memory is also that of the clean pass that follows."""
    torch.set_num_threads(1)
    place = store(options.folder, source, rows)
    config = TrainingConfig(
        network=Network("large_set:Tiny"),
        normalize="channel_mean",
        schedule=Schedule(1, 0.001),
        device="auto",
    )
    Tiny((3, options.pixels, options.pixels), CLASSES)
    with Memory() as memory:
        features = load_features(place / "features", workers=options.workers)
        table = pd.read_parquet(place / "table.parquet")
        data, test = train_set(table, features, CLASSES, 0.0, 0)
        preset = Preset("large_set", "cross_entropy", training=config)
        _, found = fit(preset, data, None, seed=0, test=test, progress=False)
    return result(memory, source, rows, "epoch", found.history[0]["seconds"])


STEPS = {"ingestion": ingest, "epoch": train}


def result(memory: Memory, source: str, rows: int, step: str, seconds: float) -> dict[str, Any]:
    """Return one line of the table."""
    return {
        "source": source,
        "rows": rows,
        "step": step,
        "seconds": round(seconds, 1),
        "images/s": round(rows / seconds),
        "before MB": round(memory.before / 1e6),
        "above MB": round((memory.peak - memory.before) / 1e6),
    }


def store(folder: Path, source: str, rows: int) -> Path:
    """Return where the features of one size go."""
    return folder / f"{source}-{rows}"


def report(found: list[dict[str, Any]], made: float) -> str:
    """Return the table, with where it was made."""
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}; images made in {made:.0f} s",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    lines += ["| " + " | ".join(f"{line[name]}" for name in COLUMNS) + " |" for line in found]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
