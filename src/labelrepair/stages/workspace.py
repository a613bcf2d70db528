"""Where a run belongs: in a DVC stage, in an experiment's temporary copy, or in a subfolder.

``dvc exp run --temp`` and the queue run in a copy of the project that is deleted afterwards. What
must outlive it (MLflow's store, checkpoints) lies in the project that the copy was made from.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from kedro.utils import find_kedro_project

from labelrepair.errors import ConfigError

SQLITE = "sqlite:///"
_ESCAPES = re.compile(r"\?|%[0-9A-Fa-f]{2}")


def home(project: Path) -> Path:
    """Return the project that a folder stands for: itself, or what it is a temporary copy of.

    DVC names the folder that an experiment was started from in ``DVC_ROOT``.
    """
    root = os.environ.get("DVC_ROOT") if in_stage() else None
    if not root:
        return project
    copies = [folder for folder in (project, *project.parents) if (folder / ".dvc").is_dir()]
    return Path(root) / project.relative_to(copies[0]) if copies else project


def in_home(path: str) -> str:
    """Return ``path`` as an absolute one of the home project: the resolver ``${home:path}``."""
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    return str(home(Path(project)) / path)


def absolute_store(uri: str, project: Path) -> str:
    """Return an SQLite address that means the same file from every folder; others as they are.

    Raises:
        ConfigError: the path holds what an address gives another meaning; the database would be
            another file, perhaps another project's.
    """
    file = uri.removeprefix(SQLITE)
    if file in (uri, "", ":memory:") or Path(file).is_absolute():
        return uri
    path = (home(project) / file).as_posix()
    if found := _ESCAPES.search(path):
        raise ConfigError(
            f"{path}: '{found[0]}' means something else in MLflow's address of the database; move "
            "or rename the project's folder"
        )
    return f"{SQLITE}{path}"


def in_stage() -> bool:
    """Return whether DVC has started this process."""
    return "DVC_STAGE" in os.environ


def stage_tags() -> Mapping[str, str]:
    """Return what tells the stages of one ``dvc repro`` or experiment from others; {} outside DVC.

    ``dvc_run`` is the experiment's name. A plain ``dvc repro`` has none: there it is made of the
    process id and the start time of the DVC process that all its stages have above them.
    """
    if not in_stage():
        return {}
    return {
        "dvc_stage": os.environ["DVC_STAGE"],
        "dvc_run": os.environ.get("DVC_EXP_NAME") or f"repro-{_dvc_process()}",
        "dvc_baseline": os.environ.get("DVC_EXP_BASELINE_REV", "none"),
    }


def _dvc_process() -> str:
    """Return the id of the DVC process above this one, or "unknown"."""
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415  # DVC depends on it

    for process in psutil.Process().parents():
        try:
            words = [Path(word).name for word in process.cmdline()[:3]]
        except psutil.Error:  # another user's
            continue
        if "dvc" in words:
            return f"{process.pid}-{int(process.create_time())}"
    return "unknown"
