"""The resolver behind ``preset`` and ``dataset``: a choice by name that knows its alternatives."""

from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import DictConfig, OmegaConf

from labelrepair.defaults import conf_folder, shipped, shipped_file
from labelrepair.errors import ConfigError, nearest

GROUPS = ("presets", "datasets", "benchmarks")


class ChoiceLoader(OmegaConfigLoader):
    """Leaves the files that ship with the package to :func:`choose`, which reads one of each group.

    All of them together are a hundred files, seconds of every run, for the two that count.
    """

    def _is_valid_config_path(self, path: Path) -> bool:
        shipped_here = path.parent.parent == conf_folder() / "base"
        if shipped_here and path.parent.name.removeprefix("parameters_") in GROUPS:
            return False
        return bool(super()._is_valid_config_path(path))


def choose(group: str, name: str, *, _root_: DictConfig) -> Any:
    """Return ``group.name`` of the parameters, for ``${choose:group,name}``.

    What the project itself defines comes first, then what ships with the package.

    Raises:
        ConfigError: there is no such name; the message has the nearest one.
    """
    found = OmegaConf.select(_root_, group)
    own = [str(key) for key in found] if found is not None else []
    if name in own:
        return found[name]
    names = {*own, *shipped(group)}
    if name not in names:
        raise ConfigError(f"unknown name '{name}' under '{group}'; {nearest(name, names)}")
    return OmegaConf.select(OmegaConf.load(shipped_file(group, name)), f"{group}.{name}")
