"""Rows of the label table and of the feature store, as training takes them."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from labelrepair.chunks import row_slices
from labelrepair.data.rows import RowStore
from labelrepair.data.shards import as_numbers, hex_of, row_hashes
from labelrepair.data.splits import holdout
from labelrepair.errors import DataError
from labelrepair.estimation import check_probs
from labelrepair.label_table import (
    CONTENT_HASH,
    GIVEN_LABEL,
    SAMPLE_ID,
    SPLIT,
    TRUE_LABEL,
    Split,
    check_label_table,
    of_texts,
)
from labelrepair.networks.features import Features
from labelrepair.sealed import check_ingested
from labelrepair.training import Holdout, TrainSet
from labelrepair.training.seeds import derive_seed
from labelrepair.training.streamed import Streamed

Array = NDArray[Any]
SPOT_CHECKS = 256  # rows of a store that are read and compared with its hashes


def repairable(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return the mask of rows that may be learned from and repaired: all but the test split."""
    mask: NDArray[np.bool_] = (table[SPLIT] != Split.TEST).to_numpy()
    return mask


def check_alignment(table: pd.DataFrame, features: Array | RowStore) -> None:
    """Compare every row of the feature store with the table's content hashes.

    Of a store its hashes are, and evenly spaced rows with these, as its files may be damaged. The
    table's hashes of texts are not of tokens: the hashes of these must be those that it notes.

    Raises:
        DataError: lengths differ, or a feature row is not the one that the table row was made from.
    """
    if len(table) != len(features):
        raise DataError(f"feature store has {len(features)} rows, the label table {len(table)}")
    rows = np.arange(len(table))
    if isinstance(features, RowStore):
        some = np.unique(np.linspace(0, len(table) - 1, SPOT_CHECKS).astype(int))
        found = row_hashes(np.asarray(features[some]))
        if features.hashes is None:  # a host's own store: no more is known of it
            rows = some
        else:
            _compare(table, some, found, features.hashes[some])
            found = features.hashes
    else:
        found = row_hashes(features)
    if of_texts(table):
        if len(rows) == len(table):
            check_ingested(table, features=found)
        return
    try:
        expected = as_numbers(table[CONTENT_HASH].iloc[rows].tolist())
    except ValueError as error:
        raise DataError(f"label table: content_hash must be 16 hex digits: {error}") from None
    _compare(table, rows, found, expected)


def _compare(table: pd.DataFrame, rows: Array, found: Array, expected: Array) -> None:
    """Refuse hashes of rows that are not those expected, naming the first."""
    for place in np.flatnonzero(found != expected)[:1]:
        row, is_, should = rows[place], hex_of(found[place]), hex_of(expected[place])
        raise DataError(
            f"row {row} ('{table[SAMPLE_ID].iloc[row]}'): the feature store does not hold this "
            f"sample (content hash {is_}, expected {should}); run the ingestion pipeline again"
        )


def check_classes(table: pd.DataFrame, num_classes: int) -> None:
    """Refuse class names that are fewer than the label table's classes.

    Raises:
        DataError: naming the first sample whose given label has no name.
    """
    unnamed = (table[GIVEN_LABEL] >= num_classes).to_numpy()
    if unnamed.any():
        name, label = table[[SAMPLE_ID, GIVEN_LABEL]].iloc[int(unnamed.argmax())]
        raise DataError(
            f"class_names: {num_classes} names, but sample '{name}' of the label table is given "
            f"label {label}; make both again: kedro run --pipelines ingestion"
        )


