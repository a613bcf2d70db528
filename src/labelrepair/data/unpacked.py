"""What a file unpacks to, found out before it is in memory: some bytes may stand for terabytes."""

import io
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelrepair.errors import DataError

# A table has an id for each row, which no encoding makes a hundred times smaller. The first GiB is
# free: ten million rows of a few class names and folders are next to nothing in a file.
FREE, MOST_TIMES = 2**30, 100
# Rows at a time. Texts that are told as differences to the text before are only read as a whole.
_ROWS, _DELTA_ROWS = 2**16, 2**6


def check_memory(needed: float, what: str) -> None:
    """Raise DataError if ``needed`` bytes are more than this machine has: a bomb, or too large."""
    names = getattr(os, "sysconf_names", {})  # not on Windows
    if "SC_PHYS_PAGES" in names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > memory:
            raise DataError(
                f"{what} unpacks to {needed / 2**30:.0f} GiB, this machine has "
                f"{memory / 2**30:.0f} GiB of memory"
            )


def check_parquet(file: Path | io.BytesIO, where: str = "") -> None:
    """Look at what a Parquet file unpacks to; its texts are counted, and never all in memory.

    Args:
        file: the file, or its bytes.
        where: what messages call it; default: the path.

    Raises:
        DataError: it is more than the memory, or beyond a GiB more than a hundred times the file.
        OSError, pyarrow.ArrowException: the file is damaged.
    """
    metadata = pq.read_metadata(file)
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    # A dictionary may say a value a million times in a few bytes: in memory each takes 8 or more.
    held = file.stat().st_size if isinstance(file, Path) else file.getbuffer().nbytes
    most, where = max(FREE, MOST_TIMES * held), where or str(file)
    size, texts, deltas = 0, list[str](), list[str]()
    for index in range(metadata.num_columns):
        column, parts = metadata.schema.column(index), [group.column(index) for group in groups]
        count = max(metadata.num_rows, sum(part.num_values for part in parts))
        size += count * max(8, column.length or 0)
        if column.physical_type == "BYTE_ARRAY":
            delta = any("DELTA" in encoding for part in parts for encoding in part.encodings)
            (deltas if delta else texts).append(column.path)
    size = max(size, sum(group.total_byte_size for group in groups))
    _check_unpacked(size, most, where)
    reader = pq.ParquetFile(file, read_dictionary=texts)
    for group in range(len(groups)):  # a structure of two groups' dictionaries cannot be read
        for names, rows in ((texts, _ROWS), (deltas, _DELTA_ROWS)):
            if not names:
                continue
            for batch in reader.iter_batches(rows, [group], names, use_threads=False):
                size += sum(map(_text_bytes, batch.columns))
                _check_unpacked(size, most, where)


def _check_unpacked(size: int, most: int, where: str) -> None:
    check_memory(size, f"{where}:")
    if size > most:
        raise DataError(
            f"{where}: unpacks to more than {most / 2**30:.1f} GiB, {MOST_TIMES} times the file or "
            "more; expected a table of distinct rows"
        )


def _text_bytes(array: Any) -> int:
    """Return the bytes of all texts in a column, also of those in lists and structures."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _text_bytes(array.storage)
    if pa.types.is_struct(kind):
        return sum(map(_text_bytes, array.flatten()))
    if pa.types.is_map(kind):
        return _text_bytes(array.keys) + _text_bytes(array.items)
    if pa.types.is_nested(kind):
        return _text_bytes(array.flatten())
    if pa.types.is_dictionary(kind):
        array, indices = array.dictionary, array.indices
        lengths = pc.take(pc.binary_length(array), indices)
    else:
        lengths = pc.binary_length(array)
    return pc.sum(lengths).as_py() or 0
