"""The resolver behind ``preset`` and ``dataset``: a choice by name that knows its alternatives."""

import re
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigTypeError, InterpolationKeyError
from yaml import YAMLError

from labelrepair.defaults import conf_folder, shipped, shipped_file
from labelrepair.errors import ConfigError, nearest, shown

GROUPS = ("presets", "datasets", "benchmarks")
# What a data set must bring, and what to write where it does not.
ADDED = {
    "source": "add where it is: 'source: {kind: ..., path: ...}'",
    "noise": "add 'noise: {kind: none}' if its labels are to be taken as they are",
    "probe": "add the plain training of the estimation, such as "
    "'probe: {network: {name: mlp}, schedule: {epochs: 20}}'",
}
_MISSING = re.compile(rf"\bdata\.({'|'.join(ADDED)})' not found")


class ChoiceLoader(OmegaConfigLoader):
    """Leaves the files that ship with the package to :func:`choose`, which reads one of each group.

    All of them together are a hundred files, seconds of every run, for the two that count.
    """

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Return the configuration of one kind, as Kedro merges it.

        Raises:
            ConfigError: a value of ``--params`` cannot be merged: a list in a mapping's place, or
                a parameter refers to one that is not there.
        """
        try:
            found: dict[str, Any] = super().__getitem__(key)
        except ConfigTypeError as error:
            kind = "what --params sets is of another kind than in the files"
            raise ConfigError(f"{key}: {kind} ({shown(error.msg)})") from error
        except YAMLError as error:
            raise ConfigError(f"{key}: {_broken(error)}") from error
        except InterpolationKeyError as error:
            said = shown(str(error).partition("\n")[0])
            advice = self._advice(_MISSING.search(said))
            raise ConfigError(f"{key}: {error.full_key}: {said}; {advice}") from error
        return found

    def _advice(self, of_data: "re.Match[str] | None") -> str:
        """Return what to do about a missing key: ``--params`` may have left it out.

        Args:
            of_data: the key, if it is one of those that a data set brings.
        """
        given = [f"--params {group}" for group in GROUPS if group in (self.runtime_params or {})]
        if of_data and not given:
            part = of_data[1]
            return f"the data set that is chosen says nothing of its {part}; {ADDED[part]}"
        if not given:
            return "define it, or correct the name"
        return (
            f"{' and '.join(given)} replaces a whole entry: name all of its keys, or set what is "
            "read from it (ingestion.noise, recipe, ...)"
        )

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
    if not isinstance(name, str):
        raise ConfigError(f"{group}: expected a name to choose by, found {name!r}")
    found = OmegaConf.select(_root_, group)
    own = [str(key) for key in found] if found is not None else []
    if name in own:
        return found[name]
    names = {*own, *shipped(group)}
    if name not in names:
        raise ConfigError(f"unknown name '{name}' under '{group}'; {nearest(name, names)}")
    file = shipped_file(group, name)
    try:
        return OmegaConf.select(OmegaConf.load(file), f"{group}.{name}")
    except YAMLError as error:
        raise ConfigError(f"{file}: {_broken(error)}") from error


def _broken(error: YAMLError) -> str:
    """Return in one line what of a file is no YAML, and where."""
    return f"not readable as YAML: {shown(' '.join(str(error).split()), 400)}"
