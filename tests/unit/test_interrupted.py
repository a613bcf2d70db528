"""What an interrupted run leaves open in a process that lives on, and how errors are shown."""

import logging
import sqlite3
import sys
from types import SimpleNamespace

import mlflow
import pytest
from kedro.io import DatasetError
from kedro.pipeline import Node

from labelrepair.errors import StoreError
from labelrepair.hooks import InterruptHook, errors
from labelrepair.io import ArrayDataset


class Held:
    """What a run holds."""

    def __init__(self):
        self.given_back = 0

    def give_back(self):
        self.given_back += 1


@pytest.fixture
def store(tmp_path):
    """A tracking store of one's own, with no run left active."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield mlflow.MlflowClient()
    mlflow.end_run()
    mlflow.set_tracking_uri(before)


def interrupted(hook):
    """Begin a run as Kedro does, and leave it as a Ctrl-C does; return its id."""
    hook.after_context_created()
    hook.before_pipeline_run()
    return mlflow.start_run(nested=True, experiment_id="0").info.run_id  # kedro-mlflow's


def test_the_next_session_closes_what_an_interrupted_run_left(store):
    held = Held()
    hook = InterruptHook(held)
    run = interrupted(hook)
    assert held.given_back == 0
    hook.after_context_created()
    assert held.given_back == 1
    assert mlflow.active_run() is None
    assert store.get_run(run).info.status == "KILLED"
    hook.after_context_created()
    assert held.given_back == 1


@pytest.mark.parametrize("end", ["after_pipeline_run", "on_pipeline_error"])
def test_a_run_that_ended_is_left_alone(store, end):
    held = Held()
    hook = InterruptHook(held)
    run = interrupted(hook)
    getattr(hook, end)()
    hook.after_context_created()
    assert held.given_back == 0
    assert mlflow.active_run().info.run_id == run


def test_a_run_of_the_user_s_own_stays_active(store):
    own = mlflow.start_run(experiment_id="0").info.run_id
    hook = InterruptHook(Held())
    hook.before_pipeline_run()  # kedro-mlflow goes on in it
    hook.after_context_created()
    assert mlflow.active_run().info.run_id == own


def test_a_notebook_closes_it_with_the_cell(store, monkeypatch):
    registered = {}
    shell = SimpleNamespace(events=SimpleNamespace(register=registered.__setitem__))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    held = Held()
    hook = InterruptHook(held)
    run = interrupted(hook)
    after_cell = registered["post_run_cell"]
    # A cell that ends well or otherwise: the run may be another thread's.
    for error in (None, ValueError()):
        after_cell(SimpleNamespace(error_in_exec=error))
        assert held.given_back == 0
    after_cell(SimpleNamespace(error_in_exec=KeyboardInterrupt()))
    assert held.given_back == 1
    assert store.get_run(run).info.status == "KILLED"


# -- errors in one line ------------------------------------------------------------------------


def shown(raises, capsys):
    try:
        raises()
    except Exception as error:
        errors._show(type(error), error, error.__traceback__)
    return capsys.readouterr().err


def wrapped(error):
    """Raise an error as Kedro does, around one that a dataset met."""
    raise DatasetError("Failed while saving data to dataset ...") from error


def test_an_error_of_ours_inside_kedro_s_is_one_line(capsys):
    said = "Error: f.npy: cannot be written\n(LABELREPAIR_TRACEBACK=1 shows where)\n"
    assert shown(lambda: wrapped(StoreError("f.npy: cannot be written")), capsys) == said


def test_so_is_what_a_dataset_of_ours_says_itself(capsys, tmp_path):
    text = shown(ArrayDataset(filepath=str(tmp_path / "x.npy")).load, capsys)
    assert text.startswith("Error: ")
    assert "x.npy" in text
    assert text.count("\n") == 2


def test_an_error_of_others_keeps_its_traceback(capsys):
    assert "Traceback" in shown(lambda: wrapped(OSError("full")), capsys)


@pytest.fixture
def refusing(store, tmp_path, monkeypatch):
    """Return what asks MLflow for a run in a database in which it may only look."""
    monkeypatch.chdir(tmp_path)  # MLflow makes a folder of the address's first part
    store.search_experiments()  # makes the file
    address = f"sqlite:///file:{tmp_path}/mlflow.db?mode=ro&uri=true"
    return lambda: mlflow.MlflowClient(address).create_run("0")


def test_a_database_of_mlflow_that_cannot_be_written_is_one_line(refusing, capfd, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    log = logging.getLogger("mlflow.store.db.utils")
    before = log.level
    errors.ErrorHook().after_context_created()
    text = shown(refusing, capfd)
    log.setLevel(before)
    said = "Error: MLflow's database: cannot be written (attempt to write a readonly database); "
    assert text.startswith(said)
    assert "the products in data/ are whole" in text
    assert "free some space" in text
    assert text.count("\n") == 2


def test_what_a_run_failed_of_is_shown_before_what_mlflow_could_not_write_down(refusing, capsys):
    def failed(reason):
        try:
            Node(reason, None, "x").run({})
        except ValueError:
            refusing()

    def ours():
        raise StoreError("f.npy: full")

    def of_a_host():
        raise ValueError("of a host")

    lines = shown(lambda: failed(ours), capsys).splitlines()
    # MLflow's own words may stand before it, if its logger has been set up by then.
    assert next(line for line in lines if line.startswith("Error: ")) == "Error: f.npy: full"
    text = shown(lambda: failed(of_a_host), capsys)
    assert "Traceback" in text
    assert "ValueError: of a host" in text


def test_a_database_of_others_keeps_its_traceback(capsys):
    def fails():
        raise sqlite3.OperationalError("database or disk is full")

    assert "Traceback" in shown(fails, capsys)
