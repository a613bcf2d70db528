"""Decode images into one uint8 array, in parallel (Pillow releases the lock while it decodes)."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from labelrepair.errors import DataError

Images = npt.NDArray[np.uint8]
_CHUNK = 256
# Pillow knows dozens of formats, and hands some (PostScript) to other programs.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def decode_image(
    source: bytes | str | Image.Image, mode: str, image_size: tuple[int, int] | None, name: str
) -> Images:
    """Return one image as uint8 (ch, H, W), 0..255.

    Args:
        source: the encoded bytes, a path, or an opened image.
        mode: "L" (one channel) or "RGB" (three).
        image_size: (H, W) to resize to, bilinear; None keeps the size.
        name: the file or row, for messages.

    Raises:
        DataError: missing, unreadable, truncated, of more than 8 bits per channel, of a format
            that is not in ``FORMATS``, or of more than ``PIL.Image.MAX_IMAGE_PIXELS`` pixels.
    """
    try:
        with _open(source) as image:
            _check_pixels(image, name)
            converted = image.convert(mode)
    except DataError:
        raise
    # Pillow lets all kinds of exceptions out of damaged files (ValueError, TypeError, ...).
    except Exception as error:
        raise DataError(f"{name}: not a readable image: {str(error)[:300]}") from error
    if image_size is not None:
        converted = converted.resize(image_size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(converted)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _open(source: bytes | str | Image.Image) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)


def _check_pixels(image: Image.Image, name: str) -> None:
    """Refuse, before anything is decoded, what Pillow would clip silently or only warn of."""
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{name}: image has mode {image.mode}, expected 8 bits per channel")
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise DataError(
            f"{name}: not a readable image: it unpacks to {image.width}x{image.height} pixels, "
            f"more than {most}; make it smaller"
        )


def stack_images(
    sources: Sequence[bytes | str],
    names: Sequence[str],
    mode: str,
    image_size: tuple[int, int] | None,
) -> Images:
    """Decode N >= 1 images into one uint8 array (N, ch, H, W); see :func:`decode_image`.

    Raises:
        DataError: as :func:`decode_image`, or an image has another size than the first one.
    """
    first = decode_image(sources[0], mode, image_size, names[0])
    try:
        stack = np.empty((len(sources), *first.shape), np.uint8)
    except MemoryError as error:
        raise DataError(
            f"{names[0]}: {len(sources)} images of {first.shape[1]}x{first.shape[2]} do not fit "
            f"into memory ({error}); set image_size: [height, width]"
        ) from None

    def fill(start: int) -> None:
        for row in range(start, min(start + _CHUNK, len(sources))):
            image = decode_image(sources[row], mode, image_size, names[row])
            if image.shape != first.shape:
                raise DataError(
                    f"{names[row]}: image is {image.shape[1]}x{image.shape[2]}, {names[0]} is "
                    f"{first.shape[1]}x{first.shape[2]}; set image_size: [height, width]"
                )
            stack[row] = image

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for _ in pool.map(fill, range(0, len(sources), _CHUNK)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    return stack
