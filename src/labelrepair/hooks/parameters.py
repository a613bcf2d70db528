"""The hook that looks at parameters before any node runs."""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from labelrepair.ab import AbSpec
from labelrepair.config import from_dict, whole
from labelrepair.data import SourceSpec
from labelrepair.data.files import require_file
from labelrepair.data.storage import StorageSpec
from labelrepair.defaults import PARAMETER_FILES, conf_folder
from labelrepair.errors import ConfigError, nearest
from labelrepair.handoff import HandoffSpec
from labelrepair.hooks.runner import our_nodes
from labelrepair.ingest import CuratedSpec, SplitSpec
from labelrepair.noise import NoiseSpec
from labelrepair.policy import Policy
from labelrepair.refinement import RefinementSpec
from labelrepair.report import ReportSpec
from labelrepair.scoring import ScoringSpec
from labelrepair.thresholds import ReviewedThresholds
from labelrepair.transition import check_transition
from labelrepair.workflow import EstimationConfig, choose_preset

NEARLY = 0.75  # of difflib's similarity
CHOICE = ("dataset", "preset")
_ASKED = re.compile(r"runtime_params:\s*(\w+)")
_TOP = re.compile(r"^([A-Za-z]\w*)\s*:", re.MULTILINE)
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
        """Look at what nothing else would notice: wrong names of ``--params``, and no workspace.

        Raises:
            ConfigError: the first part of a name is no parameter, but one inside a namespace, or
                nearly one, or the workspace is empty.
        """
        loader: Any = context.config_loader
        chosen = set(loader.runtime_params or ())
        known = _parameter_names(Path(loader.conf_source)) if chosen else set()
        for name in sorted(chosen - known):
            # Another name may be the host's own, for code that asks for it.
            within = _namespaces(loader) if name in _our_names() else {}
            if meant := [f"'{space}.{name}'" for space in within if name in within[space]]:
                told = f"no such parameter; did you mean {' or '.join(meant)}?"
                raise ConfigError(f"--params {name}: {told}")
            if difflib.get_close_matches(name, known, n=1, cutoff=NEARLY):
                raise ConfigError(f"--params {name}: no such parameter; {nearest(name, known)}")
        _check_workspace({**loader["globals"], **(loader.runtime_params or {})})
        for name, given in (loader.runtime_params or {}).items():
            inside = isinstance(given, Mapping) and "workspace" in given
            if inside and name in _namespaces(loader):
                _check_workspace(given, f"{name}.")

    @hook_impl(tryfirst=True)  # before kedro-mlflow opens a run
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> None:
        """Build what the pipeline's nodes will build.

        Raises:
            LabelRepairError: an unknown option or method, a value out of range, a matrix that is
                not row-stochastic; the message names it.
        """
        named = {name for node in our_nodes(pipeline) for name in node.inputs}
        read = {name.removeprefix("params:") for name in named if name in catalog}
        for place, name in _places(read, SPECS):
            spec = from_dict(SPECS[name], catalog.load(f"params:{place}"), place)
            given = getattr(getattr(spec, "estimator", spec), "transition", None)
            if given is not None:
                check_transition(given, name=f"{place}.transition")
            if isinstance(spec, CuratedSpec) and spec.path:
                # The node that reads it comes after those that write.
                require_file(spec.path, f"{place}.path")
        for place, _ in _places(read, ["seed"]):
            whole(0, **{place: catalog.load(f"params:{place}")})
        for place, _ in _places(read, ["checkpoints"]):
            _check_folder(place, catalog.load(f"params:{place}"), str)
        for place, _ in _places(read, ["recipe"]):
            preset = f"{place.removesuffix('recipe')}preset"
            if preset in read:
                choose_preset(catalog.load(f"params:{place}"), catalog.load(f"params:{preset}"))


def _check_workspace(chosen: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse what would become a folder all the same, of the name ``None``, say."""
    _check_folder(f"{prefix}workspace", chosen.get("workspace", "data"), str | int | float)


def _check_folder(name: str, found: Any, kinds: Any) -> None:
    if not isinstance(found, kinds) or not str(found).strip():
        raise ConfigError(
            f"{name}: expected a folder, found {found!r}; name one (--params {name}=FOLDER), or "
            "leave it out"
        )


def _parameter_names(conf: Path) -> set[str]:
    """Return the names that ``--params`` may begin with: top-level keys, and what files ask for."""
    names: set[str] = set()
    for file in (*conf.rglob("*.yml"), *conf.rglob("*.yaml")):
        text = file.read_text("utf-8", errors="replace")
        names.update(_ASKED.findall(text))
        if "parameters" in str(file.relative_to(conf)):
            names.update(_TOP.findall(text))
    return names


def _namespaces(loader: Any) -> dict[str, Mapping[str, Any]]:
    """Return the parameters of a host's namespaces: what makes our choice, not any mapping."""
    try:
        parameters = loader["parameters"]
    except MissingConfigException:
        return {}
    inside = {key: value for key, value in parameters.items() if isinstance(value, Mapping)}
    return {key: inside[key] for key in sorted(inside) if set(CHOICE) <= inside[key].keys()}


def _our_names() -> set[str]:
    """Return the top-level keys of the parameter files that ship with the package."""
    files = (conf_folder() / "base" / f"parameters{suffix}.yml" for suffix in PARAMETER_FILES)
    return {name for file in files for name in _TOP.findall(file.read_text("utf-8"))}


def _places(read: Iterable[str], names: Iterable[str]) -> list[tuple[str, str]]:
    """Return (parameter as read, name) of each ``name`` in the pipeline, in any namespace."""
    ordered = sorted(read)
    return [(p, n) for n in names for p in ordered if p == n or p.endswith(f".{n}")]
