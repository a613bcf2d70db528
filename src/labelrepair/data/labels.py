"""Turn a column of class numbers or class names into class numbers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from labelrepair.data.samples import UNKNOWN, Array, Labels, check_range
from labelrepair.errors import DataError, nearest, shown

_NUMBER = r"[+-]?[0-9]+(\.0+)?"
_FRACTION = r"[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?"
_DIGITS = 18  # more do not fit into int64
_SCALARS = ("string", "integer", "floating", "boolean", "decimal", "mixed-integer", "empty")
_MOST_CLASSES = 100_000
_EXACT = 2.0**53  # from here on a whole float may stand for several whole numbers


def as_text(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return ``values`` as stripped strings; null stays null and 3.0 among whole floats is "3"."""
    if pd.api.types.is_float_dtype(values.dtype) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    text = values.astype(object).map(str, na_action="ignore").map(str.strip, na_action="ignore")
    return text.where(text != "", None)


def check_scalars(values: "pd.Series[Any]", where: str) -> None:
    """Raise DataError naming the first row that holds neither text nor a number (bytes, a list).

    A float of 2^53 or more is refused, too: whole numbers with blanks among them are read as
    floats, and another number than this one may have been written.
    """
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "floating":
        floats = values.to_numpy(np.float64, na_value=np.nan)
        doubtful = (
            "{} as a float may not be what was written; expected text, integers without blanks, "
            "or floats below 2^53"
        )
        for wrong, rule in (
            (np.isinf(floats), "expected text or a number, found {}"),
            (np.abs(floats) >= _EXACT, doubtful),
        ):
            if wrong.any():
                row = int(wrong.argmax())
                raise DataError(f"{where}: row {row}: {rule.format(floats[row])}")
    if kind in (*_SCALARS, "mixed-integer-float"):
        return
    for row, value in enumerate(values):
        if not pd.api.types.is_scalar(value) or not isinstance(value, str | int | float | None):
            found = f"{type(value).__name__} {shown(repr(value), 40)}"
            raise DataError(f"{where}: row {row}: expected text or a number, found {found}")


def encode_labels(
    given: "pd.Series[Any]",
    ids: Array,
    class_names: Sequence[str] | None,
    where: str,
    true: "pd.Series[Any] | None" = None,
    *,
    codes: bool = False,
    place: Callable[[int], str] = "row {}".format,
) -> tuple[tuple[str, ...], Labels, Labels | None]:
    """Return class names, given labels and true labels (-1 = unknown) from columns of the source.

    The columns hold class names or class numbers, not a mix; a numeric string is a number unless
    every value is one of ``class_names``. Without ``class_names`` they are the sorted names found,
    or "0".."C-1" up to the largest number.

    Args:
        given: (N,) numbers or names; a blank is refused.
        ids: (N,) sample ids, for messages.
        class_names: C names in class order, or None.
        where: the file and column, to begin messages with.
        true: (N,) like ``given``; a blank means unknown.
        codes: the columns are known to hold class numbers: "2" is class 2 though a class of another
            number has the name "2".
        place: says where a row stands in the source, for messages.

    Raises:
        DataError: blank given label, unknown name, number outside 0..C-1, or a mix of both.
    """
    for column in (given, true):
        if column is not None:
            check_scalars(column, where)
    given_text = as_text(given).reset_index(drop=True)
    blank = np.flatnonzero(given_text.isna())
    if blank.size:
        row = int(blank[0])
        raise DataError(f"{where}: sample '{ids[row]}' ({place(row)}): the label is blank")
    true_text = None if true is None else as_text(true).reset_index(drop=True)
    every = given_text if true_text is None else pd.concat([given_text, true_text])
    names, numbers = _class_codes(every, ids, class_names, where, codes)
    labels: Labels = np.array(given_text.map(numbers), np.int64)
    check_range(labels, len(names), ids, where)
    if true_text is None:
        return names, labels, None
    known = true_text.notna().to_numpy()
    true_labels = np.full(len(labels), UNKNOWN, np.int64)
    true_labels[known] = true_text[known].map(numbers)
    check_range(true_labels[known], len(names), ids[known], f"{where}: true label")
    return names, labels, true_labels


def _class_codes(
    every: "pd.Series[Any]",
    ids: Array,
    class_names: Sequence[str] | None,
    where: str,
    only_codes: bool = False,
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the class names and the class number of each distinct value in ``every``."""
    found = pd.Series(every.dropna().unique(), dtype=object)
    numeric = found.str.fullmatch(_NUMBER).astype(bool)
    if class_names is not None and not only_codes and found.isin(list(class_names)).all():
        return tuple(class_names), {name: code for code, name in enumerate(class_names)}
    if numeric.all():
        whole = found.str.split(".").str[0]
        large = whole.str.len() > _DIGITS
        numbers = whole.mask(large, "0").astype(np.int64)
        codes = dict(zip(found, numbers.tolist(), strict=True))
        first = whole.groupby(numbers).transform("first")
        if (twice := (first != whole) & ~large).any():  # 7 and 007 may be two classes
            odd, other = found[twice].iloc[0], first[twice].iloc[0]
            rule = f"label {odd} is the number {other} in another spelling"
            raise DataError(f"{_place(odd, every, ids, where)}: {rule}; set class_names")
        if class_names is None:
            large |= found.map(codes) >= _MOST_CLASSES
        if large.any():
            odd = found[large].iloc[0]
            rule = f"label {shown(odd)} is no class number"
            raise DataError(f"{_place(odd, every, ids, where)}: {rule}; set class_names")
        if class_names is not None:
            return tuple(class_names), codes
        return tuple(map(str, range(max(codes.values()) + 1))), codes
    if class_names is None and found.str.fullmatch(_FRACTION).all():
        odd = found[~numeric].iloc[0]
        rule = f"label {shown(odd)} is a measure, no class number"
        raise DataError(f"{_place(odd, every, ids, where)}: {rule}; set class_names if it is one")
    if class_names is None and not numeric.any():
        names = tuple(sorted(found))
        return names, {name: code for code, name in enumerate(names)}
    # A mix: name the first value that is of the other kind than class_names asks for.
    odd = found[numeric if class_names is None else ~found.isin(list(class_names))].iloc[0]
    hint = nearest(odd, class_names) if class_names else "numbers and names are mixed"
    raise DataError(f"{_place(odd, every, ids, where)}: unknown class '{shown(odd)}'; {hint}")


def _place(label: str, every: "pd.Series[Any]", ids: Array, where: str) -> str:
    """Return the beginning of a message: the source, and the first sample of a label."""
    row = int(np.flatnonzero(every == label)[0])
    return f"{where}: sample '{ids[row % len(ids)]}'"
