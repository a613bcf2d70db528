"""What a sample looks like on the page: a small picture, words, or a few values."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelrepair.data.tokens import spelled
from labelrepair.report.spec import ReportSpec

Array = NDArray[Any]
WEBP_FROM = 48  # pixels; smaller pictures are smallest, and exact, as PNG


@dataclass(frozen=True)
class View:
    """One of: a picture (``uri``, with its size on the page), ``words``, or ``values``."""

    uri: str = ""
    width: int = 0
    height: int = 0
    words: str = ""
    values: tuple[tuple[str, str, str], ...] = ()


class Viewer:
    """Turns rows of the feature store into views."""

    def __init__(
        self,
        features: Array,
        vocabulary: Sequence[str],
        spec: ReportSpec,
        columns: Sequence[str] = (),
    ) -> None:
        """Look at the kind of the features; vectors also at what is usual for each value."""
        self._columns = columns
        self._features, self._vocabulary, self._spec = features, vocabulary, spec
        self._usual: tuple[Array, Array] | None = None
        if features.ndim == 2 and features.dtype.kind == "f" and spec.vector_image is None:
            some = np.asarray(features[:: max(1, len(features) // 10_000)], dtype=np.float64)
            spread = some.std(axis=0)
            self._usual = np.median(some, axis=0), np.where(spread > 0, spread, 1.0)

    def __call__(self, row: int) -> View:
        """Return the view of one row of the feature store."""
        sample = np.asarray(self._features[row])
        if sample.ndim == 3:
            return self._picture(_as_bytes(sample))
        if sample.dtype.kind != "f":
            return View(words=spelled(sample, self._vocabulary, self._spec.text_words))
        if self._spec.vector_image is not None:
            return self._picture(_as_bytes(sample.reshape(1, *self._spec.vector_image)))
        return View(values=self._values(sample))

    def _picture(self, sample: Array) -> View:
        """Encode (ch, H, W) bytes, reduced to the longest side allowed."""
        pixels = sample[0] if len(sample) == 1 else np.moveaxis(sample[:3], 0, -1)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        most = self._spec.image_pixels
        if max(image.size) > most:
            image.thumbnail((most, most), Image.Resampling.LANCZOS)
        kind: dict[str, Any] = {"format": "PNG", "optimize": True}
        if max(image.size) > WEBP_FROM:
            kind = {"format": "WEBP", "quality": 80}
        stream = io.BytesIO()
        image.save(stream, **kind)
        content = base64.b64encode(stream.getvalue()).decode()
        uri = f"data:image/{kind['format'].lower()};base64,{content}"
        return View(uri=uri, width=image.width, height=image.height)

    def _values(self, vector: Array) -> tuple[tuple[str, str, str], ...]:
        """Return (name, value, usual value) of the most unusual values of a vector."""
        assert self._usual is not None
        median, spread = self._usual
        order = np.argsort(-np.abs(vector - median) / spread, kind="stable")
        kept = sorted(order[: self._spec.vector_values].tolist())
        names = self._columns or [f"x{i}" for i in range(len(vector))]
        return tuple((names[i], f"{vector[i]:.4g}", f"{median[i]:.4g}") for i in kept)


def _as_bytes(sample: Array) -> Array:
    """Return uint8; other numbers are stretched from their own range."""
    if sample.dtype == np.uint8:
        return sample
    values = sample.astype(np.float64)
    low, high = values.min(), values.max()
    stretched: Array = np.rint(255 * (values - low) / ((high - low) or 1.0)).astype(np.uint8)
    return stretched
