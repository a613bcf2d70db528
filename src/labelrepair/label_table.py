"""The label table: one row per sample, sorted by ``sample_id``; row position = tensor row.

Columns are only ever added (:func:`extend`); the given label is never edited. What each stage adds
and the rules between the columns are checked by :func:`check_label_table` (ingestion) and
:func:`check_repaired_table` (repair).
"""

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labelrepair.errors import DataError, nearest

SAMPLE_ID = "sample_id"
GIVEN_LABEL = "given_label"
SPLIT = "split"
CONTENT_HASH = "content_hash"
TRUE_LABEL = "true_label"
LABEL_QUALITY = "label_quality"
IS_LABEL_ISSUE = "is_label_issue"
SUGGESTED_LABEL = "suggested_label"
CONFIDENCE = "confidence"
ACTION = "action"
REPAIRED_LABEL = "repaired_label"
LABEL_SOURCE = "label_source"
REASON = "reason"
DATA_HASH = "data_hash"  # key of what training and refinement note about the table they saw
INPUT_FORMAT = "input_format"  # key of what they note beside it where the contents are texts
SEALED = "sealed"  # key of the digests of what was written with a table, see labelrepair.sealed
OF_TEXT = "text:"
"""What the content hash of a text begins with: it is of the text, not of the row of features."""

OPEN_SET = -2
"""True label of a sample that belongs to no class: open-set noise, known in studies only."""

NO_CLASS = "(no class fits)"
"""What a reviewer answers to drop a sample; no class may be called so."""

ALL_AGAIN = "kedro run --pipelines estimation,training,refinement,repair,evaluation"
INGESTED_COLUMNS = (SAMPLE_ID, GIVEN_LABEL, SPLIT, CONTENT_HASH)
REPAIR_COLUMNS = (
    LABEL_QUALITY,
    SUGGESTED_LABEL,
    CONFIDENCE,
    ACTION,
    REPAIRED_LABEL,
    LABEL_SOURCE,
)


class Split(StrEnum):
    """What a row is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Action(StrEnum):
    """What repair decided about a row's given label."""

    KEEP = "keep"
    RELABEL = "relabel"
    DROP = "drop"
    REVIEW = "review"


class LabelSource(StrEnum):
    """Who stands behind a row's repaired label."""

    GIVEN = "given"
    MODEL = "model"
    HUMAN = "human"


def check_class_names(names: Sequence[str], where: str) -> None:
    """Refuse the names that mean no class in the files of a review: blank, and ``NO_CLASS``.

    Raises:
        DataError: a class is called so.
    """
    reserved = [name for name in names if name.strip().casefold() in ("", NO_CLASS)]
    if reserved:
        raise DataError(
            f"{where}: the class name '{reserved[0]}' means 'no class' in the files of a review; "
            "rename the class"
        )


def make_label_table(
    sample_ids: Sequence[str] | npt.NDArray[np.str_],
    given_labels: Sequence[int] | npt.NDArray[np.int64],
    splits: Sequence[str] | npt.NDArray[np.str_],
    content_hashes: Sequence[str],
) -> pd.DataFrame:
    """Build the ingestion columns, sorted by ``sample_id`` (code-point order).

    Args:
        sample_ids: (N,) stable ids; kept as text.
        given_labels: (N,) observed class numbers.
        splits: (N,) values of :class:`Split`.
        content_hashes: (N,) one hash per sample, see :func:`content_hashes`, :func:`text_hashes`.

    Returns:
        A frame of sample_id (str), given_label (int64), split (str), content_hash (str) with a
        ``RangeIndex``. It is not checked beyond its lengths: call :func:`check_label_table`.

    Raises:
        DataError: if the four columns differ in length or a label is not a whole number.
    """
    labels = np.asarray(given_labels)
    lengths = [len(sample_ids), len(labels), len(splits), len(content_hashes)]
    if len(set(lengths)) > 1:
        found = dict(zip(INGESTED_COLUMNS, lengths, strict=True))
        raise DataError(f"label table: the columns differ in length: {found}")
    if labels.dtype.kind not in "iu":
        raise DataError(f"label table: given_label must hold whole numbers, found {labels.dtype}")
    table = pd.DataFrame(
        {
            SAMPLE_ID: pd.array(sample_ids, dtype="str"),
            GIVEN_LABEL: labels.astype(np.int64),
            SPLIT: _split_texts(np.asarray(splits)),
            CONTENT_HASH: pd.array(content_hashes, dtype="str"),
        }
    )
    if _strictly_increasing(table[SAMPLE_ID]):
        return table
    return table.sort_values(SAMPLE_ID, ignore_index=True)


