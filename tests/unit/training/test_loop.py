"""The loop with stages made up here; what real methods do with it is in tests/contract."""

import dataclasses
import logging
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from labelrepair.errors import ConfigError, LabelRepairError
from labelrepair.networks.classifier import Normalizer
from labelrepair.training import (
    Augment,
    Holdout,
    Optimizer,
    Schedule,
    Stage,
    Step,
    TrainingConfig,
    TrainSet,
    choose_device,
    loop,
    passes,
    train,
)
from labelrepair.training.device import layout
from labelrepair.training.optimizer import build_optimizer
from labelrepair.training.seeds import derive_seed, generator

CONFIG = TrainingConfig(optimizer=Optimizer("sgd"), batch_size=16, normalize="none", device="cpu")
TWO = Schedule(2, 0.05)


def build():
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))


def learn(logits, batch, run):
    losses = [functional.cross_entropy(part, batch.labels) for part in logits]
    return Step(torch.stack(losses).sum())


def weights(networks):
    return {key: value.detach().clone() for key, value in networks.state_dict().items()}


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture
def data(blobs):
    return blobs(rows=80, validation=0.25).data  # 60 training rows: three batches of 16, one of 12


def go(data, *stages, config=CONFIG, seed=0, **more):
    return train(data, stages, build, config, seed=seed, progress=False, **more)


# -- stages ------------------------------------------------------------------------------------


class Recorder:
    """Callbacks that note the weights, the momentum and the generator's first draw."""

    def __init__(self):
        self.seen = {}

    def __call__(self, moment):
        def look(run):
            draw = torch.rand((), generator=run.generator).item()
            self.seen[run.stage.name, moment, run.epoch] = (weights(run.networks), draw)

        return look

    def stage(self, name, **more):
        looks = {f"{moment}": self(moment) for moment in MOMENTS}
        return Stage(name, TWO, learn, **looks, **more)


MOMENTS = ("before_stage", "before_epoch", "after_epoch", "after_stage")


def test_callbacks_run_in_order_and_each_draws_from_its_own_stream(data):
    note = Recorder()
    go(data, note.stage("a"), note.stage("b"))
    one = [("before_stage", 0), ("before_epoch", 0), ("after_epoch", 0), ("before_epoch", 1)]
    one += [("after_epoch", 1), ("after_stage", 1)]
    assert list(note.seen) == [(name, *moment) for name in "ab" for moment in one]
    draws = [draw for (_, moment, _), (_, draw) in note.seen.items() if moment != "after_epoch"]
    assert len(set(draws)) == len(draws)


def test_restart_builds_fresh_networks_under_the_stages_own_seed(data):
    note = Recorder()
    go(data, note.stage("a"), note.stage("b"), seed=3)
    for index, name in enumerate("ab"):
        torch.manual_seed(derive_seed(3, index, "init", 0))
        assert same(note.seen[name, "before_stage", 0][0], weights(nn.ModuleList([build()])))
    assert not same(note.seen["b", "before_stage", 0][0], note.seen["a", "after_stage", 1][0])


def test_carry_goes_on_with_the_networks(data):
    note = Recorder()
    go(data, note.stage("a"), note.stage("b", start="carry"))
    assert same(note.seen["b", "before_stage", 0][0], note.seen["a", "after_stage", 1][0])
    assert not same(note.seen["b", "after_stage", 1][0], note.seen["a", "after_stage", 1][0])


def test_carrying_the_optimizer_keeps_its_momentum(data):
    def last(optimizer):
        second = Stage("b", TWO, learn, start="carry", optimizer=optimizer)
        return weights(go(data, Stage("a", TWO, learn), second).networks)

    assert not same(last("carry"), last("restart"))


def test_a_restart_never_keeps_the_optimizer_of_networks_that_are_gone(data):
    def last(**more):
        return weights(go(data, Stage("a", TWO, learn), Stage("b", TWO, learn, **more)).networks)

    assert same(last(optimizer="carry"), last(optimizer="restart"))
    assert not same(last(), weights(go(data, Stage("a", TWO, learn)).networks))


def test_carrying_another_number_of_networks_is_refused(data):
    with pytest.raises(ConfigError, match="stage 'b' carries 1 networks"):
        go(data, Stage("a", TWO, learn), Stage("b", TWO, learn, networks=2, start="carry"))


