"""What the processes of test_ranks.py run; they find this module by its name."""

import os
import signal

import numpy as np
import torch

from labelrepair import methods
from labelrepair.config import from_dict
from labelrepair.errors import ConfigError, DataError
from labelrepair.estimation import NoiseEstimate
from labelrepair.networks import build
from labelrepair.training import Checkpointer, Holdout, TrainingConfig, TrainSet, train
from labelrepair.training.rank_loop import RankLoop

ROWS, CLASSES = 203, 3  # not divisible by anything in use
T = np.full((CLASSES, CLASSES), 0.1) + 0.7 * np.eye(CLASSES)
NOISE = NoiseEstimate(T, 0.2, (0.1, 0.3), "given", np.full(CLASSES, 1 / CLASSES), None, ROWS)
SHORT = {"epochs": 2, "lr": 0.01}
MLP = {"network": {"name": "mlp", "options": {"hidden": [16]}}, "schedule": {"epochs": 4}}
HEADED = {
    "network": {"name": "mlp", "options": {"hidden": [16], "batch_norm_head": True}},
    "schedule": {"epochs": 8},
}
RESNET = {
    "network": {"name": "resnet14"},
    "schedule": {"epochs": 2, "lr": 0.02},
    "optimizer": {"name": "sgd"},
    "augment": {"crop": 1, "flip": True},
    "normalize": "pixel_mean",
}
CASES = {
    "jocor": ("jocor", {"ramp": 2}, MLP | {"drop_last": True}),
    "best of validation": ("cross_entropy", {"keep": "best_val_loss"}, MLP),
    "truncated": ("generalized_cross_entropy", {"loss": "truncated_lq", "prune_from": 1}, MLP),
    "joint": ("joint_optimization", {"start_epoch": 1, "relabel": SHORT, "retrain": SHORT}, MLP),
    "nlnl": (
        "nlnl",
        {
            "window": 2,
            "negative": SHORT,
            "selective_negative": SHORT,
            "selective_positive": SHORT,
            "pseudo": SHORT,
        },
        MLP,
    ),
    "batch norm over the outputs": ("unhinged", {}, HEADED),
    "batch norm": ("cross_entropy", {}, RESNET),
}


def data(images=False):
    """Return 203 rows of three blobs, every fifth held out, some labels wrong."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (ROWS,), generator=draws)
    centres = 2.0 * torch.randn(CLASSES, 64, generator=draws)
    features = centres[labels] + torch.randn(ROWS, 64, generator=draws)
    if images:
        features = (features * 20 + 128).clamp(0, 255).to(torch.uint8).view(ROWS, 1, 8, 8)
    given = torch.where(torch.rand(ROWS, generator=draws) < 0.3, labels.roll(1), labels)
    held_out = torch.arange(ROWS) % 5 == 0
    rows = [part.nonzero()[:, 0] for part in (~held_out, held_out)]
    return TrainSet(features, given, CLASSES, *rows), Holdout(features[:50], labels[:50])


def result(case, ranks=None, checkpoint=None):
    """Train a case and return what is compared."""
    method, options, settings = CASES[case]
    config = from_dict(TrainingConfig, {"batch_size": 32, "device": "cpu", "threads": 1} | settings)
    rows, test = data(images="augment" in settings)
    shape = tuple(rows.features.shape[1:])
    network = config.network
    found = train(
        rows,
        methods.plan(method, options, config, NOISE),
        lambda: build(network.name, shape, CLASSES, **network.options),
        config,
        seed=1,
        test=test,
        checkpoint=checkpoint,
        progress=False,
        ranks=ranks,
    )
    for row in found.history:
        del row["seconds"]
    return {
        "probs": found.probs,
        "used": torch.stack(found.used),
        "selected": found.selected,
        "history": found.history,
        "weights": found.networks.state_dict(),
        "test_accuracy": found.test_accuracy,
    }


def every_case(content, ranks):
    """Train all cases, one after the other."""
    return {case: result(case, ranks) for case in content["cases"]}


def refused(content, ranks):
    """Raise what a method refuses."""
    raise ConfigError("noise_rate: said by a rank")


def refused_by_last(content, ranks):
    """Raise on rank 1 only, while rank 0 waits for it."""
    if ranks.rank == 1:
        raise DataError("row 3: seen by rank 1 only")
    return {"sum": ranks.add(torch.ones(1))}


def summed(content, ranks):
    """Return the sum over ranks of a number."""
    return {"sum": ranks.add(torch.tensor([content["number"]]))}


def numbers(content, ranks):
    """Answer as many numbers as wanted."""
    return {"numbers": torch.zeros(content["count"])}


def dies(content, ranks):
    """Lose rank 1 in the third epoch, if asked to."""
    if ranks.rank == 1 and content["epoch"] is not None:
        go = RankLoop._go

        def last(loop, *generators):
            if loop.run.epoch == content["epoch"]:
                os.kill(os.getpid(), signal.SIGKILL)
            return go(loop, *generators)

        RankLoop._go = last
    return result("jocor", ranks, Checkpointer.at(content["checkpoint"]))
