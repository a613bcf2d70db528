"""Every malformed manifest is refused with an error that names file, row and rule."""

import pytest
from corpus import bounded
from corpus_manifests import GOOD_CSV, cases, changed, raw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelrepair.errors import LabelRepairError

CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_refused(case, tmp_path):
    case.check(tmp_path)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_manifest_that_the_others_change_is_good(suffix, tmp_path):
    assert changed(suffix)(tmp_path).class_names == ("cat", "dog")


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    samples = raw(b"\xef\xbb\xbf" + GOOD_CSV.encode())(tmp_path)
    assert samples.sample_ids.tolist() == [f"s{row}" for row in range(6)]


ANYWHERE = st.text(max_size=12)


@given(
    row=st.integers(0, 5),
    name=st.sampled_from(["sample_id", "path", "label", "split"]),
    value=ANYWHERE,
)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_in_any_cell_is_read_or_refused(row, name, value, tmp_path):
    with bounded(name):
        try:
            samples = changed(**{name: {row: value}})(tmp_path)
        except LabelRepairError as error:
            assert "m.csv" in str(error)  # noqa: PT017
        else:
            assert len(set(samples.sample_ids)) == 6


@given(content=st.binary(max_size=120), suffix=st.sampled_from(["csv", "parquet"]))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_are_refused(content, suffix, tmp_path):
    with pytest.raises(LabelRepairError, match=r"m\.(csv|parquet)"):
        raw(content, suffix)(tmp_path)
