"""Decode images into one uint8 array, in parallel (Pillow releases the lock while it decodes)."""

import contextlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, Jpeg2KImagePlugin, PpmImagePlugin, TiffImagePlugin

from labelrepair.data.rows import Positions, RowStore, positions
from labelrepair.errors import DataError

Images = npt.NDArray[np.uint8]
_CHUNK = 256
_JPEG2000_SIZE = b"\xff\x4f\xff\x51"  # where the codestream begins, with its sizes
# Pillow knows dozens of formats, and hands some (PostScript) to other programs.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def decode_image(
    source: bytes | str | Image.Image,
    mode: str,
    image_size: tuple[int, int] | None,
    name: str,
    expected: tuple[Sequence[int], str] | None = None,
) -> Images:
    """Return one image as uint8 (ch, H, W), 0..255, turned as its EXIF orientation says.

    Transparency is left out: the colours below it count. Of several frames or pages the first is
    read.

    Args:
        source: the encoded bytes, a path, or an opened image.
        mode: "L" (one channel) or "RGB" (three).
        image_size: (H, W) to resize to, bilinear; None keeps the size.
        name: the file or row, for messages.
        expected: the (H, W) that the image must have to be decoded, and what says so in messages;
            one that is H pixels wide and W high is decoded, as it may lie on its side.

    Raises:
        DataError: missing, unreadable, truncated, of more than 8 bits per channel, of a format
            that is not in ``FORMATS``, of more than ``PIL.Image.MAX_IMAGE_PIXELS`` pixels, or of
            another size than expected.
    """
    try:
        with _open(source) as image:
            _check_pixels(image, name)
            if expected is not None and sorted(image.size) != sorted(expected[0]):
                raise DataError(f"{name}: image is {image.height}x{image.width}, {expected[1]}")
            converted = image.convert(mode)  # another image: the source may be the caller's
            _turn_upright(converted)
    except DataError:
        raise
    # Pillow lets all kinds of exceptions out of damaged files (ValueError, TypeError, ...).
    except Exception as error:
        raise DataError(f"{name}: not a readable image: {str(error)[:300]}") from error
    if expected is not None and (converted.height, converted.width) != tuple(expected[0]):
        raise DataError(f"{name}: image is {converted.height}x{converted.width}, {expected[1]}")
    if image_size is not None:
        converted = converted.resize(image_size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(converted)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _turn_upright(image: Image.Image) -> None:
    """Turn the image, in place, as viewers show it and people label it.

    Cameras note how they were held; the pixels lie as the sensor did: a 6 may be stored as a 9.
    """
    # A damaged note says nothing, or cannot be written anew once the pixels have been turned.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _open(source: bytes | str | Image.Image) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)


def _check_pixels(image: Image.Image, name: str) -> None:
    """Refuse, before anything is decoded, what Pillow would clip silently or only warn of."""
    if image.mode.startswith(("I", "F")) or _is_deep(image):
        found = f"mode {image.mode}" if image.mode[0] in "IF" else "more than that"
        raise DataError(f"{name}: image has {found}, expected 8 bits per channel")
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise DataError(
            f"{name}: not a readable image: it unpacks to {image.width}x{image.height} pixels, "
            f"more than {most}; make it smaller"
        )


def _is_deep(image: Image.Image) -> bool:
    """Return whether a file that is open has more than 8 bits per channel, though its mode has 8.

    Pillow keeps the upper 8 bits of each channel then and says nothing.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return any(bits > 8 for bits in image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, ()))
    if isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile) and image.fp is not None:
        place = image.fp.tell()
        image.fp.seek(0)
        _, _, header = image.fp.read().partition(_JPEG2000_SIZE)
        image.fp.seek(place)
        # 36 bytes, the number of channels, then three bytes of each, of which the first is depth.
        return any((depth & 127) + 1 > 8 for depth in header[38 : 38 + 3 * header[37]][::3])
    # What the decoder is told: "RGB;16B" of a PNG, ("RGB", 65535) of a PPM.
    told = [tile[3] for tile in getattr(image, "tile", ())]
    values = [value for args in told for value in (args if isinstance(args, tuple) else (args,))]
    if isinstance(image, PpmImagePlugin.PpmImageFile):
        return any(isinstance(value, int) and value > 255 for value in values)
    return any(isinstance(value, str) and value.endswith(";16B") for value in values)


class EncodedImages(RowStore):
    """Images that are decoded when their rows are asked for: uint8 (N, ch, H, W)."""

    def __init__(
        self,
        sources: Sequence[bytes | str],
        names: Sequence[str],
        mode: str,
        image_size: tuple[int, int] | None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """Look at the first image, unless the shape of one is known.

        Args:
            sources: N >= 1 paths or encoded images.
            names: what messages call them.
            mode: see :func:`decode_image`.
            image_size: see :func:`decode_image`; None: all images must share one size.
            shape: (ch, H, W).

        Raises:
            DataError: the first image is not readable.
        """
        self.sources, self.names, self.mode, self.image_size = sources, names, mode, image_size
        if shape is None:
            shape = decode_image(sources[0], mode, image_size, names[0]).shape
        self.shape, self.dtype = (len(sources), *shape), np.dtype(np.uint8)

    def decode(self, row: int) -> Images:
        """Return one image.

        Raises:
            DataError: as :func:`decode_image`, or it has another size than the first one.
        """
        _, _, height, width = self.shape
        told = f"{self.names[0]} is {height}x{width}; set image_size: [height, width]"
        expected = None if self.image_size else ((height, width), told)
        source, name = self.sources[row], self.names[row]
        image = decode_image(source, self.mode, self.image_size, name, expected)
        if image.shape != self.shape[1:]:  # of a shape that does not go with the mode
            raise DataError(f"{name}: image is {image.shape[1]}x{image.shape[2]}, {told}")
        return image

    def read(self, rows: Positions) -> Images:
        """Decode, many rows in parallel.

        Raises:
            DataError: as :meth:`decode`, or the rows do not fit into memory.
        """
        try:
            stack = np.empty((len(rows), *self.shape[1:]), np.uint8)
        except MemoryError as error:
            height, width = self.shape[2:]
            raise DataError(
                f"{self.names[0]}: {len(rows)} images of {height}x{width} do not fit into memory "
                f"({error}); set image_size: [height, width], or ingestion.storage.kind: shards"
            ) from None

        def fill(start: int) -> None:
            for place in range(start, min(start + _CHUNK, len(rows))):
                stack[place] = self.decode(int(rows[place]))

        if len(rows) <= _CHUNK:  # also in the processes of a loader: no threads there
            fill(0)
            return stack
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            for _ in pool.map(fill, range(0, len(rows), _CHUNK)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
        return stack

    def take(self, rows: Any) -> "EncodedImages":
        """Return the images at positions, or under a mask; nothing is read."""
        chosen = positions(rows, len(self)).tolist()
        sources, names = ([part[row] for row in chosen] for part in (self.sources, self.names))
        return EncodedImages(sources, names, self.mode, self.image_size, self.shape[1:])


def stack_images(
    sources: Sequence[bytes | str],
    names: Sequence[str],
    mode: str,
    image_size: tuple[int, int] | None,
) -> Images:
    """Decode N >= 1 images into one uint8 array (N, ch, H, W); see :class:`EncodedImages`."""
    return EncodedImages(sources, names, mode, image_size).read(np.arange(len(sources)))


def image_features(
    sources: Sequence[bytes | str],
    names: Sequence[str],
    mode: str,
    image_size: tuple[int, int] | None,
    decode: bool,
) -> "Images | EncodedImages":
    """Return :func:`stack_images`, or, without ``decode``, what decodes them later."""
    images = EncodedImages(sources, names, mode, image_size)
    return images.read(np.arange(len(images))) if decode else images
