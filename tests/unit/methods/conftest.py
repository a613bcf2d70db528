"""Run a method on blobs and look at every callback, before and after it."""

import dataclasses

import pytest
import torch

from labelrepair import methods
from labelrepair.config import from_dict
from labelrepair.networks import build
from labelrepair.training import TrainingConfig, train

MOMENTS = ("before_stage", "before_epoch", "after_epoch", "after_stage")


def watched(stage, look):
    """Return the stage with ``look(moment, "begin" or "end", run)`` around each callback."""

    def around(moment):
        original = getattr(stage, moment)

        def callback(run):
            look(moment, "begin", run)
            if original is not None:
                original(run)
            look(moment, "end", run)

        return callback

    return dataclasses.replace(stage, **{moment: around(moment) for moment in MOMENTS})


@pytest.fixture(scope="session")
def fresh_network():
    return lambda: build("mlp", (8,), 4, hidden=(16,))


@pytest.fixture(scope="session")
def train_method(blobs, fresh_network):
    """Return ``(name, options, look, data, noise, **loop settings) -> TrainResult``."""
    default = blobs(rows=220).data

    def run(name, options=None, *, look=None, data=default, noise=None, seed=0, **loop):
        settings = {**methods.load(name).TRAINING, "batch_size": 32, "device": "cpu", **loop}
        config = from_dict(TrainingConfig, settings)
        stages = methods.plan(name, options, config, noise)
        if look is not None:
            stages = [watched(stage, look) for stage in stages]
        return train(data, stages, fresh_network, config, seed=seed, progress=False)

    run.data = default
    return run


def copy_of(networks):
    return {key: value.detach().clone() for key, value in networks.state_dict().items()}


@pytest.fixture(scope="session")
def copied():
    return copy_of


@pytest.fixture(scope="session")
def equal():
    def check(first, second):
        assert first.keys() == second.keys()
        return all(torch.equal(first[key], second[key]) for key in first)

    return check