# -- model choice ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "column", "sign"),
    [("best_val_accuracy", "noisy_val_accuracy", 1), ("best_val_loss", "noisy_val_loss", -1)],
)
def test_keep_best_restores_the_first_best_epoch(data, keep, column, sign):
    snapshots = []
    stage = Stage("a", Schedule(12, 1.0), learn, keep=keep)
    stage = dataclasses.replace(
        stage, after_epoch=lambda run: snapshots.append(weights(run.networks))
    )
    test = Holdout(data.features, data.given_labels)
    result = go(data, stage, test=test)
    values = [sign * row[column] for row in result.history]
    best = values.index(max(values))
    assert best != 11, "the case must be able to fail"
    assert same(weights(result.networks), snapshots[best])
    assert result.test_accuracy == result.history[best]["test_accuracy"], "of the weights kept"
    last = go(data, dataclasses.replace(stage, keep="last"))
    assert same(weights(last.networks), snapshots[11])


def test_the_best_of_a_stage_is_forgotten_at_the_next(data):
    """The second stage cannot learn: its best is its own first epoch, not the first stage's."""
    first = Stage("a", Schedule(5, 0.05), learn, keep="best_val_accuracy")
    second = Stage("b", Schedule(1, 1e-9), learn, keep="best_val_accuracy")
    result = go(data, first, second)
    torch.manual_seed(derive_seed(0, 1, "init", 0))
    fresh = build()(data.features)
    assert torch.allclose(result.networks[0](data.features), fresh, atol=1e-5)


def test_val_loss_is_the_stages_own(data):
    def loss(logits, labels, run):
        return torch.full_like(labels, 40 + run.epoch, dtype=torch.float32)

    stage = Stage("a", TWO, learn, val_loss=loss, keep="best_val_loss", after_stage=check_epoch_0)
    history = go(data, stage).history
    assert [row["noisy_val_loss"] for row in history] == [40, 41]


def check_epoch_0(run):
    assert run.best.epoch == 0


def test_predictions_with_the_best_weights_leave_the_current_ones(data):
    found = {}

    def look(run):
        before = weights(run.networks)
        found["best"] = run.predict_logits(weights="best")
        assert same(before, weights(run.networks))
        found["current"] = run.predict_logits()
        found["early"] = run.best.epoch
        network = build()
        best = {key.removeprefix("0."): value for key, value in run.best.networks.items()}
        network.load_state_dict(best)
        found["expected"] = network(data.features)[None]
        assert torch.equal(run.predict_probs("best"), found["best"].softmax(-1).mean(0))

    go(data, Stage("a", Schedule(12, 1.0), learn, track_best=True, after_stage=look))
    assert found["early"] < 11
    assert torch.allclose(found["best"], found["expected"])
    assert not torch.equal(found["best"], found["current"])


def test_best_before_any_evaluation_is_the_current(data):
    def look(run):
        assert run.best is None
        assert torch.equal(run.predict_logits(weights="best"), run.predict_logits())

    go(data, Stage("a", TWO, learn, track_best=True, before_stage=look))


@pytest.mark.parametrize("more", [{"keep": "best_val_loss"}, {"track_best": True}])
def test_model_choice_needs_validation_rows(blobs, more):
    data = blobs(rows=40, validation=0).data
    with pytest.raises(ConfigError, match=r"stage 'a' chooses weights .*validation_fraction"):
        go(data, Stage("a", TWO, learn, **more))
    assert "noisy_val_accuracy" not in go(data, Stage("a", TWO, learn)).history[0]


# -- per-sample state --------------------------------------------------------------------------


def test_predictions_history_and_its_mean_before_and_after_it_is_full(data):
    """Every epoch's probs are pushed; the mean divides by the epochs stored, at most 3."""
    epochs, rows = [], data.train_rows

    def look(run):
        probs = run.samples.probs.clone()
        assert torch.allclose(probs[rows].sum(1), torch.ones(len(rows)))
        assert (probs[data.val_rows] == 1 / 4).all(), "never visited"
        epochs.append(probs)
        expected = torch.stack(epochs[-3:]).mean(0)
        assert torch.allclose(run.samples.history_mean(), expected, atol=1e-7)
        assert run.samples.recorded == len(epochs)

    go(data, Stage("a", Schedule(5, 0.05), learn, window=3, after_epoch=look))
    assert len(epochs) == 5
    assert not torch.equal(epochs[0], epochs[1])


