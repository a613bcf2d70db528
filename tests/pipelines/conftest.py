"""A throw-away copy of the Kedro project, with small budgets, and runs in it."""

import contextlib
import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from sklearn.datasets import load_digits

import labelrepair
from labelrepair import decisions

ROOT = Path(labelrepair.__file__).parents[2]
PARTS = ("conf", "pyproject.toml", "dvc.yaml", ".dvc", ".dvcignore", ".telemetry", ".gitignore")
LAYERS = ("01_raw", "02_intermediate", "03_primary", "04_feature", "05_model_input", "06_models")
REPORTS = ("07_model_output", "08_reporting")
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")


@dataclass(frozen=True)
class Project:
    """A copy of the project in a folder of its own."""

    root: Path

    def __truediv__(self, path: str) -> Path:
        return self.root / path

    def run(self, *pipelines: str, to: str | None = None, **params: Any) -> str:
        """Run pipelines (default: all) in this process; return what was printed."""
        printed = io.StringIO()
        with self.active(), contextlib.redirect_stdout(printed):
            bootstrap_project(self.root)
            with KedroSession.create(self.root, runtime_params=params) as session:
                session.run(pipeline_names=list(pipelines) or None, to_nodes=[to] if to else None)
        return printed.getvalue()

    @contextlib.contextmanager
    def active(self):
        """Work in the project's folder; leave the process as it was."""
        path, environment, folder = list(sys.path), dict(os.environ), Path.cwd()
        os.chdir(self.root)
        try:
            yield
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            sys.path[:] = path

    def kedro(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command ``kedro run`` in a process of its own."""
        return self.command("kedro", "run", *arguments, check=check)

    def command(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.root, env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def edit(self, path: str, *keys: str | int, **changes: Any) -> None:
        """Change values of a YAML file, below ``keys``."""
        file = self.root / path
        content = yaml.safe_load(file.read_text()) or {}
        place = content
        for key in keys:
            place = place[key]
        place.update(changes)
        file.write_text(yaml.safe_dump(content, sort_keys=False))

    def dataset(self, name: str, source: dict[str, Any], noise: Any = None, **probe: Any) -> None:
        """Add a data set's file."""
        settings = {"schedule": {"epochs": 3, "lr": 0.01}, "batch_size": 32, "threads": 1}
        entry = {
            "source": source,
            "noise": noise or {"kind": "none"},
            "probe": {"network": {"name": "mlp"}, **settings, **probe},
        }
        file = self.root / f"conf/base/parameters_datasets/{name}.yml"
        file.write_text(yaml.safe_dump({"datasets": {name: entry}}))

    def preset(self, name: str, method: str, training: dict[str, Any], **options: Any) -> None:
        """Add a preset's file."""
        entry = {"name": name, "method": method, "options": options, "training": training}
        file = self.root / f"conf/base/parameters_presets/{name}.yml"
        file.write_text(yaml.safe_dump({"presets": {name: entry}}))

    def mlflow_runs(self) -> list[mlflow.entities.Run]:
        """Return the MLflow runs, the latest first."""
        client = self.mlflow_client()
        experiment = client.get_experiment_by_name("labelrepair")
        return list(client.search_runs([experiment.experiment_id]))

    def mlflow_client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(f"sqlite:///{self / 'mlflow.db'}")

    def commit(self) -> None:
        self.command("git", "add", "-A")
        self.command(*GIT, "commit", "-qm", "test", "--allow-empty")

    def data(self) -> dict[str, str]:
        """Return what is under data/: path -> hash of the content."""
        files = [p for p in sorted(self.root.glob("data/**/*")) if p.is_file()]
        return {
            str(p.relative_to(self.root)): hashlib.md5(p.read_bytes()).hexdigest() for p in files
        }

    def untouched(self) -> dict[str, tuple[str, int]]:
        """Return :meth:`data` with the times of writing: the same bytes written again count.

        Locks do not: who only looks takes them, too.
        """
        return {
            name: (content, (self.root / name).stat().st_mtime_ns)
            for name, content in self.data().items()
            if not name.endswith(".lock")
        }


def environment() -> dict[str, str]:
    """Return the environment of a command: this Python's tools first, nothing sent anywhere."""
    tools = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": os.pathsep.join([tools, os.environ.get("PATH", "")]),
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(autouse=True, scope="session")
def no_telemetry():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "1")
        yield


