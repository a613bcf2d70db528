"""From samples to the label table: test split, injected noise, trusted labels."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelrepair.audit import curated
from labelrepair.config import in_unit_interval, require, whole
from labelrepair.data import Samples
from labelrepair.data.files import column_of, read_table
from labelrepair.data.labels import encode_labels
from labelrepair.data.rows import RowStore, take
from labelrepair.data.samples import UNKNOWN, warn_of_scale
from labelrepair.data.splits import assign_test
from labelrepair.data.storage import StorageSpec, stored
from labelrepair.data.store import read_features
from labelrepair.errors import ConfigError, DataError
from labelrepair.estimation import FEWEST_LABELS
from labelrepair.label_table import (
    CONTENT_HASH,
    GIVEN_LABEL,
    OPEN_SET,
    SAMPLE_ID,
    SPLIT,
    TRUE_LABEL,
    Split,
    check_label_table,
    make_label_table,
)
from labelrepair.noise import OF_FEATURES, NoiseSpec, corrupt

logger = logging.getLogger(__name__)
Frame = pd.DataFrame
MOST_NAMED = 5  # such classes; of more, only their number is told
LOOKED_AT = 64  # pictures; if all are grey, others probably are
ALIKE = 0.7  # of difflib's similarity, without regard to case
RESIDENT = StorageSpec("resident")


@dataclass(frozen=True)
class SplitSpec:
    """Attributes: test_fraction, seed: a test split for sources that bring none."""

    test_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        in_unit_interval(test_fraction=self.test_fraction)
        whole(0, seed=self.seed)


@dataclass(frozen=True)
class CuratedSpec:
    """Where trusted labels come from.

    Attributes:
        path: CSV or Parquet with ``sample_id`` and ``true_label`` of trusted rows: class names or
            numbers, see :func:`labelrepair.data.labels.encode_labels`.
        count: for studies, so many rows drawn from the known truth instead.
        seed: of that draw.
        reviewed: also the rows that people audited (``kedro labels audit draw --of all``).
    """

    path: str | None = None
    count: int = 0
    seed: int = 0
    reviewed: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        whole(0, count=self.count, seed=self.seed)
        require(not (self.path and self.count), "path, count: set one of them, found both")


def tabulate(
    samples: Samples, split: SplitSpec, storage: StorageSpec = RESIDENT
) -> tuple[Any, Frame, Frame, list[str]]:
    """Return features as they are kept, label table, true labels (perhaps none) and class names.

    Raises:
        DataError: the table breaks a rule, e.g. a class without a training sample.
    """
    splits = samples.splits
    if not (splits == Split.TEST).any() and split.test_fraction > 0:
        splits = assign_test(
            splits, samples.labels, samples.sample_ids, split.test_fraction, split.seed
        )
    warn_of_scale(samples.features)
    features, hashes = stored(samples.features, storage)
    if samples.content_hashes is not None:
        hashes = samples.content_hashes.tolist()
    table = make_label_table(samples.sample_ids, samples.labels, splits, hashes)
    check_label_table(table, len(samples.class_names), allow_empty_classes=True)
    _require_all_classes(table, samples.class_names)
    _name_rare_classes(table, samples.class_names)
    _name_classes_that_differ_in_case(table, samples.class_names)
    _name_contradictions(table, samples.class_names)
    _require_repeated_classes(table)
    _tell_of_grey_pictures(features)
    truth = pd.DataFrame({SAMPLE_ID: table[SAMPLE_ID][:0], TRUE_LABEL: np.empty(0, np.int64)})
    if samples.true_labels is not None:
        truth = pd.DataFrame({SAMPLE_ID: table[SAMPLE_ID], TRUE_LABEL: samples.true_labels})
    return features, table, truth, list(samples.class_names)


def inject_noise(
    table: Frame,
    true_labels: Frame,
    num_classes: int,
    spec: NoiseSpec,
    features: Any = None,
) -> tuple[Frame, dict[str, Any]]:
    """Replace the given labels of all rows but the test split by noisy ones.

    Rows of the open set keep theirs: there is no true label to draw from.

    Args:
        table: label table.
        true_labels: truth of every row that is to be changed.
        num_classes: C.
        spec: what noise; ``none`` changes nothing.
        features: (M, ...), one row per row of ``table``, for noise that depends on them.

    Returns:
        The table with noisy given labels, and a record: kind, transition (the nominal one; the
        average that came about for noise that depends on the features), actual rate.

    Raises:
        ConfigError: noise is asked for where the truth is not known: it would hide real labels.
        DataError: the file of ``spec.embedding`` does not fit the table.
    """
    if spec.kind == "none":
        return table, {"kind": "none", "seed": spec.seed}
    rows = (table[SPLIT] != Split.TEST).to_numpy()
    truth = true_labels.set_index(SAMPLE_ID)[TRUE_LABEL].reindex(table[SAMPLE_ID])
    known = truth.fillna(UNKNOWN).to_numpy(dtype=np.int64)
    if (known[rows] == UNKNOWN).any():
        raise ConfigError(
            f"ingestion.noise.kind: '{spec.kind}' injects noise into true labels, but this source "
            "has labels that are not known to be true; set kind: none, or labels_are_true on the "
            "source"
        )
    closed = rows & (known != OPEN_SET)
    seen = _features_for(spec, features, closed)
    given = table[GIVEN_LABEL].to_numpy().copy()
    rng = np.random.default_rng(spec.seed)
    given[closed], transition = corrupt(known[closed], spec, num_classes, rng, seen)
    record = {
        "kind": spec.kind,
        "mode": spec.mode,
        "seed": spec.seed,
        "transition": transition.tolist(),
        "actual_rate": float((given[rows] != known[rows]).mean()),
    }
    noisy = table.assign(**{GIVEN_LABEL: given})
    check_label_table(noisy, num_classes)
    return noisy, record


def collect_curated(
    table: Frame,
    true_labels: Frame,
    class_names: Sequence[str],
    spec: CuratedSpec,
    decided: Frame | None = None,
) -> Frame:
    """Return ``sample_id, true_label`` of trusted rows, sorted; no row if none are configured.

    Args:
        table: label table.
        true_labels: the truth, where it is known.
        class_names: C names, which a file's labels are read by, as those of a source are.
        spec: what is trusted.
        decided: decisions of people (:mod:`labelrepair.decisions`), for ``spec.reviewed``; they
            outrank a file.

    Raises:
        DataError: the file names unknown or repeated samples, or labels outside the classes.
        ConfigError: rows are to be drawn from a truth that is not known.
    """
    found = _configured(table, true_labels, class_names, spec)
    if not spec.reviewed or decided is None:
        return found
    audited = curated(decided)
    unknown = ~audited[SAMPLE_ID].isin(table[SAMPLE_ID])
    if unknown.any():
        sample = audited.loc[unknown, SAMPLE_ID].iloc[0]
        raise DataError(f"human_decisions: sample '{sample}' is not in the label table")
    others = found[~found[SAMPLE_ID].isin(audited[SAMPLE_ID])]
    return pd.concat([others, audited]).sort_values(SAMPLE_ID, ignore_index=True)


def _configured(
    table: Frame, true_labels: Frame, class_names: Sequence[str], spec: CuratedSpec
) -> Frame:
    """Return the trusted rows of a file or, for studies, of the truth."""
    if spec.path:
        return _read_curated(spec.path, table, class_names)
    if not spec.count:
        return true_labels.iloc[:0].reset_index(drop=True)
    trainable = table.loc[table[SPLIT] != Split.TEST, SAMPLE_ID]
    known = true_labels[true_labels[SAMPLE_ID].isin(trainable) & (true_labels[TRUE_LABEL] >= 0)]
    if len(known) < spec.count:
        raise ConfigError(
            f"ingestion.curated.count: {spec.count} rows, truth of {len(known)} known"
        )
    rng = np.random.default_rng(spec.seed)
    rows = np.sort(rng.choice(len(known), spec.count, replace=False))
    return known.iloc[rows].reset_index(drop=True)


def _features_for(spec: NoiseSpec, features: Any, rows: NDArray[np.bool_]) -> Any:
    """Return what the noise looks at, for the rows that are to be changed."""
    if spec.kind not in OF_FEATURES or features is None:
        return None
    if spec.embedding is None:
        found = features
    elif spec.embedding.endswith(".npy"):
        found = read_features(spec.embedding)
    else:
        from labelrepair.networks.penultimate import model_features  # noqa: PLC0415

        found = model_features(spec.embedding, _whole(features)).numpy()
    if len(found) != len(rows):
        raise DataError(f"{spec.embedding}: {len(found)} rows of features for {len(rows)} samples")
    return take(found, rows)


def _whole(features: Any) -> Any:
    """Return all rows as networks take them."""
    import torch  # noqa: PLC0415

    from labelrepair.training.streamed import Streamed  # noqa: PLC0415

    if isinstance(features, RowStore):
        return Streamed(features)
    return torch.from_numpy(np.array(features))


def _require_all_classes(table: Frame, class_names: Sequence[str]) -> None:
    found = set(table.loc[table[SPLIT] == Split.TRAIN, GIVEN_LABEL])
    empty = [name for label, name in enumerate(class_names) if label not in found]
    if empty:
        raise DataError(
            f"class '{empty[0]}': no training sample ({len(empty)} such of {len(class_names)} "
            "classes); add samples, or leave it out of class_names"
        )


def _name_rare_classes(table: Frame, class_names: Sequence[str]) -> None:
    """Warn of classes with hardly a sample, which are often another one, mistyped."""
    counts = _training_rows(table, class_names)
    common = {
        name.casefold(): name
        for name, n in zip(class_names, counts, strict=True)
        if n >= FEWEST_LABELS
    }
    rare = [(name, n) for name, n in zip(class_names, counts, strict=True) if n < FEWEST_LABELS]
    if len(rare) > MOST_NAMED:
        logger.warning(
            "%d classes have fewer than %d training samples each", len(rare), FEWEST_LABELS
        )
        return
    for name, count in rare:
        close = difflib.get_close_matches(name.casefold(), common, n=1, cutoff=ALIKE)
        hint = f"; did its labels mean '{common[close[0]]}'?" if close else ""
        logger.warning(
            "class '%s' has %d training sample%s%s", name, count, "" if count == 1 else "s", hint
        )


def _training_rows(table: Frame, class_names: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of training rows of each class, (C,)."""
    train = table.loc[table[SPLIT] == Split.TRAIN, GIVEN_LABEL]
    return np.bincount(train, minlength=len(class_names))