def check_probs_of(
    table: pd.DataFrame,
    probs: Array,
    num_classes: int,
    maker: str,
    selected: Array | None = None,
) -> None:
    """Refuse arrays of a former run that are not of the table's repairable rows, or are damaged.

    Args:
        table: label table, N rows of it repairable.
        probs: expected ``(N, C)``, finite, rows sum to 1 within 1e-3; read in portions.
        num_classes: C.
        maker: the pipeline that made them, ``training`` or ``refinement``.
        selected: of the training, expected bool ``(N,)``, or ``(0,)`` where no row was selected.

    Raises:
        DataError: naming dataset and row, and what to run.
    """
    name = "refined_probs" if maker == "refinement" else "training_probs"
    again = "make it again: kedro run --pipelines {}".format
    expected = (int(repairable(table).sum()), num_classes)
    if probs.shape != expected:
        raise DataError(f"{name}: expected shape {expected}, found {probs.shape}; {again(maker)}")
    try:
        for part in row_slices(*expected):
            check_probs(probs[part], name, part.start)
    except DataError as error:
        raise DataError(f"{error}; {again(maker)}") from None
    fitting = ((0,), expected[:1])
    if selected is not None and (selected.dtype != bool or selected.shape not in fitting):
        found = f"expected bool {expected[:1]}, found {selected.dtype} {selected.shape}"
        raise DataError(f"training_selected: {found}; {again('training')}")


def train_set(
    table: pd.DataFrame,
    features: Array | RowStore,
    num_classes: int,
    validation_fraction: float,
    seed: int,
) -> tuple[TrainSet, Holdout]:
    """Return what training may see, and the test split to look at.

    Rows of the training set are those of ``table[repairable(table)]``, in order. The table's own
    validation rows are held out if the preset holds any out at all; where there are none, a
    fraction stratified by given label is.

    Args:
        table: label table, sorted by sample id.
        features: ``(M, ...)``, one row per row of ``table``; rows of a store stay there.
        num_classes: C.
        validation_fraction: see :class:`TrainingConfig`.
        seed: decides the holdout.

    Raises:
        DataError: a given label lies outside the classes, or the table is no label table.
    """
    check_classes(table, num_classes)
    check_label_table(table, num_classes, allow_empty_classes=True)
    mask = repairable(table)
    labels = table.loc[mask, GIVEN_LABEL].to_numpy()
    held_out = held_out_rows(table, validation_fraction, seed)[mask]
    data = TrainSet(
        loop_features(features, mask),
        torch.from_numpy(labels.copy()),
        num_classes,
        torch.from_numpy(np.flatnonzero(~held_out)),
        torch.from_numpy(np.flatnonzero(held_out)),
    )
    test_labels = table.loc[~mask, GIVEN_LABEL].to_numpy().copy()
    return data, Holdout(loop_features(features, ~mask), torch.from_numpy(test_labels))


def held_out_rows(table: pd.DataFrame, validation_fraction: float, seed: int) -> NDArray[np.bool_]:
    """Return the mask of rows of ``table`` that :func:`train_set` holds out for validation."""
    mask = repairable(table)
    held_out = np.zeros(len(table), dtype=bool)
    if validation_fraction > 0:
        held_out = (table[SPLIT] == Split.VALIDATION).to_numpy(copy=True)
        if not held_out.any():
            kept = table[mask]
            held_out[mask] = holdout(
                kept[GIVEN_LABEL].to_numpy(),
                validation_fraction,
                derive_seed(seed, "validation"),
                sample_ids=kept[SAMPLE_ID].to_numpy(),
            )
    return held_out


def loop_features(features: Array | RowStore, mask: NDArray[np.bool_]) -> Features:
    """Return rows under a mask as the loop takes them: a tensor, or, from a store, a stream."""
    if isinstance(features, RowStore):
        return Streamed(features.take(mask))
    return torch.from_numpy(np.ascontiguousarray(features[mask]))


def curated_pairs(table: pd.DataFrame, curated: pd.DataFrame) -> tuple[Array, Array]:
    """Return (true, given) labels int64 of the trusted rows."""
    given = table.set_index(SAMPLE_ID)[GIVEN_LABEL].loc[curated[SAMPLE_ID]]
    return curated[TRUE_LABEL].to_numpy(), given.to_numpy()
