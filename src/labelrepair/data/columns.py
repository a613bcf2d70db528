"""Columns of numbers in a table: the vectors of tabular data."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from labelrepair.data.files import column_of, place_of, text_of
from labelrepair.data.samples import Array
from labelrepair.errors import DataError, nearest, shown

LARGEST = float(np.finfo(np.float32).max)


def number_vectors(
    table: pd.DataFrame, wanted: Sequence[str], taken: Collection[str], file: str
) -> tuple[tuple[str, ...], Array]:
    """Return D columns' names, in the order in which they are wanted, and float32 (N, D).

    Args:
        table: from :func:`labelrepair.data.files.read_table`.
        wanted: names, or patterns with ``*`` and ``?``, whose columns come in the table's order; a
            pattern passes over columns of ``taken``. A column that is meant twice comes once.
        taken: columns with another part to play: a label among the features would be learned.
        file: the table, for messages.

    Raises:
        DataError: no name at all, one that no column has, a column of ``taken``, or a value that is
            blank or no finite number, with its column and row.
    """
    names = _columns([str(name) for name in table.columns], wanted, taken, file)
    vectors = np.empty((len(table), len(names)), dtype=np.float32)
    for position, name in enumerate(names):
        vectors[:, position] = _numbers(table, name, file)
    return tuple(names), vectors


def _columns(
    found: Sequence[str], wanted: Sequence[str], taken: Collection[str], file: str
) -> list[str]:
    if not wanted:
        raise DataError(f"{file}: feature_columns is empty; name columns, or '*' for all others")
    free = [name for name in found if name not in taken]
    names: list[str] = []
    for name in wanted:
        if name in taken:
            raise DataError(f"{file}: column '{name}' is the id, a label or the split: no feature")
        meant = [name] if name in found else [one for one in free if fnmatchcase(one, name)]
        if not meant:
            hint = shown(nearest(name, free), 1_000)
            raise DataError(f"{file}: feature_columns: no column '{name}'; {hint}")
        names += meant
    return list(dict.fromkeys(names))


def _numbers(table: pd.DataFrame, name: str, file: str) -> Array:
    column = column_of(table, name, file)
    if pd.api.types.is_numeric_dtype(column.dtype) and column.dtype.kind != "c":
        numbers: Array = column.to_numpy(np.float64, na_value=np.nan)
    else:
        text = text_of(table, name, file)
        numbers = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
        column = text
    wrong = ~(np.abs(numbers) <= LARGEST)  # NaN and infinity as well
    if wrong.any():
        raise DataError(_refused(column, int(wrong.argmax()), name, file))
    return numbers


def _refused(column: "pd.Series[Any]", row: int, name: str, file: str) -> str:
    where, value = place_of(row, file), column.iloc[row]
    if pd.isna(value):
        return f"{file}: column '{name}' is blank in {where}; fill it in, or leave the column out"
    return (
        f"{file}: column '{name}' holds '{shown(value, 40)}' in {where}, expected a finite number; "
        "leave the column out, or make columns of 0 and 1 of its categories"
    )