def _name_classes_that_differ_in_case(table: Frame, class_names: Sequence[str]) -> None:
    """Warn of classes such as Cat and cat, none of them rare, that were one for somebody."""
    alike: dict[str, list[str]] = {}
    for name, count in zip(class_names, _training_rows(table, class_names), strict=True):
        if count >= FEWEST_LABELS:
            alike.setdefault(name.casefold(), []).append(name)
    found = [names for names in alike.values() if len(names) > 1]
    for names in found[:MOST_NAMED]:
        logger.warning(
            "the classes %s differ in case only; are they one?",
            " and ".join(f"'{name}'" for name in names),
        )


def _name_contradictions(table: Frame, class_names: Sequence[str]) -> None:
    """Warn of samples of the same content with different labels: copies in several class folders.

    At most one of each can be right, and where one is changed or decided about the others stay.
    """
    copies = table[table[CONTENT_HASH].duplicated(keep=False)]
    odd = copies[copies.groupby(CONTENT_HASH)[GIVEN_LABEL].transform("nunique") > 1]
    if odd.empty:
        return
    first = odd[odd[CONTENT_HASH] == odd[CONTENT_HASH].iloc[0]].drop_duplicates(GIVEN_LABEL)
    pair = [
        f"'{sample}' ({class_names[label]})"
        for sample, label in zip(first[SAMPLE_ID][:2], first[GIVEN_LABEL][:2], strict=True)
    ]
    logger.warning(
        "%d samples have the very content of others that are given another label, such as %s; no "
        "model can get both right, and a decision about one does not change the others",
        len(odd),
        " and ".join(pair),
    )