def test_recorded_predictions_are_those_the_step_saw(data):
    seen = torch.full((80, 4), 1 / 4)  # of rows that are never visited

    def note(logits, batch, run):
        seen[batch.rows] = logits.detach().softmax(-1).mean(0)
        return learn(logits, batch, run)

    def look(run):
        assert torch.allclose(run.samples.probs, seen, atol=1e-7)

    go(data, Stage("a", TWO, note, networks=2, after_epoch=look))


def test_a_carried_history_goes_on_and_a_restart_clears_it(data):
    counts = {}

    def look(run):
        counts[run.stage.name] = run.samples.recorded

    more = {"window": 3, "after_stage": look}
    go(
        data,
        Stage("a", TWO, learn, **more),
        Stage("b", TWO, learn, start="carry", **more),
        Stage("c", TWO, learn, **more),
    )
    assert counts == {"a": 2, "b": 4, "c": 2}


def test_used_rows_are_packed_per_epoch(data):
    def even(logits, batch, run):
        step = learn(logits, batch, run)
        masks = torch.stack([batch.rows % 2 == 0, batch.rows < 10])
        return dataclasses.replace(step, used=masks[: len(logits)] if len(logits) > 1 else masks[0])

    result = go(
        data, Stage("a", TWO, even, networks=2), Stage("b", TWO, even), Stage("c", TWO, learn)
    )
    used = [np.unpackbits(bits.numpy(), axis=1, count=80).astype(bool) for bits in result.used]
    train_mask = np.zeros(80, bool)
    train_mask[data.train_rows] = True
    rows = np.arange(80)
    assert len(used) == 6
    for epoch in (0, 1):
        np.testing.assert_array_equal(
            used[epoch], [train_mask & (rows % 2 == 0), train_mask & (rows < 10)]
        )
    np.testing.assert_array_equal(used[2][0], train_mask & (rows % 2 == 0))
    np.testing.assert_array_equal(used[5][0], train_mask)
    share = (train_mask & (rows % 2 == 0)).sum() / 60
    assert result.history[2]["used_share"] == pytest.approx(share)
    assert result.history[4]["used_share"] == 1.0
    both = (share + (train_mask & (rows < 10)).sum() / 60) / 2
    assert result.history[0]["used_share"] == pytest.approx(both)


def test_steps_that_disagree_about_used_are_a_programming_error(data):
    def sometimes(logits, batch, run):
        used = torch.ones(len(batch.rows), dtype=torch.bool) if len(batch.rows) == 16 else None
        return dataclasses.replace(learn(logits, batch, run), used=used)

    with pytest.raises(RuntimeError, match="must either all say"):
        go(data, Stage("a", TWO, sometimes))


def test_the_methods_own_answer_wins_over_the_clean_pass(data):
    own = torch.rand(80, 4)

    def answer(run):
        run.samples.shared.update(probs=own, selected=own[:, 0] > 0.5, extra=own[0])

    result = go(data, Stage("a", TWO, learn, after_stage=answer))
    assert torch.equal(result.probs, own)
    assert torch.equal(result.selected, own[:, 0] > 0.5)
    assert list(result.shared) == ["extra"]
    plain = go(data, Stage("a", TWO, learn))
    assert plain.selected is None
    expected = plain.networks[0](plain.normalizer(data.features)).softmax(-1)
    assert torch.allclose(plain.probs, expected, atol=1e-6)
    assert not plain.networks.training


# -- the optimizer -----------------------------------------------------------------------------

OPTIMIZERS = [
    Optimizer("sgd", momentum=0.9, weight_decay=0.1),
    Optimizer("sgd", momentum=0.0, weight_decay=0.1),
    Optimizer("adam", weight_decay=0.1),
    Optimizer("adagrad", weight_decay=0.1),
]
named = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.name}-{o.momentum}")


def skip_all(logits, batch, run):
    return dataclasses.replace(learn(logits, batch, run), skip=torch.ones(()))


