"""Benchmarks that libraries bring along: scikit-learn's digits and four torchvision sets."""

from pathlib import Path
from typing import Any

import numpy as np

from labelrepair.config import one_of
from labelrepair.data.samples import Array, Labels, Samples, numbered_ids
from labelrepair.errors import DataError
from labelrepair.label_table import Split

TORCHVISION_NAMES = ("MNIST", "FashionMNIST", "CIFAR10", "CIFAR100")


def read_digits() -> Samples:
    """Return scikit-learn's 1,797 digits: uint8 (N, 1, 8, 8), greys 0..16 scaled to 0..255.

    They have no test split of their own: see :func:`labelrepair.data.splits.assign_test`.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 - slow import, needed only here

    bunch = load_digits()
    count = len(bunch.target)
    return Samples(
        sample_ids=np.array(numbered_ids("digit", count)),
        features=np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None],
        labels=bunch.target.astype(np.int64),
        splits=np.full(count, str(Split.TRAIN)),
        class_names=tuple(str(name) for name in bunch.target_names),
        labels_are_true=True,
    )


def read_torchvision(name: str, root: str, download: bool = False) -> Samples:
    """Return a torchvision set with its own train and test split, uint8 (N, ch, H, W).

    Args:
        name: MNIST, FashionMNIST, CIFAR10 or CIFAR100.
        root: the folder that torchvision's own ``root`` means.
        download: fetch the files if they are not there.

    Raises:
        DataError: the files are missing or damaged, or hold images of two sizes.
    """
    one_of(TORCHVISION_NAMES, name=name)
    parts = {Split.TEST: _load(name, root, download, False)}
    parts[Split.TRAIN] = _load(name, root, download, True)
    test, train = (part[0].shape[1:] for part in parts.values())
    if test != train:
        raise DataError(
            f"torchvision {name}: test images in {_folder(name, root)} are {test}, expected "
            f"{train} as the training images are"
        )
    labels = np.concatenate([part[1] for part in parts.values()])
    return Samples(
        sample_ids=np.array(
            [i for split, part in parts.items() for i in numbered_ids(split, len(part[1]))]
        ),
        features=np.concatenate([part[0] for part in parts.values()]),
        labels=labels,
        splits=np.repeat([str(split) for split in parts], [len(p[1]) for p in parts.values()]),
        class_names=parts[Split.TRAIN][2],
        labels_are_true=True,
    )


def _folder(name: str, root: str) -> Path:
    """Return the folder in which torchvision looks."""
    return Path(root) / (f"{name}/raw" if "MNIST" in name else "")


def _load(name: str, root: str, download: bool, train: bool) -> tuple[Array, Labels, Any]:
    """Return images (N, ch, H, W), labels and class names of one split."""
    import torchvision  # noqa: PLC0415 - optional at run time and slow to import

    try:
        dataset = getattr(torchvision.datasets, name)(root, train=train, download=download)
    except (RuntimeError, TypeError, ValueError, OSError, AssertionError) as error:
        raise DataError(
            f"torchvision {name}: not found, or damaged, in {_folder(name, root)} ({error}); "
            "correct root, or set download: true"
        ) from error
    images = np.asarray(dataset.data)
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return images, np.asarray(dataset.targets, np.int64), tuple(dataset.classes)
