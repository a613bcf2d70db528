"""Every malformed image is refused with a DataError that names it, in bounded time and memory."""

import contextlib
import io
import struct
import warnings

import numpy as np
import pytest
from corpus import bounded
from corpus_images import FORMATS, cases, deep, encoded
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelrepair.data.images import decode_image
from labelrepair.errors import DataError

CASES = list(cases())


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_refused(case, tmp_path):
    case.check(tmp_path)


WHOLE = {kind: encoded(kind) for kind in FORMATS}


@given(kind=st.sampled_from(sorted(WHOLE)), data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_give_a_picture_or_the_documented_error(kind, data):
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    with warnings.catch_warnings(), bounded(kind):
        warnings.simplefilter("ignore")
        with contextlib.suppress(DataError):
            pixels = decode_image(bytes(content[:cut]), "RGB", None, "here")
            assert pixels.dtype == np.uint8
            assert pixels.shape[0] == 3


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_give_the_documented_error(content):
    with pytest.raises(DataError, match=r"^here: not a readable image"):
        decode_image(content, "L", None, "here")


def test_the_images_of_these_tests_are_good_ones():
    for content in WHOLE.values():
        assert decode_image(io.BytesIO(content).getvalue(), "RGB", None, "x").shape == (3, 24, 24)


def test_pillow_reads_the_deep_images_and_would_cut_them_to_8_bits():
    for name, content in deep():
        with Image.open(io.BytesIO(content)) as image:
            assert image.mode in ("LA", "RGB", "RGBA")
            if "jpeg2000" not in name and "9_bits" not in name:
                assert np.asarray(image.convert("RGB")).max() <= 1, name


@pytest.mark.parametrize("kind", [*FORMATS, "JPEG2000"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_images_of_8_bits_are_no_deep_ones(kind, mode):
    assert decode_image(encoded(kind, 24, mode), "RGB", None, "x").shape == (3, 24, 24)


def test_a_bitmap_of_16_bits_per_pixel_is_no_deep_image():
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    header = struct.pack("<IIIHHIIIIII", 40, 2, 2, 1, 16, 3, 8, 0, 0, 0, 0) + masks
    content = b"BM" + struct.pack("<IHHI", 14 + 52 + 8, 0, 0, 66) + header + b"\xff" * 8
    assert (decode_image(content, "RGB", None, "x") == 255).all()
