import pytest
import torch
from torch.nn import functional

from labelrepair import losses, methods
from labelrepair.config import from_dict
from labelrepair.errors import ConfigError
from labelrepair.methods.joint_optimization import Options, _harden
from labelrepair.training import Batch, TrainingConfig, TrainSet, train
from labelrepair.training.seeds import derive_seed

OPTIONS = {
    "relabel": {"epochs": 8, "lr": 0.1},
    "retrain": {"epochs": 2, "lr": 0.1},
    "start_epoch": 5,
    "window": 3,
}


class Notes:
    """Per epoch of step 1: the predictions made while training, and the labels after it."""

    def __init__(self):
        self.probs, self.targets, self.start = [], [], None

    def __call__(self, moment, when, run):
        if run.stage.name != "relabel" or when == "begin":
            return
        if moment == "before_stage":
            self.start = run.samples.targets.clone()
        if moment == "after_epoch":
            self.probs.append(run.samples.probs.clone())
            self.targets.append(run.samples.targets.clone())


def run(train_method, **more):
    notes = Notes()
    result = train_method("joint_optimization", {**OPTIONS, **more}, look=notes)
    return notes, result


def test_labels_stand_still_and_are_then_the_mean_of_the_last_predictions(train_method):
    """start_epoch 5 (1-based): unchanged after epochs 1 to 4, from then on the mean of three."""
    notes, result = run(train_method)
    data = train_method.data
    assert torch.equal(notes.start, functional.one_hot(data.given_labels, 4).float())
    for epoch in range(4):
        assert torch.equal(notes.targets[epoch], notes.start)
    rows, others = data.train_rows, data.val_rows
    for epoch in range(4, 8):
        expected = torch.stack(notes.probs[epoch - 2 : epoch + 1]).mean(0)
        assert torch.allclose(notes.targets[epoch][rows], expected[rows], atol=1e-6)
        assert not torch.equal(notes.targets[epoch], notes.targets[epoch - 1])
        assert torch.equal(notes.targets[epoch][others], notes.start[others])
        assert torch.allclose(notes.targets[epoch].sum(1), torch.ones(220), atol=1e-5)
    assert torch.equal(result.probs[rows], notes.targets[-1][rows])


def test_before_the_window_is_full_the_mean_is_of_the_epochs_there_are(train_method):
    notes, _ = run(train_method, start_epoch=1, window=6)
    rows = train_method.data.train_rows
    for epoch in range(8):
        expected = torch.stack(notes.probs[max(0, epoch - 5) : epoch + 1]).mean(0)
        assert torch.allclose(notes.targets[epoch][rows], expected[rows], atol=1e-6)


def test_labels_stop_changing_after_the_stop_epoch(train_method):
    notes, _ = run(train_method, stop_epoch=6)
    assert not torch.equal(notes.targets[5], notes.targets[4])
    assert torch.equal(notes.targets[6], notes.targets[5])
    assert torch.equal(notes.targets[7], notes.targets[5])


@pytest.mark.parametrize("top_k", [7, None])
def test_hard_labels_change_at_most_k_the_most_surprising(train_method, top_k):
    data = train_method.data
    notes, _ = run(train_method, labels="hard", top_k=top_k)
    rows, changes = data.train_rows, []
    for epoch in range(4, 8):
        before, after = notes.targets[epoch - 1], notes.targets[epoch]
        assert torch.equal(after.sum(1), torch.ones(220))
        assert torch.equal(after.max(1).values, torch.ones(220))
        mean = torch.stack(notes.probs[epoch - 2 : epoch + 1]).mean(0)
        changed = (before.argmax(1) != after.argmax(1)).nonzero()[:, 0]
        candidates = rows[mean[rows].argmax(1) != before[rows].argmax(1)]
        surprise = -mean[candidates].gather(1, before[candidates].argmax(1)[:, None])[:, 0].log()
        most = candidates[surprise.argsort(descending=True)][:top_k]
        assert sorted(changed.tolist()) == sorted(most.tolist())
        assert torch.equal(after[changed].argmax(1), mean[changed].argmax(1))
        changes.append(len(changed))
    if top_k is None:
        assert torch.equal(after[rows].argmax(1), mean[rows].argmax(1))
        assert changes[0] > 7
    else:
        assert changes[0] == top_k


def test_hardening_by_hand():
    """Rows 0, 1 and 3 disagree; row 1 is the most surprising, unless row 3 takes part."""
    targets = torch.eye(2)[torch.tensor([0, 0, 1, 0])]
    mean = torch.tensor([[0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.0, 1.0]])
    rows = torch.tensor([0, 1, 2])
    assert _harden(mean, targets, rows, 1).argmax(1)[:3].tolist() == [0, 1, 1]
    assert _harden(mean, targets, rows, 2).argmax(1)[:3].tolist() == [1, 1, 1]
    assert _harden(mean, targets, torch.arange(4), 1).argmax(1).tolist() == [0, 0, 1, 1]