@named
def test_skipped_steps_change_nothing_and_leave_no_trace_in_the_optimizer(data, optimizer):
    """Stage a learns, b skips everything, c learns: as if b had not been, state and all."""
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    carry = {"start": "carry", "optimizer": "carry"}
    after = {}

    def note(run):
        after[run.stage.name] = weights(run.networks)

    def three(middle):
        stages = [
            Stage("a", TWO, learn, after_stage=note),
            Stage("b", TWO, middle, after_stage=note, **carry),
            Stage("c", TWO, learn, after_stage=note, **carry),
        ]
        go(data, *stages, config=config)
        return dict(after)

    found = three(skip_all)
    assert same(found["a"], found["b"])
    assert not same(found["b"], found["c"]), "a flag left behind would stop the third stage"
    nothing = Schedule(1, 1e-30)  # steps of no size, but the optimizer's state moves on
    moved = [
        Stage("a", TWO, learn),
        Stage("b", nothing, learn, **carry),
        Stage("c", TWO, learn, after_stage=note, **carry),
    ]
    go(data, *moved, config=config)
    if optimizer.momentum or optimizer.name != "sgd":
        assert not same(after["c"], found["c"]), "the comparison can tell"


@named
def test_skipping_from_the_first_step_on_equals_starting_later(data, optimizer):
    """Fused SGD would otherwise keep uninitialised memory as momentum."""
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    junk = [torch.full((8 * 12,), 1e30) for _ in range(200)]
    del junk

    def last(**more):
        first = Stage("a", TWO, skip_all)
        return weights(
            go(data, first, Stage("b", TWO, learn, start="carry", **more), config=config).networks
        )

    assert same(last(optimizer="carry"), last(optimizer="restart"))


@named
def test_two_networks_under_one_optimizer_equal_two_trained_apart(data, optimizer):
    """A plain loop per network: same initialisation, same order, an optimizer of its own."""
    schedule = Schedule(4, 0.02, milestones=(2,), decay_from=3, beta1_after=0.1)
    config = dataclasses.replace(CONFIG, optimizer=optimizer, normalize="standardize")
    result = go(data, Stage("a", schedule, learn, networks=2), config=config, seed=5)
    normalizer = Normalizer.fit("standardize", data.features, data.train_rows)
    for k in range(2):
        torch.manual_seed(derive_seed(5, 0, "init", k))
        network = build()
        parameters, decay = network.parameters(), optimizer.weight_decay
        if optimizer.name == "sgd":
            apart = torch.optim.SGD(parameters, momentum=optimizer.momentum, weight_decay=decay)
        elif optimizer.name == "adam":
            apart = torch.optim.Adam(parameters, weight_decay=decay)
        else:
            apart = torch.optim.Adagrad(parameters, weight_decay=decay)
        for epoch in range(4):
            group = apart.param_groups[0]
            group["lr"] = [0.02, 0.02, 0.002, 0.002][epoch]
            if "betas" in group:
                group["betas"] = (0.1 if epoch == 3 else 0.9, 0.999)
            order = torch.randperm(60, generator=generator("cpu", 5, 0, epoch, "order"))
            for rows in data.train_rows[order].split(16):
                logits = network(normalizer(data.features[rows]))
                apart.zero_grad()
                functional.cross_entropy(logits, data.given_labels[rows]).backward()
                apart.step()
        for found, expected in zip(
            result.networks[k].parameters(), network.parameters(), strict=True
        ):
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_two_networks_start_from_different_weights(data):
    def look(run):
        first, second = (weights(network) for network in run.networks)
        assert not same(first, second)

    go(data, Stage("a", TWO, learn, networks=2, before_stage=look))


# -- settings ----------------------------------------------------------------------------------


def outcome(data, config, stage=None):
    result = go(data, stage or Stage("a", Schedule(2, 0.05), learn), config=config)
    return weights(result.networks)


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({}, {"name": "adam"}),
        ({}, {"name": "adagrad"}),
        ({}, {"momentum": 0.5}),
        ({}, {"weight_decay": 0.01}),
        ({"name": "adam"}, {"weight_decay": 0.1}),
        ({"name": "adam"}, {"betas": (0.5, 0.999)}),
        ({"name": "adam"}, {"betas": (0.9, 0.5)}),
        ({"name": "adam"}, {"eps": 0.1}),
        ({"name": "adagrad"}, {"eps": 0.1}),
        ({"name": "adagrad"}, {"weight_decay": 0.1}),
    ],
)
def test_every_optimizer_setting_matters(data, base, change):
    before = Optimizer(**{"name": "sgd", **base})
    after = dataclasses.replace(before, **change)
    first, second = (
        outcome(data, dataclasses.replace(CONFIG, optimizer=o)) for o in (before, after)
    )
    assert not same(first, second)


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 20},
        {"drop_last": True},
        {"max_batches": 2},
        {"normalize": "standardize"},
        {"normalize": "pixel_mean"},
        {"precision": "bfloat16"},
    ],
)
def test_every_loop_setting_matters(data, change):
    assert not same(outcome(data, CONFIG), outcome(data, dataclasses.replace(CONFIG, **change)))


