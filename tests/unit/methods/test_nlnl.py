import itertools
from functools import partial

import pytest
import torch
from torch import nn

from labelrepair import losses, methods
from labelrepair.config import from_dict
from labelrepair.errors import ConfigError
from labelrepair.methods import nlnl
from labelrepair.methods.nlnl import Options
from labelrepair.training import Batch, TrainingConfig, train

OPTIONS = {
    "negative": {"epochs": 3, "lr": 0.1},
    "selective_negative": {"epochs": 2, "lr": 0.1},
    "selective_positive": {"epochs": 2, "lr": 0.1},
    "pseudo": {"epochs": 2, "lr": 0.1},
    "window": 2,
}


@pytest.fixture
def drawn(monkeypatch):
    """Every (given labels, complementary labels) pair that negative learning was asked for."""
    pairs, original = [], losses.negative_learning

    def note(logits, complementary, clip=None):
        pairs.append(complementary)
        return original(logits, complementary)

    monkeypatch.setattr(nlnl.losses, "negative_learning", note)
    return pairs


def negative_only(epochs=3, **more):
    later = {"selective_negative": None, "selective_positive": None, "pseudo": None}
    return {**OPTIONS, "negative": {"epochs": epochs, "lr": 0.1}, **later, **more}


def test_complementary_labels_never_equal_the_given_one_and_are_uniform(train_method, drawn):
    batches = []
    original = train_method.data

    def look(moment, when, run):
        if (moment, when) == ("before_stage", "end"):
            step = run.stage.step
            object.__setattr__(
                run.stage, "step", lambda z, b, r: (batches.append(b.labels), step(z, b, r))[1]
            )

    train_method("nlnl", negative_only(30, complementary_labels=5), look=look)
    labels, others = torch.cat(batches), torch.cat(drawn)
    assert others.shape == (30 * len(original.train_rows), 5)
    shift = (others - labels[:, None]) % 4
    counts = torch.bincount(shift.flatten(), minlength=4)
    assert counts[0] == 0
    expected = shift.numel() / 3
    assert (counts[1:] - expected).abs().max() < 5 * expected**0.5
    assert not torch.equal(others[:32, 0], others[:32, 1]), "drawn independently"
    epoch = len(original.train_rows)
    assert not torch.equal(others[:32], others[epoch : epoch + 32]), "drawn anew"


@pytest.mark.parametrize(("classes", "count"), [(2, 1), (4, 1), (10, 1), (20, 4), (100, 110)])
def test_number_of_complementary_labels_keeps_the_pull_of_ten_classes(blobs, drawn, classes, count):
    """K = C (C - 1) / 90."""
    config = TrainingConfig(batch_size=200, device="cpu")
    data = blobs(rows=200, classes=classes, validation=0).data
    stages = methods.plan("nlnl", negative_only(1), config, None)
    train(data, stages, partial(nn.Linear, 8, classes), config, seed=0, progress=False)
    assert drawn[0].shape == (200, count)


