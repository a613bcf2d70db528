"""Everything runs on a device that is not the CPU, and no step of a training waits for it.

By a simulated device on every machine (``other_device.py``); by CUDA where there is one
(``make test-gpu``).
"""

import dataclasses
from contextlib import contextmanager

import numpy as np
import other_device
import pytest
import torch
from test_methods import CASES, NOISE, C, differences, network, outcome, run

from labelrepair import methods, repair, workflow
from labelrepair.data.storage import StorageSpec, stored
from labelrepair.networks import build
from labelrepair.networks import features as features_module
from labelrepair.training import (
    Augment,
    Checkpointer,
    Holdout,
    Optimizer,
    Schedule,
    Stage,
    Step,
    TrainingConfig,
    TrainSet,
    passes,
    train,
    train_replicas,
)
from labelrepair.training.streamed import Streamed

pytestmark = pytest.mark.filterwarnings("ignore:quantile")  # few rows in the rarest class
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
NAME = other_device.NAME


@pytest.fixture(scope="module")
def small(blobs):
    return blobs(rows=220, classes=C, noise=0.3).data


@pytest.fixture
def device(monkeypatch):
    """The simulated device."""
    with other_device.other_device(monkeypatch) as found:
        yield found


def guard(monkeypatch, around):
    """Put ``around()`` around each step (forward to optimizer) and each record; count both."""
    counts = {"_step": 0, "record": 0}

    def guarded(name, original):
        def inside(self, *args):
            counts[name] += 1
            with around():
                return original(self, *args)

        return inside

    for name in counts:
        monkeypatch.setattr(passes.Pass, name, guarded(name, getattr(passes.Pass, name)))
    return counts


@pytest.fixture
def steps(device, monkeypatch):
    """How often a step was made, none of which may have waited for the simulated device."""

    @contextmanager
    def no_waiting():
        before = len(device.waits)
        yield
        found = device.waits[before:]
        assert not found, f"{found[0]} waits for the device"

    return guard(monkeypatch, no_waiting)


# -- the same bits there, and no waiting ---------------------------------------------------------


@each_case
def test_a_method_gives_the_same_bits_there_and_no_step_waits(case, small, steps):
    found = run(case, small, device=NAME)
    assert steps["_step"] >= 3 * 6
    assert steps["record"] >= 3
    assert not differences(found, run(case, small))


# Between them all kinds of state that a checkpoint carries.
@pytest.mark.parametrize("name", ["joint_soft", "d2l", "crf_em"])
def test_a_resume_goes_on_there(name, small, device, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(self, state):
        save(self, state)
        if state["position"] == [0, 2]:
            raise Stopped

    save, checkpoint = Checkpointer.save, Checkpointer(tmp_path, {})
    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "save", stop)
        with pytest.raises(Stopped):
            run(CASES[name], small, device=NAME, checkpoint=checkpoint)
    found = run(CASES[name], small, device=NAME, checkpoint=checkpoint)
    assert not differences(found, run(CASES[name], small))


def pixels(rows):
    return np.random.default_rng(0).integers(0, 256, (rows, 3, 8, 8), dtype=np.uint8)


CONFIG = TrainingConfig(
    optimizer=Optimizer("sgd", momentum=0.9),
    schedule=Schedule(epochs=2, lr=0.01),
    batch_size=8,
    normalize="pixel_mean",
    augment=Augment(2, True),
    memory_format="contiguous",  # what `auto` takes depends on the device
)


def train_images(features, device):
    rows, labels = torch.arange(60), torch.arange(72) % 3
    data = TrainSet(features_module.take(features, rows), labels[:60], 3, rows[10:], rows[:10])
    test = Holdout(features_module.take(features, torch.arange(60, 72)), labels[60:])
    config = dataclasses.replace(CONFIG, device=device)
    stages = methods.plan("jocor", {"noise_rate": 0.2, "ramp": 1}, config, None)

    def build_network():
        return build("resnet14", (3, 8, 8), 3)

    return train(data, stages, build_network, config, seed=0, test=test, progress=False)


@pytest.mark.parametrize("kind", ["resident", "shards"])
def test_images_are_cropped_and_normalised_there(kind, steps, tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, "CHUNK_ROWS", 20)
    features = torch.from_numpy(pixels(72))
    if kind == "shards":
        spec = StorageSpec("shards", shard_bytes=13 * 3 * 8 * 8, unfinished=str(tmp_path))
        features = Streamed(stored(features.numpy(), spec)[0])
    found = train_images(features, NAME)
    assert steps["_step"] == 2 * 7
    assert not differences(found, train_images(features, "cpu"))


@pytest.mark.parametrize("name", ["embedding", "embedding_lstm"])
def test_tokens_are_looked_up_there(name, steps):
    # Dropout and the look-up's backward pass are others than on a CPU: both there, twice the same.
    tokens = torch.randint(0, 50, (64, 12), generator=torch.Generator().manual_seed(0))
    rows = torch.arange(64)
    data = TrainSet(tokens, rows % 2, 2, rows[8:], rows[:8])
    config = TrainingConfig(schedule=Schedule(2, 0.01), batch_size=16, device=NAME)
    stages = methods.plan("cross_entropy", {}, config, None)

    def build_network():
        return build(name, (12,), 2, vocabulary_size=50)

    first, second = (
        train(data, stages, build_network, config, seed=0, progress=False) for _ in range(2)
    )
    assert steps["_step"] == 2 * 2 * 4
    assert not differences(first, second)