@pytest.mark.parametrize("augment", [Augment(1), Augment(0, True)])
def test_augmentation_matters_while_training_only(augment):
    images = torch.rand(32, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    data = TrainSet(images, torch.arange(32) % 4, 4, torch.arange(24), torch.arange(24, 32))

    def network():
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))

    def last(config):
        return train(data, [Stage("a", TWO, learn)], network, config, seed=0, progress=False)

    plain, augmented = last(CONFIG), last(dataclasses.replace(CONFIG, augment=augment))
    assert not same(weights(plain.networks), weights(augmented.networks))
    expected = augmented.networks[0](images).softmax(-1)
    assert torch.allclose(augmented.probs, expected, atol=1e-6), "predictions see whole images"


def test_drop_last_leaves_the_rest_out(data):
    sizes = []

    def note(logits, batch, run):
        sizes.append(len(batch.rows))
        return learn(logits, batch, run)

    result = go(data, Stage("a", TWO, note), config=dataclasses.replace(CONFIG, drop_last=True))
    assert sizes == [16] * 6
    counts = [np.unpackbits(bits.numpy(), axis=1, count=80).sum() for bits in result.used]
    assert counts == [48, 48], "rows left out were not used, whatever was in the epoch before"
    assert result.history[1]["used_share"] == 1.0
    sizes.clear()
    go(data, Stage("a", TWO, note))
    assert sizes == [16, 16, 16, 12] * 2


def test_an_epoch_may_end_early_on_rows_drawn_anew(data):
    seen = []

    def note(logits, batch, run):
        seen.append(set(batch.rows.tolist()))
        return learn(logits, batch, run)

    size = CONFIG.batch_size
    result = go(data, Stage("a", TWO, note), config=dataclasses.replace(CONFIG, max_batches=2))
    assert [len(rows) for rows in seen] == [size] * 4
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] != seen[2] | seen[3]
    assert [row["used_share"] for row in result.history] == [1.0, 1.0]


def test_drop_last_conflicts(data):
    config = dataclasses.replace(CONFIG, drop_last=True)
    with pytest.raises(ConfigError, match="drop_last: this method keeps state"):
        go(data, Stage("a", TWO, learn, window=2), config=config)
    with pytest.raises(ConfigError, match="drop_last: this method keeps state"):
        go(data, Stage("a", TWO, learn, every_row=True), config=config)
    with pytest.raises(ConfigError, match="batch_size: 61 exceeds the 60 training rows"):
        go(data, Stage("a", TWO, learn), config=dataclasses.replace(config, batch_size=61))


def test_evaluate_every_and_the_last_epoch(data):
    test = Holdout(data.features[:10], data.given_labels[:10])
    config = dataclasses.replace(CONFIG, evaluate_every=2)
    stages = [Stage("a", Schedule(3, 0.05), learn), Stage("b", Schedule(2, 0.05), learn)]
    history = go(data, *stages, config=config, test=test).history
    assert [row["epoch"] for row in history] == [0, 1, 2, 3, 4]
    assert [row["stage"] for row in history] == list("aaabb")
    looked = ["test_accuracy" in row for row in history]
    assert (
        looked == ["noisy_val_loss" in row for row in history] == [False, True, True, False, True]
    )


def test_a_large_test_split_may_be_looked_at_less_often(data):
    test = Holdout(data.features[:10], data.given_labels[:10])
    stages = [Stage("a", Schedule(3, 0.05), learn), Stage("b", Schedule(3, 0.05), learn)]
    every = go(data, *stages, test=test)
    config = dataclasses.replace(CONFIG, test_every=2)
    seldom = go(data, *stages, config=config, test=test)
    looked = ["test_accuracy" in row for row in seldom.history]
    assert looked == [False, True, True, False, True, True]
    assert all("noisy_val_loss" in row for row in seldom.history)
    assert torch.equal(every.probs, seldom.probs)
    assert every.test_accuracy == seldom.test_accuracy


