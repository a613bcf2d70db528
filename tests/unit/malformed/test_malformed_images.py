"""Every malformed image is refused with a DataError that names it, in bounded time and memory."""

import contextlib
import io
import warnings

import numpy as np
import pytest
from corpus import bounded
from corpus_images import FORMATS, cases, encoded
from hypothesis import given, settings
from hypothesis import strategies as st

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