def check_label_table(
    table: pd.DataFrame, num_classes: int, *, allow_empty_classes: bool = False
) -> None:
    """Check the ingestion columns of ``table``.

    Args:
        table: at least sample_id, given_label, split, content_hash.
        num_classes: C; given labels must lie in 0..C-1.
        allow_empty_classes: accept a class that no training row carries.

    Raises:
        DataError: a column is missing or of the wrong type, an id is missing, repeated or out of
            order, a label is missing or outside the classes, a split is unknown, the training split
            or a class in it is empty, or the index is not 0..N-1. The message names the row.
    """
    _require_columns(table, INGESTED_COLUMNS)
    _check_ids(table, "label table")
    label = table[GIVEN_LABEL]
    _refuse(table, label.isna(), "given_label is missing")
    if label.dtype != np.int64:
        raise DataError(f"label table: given_label must be int64, found {label.dtype}")
    _refuse(table, ~label.between(0, num_classes - 1), f"given_label outside 0..{num_classes - 1}")
    _check_members(table, table[SPLIT], Split, SPLIT)
    if not _strictly_increasing(table[SAMPLE_ID]):
        raise DataError("label table: rows are not sorted by sample_id; sort them, ignore_index")
    if not table.index.equals(pd.RangeIndex(len(table))):
        raise DataError("label table: the index must be 0..N-1; call reset_index(drop=True)")
    train = label[table[SPLIT] == Split.TRAIN]
    if train.empty:
        raise DataError("label table: the training split is empty")
    empty = np.flatnonzero(np.bincount(train, minlength=num_classes) == 0)
    if empty.size and not allow_empty_classes:
        raise DataError(
            f"label table: no training row has class {', '.join(map(str, empty))} of {num_classes};"
            " add samples, drop the class or set allow_empty_classes"
        )


def extend(table: pd.DataFrame, new_columns: pd.DataFrame) -> pd.DataFrame:
    """Return ``table`` with the columns of ``new_columns`` added, joined on ``sample_id``.

    Args:
        table: a label table; it is not modified and keeps its rows and their order.
        new_columns: sample_id and further columns, in any order, for all rows or a subset. Rows
            left out get null; integers and booleans then become the nullable Int64 / boolean.

    Returns:
        A new frame. A column that exists already may be repeated, with the same values.

    Raises:
        DataError: an id is unknown, missing or repeated, or an existing column would change.
    """
    _require_columns(new_columns, (SAMPLE_ID,))
    _check_ids(new_columns, "new columns")
    rows = rows_of(table[SAMPLE_ID], new_columns[SAMPLE_ID])
    _refuse(new_columns, pd.Series(rows < 0), "unknown to the label table")
    source = np.full(len(table), -1)
    source[rows] = np.arange(len(rows))
    result = table.copy()
    for name in new_columns.columns.drop(SAMPLE_ID):
        if name in table.columns:
            differs = _objects(table[name].iloc[rows]) != _objects(new_columns[name])
            _refuse(new_columns, pd.Series(differs), f"would change the existing column {name}")
            continue
        column = new_columns[name].reset_index(drop=True)
        if len(column) < len(table) and column.dtype.kind in "iub":
            column = column.astype("boolean" if column.dtype.kind == "b" else "Int64")
        result[name] = column.reindex(source).array  # there is no row -1: null
    return result


