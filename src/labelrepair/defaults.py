"""The configuration that ships with the package, and how it gets into another Kedro project.

In the repository these are the folders ``conf`` and ``starters``; the wheel carries copies of them
as package data (``setup.py``).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kedro.framework.project import settings

from labelrepair.atomic import whole_file
from labelrepair.errors import ConfigError, nearest, shown

PACKAGE = Path(__file__).parent
# What refers to other values: apart, as DVC writes only into files without such references.
CHOSEN = "_chosen"
PARAMETER_FILES = (
    "",
    "_ingestion",
    "_estimation",
    "_refinement",
    "_repair",
    "_report",
    "_handoff",
    "_ab",
    CHOSEN,
)
CATALOG_FILES = ("ingestion", "training", "reporting", "report", "handoff")
MLFLOW_ARTIFACT = "kedro_mlflow.io.artifacts.MlflowArtifactDataset"
TRACKING = "labelrepair.tracking."
# ${runtime_params:preset,${globals:preset}}: a choice that becomes a plain value in a host.
_CHOICE = re.compile(r"\$\{runtime_params:(\w+),\$\{globals:\1\}\}")
_MODULE = '''"""Repair of the labels of `{namespace}`."""

from kedro.pipeline import Pipeline
from labelrepair.pipelines import create_pipeline as repair


def create_pipeline(**_kwargs: object) -> Pipeline:
    """Return the pipeline, under its namespace."""
    return repair(namespace="{namespace}")
'''
# What our own files say of a choice, and what is true where the values stand in the file itself.
_OUR_CHOICE = (
    "# What is chosen: by --params, or in globals.yml (base or local). Leave these lines alone."
)
_HOSTS_CHOICE = """\
# What is chosen: edit here (`workspace` also in catalog_{0}.yml), or for one run:
# kedro run --params {0}.preset=NAME,{0}.seed=1"""
_ADVICE = re.compile(r"--params (?=recipe\.)")
# ${data.source}: refers to a parameter by its place, which the namespace moves.
_REFERENCE = re.compile(r"\$\{(\w+)(?=[.}])")
# What ends a quoted word inside ${...}, or begins another ${...}.
_UNSAFE = re.compile(r"[\\'\n]|\$\{")


@dataclass(frozen=True)
class Host:
    """What another project calls its use of the pipelines.

    Attributes:
        namespace: top key of the parameters and prefix of the catalog's entries.
        dataset: a shipped data set, or one that the host's ``datasets`` parameters define.
        preset: a shipped preset, or one that the host's ``presets`` parameters define.
        seed: see globals.yml.
        workspace: folder of the products; None = ``data/NAMESPACE``.
        mlflow: keep the catalog's MLflow entries; without them kedro-mlflow is not needed.
    """

    namespace: str
    dataset: str = "digits"
    preset: str = "auto_digits"
    seed: int = 0
    workspace: str | None = None
    mlflow: bool = True

    def __post_init__(self) -> None:
        """Check what becomes a part of names and paths."""
        if not self.namespace.isidentifier():
            raise ConfigError(
                f"namespace: expected letters, digits and _, found '{self.namespace}'"
            )
        if not isinstance(yaml.safe_load(self.namespace), str):
            raise ConfigError(
                f"namespace: '{self.namespace}' means something else in YAML; choose another name"
            )
        if found := _UNSAFE.search(self.folder):
            raise ConfigError(
                f"workspace: '{found[0]}' means something else in Kedro's files; name a folder "
                f"without it, found {self.workspace!r}"
            )

    @property
    def folder(self) -> str:
        """The folder of the products."""
        return self.workspace or f"data/{self.namespace}"


def conf_folder() -> Path:
    """Return the folder with ``base``: inside the installed package, or the repository's."""
    return _carried("conf")


def starter_folder() -> Path:
    """Return the folder of the starter's template."""
    return _carried("starters") / "labelrepair"


def _carried(name: str) -> Path:
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parents[1] / name


def shipped(group: str) -> list[str]:
    """Return the names that ship for a group: ``presets``, ``datasets`` or ``benchmarks``."""
    return sorted(file.stem for file in (conf_folder() / "base" / f"parameters_{group}").glob("*"))


def shipped_file(group: str, name: str) -> Path:
    """Return the file of one shipped entry.

    Raises:
        ConfigError: there is none of this name; the message has the nearest one.
    """
    if name not in shipped(group):
        raise ConfigError(f"unknown name '{name}' under '{group}'; {nearest(name, shipped(group))}")
    return conf_folder() / "base" / f"parameters_{group}" / f"{name}.yml"


def host_files(host: Host) -> dict[str, str]:
    """Return what a project needs for one namespace: path below ``conf/base`` -> content."""
    return {
        f"catalog_{host.namespace}.yml": _catalog(host),
        f"parameters_{host.namespace}.yml": _parameters(host, PARAMETER_FILES[:-1]),
        f"parameters_{host.namespace}{CHOSEN}.yml": _parameters(host, [CHOSEN]),
    }


