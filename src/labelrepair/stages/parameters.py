"""Which keys of which parameter files a Kedro parameter is made of.

Kedro resolves ``${...}`` before a node sees a value; DVC watches the files as they are written. So
an interpolation is followed to where it leads, and a choice by a global (``${choose:presets,
${preset}}``) becomes a template of DVC, which knows the globals as variables.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from labelrepair.errors import ConfigError

Place = tuple[str, str]  # file, relative to the project, and dotted key; "" is the whole file
INNERMOST = re.compile(r"\$\{([^${}]*)\}")
# A global in a text that DVC will fill in, until all of Kedro's own ``${`` are gone.
MARKS = "\x01{}\x02"


@dataclass
class ParameterFiles:
    """The parameter files and globals of one configuration folder, as they are written.

    Attributes:
        project: the project's folder.
        folder: the environment's folder, usually conf/base.
    """

    project: Path
    folder: Path
    _content: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        """Read all files."""
        self._content = {
            kind: {str(file.relative_to(self.project)): _read(file) for file in self._files(kind)}
            for kind in ("parameters", "globals")
        }

    def _files(self, kind: str) -> list[Path]:
        """Return the files in which Kedro looks for ``parameters`` or ``globals``."""
        patterns = (f"{kind}*", f"{kind}*/**/*", f"**/{kind}*")
        found = {file for pattern in patterns for file in self.folder.glob(pattern)}
        return sorted(file for file in found if file.suffix in (".yml", ".yaml"))

    @property
    def variables(self) -> list[str]:
        """Return the files whose values DVC may fill into its templates."""
        return list(self._content["globals"])

    def places(self, names: Sequence[str]) -> list[Place]:
        """Return where the values of node inputs (``params:name``, ``parameters``) come from.

        Args:
            names: names of catalog entries; all others are passed over.

        Returns:
            Sorted places. Globals stand in them as templates of DVC, like ``presets.${preset}``.

        Raises:
            ConfigError: a parameter that no file defines, or an interpolation that is relative.
        """
        search = _Search(self._content)
        if "parameters" in names:
            search.found |= {(file, "") for file in self._content["parameters"]}
        for name in names:
            kind, _, key = name.partition(":")
            if kind == "params":
                search.key("parameters", key)
        whole = {file for file, key in search.found if not key}
        found = {(file, key) for file, key in search.found if not key or file not in whole}
        return sorted(tuple(_template(part) for part in place) for place in found)  # type: ignore[misc]


@dataclass
class _Search:
    """Follows interpolations and collects the places that it comes by."""

    content: dict[str, dict[str, Any]]
    found: set[Place] = field(default_factory=set)

    def key(self, kind: str, key: str) -> str:
        """Collect where ``key`` comes from; return its text if it is one."""
        text, defined = "", False
        for file, content in self.content[kind].items():
            value, at, rest = _walk(content, key.split("."))
            if rest and not (isinstance(value, str) and at):
                continue  # not in this file
            defined = True
            self.found.add((file, ".".join(at)))
            text = self.values(value, rest)
        if not defined:
            raise ConfigError(f"'{key}' is read by a node, but no file of {kind} has it")
        return text

    def values(self, value: Any, rest: Sequence[str] = ()) -> str:
        """Follow all interpolations of a value; return the text if it is one."""
        text = ""
        for text in _texts(value):
            while match := INNERMOST.search(text):
                tail = rest if match[0] == text else ()
                found = self.interpolation(match[1], tail)
                text = text[: match.start()] + found + text[match.end() :]  # noqa: PLW2901
        return text if isinstance(value, str) else ""

    def interpolation(self, body: str, rest: Sequence[str]) -> str:
        """Follow one ``${...}`` that has no other inside; ``rest`` is the key below its value."""
        resolver, colon, given = body.partition(":")
        arguments = [argument.strip() for argument in given.split(",")]
        if not colon:
            if body.startswith("."):
                raise ConfigError(f"'${{{body}}}': relative interpolations cannot be followed")
            return self.key("parameters", ".".join([body, *rest]))
        if resolver == "globals":
            self.key("globals", arguments[0])
            return MARKS.format(arguments[0])
        if resolver == "runtime_params":  # DVC passes none, so the default counts
            return arguments[1] if len(arguments) > 1 else ""
        if resolver == "choose":
            self.choice(arguments[0], arguments[1], rest)
        return ""

    def choice(self, group: str, name: str, rest: Sequence[str]) -> None:
        """Collect one alternative of a group: the file that is called like it, or the group's."""
        key = ".".join([group, name, *rest])
        for file, content in self.content["parameters"].items():
            for choice, value in (content.get(group) or {}).items():
                named = Path(file).stem == choice
                place = str(Path(file).with_stem(name)) if named else file
                if choice == name or "\x01" in name:
                    self.found.add((place, key))
                    self.values(_walk(value, rest)[0])


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return content


def _walk(value: Any, keys: Sequence[str]) -> tuple[Any, list[str], list[str]]:
    """Go down by keys as far as possible: the value there, the keys gone, the keys left."""
    gone: list[str] = []
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            break
        value = value[key]
        gone.append(key)
    return value, gone, list(keys[len(gone) :])


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a tree of values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _template(text: str) -> str:
    return text.replace("\x01", "${").replace("\x02", "}")