@pytest.mark.parametrize("stage", ["selective_negative", "selective_positive"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad"])
def test_a_stage_that_selects_nothing_changes_no_parameter(
    train_method, copied, equal, stage, name
):
    """Confidence just below 1/C (or gamma): parameters bitwise unchanged, weight decay and all."""
    threshold = {"selective_negative": 0.25, "selective_positive": 0.5}[stage]
    before = {}

    def look(moment, when, run):
        if run.stage.name != stage:
            return
        if (moment, when) == ("before_stage", "end"):
            before.update(copied(run.networks))
        if (moment, when) == ("before_epoch", "end"):
            run.samples.shared["confidence"].fill_(threshold - 1e-6)
        if (moment, when) == ("after_stage", "begin"):
            assert equal(before, copied(run.networks))
            before["done"] = torch.ones(1)

    optimizer = {"name": name, "weight_decay": 0.1}
    result = train_method("nlnl", {**OPTIONS, "pseudo": None}, look=look, optimizer=optimizer)
    assert "done" in before
    assert [r["used_share"] for r in result.history if r["stage"] == stage] == [0.0, 0.0]
    assert all(torch.isfinite(p).all() for p in result.networks.parameters())


@pytest.mark.parametrize("stage", ["selective_negative", "selective_positive"])
def test_selection_is_by_the_mean_confidence_of_the_last_epochs(train_method, stage):
    data, probs, checked = train_method.data, [], []
    threshold = {"selective_negative": 0.25, "selective_positive": 0.5}[stage]

    def look(moment, when, run):
        if (moment, when) == ("after_epoch", "end"):
            probs.append(run.samples.probs.clone())
        if run.stage.name == stage and (moment, when) == ("before_epoch", "end"):
            mean = torch.stack(probs[-2:]).mean(0)
            confidence = mean.gather(1, data.given_labels[:, None])[:, 0]
            assert torch.allclose(run.samples.shared["confidence"], confidence, atol=1e-6)
            rows = torch.arange(220)
            step = run.stage.step(torch.randn(1, 220, 4), Batch(rows, None, data.given_labels), run)
            assert torch.equal(step.used, run.samples.shared["confidence"] >= threshold)
            checked.append(step.used[data.train_rows].double().mean().item())

    result = train_method("nlnl", OPTIONS, look=look)
    shares = [row["used_share"] for row in result.history if row["stage"] == stage]
    assert shares == pytest.approx(checked)
    assert 0 < min(checked) < 1


def test_the_noise_rate_is_the_share_filtered_and_selected_are_the_rest(train_method):
    """The mean of the last epochs for rows trained on, a clean prediction for the others."""
    data, found = train_method.data, {}

    def look(moment, when, run):
        if (run.stage.name, moment, when) == ("selective_positive", "after_stage", "begin"):
            mean = run.samples.history_mean().clone()
            mean[data.val_rows] = run.predict_probs()[data.val_rows]
            found["confidence"] = mean.gather(1, data.given_labels[:, None])[:, 0]

    result = train_method("nlnl", {**OPTIONS, "gamma": 0.45}, look=look)
    believed = found["confidence"] >= 0.45
    assert torch.equal(result.selected, believed)
    filtered = (~believed[data.train_rows]).double().mean()
    assert result.shared["estimated_noise_rate"] == filtered
    assert 0 < filtered < 1


@pytest.mark.parametrize("without", ["selective_negative", "selective_positive"])
def test_the_filter_follows_the_last_stage_there_is(train_method, without):
    result = train_method("nlnl", {**OPTIONS, without: None})
    stages = list(dict.fromkeys(row["stage"] for row in result.history))
    assert without not in stages
    assert len(stages) == 4
    assert result.selected is not None
    assert "estimated_noise_rate" in result.shared


@pytest.mark.parametrize("balance", [True, False])
def test_class_weights_and_reductions(train_method, balance):
    """NL: sum of w l over the plain count; PL: over the sum of weights. w = max count / count."""
    data, looked = train_method.data, []
    counts = torch.bincount(data.given_labels[data.train_rows], minlength=4).float()
    weight = (counts.max() / counts)[data.given_labels] if balance else torch.ones(220)
    rows = torch.arange(30)

    def look(moment, when, run):
        if (moment, when) != ("before_epoch", "end"):
            return
        logits = torch.randn(1, 30, 4)
        batch = Batch(rows, None, data.given_labels[rows])
        assert torch.allclose(run.samples.weight, weight)
        if run.stage.name == "selective_positive":
            step = run.stage.step(logits, batch, run)
            used = run.samples.shared["confidence"][rows] >= 0.5
            w = weight[rows] * used
            loss = losses.cross_entropy(logits[0], batch.labels)
            assert step.loss.item() == pytest.approx(((loss * w).sum() / w.sum()).item(), rel=1e-5)
            looked.append("positive")
        if run.stage.name in ("negative", "selective_negative"):
            flat = torch.zeros(1, 30, 4)  # every draw costs log(4/3): the draw cannot matter
            step = run.stage.step(flat, batch, run)
            used = run.samples.shared["confidence"][rows] >= 0.25
            if run.stage.name == "negative":
                used = torch.ones(30)
            expected = (weight[rows] * used).sum() / used.sum() * torch.tensor(4 / 3).log()
            assert step.loss.item() == pytest.approx(expected.item(), rel=1e-5)
            looked.append(run.stage.name)

    train_method("nlnl", {**OPTIONS, "class_balance": balance}, look=look)
    assert set(looked) == {"negative", "selective_negative", "positive"}


def test_networks_are_carried_through_selnlpl_and_fresh_for_pseudo_labels(
    train_method, copied, equal
):
    seen = {}

    def look(moment, when, run):
        if moment in ("before_stage", "after_stage") and when == "begin":
            seen[run.stage.name, moment] = copied(run.networks)

    result = train_method("nlnl", OPTIONS, look=look)
    names = ["negative", "selective_negative", "selective_positive", "pseudo_fit", "pseudo_train"]
    for one, other in itertools.pairwise(names):
        carried = equal(seen[one, "after_stage"], seen[other, "before_stage"])
        assert carried == other.startswith("selective")
    assert not equal(seen["pseudo_fit", "before_stage"], seen["pseudo_train", "before_stage"])
    assert equal(copied(result.networks), seen["pseudo_train", "after_stage"])


@pytest.mark.parametrize("carry", [True, False])
def test_the_optimizer_is_carried_if_asked(train_method, carry):
    stages = []

    def look(moment, when, run):
        stages.append((run.stage.name, run.stage.optimizer))

    train_method("nlnl", {**OPTIONS, "carry_optimizer": carry}, look=look)
    found = dict(stages)
    expected = "carry" if carry else "restart"
    assert found["selective_negative"] == found["selective_positive"] == expected
    assert found["pseudo_fit"] == found["pseudo_train"] == "restart"


@pytest.mark.parametrize("soft_all", [True, False])
def test_pseudo_labels(train_method, soft_all):
    """Believed rows keep the given label (unless soft_all); the others get the mean prediction."""
    data, probs, targets = train_method.data, [], []

    def look(moment, when, run):
        if run.stage.name == "pseudo_fit" and (moment, when) == ("after_epoch", "end"):
            probs.append(run.samples.probs.clone())
        if run.stage.name == "pseudo_train" and when == "end":
            targets.append(run.samples.targets.clone())

    result = train_method("nlnl", {**OPTIONS, "soft_all": soft_all}, look=look)
    believed, rows = result.selected, data.train_rows
    soft = torch.stack(probs[-2:]).mean(0)
    expected = torch.where(believed[:, None], torch.eye(4)[data.given_labels], soft)
    if soft_all:
        expected = soft
    assert torch.allclose(targets[0][rows], expected[rows], atol=1e-6)
    assert torch.allclose(targets[0].sum(1), torch.ones(220), atol=1e-5)
    assert all(torch.equal(targets[0], later) for later in targets)
    assert torch.allclose(result.probs[rows], soft[rows], atol=1e-6)
    assert believed[rows].any()
    assert not believed[rows].all()
    fit = [row["used_share"] for row in result.history if row["stage"] == "pseudo_fit"]
    assert fit == [believed[rows].double().mean()] * 2


def test_part_of_a_schedule_leaves_the_rest_at_the_papers_values():
    found = from_dict(Options, {"pseudo": {"epochs": 48}, "negative": {"lr": 0.1}})
    assert (found.pseudo.lr, found.pseudo.milestones) == (0.1, (192, 288))
    assert (found.negative.epochs, found.negative.lr) == (720, 0.1)


@pytest.mark.parametrize("wrong", [{"gamma": 1.5}, {"complementary_labels": 0}, {"window": 0}])
def test_values_out_of_range(wrong):
    with pytest.raises(ConfigError, match=f"^options.{next(iter(wrong))}: "):
        from_dict(Options, wrong, "options")