def test_history_values(data):
    test = Holdout(data.features[data.val_rows], data.given_labels[data.val_rows])

    def noting(logits, batch, run):
        step = learn(logits, batch, run)
        return dataclasses.replace(step, log={"size": torch.tensor(float(len(batch.rows)))})

    result = go(data, Stage("a", Schedule(3, 0.05, milestones=(1,)), noting, networks=2), test=test)
    row = result.history[-1]
    assert [entry["lr"] for entry in result.history] == pytest.approx([0.05, 0.005, 0.005])
    assert row["size"] == 15.0, "mean over the steps: (3 * 16 + 12) / 4"
    logits = torch.stack([network(test.features) for network in result.networks])
    each = (logits.argmax(-1) == test.labels).double().mean(1)
    assert row["test_accuracy_0"] == pytest.approx(each[0].item())
    assert row["test_accuracy_1"] == pytest.approx(each[1].item())
    assert row["test_accuracy"] == pytest.approx(each.mean().item())
    assert result.test_accuracy == row["test_accuracy"]
    together = (logits.softmax(-1).mean(0).argmax(1) == test.labels).double().mean()
    assert row["noisy_val_accuracy"] == pytest.approx(together.item())
    assert result.joint_test_accuracy == pytest.approx(together.item())
    losses = torch.stack([functional.cross_entropy(part, test.labels) for part in logits])
    assert row["noisy_val_loss"] == pytest.approx(losses.mean().item(), rel=1e-5)
    assert 0 <= row["train_accuracy_given"] <= 1
    assert row["seconds"] > 0


def test_validation_and_test_rows_teach_nothing(data):
    seen = set()

    def note(logits, batch, run):
        seen.update(batch.rows.tolist())
        return learn(logits, batch, run)

    go(data, Stage("a", TWO, note), test=Holdout(data.features[:5], data.given_labels[:5]))
    assert seen == set(data.train_rows.tolist())
    held_out = data.given_labels.clone()
    held_out[data.val_rows] = 0
    other = dataclasses.replace(data, given_labels=held_out)
    assert same(outcome(data, CONFIG), outcome(other, CONFIG))


# -- manners -----------------------------------------------------------------------------------


def random_states():
    return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002


def test_global_random_state_and_threads_are_left_alone(data):
    def dropping():
        return nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5))

    torch.manual_seed(123)
    before, threads = random_states(), torch.get_num_threads()
    config = dataclasses.replace(CONFIG, threads=2)
    inside = []
    stage = Stage("a", TWO, learn, after_epoch=lambda _: inside.append(torch.get_num_threads()))
    train(data, [stage], dropping, config, seed=0, progress=False)
    assert inside == [2, 2]
    assert (random_states(), torch.get_num_threads()) == (before, threads)
    with pytest.raises(LabelRepairError):
        train(data, [Stage("a", TWO, infinite)], dropping, config, seed=0, progress=False)
    assert (random_states(), torch.get_num_threads()) == (before, threads)


def test_the_callers_modes_have_no_influence(data):
    """A float64 by default, and no gradients: as in a script that evaluates."""
    stage = Stage("a", TWO, learn)
    expected = weights(go(data, stage).networks)
    torch.set_default_dtype(torch.float64)
    try:
        for mode in (torch.no_grad(), torch.inference_mode()):
            with mode:
                assert same(weights(go(data, stage).networks), expected)
                assert not torch.is_grad_enabled()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_global_random_state_has_no_influence(data):
    def dropping():
        return nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5))

    results = []
    for state in (1, 2):
        torch.manual_seed(state)
        result = train(data, [Stage("a", TWO, learn)], dropping, CONFIG, seed=0, progress=False)
        results.append(weights(result.networks))
    assert same(*results)


def test_order_and_dropout_change_from_epoch_to_epoch(data):
    orders, noises = [], []

    def note(logits, batch, run):
        orders.append(batch.rows.tolist())
        noises.append(torch.rand(()).item())
        return learn(logits, batch, run)

    go(data, Stage("a", TWO, note), config=dataclasses.replace(CONFIG, batch_size=60))
    assert sorted(orders[0]) == sorted(orders[1]) == data.train_rows.tolist()
    assert orders[0] != orders[1]
    assert noises[0] != noises[1]


