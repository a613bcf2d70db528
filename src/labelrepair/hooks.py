"""Hooks: whether a run can work, where it comes from, and what it says at its end."""

import difflib
import http.client
import logging
import os
import platform
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
import torch
from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline
from omegaconf.errors import InterpolationResolutionError
from rich.console import Console

import labelrepair
from labelrepair.ab import AbSpec
from labelrepair.config import from_dict
from labelrepair.data import SourceSpec
from labelrepair.data.storage import StorageSpec
from labelrepair.errors import ConfigError, LabelRepairError, StoreError, nearest
from labelrepair.handoff import HandoffSpec
from labelrepair.ingest import CuratedSpec, SplitSpec
from labelrepair.label_table import data_hash
from labelrepair.noise import NoiseSpec
from labelrepair.policy import Policy
from labelrepair.provenance import project_facts
from labelrepair.refinement import RefinementSpec
from labelrepair.report import ReportSpec
from labelrepair.scoring import ScoringSpec
from labelrepair.stages.workspace import stage_tags
from labelrepair.thresholds import ReviewedThresholds
from labelrepair.tracking import trained
from labelrepair.training import choose_device
from labelrepair.training.checkpoint import discard
from labelrepair.transition import check_transition
from labelrepair.workflow import EstimationConfig, choose_preset

logger = logging.getLogger(__name__)
TIMEOUT = 5.0  # seconds that MLflow's server has for its first answer
NEARLY = 0.75  # of difflib's similarity
_TABLE = re.compile(r"(.*\.|)(?:label_table|repaired_table|features)")
_ASKED = re.compile(r"runtime_params:\s*(\w+)")
_TOP = re.compile(r"^([A-Za-z]\w*)\s*:", re.MULTILINE)
CHECKPOINTS = r"params:(.*\.)?checkpoints"
# What the nodes build from their parameters.
SPECS: dict[str, type[Any]] = {
    "ingestion.source": SourceSpec,
    "ingestion.split": SplitSpec,
    "ingestion.storage": StorageSpec,
    "ingestion.noise": NoiseSpec,
    "ingestion.curated": CuratedSpec,
    "estimation": EstimationConfig,
    "refinement": RefinementSpec,
    "scoring": ScoringSpec,
    "policy": Policy,
    "thresholds_from_reviews": ReviewedThresholds,
    "handoff": HandoffSpec,
    "ab": AbSpec,
    "report": ReportSpec,
}


class ParameterHook:
    """Refuses wrong parameters before any node runs, so that a typo overwrites nothing."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Look at the first part of every ``--params`` name: nothing else would read a wrong one.

        Raises:
            ConfigError: it is no parameter, but nearly one.
        """
        loader: Any = context.config_loader
        chosen = set(loader.runtime_params or ())
        known = _parameter_names(Path(loader.conf_source)) if chosen else set()
        for name in sorted(chosen - known):
            if difflib.get_close_matches(name, known, n=1, cutoff=NEARLY):
                raise ConfigError(f"--params {name}: no such parameter; {nearest(name, known)}")

    @hook_impl(tryfirst=True)  # before kedro-mlflow opens a run
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> None:
        """Build what the pipeline's nodes will build.

        Raises:
            LabelRepairError: an unknown option or method, a value out of range, a matrix that is
                not row-stochastic; the message names it.
        """
        named = {name for node in _ours(pipeline) for name in node.inputs}
        read = {name.removeprefix("params:") for name in named if name in catalog}
        for place, name in _places(read, SPECS):
            spec = from_dict(SPECS[name], catalog.load(f"params:{place}"), place)
            given = getattr(getattr(spec, "estimator", spec), "transition", None)
            if given is not None:
                check_transition(given, name=f"{place}.transition")
        for place, _ in _places(read, ["recipe"]):
            preset = f"{place.removesuffix('recipe')}preset"
            if preset in read:
                choose_preset(catalog.load(f"params:{place}"), catalog.load(f"params:{preset}"))


def _parameter_names(conf: Path) -> set[str]:
    """Return the names that ``--params`` may begin with: top-level keys, and what files ask for."""
    names: set[str] = set()
    for file in (*conf.rglob("*.yml"), *conf.rglob("*.yaml")):
        text = file.read_text("utf-8", errors="replace")
        names.update(_ASKED.findall(text))
        if "parameters" in str(file.relative_to(conf)):
            names.update(_TOP.findall(text))
    return names


