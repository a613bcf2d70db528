"""A CSV or Parquet file with one row per sample: ids, labels, and where the features are."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labelrepair.data.columns import number_vectors
from labelrepair.data.files import column_of, inside, place_of, read_table, text_of
from labelrepair.data.images import image_features
from labelrepair.data.labels import encode_labels
from labelrepair.data.samples import Array, Samples
from labelrepair.data.tokens import WORDS, tokenised
from labelrepair.errors import ConfigError, DataError, nearest, shown
from labelrepair.label_table import Split, text_hashes
from labelrepair.plain_csv import separator_hint


def read_manifest(
    path: str,
    *,
    id_column: str = "sample_id",
    label_column: str = "label",
    path_column: str = "path",
    image_column: str | None = None,
    text_column: str | None = None,
    feature_columns: tuple[str, ...] | None = None,
    split_column: str | None = None,
    true_label_column: str | None = None,
    image_root: str | None = None,
    class_names: tuple[str, ...] | None = None,
    image_size: tuple[int, int] | None = None,
    mode: str = "RGB",
    vocabulary_size: int = 5000,
    length: int = 400,
    token_pattern: str = WORDS,
    labels_are_true: bool = False,
    decode: bool = True,
) -> Samples:
    """Read a manifest; features come from one of the ``*_column`` options, else from path_column.

    Args:
        path: a .csv, .parquet or .pq file; a CSV is not compressed.
        id_column: the ids, read as text: 0001 stays 0001.
        label_column: class names or numbers, see :func:`labelrepair.data.labels.encode_labels`.
        path_column: image files relative to ``image_root``.
        image_column: encoded images inside a Parquet file, binary or struct{bytes, path}.
        text_column: texts, tokenised over the vocabulary of the training rows.
        feature_columns: columns of numbers, which become vectors: names, or patterns as "mean_*";
            "*" is every column that is not named otherwise here.
        split_column: train, validation or test per row; None: all rows are train.
        true_label_column: the truth, blank where unknown.
        image_root: nothing outside it is read; default: the manifest's folder.
        class_names: the classes in order; default: from the labels.
        image_size: (H, W) to resize images to; None: they must share one size.
        mode: "L" or "RGB".
        vocabulary_size: token ids in all, the three reserved ones included.
        length: tokens per text.
        token_pattern: regular expression of a word, see :mod:`labelrepair.data.tokens`.
        labels_are_true: the label column is the truth.
        decode: see :func:`labelrepair.data.sources.read_source`.

    Raises:
        ConfigError: feature_columns beside text_column or image_column.
        DataError: a column is missing, an id or label blank, a file missing or outside the root.
    """
    given_too = [name for name in (text_column, image_column) if name is not None]
    if feature_columns is not None and given_too:
        raise ConfigError(f"feature_columns: features also come from '{given_too[0]}'; name one")
    table = read_table(path)
    ids = _ids(table, id_column, path)
    truth = None if true_label_column is None else column_of(table, true_label_column, path)
    given = column_of(table, label_column, path)
    where = f"{path}, column '{label_column}'"
    place = partial(place_of, file=path)
    names, labels, true_labels = encode_labels(given, ids, class_names, where, truth, place=place)
    splits = np.full(len(ids), str(Split.TRAIN))
    if split_column is not None:
        splits = np.array(text_of(table, split_column, path).tolist(), dtype=np.str_)
    features: Any
    vocabulary = content_hashes = columns = None
    images = feature_columns is None and text_column is None
    if feature_columns is not None:
        others = (id_column, label_column, split_column, true_label_column)
        taken = [name for name in others if name is not None]
        columns, features = number_vectors(table, feature_columns, taken, path)
    elif text_column is not None:
        texts = text_of(table, text_column, path)
        train = splits == Split.TRAIN
        features, vocabulary = tokenised(texts, train, vocabulary_size, length, token_pattern)
        content_hashes = np.array(text_hashes(texts.tolist()))
    else:
        if image_column is not None:
            sources: list[Any] = image_bytes(column_of(table, image_column, path), ids, path)
        else:
            root = Path(path).parent if image_root is None else image_root
            if path_column not in table.columns:
                raise DataError(_no_features(table, path_column, path))
            sources = _image_paths(text_of(table, path_column, path), ids, root, path)
        names_of = [f"{path}: sample '{i}'" for i in ids]
        features = image_features(sources, names_of, mode, image_size, decode)
    return Samples(
        np.array(ids),
        features,
        labels,
        splits,
        names,
        true_labels,
        labels_are_true,
        vocabulary,
        resized=images and image_size is not None,
        token_pattern=None if vocabulary is None else token_pattern,
        content_hashes=content_hashes,
        columns=columns,
    )


def _no_features(table: pd.DataFrame, path_column: str, file: str) -> str:
    found = [str(name) for name in table.columns]
    hint = separator_hint(found) or (
        "of images name the path_column or image_column, of texts the text_column, of numbers the "
        f"feature_columns; {shown(nearest(path_column, found), 1_000)}"
    )
    return f"{file}: no column '{path_column}'; {hint}"


def image_bytes(values: "pd.Series[Any]", ids: Array, file: str) -> list[bytes]:
    """Return the encoded images of a column of bytes or of {bytes, path} mappings."""
    images = []
    for row, value in enumerate(values):
        image = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(image, bytes):
            raise DataError(f"{file}: sample '{ids[row]}': no encoded image bytes in the column")
        images.append(image)
    return images


def _ids(table: pd.DataFrame, id_column: str, file: str) -> Array:
    ids = np.array(text_of(table, id_column, file).tolist(), dtype=np.str_)
    if not ids.size:
        raise DataError(f"{file}: the table has no row")
    repeated = pd.Series(ids).duplicated().to_numpy()
    if repeated.any():
        row = int(repeated.argmax())
        raise DataError(f"{file}: sample id '{ids[row]}' is repeated in {place_of(row, file)}")
    return ids


def _image_paths(names: "pd.Series[Any]", ids: Array, root: str | Path, file: str) -> list[str]:
    paths = []
    for row, name in enumerate(names):
        try:
            paths.append(_image_path(name, root, f"sample '{ids[row]}'"))
        except DataError as error:
            # Only now, as it takes reading the manifest again.
            raise DataError(f"{file}: {place_of(row, file)}, {error}") from None
    return paths


def _image_path(name: str, root: str | Path, where: str) -> str:
    path = inside(root, name, where)
    if not os.path.isfile(path):
        hint = "; write it with forward slashes, relative to the root" if "\\" in name else ""
        raise DataError(f"{where}: no image at {shown(path, 300)}{hint}")
    return path
