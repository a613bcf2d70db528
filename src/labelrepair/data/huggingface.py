"""Parquet files in the Hugging Face layout: `img`/`image` or `text`, and `label`, per split."""

import glob
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from labelrepair.config import one_of
from labelrepair.data.files import column_of, require_file, text_of
from labelrepair.data.images import image_features
from labelrepair.data.labels import encode_labels
from labelrepair.data.manifest import image_bytes
from labelrepair.data.samples import Array, Labels, Samples, check_range, numbered_ids
from labelrepair.data.tokens import WORDS, tokenised
from labelrepair.data.unpacked import check_parquet
from labelrepair.errors import DataError, nearest, shown
from labelrepair.label_table import Split, text_hashes

_IMAGE_COLUMNS = ("img", "image")
# What `pandas.api.types.infer_dtype` calls labels.
_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")
_MIXED = ("mixed", "mixed-integer")


def read_huggingface(
    files: Mapping[str, str],
    *,
    label_column: str = "label",
    class_names: tuple[str, ...] | None = None,
    image_size: tuple[int, int] | None = None,
    mode: str = "RGB",
    vocabulary_size: int = 5000,
    length: int = 400,
    token_pattern: str = WORDS,
    labels_are_true: bool = False,
    decode: bool = True,
) -> Samples:
    """Read Parquet files; ids are "<split>-<row>" over a split's files in sorted order.

    Args:
        files: split -> path or glob pattern of its Parquet files.
        label_column: class numbers or names, not a mix; numbers beside names in the files' metadata
            are always numbers, whatever these names look like.
        class_names: the classes in order; default: the files' own metadata, else the numbers. The
            names of the metadata in another order (or some of them) renumber the classes, other
            names rename them.
        image_size: (H, W) to resize images to; None: they must share one size.
        mode: "L" or "RGB".
        vocabulary_size: for text, token ids in all, the three reserved ones included.
        length: tokens per text.
        token_pattern: regular expression of a word, see :mod:`labelrepair.data.tokens`.
        labels_are_true: the labels are the truth, as in a benchmark.
        decode: see :func:`labelrepair.data.sources.read_source`.

    Raises:
        ConfigError: a key of ``files`` is not a split.
        DataError: no file, a missing column, class names that differ between files, numbers in one
            file and names in another, or a bad image.
    """
    paths = {split: _paths(split, files[split]) for split in sorted(files)}
    named = [_stored_names(path, label_column) for found in paths.values() for path in found]
    stored = {names for names in named if names is not None}
    if len(stored) > 1:  # also with ``class_names``: one number would mean two classes
        found = " and ".join(map(str, sorted(stored)))
        raise DataError(f"huggingface: the files' class names or their order differ: {found}")
    content = _content_column(paths)
    parts = {split: _read(found, [content, label_column]) for split, found in paths.items()}
    table = pd.concat(parts.values(), ignore_index=True)
    where = "huggingface: " + ", ".join(files.values())
    if table.empty:
        raise DataError(f"{where}: no row")
    ids = np.array([i for split, part in parts.items() for i in numbered_ids(split, len(part))])
    splits = np.repeat(list(parts), [len(part) for part in parts.values()])
    names, labels = _labels(table[label_column], ids, class_names, next(iter(stored), None), where)
    features: Any
    vocabulary = content_hashes = None
    if content in _IMAGE_COLUMNS:
        sources = image_bytes(table[content], ids, where)
        names_of = [f"{where}: '{i}'" for i in ids]
        features = image_features(sources, names_of, mode, image_size, decode)
    else:
        texts = text_of(table, content, where)
        train = splits == Split.TRAIN
        features, vocabulary = tokenised(texts, train, vocabulary_size, length, token_pattern)
        content_hashes = np.array(text_hashes(texts.tolist()))
    return Samples(
        ids,
        features,
        labels,
        splits,
        names,
        labels_are_true=labels_are_true,
        vocabulary=vocabulary,
        resized=vocabulary is None and image_size is not None,
        token_pattern=None if vocabulary is None else token_pattern,
        content_hashes=content_hashes,
    )


