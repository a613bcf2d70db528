"""Numbers at the edge of their range: every method's steps, scoring, and what training reports."""

import logging

import numpy as np
import pytest
import torch
from test_methods import CASES, NOISE, TINY, C, network, outcome
from torch import nn

from labelrepair import methods, repair_with_probs
from labelrepair.config import from_dict
from labelrepair.errors import CheckpointError, LabelRepairError
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import cross_entropy
from labelrepair.scoring import score
from labelrepair.training import (
    Checkpointer,
    Schedule,
    Stage,
    Step,
    TrainingConfig,
    TrainSet,
    train,
)
from labelrepair.training.collapse import Collapse
from labelrepair.training.replicas import train_replicas
from labelrepair.transition import lost_classes

pytestmark = [
    pytest.mark.filterwarnings("ignore:quantile"),
    pytest.mark.filterwarnings("ignore:transition. condition number"),
]
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


class Extreme(nn.Module):
    """Logits of +-1e4: probabilities are exactly 0 and 1, right or wrong."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, features):
        return 1e4 * torch.sign(self.inner(features)) + self.inner(features)


def train_case(case, data, *, noise=NOISE, build=network, budget=TINY, **loop):
    method, options, training = case
    settings = {**methods.load(method).TRAINING, **training}
    settings |= {"batch_size": 32, "device": "cpu", "budget": budget, **loop}
    config = from_dict(TrainingConfig, settings)
    needed = config.network.options
    stages = methods.plan(method, options, config, noise)
    return train(data, stages, lambda: build(**needed), config, seed=0, progress=False)


def assert_finite(result):
    history, tensors = outcome(result)
    assert all(np.isfinite(row["loss"]) for row in history)
    tensors.pop("shared operand", None)  # log T, and log 0 is -inf
    for name, values in tensors.items():
        assert torch.isfinite(values.double()).all(), name


@pytest.fixture(scope="module")
def small(blobs):
    return blobs(rows=220, classes=C, width=8, noise=0.3).data


@each_case
def test_logits_of_10000_and_probabilities_of_0_and_1(case, small):
    assert_finite(train_case(case, small, build=lambda **needed: Extreme(network(**needed))))


@each_case
def test_batches_that_lack_classes_and_a_last_batch_of_one_row(case, small):
    rows = small.train_rows[:97]
    few = TrainSet(small.features, small.given_labels, C, rows, small.val_rows)
    drop_last = methods.load(case[0]).TRAINING.get("drop_last", False)
    assert_finite(train_case(case, few, batch_size=3, drop_last=drop_last))


@each_case
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_noise_rates_of_0_and_1(case, rate, small):
    swap = np.roll(np.eye(C), 1, axis=1)
    transition = swap if rate else np.eye(C)
    noise = NoiseEstimate(transition, rate, (rate, rate), "given", np.full(C, 1 / C))

    assert_finite(train_case(case, small, noise=noise))


@each_case
def test_bfloat16_agrees_with_float32(case, small):
    exact = train_case(case, small, budget=0.05)
    rounded = train_case(case, small, budget=0.05, precision="bfloat16")

    assert_finite(rounded)
    first, other = exact.history[0]["loss"], rounded.history[0]["loss"]
    assert other == pytest.approx(first, rel=0.05, abs=0.02)
    assert (exact.probs - rounded.probs).abs().mean() < 0.05


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_scoring_under_a_matrix_without_or_of_nothing_but_noise(rate):
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(3), 200)
    probs[:50] = np.eye(3)[rng.integers(0, 3, 50)]  # exact 0 and 1
    given = rng.integers(0, 3, 200)
    transition = np.roll(np.eye(3), 1, axis=1) if rate else np.eye(3)

    scores = score(probs, given, transition, noise_rate=rate)
    table = repair_with_probs(probs, given, transition=transition).table

    for frame in (scores, table):
        assert np.isfinite(frame["label_quality"]).all()
        assert np.isfinite(frame["confidence"]).all()


def test_an_ill_conditioned_matrix_is_named_with_its_condition_number(small):
    nearly = 0.3333 * np.ones((C, C)) * 0.75 + 0.001 * np.eye(C)
    noise = NoiseEstimate(
        nearly / nearly.sum(1, keepdims=True), 0.7, (0.7, 0.7), "given", np.ones(C)
    )

    with pytest.warns(UserWarning, match=r"condition number 1e\+03"):
        train_case(CASES["backward"], small, noise=noise)


# -- collapse -----------------------------------------------------------------------------------


def _towards_class_zero(logits, batch, _run):
    return Step(cross_entropy(logits[0], torch.zeros_like(batch.labels)).mean())


def _towards_the_labels(logits, batch, _run):
    return Step(cross_entropy(logits[0], batch.labels).mean())


@pytest.mark.parametrize(
    ("step", "collapses"), [(_towards_class_zero, True), (_towards_the_labels, False)]
)
def test_collapse_to_one_class_is_reported_once(step, collapses, small, caplog):
    config = TrainingConfig(batch_size=32, device="cpu")
    stage = Stage("train", Schedule(epochs=8, lr=0.05), step)
    with caplog.at_level(logging.WARNING, logger="labelrepair.training.loop"):
        result = train(small, [stage], network, config, seed=0, progress=False)

    shares = [row["largest_class_share"] for row in result.history]
    found = [record.getMessage() for record in caplog.records]
    if collapses:
        assert shares[-1] == 1.0
        assert len(found) == 1
        assert "stage 'train', epoch" in found[0]
        assert "class 0" in found[0]
    else:
        assert shares[-1] < 0.5
        assert found == []


def _towards(targets):
    """Return a step that pulls each network to a class of its own, or to the labels (None)."""

    def step(logits, batch, _run):
        labels = batch.labels
        wanted = [labels if t is None else torch.full_like(labels, t) for t in targets]
        return Step(sum(cross_entropy(*pair).mean() for pair in zip(logits, wanted, strict=True)))

    return step


@pytest.mark.parametrize("replicas", [False, True])
@pytest.mark.parametrize("targets", [(None, 0), (0, 1), (0, 0), (None, None)])
def test_each_collapsed_network_is_named(targets, replicas, small, caplog):
    config, shares = TrainingConfig(batch_size=32, device="cpu"), []

    def share_of_the_mean(run):
        best = run.samples.probs[small.train_rows].argmax(1)
        shares.append(int(best.bincount().max()) / len(best))

    plan = Schedule(epochs=8, lr=0.05)
    stages = [Stage("two", plan, _towards(targets), 2, after_epoch=share_of_the_mean)]
    if replicas:
        result = train_replicas([small], [stages], network, config, seeds=[0])[0]
    else:
        result = train(small, stages, network, config, seed=0, progress=False)
    found = "\n".join(record.getMessage() for record in caplog.records)
    expected = [(k + 1, label) for k, label in enumerate(targets) if label is not None]
    assert len(caplog.records) == len(expected)
    for number, label in expected:
        assert f"of class {label} by network {number} of 2 for 3 epochs: the network has" in found
    assert [row["largest_class_share"] for row in result.history] == shares


def test_a_mean_that_collapses_by_itself_is_reported(small, caplog):
    collapse = Collapse(small)
    for epoch in range(3):
        collapse.look("two", epoch, [(0.9, 0), (0.9, 0), (1.0, 0)])
    assert "of class 0 by the networks' mean for 3 epochs: the networks have" in caplog.text
    collapse.leave("two", [])
    assert len(caplog.records) == 1


def test_a_short_stage_that_ends_collapsed_is_reported(small, caplog):
    stage = Stage("short", Schedule(epochs=2, lr=1.0), _towards_class_zero)
    after = Stage("train", Schedule(epochs=8, lr=0.05), _towards_the_labels, start="restart")
    train(small, [stage, after], network, TrainingConfig(device="cpu"), seed=0, progress=False)
    assert ["stage 'short', epoch 1" in record.getMessage() for record in caplog.records] == [True]


def _from_nothing(logits, batch, _run):
    none = torch.zeros_like(batch.labels, dtype=torch.bool)
    return Step((cross_entropy(logits[0], batch.labels) * none).sum(), used=none)


def test_a_stage_that_learns_from_no_row_is_reported(small, caplog):
    stage = Stage("picky", Schedule(epochs=2, lr=0.05), _from_nothing)
    train(small, [stage], network, TrainingConfig(device="cpu"), seed=0, progress=False)
    found = [record.getMessage() for record in caplog.records]
    assert [text.startswith("stage 'picky' has learned from no row") for text in found] == [True]


@pytest.mark.parametrize("replaced", [False, True])
def test_outputs_that_the_last_step_made_infinite_end_the_training(replaced, small):
    def after(run):  # as methods do that hand over stored targets instead of predictions
        if replaced:
            run.samples.shared["probs"] = torch.full_like(run.samples.probs, 1 / C)

    rows = len(small.train_rows)  # one batch an epoch: no loss sees what its step has made
    config = TrainingConfig(batch_size=rows, device="cpu")
    stage = Stage("wild", Schedule(epochs=1, lr=1e38), _towards_the_labels, after_stage=after)
    with pytest.raises(LabelRepairError, match="stage 'wild': the network's outputs are no longer"):
        train(small, [stage], network, config, seed=0, progress=False)


def test_one_class_given_is_no_collapse(small, caplog):
    data = TrainSet(
        small.features, torch.zeros_like(small.given_labels), C, small.train_rows, small.val_rows
    )
    stage = Stage("train", Schedule(epochs=8, lr=0.05), _towards_the_labels)
    train(data, [stage], network, TrainingConfig(device="cpu"), seed=0, progress=False)
    assert not caplog.records


def test_lost_classes_by_hand():
    predicted = np.repeat([0, 1, 2, 3], [80, 16, 4, 0])
    # Class 2 is predicted for under a tenth of 41 rows, class 3 never, but few are expected.
    assert lost_classes(predicted, np.array([0.4, 0.1, 0.41, 0.09])).tolist() == [2]
    assert lost_classes(predicted, np.array([0.4, 0.1, 0.4, 0.1])).tolist() == [3]
    assert lost_classes(predicted, np.array([0.9, 0.1, 0.0, 0.0])).tolist() == []
    assert lost_classes(np.zeros(50, int), np.array([0.5, 0.3, 0.2])).tolist() == [1, 2]


# -- a checkpoint under our name that is not ours -------------------------------------------------


@pytest.mark.parametrize(
    "tampered",
    [
        {},
        {"position": None},
        {"position": [99, 99]},
        {"position": [0, 1], "networks": {}, "optimizer": {}, "samples": {}},
        {"networks": {"0.weight": torch.zeros(3)}},
        {"samples": {"shared": {}}},
    ],
    ids=str,
)
def test_a_tampered_checkpoint_is_refused(tampered, small, tmp_path):
    stage = Stage("train", Schedule(epochs=3, lr=0.01), _towards_the_labels)
    keeper = Checkpointer(tmp_path, {"mine": 1})
    config = TrainingConfig(batch_size=32, device="cpu")
    train(small, [stage], network, config, seed=0, checkpoint=keeper, progress=False)
    whole = keeper.load()
    keeper.save({**whole, **tampered} if len(tampered) == 1 else tampered)

    with pytest.raises(CheckpointError, match="does not hold the state of this training"):
        train(small, [stage], network, config, seed=0, checkpoint=keeper, progress=False)
