"""The handoff against a real `mlflow server` with a database behind it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import labelrepair
from labelrepair.registry import Registry

ROOT = Path(labelrepair.__file__).parents[2]
NAME = "labelrepair-small"
pytestmark = pytest.mark.slow


class Server:
    """`mlflow server` on a port of this machine; may be stopped and started again."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.process = folder, port, None
        self.address = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )
        end = time.monotonic() + 300
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=2).close()
                return
            except OSError:
                time.sleep(0.5)
        raise AssertionError((self.folder / "server.log").read_text()[-2000:])

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(30)
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory, unused_port):
    made = Server(tmp_path_factory.mktemp("server"), unused_port)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def project(make_project, tmp_path_factory, server, small_training):
    """Return a project that tracks on the server, run and handed over once."""
    made = make_project(tmp_path_factory.mktemp("client"))
    # As in test_handing_over: a model that keeps its classes.
    made.preset("small", "jocor", small_training(8), co_lambda=0.0, ramp=2)
    made.edit("conf/base/mlflow.yml", "server", mlflow_tracking_uri=server.address)
    made.edit("conf/base/parameters_handoff.yml", "handoff", "gate", min_rows=30)
    made.run()
    made.run("handoff")
    return made


def aliases(server, name):
    found = mlflow.MlflowClient(server.address).get_registered_model(name).aliases
    return {alias: str(version) for alias, version in found.items()}


def test_handed_over_to_the_server_and_only_once(project, server):
    assert aliases(server, NAME) == {"champion": "1", "challenger": "1"}

    project.run("handoff")

    client = mlflow.MlflowClient(server.address)
    assert len(client.search_model_versions(f"name='{NAME}'")) == 1
    card = (project / "data/08_reporting/model_card.md").read_text()
    version = client.get_model_version(NAME, "1")
    assert version.description == card[:5000]
    trained = version.tags["labelrepair.training_run_id"]
    assert f"[{trained}]({server.address}/#/experiments/" in card
    assert client.get_run(trained).data.tags["labelrepair.git_revision"] != "none"


