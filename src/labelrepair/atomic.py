"""Files and folders that are written whole or not at all."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from labelrepair.errors import StoreError

ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space of your quota",
    errno.EFBIG: "raise the limit on the size of files",
    errno.EROFS: "make the place writable",
    errno.EACCES: "get the permission to write there",
    errno.EPERM: "get the permission to write there",
}
SHORT = r"\d+ requested and \d+ written"  # NumPy's words; it does not say why


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turn what the system refuses into an error that says what to do."""
    try:
        yield
    except Exception as error:
        if (stop := _interruption(error)) is not None:
            raise stop from None  # the error has it as its context
        refused = _system_error(error)
        if refused is None:
            raise
        raise StoreError(
            f"{path}: cannot be written ({refused[0]}); what was there before is as it was. "
            f"To go on, {refused[1]} and run again"
        ) from error


def _interruption(error: BaseException | None) -> BaseException | None:
    """Return the Ctrl-C or the end of the process that torch, while writing, made its own error."""
    while error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        error = error.__cause__ or error.__context__
    return error


def _system_error(error: BaseException | None) -> tuple[str, str] | None:
    """Return what the system refused, and advice: torch and Kedro raise errors of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in ADVICE:
            return os.strerror(error.errno), ADVICE[error.errno]
        if isinstance(error, OSError) and re.search(SHORT, str(error)):
            return "the disk took only a part", ADVICE[errno.ENOSPC]
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def whole_file(path: Path, writer: str = "") -> Iterator[BinaryIO]:
    """Open a temporary file that replaces ``path`` once the block has ended well.

    Args:
        path: the file; its folder is made if needed. After an error it is as it was.
        writer: tells writers apart that may write ``path`` at the same time.

    Raises:
        StoreError: the disk is full, the place is not ours to write to, or ``path`` is a folder, a
            pipe or a device.

    Yields:
        A binary stream. Its name is the writer's own, in the same folder (a rename is atomic only
        within one file system): what a kill leaves there, the next save overwrites.
    """
    temporary = path.with_name(f".{path.name}{writer}.part")
    with _refusals(path):
        _check_replaceable(path, folders=False)
        _make(path.parent)
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
        StoreError: the disk is full, the place is not ours to write to, or ``path`` is a pipe or a
            device.
    """
    hidden = path.with_name(f".{path.name}.parts")
    new, old = hidden / path.name, hidden / "old"
    with _refusals(path):
        _check_replaceable(path, folders=True)
        shutil.rmtree(hidden, ignore_errors=True)
        _make(path.parent)
        hidden.mkdir()
        try:
            yield new
            _sync(new)
            _swap(new, path, old)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def _make(folder: Path) -> None:
    """Make a folder and those around it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in ADVICE:
            raise
        raise StoreError(
            f"{folder}: cannot be made ({os.strerror(error.errno or 0)}), expected a folder or "
            "nothing there; nothing has been written"
        ) from error


def _check_replaceable(path: Path, *, folders: bool) -> None:
    """Refuse what a rename would put a file in the place of: a pipe, a device and the like."""
    if not path.exists() or path.is_file() or (path.is_dir() and folders):
        return
    expected = "a file or a folder" if folders else "a file"
    found = "a folder" if path.is_dir() else "neither a file nor a folder (a pipe, a device)"
    raise StoreError(
        f"{path}: is {found}, expected {expected} or nothing there; nothing has been written"
    )


def _swap(new: Path, path: Path, old: Path) -> None:
    """Put ``new`` at ``path``; what no rename replaces goes to ``old``, and back after an error."""
    if path.is_dir() or (path.exists() and new.is_dir()):
        os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise


def _sync(path: Path) -> None:
    """Make the system write a file, or all files of a folder, to the disk."""
    if path.is_dir():
        for inner in path.iterdir():
            _sync(inner)
        return
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
