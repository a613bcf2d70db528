"""What a run is refused for before its first node."""

import re

import pytest
from kedro.io import DataCatalog, MemoryDataset

from labelrepair.errors import ConfigError
from labelrepair.hooks import ParameterHook
from labelrepair.pipelines import create_pipeline


def started(part, **parameters):
    """Ask the hook about a pipeline of one part."""
    pipeline = create_pipeline(parts=(part,))
    entries = {f"params:{name}": MemoryDataset(value) for name, value in parameters.items()}
    ParameterHook().before_pipeline_run(pipeline, DataCatalog(entries))


def recipe(**training):
    return {"name": "plain", "method": "cross_entropy", "training": training}


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"network": {"name": "resnet33"}}, "network: unknown name 'resnet33'; did you mean"),
        ({"network": {"name": "mlp", "options": {"hiden": [8]}}}, "network mlp.hiden: unknown"),
        ({"network": {"name": "cnn7", "options": {"depth": 3}}}, "network cnn7.depth: unknown"),
        ({"device": "gpu"}, "device: 'gpu' is not available here"),
    ],
)
def test_networks_and_devices_that_there_are_not(training, message):
    known = {"preset": "plain", "seed": 0, "checkpoints": "data/checkpoints"}
    with pytest.raises(ConfigError, match=re.escape(f"recipe.training.{message}")):
        started("training", recipe=recipe(**training), **known)
    with pytest.raises(ConfigError, match=re.escape(f"estimation.probe.training.{message}")):
        started("estimation", estimation={"probe": {"training": training}}, seed=0)


def test_what_may_be_there_passes():
    held = {"name": "mlp", "options": {"batch_norm_head": True}}  # an option of any network
    started("estimation", estimation={"probe": {"training": {"network": held}}}, seed=0)
    own = {"name": "not.there:Net", "options": {"depth": 3}}  # imported by the training
    known = {"preset": "plain", "seed": 0, "checkpoints": "data/checkpoints"}
    started("training", recipe=recipe(network=own, device="cuda:7"), **known)
