"""From raw samples, as a user has them, to labels: what the handed-over model runs on every call.

Errors name the row, because a service sees one bad image among a thousand.
"""

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from labelrepair.data.images import decode_image
from labelrepair.data.input_format import InputFormat
from labelrepair.data.tokens import LONGER_WORDS, OUT_OF_VOCABULARY, encode_texts
from labelrepair.errors import DataError

Array = NDArray[Any]
LABEL = "label"
BATCH = 512  # rows per forward pass; bounds the activations' memory
# NumPy makes numbers of them: counts of days or nanoseconds, and real parts.
NO_NUMBERS = (np.datetime64, np.timedelta64, complex, np.complexfloating)
# The tables of our text networks, by the name that they have in an exported graph, too.
EMBEDDING = re.compile(r"networks\.\d+\.(0|embed)\.embedding\.weight")


class Predictor:
    """Raw samples in, label and probability per class out."""

    def __init__(
        self,
        model: Callable[[torch.Tensor], torch.Tensor],
        input_format: InputFormat,
        class_names: Sequence[str],
    ) -> None:
        """Bundle a model of stored features with what turns raw samples into them.

        Raises:
            DataError: a class is called ``label``, which is the name of a result column.
        """
        if LABEL in class_names:
            raise DataError(f"class_names: '{LABEL}' names a result column; rename the class")
        self.model, self.input_format, self.class_names = model, input_format, list(class_names)
        self._rows = None if input_format.vocabulary is None else _embedding_rows(model)

    def predict(self, inputs: Any) -> pd.DataFrame:
        """Return N rows: ``label`` (class name) and one float32 column per class, by its name.

        Args:
            inputs: see :func:`encode`; the index of a frame is kept.
        """
        probs = self.probabilities(encode(inputs, self.input_format))
        index = inputs.index if isinstance(inputs, pd.DataFrame | pd.Series) else None
        result = pd.DataFrame(probs, columns=self.class_names, index=index)
        names = np.array(self.class_names, dtype=object)
        result.insert(0, LABEL, pd.array(names[probs.argmax(1)], dtype="str"))
        return result

    def probabilities(self, features: Array) -> NDArray[np.float32]:
        """Return float32 ``(N, C)`` probabilities of features as stored.

        A word beyond the network's embedding counts as unknown: models of earlier versions have no
        row for words that only stood where long training texts were cut off.
        """
        return probabilities(self._answer, features, len(self.class_names))

    def _answer(self, batch: torch.Tensor) -> torch.Tensor:
        if self._rows is not None:
            batch = batch.masked_fill(batch >= self._rows, OUT_OF_VOCABULARY)
        return self.model(batch)


def _embedding_rows(model: Callable[[torch.Tensor], torch.Tensor]) -> int | None:
    """Return how many tokens one of our text networks knows; None of any other model."""
    named = model.named_parameters() if isinstance(model, torch.nn.Module) else ()
    tables = (len(table) for name, table in named if EMBEDDING.fullmatch(name))
    return min(tables, default=None)


def probabilities(
    model: Callable[[torch.Tensor], torch.Tensor], features: Array, num_classes: int
) -> NDArray[np.float32]:
    """Return float32 ``(N, C)``: ``model`` over batches of stored features, on the CPU."""
    result = np.empty((len(features), num_classes), np.float32)
    with torch.no_grad():
        for start in range(0, len(features), BATCH):
            batch = torch.from_numpy(np.array(features[start : start + BATCH]))  # writable copy
            result[start : start + BATCH] = model(batch).numpy()
    return result


def encode(inputs: Any, spec: InputFormat) -> Array:
    """Return features ``(N, *spec.shape)`` as ingestion stores them.

    Args:
        inputs: a frame with the column ``image`` or ``text`` (or a single column of any name), or
            D numeric columns for vectors; a mapping with one such entry; a list; or an array. If
            the model knows the names of its columns, those of a frame are found by them, wherever
            they stand; else, and in arrays, the order counts.
            An image is encoded bytes (also base64 text, as JSON carries them), a uint8 array of
            (H, W), (H, W, ch) or (ch, H, W), or a Pillow image. A text is a string, or a row of
            tokens.
        spec: what the model was trained on.

    Raises:
        DataError: an input that does not fit; the message names the row, or the column.
    """
    if spec.kind == "vector":
        return _vectors(inputs, spec)
    values = _column(inputs, spec.kind)
    return _images(values, spec) if spec.kind == "image" else _texts(values, spec)


