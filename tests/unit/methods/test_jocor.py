import numpy as np
import pytest
import torch

from labelrepair import losses, methods
from labelrepair.config import from_dict
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.methods.jocor import Options
from labelrepair.training import Batch, TrainingConfig

LOOP = {"schedule": {"epochs": 5, "lr": 0.02}}
NOISE = NoiseEstimate(np.eye(4), 0.4, (0.4, 0.4), "given", np.full(4, 0.25))


def joint_loss(logits, labels, co_lambda):
    """Equations 1 to 4, written out."""
    p, q = logits.double().softmax(-1)
    rows = torch.arange(len(labels))
    supervised = -p[rows, labels].log() - q[rows, labels].log()
    agreement = (p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1)
    return (1 - co_lambda) * supervised + co_lambda * agreement


class Asked:
    def __init__(self, epoch):
        self.epoch = epoch


@pytest.mark.parametrize("co_lambda", [0.0, 0.6, 1.0])
def test_the_m_smallest_are_kept_by_both_networks(co_lambda):
    """B = 25, forget 0.4: m = 15; the loss is the mean of these, gradient zero elsewhere."""
    options = {"co_lambda": co_lambda, "noise_rate": 0.4, "ramp": 3}
    (stage,) = methods.plan("jocor", options, TrainingConfig(), None)
    torch.manual_seed(0)
    logits = torch.randn(2, 25, 4, requires_grad=True)
    batch = Batch(torch.arange(25), None, torch.arange(25) % 4)
    step = stage.step(logits, batch, Asked(epoch=9))
    expected = joint_loss(logits.detach(), batch.labels, co_lambda)
    kept = expected.argsort()[:15]
    assert sorted(step.used.nonzero()[:, 0].tolist()) == sorted(kept.tolist())
    assert step.loss.item() == pytest.approx(expected[kept].mean().item(), rel=1e-5)
    step.loss.backward()
    reached = logits.grad.abs().sum(-1) > 0
    assert torch.equal(reached[0], step.used)
    assert torch.equal(reached[1], step.used)
    assert stage.networks == 2


def test_lambda_zero_and_nothing_forgotten_is_the_mean_of_both_cross_entropies():
    options = {"co_lambda": 0.0, "noise_rate": 0.4, "ramp": 3}
    (stage,) = methods.plan("jocor", options, TrainingConfig(), None)
    logits, labels = torch.randn(2, 25, 4), torch.arange(25) % 4
    step = stage.step(logits, Batch(torch.arange(25), None, labels), Asked(epoch=0))
    expected = sum(losses.cross_entropy(part, labels).mean() for part in logits)
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert step.used.all()


@pytest.mark.parametrize(
    ("variant", "forget"),
    [("code", [0, 0.2, 0.4, 0.4, 0.4]), ("paper", [0, 2 / 15, 4 / 15, 0.4, 0.4])],
)
def test_the_forget_schedule_in_training(train_method, variant, forget):
    """198 training rows in batches of 33: int((1 - forget) 33) of each."""
    options = {"noise_rate": 0.4, "ramp": 3, "forget_schedule": variant}
    result = train_method("jocor", options, batch_size=33, **LOOP)
    expected = [int((1 - rate) * 33 + 1e-9) / 33 for rate in forget]
    assert [row["used_share"] for row in result.history] == pytest.approx(expected)
    for bits in result.used:
        first, second = np.unpackbits(bits.numpy(), axis=1)
        np.testing.assert_array_equal(first, second)


def test_the_rate_is_the_options_else_the_estimate(train_method):
    by_option = train_method("jocor", {"noise_rate": 0.4, "ramp": 3}, **LOOP)
    by_estimate = train_method("jocor", {"ramp": 3}, noise=NOISE, **LOOP)
    other = train_method("jocor", {"noise_rate": 0.1, "ramp": 3}, noise=NOISE, **LOOP)
    assert torch.equal(by_option.probs, by_estimate.probs)
    assert not torch.equal(by_option.probs, other.probs)
    with pytest.raises(ConfigError, match=r"^noise_rate: .* needs it"):
        train_method("jocor", {}, **LOOP)


def test_selected_are_the_smallest_joint_losses_of_all_rows(train_method):
    data = train_method.data
    result = train_method("jocor", {"noise_rate": 0.4, "ramp": 3, "co_lambda": 0.5}, **LOOP)
    with torch.no_grad():
        inputs = result.normalizer(data.features)
        logits = torch.stack([network(inputs) for network in result.networks])
    expected = joint_loss(logits, data.given_labels, 0.5).argsort()[: int(0.6 * 220)]
    assert sorted(result.selected.nonzero()[:, 0].tolist()) == sorted(expected.tolist())


def test_even_full_noise_keeps_one_row(train_method):
    result = train_method("jocor", {"noise_rate": 1.0, "ramp": 1}, **LOOP)
    assert result.selected.sum() == 1
    assert result.history[-1]["used_share"] == pytest.approx(1 / 32)


@pytest.mark.parametrize("wrong", [{"co_lambda": 1.1}, {"noise_rate": -0.1}, {"ramp": 0}])
def test_values_out_of_range(wrong):
    with pytest.raises(ConfigError, match=f"^options.{next(iter(wrong))}: "):
        from_dict(Options, wrong, "options")