def add_to_project(project: Path, host: Host, package: Path | None = None) -> list[Path]:
    """Write catalog, parameters and pipeline of one namespace, and ``mlflow.yml`` if needed.

    They go where the project's settings say that its configuration is.

    Args:
        project: root of a Kedro project.
        host: namespace and choices.
        package: folder of its Python package; the pipeline goes where ``find_pipelines`` looks.
            Kedro 1.7 finds a single pipeline by folder only, not by a line in the registry.

    Returns:
        The files written.

    Raises:
        ConfigError: a file of this namespace exists already, or neither the package nor the project
            has this data set or preset; nothing has been written.
    """
    conf = project / str(settings.CONF_SOURCE)
    base = conf / (settings.CONFIG_LOADER_ARGS.get("base_env") or "")
    for group, name in (("datasets", host.dataset), ("presets", host.preset)):
        names = {*shipped(group), *_defined(conf, group)}
        if name not in names:
            raise ConfigError(f"unknown name '{name}' under '{group}'; {nearest(name, names)}")
    files = {base / name: text for name, text in host_files(host).items()}
    if package is not None:
        module = package / "pipelines" / host.namespace / "__init__.py"
        files[module] = _MODULE.format(namespace=host.namespace)
    for file in files:
        if file.exists():
            raise ConfigError(f"{file}: exists already; remove it, or choose another namespace")
    if host.mlflow and not (base / "mlflow.yml").exists():
        files[base / "mlflow.yml"] = (conf_folder() / "base" / "mlflow.yml").read_text()
    for file, text in files.items():
        with whole_file(file) as stream:
            stream.write(text.encode())
    return list(files)


def _defined(conf: Path, group: str) -> set[str]:
    """Return the names that a project's own parameters define for a group, in any environment."""
    names: set[str] = set()
    for file in conf.rglob("*.y*ml"):
        if "parameters" not in str(file.relative_to(conf)):
            continue
        try:
            content = yaml.safe_load(file.read_text("utf-8"))
        except yaml.YAMLError as error:
            said = " ".join(str(error).split())
            raise ConfigError(f"{file}: not readable as YAML: {shown(said, 400)}") from error
        found = content.get(group) if isinstance(content, dict) else None
        names |= set(map(str, found)) if isinstance(found, dict) else set()
    return names


def _parameters(host: Host, suffixes: Sequence[str]) -> str:
    """Return shipped parameter files under the namespace, comments and all."""
    values = {
        "dataset": _scalar(host.dataset),
        "preset": _scalar(host.preset),
        "seed": str(host.seed),
        "workspace": _scalar(host.folder),
    }
    parts = []
    for suffix in suffixes:
        text = (conf_folder() / "base" / f"parameters{suffix}.yml").read_text()
        text = _CHOICE.sub(lambda found: values[found[1]], text)
        text = _REFERENCE.sub(rf"${{{host.namespace}.\1", text)
        text = text.replace(_OUR_CHOICE, _HOSTS_CHOICE.format(host.namespace))
        text = _ADVICE.sub(rf"\g<0>{host.namespace}.", text)
        parts.append("".join(f"  {line}\n" if line else "\n" for line in text.splitlines()))
    return f"# labelrepair's parameters.\n{host.namespace}:\n" + "\n".join(parts)


def _scalar(text: str) -> str:
    """Return a text as YAML, in quotes where it needs them."""
    return yaml.safe_dump([text], default_flow_style=True, width=math.inf).strip()[1:-1]


def _catalog(host: Host) -> str:
    """Return the shipped catalog with every entry, file and MLflow name inside the namespace."""
    # As in the parameters, whose value --params replaces: the summary names files by it.
    chosen = f"${{runtime_params:{host.namespace}.workspace,'{host.folder}'}}"
    entries: dict[str, Any] = {f"_{host.namespace}": chosen}
    for suffix in CATALOG_FILES:
        text = (conf_folder() / "base" / f"catalog_{suffix}.yml").read_text()
        text = text.replace("${_workspace}", f"${{_{host.namespace}}}")
        for name, entry in yaml.safe_load(text).items():
            placed = None if name.startswith("_") else _placed(entry, host)
            if placed is not None:
                entries[f"{host.namespace}.{name}"] = placed
    return yaml.safe_dump(entries, sort_keys=False, width=100)


def _placed(entry: dict[str, Any], host: Host) -> dict[str, Any] | None:
    """Return a catalog entry as the host needs it; None = leave it out."""
    kind = entry["type"]
    if kind == MLFLOW_ARTIFACT:
        if not host.mlflow:
            outer = {key: entry[key] for key in ("validator", "metadata") if key in entry}
            return {**entry["dataset"], **outer}
        return {**entry, "artifact_path": host.namespace}
    if kind.startswith(TRACKING):
        if not host.mlflow:
            return None
        if kind.endswith("ClassifierDataset"):
            return {**entry, "name": f"{host.namespace}_{entry.get('name', 'model')}"}
        return {**entry, "prefix": f"{host.namespace}.{entry.get('prefix', '')}"}
    return entry