def rows_of(ids: "pd.Series[str]", wanted: "pd.Series[str]") -> npt.NDArray[np.int64]:
    """Return the position in ``ids`` of every wanted id, -1 where it is not there.

    Args:
        ids: distinct texts, (N,).
        wanted: texts, (M,).
    """
    found = pc.index_in(_arrow(wanted), value_set=_arrow(ids))
    rows: npt.NDArray[np.int64] = found.fill_null(-1).to_numpy().astype(np.int64)
    return rows


def check_repaired_table(table: pd.DataFrame, num_classes: int) -> None:
    """Check the rules between the columns of a repaired table.

    keep: repaired = given. relabel: repaired = suggested != given (a human may choose a class that
    was not suggested). drop and review: repaired is null. Training rows carry an action, validation
    rows may, test rows never. A row with an action has label_quality and confidence in [0, 1] and a
    label_source; a model or human label_source never stands behind a test row.

    Args:
        table: a label table with ``REPAIR_COLUMNS``; label columns Int64 or int64.
        num_classes: C.

    Raises:
        DataError: naming the first row that breaks a rule.
    """
    check_label_table(table, num_classes, allow_empty_classes=True)
    _require_columns(table, REPAIR_COLUMNS)
    _check_decisions(table)
    given, action, source = table[GIVEN_LABEL], table[ACTION], table[LABEL_SOURCE]
    test, relabel = table[SPLIT] == Split.TEST, action == Action.RELABEL
    repaired = _labels_or_null(table, REPAIRED_LABEL, num_classes)
    suggested = _labels_or_null(table, SUGGESTED_LABEL, num_classes)
    same = (repaired == given).fillna(False).astype(bool)
    followed = (repaired == suggested).fillna(False).astype(bool) | (source == LabelSource.HUMAN)
    removed = action.isin([Action.DROP, Action.REVIEW])
    _refuse(table, (action == Action.KEEP) & ~same, "keep, but repaired_label is not given_label")
    _refuse(table, relabel & repaired.isna(), "relabel, but repaired_label is null")
    _refuse(table, relabel & same, "relabel, but repaired_label is the given_label")
    _refuse(table, relabel & ~followed, "relabel, but repaired_label is not suggested_label")
    _refuse(table, removed & repaired.notna(), "drop or review, but repaired_label is not null")
    _refuse(table, test & repaired.notna() & ~same, "a test row is relabelled")


def content_hashes(features: npt.NDArray[Any]) -> list[str]:
    """Return one 16-digit hex hash (blake2b) of each row's bytes; ``features`` is (N, ...)."""
    rows = np.ascontiguousarray(features).reshape(len(features), -1)
    return [hashlib.blake2b(row.data, digest_size=8).hexdigest() for row in rows]


def text_hashes(texts: Sequence[str]) -> list[str]:
    """Return ``OF_TEXT`` and a 16-digit hex hash (blake2b) of each text's UTF-8.

    Tokens are no content: they change with the other texts, which the vocabulary is counted on,
    and texts of other words, or of other beginnings, may have the same.
    """
    digests = (hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in texts)
    return [OF_TEXT + digest for digest in digests]


def of_texts(table: pd.DataFrame) -> bool:
    """Return whether content hashes are of texts, which features cannot be compared with."""
    return bool(table[CONTENT_HASH].str.startswith(OF_TEXT).any())


def made_from(table: pd.DataFrame) -> dict[str, str]:
    """Return what a maker notes of its label table, for :func:`check_made_from`.

    Its hash; for texts also the input format, if the table notes one: by it texts become tokens,
    and the hash is that of the texts.
    """
    found = {DATA_HASH: data_hash(table)}
    form = table.attrs.get(SEALED, {}).get(INPUT_FORMAT)
    return found | {INPUT_FORMAT: form} if form and of_texts(table) else found


def data_hash(table: pd.DataFrame) -> str:
    """Return a 32-digit hex digest of id, given label, split and content hash of every row.

    Every row counts (MLflow's own frame digest stops at 10,000 rows) and the 32 digits fit its
    limit of 36. Lengths are hashed beside the text, so that "a", "bc" differs from "ab", "c".
    """
    _require_columns(table, INGESTED_COLUMNS)
    digest = hashlib.md5(usedforsecurity=False)
    digest.update(table[GIVEN_LABEL].to_numpy("<i8").tobytes())
    for name in (SAMPLE_ID, SPLIT, CONTENT_HASH):
        digest.update(table[name].str.len().to_numpy("<i8").tobytes())
        digest.update(joined(table[name]))
    return digest.hexdigest()


