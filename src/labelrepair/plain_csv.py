"""What a file is looked at for before it is read as a CSV, and what spreadsheets make of texts."""

import math
import mmap
import os
import re
from collections.abc import Sequence
from pathlib import Path

from labelrepair.errors import DataError, shown

# What pandas would unpack by itself.
COMPRESSED = (".bz2", ".gz", ".tar", ".xz", ".zip", ".zst")
SPREADSHEET = (
    "a spreadsheet takes such texts for numbers or dates and writes them otherwise; export again, "
    "and let it read the columns as text (import the file, do not open it)"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_DATE = re.compile(r"(\d{1,4})[-/.](\d{1,2})[-/.](\d{1,4})|(\d{1,4})[-/](\d{1,4})")
_NAMES = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_MONTHS = {name: str(number) for number, name in enumerate(_NAMES.split("|"), 1)}
_MONTH = re.compile(_NAMES, re.IGNORECASE)
_KEPT = re.compile(r"-?[1-9]\d{0,9}|0|TRUE|FALSE")
MOST_SHOWN = 1e11  # larger numbers are written as 1.23457E+19
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


def taken_for(text: str) -> tuple[float | str, ...] | None:
    """Return what a spreadsheet takes a text for: number, date or truth value; None: a text.

    Two texts with one such value may be one text, before and after a spreadsheet.
    """
    bare = text.strip()
    if bare.upper() in ("TRUE", "FALSE"):
        return (bare.upper(),)
    date = _DATE.fullmatch(_MONTH.sub(lambda name: _MONTHS[name[0].lower()], bare))
    if date:
        return tuple(sorted(float(part) for part in date.groups() if part))
    number = _number(bare)
    return None if number is None else (number,)


def rewritten(text: str) -> str:
    """Return what a spreadsheet writes for a number or a truth value; all else as it is.

    The parts of a date it writes in the order and with the marks of its language.
    """
    bare = text.strip()
    if bare.upper() in ("TRUE", "FALSE"):
        return bare.upper()
    number = _number(bare)
    if number is None:
        return text
    return f"{number + 0.0:.11g}" if abs(number) < MOST_SHOWN else f"{number:.5E}"


def survives(text: str) -> bool:
    """Return whether a spreadsheet writes a text as it has read it."""
    return _KEPT.fullmatch(text) is not None or taken_for(text) is None


def _number(bare: str) -> float | None:
    number = float(bare) if _NUMBER.fullmatch(bare) else math.nan
    return number if math.isfinite(number) else None
