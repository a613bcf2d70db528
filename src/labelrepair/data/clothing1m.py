"""Clothing1M in its published layout: key lists, `key label` lists and images below one root."""

import re
from pathlib import Path

import numpy as np

from labelrepair.data.files import inside, require_file
from labelrepair.data.images import image_features
from labelrepair.data.samples import UNKNOWN, Samples
from labelrepair.errors import DataError, shown
from labelrepair.label_table import Split


def read_clothing1m(
    root: str,
    image_size: tuple[int, int] = (64, 64),
    add_clean_train: bool = False,
    *,
    decode: bool = True,
) -> Samples:
    """Read the noisy training images, the clean validation and the clean test images.

    Given labels are the noisy ones in training and the clean ones elsewhere; true labels are the
    clean ones where the list has one (-1 elsewhere). Ids are the keys, paths below ``root``.

    Args:
        root: the folder with the .txt lists; keys are relative to it.
        image_size: (H, W), bilinear. The array holds N*3*H*W bytes: 12 GB for the million images
            at the default, 200 GB at the papers' 256x256.
        add_clean_train: also train on the images of the clean training list that have a noisy
            label, with that label: the training rows whose truth is known.
        decode: see :func:`labelrepair.data.sources.read_source`.

    Raises:
        DataError: a list or an image is missing, a list is not UTF-8 or contradicts itself, or a
            key has no label.
    """
    folder = Path(root)
    noisy, clean = _labels(folder / "noisy_label_kv.txt"), _labels(folder / "clean_label_kv.txt")
    train = _lines(folder / "noisy_train_key_list.txt")
    if add_clean_train:
        train += [key for key in _lines(folder / "clean_train_key_list.txt") if key in noisy]
    parts = [
        (Split.TRAIN, train, noisy),
        (Split.VALIDATION, _lines(folder / "clean_val_key_list.txt"), clean),
        (Split.TEST, _lines(folder / "clean_test_key_list.txt"), clean),
    ]
    keys = [key for _, part, _ in parts for key in part]
    for split, part, labels in parts:
        for key in part:
            if key not in labels:
                raise DataError(f"clothing1m: {split} image '{key}' has no label in its list")
    files = [str(require_file(inside(root, k, "clothing1m"), f"clothing1m: '{k}'")) for k in keys]
    return Samples(
        sample_ids=np.array(keys),
        features=image_features(files, files, "RGB", image_size, decode),
        labels=np.array([labels[key] for _, part, labels in parts for key in part], np.int64),
        splits=np.repeat([str(split) for split, _, _ in parts], [len(p) for _, p, _ in parts]),
        class_names=_class_names(folder / "category_names_eng.txt"),
        true_labels=np.array([clean.get(key, UNKNOWN) for key in keys], np.int64),
        resized=True,
    )


def _lines(file: Path) -> list[str]:
    return [line for _, line in _numbered(file)]


def _numbered(file: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank, with their numbers from 1."""
    try:
        text = require_file(file, "clothing1m").read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected a list in UTF-8: {error}") from None
    lines = enumerate(text.split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def _class_names(file: Path) -> tuple[str, ...]:
    names = dict[str, int]()
    for number, name in _numbered(file):
        if name in names:
            raise DataError(f"{file}, line {number}: '{name}' is the class of line {names[name]}")
        names[name] = number
    return tuple(names)


def _labels(file: Path) -> dict[str, int]:
    """Return key -> class number from lines "key number"."""
    labels = dict[str, int]()
    for number, line in _numbered(file):
        found = re.fullmatch(r"(.*\S)\s+([0-9]{1,9})", line)  # a class number, so never a long one
        if not found:
            raise DataError(
                f"{file}, line {number}: expected 'key label', the label a class number, found "
                f"'{shown(line)}'"
            )
        key, label = found[1], int(found[2])
        if labels.setdefault(key, label) != label:
            raise DataError(
                f"{file}, line {number}: '{key}' has label {label}, in a line before {labels[key]}"
            )
    return labels
