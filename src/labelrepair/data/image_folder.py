"""Images in one folder per class, with or without split folders above them."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from labelrepair.data.files import inside, require_file
from labelrepair.data.images import image_features
from labelrepair.data.samples import Samples
from labelrepair.errors import DataError
from labelrepair.label_table import Split

logger = logging.getLogger(__name__)

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

SPLITS = {str(split): split for split in Split} | dict.fromkeys(("val", "valid"), Split.VALIDATION)
# Folders of these names, too, hold a part of the data rather than a class.
ALIASES = frozenset({"training", "dev", "devel", "development", "eval", "testing", "holdout"})
# What systems leave beside files, as hidden as names with a dot: thumbnails, remains of archives.
LEFT_BY_SYSTEMS = frozenset(
    {"@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)


def read_image_folder(
    path: str,
    image_size: tuple[int, int] | None = None,
    mode: str = "RGB",
    labels_are_true: bool = False,
    *,
    decode: bool = True,
) -> Samples:
    """Read ``path/class/**/image`` or ``path/{train,validation,test}/class/**/image``.

    The second layout is meant when every folder in ``path`` is named after a split (``val`` and
    ``valid`` mean validation). The sample id is the posix path below ``path``; classes are the
    sorted folder names. Hidden files, and folders of ``LEFT_BY_SYSTEMS``, are skipped silently,
    other files without an image suffix and images outside the class folders with a warning. Linked
    folders inside a class folder are followed, each folder being read once per class; a link back
    to the class folder, or to one above it, is skipped with a warning.

    Args:
        path: the root folder; nothing outside it is read, links included.
        image_size: (H, W) to resize to, bilinear; None: all images must share one size.
        mode: "L" or "RGB".
        labels_are_true: the folder names are the truth.
        decode: see :func:`labelrepair.data.sources.read_source`.

    Raises:
        DataError: no such folder, a class without images, an unreadable image, one that is no file
            (a pipe, a folder, a link to nothing), sizes that differ, a link that leads outside, or
            a folder that seems to be a split beside one that is none.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"image_folder: no folder at {path}")
    top = _folders(root)
    if top and {folder.name for folder in top} <= set(SPLITS):
        _warn_of_strays([root, *top])
        found = [(str(SPLITS[folder.name]), inner) for folder in top for inner in _folders(folder)]
    else:
        _warn_of_strays([root])
        _check_no_split(top)
        found = [(str(Split.TRAIN), folder) for folder in top]
    names = tuple(sorted({folder.name for _, folder in found}))
    rows = [
        (file, split, names.index(folder.name))
        for split, folder in found
        for file in _images(root, folder)
    ]
    if not rows:
        raise DataError(f"image_folder: no class folder in {path}; expected class/image files")
    ids = [file.relative_to(root).as_posix() for file, _, _ in rows]
    files = [str(file) for file, _, _ in rows]
    return Samples(
        sample_ids=np.array(ids),
        features=image_features(files, files, mode, image_size, decode),
        labels=np.array([label for _, _, label in rows], np.int64),
        splits=np.array([split for _, split, _ in rows]),
        class_names=names,
        labels_are_true=labels_are_true,
        resized=image_size is not None,
    )


def _check_no_split(top: list[Path]) -> None:
    """Refuse a folder that is named like a split and holds folders: its split would be a class.

    One with images in it is a class: a train beside a bus. Of other names that is told.
    """
    for folder in top:
        if folder.name.lower() not in SPLITS.keys() | ALIASES:
            continue
        if any(_is_image(file) for file in folder.iterdir()):
            if folder.name.lower() != Split.TRAIN:
                logger.warning(
                    "%s is read as a class, as its images are in no class folder; if it is a split "
                    "or holds what nobody has labelled, move it out of the folder of classes",
                    folder,
                )
        elif _folders(folder):
            found = ", ".join(other.name for other in top)
            raise DataError(
                f"image_folder: {folder} seems to be a split, not all folders beside it are; found "
                f"{found}; expected {', '.join(SPLITS)} (class folders in each) or classes alone"
            )


def _warn_of_strays(folders: list[Path]) -> None:
    """Warn of images beside class folders: they are of no class."""
    for folder in folders:
        strays = sorted(f.name for f in folder.iterdir() if _is_image(f) and not f.is_dir())
        if strays:
            logger.warning(
                "%s: skipped %d images that are in no class folder, such as %s",
                folder,
                len(strays),
                strays[0],
            )


def _folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not _is_hidden(f.name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in LEFT_BY_SYSTEMS


def _images(root: Path, folder: Path) -> list[Path]:
    """Return the image files at any depth of a class folder, sorted; see read_image_folder."""
    images, skipped = [], 0
    inside(root, str(folder.absolute()), "image_folder")
    for parent, files in _walk(root, folder):
        for name in files:
            inside(root, os.path.abspath(os.path.join(parent, name)), "image_folder")
        for name in files:
            if _is_image(Path(name)):
                images.append(require_file(Path(parent, name), "image_folder"))
            elif not name.startswith("."):
                skipped += 1
    if skipped:
        logger.warning("%s: skipped %d files without an image suffix", folder, skipped)
    if not images:
        raise DataError(f"image_folder: class folder {folder} holds no image")
    return sorted(images)


def _walk(root: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders of a class that are not hidden, each with its files, linked ones last.

    A folder that is reached in several ways is taken once, by its own path if that is one of them.
    """
    whole, seen, starts = os.path.realpath(folder), set(), [str(folder)]
    while starts:
        for parent, folders, files in os.walk(starts.pop(0)):
            real = os.path.realpath(parent)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not _is_hidden(name))
            yield parent, files
            for path in (os.path.join(parent, name) for name in folders):
                target = inside(root, os.path.abspath(path), "image_folder")
                if not os.path.islink(path):
                    continue
                if os.path.commonpath([whole, target]) == target:  # its pictures are other classes'
                    logger.warning("%s: skipped, it leads back to %s", path, target)
                else:
                    starts.append(path)


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
