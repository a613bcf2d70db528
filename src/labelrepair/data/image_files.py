"""Images that stay in their files and are decoded whenever a batch needs them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from labelrepair.data.images import EncodedImages, Images
from labelrepair.data.rows import BLOCK_BYTES, Positions, RowStore
from labelrepair.data.shards import (
    AGAIN,
    as_numbers,
    hex_of,
    read_hashes,
    read_manifest,
    write_manifest,
)
from labelrepair.errors import DataError, shown
from labelrepair.label_table import content_hashes

FILES = "files.parquet"
WORKERS = 8  # at most, unless the catalog says otherwise


class ImageFiles(RowStore):
    """Image files with what they decoded to at ingestion: uint8 (N, ch, H, W).

    Every image is compared with its content hash when it is read.

    Attributes:
        images: the files.
        hashes: uint64 (N,), content hash of each decoded image.
        workers: processes of a loader.
        folder: where the lists are, once saved.
    """

    folder: Path | None = None

    def __init__(
        self,
        images: EncodedImages,
        hashes: npt.NDArray[np.uint64],
        workers: int | None = None,
    ) -> None:
        """Keep the paths; ``workers``: None = one per core, at most ``WORKERS``."""
        self.images, self.hashes = images, hashes
        self.shape, self.dtype = images.shape, images.dtype
        self.workers = min(os.cpu_count() or 1, WORKERS) if workers is None else workers

    def read(self, rows: Positions) -> Images:
        """Decode rows.

        Raises:
            DataError: an image has disappeared or changed since ingestion, naming file and row.
        """
        found = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for place, row in enumerate(rows.tolist()):
            found[place] = self._decoded(row)
        return found

    def _decoded(self, row: int) -> Images:
        path = str(self.images.sources[row])
        if not os.path.isfile(path):
            raise DataError(
                f"{path}: row {row}: the image was here at ingestion and is gone; put it back, or "
                f"{AGAIN}"
            )
        try:
            image = self.images.decode(row)
        except DataError as error:
            raise DataError(
                f"row {row}: the image has changed since ingestion: {error}; {AGAIN}"
            ) from error
        is_, should = content_hashes(image[None])[0], hex_of(self.hashes[row])
        if is_ != should:
            raise DataError(
                f"{path}: row {row}: the image has changed since ingestion (content hash {is_}, "
                f"expected {should}); {AGAIN}"
            )
        return image

    def save(self, folder: Path) -> None:
        """Write paths, hashes and manifest into a folder; those below the project as relative."""
        folder.mkdir(parents=True)
        paths = pa.array([_portable(str(path)) for path in self.images.sources], pa.large_string())
        pq.write_table(pa.table({"path": paths}), folder / FILES)
        size = self.images.image_size
        content = {"storage": "files", "mode": self.images.mode, "image_size": size and list(size)}
        write_manifest(folder, content, self, self.hashes)

    @classmethod
    def load(cls, folder: Path, workers: int | None = None) -> "ImageFiles":
        """Read what :meth:`save` wrote.

        Raises:
            DataError: a file is missing, damaged, or of another data set.
        """
        content = read_manifest(folder, "files")
        hashes = read_hashes(folder, content)
        try:
            paths = pq.read_table(folder / FILES).column("path").combine_chunks()
        except Exception as error:
            raise DataError(
                f"{folder / FILES}: not readable ({shown(error, 300)}); {AGAIN}"
            ) from error
        if len(paths) != len(hashes):
            raise DataError(
                f"{folder / FILES}: {len(paths)} paths for {len(hashes)} hashes; {AGAIN}"
            )
        size = content.get("image_size")
        names: Any = _Strings(paths)
        shape = tuple(content["shape"][1:])
        images = EncodedImages(names, names, content["mode"], size and tuple(size), shape)
        found = cls(images, hashes, workers)
        found.folder = folder
        return found


def hashed(images: EncodedImages, workers: int | None = None) -> ImageFiles:
    """Decode all images once, for their hashes and to refuse bad ones; keep the files only.

    Raises:
        DataError: an image is not readable, or the images are no files.
    """
    if not all(isinstance(source, str) for source in images.sources):
        raise DataError(
            "ingestion.storage.kind: files, but this source's images are bytes inside a table; "
            "use shards"
        )
    step = max(1, BLOCK_BYTES * 4 // max(1, images.nbytes // max(1, len(images))))
    parts = [
        as_numbers(content_hashes(images[first : first + step]))
        for first in range(0, len(images), step)
    ]
    return ImageFiles(images, np.concatenate(parts), workers)


class _Strings:
    """A column of text that becomes Python strings one at a time."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: int) -> str:
        return str(self._column[row].as_py())


def _portable(path: str) -> str:
    """Return a path below the working folder relative to it: a project may be moved."""
    here = os.path.join(os.getcwd(), "")
    return path[len(here) :] if path.startswith(here) else path
