"""Of two runs in one folder the second is refused, by name, before it has done anything."""

import contextlib
import os
import signal
import subprocess

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from labelrepair.errors import StoreError
from labelrepair.hooks.run_lock import FILE, HOLDER, RunLockHook
from labelrepair.io import WholeFile
from labelrepair.pipelines import benchmark, ingestion, repair

PIPELINE = repair.create_pipeline()


def catalog(folder, prefix=""):
    places = {"label_table": "03_primary/table", "repaired_table": "07_model_output/repaired"}
    return DataCatalog(
        {
            f"{prefix}{name}": WholeFile(
                filepath=str(folder / f"{place}.parquet"), dataset="pandas.ParquetDataset"
            )
            for name, place in places.items()
        }
    )


def refused(folder, pipeline=PIPELINE, prefix="") -> str:
    """Return why a run is refused, or nothing."""
    hook = RunLockHook()
    try:
        hook.before_pipeline_run(pipeline, catalog(folder, prefix))
    except StoreError as error:
        return str(error)
    hook.after_pipeline_run()
    return ""


@pytest.fixture
def another(tmp_path):
    """Return a process that is in a run in the folder, until it is killed."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            hook = RunLockHook()  # kept: a lock that nobody holds is given back
            hook.before_pipeline_run(PIPELINE, catalog(tmp_path))
            os.write(writes, b".")
            signal.pause()
        finally:
            os._exit(1)
    assert os.read(reads, 1)
    yield child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_the_second_is_refused_and_told_who_works_there(tmp_path, another):
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path}: another run works there (process {another} on ")
    assert "nothing has been done" in message
    assert "--params workspace=FOLDER" in message
    # A part of the pipelines is a run, too.
    assert refused(tmp_path, ingestion.create_pipeline())


def test_a_killed_run_is_in_nobodys_way(tmp_path, another):
    os.kill(another, signal.SIGSTOP)
    assert refused(tmp_path)
    os.kill(another, signal.SIGKILL)
    while os.waitid(os.P_PID, another, os.WEXITED | os.WNOWAIT) is None:
        pass
    assert not refused(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {FILE}


def test_another_folder_is_free(tmp_path, another):
    assert not refused(tmp_path / "other")


def test_what_does_not_touch_the_tables_is_free(tmp_path, another):
    assert not refused(tmp_path, benchmark.create_pipeline())
    theirs = Pipeline([Node(lambda table: table, "label_table", "copy", name="host")])
    assert not refused(tmp_path, theirs)


def test_namespaces_are_found(tmp_path, another):
    mounted = Pipeline(PIPELINE, namespace="cats")
    assert "--params cats.workspace=FOLDER" in refused(tmp_path, mounted, "cats.")
    assert not refused(tmp_path, mounted)  # no file of that name: nothing to keep apart


def test_it_is_free_after_an_error_and_after_a_refusal_by_another_hook(tmp_path):
    hook = RunLockHook()
    hook.before_pipeline_run(PIPELINE, catalog(tmp_path))
    hook.before_pipeline_run(PIPELINE, catalog(tmp_path))  # nobody has told it of the end
    assert (tmp_path / HOLDER).exists()
    hook.on_pipeline_error()
    assert not refused(tmp_path)
    assert not (tmp_path / HOLDER).exists()


def test_tables_in_memory_need_no_lock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RunLockHook().before_pipeline_run(PIPELINE, DataCatalog({"label_table": MemoryDataset()}))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    message = refused(small_disk)
    assert message == (
        f"{small_disk}: cannot be written (Read-only file system); nothing has been done. To go "
        "on, make the place writable and run again"
    )


def test_a_disk_that_is_full(small_disk):
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    message = refused(small_disk)
    assert message.startswith(f"{small_disk}: cannot be written (No space left on device); nothing")
    assert "free some space and run again" in message
    (small_disk / "filler").unlink()
    assert not refused(small_disk), "the lock was given back"


def test_a_holder_that_is_no_text(tmp_path, another):
    (tmp_path / HOLDER).write_bytes(b"process \xff\xfe")
    assert "another run works there (process \ufffd\ufffd)" in refused(tmp_path)
