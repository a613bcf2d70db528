"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path, writer: str = "") -> Iterator[BinaryIO]:
    """Open a temporary file that replaces ``path`` once the block has ended well.

    Args:
        path: the file; its folder is made if needed. After an error it is as it was.
        writer: tells writers apart that may write ``path`` at the same time.

    Yields:
        A binary stream. Its name is the writer's own, in the same folder (a rename is atomic only
        within one file system): what a kill leaves there, the next save overwrites.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{writer}.part")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