def _ours(pipeline: Pipeline) -> list[Node]:
    """Return our nodes; those of a host are none of our business."""
    return [node for node in pipeline.nodes if node.func.__module__.startswith("labelrepair.")]


def _places(read: Iterable[str], names: Iterable[str]) -> list[tuple[str, str]]:
    """Return (parameter as read, name) of each ``name`` in the pipeline, in any namespace."""
    ordered = sorted(read)
    return [(p, n) for n in names for p in ordered if p == n or p.endswith(f".{n}")]


class DatasetHook:
    """Refuses a run on the table of another data set, and one that parts people from their data."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> None:
        """Compare the chosen data set with the one that was ingested last.

        Raises:
            ConfigError: another one is there, and this run begins with its table, or would put its
                own in the place of one that people have decided about.
        """
        read, made = pipeline.inputs(), pipeline.all_outputs()
        tables = [_TABLE.fullmatch(name) for name in sorted(read | made)]
        for prefix in sorted({found[1] for found in tables if found}):
            then, now = _ingested(catalog, prefix), f"params:{prefix}dataset"
            if then is None or now not in catalog or catalog.load(now) == then:
                continue
            told = f"the label table is that of '{then}'"
            if f"{prefix}ingested" in made:  # it will be another's in a moment
                decided = len(catalog.load(f"{prefix}human_decisions"))
                if not decided:
                    continue
                told = f"people have made {decided} decisions about '{then}' here"
            raise ConfigError(
                f"dataset: '{catalog.load(now)}' is chosen, but {told}; nothing has been done. "
                f"Run with --params dataset={then}, write `dataset: {then}` into "
                "conf/base/globals.yml, or give other data a folder of their own: "
                "--params workspace=FOLDER"
            )


def _ingested(catalog: CatalogProtocol[str, Any], prefix: str) -> str | None:
    """Return the data set of the label table that is there; None where nobody knows."""
    name = f"{prefix}ingested"
    if name not in catalog or not catalog.exists(name):
        return None
    found: str | None = catalog.load(name).get("dataset")
    return found


class ErrorHook:
    """Ends a command with the message alone where the error is one of ours: it says what to do."""

    @hook_impl(tryfirst=True)
    def after_context_created(self) -> None:
        """Show them so, unless LABELREPAIR_TRACEBACK is set or a host has a way of its own."""
        if sys.excepthook is sys.__excepthook__ and not os.environ.get("LABELREPAIR_TRACEBACK"):
            sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    found: BaseException | None = error
    while isinstance(found, InterpolationResolutionError):  # around what a resolver has raised
        found = found.__cause__ or found.__context__
    if isinstance(found, LabelRepairError):
        sys.stderr.write(f"Error: {found}\n(LABELREPAIR_TRACEBACK=1 shows where)\n")
    else:
        sys.__excepthook__(kind, error, trace)


class RunnerHook:
    """Refuses the runner that cannot run these pipelines, before anything has happened."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Look for a node of ours under ParallelRunner.

        Raises:
            ConfigError: there is one.
        """
        ours = [node.name for node in _ours(pipeline)]
        if ours and "ParallelRunner" in str(run_params.get("runner")):
            raise ConfigError(
                f"runner: ParallelRunner cannot run '{ours[0]}' and {len(ours) - 1} other nodes of "
                "labelrepair: it calls no hooks in its processes (no provenance, no checkpoint "
                "kept in order) and cannot hand MLflow's run to them. Use SequentialRunner (the "
                "default) or ThreadRunner; a training uses the cores or the GPU by itself"
            )


class StoreHook:
    """Refuses to start while MLflow's server cannot be reached, before any work is done."""

    @hook_impl(tryfirst=True)  # before kedro-mlflow, whose calls would be retried for minutes
    def after_context_created(self, context: KedroContext) -> None:
        """Ask the server that ``mlflow.yml`` or the environment names for a sign of life.

        Raises:
            StoreError: there is none within ``TIMEOUT`` seconds; the message names the address.
        """
        loader = context.config_loader
        patterns = {"mlflow": ["mlflow*", "mlflow*/**", "**/mlflow*"]}
        loader.config_patterns.update(patterns)  # type: ignore[attr-defined]
        try:
            server = loader["mlflow"].get("server") or {}
        except MissingConfigException:
            server = {}
        named = [server.get("mlflow_tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI")]
        named.append(server.get("mlflow_registry_uri"))
        for address in {str(name) for name in named if name}:
            check_store(address)


