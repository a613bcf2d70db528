"""What every reader returns: arrays with one row per sample, checked once at the edge."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from labelrepair.data.lookalikes import check_names
from labelrepair.data.rows import blocks, take
from labelrepair.errors import DataError, nearest, shown
from labelrepair.label_table import OPEN_SET, Split, check_class_names

logger = logging.getLogger(__name__)
LARGE_PIXEL = 20.0  # of a float image; standardized ones reach about 10
UNKNOWN = -1
"""Value of ``true_labels`` where the truth of a row is not known."""

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Samples:
    """A data set as it was read: N rows.

    Attributes:
        sample_ids: str (N,), unique.
        features: uint8 (N, ch, H, W) images, float32 (N, D) vectors or int32 (N, L) tokens: an
            array or, for images that are not decoded yet, a
            :class:`~labelrepair.data.rows.RowStore`.
        labels: int64 (N,) in 0..C-1, the given labels.
        splits: str (N,), values of :class:`~labelrepair.label_table.Split`.
        class_names: C names; the position is the class number.
        true_labels: int64 (N,) with -1 = unknown and -2 = of no class (open set); None = no truth
            at all. Evaluation only.
        labels_are_true: the given labels are the truth (a benchmark: noise may be injected);
            ``true_labels`` then repeats them.
        vocabulary: for text, the word of each token id, else None.
        token_pattern: for text, regular expression of a word, else None.
        resized: images were brought to one size, so that others may come in any size later.
        content_hashes: str (N,), of what the features were made from, see
            :func:`~labelrepair.label_table.text_hashes`; None = the features are the content.
        columns: for vectors, the D names of the numbers, where the source has them.
    """

    sample_ids: npt.NDArray[np.str_]
    features: Any
    labels: Labels
    splits: npt.NDArray[np.str_]
    class_names: tuple[str, ...]
    true_labels: Labels | None = None
    labels_are_true: bool = False
    vocabulary: tuple[str, ...] | None = None
    resized: bool = False
    token_pattern: str | None = None
    content_hashes: npt.NDArray[np.str_] | None = None
    columns: tuple[str, ...] | None = None

    def take(self, rows: Array) -> "Samples":
        """Return the samples at positions (or under a mask) ``rows``, in that order."""
        return dataclasses.replace(
            self,
            sample_ids=self.sample_ids[rows],
            features=take(self.features, rows),
            labels=self.labels[rows],
            splits=self.splits[rows],
            true_labels=None if self.true_labels is None else self.true_labels[rows],
            content_hashes=None if self.content_hashes is None else self.content_hashes[rows],
        )


def numbered_ids(prefix: str, count: int) -> list[str]:
    """Return "prefix-00000", ...: padded so that lexicographic order is data-set order."""
    width = max(5, len(str(count - 1)))
    return [f"{prefix}-{row:0{width}d}" for row in range(count)]


def check_samples(samples: Samples, where: str) -> None:
    """Check what all readers promise.

    Args:
        samples: what a reader built.
        where: the source, to begin messages with.

    Raises:
        DataError: lengths differ, an id is blank, repeated or not valid text, a split is unknown,
            a label lies outside the classes, there are fewer than two classes, one has a reserved
            name or blanks around it, or the training split is empty; the message names the sample.
    """
    ids, count, classes = samples.sample_ids, len(samples.sample_ids), len(samples.class_names)
    for name in ("features", "labels", "splits", "true_labels", "content_hashes"):
        column = getattr(samples, name)
        if column is not None and len(column) != count:
            raise DataError(f"{where}: {len(column)} {name} for {count} sample ids")
    if not np.any(samples.splits == Split.TRAIN):
        raise DataError(f"{where}: the training split is empty")
    check_ids(ids.tolist(), where)
    unknown = ~np.isin(samples.splits, [str(split) for split in Split])
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        hint = nearest(str(samples.splits[row]), list(Split))
        raise DataError(
            f"{where}: sample '{ids[row]}': unknown split '{shown(samples.splits[row])}'; {hint}"
        )
    if classes < 2:
        raise DataError(
            f"{where}: found {classes} class ({samples.class_names}), expected two or more"
        )
    check_names(samples.class_names, "class name", where)
    for name in samples.class_names:
        if name.strip() and name != name.strip():  # reviews' files do not tell it from the bare one
            raise DataError(
                f"{where}: the class name '{name}' begins or ends with a blank; rename the class"
            )
    check_class_names(samples.class_names, where)
    check_range(samples.labels, classes, ids, where)
    if samples.true_labels is not None:
        known = ~np.isin(samples.true_labels, (UNKNOWN, OPEN_SET))
        check_range(samples.true_labels[known], classes, ids[known], f"{where}: true label")


def check_range(labels: Labels, num_classes: int, ids: Array, where: str) -> None:
    """Raise DataError naming the first sample whose label is not in 0..num_classes-1."""
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if outside.size:
        row = outside[0]
        raise DataError(
            f"{where}: sample '{ids[row]}': label {labels[row]} outside 0..{num_classes - 1}"
        )


def check_not_blank(values: Any, where: str) -> None:
    """Raise DataError naming the first of the values that is null or blank text: no row's id."""
    empty = np.array([not str(value).strip() for value in values], dtype=bool)
    blank = empty | pd.Series(values, dtype=object).isna().to_numpy()
    if blank.any():
        raise DataError(f"{where}: row {int(blank.argmax())} has a blank sample id")


def check_ids(ids: Sequence[str], where: str) -> None:
    """Raise DataError for an id that is blank, repeated, or no valid text; it names the id."""
    check_not_blank(ids, where)
    repeated = pd.Series(ids, dtype=object).duplicated()
    if repeated.any():
        raise DataError(f"{where}: sample id '{ids[int(repeated.argmax())]}' is repeated")
    check_names(ids, "sample id", where)


def warn_of_scale(features: Any) -> None:
    """Warn of float images of a scale that networks hardly learn from; vectors are standardized.

    Args:
        features: as in :class:`Samples`; only float images ``(N, ch, H, W)`` are looked at. One of
            absolute value above ``LARGE_PIXEL`` is warned of.
    """
    if features.ndim != 4 or not np.issubdtype(features.dtype, np.floating):
        return
    most = max((float(np.abs(block).max()) for block in blocks(features)), default=0.0)
    if most > LARGE_PIXEL:
        logger.warning(
            "the images hold numbers up to %g: networks learn badly from more than about 1; give "
            "uint8, divide them, or set the training's normalize to standardize",
            most,
        )
