"""Open-set noise: samples of another data set among the training rows, under its labels."""

import dataclasses

import numpy as np

from labelrepair.data.samples import UNKNOWN, Samples
from labelrepair.errors import ConfigError, DataError
from labelrepair.label_table import OPEN_SET, Split


def mix_open_set(base: Samples, other: Samples, rate: float, seed: int, added: bool) -> Samples:
    """Return ``base`` with samples of ``other`` among its training rows.

    Wang et al. 2018: a share of the training images is replaced by images of another set, number
    of rows and class counts stay. A sample that came in belongs to no class: its true label is
    ``OPEN_SET`` (-2), whatever its given label says, so that only dropping it or sending it to
    review is right.

    Args:
        base: the data set; its labels become true labels if they are true.
        other: where the foreign samples come from, its test rows aside; its labels do not matter.
        rate: their share of the resulting training rows, in [0, 1).
        seed: which rows, which samples, and (``added``) which labels.
        added: False: they take over sample id and given label of rows drawn at random. True: they
            are new rows, under labels drawn uniformly over the classes.

    Raises:
        ConfigError: rate out of range.
        DataError: the samples differ in shape or type, are text, or are too few.
    """
    if not 0.0 <= rate < 1.0:
        raise ConfigError(f"rate: must lie in [0, 1), found {rate}")
    _check_alike(base, other)
    rng = np.random.default_rng(seed)
    train = np.flatnonzero(base.splits == Split.TRAIN)
    count = round(rate / (1.0 - rate if added else 1.0) * len(train))
    usable = np.flatnonzero(other.splits != Split.TEST)
    if count > len(usable):
        raise DataError(f"open set: {count} foreign samples are needed, other has {len(usable)}")
    foreign = np.sort(rng.choice(usable, count, replace=False))
    truth = base.labels if base.labels_are_true else base.true_labels
    truth = np.full(len(base.labels), UNKNOWN) if truth is None else truth.copy()
    if added:
        return _append(base, other, foreign, truth, rng)
    rows = rng.choice(train, count, replace=False)
    features = base.features.copy()
    features[rows] = other.features[foreign]
    truth[rows] = OPEN_SET
    return dataclasses.replace(base, features=features, true_labels=truth, labels_are_true=False)


def _append(
    base: Samples,
    other: Samples,
    foreign: "np.typing.NDArray[np.int64]",
    truth: "np.typing.NDArray[np.int64]",
    rng: np.random.Generator,
) -> Samples:
    count = len(foreign)
    ids = np.array([f"open-{name}" for name in other.sample_ids[foreign]], dtype=np.str_)
    labels = rng.integers(len(base.class_names), size=count)
    return dataclasses.replace(
        base,
        sample_ids=np.concatenate([base.sample_ids, ids]),
        features=np.concatenate([base.features, other.features[foreign]]),
        labels=np.concatenate([base.labels, labels]),
        splits=np.concatenate([base.splits, np.full(count, str(Split.TRAIN))]),
        true_labels=np.concatenate([truth, np.full(count, OPEN_SET)]),
        labels_are_true=False,
    )


def _check_alike(base: Samples, other: Samples) -> None:
    if base.vocabulary is not None or other.vocabulary is not None:
        raise DataError("open set: token numbers of two texts mean different words; not supported")
    found, needed = other.features, base.features
    if found.shape[1:] != needed.shape[1:] or found.dtype != needed.dtype:
        raise DataError(
            f"open set: samples of other are {found.dtype} {found.shape[1:]}, those of base "
            f"{needed.dtype} {needed.shape[1:]}; set image_size and mode on the source"
        )
