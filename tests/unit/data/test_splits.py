import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelrepair.data.splits import assign_test, holdout
from labelrepair.errors import ConfigError, DataError


def test_counts_follow_the_largest_remainder():
    labels = np.repeat([0, 1, 2], [10, 7, 4])
    # 25 %: exact 2.5, 1.75, 1.0; 5 rows in all; floors 2, 1, 1; the one left goes to class 1.
    assert np.bincount(labels[holdout(labels, 0.25, 0)]).tolist() == [2, 2, 1]
    # A tie (2.5 and 2.5, 5 in all, floors 2 and 2) goes to the lower class.
    tie = np.repeat([0, 1], [10, 10])
    assert np.bincount(tie[holdout(tie, 0.25, 0)]).tolist() == [3, 2]
    # Remainders 0.4, 0.4, 0.2: a tie, although 1.4 - 1 < 0.4 in floating point.
    close = np.repeat([0, 1, 2], [14, 4, 2])
    assert np.bincount(close[holdout(close, 0.1, 0)], minlength=3).tolist() == [2, 0, 0]
    # 0.29 * 100 is a hair below 29 in floating point.
    assert holdout(np.zeros(100, int), 0.29, 0).sum() == 29


def test_no_class_loses_its_last_row_and_nothing_is_held_out_at_zero():
    labels = np.array([0, 1, 2, 2])
    assert np.bincount(labels[~holdout(labels, 0.5, 3)], minlength=3).min() >= 1
    assert not holdout(labels, 0.0, 3).any()


@given(st.permutations(range(30)), st.integers(0, 99))
def test_the_same_rows_in_any_order(order, seed):
    ids = np.array([f"id-{row}" for row in range(30)])
    labels = np.arange(30) % 3
    chosen = set(ids[holdout(labels, 0.2, seed, ids)])
    order = np.array(order)
    assert set(ids[order][holdout(labels[order], 0.2, seed, ids[order])]) == chosen


def test_a_seed_gives_its_own_rows():
    labels = np.zeros(200, int)
    assert (holdout(labels, 0.5, 1) == holdout(labels, 0.5, 1)).all()
    same = (holdout(labels, 0.5, 1) == holdout(labels, 0.5, 2)).mean()
    assert 0.3 < same < 0.7


def test_assign_test_moves_training_rows_only():
    splits = np.array(["train"] * 8 + ["validation"] * 4)
    labels = np.array([0, 1] * 6)
    ids = np.array([f"{row:02d}" for row in range(12)])
    result = assign_test(splits, labels, ids, 0.25, 5)
    assert np.bincount(labels[result == "test"]).tolist() == [1, 1]
    assert (result[8:] == "validation").all()
    assert (splits[:8] == "train").all()
    with pytest.raises(DataError, match=r"test split of its own"):
        assign_test(result, labels, ids, 0.25, 5)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fraction_range(fraction):
    with pytest.raises(ConfigError, match=r"fraction: must lie"):
        holdout(np.zeros(4, int), fraction, 0)
