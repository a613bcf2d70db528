"""The resolver behind ``preset`` and ``dataset``: a choice by name that knows its alternatives."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from labelrepair.errors import ConfigError, nearest


def choose(group: str, name: str, *, _root_: DictConfig) -> Any:
    """Return ``group.name`` of the parameters, for ``${choose:group,name}``.

    Raises:
        ConfigError: there is no such name; the message has the nearest one.
    """
    found = OmegaConf.select(_root_, group)
    names = [str(key) for key in found] if found is not None else []
    if name not in names:
        raise ConfigError(f"unknown name '{name}' under '{group}'; {nearest(name, names)}")
    return found[name]
