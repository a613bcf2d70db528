"""Files of ``torch.save`` that a stranger may have written or changed."""

import zipfile
from pathlib import Path
from typing import Any

import torch


def load(path: str | Path) -> Any:
    """Return the content, on the CPU; no code in it is run.

    Raises:
        BadZipFile: not a ZIP file, one with entries that are compressed (``torch.save`` never
            compresses) or overlap, so that it would unpack to more than it holds, or with a
            checksum that differs, which torch writes and does not check.
        pickle.UnpicklingError: it holds other things than tensors and plain values.
        OSError, EOFError, RuntimeError: it cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise zipfile.BadZipFile(f"{packed[0]} is compressed, expected what torch.save writes")
        total, size = sum(entry.file_size for entry in entries), Path(path).stat().st_size
        if total > size:
            raise zipfile.BadZipFile(f"entries of {total} bytes in a file of {size}")
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"checksum of {damaged} differs")
    return torch.load(path, map_location="cpu", weights_only=True)
