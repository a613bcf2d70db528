import pytest
import torch

from labelrepair import methods
from labelrepair.config import from_dict
from labelrepair.errors import ConfigError
from labelrepair.methods.generalized_cross_entropy import Options
from labelrepair.training import Batch, Run, TrainingConfig

K, Q = 0.4, 0.7
TRUNCATED = {"loss": "truncated_lq", "k": K, "prune_from": 3, "prune_every": 4}
LOOP = {"optimizer": {"name": "sgd"}, "schedule": {"epochs": 13, "lr": 0.5}}


def label_probs(network, normalizer, data):
    with torch.no_grad():
        probs = network(normalizer(data.features)).softmax(-1)
    return probs.gather(1, data.given_labels[:, None])[:, 0]


def test_prunes_at_the_right_epochs_with_the_best_validation_weights(
    train_method, fresh_network, monkeypatch
):
    """Before epochs 3, 7 and 11, every row anew, by the best epoch so far on noisy validation."""
    data, seen, telling, asked = train_method.data, {}, [], []
    predict = Run.predict_logits

    def note(run, features=None, weights="current"):
        asked.append((run.epoch, weights))
        return predict(run, features, weights)

    def look(moment, when, run):
        if (moment, when) != ("before_epoch", "end"):
            return
        seen[run.epoch] = run.samples.weight.clone()
        if run.epoch in (3, 7, 11):
            network = fresh_network().eval()
            best = {name.removeprefix("0."): value for name, value in run.best.networks.items()}
            network.load_state_dict(best)
            expected = label_probs(network, run.normalizer, data) > K
            assert torch.equal(seen[run.epoch].bool(), expected)
            current = label_probs(run.networks[0], run.normalizer, data) > K
            telling.append(not torch.equal(current, expected))

    monkeypatch.setattr(Run, "predict_logits", note)
    train_method("generalized_cross_entropy", TRUNCATED, look=look, **LOOP)
    assert any(telling), "the best weights are not just the current ones"
    assert [epoch for epoch, weights in asked if weights == "best"] == [3, 7, 11]
    assert all(seen[epoch].eq(1).all() for epoch in range(3))
    assert not seen[3].all()
    changes = {e for e in range(1, 13) if not torch.equal(seen[e], seen[e - 1])}
    assert changes <= {3, 7, 11}


@pytest.mark.parametrize("divide_by", ["batch", "kept"])
def test_pruned_rows_get_zero_gradient_and_others_that_of_lq(train_method, divide_by):
    """Gradient of L_q: f_y^q (f - e_y), over B or over the rows kept."""
    data, used = train_method.data, []

    def look(moment, when, run):
        if (moment, when, run.epoch) != ("before_epoch", "end", 12):
            return
        rows = torch.arange(40)
        with torch.enable_grad():
            logits = torch.randn(1, 40, 4, requires_grad=True)
            step = run.stage.step(logits, Batch(rows, data.features, data.given_labels[rows]), run)
            step.loss.backward()
        pruned = run.samples.weight[rows] == 0
        assert pruned.any()
        assert not pruned.all()
        assert not logits.grad[0][pruned].any()
        labels, probs = data.given_labels[rows], logits[0].detach().softmax(-1)
        one_hot = torch.eye(4)[labels]
        expected = (probs * one_hot).sum(1, keepdim=True) ** Q * (probs - one_hot)
        count = 40 if divide_by == "batch" else int((~pruned).sum())
        assert torch.allclose(logits.grad[0][~pruned], expected[~pruned] / count, atol=1e-7)
        at_k = (1 - K**Q) / Q
        fitted = (1 - (probs * one_hot).sum(1) ** Q) / Q - at_k
        assert step.loss.item() == pytest.approx((fitted[~pruned].sum() / count).item(), abs=1e-6)
        assert torch.equal(step.used, ~pruned)
        used.append(1)

    train_method(
        "generalized_cross_entropy", {**TRUNCATED, "divide_by": divide_by}, look=look, **LOOP
    )
    assert used


@pytest.mark.parametrize(("divide_by", "skip"), [("kept", 1.0), ("batch", None)])
def test_a_batch_of_pruned_rows_alone(train_method, divide_by, skip):
    data, looked = train_method.data, []

    def look(moment, when, run):
        if moment != "before_stage" or when == "begin":
            return
        run.samples.weight.zero_()
        logits = torch.randn(1, 8, 4)
        step = run.stage.step(logits, Batch(torch.arange(8), None, data.given_labels[:8]), run)
        assert step.loss == 0
        assert (None if step.skip is None else float(step.skip)) == skip
        looked.append(1)

    options = {**TRUNCATED, "divide_by": divide_by}
    train_method("generalized_cross_entropy", options, look=look, schedule={"epochs": 1})
    assert looked


def test_pruning_that_never_begins_is_told_of(train_method, caplog):
    epochs = 6
    loop = {**LOOP, "schedule": {"epochs": epochs, "lr": 0.05}}
    train_method("generalized_cross_entropy", {**TRUNCATED, "prune_from": epochs - 1}, **loop)
    assert "no row is ever pruned" not in caplog.text
    train_method("generalized_cross_entropy", {**TRUNCATED, "prune_from": epochs}, **loop)
    assert f"prune_from: {epochs} of {epochs} epochs: no row is ever pruned" in caplog.text


def test_k_zero_prunes_nothing_and_selected_are_the_rows_above_k(train_method):
    result = train_method("generalized_cross_entropy", {**TRUNCATED, "k": 0.0}, **LOOP)
    assert all(row["used_share"] == 1.0 for row in result.history)
    assert result.selected.all()
    result = train_method("generalized_cross_entropy", TRUNCATED, **LOOP)
    expected = label_probs(result.networks[0], result.normalizer, train_method.data) > K
    assert torch.equal(result.selected, expected)
    assert not expected.all()


@pytest.mark.parametrize("q", [0.3, 1.0])
def test_lq_and_mae_steps_by_hand(q):
    config = TrainingConfig()
    (stage,) = methods.plan("generalized_cross_entropy", {"q": q}, config, None)
    logits, labels = torch.randn(1, 6, 4), torch.arange(6) % 4
    probs = logits[0].softmax(-1).gather(1, labels[:, None])[:, 0]
    found = stage.step(logits, Batch(torch.arange(6), None, labels), None).loss
    assert found.item() == pytest.approx(((1 - probs**q) / q).mean().item(), rel=1e-5)
    (stage,) = methods.plan("generalized_cross_entropy", {"loss": "mae"}, config, None)
    found = stage.step(logits, Batch(torch.arange(6), None, labels), None).loss
    assert found.item() == pytest.approx((2 - 2 * probs).mean().item(), rel=1e-5)
    assert stage.val_loss(logits[0], labels, None).shape == (6,)


@pytest.mark.parametrize(
    "wrong",
    [{"q": 0.0}, {"q": 1.1}, {"k": 1.0}, {"k": -0.1}, {"prune_every": 0}, {"prune_from": -1}],
)
def test_values_out_of_range(wrong):
    with pytest.raises(ConfigError, match=f"^options.{next(iter(wrong))}: "):
        from_dict(Options, wrong, "options")
