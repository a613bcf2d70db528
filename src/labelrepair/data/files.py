"""Paths and tables shared by the readers: nothing outside the given root is ever opened."""

import csv
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
from labelrepair.data.unpacked import check_parquet
from labelrepair.errors import DataError, nearest, shown
from labelrepair.plain_csv import check_plain, separator_hint

PARQUET = (".parquet", ".pq")
MOST_COLUMNS = 10_000  # pandas takes half a minute to read ten times as many


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
        DataError: the file is missing, empty, ragged, not CSV or Parquet, compressed as a whole,
            larger than the memory, unpacks to absurdly much, or has two columns of one name or more
            than ``MOST_COLUMNS``.
    """
    file, names = require_file(path, "table"), []
    try:
        if file.suffix.lower() in PARQUET:
            _check_columns(pq.read_schema(file).names, file)
            check_parquet(file)
            return pd.read_parquet(file)
        check_plain(file)
        names = _header(file)
        _check_columns(names, file)
        with warnings.catch_warnings():
            # pandas only warns when a row is longer than the header, and drops the rest.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                file, dtype=str, keep_default_na=False, na_values=[""], index_col=False
            )
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{file}: the table does not fit into memory: {shown(error)}") from None
    except (ValueError, OSError, csv.Error, pa.ArrowException, pd.errors.ParserWarning) as error:
        found = separator_hint(names) or shown(error, 500)
        raise DataError(f"{file}: cannot be read as a table: {found}") from error


def place_of(row: int, file: str) -> str:
    """Return where a row stands in its table, for a message: "line 6" of a CSV, else "row 4".

    The file is read again, as a text within quotes may go over several lines and blank lines are
    no rows.

    Args:
        row: from 0, without the header.
        file: the table, or what a message calls it.
    """
    path = Path(file)
    if path.suffix.lower() not in PARQUET and path.is_file():
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
        if _is_row(record):
            yield line
        line = reader.line_num + 1


def _is_row(record: Sequence[str]) -> bool:
    """Return whether pandas sees a row in a line: it passes over blank ones."""
    return len(record) > 1 or bool("".join(record).strip())


def _header(file: Path) -> list[str]:
    """Return the names of a CSV's columns; pandas takes 15 s for a hundred thousand."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        for record in csv.reader(stream):
            if _is_row(record):
                return record
    return []


def _check_columns(names: Sequence[str], file: Path) -> None:
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{file}: {len(names)} columns, expected at most {MOST_COLUMNS}")
    repeated = pd.Index(names)[pd.Index(names).duplicated()]  # pandas would number those of a CSV
    if len(repeated):
        raise DataError(f"{file}: column '{repeated[0]}' is repeated; remove one of the two")


def column_of(table: pd.DataFrame, name: str, file: str) -> "pd.Series[Any]":
    """Return a column, or raise DataError naming the file, the column and those found."""
    if name not in table.columns:
        found = [str(other) for other in table.columns]
        hint = separator_hint(found) or shown(nearest(name, found), 1_000)
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
