"""Files and folders that are written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path, writer: str = "") -> Iterator[BinaryIO]:
    """Open a temporary file that replaces ``path`` once the block has ended well.

    Args:
        path: the file; its folder is made if needed. After an error it is as it was.
        writer: tells writers apart that may write ``path`` at the same time.

    Yields:
        A binary stream. Its name is the writer's own, in the same folder (a rename is atomic only
        within one file system): what a kill leaves there, the next save overwrites.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{writer}.part")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """Offer a path whose file or folder replaces ``path`` once the block has ended well.

    For writers that want a path, of a certain ending, instead of a stream. A file is replaced by
    one rename. A folder, or what a folder replaces, is set aside first, so a kill between the two
    renames leaves none at all, never a mixture.

    Args:
        path: the file or folder; the folder around it is made if needed. After an error it is as
            it was.

    Yields:
        A path of the same name in a hidden folder beside ``path``: what a kill leaves there, the
        next save removes.

    Raises:
        FileNotFoundError: the block has written nothing.
    """
    hidden = path.with_name(f".{path.name}.parts")
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    new, old = hidden / path.name, hidden / "old"
    try:
        yield new
        _sync(new)
        if path.is_dir() or (path.exists() and new.is_dir()):
            os.replace(path, old)
        try:
            os.replace(new, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _sync(path: Path) -> None:
    """Make the system write a file, or all files of a folder, to the disk."""
    if path.is_dir():
        for inner in path.iterdir():
            _sync(inner)
        return
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
