"""Choose test and validation rows by a hash of the sample id: row order does not matter."""

import hashlib

import numpy as np
import numpy.typing as npt

from labelrepair.config import require
from labelrepair.data.samples import Array, Labels
from labelrepair.errors import DataError
from labelrepair.label_table import Split


def assign_test(
    splits: Array, labels: Labels, sample_ids: Array, fraction: float, seed: int
) -> npt.NDArray[np.str_]:
    """Return ``splits`` with a stratified part of the training rows made test rows.

    Args:
        splits: str (N,), without a test row.
        labels: int64 (N,) given labels, to stratify by.
        sample_ids: str (N,).
        fraction: share of the training rows, in [0, 1); see :func:`holdout`.
        seed: another seed chooses other rows.

    Raises:
        DataError: there are test rows already.
        ConfigError: fraction out of range.
    """
    if np.any(splits == Split.TEST):
        raise DataError("assign_test: the source has a test split of its own")
    train = np.flatnonzero(splits == Split.TRAIN)
    chosen = train[holdout(labels[train], fraction, seed, sample_ids[train])]
    # The longest split name, so that no entry of a narrower string array is cut short.
    result = splits.astype(f"<U{max(map(len, Split))}")
    result[chosen] = str(Split.TEST)
    return result


def holdout(
    labels: Labels, fraction: float, seed: int, sample_ids: Array | None = None
) -> npt.NDArray[np.bool_]:
    """Choose a stratified part of the rows.

    Class counts follow the largest-remainder method: round(fraction * N) rows in all, each class
    floor(fraction * n) and the rest to the largest remainders (ties: the lower class). No class
    loses its last row, so that fewer rows may be chosen when classes are tiny. Within a class the
    rows of the smallest hash of (seed, sample id) are chosen: the same rows in any row order.

    Args:
        labels: int64 (N,) given labels, >= 0.
        fraction: in [0, 1).
        seed: another seed chooses other rows.
        sample_ids: str (N,); None: the row number stands in.

    Returns:
        bool (N,), True where held out.

    Raises:
        ConfigError: fraction out of range.
    """
    require(0.0 <= fraction < 1.0, f"fraction: must lie in [0, 1), found {fraction}")
    ids = np.arange(len(labels)).astype(np.str_) if sample_ids is None else sample_ids
    mask = np.zeros(len(labels), bool)
    counts = _quotas(np.bincount(labels), fraction)
    keys = np.array([_key(seed, str(sample_id)) for sample_id in ids], np.uint64)
    order = np.lexsort((ids, keys))
    for label in np.flatnonzero(counts):
        rows = order[labels[order] == label]
        mask[rows[: counts[label]]] = True
    return mask


def _quotas(sizes: Labels, fraction: float) -> Labels:
    """Return how many rows of each class to choose."""
    # Rounded: 0.29 * 100 falls a hair short of 29, and 1.4 - 1 of 0.4, which would decide ties.
    exact = np.round(sizes * fraction, 9)
    quotas = np.floor(exact).astype(np.int64)
    remainders = np.round(exact - quotas, 9)
    open_rows = round(float(np.round(sizes.sum() * fraction, 9))) - int(quotas.sum())
    for label in np.argsort(-remainders, kind="stable"):
        if open_rows > 0 and remainders[label] > 0 and quotas[label] + 1 < sizes[label]:
            quotas[label] += 1
            open_rows -= 1
    return quotas


def _key(seed: int, sample_id: str) -> int:
    digest = hashlib.blake2b(f"{seed}:{sample_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
