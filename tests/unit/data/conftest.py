import io

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def png():
    """Return encoded PNG bytes of one grey value: png(value, size=(H, W), mode="RGB")."""

    def encode(value, size=(2, 3), mode="RGB"):
        shape = size if mode == "L" else (*size, 3)
        buffer = io.BytesIO()
        Image.fromarray(np.full(shape, value, np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()

    return encode
