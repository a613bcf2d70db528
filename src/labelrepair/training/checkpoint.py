"""Checkpoints: written whole or not at all, and refused where they do not belong."""

import contextlib
import hashlib
import importlib
import inspect
import json
import pickle
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from labelrepair import torch_files
from labelrepair.atomic import whole_file
from labelrepair.errors import CheckpointError, shown

FORMAT = 1
_NOT_A_CHECKPOINT = (EOFError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile)


def fingerprint(content: Mapping[str, Any]) -> str:
    """Return 16 hex characters that change with the run's settings, its data or this code.

    The code is that of this package and, of a network that is named by its import path, the module
    and the one that defines its class (and the classes that this one extends). What these import
    does not count.

    Args:
        content: JSON-serialisable settings and data hashes; ``network.name`` at any depth names a
            network.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps(content, sort_keys=True, default=str).encode())
    digest.update(torch.__version__.encode())
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(source.read_bytes())
    for path in _import_paths(content):
        for source in _sources(path):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def _import_paths(content: Any) -> Iterator[str]:
    """Yield the networks of settings that are named by their import path."""
    if isinstance(content, Mapping):
        network = content.get("network")
        name = network.get("name") if isinstance(network, Mapping) else None
        if isinstance(name, str) and (":" in name or "." in name):
            yield name
        content = [content[key] for key in sorted(content, key=str)]
    if isinstance(content, (list, tuple)):
        for part in content:
            yield from _import_paths(part)


def _sources(path: str) -> list[Path]:
    """Return the files of a network named by "package.module:Class" or "package.module.Class".

    None for what cannot be imported: building the network says why.
    """
    name, separator, attribute = path.partition(":")
    if not separator:
        name, _, attribute = path.rpartition(".")
    try:
        found: Any = importlib.import_module(name)
        parts = [found]
        for attribute_name in attribute.split("."):
            found = getattr(found, attribute_name)
    # A foreign module may raise anything.
    except Exception:
        return []
    found = inspect.unwrap(found)
    parts += inspect.getmro(found) if inspect.isclass(found) else [found]
    files: dict[Path, None] = {}
    for part in parts:
        with contextlib.suppress(TypeError, OSError):  # built in, or of no file
            file = Path(inspect.getsourcefile(part) or inspect.getfile(part))
            if file.is_file():
                files[file] = None
    return list(files)


class Checkpointer:
    """Saves and restores the loop's position in one file per fingerprint.

    A run with other settings, other data or other code has another fingerprint and so another
    file: it starts afresh and leaves this one alone.
    """

    def __init__(self, folder: str | Path, content: Mapping[str, Any], every: int = 1) -> None:
        """Choose the file.

        Args:
            folder: where checkpoints live; made on the first save.
            content: what identifies the run, see :func:`fingerprint`.
            every: epochs between saves.
        """
        self.fingerprint = fingerprint(content)
        self.path = Path(folder) / f"{self.fingerprint}.pt"
        self.every = every

    def address(self) -> dict[str, Any]:
        """Return plain values from which :meth:`at` finds the same file in another process."""
        return {"path": str(self.path), "fingerprint": self.fingerprint, "every": self.every}

    @classmethod
    def at(cls, address: Mapping[str, Any]) -> "Checkpointer":
        """Return the checkpointer of an :meth:`address`."""
        made = cls.__new__(cls)
        made.path = Path(address["path"])
        made.fingerprint, made.every = address["fingerprint"], address["every"]
        return made

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state`` (tensors and plain values), whole or not at all."""
        content = {"format": FORMAT, "fingerprint": self.fingerprint, **state}
        # A name of its own: the same run may be at work in another copy of the project.
        with whole_file(self.path, f".{uuid.uuid4().hex}") as stream:
            torch.save(content, stream)

    def load(self) -> dict[str, Any] | None:
        """Return the saved state on the CPU, or None if there is none.

        Raises:
            CheckpointError: the file is damaged, holds code (it is read with ``weights_only``), or
                belongs to another run.
        """
        if not self.path.exists():
            return None
        try:
            state = _read(self.path)
        except (OSError, RuntimeError, ValueError, KeyError, *_NOT_A_CHECKPOINT) as error:
            raise CheckpointError(
                f"{self.path}: not a readable checkpoint ({shown(error, 300)}); delete it to start "
                "afresh"
            ) from error
        if state.get("format") != FORMAT or state.get("fingerprint") != self.fingerprint:
            raise CheckpointError(
                f"{self.path}: checkpoint of another run (found format {state.get('format')}, "
                f"fingerprint {state.get('fingerprint')}; expected {FORMAT}, {self.fingerprint})"
            )
        return state

    def remove(self) -> None:
        """Delete the checkpoint, once what it protects has been saved elsewhere."""
        discard(self.path)


def discard(path: Path) -> None:
    """Delete a checkpoint's file, and what kills left of it half written."""
    for file in (path, *path.parent.glob(f".{path.name}.*.part")):
        file.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    state = torch_files.load(path)
    if not isinstance(state, dict):
        raise TypeError(f"holds a {type(state).__name__}")
    return state
