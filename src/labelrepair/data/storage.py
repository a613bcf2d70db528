"""How features are kept: in one array, in shards, or where their image files are."""

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelrepair.atomic import whole_path
from labelrepair.config import one_of, positive, require
from labelrepair.data.image_files import ImageFiles, hashed
from labelrepair.data.images import EncodedImages
from labelrepair.data.rows import Array, RowStore, blocks
from labelrepair.data.shards import (
    HASHES,
    MANIFEST,
    Shards,
    hex_of,
    read_manifest,
    write_shards,
)
from labelrepair.data.store import read_features
from labelrepair.errors import ConfigError, DataError
from labelrepair.label_table import content_hashes

KINDS = ("auto", "resident", "shards", "files")


@dataclass(frozen=True)
class StorageSpec:
    """How features are kept.

    Attributes:
        kind: ``resident`` (one array, in memory or on the GPU while training), ``shards`` (files
            that are read as batches need them), ``files`` (only the paths are kept; images are
            decoded as batches need them) or ``auto`` (resident up to ``limit_bytes``, else shards).
        limit_bytes: of ``auto``.
        shard_bytes: size of a shard, about.
        unfinished: folder in which shards grow before they become the feature store; an ingestion
            that was stopped goes on there, and shards of one that was given up are removed.
    """

    kind: str = "auto"
    limit_bytes: float = 2.0e9
    shard_bytes: float = 2.5e8
    unfinished: str = "data/04_feature/unfinished"

    def __post_init__(self) -> None:
        """Check kind and sizes."""
        one_of(KINDS, kind=self.kind)
        positive(shard_bytes=self.shard_bytes, limit_bytes=self.limit_bytes)
        place = Path(self.unfinished)
        found = next((path for path in (place, *place.parents) if path.exists()), Path())
        require(
            found.is_dir(), f"unfinished: expected a folder, but {found} is none: {self.unfinished}"
        )


def stored(features: Any, spec: StorageSpec) -> tuple[Any, list[str]]:
    """Bring features into the form in which they are kept.

    Args:
        features: an array, or images that are not decoded yet.
        spec: how to keep them.

    Returns:
        An array (``resident``), :class:`Shards` in ``spec.unfinished`` or :class:`ImageFiles`; and
        the content hash of each row.

    Raises:
        DataError: an image cannot be read.
        ConfigError: ``files``, but the features are not image files.
    """
    kind = spec.kind
    if kind == "auto":
        kind = "resident" if features.nbytes <= spec.limit_bytes else "shards"
    if kind == "resident":
        array = np.asarray(features)
        return array, content_hashes(array)
    if kind == "files":
        if not isinstance(features, EncodedImages):
            raise ConfigError(
                f"ingestion.storage.kind: files needs images in files; this source has "
                f"{features.dtype} {features.shape[1:]} in memory; use shards or resident"
            )
        store: Shards | ImageFiles = hashed(features)
    else:
        rows = int(max(1, spec.shard_bytes // max(1, features.nbytes // max(1, len(features)))))
        name = fingerprint(features, rows)
        folder = Path(spec.unfinished)
        for other in folder.iterdir() if folder.is_dir() else ():
            if other.name != name and _given_up(other):
                shutil.rmtree(other, ignore_errors=True)
        store = write_shards(folder / name, features, rows)
        store.unfinished = True
    return store, [hex_of(number) for number in store.hashes]


def _given_up(folder: Path) -> bool:
    """Return whether this is what an ingestion left behind, and nothing of anybody else."""
    if not (re.fullmatch("[0-9a-f]{16}", folder.name) and folder.is_dir()):
        return False
    ours = ("shard-", HASHES, MANIFEST)
    return all(any(part in file.name for part in ours) for file in folder.iterdir())


def fingerprint(features: Any, rows_per_shard: int) -> str:
    """Return 16 hex characters that change with what the features are made of.

    Image files count by path, size, inode and times of change; anything else by its bytes. Two
    files that were swapped by name may have one size and one ``mtime``: of an archive's seconds.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(f"{features.shape} {features.dtype} {rows_per_shard}".encode())
    if not isinstance(features, EncodedImages):
        for block in blocks(features):
            digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()
    digest.update(f"{features.mode} {features.image_size}".encode())
    for source, name in zip(features.sources, features.names, strict=True):
        digest.update(_facts(source, name))
    return digest.hexdigest()


def _facts(source: bytes | str, name: str) -> bytes:
    if isinstance(source, bytes):
        return hashlib.blake2b(source).digest()
    try:
        found = os.stat(source)
    except OSError as error:
        raise DataError(f"{name}: not a readable image: {error}") from error
    parts = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    return f"{source}\n{' '.join(map(str, parts))}\n".encode()


def save_features(path: Path, features: Any) -> None:
    """Write what :func:`stored` returned to its place, whole or not at all.

    Shards that :func:`stored` has just made are moved there, others copied.
    """
    with whole_path(path) as new:
        if isinstance(features, Shards):
            if features.unfinished:
                shutil.move(features.folder, new)
            else:
                shutil.copytree(features.folder, new)
        elif isinstance(features, ImageFiles):
            features.save(new)
        else:
            with new.open("wb") as stream:
                np.save(stream, np.asarray(features), allow_pickle=False)


def load_features(path: Path, mmap: bool = True, workers: int | None = None) -> Array | RowStore:
    """Return what :func:`save_features` wrote.

    Args:
        path: a ``.npy`` file or a folder.
        mmap: map an array instead of reading it.
        workers: processes that decode image files; None = by the number of cores.

    Raises:
        DataError: missing, damaged, or of another data set.
    """
    if not path.is_dir():
        return read_features(path, mmap)
    if read_manifest(path)["storage"] == "files":
        return ImageFiles.load(path, workers)
    return Shards(path)
