"""``dvc.yaml`` from the Kedro graph: one stage per pipeline of the default run."""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kedro.config import AbstractConfigLoader, MissingConfigException
from kedro.framework.project import settings
from kedro.inspection import get_project_snapshot
from kedro.inspection.models import PipelineSnapshot
from kedro.io.catalog_config_resolver import CatalogConfigResolver
from omegaconf.errors import OmegaConfBaseException

from labelrepair.config import from_dict
from labelrepair.decisions import COLUMNS
from labelrepair.errors import ConfigError, shown
from labelrepair.stages.parameters import ParameterFiles, Place
from labelrepair.stages.raw_data import raw_data
from labelrepair.stages.sources import SourceTree

logger = logging.getLogger(__name__)
DECISIONS = "human_decisions.csv"
BASE = "base"  # what is in git; conf/local is another machine's business
HEADER = """\
# Written by `kedro dvc write` from the Kedro graph. Do not edit: change pipelines, parameters or
# the catalog (metadata: {dvc: ...}) and write it again. `kedro dvc write --check`: is it stale?
"""


@dataclass(frozen=True)
class DvcFacts:
    """What a catalog entry says to DVC, under ``metadata: {dvc: ...}``.

    Attributes:
        cache: False keeps the file in git instead of DVC's cache.
        persist: True keeps the file while its stage runs again (DVC removes outs before a stage).
        metric: the file is one of DVC's metrics; these are kept in git.
        plot: the file or folder holds pictures that ``dvc plots`` shows.
        plots: title -> settings of a plot; ``file`` is the data's file inside the entry's folder.
        deps: paths that are read beside the pipeline's inputs to make this entry.
    """

    cache: bool = True
    persist: bool = False
    metric: bool = False
    plot: bool = False
    plots: dict[str, Any] = field(default_factory=dict)
    deps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One catalog entry with a file: its path, relative to the project, and what it says to DVC."""

    path: str
    facts: DvcFacts


def render(project: Path) -> str:
    """Return the text of ``dvc.yaml`` for a Kedro project.

    Args:
        project: the project's folder, with pyproject.toml.

    Raises:
        ConfigError: two stages write the same file, unknown keys under ``metadata: {dvc: ...}``,
            or a parameter that no file defines.
    """
    project = project.resolve()
    snapshot = get_project_snapshot(project, env=BASE)
    folder = project / str(settings.CONF_SOURCE)
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(folder), env=BASE, **settings.CONFIG_LOADER_ARGS
    )
    in_memory = {"{default}": {"type": "MemoryDataset"}}
    resolver = CatalogConfigResolver(loader["catalog"], default_runtime_patterns=in_memory)
    parameters = ParameterFiles(project, folder / BASE)
    values = _values(loader)
    chosen = _stages({pipeline.name: pipeline for pipeline in snapshot.pipelines})
    names = {name for pipeline in chosen for node in pipeline.nodes for name in _names(node)}
    entries = {name: entry for name in names if (entry := _entry(name, resolver, project))}
    _check_outs(chosen, entries)
    made = sorted(name for name in entries if any(name in _outputs(p) for p in chosen))
    content = {
        "vars": parameters.variables,
        "stages": {p.name: _stage(p, entries, parameters, values, project) for p in chosen},
        "plots": [plot for name in made for plot in _plots(entries[name])],
    }
    filled = {key: value for key, value in content.items() if value}
    return HEADER + yaml.dump(filled, Dumper=_Dumper, sort_keys=False, width=100)


def make_inputs(project: Path, text: str) -> list[str]:
    """Make what DVC wants to exist before the first run, though the pipelines do without it.

    Args:
        project: the project's folder.
        text: of ``dvc.yaml``.

    Returns:
        The paths made: a ``.gitkeep`` in folders of raw data, and empty files of decisions.
    """
    stages = yaml.safe_load(text)["stages"].values()
    outs = {str(next(iter(o)) if isinstance(o, dict) else o) for s in stages for o in s["outs"]}
    made = []
    for path in sorted({dep for stage in stages for dep in stage.get("deps", ())} - outs):
        file = project / path
        # A link that leads nowhere now may lead to people's decisions, of a share.
        if (
            os.path.lexists(file)
            or path.startswith("src/")
            or (file.suffix and file.name != DECISIONS)
        ):
            continue
        file = file if file.suffix else file / ".gitkeep"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(",".join(COLUMNS) + "\n" if file.suffix else "", encoding="utf-8")
        made.append(file.relative_to(project).as_posix())
    return made


def _values(loader: AbstractConfigLoader) -> Mapping[str, Any]:
    """Return the parameters as nodes see them."""
    try:
        return dict(loader["parameters"])
    except MissingConfigException:
        return {}
    except OmegaConfBaseException as error:
        raise ConfigError(f"parameters: {shown(str(error).partition(chr(10))[0])}") from error


def _stages(pipelines: dict[str, PipelineSnapshot]) -> list[PipelineSnapshot]:
    """Choose the smallest pipelines that make up the default one; producers come first."""
    nodes = {name: {node.name for node in p.nodes} for name, p in pipelines.items()}
    default = nodes.pop("__default__", set().union(*nodes.values()))
    parts = {name: inner for name, inner in nodes.items() if inner and inner <= default}
    small = [name for name in parts if not any(other < parts[name] for other in parts.values())]
    waiting = [pipelines[name] for name in sorted(small)]
    ordered: list[PipelineSnapshot] = []
    while waiting:
        open_inputs = {name for pipeline in waiting for name in _outputs(pipeline)}
        ready = [p for p in waiting if not open_inputs & ({*p.inputs} - _outputs(p))]
        if not ready:
            raise ConfigError(f"pipelines need each other's files: {[p.name for p in waiting]}")
        ordered += ready[:1]
        waiting.remove(ready[0])
    return ordered


def _names(node: Any) -> list[str]:
    return [*node.inputs, *node.outputs]


def _outputs(pipeline: PipelineSnapshot) -> set[str]:
    return {name for node in pipeline.nodes for name in node.outputs}


def _entry(name: str, resolver: CatalogConfigResolver, project: Path) -> Entry | None:
    """Return the catalog entry of a name, or None if it has no file."""
    config = {} if ":" in name else resolver.resolve_pattern(name)
    metadata: dict[str, Any] = config.get("metadata") or {}
    inner: Any = config
    while isinstance(inner, dict) and not {"filepath", "path"} & {*inner}:
        inner = inner.get("dataset")  # in a wrapper, like MlflowArtifactDataset
    if not isinstance(inner, dict):
        return None
    path: str = inner.get("filepath") or inner["path"]
    if Path(path).is_absolute() and Path(path).is_relative_to(project):
        path = Path(path).relative_to(project).as_posix()
    return Entry(path, from_dict(DvcFacts, metadata.get("dvc") or {}, f"{name}.metadata.dvc"))


def _check_outs(chosen: Iterable[PipelineSnapshot], entries: dict[str, Entry]) -> None:
    """Refuse two stages with one out, which DVC would refuse with a longer message."""
    writers: dict[str, str] = {}
    for pipeline in chosen:
        for path in sorted({entries[n].path for n in _outputs(pipeline) if n in entries}):
            if path in writers:
                raise ConfigError(
                    f"pipelines '{writers[path]}' and '{pipeline.name}' both write {path}; "
                    "DVC needs one stage for each file"
                )
            writers[path] = pipeline.name


def _stage(
    pipeline: PipelineSnapshot,
    entries: dict[str, Entry],
    parameters: ParameterFiles,
    values: Mapping[str, Any],
    project: Path,
) -> dict[str, Any]:
    """Return one stage."""
    reads = [entries[name] for name in pipeline.inputs if name in entries]
    writes = [entries[name] for name in sorted(_outputs(pipeline)) if name in entries]
    deps = {entry.path for entry in reads} | {dep for e in writes for dep in e.facts.deps}
    deps |= _raw_data(pipeline, values, project, deps, [entry.path for entry in writes])
    metrics = [{e.path: {"cache": False}} for e in writes if e.facts.metric]
    stage = {
        "cmd": f"kedro run --pipelines {pipeline.name}",
        "deps": sorted(deps | _sources(pipeline, project)),
        "params": _params(parameters.places(pipeline.inputs)),
        "outs": sorted((_out(e) for e in writes if not e.facts.metric), key=str),
        "metrics": sorted(metrics, key=str),
    }
    return {key: value for key, value in stage.items() if value}


def _raw_data(
    pipeline: PipelineSnapshot,
    values: Mapping[str, Any],
    project: Path,
    watched: Iterable[str],
    outs: Iterable[str],
) -> set[str]:
    """Return what a stage reads of the chosen data set that ``watched`` does not hold."""
    above = [project / path for path in watched]
    made = [project / path for path in outs]
    found: set[str] = set()
    for place in sorted(raw_data(pipeline.inputs, values, project)):
        if any(place.is_relative_to(folder) for folder in above):
            continue
        if place.is_relative_to(project) and not any(out.is_relative_to(place) for out in made):
            found.add(place.relative_to(project).as_posix())
            above.append(place)  # sorted: a folder comes before what it holds
        else:
            logger.warning(
                "DVC does not watch %s, which stage '%s' reads: it lies outside the project, or "
                "around the stage's own products. Move it into a folder like data/01_raw, or run "
                "after each change of it: dvc repro --force %s",
                *(place, pipeline.name, pipeline.name),
            )
    return found


def _out(entry: Entry) -> str | dict[str, Any]:
    facts = {"cache": False} if not entry.facts.cache else {}
    facts |= {"persist": True} if entry.facts.persist else {}
    return {entry.path: facts} if facts else entry.path


def _sources(pipeline: PipelineSnapshot, project: Path) -> set[str]:
    """Return the source files of the project that the pipeline's nodes use."""
    places = [(project / n.source.filepath, n.func_name) for n in pipeline.nodes if n.source]
    tree = SourceTree(project / "src")
    return {path.relative_to(project).as_posix() for path in tree.used_by(places)}


def _params(places: Iterable[Place]) -> list[Any]:
    """Return places as DVC writes them: file -> keys."""
    files: dict[str, list[str]] = {}
    for file, key in places:
        files.setdefault(file, []).extend([key] if key else [])
    return [{file: keys or None} for file, keys in files.items()]


def _plots(entry: Entry) -> list[Any]:
    """Return the top-level plots of an entry."""
    plots: list[Any] = [entry.path] if entry.facts.plot else []
    for title, settings_ in entry.facts.plots.items():
        others = {key: value for key, value in settings_.items() if key not in ("file", "y")}
        file = "/".join([entry.path, *filter(None, [settings_.get("file")])])
        plots.append({title: {**others, "y": {file: settings_["y"]}}})
    return plots


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)
