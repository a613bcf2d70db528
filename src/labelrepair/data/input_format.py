"""What a user's raw samples must become before the model sees them; saved beside the model."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from labelrepair.config import one_of, require, to_dict
from labelrepair.data.samples import Samples

KINDS = ("image", "text", "vector")


@dataclass(frozen=True)
class InputFormat:
    """How ingestion turned raw samples into features; serving repeats it.

    Attributes:
        kind: ``image`` (features uint8), ``text`` (int32 tokens) or ``vector`` (float32).
        shape: of one sample's features: (ch, H, W), (L,) or (D,).
        resize: images of another size are resized, bilinear, as ingestion did; else refused.
        vocabulary: for text, the word of each token id; None: only tokens can be fed.
        token_pattern: for text, regular expression of a word; None, as in models saved before
            there was a choice: :data:`labelrepair.data.tokens.LONGER_WORDS`.
        columns: for vectors, the D names of the numbers; None: only their order is known.
    """

    kind: str
    shape: tuple[int, ...]
    resize: bool = False
    vocabulary: tuple[str, ...] | None = None
    token_pattern: str | None = None
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check the kind and that the shape belongs to it."""
        one_of(KINDS, kind=self.kind)
        axes = 3 if self.kind == "image" else 1
        require(len(self.shape) == axes, f"shape: {axes} axes for {self.kind}, found {self.shape}")
        named = self.columns is None or self.shape == (len(set(self.columns)),)
        require(named, f"columns: {self.shape} distinct names expected, found {self.columns}")

    def written(self) -> dict[str, Any]:
        """Return the fields as ingestion writes them, and digests are made of.

        ``columns`` only where there are some: what earlier versions wrote is not another format.
        """
        fields = to_dict(self)
        return fields if self.columns else {k: v for k, v in fields.items() if k != "columns"}


def input_format(samples: Samples) -> InputFormat:
    """Return the format of what a reader built."""
    features = samples.features
    kind = "vector" if features.dtype.kind == "f" else "text"
    if features.dtype == np.uint8:
        kind = "image"
    shape = tuple(features.shape[1:])
    return InputFormat(
        kind, shape, samples.resized, samples.vocabulary, samples.token_pattern, samples.columns
    )
