"""Paths and tables shared by the readers: nothing outside the given root is ever opened."""

import csv
import mmap
import os
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from labelrepair.data.labels import as_text, check_scalars
from labelrepair.errors import DataError, nearest, shown

PARQUET = (".parquet", ".pq")
# What pandas unpacks by itself.
COMPRESSED = (".bz2", ".gz", ".tar", ".xz", ".zip", ".zst")


def inside(root: str | Path, name: str, where: str) -> str:
    """Return the real path of ``name`` below ``root``.

    Raises:
        DataError: if ``..``, an absolute path or a link leads outside ``root``.
    """
    real_root = os.path.realpath(root)
    try:
        path = os.path.realpath(os.path.join(real_root, name))
    except (ValueError, OSError) as error:
        raise DataError(f"{where}: '{shown(name)}' is no path: {error}") from None
    if path != real_root and not path.startswith(os.path.join(real_root, "")):
        raise DataError(f"{where}: '{shown(name)}' leads outside {root}")
    return path


def require_file(path: str | Path, where: str) -> Path:
    """Return ``path`` if it or what it links to is a file, else raise DataError.

    Reading a pipe would wait for ever, reading a device might never end.
    """
    if not Path(path).is_file():
        found = "it is no regular file" if os.path.lexists(path) else "it does not exist"
        raise DataError(f"{where}: no file at {path}: {found}")
    return Path(path)


def read_table(path: str) -> pd.DataFrame:
    """Read a CSV (every value as text, blank = null) or a Parquet file (by its own types).

    Raises:
        DataError: the file is missing, empty, ragged, not CSV or Parquet, larger than the memory,
            or has two columns of one name.
    """
    file, names = require_file(path, "table"), []
    try:
        if file.suffix.lower() in PARQUET:
            _check_parquet(file)
            return pd.read_parquet(file)
        _check_no_nul(file)
        header = pd.read_csv(file, dtype=str, header=None, nrows=1, keep_default_na=False)
        names = header.iloc[0].tolist()
        _check_columns(names, file)
        with warnings.catch_warnings():
            # pandas only warns when a row is longer than the header, and drops the rest.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                file, dtype=str, keep_default_na=False, na_values=[""], index_col=False
            )
    except DataError:
        raise
    except (ValueError, OSError, pa.ArrowException, pd.errors.ParserWarning) as error:
        found = separator_hint(names) or shown(error, 500)
        raise DataError(f"{file}: cannot be read as a table: {found}") from error


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


def place_of(row: int, file: str) -> str:
    """Return where a row stands in its table, for a message: "line 6" of a CSV, else "row 4".

    The file is read again, as a text within quotes may go over several lines and blank lines are
    no rows.

    Args:
        row: from 0, without the header.
        file: the table, or what a message calls it.
    """
    path = Path(file)
    if path.suffix.lower() not in (*PARQUET, *COMPRESSED) and path.is_file():
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                for line in islice(_first_lines(stream), row + 1, None):
                    return f"line {line}"
        except (ValueError, csv.Error):
            pass  # it was another error that brought us here
    return f"row {row}"


def _first_lines(stream: TextIO) -> Iterator[int]:
    """Yield the line that each record of a CSV begins in, as pandas sees records."""
    reader, line = csv.reader(stream), 1
    for record in reader:
        if len(record) > 1 or "".join(record).strip():
            yield line
        line = reader.line_num + 1


def check_memory(needed: float, what: str) -> None:
    """Raise DataError if ``needed`` bytes are more than this machine has: a bomb, or too large."""
    names = getattr(os, "sysconf_names", {})  # not on Windows
    if "SC_PHYS_PAGES" in names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > memory:
            raise DataError(
                f"{what} unpacks to {needed / 2**30:.0f} GiB, this machine has "
                f"{memory / 2**30:.0f} GiB of memory"
            )


def _check_no_nul(file: Path) -> None:
    """Raise DataError if a CSV holds a NUL: pandas 2 ends the value there and says nothing."""
    if file.suffix.lower() in COMPRESSED or file.stat().st_size == 0:
        return
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        found = text.find(b"\0")
        if found >= 0:
            line = text[:found].count(b"\n") + 1
            raise DataError(
                f"{file}: cannot be read as a table: line {line} holds a NUL character, expected "
                "a CSV in UTF-8"
            )


def _check_parquet(file: Path) -> None:
    """Look at what a Parquet file claims before it is unpacked."""
    metadata = pq.read_metadata(file)
    _check_columns(metadata.schema.to_arrow_schema().names, file)
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    # A dictionary may say a value a million times in a few bytes: in memory each takes 8.
    needed = max(8 * metadata.num_rows * len(metadata.schema.names), 0)
    check_memory(
        max(needed, sum(group.total_byte_size for group in groups)),
        f"{file}: a table of {metadata.num_rows} rows",
    )


def _check_columns(names: Sequence[str], file: Path) -> None:
    repeated = pd.Index(names)[pd.Index(names).duplicated()]  # pandas would number those of a CSV
    if len(repeated):
        raise DataError(f"{file}: column '{repeated[0]}' is repeated; remove one of the two")


def column_of(table: pd.DataFrame, name: str, file: str) -> "pd.Series[Any]":
    """Return a column, or raise DataError naming the file, the column and those found."""
    if name not in table.columns:
        found = [str(other) for other in table.columns]
        hint = separator_hint(found) or nearest(name, found)
        raise DataError(f"{file}: no column '{name}'; {hint}")
    return table[name]


def text_of(table: pd.DataFrame, name: str, file: str) -> "pd.Series[Any]":
    """Return a column as text without blanks (0001 stays 0001), or raise DataError."""
    column = column_of(table, name, file)
    check_scalars(column, f"{file}: column '{name}'")
    text = as_text(column)
    # NumPy cuts a final NUL off, and the system ends a path there.
    for wrong, rule in ((text.isna(), "is blank"), (_has_nul(text), "holds a NUL character")):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise DataError(f"{file}: column '{name}' {rule} in {place_of(row, file)}")
    return text


def _has_nul(text: "pd.Series[Any]") -> "pd.Series[Any]":
    return text.fillna("").str.contains("\0", regex=False)