def test_the_second_step_learns_frozen_labels_from_fresh_weights(
    train_method, fresh_network, copied, equal
):
    seen = {}

    def look(moment, when, run):
        if when == "begin":
            seen[run.stage.name, moment, run.epoch] = copied(run.networks)
        if run.stage.name == "retrain":
            seen.setdefault("targets", []).append(run.samples.targets.clone())

    result = train_method("joint_optimization", OPTIONS, look=look)
    torch.manual_seed(derive_seed(0, 1, "init", 0))
    fresh = {f"0.{key}": value for key, value in fresh_network().state_dict().items()}
    assert equal(seen["retrain", "before_stage", 0], fresh)
    assert not equal(seen["retrain", "before_stage", 0], seen["relabel", "after_stage", 7])
    assert all(torch.equal(seen["targets"][0], later) for later in seen["targets"])
    assert equal(copied(result.networks), seen["retrain", "after_stage", 1])


def test_the_answer_of_rows_held_out_is_the_first_networks_prediction(train_method):
    expected = {}

    def look(moment, when, run):
        if (run.stage.name, moment, when) == ("relabel", "after_stage", "begin"):
            expected["probs"] = run.predict_probs()

    result = train_method("joint_optimization", OPTIONS, look=look, validation_fraction=0.1)
    rows = train_method.data.val_rows
    assert torch.equal(result.probs[rows], expected["probs"][rows])
    agrees = result.probs.argmax(1) == train_method.data.given_labels
    assert torch.equal(result.selected, agrees)


@pytest.mark.parametrize("size", [20, 3])
@pytest.mark.parametrize("prior", ["uniform", "given"])
def test_the_loss_of_step_one(train_method, prior, size):
    """Fewer rows than classes have no prior term: they cannot be spread over them."""
    data, looked = train_method.data, []
    shares = torch.bincount(data.given_labels[data.train_rows], minlength=4) / len(data.train_rows)
    expected_prior = {"uniform": torch.full((4,), 0.25), "given": shares}[prior]

    def look(moment, when, run):
        if (run.stage.name, moment, when, run.epoch) != ("relabel", "after_epoch", "end", 7):
            return
        rows = torch.arange(size)
        logits = torch.randn(1, size, 4)
        step = run.stage.step(logits, Batch(rows, None, data.given_labels[rows]), run)
        probs, targets = logits[0].softmax(-1), run.samples.targets[rows]
        fit = (targets * (targets / probs).log()).sum(1).mean()
        spread = (expected_prior * (expected_prior / probs.mean(0)).log()).sum()
        spread = spread if size >= 4 else 0.0
        doubt = -(probs * probs.log()).sum(1).mean()
        assert step.loss.item() == pytest.approx(
            (fit + 0.7 * spread + 0.3 * doubt).item(), rel=1e-5
        )
        looked.append(1)

    train_method(
        "joint_optimization", {**OPTIONS, "alpha": 0.7, "beta": 0.3, "prior": prior}, look=look
    )
    assert looked


def test_the_loss_of_step_two_has_no_other_terms(train_method):
    data, looked = train_method.data, []

    def look(moment, when, run):
        if (run.stage.name, moment, when) == ("retrain", "before_stage", "end"):
            logits, rows = torch.randn(1, 9, 4), torch.arange(9)
            step = run.stage.step(logits, Batch(rows, None, data.given_labels[rows]), run)
            expected = losses.kl_to_targets(logits[0], run.samples.targets[rows]).mean()
            looked.append(torch.equal(step.loss, expected))

    train_method("joint_optimization", OPTIONS, look=look)
    assert looked == [True]


@pytest.mark.parametrize(
    ("wrong", "last"), [({"start_epoch": 9}, 8), ({"start_epoch": 5, "stop_epoch": 4}, 4)]
)
def test_a_start_that_never_comes_is_refused(train_method, wrong, last):
    with pytest.raises(ConfigError, match=f"^start_epoch: no label .* changes labels is {last} "):
        run(train_method, **wrong)


@pytest.mark.parametrize("wrong", [{"start_epoch": 0}, {"stop_epoch": 0}])
def test_epochs_are_counted_from_one(train_method, wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}: .*1.* found 0"):
        run(train_method, **wrong)


def test_drop_last_is_refused():
    config = TrainingConfig(drop_last=True, batch_size=4, device="cpu")
    none = torch.empty(0, dtype=torch.int64)
    data = TrainSet(torch.zeros(8, 2), torch.arange(8) % 2, 2, torch.arange(8), none)
    with pytest.raises(ConfigError, match="drop_last"):
        train(data, methods.plan("joint_optimization", {}, config, None), None, config, seed=0)


@pytest.mark.parametrize("wrong", [{"alpha": -1}, {"beta": -1}, {"window": 0}, {"top_k": 0}])
def test_values_out_of_range(wrong):
    with pytest.raises(ConfigError, match=f"^options.{next(iter(wrong))}: "):
        from_dict(Options, wrong, "options")
