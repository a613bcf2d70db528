"""The data of a grid: read once, kept as arrays that every cell loads."""

import json
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from labelrepair.benchmark.grid import Grid, source_content
from labelrepair.config import require
from labelrepair.data import read_source
from labelrepair.data.splits import assign_test, holdout
from labelrepair.data.store import read_features, write_features
from labelrepair.label_table import Split
from labelrepair.training import Holdout, TrainSet
from labelrepair.training.seeds import derive_seed

TEST_FRACTION = 0.2  # of sources without a test split
READERS_VERSION = 2  # one more when readers make other arrays of the same source
Labels = NDArray[np.int64]


def _data_folder(grid: Grid, root: Path) -> Path:
    content = json.dumps([READERS_VERSION, source_content(grid)], sort_keys=True).encode()
    return root / "data" / blake2b(content, digest_size=5).hexdigest()


def prepare(grid: Grid, root: Path) -> None:
    """Read the source once and keep its arrays for the workers to memory-map."""
    folder = _data_folder(grid, root)
    if (folder / "ready").exists():
        return
    samples = read_source(grid.source)
    require(samples.labels_are_true, "benchmark.source: its labels are not known to be true")
    folder.mkdir(parents=True, exist_ok=True)
    splits = samples.splits
    if not (splits == Split.TEST).any():
        splits = assign_test(splits, samples.labels, samples.sample_ids, TEST_FRACTION, seed=0)
    test = splits == Split.TEST
    for name, rows in (("train", ~test), ("test", test)):
        write_features(folder / f"{name}_features.npy", samples.features[rows])
        write_features(folder / f"{name}_labels.npy", samples.labels[rows])
    (folder / "classes").write_text(str(len(samples.class_names)))
    (folder / "ready").touch()


def load(grid: Grid, root: Path) -> tuple[TrainSet, Labels, Holdout]:
    """Return the training rows with true labels still in place, the truth, and the test split."""
    folder = _data_folder(grid, root)
    arrays = {
        name: np.array(read_features(folder / f"{name}.npy"))  # writable, as torch wants it
        for name in ("train_features", "train_labels", "test_features", "test_labels")
    }
    truth = arrays["train_labels"]
    every = torch.arange(len(truth))
    data = TrainSet(
        torch.from_numpy(arrays["train_features"]),
        torch.from_numpy(truth),
        int((folder / "classes").read_text()),
        every,
        every[:0],
    )
    test = Holdout(
        torch.from_numpy(arrays["test_features"]), torch.from_numpy(arrays["test_labels"])
    )
    return data, truth, test


def with_labels(data: TrainSet, given: Labels, fraction: float, seed: int) -> TrainSet:
    """Return the set with the given labels, a stratified fraction of the rows held out."""
    held_out = holdout(given, fraction, derive_seed(seed, "validation"))
    return TrainSet(
        data.features,
        torch.from_numpy(given),
        data.num_classes,
        torch.from_numpy(np.flatnonzero(~held_out)),
        torch.from_numpy(np.flatnonzero(held_out)),
    )