def _tell_of_grey_pictures(features: Any) -> None:
    """Say so where grey pictures have been read as colours: networks pay for all three."""
    if len(features.shape) != 4 or features.shape[1] != 3:
        return
    some = np.asarray(features[:LOOKED_AT])
    if (some == some[:, :1]).all():
        logger.warning(
            "the first %d pictures are grey and have been read as three equal channels; with "
            "mode: L in the source they take a third of the memory, and less time",
            len(some),
        )


def _require_repeated_classes(table: Frame) -> None:
    """Refuse a training set in which no class has two samples: nothing can be told from it."""
    train = table.loc[table[SPLIT] == Split.TRAIN, GIVEN_LABEL]
    if not train.duplicated().any():
        raise DataError(
            f"label table: every class has a single training sample ({len(train)} classes); is the "
            "label column an id?"
        )


def _read_curated(path: str, table: Frame, class_names: Sequence[str]) -> Frame:
    raw = read_table(path)
    ids = column_of(raw, SAMPLE_ID, path).astype(str)
    given = column_of(raw, TRUE_LABEL, path)
    unknown = ~ids.isin(table[SAMPLE_ID])
    for wrong, rule in (
        (unknown, "is not in the label table"),
        (ids.duplicated(), "appears more than once"),
    ):
        if wrong.any():
            raise DataError(f"{path}: sample '{ids[wrong].iloc[0]}' {rule}")
    where = f"{path}, column '{TRUE_LABEL}'"
    _, labels, _ = encode_labels(given, ids.to_numpy(), class_names, where)
    found = pd.DataFrame({SAMPLE_ID: ids, TRUE_LABEL: labels})
    return found.sort_values(SAMPLE_ID, ignore_index=True)