def check_store(address: str, timeout: float = TIMEOUT) -> None:
    """Raise StoreError unless a server at an http address answers, whatever it says."""
    if not address.startswith(("http://", "https://")):
        return
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=timeout).close()
    except urllib.error.HTTPError:
        return  # it is there; whether it lets us in, the first real call will tell
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StoreError(
            f"MLflow at {address} cannot be reached ({error}); nothing has been done. Start the "
            "server, or name another store in conf/local/mlflow.yml"
        ) from None


class ProvenanceHook:
    """Tags the MLflow run with git revision, dirty flag, data hash, device and versions."""

    def __init__(self) -> None:
        """Nothing is known before the context exists."""
        self._project = Path()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the project's folder."""
        self._project = Path(context.project_path)

    @hook_impl(trylast=True)
    def before_pipeline_run(self) -> None:
        """Set the tags that are known before anything has run, DVC's stage and run among them."""
        _tag(
            {
                **project_facts(self._project),
                "device": str(choose_device("auto")),
                "python": platform.python_version(),
                "torch": torch.__version__,
                "labelrepair": labelrepair.__version__,
                **stage_tags(),
            }
        )

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Tag the hash of a label table that has just been written, and a training that ended."""
        self._tag_table(dataset_name, data)
        if dataset_name.rpartition(".")[2] == "training_report":
            _tag({trained(data): "finished"})

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Tag the hash of the label table that a later pipeline starts from."""
        self._tag_table(dataset_name, data)

    def _tag_table(self, name: str, data: Any) -> None:
        prefix, _, last = name.rpartition(".")
        tables = ("label_table", "repaired_table")  # one hash: repairs touch none of its columns
        if last in tables and isinstance(data, pd.DataFrame):
            _tag({f"{prefix}.data_hash".removeprefix("."): data_hash(data)})


class SummaryHook:
    """Ends a run: removes the checkpoint that is no longer needed and shows the summary."""

    def __init__(self) -> None:
        """Nothing has been summarised yet."""
        self._summaries: dict[str, str] = {}
        self._tracked = ""
        self._checkpoints: list[Path] = []

    @hook_impl(trylast=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> None:
        """Remember the MLflow run, which is closed before the summary, and the checkpoints."""
        self._summaries, self._tracked = {}, _run_address()
        names = [name for name in pipeline.inputs() if re.fullmatch(CHECKPOINTS, name)]
        self._checkpoints = [Path(catalog.load(name)) for name in names]

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Remove the checkpoint once everything that training made has been saved.

        ``training_report`` is the last output of the training node; Kedro saves outputs in order.
        """
        prefix, _, name = dataset_name.rpartition(".")
        if name == "training_report":
            for folder in self._checkpoints:
                discard(folder / data["checkpoint"])
        elif name == "summary":
            self._summaries[prefix] = str(data)

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Print the summary, if this run made one; one for each namespace."""
        if not self._summaries:
            return
        console = Console(soft_wrap=True, highlight=False, markup=False)
        for namespace, text in sorted(self._summaries.items()):
            console.print(f"\n{namespace}" if namespace else "", text, sep="\n")
        if self._tracked:
            console.print(self._tracked)


def _run_address() -> str:
    """Return the line that says where the active MLflow run is, or nothing without one."""
    try:
        import mlflow  # noqa: PLC0415
    except ImportError:
        return ""
    run = mlflow.active_run()
    label = "MLflow run".ljust(31)
    return f"{label}{run.info.run_id} in {mlflow.get_tracking_uri()}" if run else ""


def _tag(tags: dict[str, str]) -> None:
    """Set tags on the active MLflow run; nothing happens without one, or without MLflow."""
    try:
        import mlflow  # noqa: PLC0415
    except ImportError:
        return
    if mlflow.active_run() is not None:
        mlflow.set_tags({f"labelrepair.{key}": value for key, value in tags.items()})
