"""What a file of ``torch.save`` looks like, told before it is loaded."""

import zipfile
from pathlib import Path


def check_stored(path: str | Path) -> None:
    """Refuse a file that would unpack to more than it holds: ``torch.save`` never compresses.

    Raises:
        BadZipFile: not a ZIP file, or one with entries that are compressed or overlap.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise zipfile.BadZipFile(f"{packed[0]} is compressed, expected what torch.save writes")
    total, size = sum(entry.file_size for entry in entries), Path(path).stat().st_size
    if total > size:
        raise zipfile.BadZipFile(f"entries of {total} bytes in a file of {size}")