def test_replicas_train_there(small, device):
    def build_network():
        return build("mlp", (8,), C, hidden=(16,))  # dropout draws other masks there

    found = {}
    for where in ("cpu", NAME):
        config = TrainingConfig(schedule=Schedule(2, 0.01), batch_size=32, device=where)
        plans = [methods.plan("jocor", {"ramp": 2}, config, NOISE) for _ in range(2)]
        found[where] = train_replicas([small] * 2, plans, build_network, config, seeds=(0, 1))
    for here, there in zip(found["cpu"], found[NAME], strict=True):
        assert not differences(here, there)


def test_labels_are_repaired_there(device, monkeypatch):
    monkeypatch.setattr(workflow.noise, "PROBE_STEPS", 1)
    draws = np.random.default_rng(0)
    labels = np.arange(300) % 3
    features = draws.normal(size=(300, 6)) + 3 * np.eye(6)[labels]
    given = np.where(draws.random(300) < 0.2, (labels + 1) % 3, labels)
    short = {"folds": 2, "training": {"schedule": {"epochs": 3}}}
    second = {"refinement": {"folds": 2, "longer": 1.0}}
    here, there = (
        repair(
            features,
            given,
            method="loss_correction",
            device=where,
            budget=0.05,
            probe=short,
            **second,
        )
        for where in ("cpu", NAME)
    )
    assert here.table.equals(there.table)
    assert np.array_equal(here.probs, there.probs)
    assert next(there.model.parameters()).device.type == "cpu"


# -- all of this can fail --------------------------------------------------------------------------


def train_step(data, step, device=NAME):
    stage = Stage("bad", Schedule(epochs=1, lr=0.01), step)
    config = TrainingConfig(device=device)
    return train(data, [stage], network, config, seed=0, progress=False)


WAITS = {
    "item": lambda z, b: z.sum() * z.max().item(),
    "branch": lambda z, b: z.sum() if z.max() > 0 else z.mean(),
    "bool index": lambda z, b: z[0][b.labels == 1].sum(),
    "masked_select": lambda z, b: z[0].masked_select((b.labels == 1)[:, None]).sum(),
    "nonzero": lambda z, b: z[0, (b.labels == 1).nonzero()].sum(),
    "bool assignment": lambda z, b: (
        torch.zeros_like(z[0]).index_put((b.labels == 1,), z[0, 0]).sum()
    ),
    "bincount": lambda z, b: z.sum() * torch.bincount(b.labels, minlength=C).max(),
    "unique": lambda z, b: z.sum() * len(b.labels.unique()),
    "index of the host": lambda z, b: z[0][torch.arange(2)].sum(),
    "copy to the host": lambda z, b: z.sum() * float(b.labels.cpu().sum()),
    "copy from the host": lambda z, b: z.sum() * torch.tensor([1.0, 2.0], device=z.device).sum(),
    "list": lambda z, b: z.sum() * len(b.labels.tolist()),
}


@pytest.mark.parametrize("bad", WAITS.values(), ids=WAITS)
def test_a_step_that_waits_is_found(bad, small, steps):
    with pytest.raises(AssertionError, match="waits for the device"):
        train_step(small, lambda z, b, run: Step(bad(z, b)))


class Backwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * gradient.max().item()


def test_a_backward_pass_that_waits_is_found(small, steps):
    with pytest.raises(AssertionError, match="waits for the device"):
        train_step(small, lambda z, b, run: Step(Backwards.apply(z).sum()))


MIXES = {
    "tensor of the host": lambda z, b: z.sum() + torch.ones(3),
    "generator of the host": lambda z, b: (
        z.sum() * torch.rand(2, device=z.device, generator=torch.Generator()).sum()
    ),
    "NumPy": lambda z, b: z.sum() * float(b.labels.numpy().sum()),
}


@pytest.mark.parametrize("bad", MIXES.values(), ids=MIXES)
def test_a_step_that_mixes_devices_is_found(bad, small, device):
    with pytest.raises((RuntimeError, TypeError), match=r"on one device|another device|to NumPy"):
        train_step(small, lambda z, b, run: Step(bad(z, b).sum()))


# -- CUDA --------------------------------------------------------------------------------------

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture
def cuda_steps(monkeypatch):
    """How often a step was made; one that waits for the GPU is an error of CUDA's own."""

    @contextmanager
    def no_waiting():
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return guard(monkeypatch, no_waiting)


@pytest.mark.gpu
@needs_cuda
@each_case
def test_on_cuda_no_step_waits_and_the_same_seed_gives_the_same_bits(case, small, cuda_steps):
    first, second = (run(case, small, device="cuda") for _ in range(2))
    assert cuda_steps["_step"] >= 2 * 3 * 6
    assert not differences(first, second)


@pytest.mark.gpu
@needs_cuda
def test_cuda_and_the_cpu_agree(small):
    config = {"schedule": {"epochs": 2, "lr": 0.01}}
    found = [
        outcome(run(("cross_entropy", {}, config), small, budget=1.0, device=device))[1]["probs"]
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(*found, rtol=0, atol=1e-3)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("kind", ["resident", "shards"])
def test_images_train_on_cuda_without_waiting(kind, cuda_steps, tmp_path):
    features = torch.from_numpy(pixels(72))
    if kind == "shards":
        spec = StorageSpec("shards", shard_bytes=13 * 3 * 8 * 8, unfinished=str(tmp_path))
        features = Streamed(stored(features.numpy(), spec)[0])
    first, second = (train_images(features, "cuda") for _ in range(2))
    assert cuda_steps["_step"] == 2 * 2 * 7
    assert not differences(first, second)