def _column(inputs: Any, name: str) -> Any:
    """Return the values of a frame's or mapping's one column; anything else as it is."""
    if isinstance(inputs, pd.DataFrame | dict):
        columns = [str(column) for column in inputs]
        if name not in columns and len(columns) != 1:
            raise DataError(f"no column '{name}'; found {', '.join(columns) or 'none'}")
        inputs = inputs[name if name in columns else next(iter(inputs))]
    if isinstance(inputs, pd.Series):
        return inputs.tolist()
    if isinstance(inputs, bytes | str | Image.Image):
        return [inputs]
    if isinstance(inputs, np.ndarray) and inputs.ndim == 0:
        found = f"found one value ({inputs.dtype})"
        raise DataError(f"{found}, expected a batch of rows; pass a list of one")
    if not isinstance(inputs, np.ndarray | list | tuple):
        raise DataError(f"found {type(inputs).__name__}, expected a frame, an array or a list")
    return inputs


def _images(values: Any, spec: InputFormat) -> Array:
    if isinstance(values, np.ndarray) and values.dtype == np.uint8:
        if values.shape[1:] == spec.shape:
            return values
        if values.shape[1:] == (*spec.shape[1:], spec.shape[0]):
            return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    _check_batch(values, spec)
    mode, size = "L" if spec.shape[0] == 1 else "RGB", spec.shape[1:] if spec.resize else None
    result = np.empty((len(values), *spec.shape), np.uint8)
    told = f"the model was trained on {'x'.join(map(str, spec.shape[1:]))}"
    expected = None if spec.resize else (spec.shape[1:], told)
    for row, value in enumerate(values):
        where = f"row {row}"
        source = _encoded(value, where)
        image = decode_image(source, mode, size, where, expected)  # type: ignore[arg-type]
        if image.shape != spec.shape:
            found = f"{where}: image has {len(image)} channels"
            raise DataError(f"{found}, the model was trained on {spec.shape[0]}")
        result[row] = image
    return result


def _check_batch(values: Any, spec: InputFormat) -> None:
    """Refuse one picture where a batch is expected: its rows would pass for grey pictures."""
    if not isinstance(values, np.ndarray) or values.ndim != 3 or spec.shape[0] != 3:
        return
    if values.shape[2] in (3, 4) or values.shape == spec.shape:
        raise DataError(
            f"found one array of shape {values.shape}, expected a batch of pictures; pass one "
            "picture as images[None]"
        )


def _encoded(value: Any, where: str) -> bytes | Image.Image:
    """Return what :func:`decode_image` takes."""
    if isinstance(value, dict):  # as the `datasets` library stores images
        value = value.get("bytes")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            raise DataError(f"{where}: text that is not base64; expected image bytes") from None
    if isinstance(value, np.ndarray | list | tuple):
        return _from_array(value, where)
    raise DataError(f"{where}: no image, found {type(value).__name__}; expected image bytes")


def _from_array(value: Any, where: str) -> Image.Image:
    try:
        pixels = np.asarray(value)
    except ValueError:
        raise DataError(f"{where}: ragged rows; expected a uint8 array of pixels") from None
    whole = pixels.dtype.kind in "iu" and pixels.size
    if not whole or pixels.min() < 0 or pixels.max() > 255:
        found = f"{pixels.dtype} {pixels.shape}"
        raise DataError(f"{where}: found {found}, expected whole numbers 0..255 (uint8 pixels)")
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
        raise DataError(f"{where}: shape {pixels.shape}, expected (H, W), (H, W, ch) or (ch, H, W)")
    return Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)))


