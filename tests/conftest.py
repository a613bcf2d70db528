"""Shared by all tests: one CPU thread, and small data with known noise."""

import os

# Before NumPy and SciPy come: their threads wait for each other by spinning; on a busy machine a
# regression of a second takes a minute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import subprocess
from dataclasses import dataclass

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from labelrepair.training import TrainSet

# Before anything imports MLflow, which takes no DO_NOT_TRACK=1 for an answer: its thread would ask
# the network and change os.environ while a request reads it (a KeyError, on a busy machine).
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

# A busy machine is no error. The same examples every time, as a red run should mean a change;
# HYPOTHESIS_PROFILE=explore draws others.
settings.register_profile("labelrepair", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "labelrepair"))


def pytest_collection_modifyitems(items):
    """Begin with what forks this process: once a test has trained in threads, no fork may train."""
    items.sort(key=lambda item: item.path.name != "test_kill_anywhere.py")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Blobs:
    """Gaussian blobs: a training set with wrong labels, and the labels that nobody sees."""

    data: TrainSet
    true_labels: Tensor


@pytest.fixture(scope="session")
def blobs():
    """Return a maker of noisy Gaussian blobs, symmetric noise at exactly the given rate."""

    def make(rows=600, classes=4, width=8, noise=0.3, validation=0.1, seed=0):
        draws = torch.Generator().manual_seed(seed)
        true = torch.arange(rows) % classes
        centres = 1.6 * torch.randn(classes, width, generator=draws)
        features = centres[true] + torch.randn(rows, width, generator=draws)
        shift = torch.randint(1, classes, (rows,), generator=draws)
        wrong = torch.randperm(rows, generator=draws) < round(noise * rows)
        given = torch.where(wrong, (true + shift) % classes, true)
        order = torch.randperm(rows, generator=draws)
        held_out = round(validation * rows)
        val_rows, train_rows = order[:held_out].sort().values, order[held_out:].sort().values
        return Blobs(TrainSet(features, given, classes, train_rows, val_rows), true)

    return make


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder that is a file system of one megabyte; making it needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        made = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("cannot mount a small file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
