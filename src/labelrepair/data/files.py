"""Paths and tables shared by the readers: nothing outside the given root is ever opened."""

import os
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from labelrepair.data.labels import as_text
from labelrepair.errors import DataError, nearest


def inside(root: str | Path, name: str, where: str) -> str:
    """Return the real path of ``name`` below ``root``.

    Raises:
        DataError: if ``..``, an absolute path or a link leads outside ``root``.
    """
    real_root = os.path.realpath(root)
    path = os.path.realpath(os.path.join(real_root, name))
    if path != real_root and not path.startswith(os.path.join(real_root, "")):
        raise DataError(f"{where}: '{name}' leads outside {root}")
    return path


def require_file(path: str | Path, where: str) -> Path:
    """Return ``path`` if it is a file, else raise DataError."""
    if not Path(path).is_file():
        raise DataError(f"{where}: no file at {path}")
    return Path(path)


def read_table(path: str) -> pd.DataFrame:
    """Read a CSV (every value as text, blank = null) or a Parquet file (by its own types).

    Raises:
        DataError: the file is missing, empty, ragged, or not CSV or Parquet.
    """
    file = require_file(path, "table")
    try:
        if file.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(file)
        with warnings.catch_warnings():
            # pandas only warns when a row is longer than the header, and drops the rest.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                file, dtype=str, keep_default_na=False, na_values=[""], index_col=False
            )
    except (ValueError, OSError, pa.ArrowException, pd.errors.ParserWarning) as error:
        raise DataError(f"{file}: cannot be read as a table: {error}") from error


def column_of(table: pd.DataFrame, name: str, file: str) -> "pd.Series[Any]":
    """Return a column, or raise DataError naming the file, the column and those found."""
    if name not in table.columns:
        found = [str(other) for other in table.columns]
        raise DataError(f"{file}: no column '{name}'; {nearest(name, found)}")
    return table[name]


def text_of(table: pd.DataFrame, name: str, file: str) -> "pd.Series[Any]":
    """Return a column as text without blanks (0001 stays 0001), or raise DataError."""
    text = as_text(column_of(table, name, file))
    if text.isna().any():
        row = int(text.isna().to_numpy().argmax())
        raise DataError(f"{file}: column '{name}' is blank in row {row}")
    return text