@pytest.fixture
def free_port():
    """Return a port of this machine on which nobody listens."""
    return find_port()


@pytest.fixture(scope="module")
def unused_port():
    """Return a port for a server of this module."""
    return find_port()


def find_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """Return an MLflow database with its tables: creating them takes seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(scope="session")
def small_digits(tmp_path_factory):
    """Return an .npz of 300 digits in three classes, labels true; 60 of them are a test split."""
    bunch = load_digits(n_class=3)
    file = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(
        file,
        features=np.rint(bunch.images[:300] * (255 / 16)).astype(np.uint8),
        labels=bunch.target[:300],
        split=np.where(np.arange(300) % 5 == 0, "test", "train"),
    )
    return file


@pytest.fixture(scope="session")
def make_project(empty_database, small_digits):
    """Return a maker of projects whose default choice is the small digits with a small JoCoR."""

    def make(folder: Path) -> Project:
        for part in PARTS:
            source = ROOT / part
            ignored = shutil.ignore_patterns("tmp", "cache", "__pycache__")
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=ignored)
            else:
                shutil.copy(source, folder / part)
        # A copy, because Kedro refuses a source folder outside the project.
        source = ROOT / "src/labelrepair"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / "src/labelrepair", ignore=ignored)
        for layer in LAYERS + REPORTS:
            (folder / "data" / layer).mkdir(parents=True)
            (folder / "data" / layer / ".gitkeep").touch()
        header = ",".join(decisions.COLUMNS) + "\n"
        (folder / "data/03_primary/human_decisions.csv").write_text(header)
        for file in (folder / "conf/local").glob("*.yml"):
            file.unlink()  # the developer's own choices
        shutil.copy(small_digits, folder / "data/01_raw/digits.npz")
        shutil.copy(empty_database, folder / "mlflow.db")
        project = Project(folder)
        shrink(project)
        project.command("git", "init", "-q")
        project.commit()
        return project

    return make


# The last: a grid that the parameters name.
KEPT = ("digits", "jocor_digits", "forward_mnist", "cross_entropy_digits", "jocor_table2")


def shrink(project: Project) -> None:
    """Set small budgets, choose the small data set, leave out what no test changes or needs.

    Reading all of it takes seconds of every run.
    """
    for file in (project / "conf/base").glob("parameters_*s/*.yml"):
        if file.stem not in KEPT:
            file.unlink()
    project.edit("conf/base/globals.yml", dataset="small", preset="small")
    project.edit("conf/base/parameters_estimation.yml", "estimation", "probe", folds=2)
    project.edit("conf/base/parameters_estimation.yml", "estimation", "estimator", bootstrap=20)
    project.edit(
        "conf/base/parameters_datasets/digits.yml",
        "datasets", "digits", "probe", "schedule",
        epochs=6,
    )  # fmt: skip
    project.edit(
        "conf/base/parameters_presets/jocor_digits.yml",
        "presets", "jocor_digits", "training",
        budget=0.05,
    )  # fmt: skip
    source = {"kind": "npz", "path": "data/01_raw/digits.npz", "labels_are_true": True}
    project.dataset("small", source, {"kind": "symmetric", "rate": 0.3, "seed": 1})
    project.preset("small", "jocor", small_training(epochs=6), co_lambda=0.9, ramp=2)


@pytest.fixture(scope="session", name="small_training")
def small_training_fixture():
    return small_training


@pytest.fixture(scope="session")
def command_environment():
    return environment()


def small_training(epochs: int, **others: Any) -> dict[str, Any]:
    """Return loop settings that take milliseconds an epoch."""
    return {
        "network": {"name": "mlp", "options": {"hidden": [32]}},
        "schedule": {"epochs": epochs, "lr": 0.01},
        "batch_size": 32,
        "threads": 1,
        **others,
    }


@pytest.fixture
def project(make_project, tmp_path):
    """Return a fresh project."""
    return make_project(tmp_path)
