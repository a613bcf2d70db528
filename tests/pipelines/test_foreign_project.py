"""The wheel in projects of other people: made by ``kedro new``, and by the starter."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

import labelrepair

ROOT = Path(labelrepair.__file__).parents[2]
SOURCES = ("src", "conf/base", "starters", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md")
REGISTRY = """
from kedro.pipeline import Pipeline, node
from labelrepair.pipelines import create_pipeline


def double(value):
    return 2 * value


def register_pipelines():
    faces = create_pipeline(namespace="faces")
    tickets = create_pipeline(namespace="tickets", parameters={"params:seed": "params:seed"})
    other = Pipeline([node(double, "params:seed", "doubled", name="double")])
    both = faces + tickets + other
    # Not a part of the default run: it decides about a model that others use.
    after = create_pipeline(namespace="tickets", parts=("handoff", "ab"))
    named = {"faces": faces, "tickets": tickets, "tickets_after": after, "other": other}
    return {**named, "__default__": both}
"""
SETTINGS = "from labelrepair.settings import CONFIG_LOADER_ARGS, HOOKS\n"
# The host's own data set, preset and seed, beside those that ship with the package.
PARAMETERS = {
    "seed": 3,
    "datasets": {
        "tickets": {
            "source": {"kind": "npz", "path": "data/tickets.npz", "labels_are_true": True},
            "noise": {"kind": "symmetric", "rate": 0.2, "seed": 1},
            "probe": {"schedule": {"epochs": 5, "lr": 0.01}, "batch_size": 32, "threads": 1},
        }
    },
    "presets": {
        "plain": {
            "name": "plain",
            "method": "cross_entropy",
            "training": {"schedule": {"epochs": 5, "lr": 0.01}, "batch_size": 32, "threads": 1},
        }
    },
}
SMALL = "faces.recipe.training.budget=0.02,faces.estimation.probe.folds=2"
TABLE = "07_model_output/repaired_labels.parquet"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Host:
    """A project somewhere, and a folder into which the wheel is installed."""

    root: Path
    site: Path

    def kedro(self, *arguments, check=True):
        site = str(self.site)
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": site,
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
            "PYTHONSAFEPATH": "1",
        }
        command = ["kedro", *arguments]
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        done.stderr = " ".join(done.stderr.split())  # Kedro wraps long messages
        return done

    def edit(self, path, content):
        (self.root / path).write_text(
            content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        )

    def runs(self):
        database = self.root / "mlflow.db"
        if not database.exists():
            return []
        client = mlflow.MlflowClient(f"sqlite:///{database}")
        return client.search_runs([e.experiment_id for e in client.search_experiments()])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the wheel from a copy of the sources and unpack it into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        source, target = ROOT / name, folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copy(source, target)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--quiet", "--no-deps", "--no-index"]
    build = [*pip, "wheel", *offline, "--no-build-isolation", "-w", "wheels", "./source"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    (wheel,) = (folder / "wheels").glob("labelrepair-*.whl")
    install = [*pip, "install", *offline, "--target", "site", str(wheel)]
    subprocess.run(install, cwd=folder, check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def host(site, tmp_path_factory):
    """Return a fresh Kedro project that uses the pipelines twice."""
    folder = tmp_path_factory.mktemp("host")
    new = ("new", "--name=shop", "--tools=none", "--example=n", "--telemetry=no")
    Host(folder, site).kedro(*new)
    made = Host(folder / "shop", site)
    printed = made.kedro("labelrepair", "add", "faces").stdout
    assert "wrote conf/base/parameters_faces.yml" in printed
    assert "wrote src/shop/pipelines/faces/__init__.py" in printed
    assert "wrote .gitignore" in printed
    assert "Once, at the end of shop/settings.py" in printed
    made.edit("conf/base/parameters.yml", PARAMETERS)
    made.kedro("labelrepair", "add", "tickets", "--dataset=tickets", "--preset=plain")
    made.edit("src/shop/pipeline_registry.py", REGISTRY)
    written = (made.root / "src/shop/settings.py").read_text()
    assert "\nCONFIG_LOADER_ARGS = {" in written, "why ours come last"
    made.edit("src/shop/settings.py", written + SETTINGS)
    (made.root / "data").mkdir(exist_ok=True)
    draws, labels = np.random.default_rng(0), np.arange(300) % 3
    features = (draws.normal(size=(300, 5)) + 3 * np.eye(5)[labels]).astype(np.float32)
    np.savez(made.root / "data/tickets.npz", features=features, labels=labels)
    return made


def products(host):
    """Return the content of what both repairs wrote, and empty their folders."""
    found = {}
    for name in ("faces", "tickets"):
        folder = host.root / "data" / name
        for file in sorted(folder.glob("**/*")):
            timed = file.stem == "label_ledger"  # it tells when, and in which run
            if file.suffix in (".parquet", ".npy", ".json", ".csv") and not timed:
                found[str(file.relative_to(folder.parent))] = file.read_bytes()
        shutil.rmtree(folder)
    return found


def test_the_wheel_carries_the_defaults(site):
    package = site / "labelrepair"
    for kind in ("presets", "datasets"):
        carried = {f.name for f in (package / f"conf/base/parameters_{kind}").iterdir()}
        ours = {f.name for f in (ROOT / f"conf/base/parameters_{kind}").iterdir()}
        assert carried == ours
    assert (package / "starters/labelrepair/cookiecutter.json").exists()


def test_two_namespaces_under_both_runners(host):
    printed = host.kedro("run", "--params", SMALL).stdout
    assert "\nfaces\ngiven labels 60.1 % correct" in printed
    assert "\ntickets\ngiven labels 80.8 % correct" in printed
    assert "data/tickets/07_model_output/repaired_labels.parquet" in printed
    faces = pd.read_parquet(host.root / "data/faces" / TABLE)
    tickets = pd.read_parquet(host.root / "data/tickets" / TABLE)
    assert (len(faces), len(tickets)) == (1797, 300)
    in_turn = products(host)
    host.kedro("run", "--params", SMALL, "--runner", "ThreadRunner")
    at_once = products(host)
    assert len(in_turn) > 30
    assert [name for name in in_turn if at_once.get(name) != in_turn[name]] == []
    runs = host.runs()
    assert [run.info.status for run in runs] == ["FINISHED"] * 2, "one MLflow run each"
    for run in runs:
        values, tags = run.data.metrics, run.data.tags
        assert values["faces.labels.rows"] == 1438
        assert values["tickets.labels.rows"] == 240
        assert run.data.params["tickets.policy.review_budget"] == "0.02"
        assert {"seed", "faces.seed"} <= run.data.params.keys()
        assert "tickets.seed" not in run.data.params, "shared with the host"
        assert tags["labelrepair.faces.data_hash"] != tags["labelrepair.tickets.data_hash"]


def test_review_and_handoff_in_a_namespace(host):
    host.kedro("run", "--pipelines=tickets")
    folder = host.root / "data/tickets"
    people = folder / "03_primary/human_decisions.csv"
    assert not people.exists(), "works without the file"
    labels = ("labels", "--namespace", "tickets")
    host.kedro(*labels, "audit", "draw", "--of", "keep", "--count", "3", "-o", "audit.csv")
    sheet = pd.read_csv(host.root / "audit.csv", dtype=str, keep_default_na=False)
    sheet.assign(reviewed_label="(no class fits)").to_csv(host.root / "audit.csv", index=False)
    host.kedro(*labels, "import", "audit.csv", "--reviewer", "ada")
    assert len(people.read_text().splitlines()) == 4
    assert "ada" in host.kedro(*labels, "blame", sheet["sample_id"].iloc[0]).stdout
    host.kedro("run", "--pipelines=tickets")
    table = pd.read_parquet(host.root / "data/tickets" / TABLE).set_index("sample_id")
    assert (table.loc[sheet["sample_id"], "label_source"] == "human").all()

    host.kedro("run", "--pipelines=tickets_after", "--params=tickets.handoff.gate.min_rows=30")

    client = mlflow.MlflowClient(f"sqlite:///{host.root / 'mlflow.db'}")
    version = client.get_model_version_by_alias("labelrepair-tickets", "challenger")
    training = client.get_run(version.tags["labelrepair.training_run_id"])
    assert training.data.tags["labelrepair.tickets.data_hash"]
    assert "# labelrepair-tickets, version 1" in (folder / "08_reporting/model_card.md").read_text()
    assert (folder / "08_reporting/ab_evidence.json").exists()
    shutil.rmtree(folder)


def test_parallel_runner_is_refused_before_anything_is_written(host):
    before = len(host.runs())
    done = host.kedro("run", "--pipelines=tickets", "--runner=ParallelRunner", check=False)
    assert done.returncode != 0
    assert "ConfigError: runner: ParallelRunner cannot run 'tickets." in done.stderr
    assert "Use SequentialRunner (the default) or ThreadRunner" in done.stderr
    assert not (host.root / "data/tickets").exists()
    assert len(host.runs()) == before


def test_a_typo_names_the_parameter_with_its_namespace(host):
    done = host.kedro("run", "--params", "tickets.policy.review_budgt=1", check=False)
    assert (
        "tickets.policy.review_budgt: unknown option; did you mean 'review_budget'" in done.stderr
    )
    done = host.kedro("run", "--params", "faces.preset=jocor_digit", check=False)
    assert "unknown name 'jocor_digit' under 'presets'; did you mean 'jocor_digits'" in done.stderr


def test_the_files_of_a_namespace_are_not_overwritten(host):
    done = host.kedro("labelrepair", "add", "faces", check=False)
    assert done.returncode != 0
    assert "catalog_faces.yml: exists already" in done.stderr
    done = host.kedro("labelrepair", "add", "others", "--dataset=tickts", check=False)
    assert "unknown name 'tickts' under 'datasets'; did you mean 'tickets'" in done.stderr
    done = host.kedro("labelrepair", "names", "presets")
    assert "jocor_mnist" in done.stdout
    assert "type hints" not in done.stderr, "MLflow's advice to another package's author"


def test_the_starter_makes_a_project_that_runs_at_once(site, tmp_path):
    starter = ROOT / "starters/labelrepair"
    Host(tmp_path, site).kedro("new", f"--starter={starter}", "--name=My Labels", "--telemetry=no")
    made = Host(tmp_path / "my-labels", site)
    printed = made.kedro("run", "--params", "labels.recipe.training.budget=0.05").stdout
    assert "given labels 60.1 % correct -> repaired labels" in printed
    assert (made.root / "data" / TABLE).exists()
    assert [run.info.status for run in made.runs()] == ["FINISHED"]
    assert "cookiecutter" not in (made.root / "README.md").read_text()


def test_the_installed_package_offers_the_starter_by_name(site, tmp_path):
    assert "labelrepair" in Host(tmp_path, site).kedro("starter", "list").stdout
    Host(tmp_path, site).kedro("new", "--starter=labelrepair", "--name=Mine", "--telemetry=no")
    described = Host(tmp_path / "mine", site).kedro("registry", "describe", "labels").stdout
    assert "labels.train_model" in described


def test_a_project_of_the_starter_is_chosen_for_under_its_namespace(site, tmp_path):
    Host(tmp_path, site).kedro("new", "--starter=labelrepair", "--name=Mine", "--telemetry=no")
    made = Host(tmp_path / "mine", site)
    done = made.kedro("run", "--params=seed=7,preset=cross_entropy_mnist", check=False)
    assert done.returncode == 1
    told = "Error: --params preset: no such parameter; did you mean 'labels.preset'?"
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    folder = "--params=labels.workspace=foo"
    made.kedro("run", "--pipelines=labels", "--to-outputs=labels.label_table", folder)
    assert (made.root / "foo/03_primary/label_table.parquet").exists()
    assert not (made.root / "data/03_primary").exists()


def test_a_host_with_its_configuration_elsewhere(site, tmp_path):
    new = ("new", "--name=shop", "--tools=none", "--example=n", "--telemetry=no")
    Host(tmp_path, site).kedro(*new)
    made = Host(tmp_path / "shop", site)
    made.edit("src/shop/settings.py", SETTINGS + 'CONF_SOURCE = "config"\n')
    (made.root / "conf").rename(made.root / "config")
    printed = made.kedro("labelrepair", "add", "faces").stdout
    assert "wrote config/base/catalog_faces.yml" in printed
    assert "settings.py" not in printed, "which has ours already"
    assert not (made.root / "conf").exists()
    made.kedro("run", "--pipelines=faces", "--to-outputs=faces.label_table")
    assert (made.root / "data/faces/03_primary/label_table.parquet").exists()
