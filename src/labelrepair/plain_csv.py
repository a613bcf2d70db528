"""What a file is looked at for before it is read as a CSV."""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from labelrepair.errors import DataError, shown

# What pandas would unpack by itself.
COMPRESSED = (".bz2", ".gz", ".tar", ".xz", ".zip", ".zst")
_STARTS = {b"PAR1": "a Parquet file", b"PK\x03\x04": "an Excel workbook or a ZIP archive"}


def check_file(path: Path) -> None:
    """Refuse what is no file: reading a pipe would wait for ever, reading a device not end.

    Raises:
        DataError: nothing is there, or a folder, a pipe or a device.
    """
    if not path.is_file():
        found = "no regular file" if os.path.lexists(path) else "no such file"
        raise DataError(f"{path}: {found}")


def check_plain(file: Path) -> None:
    """Raise DataError if a CSV is compressed, as bombs are, or holds a NUL.

    pandas 2 ends the value at a NUL and says nothing.
    """
    if file.suffix.lower() in COMPRESSED:
        raise DataError(
            f"{file}: a compressed table is not read; unpack it, or write Parquet, which is "
            "compressed inside"
        )
    if file.stat().st_size == 0:
        return
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        found = text.find(b"\0")
        if found >= 0:
            line = text[:found].count(b"\n") + 1
            kinds = [f", as {kind}" for start, kind in _STARTS.items() if text[:4] == start]
            raise DataError(
                f"{file}: cannot be read as a table: line {line} holds a NUL character"
                f"{''.join(kinds)}; expected a CSV in UTF-8"
            )


def separator_hint(names: Sequence[object]) -> str:
    """Return what to say of a CSV whose one column seems to be several, else nothing.

    A spreadsheet separates by semicolons where the comma is the decimal mark.
    """
    if len(names) == 1:
        for mark, found in ((";", "';'"), ("\t", "tabs")):
            if mark in str(names[0]):
                listed = ",".join(part.strip(' "') for part in str(names[0]).split(mark))
                return f"the file looks separated by {found}, expected commas: {shown(listed)}"
    return ""
