"""Rows in portions, so that work on a table needs memory for a portion and stays in the cache."""

from collections.abc import Iterator

ELEMENTS = 1 << 18  # 2 MB of float64


def row_slices(rows: int, columns: int) -> Iterator[slice]:
    """Yield consecutive slices that cover ``rows`` rows, each of about ``ELEMENTS`` values."""
    step = max(1, ELEMENTS // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
