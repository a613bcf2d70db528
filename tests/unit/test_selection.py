import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelrepair.selection import ForgetSchedule, keep_count, smallest


@pytest.mark.parametrize(
    ("size", "forget", "count"),
    [
        (128, 0.0, 128),
        (128, 0.2, 102),  # 102.4, truncated
        (128, 0.5, 64),
        (10, 0.9, 1),  # 0.0999... * 10 in floats
        (10, 1.0, 0),
        (3, 0.4, 1),  # 1.8, truncated and not rounded
    ],
)
def test_keep_count_truncates(size, forget, count):
    assert keep_count(size, forget) == count


def test_smallest_is_stable_and_in_ascending_order():
    losses = torch.tensor([3.0, 1.0, 2.0, 1.0, 3.0])
    kept, mask = smallest(losses, 3)
    assert kept.tolist() == [1, 3, 2]
    assert mask.tolist() == [False, True, True, True, False]
    assert smallest(torch.zeros(50), 4)[0].tolist() == [0, 1, 2, 3], "ties: the earlier rows"
    assert not smallest(losses, 0)[1].any()
    assert smallest(losses, 5)[1].all()


def test_no_gradient_flows_through_the_selection():
    losses = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    kept, mask = smallest(losses, 2)
    assert not kept.requires_grad
    assert not mask.requires_grad
    losses[kept].sum().backward()
    assert losses.grad.tolist() == [0.0, 1.0, 1.0]


@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=30), st.data())
def test_kept_losses_are_the_smallest_in_any_order(values, data):
    count = data.draw(st.integers(0, len(values)))
    losses = torch.tensor(values)
    kept, mask = smallest(losses, count)
    assert len(kept) == int(mask.sum()) == count
    assert losses[mask].sort().values.tolist() == sorted(losses.tolist())[:count]


def test_forget_rate_of_the_code_is_linspace():
    """linspace(0, 0.45, 10)[e], then 0.45: slope tau / 9."""
    schedule = ForgetSchedule(0.45, ramp=10)
    expected = [*np.linspace(0, 0.45, 10), 0.45, 0.45]
    assert [schedule.at(e) for e in range(12)] == pytest.approx(expected, abs=1e-15)


def test_forget_rate_of_the_code_from_its_second_entry():
    """Their loop runs over epochs 1 to 199 of the schedule."""
    schedule = ForgetSchedule(0.45, ramp=10, variant="code_from_one")
    expected = [*np.linspace(0, 0.45, 10)[1:], 0.45, 0.45]
    assert [schedule.at(e) for e in range(11)] == pytest.approx(expected, abs=1e-15)


def test_forget_rate_of_the_paper():
    """min(e tau / T_k, tau): slope tau / 10."""
    schedule = ForgetSchedule(0.45, ramp=10, variant="paper")
    expected = [min(e * 0.045, 0.45) for e in range(13)]
    assert [schedule.at(e) for e in range(13)] == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_a_ramp_of_one_epoch_still_starts_by_keeping_all(variant):
    schedule = ForgetSchedule(0.3, ramp=1, variant=variant)
    assert [schedule.at(e) for e in range(3)] == [0.0, 0.3, 0.3]
