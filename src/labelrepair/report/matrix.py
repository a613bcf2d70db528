"""The transition matrix on the page: a table of cells, or a picture when classes are many."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NUMBERS_UP_TO, INTERVALS_UP_TO, TOP_CONFUSIONS = 20, 12, 10
RIGHT, WRONG = (0, 114, 178), (213, 94, 0)  # Okabe and Ito's blue and vermilion
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One element of T with its interval, if there is one; ``depth`` (0..1) is its colour."""

    value: float
    low: float | None
    high: float | None
    depth: float
    diagonal: bool


@dataclass(frozen=True)
class Confusion:
    """An off-diagonal element of T and how many rows it stands for: at least half a row."""

    true: str
    given: str
    cell: Cell
    rows: float


@dataclass(frozen=True)
class Matrix:
    """What the page needs to know about T; ``cells`` is empty where ``uri`` is drawn instead."""

    names: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    uri: str
    confusions: tuple[Confusion, ...]
    has_intervals: bool
    show_intervals: bool


def matrix_of(noise: Mapping[str, Any], class_names: Sequence[str], rows: int) -> Matrix:
    """Prepare T for the page.

    Args:
        noise: with ``transition``, ``class_prior``, perhaps ``transition_low`` and ``_high``.
        class_names: C names.
        rows: how many rows the data have, to turn shares into numbers of rows.
    """
    transition = np.asarray(noise["transition"], dtype=np.float64)
    ends = None
    if "transition_low" in noise:
        ends = np.asarray(noise["transition_low"]), np.asarray(noise["transition_high"])
    size, names = len(transition), tuple(map(str, class_names))

    def cell(i: int, j: int) -> Cell:
        value = float(transition[i, j])
        low, high = (None, None) if ends is None else (float(end[i, j]) for end in ends)
        return Cell(value, low, high, depth=float(np.sqrt(value)), diagonal=i == j)

    expected = transition * np.asarray(noise["class_prior"])[:, None] * rows
    np.fill_diagonal(expected, 0.0)
    order = np.argsort(-expected, axis=None, kind="stable")[:TOP_CONFUSIONS]
    places = [divmod(int(k), size) for k in order if expected.flat[k] > 0.5]  # else shown as 0
    small = size <= NUMBERS_UP_TO
    return Matrix(
        names=names,
        cells=tuple(tuple(cell(i, j) for j in range(size)) for i in range(size)) if small else (),
        uri="" if small else _picture(transition),
        confusions=tuple(
            Confusion(names[i], names[j], cell(i, j), float(expected[i, j])) for i, j in places
        ),
        has_intervals=ends is not None,
        show_intervals=ends is not None and size <= INTERVALS_UP_TO,
    )


def _picture(transition: Floats) -> str:
    """Return one pixel per element; the depth is transparency, which fits light and dark."""
    size = len(transition)
    pixels = np.empty((size, size, 4), dtype=np.uint8)
    pixels[..., :3] = np.where(np.eye(size, dtype=bool)[..., None], RIGHT, WRONG)
    pixels[..., 3] = np.rint(255 * np.sqrt(np.clip(transition, 0, 1)))
    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