def check_made_from(table: pd.DataFrame, record: Mapping[str, Any], maker: str) -> None:
    """Refuse what was made from another label table than ``table``.

    Probabilities are kept without ids and joined to the rows by their position, so that those of
    another table would go to other samples, and a number of rows that is right proves nothing.

    Args:
        table: the label table, perhaps repaired.
        record: what the maker wrote beside them, with what :func:`made_from` returned.
        maker: ``estimation``, ``training`` or ``refinement``.

    Raises:
        DataError: the hashes differ, or the maker noted none; or the tokens were made otherwise.
    """
    now = made_from(table)
    current, seen = now[DATA_HASH], record.get(DATA_HASH)
    form = record.get(INPUT_FORMAT)
    if seen == current and form and form != now.get(INPUT_FORMAT, form):
        raise DataError(
            f"input_format: the {maker} worked on tokens of these texts by another vocabulary, "
            f"length or token_pattern ({form}) than those of now ({now[INPUT_FORMAT]}); run it all "
            f"again: {ALL_AGAIN}"
        )
    if seen == current:
        return
    found = f"worked on label table {seen}" if seen else "did not note its label table"
    raise DataError(
        f"label table {current}: the {maker} {found} (hash of ids, given labels, splits and "
        "contents of all rows), so that what it made belongs to other rows; run it all again: "
        + ALL_AGAIN
    )


def check_estimated_on(table: pd.DataFrame, estimate: Mapping[str, Any]) -> None:
    """Refuse a noise estimate of another label table; one that notes none, a host's own, passes.

    Args:
        table: the label table.
        estimate: as the estimation pipeline wrote it.

    Raises:
        DataError: the hashes differ.
    """
    if DATA_HASH in estimate:
        check_made_from(table, estimate, "estimation")