def test_another_process_scores_a_folder(project, server, tmp_path):
    """With the code that travels with the model, not with an installed labelrepair."""
    features = np.load(project / "data/04_feature/features.npy")[:5]
    folder = tmp_path / "images"
    folder.mkdir()
    for row, image in enumerate(features):
        Image.fromarray(image[0]).save(folder / f"{row}.png")
    (folder / ".DS_Store").write_bytes(b"of a system")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    script = tmp_path / "score.py"
    script.write_text(
        f"import runpy, sys\nsys.argv[0] = 'score_folder.py'\n"
        f"runpy.run_path({str(ROOT / 'examples/score_folder.py')!r}, run_name='__main__')\n"
        "print(sys.modules['labelrepair'].__file__)\n"
    )
    arguments = [server.address, NAME, str(folder), str(tmp_path / "scores.csv")]

    done = subprocess.run(
        [sys.executable, script, *arguments],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "/code/labelrepair/" in done.stdout
    scores = pd.read_csv(tmp_path / "scores.csv")
    mlflow.set_tracking_uri(server.address)
    expected = mlflow.pyfunc.load_model(f"models:/{NAME}@champion").predict(features)
    assert scores["file"].tolist() == [f"{row}.png" for row in range(5)]
    np.testing.assert_allclose(
        scores[["0", "1", "2"]].to_numpy(), expected[["0", "1", "2"]].to_numpy(), atol=1e-5
    )


ONE_OF_TWO = """
import sys
sys.path.insert(0, {tests!r})
from test_handoff import evidence, package, report, state, FORM
import json, logging, mlflow, numpy as np
from labelrepair.gate import GateSpec
from labelrepair.handoff import HandoffSpec
from labelrepair.label_table import content_hashes, make_label_table
from labelrepair.registry import hand_over

mlflow.set_tracking_uri({address!r})
mlflow.set_experiment("two")
rng = np.random.default_rng(0)
features = (4 * np.eye(3)[np.arange(600) % 3] + rng.normal(size=(600, 3))).astype(np.float32)
splits = np.repeat(["train", "validation", "test"], [300, 150, 150])
ids = [f"s{{row:04d}}" for row in range(600)]
table = make_label_table(ids, np.arange(600) % 3, splits, content_hashes(features))
facts = {{"preset": "p", "method": "m", "source": "", "networks": 1, "parameters": 12, "epochs": 3,
          "metrics": {{}}, "noise_method": "given", "class_names": ["a", "b", "c"],
          "rows": {{"train": 300, "validation": 150, "test": 150}},
          "input": "vector", "test_accuracy": None}}
print("ready", flush=True)
sys.stdin.readline()
bundle = package(state(float(sys.argv[1])), FORM, table, features, report(table))
gate = GateSpec(min_rows=50, margin=0.2, class_margin=0.3)
record, _ = hand_over(bundle, evidence(table, features), facts, HandoffSpec("two", gate))
print(json.dumps(record))
"""


def test_two_handoffs_at_once(server, tmp_path):
    """Four processes, two of them with the same model: one decision after the other."""
    script = tmp_path / "one.py"
    tests = str(ROOT / "tests/unit") if (ROOT / "tests").exists() else ""
    script.write_text(ONE_OF_TWO.format(tests=tests, address=server.address))
    started = [
        subprocess.Popen(
            [sys.executable, script, sharpness], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for sharpness in ("1.0", "1.0", "2.0", "3.0")
    ]  # fmt: skip
    for process in started:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    records = []
    for process in started:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        records.append(json.loads(out.splitlines()[-1]))

    # Which other version is champion by then depends on whose turn it was.
    assert records[0] | {"champion": None} == records[1] | {"champion": None}
    client = mlflow.MlflowClient(server.address)
    versions = {str(v.version): v for v in client.search_model_versions("name='two'")}
    assert set(versions) == {"1", "2", "3"}
    parents = [versions[v].tags["labelrepair.parent_version"] for v in ("1", "2", "3")]
    assert parents == ["none", "1", "2"]  # each was judged against the one before it
    assert all(v.tags["labelrepair.gate"] == "passed" for v in versions.values())
    found = aliases(server, "two")
    assert found["champion"] == "3"
    assert found["challenger"] in ("3", records[0]["version"])  # whose turn was the last


def test_an_outage_in_the_middle_loses_no_training(project, server):
    """The server stops before training: the training is on disk, and the next run goes on."""
    project.preset("small", "cross_entropy", small_settings())
    environment = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        patch.setattr("labelrepair.tracking.MlflowClassifierDataset.save", stop_first(server))
        with pytest.raises(Exception, match=str(server.port)):
            project.run("training")
    checkpoints = list((project / "data/06_models/checkpoints").glob("*.pt"))
    assert checkpoints
    assert not server.process

    server.start()
    project.run("training", "refinement", "repair", "evaluation")
    project.run("handoff")

    assert not list((project / "data/06_models/checkpoints").glob("*.pt"))
    assert aliases(server, NAME)["challenger"] == "2"


def test_an_outage_in_the_handoff_makes_no_second_version(project, server):
    """The server stops between registering a version and judging it; the next handoff goes on."""
    project.preset("small", "cross_entropy", small_settings() | {"batch_size": 16})
    project.run("training", "refinement", "repair", "evaluation")
    before = aliases(server, NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        real = Registry.set_alias
        patch.setattr(Registry, "set_alias", lambda *_: (server.stop(), real(*_)))
        with pytest.raises(Exception, match=str(server.port)):
            project.run("handoff")
    assert not server.process

    server.start()
    assert aliases(server, NAME) == before
    project.run("handoff")

    new = str(1 + max(map(int, before.values())))
    assert aliases(server, NAME)["challenger"] == new
    client = mlflow.MlflowClient(server.address)
    assert len(client.search_model_versions(f"name='{NAME}'")) == int(new)
    assert "labelrepair.gate" in client.get_model_version(NAME, new).tags


def stop_first(server):
    """Return the real method, called after the server has been stopped."""
    from labelrepair.tracking import MlflowClassifierDataset  # noqa: PLC0415

    real = MlflowClassifierDataset.save

    def save(self, data):
        server.stop()
        real(self, data)

    return save


def small_settings():
    return {
        "network": {"name": "mlp", "options": {"hidden": [32]}},
        "schedule": {"epochs": 4, "lr": 0.01},
        "batch_size": 32,
        "threads": 1,
    }
