"""A run that is killed in the middle of training goes on where it stopped, bit for bit."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time

import pytest
import torch

SECONDS = 120  # to wait for a run to come to its training
EPOCHS = 200  # several seconds of training, so that there is a middle


def positions(project):
    """Return (stage, epoch) of each checkpoint, as the loop would go on from it."""
    found = []
    for file in (project / "data/06_models/checkpoints").glob("*.pt"):
        with contextlib.suppress(FileNotFoundError):
            found.append(tuple(torch.load(file, weights_only=True)["position"]))
    return found


def kill_in_training(
    project, environment, stage: int, epoch: int, *arguments: str, by=signal.SIGKILL
):
    """Start ``kedro run`` and stop it, with all that it started, at the given stage and epoch."""
    with (project / "killed.log").open("w") as log:
        run = subprocess.Popen(
            ["kedro", "run", *arguments],
            cwd=project.root,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        deadline = time.monotonic() + SECONDS
        try:
            while (stage, epoch) > max(positions(project), default=(0, 0)):
                assert run.poll() is None, (project / "killed.log").read_text()
                assert time.monotonic() < deadline, "no checkpoint in time"
                time.sleep(0.05)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, by)
            run.wait(SECONDS)
    assert run.returncode not in (0, None), "the run was over before it was killed"
    assert not (project / "data/07_model_output/training_report.json").exists()


def results(project) -> dict[str, str]:
    """Return the hashes of what the pipelines wrote, without what names times, runs and places."""
    others = r"01_raw|/08_reporting/(plot|report|summary)|label_ledger|training_report|/\."
    found = {name: sum_ for name, sum_ in project.data().items() if not re.search(others, name)}
    report = json.loads((project / "data/07_model_output/training_report.json").read_text())
    del report["checkpoint"]  # its name changes with the code, which somebody may be writing
    return found | {"report": json.dumps(report)}


@pytest.fixture
def pair(make_project, tmp_path):
    """Return two equal projects: one to be killed, one left alone."""
    return [make_project(tmp_path / name) for name in ("killed", "undisturbed")]


def test_kedro_run_killed_and_run_again(pair, small_training, command_environment):
    killed, undisturbed = pair
    for project in pair:
        training = small_training(epochs=EPOCHS)
        project.preset("small", "jocor", training, co_lambda=0.9, ramp=2)
    undisturbed.run()

    kill_in_training(killed, command_environment, 0, 20)
    (stopped,) = positions(killed)
    assert (0, 20) <= stopped < (0, EPOCHS)
    done = killed.kedro()

    resumed = re.search(r"resuming at stage 'train', epoch (\d+)", done.stderr)
    assert int(resumed[1]) == stopped[1]
    assert results(killed) == results(undisturbed)
    assert len(results(killed)) > 15
    assert not list((killed / "data/06_models/checkpoints").glob("*.pt"))
    # What the command says at its end, and that it did not trip over the killed run in MLflow.
    assert "given labels" in done.stdout
    address = re.search(r"MLflow run +([0-9a-f]{32}) in sqlite:////.*/mlflow\.db", done.stdout)
    latest, first = killed.mlflow_runs()
    assert address[1] == latest.info.run_id
    assert (latest.info.status, first.info.status) == ("FINISHED", "RUNNING")


@pytest.mark.slow
def test_killed_in_the_second_stage(pair, small_training, command_environment, caplog):
    killed, undisturbed = pair
    training = small_training(epochs=EPOCHS, validation_fraction=0.2)
    for project in pair:
        project.preset("staged", "loss_correction", training, quantile=0.9)
        project.edit("conf/base/globals.yml", preset="staged")
        project.run("ingestion", "estimation")
    undisturbed.run("training", "refinement", "repair")

    kill_in_training(killed, command_environment, 1, 20, "--pipelines", "training")
    (stopped,) = positions(killed)
    assert stopped[0] == 1
    caplog.clear()
    killed.run("training", "refinement", "repair")

    assert f"resuming at stage 'forward_corrected', epoch {stopped[1]}" in caplog.text
    assert results(killed) == results(undisturbed)
    assert not list((killed / "data/06_models/checkpoints").glob("*.pt"))


def test_a_finished_run_does_not_resume(project, small_training, caplog):
    """Nor does another seed go on with a checkpoint of this one."""
    project.run("ingestion", "estimation")
    project.run("training")
    caplog.clear()
    project.run("training")
    project.run("training", seed=1)

    assert "resuming" not in caplog.text


@pytest.fixture
def listening():
    """Have Ctrl-C heard: what runs in the background of a shell ignores it, as its children do."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_is_no_success_in_mlflow(
    make_project, tmp_path, small_training, command_environment, stop
):
    project = make_project(tmp_path / "project")
    project.preset("small", "jocor", small_training(epochs=EPOCHS), co_lambda=0.9, ramp=2)
    kill_in_training(project, command_environment, 0, 20, by=stop)
    (run,) = project.mlflow_runs()
    assert run.info.status == "KILLED"
    project.run("ingestion")  # nobody holds the run's lock
