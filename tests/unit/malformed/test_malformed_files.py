"""Damaged and tampered array files, checkpoints and models; nothing in them is ever run."""

import numpy as np
import pytest
from corpus import bounded
from corpus_arrays import LABELS, VECTORS, as_file, cases, npz, packed, saved
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelrepair.errors import LabelRepairError

CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_refused(case, tmp_path):
    case.check(tmp_path)


def test_the_arrays_that_the_others_change_are_good(tmp_path):
    assert len(npz()(tmp_path).labels) == len(LABELS)


WHOLE = packed(features=saved(VECTORS), labels=saved(LABELS))


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_array_files_are_read_or_refused(data, tmp_path):
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with bounded("npz"):
        try:
            samples = as_file(bytes(content))(tmp_path)
        except LabelRepairError as error:
            assert "d.npz" in str(error)  # noqa: PT017
        else:
            assert np.isfinite(samples.features).all()


@given(data=st.data())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_array_headers_are_read_or_refused(data, tmp_path):
    """The header inside, with the archive's checksum made right again."""
    content = bytearray(saved(VECTORS))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 90))] = data.draw(st.integers(0, 255))
    with bounded("npy"):
        try:
            samples = as_file(packed(features=bytes(content), labels=saved(LABELS)))(tmp_path)
        except LabelRepairError as error:
            assert "d.npz" in str(error)  # noqa: PT017
        else:
            assert len(samples.features) == len(LABELS)
