"""A full disk and a place without permission: a clear error, and the old artefact intact."""

import os
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import AbstractDataset, DatasetError
from test_kill_anywhere import left_over, relabel

from labelrepair import ledger
from labelrepair.errors import StoreError
from labelrepair.label_table import make_label_table
from labelrepair.training.checkpoint import Checkpointer

ROWS = 400_000  # of random numbers: more than the megabyte of the disk


def table(rows: int) -> pd.DataFrame:
    ids = pd.Series([f"{row:07d}" for row in range(rows)], dtype="str")
    labels = np.arange(rows) % 3
    return make_label_table(ids, labels, np.full(rows, "train"), ids)


def whole(inner):
    return {"type": "labelrepair.io.WholeFile", "dataset": inner}


KINDS = {
    "tensors": ("labelrepair.io.TorchStateDataset", lambda n: {"weights": torch.rand(n)}),
    "array": ("labelrepair.io.ArrayDataset", lambda n: np.random.default_rng(0).random(n)),
    "parquet": (whole("pandas.ParquetDataset"), table),
    "csv": (whole("pandas.CSVDataset"), table),
    "ledger": (
        "labelrepair.label_io.LedgerDataset",
        lambda n: ledger.propose(table(n).assign(confidence=0.9), "m").assign(label=9),
    ),
}


def dataset(kind, file) -> AbstractDataset:
    given = KINDS[kind][0]
    settings = {"type": given} if isinstance(given, str) else given
    return AbstractDataset.from_config(kind, {**settings, "filepath": str(file)})


@pytest.mark.parametrize("kind", KINDS)
def test_the_disk_is_full(small_disk, kind):
    file = small_disk / f"artefact.{kind}"
    dataset(kind, file).save(KINDS[kind][1](100))
    before = file.read_bytes()

    with pytest.raises(DatasetError, match="cannot be written") as found:
        dataset(kind, file).save(KINDS[kind][1](ROWS))

    assert re.search(r"cannot be written \((No space left|the disk took only)", str(found.value))
    assert str(file) in str(found.value)
    assert "free some space and run again" in str(found.value)
    assert file.read_bytes() == before
    assert {p.name for p in small_disk.iterdir()} <= {file.name, f".{file.name}.lock"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_place_is_read_only(small_disk, kind):
    file = small_disk / f"artefact.{kind}"
    dataset(kind, file).save(KINDS[kind][1](100))
    before = file.read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(DatasetError, match=r"[Rr]ead-only file system"):
        dataset(kind, file).save(KINDS[kind][1](200))

    assert file.read_bytes() == before


def test_a_checkpoint_on_a_full_disk(small_disk):
    kept = Checkpointer(small_disk, {"run": 1})
    kept.save({"position": [0, 1], "weights": torch.rand(10)})

    with pytest.raises(StoreError, match=r"\.pt: cannot be written \(No space left on device\)"):
        kept.save({"position": [0, 2], "weights": torch.rand(10**6)})

    assert kept.load()["position"] == [0, 1]
    assert [p.name for p in small_disk.iterdir()] == [kept.path.name]


@pytest.mark.slow
def test_a_run_on_a_disk_that_fills_up(project, small_disk):
    """The products of the run before stay as they are; with space again the run goes through."""
    (project / "data/01_raw/digits.npz").rename(project / "digits.npz")
    source = {"kind": "npz", "path": "digits.npz", "labels_are_true": True}
    project.dataset("small", source, {"kind": "symmetric", "rate": 0.3, "seed": 1})
    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    shutil.rmtree(project / "data")
    (project / "data").symlink_to(small_disk)
    project.run()
    relabel(project, seed=2)
    before = {p: p.read_bytes() for p in small_disk.rglob("*") if p.is_file()}
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler = small_disk / "filler"
    filler.write_bytes(bytes(free - 60_000))

    with pytest.raises(Exception, match=r"cannot be written \(No space left on device\)"):
        project.run()

    between = {p: p.read_bytes() for p in before}
    assert between != before  # the run had begun
    assert left_over(project) == []
    filler.unlink()
    project.run()
    # Each was either still that of the first run, or already, and wholly, that of the second.
    assert all(content in (before[p], p.read_bytes()) for p, content in between.items())


@pytest.mark.slow
def test_two_runs_of_one_project_at_once(project, command_environment):
    with (project / "first.log").open("w") as log:
        first = subprocess.Popen(
            ["kedro", "run"], cwd=project.root, env=command_environment, stdout=log, stderr=log
        )
    while not (project / "data/.run.holder").exists():
        assert first.poll() is None, (project / "first.log").read_text()
    second = project.kedro("--params", "seed=7", check=False)
    assert first.wait() == 0, (project / "first.log").read_text()
    undisturbed = project.data()
    assert second.returncode != 0
    assert f"another run works there (process {first.pid} on" in second.stdout + second.stderr
    assert len(project.mlflow_runs()) == 1  # the second has not even opened one
    project.run()
    names = [n for n in undisturbed if n.endswith((".parquet", ".npy", ".pt")) and "led" not in n]
    assert {n: undisturbed[n] for n in names} == {n: project.data()[n] for n in names}