def _labels(
    column: "pd.Series[Any]",
    ids: Array,
    class_names: tuple[str, ...] | None,
    stored: tuple[str, ...] | None,
    where: str,
) -> tuple[tuple[str, ...], Labels]:
    """Return class names and labels; numbers of a ClassLabel mean the names of the metadata."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    kind = pd.api.types.infer_dtype(column)
    if stored is not None and kind in _MIXED:
        _refuse_names_and_numbers(column, ids, where)
    if stored is None or kind not in _NUMBERS:
        wanted = stored if class_names is None else class_names
        return encode_labels(column, ids, wanted, where)[:2]
    # `datasets` sorts names as text ("0", "1", "10", "2"): number 2 is not the class named "2".
    names, labels, _ = encode_labels(column, ids, stored, where, codes=True)
    if class_names is None or class_names == stored:
        return names, labels
    if set(class_names) <= set(stored) or set(stored) <= set(class_names):
        return class_names, _renumbered(labels, ids, stored, class_names, where)
    check_range(labels, len(class_names), ids, where)
    return class_names, labels


def _refuse_names_and_numbers(column: "pd.Series[Any]", ids: Array, where: str) -> None:
    held = column.reset_index(drop=True).dropna()
    texts = held.map(lambda value: isinstance(value, str)).to_numpy(bool)
    if not texts.any():
        return  # numbers beside what is neither, which is refused by its row
    row = int((texts != texts[0]).argmax())
    raise DataError(
        f"{where}: sample '{ids[held.index[row]]}': label {shown(repr(held.iloc[row]))} after "
        f"{shown(repr(held.iloc[0]))}: some files have class numbers and some names; write all of "
        "them as one kind"
    )


def _renumbered(
    labels: Labels, ids: Array, stored: tuple[str, ...], wanted: tuple[str, ...], where: str
) -> Labels:
    """Return the numbers in ``wanted`` of the names in ``stored``."""
    places = {name: place for place, name in enumerate(wanted)}
    found: Labels = np.array([places.get(name, -1) for name in stored], np.int64)[labels]
    missing = np.flatnonzero(found < 0)
    if missing.size:
        name = stored[labels[missing[0]]]
        hint = nearest(name, wanted)
        raise DataError(f"{where}: sample '{ids[missing[0]]}': unknown class '{name}'; {hint}")
    return found


def _paths(split: str, pattern: str) -> list[str]:
    one_of(tuple(Split), files=split)
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise DataError(f"huggingface: no file matches '{pattern}' for split '{split}'")
    return [str(require_file(path, "huggingface")) for path in found]


def _stored_names(path: str, label_column: str) -> tuple[str, ...] | None:
    """Return the class names that `datasets` wrote into the file's schema, if it did."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error
    if b"huggingface" not in metadata:
        return None
    try:
        info: Any = json.loads(metadata[b"huggingface"]).get("info", {})
        names = info.get("features", {}).get(label_column, {}).get("names")
        return None if names is None else tuple(map(str, names))
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: the metadata of `datasets` are damaged: {error}") from error


def _content_column(paths: Mapping[str, list[str]]) -> str:
    """Return the image or text column that the first file has."""
    first = next(iter(paths.values()))[0]
    found = pq.read_schema(first).names
    for name in (*_IMAGE_COLUMNS, "text"):
        if name in found:
            return name
    raise DataError(f"{first}: none of the columns img, image, text; found {', '.join(found)}")


def _read(paths: list[str], names: list[str]) -> pd.DataFrame:
    tables = []
    for path in paths:
        header = pq.read_schema(path).empty_table().to_pandas()
        for name in names:
            column_of(header, name, path)
        try:
            check_parquet(Path(path))
            part: pd.DataFrame = pq.read_table(path, columns=names).to_pandas()
        except (OSError, MemoryError, pa.ArrowException) as error:
            raise DataError(f"{path}: not a readable Parquet file: {error}") from error
        tables.append(part)
    return pd.concat(tables, ignore_index=True)
