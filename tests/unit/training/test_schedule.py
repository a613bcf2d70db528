from dataclasses import dataclass

import pytest

from labelrepair.errors import ConfigError
from labelrepair.training import Schedule, epochs_field, scale_epochs


def test_constant():
    assert [Schedule(3, 0.5).lr_at(e) for e in range(3)] == [0.5] * 3


def test_milestones():
    """Rate 1, divided by 10 from epoch 2 on and again from epoch 4 on."""
    schedule = Schedule(6, 1.0, milestones=(2, 4))
    found = [schedule.lr_at(e) for e in range(6)]
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert Schedule(6, 1.0, milestones=(2, 4), factor=0.5).lr_at(5) == 0.25


def test_linear_decay_is_jocors():
    """lr[e] = 1e-3 (200 - e) / (200 - 80) from epoch 80 on."""
    schedule = Schedule(200, 1e-3, decay_from=80, beta1_after=0.1)
    assert schedule.lr_at(79) == schedule.lr_at(80) == 1e-3
    assert schedule.lr_at(140) == pytest.approx(0.5e-3)
    assert schedule.lr_at(199) == pytest.approx(1e-3 / 120)
    assert schedule.beta1_at(79, 0.9) == 0.9
    assert schedule.beta1_at(80, 0.9) == 0.1


def test_beta1_changes_only_where_asked():
    assert Schedule(10, decay_from=2).beta1_at(5, 0.8) == 0.8
    assert Schedule(10, beta1_after=0.1).beta1_at(5, 0.8) == 0.8
    assert Schedule(10, decay_from=2, beta1_after=0.0).beta1_at(2, 0.8) == 0.0


def test_decay_that_never_begins():
    assert Schedule(10, 1.0, decay_from=10).lr_at(9) == 1.0


@dataclass(frozen=True)
class Options:
    first: Schedule = Schedule(epochs=200, lr=0.5, milestones=(40, 80), decay_from=100)
    second: Schedule | None = None
    start: int = epochs_field(70)
    never: int | None = epochs_field(None)
    zero: int = epochs_field(0)
    window: int = 10


def test_scaling_keeps_proportions_and_touches_epochs_alone():
    found = scale_epochs(Options(second=Schedule(epochs=4)), 0.1)
    assert found == Options(
        Schedule(epochs=20, lr=0.5, milestones=(4, 8), decay_from=10),
        Schedule(epochs=1),
        start=7,
        never=None,
        zero=0,
        window=10,
    )


def test_scaling_up_and_not_at_all():
    options = Options()
    assert scale_epochs(options, 1.0) is options
    assert scale_epochs(options, 2).first.milestones == (80, 160)
    assert scale_epochs(options, 1e-6).first == Schedule(1, 0.5, (1, 1), decay_from=1)
    assert scale_epochs(None, 0.1) is None


def test_rates_replace_the_factor_at_the_milestones():
    """JoCoR on Clothing1M: 8e-4, 5e-4 and 5e-5 for five epochs each."""
    schedule = Schedule(epochs=15, lr=8e-4, milestones=(5, 10), rates=(5e-4, 5e-5))
    assert [schedule.lr_at(epoch) for epoch in (0, 4, 5, 9, 10, 14)] == [
        8e-4,
        8e-4,
        5e-4,
        5e-4,
        5e-5,
        5e-5,
    ]
    with pytest.raises(ConfigError, match="rates: one for each of 1 milestones, found 2"):
        Schedule(milestones=(5,), rates=(0.1, 0.2))
