"""Several seeds trained at once give what each gives alone."""

from dataclasses import replace

import pytest
import torch
from rank_jobs import CASES, CLASSES, NOISE, data

from labelrepair import methods
from labelrepair.config import from_dict
from labelrepair.errors import ConfigError
from labelrepair.networks import build
from labelrepair.training import TrainingConfig, train, train_replicas

SEEDS = (3, 4, 5)
TOLERANCE = 1e-4  # of probabilities and weights after some epochs, as sums run in another order


def setting(case):
    """Return data, test split, stages, what builds a network, and settings of a case."""
    method, options, settings = CASES[case]
    config = from_dict(TrainingConfig, {"batch_size": 32, "device": "cpu", "threads": 1} | settings)
    rows, test = data(images="augment" in settings)
    shape, network = tuple(rows.features.shape[1:]), config.network

    def make():
        return build(network.name, shape, CLASSES, **network.options)

    # Each replica has noise of its own, in the same rows.
    sets = [replace(rows, given_labels=rows.given_labels.roll(shift)) for shift in (0, 3, 40)]
    plans = [methods.plan(method, options, config, NOISE) for _ in SEEDS]
    return sets, test, plans, make, config


@pytest.mark.parametrize("case", CASES)
def test_replicas_give_what_each_gives_alone(case):
    sets, test, plans, make, config = setting(case)
    found = train_replicas(sets, plans, make, config, seeds=SEEDS, test=test)
    results = []
    for one, plan, seed, together in zip(sets, plans, SEEDS, found, strict=True):
        alone = train(one, plan, make, config, seed=seed, test=test, progress=False)
        results.append(alone.probs)
        torch.testing.assert_close(together.probs, alone.probs, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(
            together.networks.state_dict(), alone.networks.state_dict(), rtol=0, atol=TOLERANCE
        )
        assert torch.equal(torch.stack(together.used), torch.stack(alone.used))
        assert (together.selected is None) == (alone.selected is None)
        if alone.selected is not None:
            assert torch.equal(together.selected, alone.selected)
        assert together.test_accuracy == alone.test_accuracy
        assert together.joint_test_accuracy == alone.joint_test_accuracy
        for row, other in zip(together.history, alone.history, strict=True):
            assert row | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, abs=TOLERANCE)
    assert not torch.allclose(results[0], results[1], atol=0.01)


def test_recurrent_networks_are_refused():
    sets, test, plans, _, config = setting("jocor")

    def make():
        return torch.nn.LSTM(4, 4)

    with pytest.raises(ConfigError, match="recurrent networks cannot be stacked"):
        train_replicas(sets, plans, make, config, seeds=SEEDS, test=test)


def test_networks_leave_with_memory_of_their_own(tmp_path):
    sets, test, plans, make, config = setting("jocor")
    for result in train_replicas(sets, plans, make, config, seeds=SEEDS, test=test):
        for tensor in result.networks.state_dict().values():
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sets, plans: (sets[:2], plans), "2 sets, 3 lists of stages, 3 seeds"),
        (
            lambda sets, plans: ([*sets[:2], replace(sets[2], train_rows=torch.arange(9))], plans),
            r"equally many train_rows, found \[9, 162\]",
        ),
        (lambda sets, plans: (sets, [*plans[:2], plans[2] * 2]), "stages differ in number"),
        (
            lambda sets, plans: (
                sets,
                [[replace(stage, divisible=False) for stage in plan] for plan in plans],
            ),
            "looks at features itself",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(change, message):
    sets, test, plans, make, config = setting("jocor")
    sets, plans = change(sets, plans)
    with pytest.raises(ConfigError, match=message):
        train_replicas(sets, plans, make, config, seeds=SEEDS, test=test)
