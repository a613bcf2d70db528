"""Wrong arguments of the Python face, and tables that break a rule."""

import numpy as np
import pytest
from corpus import bounded
from corpus_calls import PROBS, N, Y, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from labelrepair import repair_with_probs
from labelrepair.errors import LabelRepairError

CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_refused(case, tmp_path):
    case.check(tmp_path)


def test_the_arrays_that_the_others_change_are_good():
    assert len(repair_with_probs(PROBS, Y).table) == N


ANY_FLOATS = arrays.arrays(np.float64, (4, 3), elements=st.floats(width=64))
SHARES = arrays.arrays(np.float64, (4, 3), elements=st.sampled_from([0.0, 1e-320, 1e-9, 0.3, 1.0]))


@given(
    values=st.one_of(ANY_FLOATS, SHARES),
    labels=st.lists(st.integers(-1, 3), min_size=4, max_size=4),
)
@settings(max_examples=100, deadline=None)
def test_any_probabilities_are_scored_or_refused(values, labels):
    with np.errstate(all="ignore"):
        sums = values.sum(1, keepdims=True)
        probs = np.where(sums > 0, values / sums, values)
    with bounded("probs"):
        try:
            table = repair_with_probs(probs, labels).table
        except LabelRepairError:
            return
    assert table["label_quality"].between(0, 1).all()
    assert table["confidence"].between(0, 1).all()