def test_networks_are_in_train_mode_while_training_and_in_eval_mode_afterwards(data):
    modes = []

    def note(logits, batch, run):
        modes.extend(network.training for network in run.networks)
        return learn(logits, batch, run)

    stages = [Stage("a", TWO, note), Stage("b", TWO, note, start="carry")]
    result = train(data, stages, lambda: build().eval(), CONFIG, seed=0, progress=False)
    assert all(modes)
    assert not any(module.training for module in result.networks.modules())


def infinite(logits, batch, run):
    return Step(logits.sum() * torch.inf)


def test_a_loss_that_is_not_finite_stops_training(data):
    with pytest.raises(LabelRepairError, match=r"stage 'a', epoch 1: the loss is (inf|nan)"):
        go(data, Stage("a", TWO, lambda z, b, r: (learn if r.epoch == 0 else infinite)(z, b, r)))


def test_devices():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match="device: 'abacus' is not available here"):
        choose_device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_device_is_refused(data):
    with pytest.raises(ConfigError, match="device: 'cuda' is not available here"):
        go(data, Stage("a", TWO, learn), config=dataclasses.replace(CONFIG, device="cuda"))


def test_progress_goes_to_the_log_and_can_be_silenced(data, caplog, capsys):
    caplog.set_level(logging.INFO)
    stage = Stage("a", TWO, learn)
    train(data, [stage], build, CONFIG, seed=0)
    assert "epoch 2/2  a, loss" in caplog.messages[-1]
    caplog.clear()
    go(data, stage)
    assert not caplog.messages
    assert capsys.readouterr() == ("", "")


# -- layout ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "precision", "device", "found"),
    [
        ("auto", "float32", "cpu", torch.channels_last),
        ("auto", "float32", "cuda", torch.contiguous_format),
        ("auto", "bfloat16", "cuda", torch.channels_last),
        ("contiguous", "bfloat16", "cuda", torch.contiguous_format),
        ("channels_last", "float32", "cuda", torch.channels_last),
    ],
)
def test_layout(wanted, precision, device, found):
    assert layout(wanted, precision, torch.device(device)) is found


def test_the_layout_changes_the_last_digits_only():
    images = torch.rand(48, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    data = TrainSet(images, torch.arange(48) % 4, 4, torch.arange(40), torch.arange(40, 48))
    met = []

    def network():
        convolution = nn.Conv2d(2, 6, 3, padding=1)
        convolution.register_forward_hook(lambda *seen: met.append(seen[2]))
        rest = (nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 4))
        return nn.Sequential(convolution, *rest)

    def trained(memory_format):
        config = dataclasses.replace(CONFIG, memory_format=memory_format)
        met.clear()
        stages = [Stage("train", TWO, learn)]
        probs = train(data, stages, network, config, seed=0, progress=False).probs
        return probs, met[0].is_contiguous(memory_format=torch.channels_last)

    (plain, first), (last, second) = map(trained, ("contiguous", "channels_last"))
    assert (first, second) == (False, True)
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "moment"), [("adam", "exp_avg"), ("sgd", "momentum_buffer")])
def test_moments_without_gradient_end_at_zero(data, monkeypatch, name, moment):
    """Or they were subnormal a thousand steps later: 0.9 of the smallest float is the smallest."""
    made = []

    def build_kept(*given):
        made.append(build_optimizer(*given))
        return made[-1]

    def step(logits, batch, run):
        return learn(logits if run.epoch == 0 else 0 * logits, batch, run)

    def fit():
        config = dataclasses.replace(CONFIG, optimizer=Optimizer(name))
        networks = go(data, Stage("train", Schedule(250, 0.01), step), config=config).networks
        return weights(networks), [state[moment] for state in made.pop().state.values()]

    monkeypatch.setattr(loop, "build_optimizer", build_kept)
    ended, moments = fit()
    assert not any(part.any() for part in moments)
    monkeypatch.setattr(passes, "drop_vanished", lambda optimizer: None)
    otherwise, moments = fit()
    smallest = torch.finfo(torch.float32).smallest_normal
    assert any(((part != 0) & (part.abs() < smallest)).any() for part in moments)
    assert same(ended, otherwise), "no weight has noticed"
