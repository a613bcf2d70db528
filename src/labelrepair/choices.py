"""The resolver behind ``preset`` and ``dataset``: a choice by name that knows its alternatives."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from labelrepair.defaults import shipped, shipped_file
from labelrepair.errors import ConfigError, nearest


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