def _texts(values: Any, spec: InputFormat) -> Array:
    length = spec.shape[0]
    first = values[0] if len(values) else ""
    if not isinstance(first, str) and not (first is None or isinstance(first, float)):
        return _tokens(values, spec)
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise DataError(f"row {row}: no text, found {type(value).__name__}")
    if spec.vocabulary is None:
        raise DataError(f"row 0: this model has no vocabulary; feed {length} tokens per row")
    return encode_texts(values, spec.vocabulary, length, spec.token_pattern or LONGER_WORDS)


def _tokens(values: Any, spec: InputFormat) -> Array:
    result = np.empty((len(values), *spec.shape), np.int32)
    largest = None if spec.vocabulary is None else len(spec.vocabulary) - 1
    for row, value in enumerate(values):
        tokens = np.asarray(value)
        if tokens.dtype.kind not in "iu" or tokens.shape != spec.shape:
            found = f"{tokens.dtype} {tokens.shape}"
            raise DataError(f"row {row}: found {found}, expected a text or {spec.shape[0]} tokens")
        if tokens.min() < 0 or (largest is not None and tokens.max() > largest):
            raise DataError(f"row {row}: a token outside 0..{largest}")
        result[row] = tokens
    return result


def _vectors(inputs: Any, spec: InputFormat) -> Array:
    if spec.columns and isinstance(inputs, pd.DataFrame):
        inputs = _in_order(inputs, spec.columns)
    try:
        _check_numbers(inputs)
        values = np.asarray(inputs, dtype=np.float32)
    except DataError:
        raise
    except (TypeError, ValueError):
        raise DataError(_not_numeric(inputs)) from None
    if values.ndim == 1 and spec.shape == (1,):
        values = values[:, None]
    if values.ndim != 2 or values.shape[1:] != spec.shape:
        found = f"{values.shape[1]} columns" if values.ndim == 2 else f"shape {values.shape}"
        raise DataError(f"row 0: found {found}, expected {spec.shape[0]} numbers per row")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise DataError(f"row {bad[0]}: NaN or infinity ({bad.size} such rows)")
    return values


def _in_order(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the named columns of a frame in their order; a frame without names as it is."""
    if frame.columns.equals(pd.RangeIndex(len(frame.columns))):
        return frame
    found = pd.Index([str(name) for name in frame])
    missing = [name for name in columns if name not in found]
    if missing:
        names = ", ".join(found[:20])
        raise DataError(f"no column '{missing[0]}' ({len(missing)} are missing); found {names}")
    twice = found[found.duplicated() & found.isin(columns)]
    if len(twice):
        raise DataError(f"column '{twice[0]}' is there more than once")
    return frame.iloc[:, found.get_indexer(pd.Index(columns))]


def _check_numbers(inputs: Any) -> None:
    """Refuse times and complex numbers, by column or row."""
    if isinstance(inputs, pd.DataFrame):  # names may be there twice
        parts = [(f"column '{name}'", column.to_numpy()) for name, column in inputs.items()]
    else:
        values = np.asarray(inputs)
        if values.dtype.kind == "c" and isinstance(inputs, list):  # one number made all complex
            values = np.asarray(inputs, dtype=object)
        parts = [("row 0", values)]
    for where, values in parts:
        if values.dtype.kind in "mMc":
            raise DataError(f"{where}: found {values.dtype}, expected numbers")
        odd = (
            values.ndim
            and values.dtype == object
            and any(issubclass(kind, NO_NUMBERS) for kind in set(map(type, values.flat)))
        )
        for place, value in np.ndenumerate(values) if odd else ():
            if isinstance(value, NO_NUMBERS):
                raise DataError(f"row {place[0]}: found {type(value).__name__}, expected numbers")


def _not_numeric(inputs: Any) -> str:
    """Name the first row that holds something else than numbers."""
    rows = inputs.to_numpy() if isinstance(inputs, pd.DataFrame) else inputs
    for row, values in enumerate(rows if isinstance(rows, np.ndarray | list | tuple) else ()):
        try:
            np.asarray(values, dtype=np.float32)
        except (TypeError, ValueError) as error:
            return f"row {row}: not numeric ({error})"
    return f"found {type(inputs).__name__}, expected rows of the same number of numbers"