def origin(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells one training from another: its label table and its checkpoint's name.

    Args:
        report: the training report.
    """
    found = {name: report.get(name) for name in (DATA_HASH, "checkpoint")}
    return found | {name: report[name] for name in (INPUT_FORMAT,) if name in report}


def repaired_hash(table: pd.DataFrame) -> str:
    """Return a 32-digit hex digest of a repaired table's data and decisions, see data_hash."""
    _require_columns(table, (ACTION, REPAIRED_LABEL))
    digest = hashlib.md5(data_hash(table).encode(), usedforsecurity=False)
    digest.update(table[REPAIRED_LABEL].astype("Int64").fillna(-1).to_numpy("<i8").tobytes())
    digest.update("|".join(table[ACTION].fillna("").to_numpy(dtype=object)).encode())
    return digest.hexdigest()


def joined(texts: "pd.Series[str]") -> memoryview:
    """Return the UTF-8 bytes of all texts, one after the other: Arrow holds them like that.

    Raises:
        DataError: a text is missing.
    """
    array = _arrow(texts)
    if array.null_count:
        raise DataError(f"label table: {texts.name} is missing in {array.null_count} rows")
    _, offsets, content = array.buffers()
    start, stop = np.frombuffer(offsets, "<i8")[[array.offset, array.offset + len(array)]]
    return memoryview(content if content is not None else b"")[start:stop]


def _check_decisions(table: pd.DataFrame) -> None:
    """Check which rows carry an action, and that these have a source and scores in [0, 1]."""
    action, source, test = table[ACTION], table[LABEL_SOURCE], table[SPLIT] == Split.TEST
    decided, sourced = action.notna(), source.notna()
    _refuse(table, test & decided, "a test row carries an action; its label is never repaired")
    _refuse(table, (table[SPLIT] == Split.TRAIN) & ~decided, "a training row has no action")
    _check_members(table, action, Action, ACTION, among=decided)
    _refuse(table, decided & ~sourced, "label_source is missing")
    _check_members(table, source, LabelSource, LABEL_SOURCE, among=sourced)
    foreign = sourced & (source != LabelSource.GIVEN)
    _refuse(table, test & foreign, "a test row's label_source is not 'given'")
    for name in (LABEL_QUALITY, CONFIDENCE):
        score = table[name].astype("Float64")
        outside = ~score.between(0.0, 1.0).fillna(False).astype(bool)
        _refuse(table, outside & (decided | score.notna()), f"{name} outside [0, 1]")


def _require_columns(table: pd.DataFrame, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise DataError(f"missing column {', '.join(missing)}; found {', '.join(table.columns)}")


def _check_ids(table: pd.DataFrame, where: str) -> None:
    ids = table[SAMPLE_ID]
    if ids.isna().any():
        row = int(np.flatnonzero(ids.isna())[0])
        raise DataError(f"{where}: sample_id is missing in row {row}")
    if not pd.api.types.is_string_dtype(ids):
        raise DataError(f"{where}: sample_id must be text, found {ids.dtype}; read it as text")
    if not _strictly_increasing(ids):
        _refuse(table, ids.duplicated(), "sample_id is repeated")


def _split_texts(splits: npt.NDArray[Any]) -> Any:
    """Return the splits as a column of text; repeats of three texts need no row-wise conversion."""
    codes = np.full(len(splits), -1, np.int8)
    for code, name in enumerate(Split):
        codes[splits == name.value] = code
    if (codes < 0).any():
        return pd.array(splits, dtype="str")  # as found: to be refused by name
    names = pa.array([name.value for name in Split], pa.large_string())
    return pd.array(pa.DictionaryArray.from_arrays(codes, names).cast(names.type), dtype="str")


def _arrow(texts: "pd.Series[str]") -> pa.LargeStringArray:
    """Return a column of text as one Arrow array; shared memory where pandas holds it so."""
    array = pa.array(texts, from_pandas=True)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.cast(pa.large_string())


def _strictly_increasing(texts: "pd.Series[str]") -> bool:
    """Return whether every text is larger than the one before (by code point): distinct, sorted."""
    array = _arrow(texts)
    # Arrow compares bytes of UTF-8, which have the order of the code points.
    return bool(pc.all(pc.less(array[:-1], array[1:]), skip_nulls=False, min_count=0).as_py())


def _check_members(
    table: pd.DataFrame,
    values: "pd.Series[Any]",
    valid: type[StrEnum],
    name: str,
    among: "pd.Series[bool] | None" = None,
) -> None:
    wrong = ~values.isin(list(valid))
    if among is not None:
        wrong &= among
    if wrong.any():
        value = str(values[wrong].iloc[0])
        _refuse(table, wrong, f"unknown {name} '{value}'; {nearest(value, list(valid))}")


def _objects(column: "pd.Series[Any]") -> npt.NDArray[np.object_]:
    """Return the values with every kind of null as None, which equals itself."""
    values = np.array(column, dtype=object)
    values[column.isna().to_numpy()] = None
    return values


def _labels_or_null(table: pd.DataFrame, name: str, num_classes: int) -> "pd.Series[Any]":
    """Return column ``name`` as Int64 within 0..C-1 or null."""
    try:
        labels = table[name].astype("Int64")
    except (TypeError, ValueError):
        found = table[name].dtype
        raise DataError(
            f"label table: {name} must hold class numbers or null, found {found}"
        ) from None
    outside = ~labels.between(0, num_classes - 1) & labels.notna()
    _refuse(table, outside.fillna(False).astype(bool), f"{name} outside 0..{num_classes - 1}")
    return labels


def _refuse(table: pd.DataFrame, wrong: "pd.Series[Any]", rule: str) -> None:
    """Raise DataError naming the first row where ``wrong`` holds and how many there are."""
    if wrong.any():
        first = table.loc[wrong.to_numpy(), SAMPLE_ID].iloc[0]
        raise DataError(f"sample '{first}': {rule} ({int(wrong.sum())} such rows)")
