"""Which files and folders the ingestion reads, as the parameters name them."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

READERS = ("ingestion.source", "ingestion.curated")
_PLACES = ("path", "root", "image_root", "labels")
# With one of these a manifest's features are elsewhere, or in the manifest.
_NO_FILES_BESIDE = ("image_root", "text_column", "image_column", "feature_columns")
_PATTERN = re.compile(r"[*?\[]")


def raw_data(names: Sequence[str], parameters: Mapping[str, Any], project: Path) -> set[Path]:
    """Return the absolute places that nodes read whose inputs are ``names`` (``params:...``)."""
    read = [name.removeprefix("params:") for name in names if name.startswith("params:")]
    found = set()
    for name in read:
        if name in READERS or name.endswith(tuple(f".{reader}" for reader in READERS)):
            value: Any = parameters
            for key in name.split("."):
                value = value.get(key) if isinstance(value, Mapping) else None
            found |= {Path(os.path.normpath(project / place)) for place in _named(value or {})}
    return found


def _named(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield what options name: places, patterns of ``files`` up to the first ``*``, and inside."""
    for key, value in options.items():
        if key in _PLACES and isinstance(value, str):
            yield value
        elif key == "files" and isinstance(value, Mapping):
            yield from (_before_patterns(str(pattern)) for pattern in value.values())
        elif isinstance(value, Mapping):
            yield from _named(value)  # the sources that an overlay or an open set is made of
    inside = [key for key in _NO_FILES_BESIDE if options.get(key)]
    if options.get("kind") == "manifest" and not inside:
        yield str(Path(str(options.get("path"))).parent)  # its pictures lie beside it


def _before_patterns(pattern: str) -> str:
    parts = Path(pattern).parts
    plain = next((n for n, part in enumerate(parts) if _PATTERN.search(part)), len(parts))
    return str(Path(*parts[:plain]))
