import pytest
import torch
from torch import nn

from labelrepair.networks.classifier import Normalizer
from labelrepair.training import state as module
from labelrepair.training.state import SampleState, predict_logits


def state(window=3):
    return SampleState(
        torch.zeros(2, 2), torch.zeros(1, 2, dtype=torch.bool), torch.zeros(window, 2, 2)
    )


def test_history_mean_divides_by_the_epochs_stored():
    """Values 1, 2 | 3, 4, 5: means 1, 1.5, 2, then of the last three: 3, 4."""
    samples, means = state(), []
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        samples.probs.fill_(value)
        samples.push_history()
        means.append(samples.history_mean()[0, 0].item())
    assert means == [1.0, 1.5, 2.0, 3.0, 4.0]
    assert samples.recorded == 5
    assert samples.history[:, 0, 0].tolist() == [4.0, 5.0, 3.0], "a ring"


def test_history_keeps_copies():
    samples = state()
    samples.push_history()
    samples.probs.fill_(9.0)
    assert not samples.history_mean().any()


def test_without_history():
    samples = state()
    with pytest.raises(RuntimeError, match="no epoch has been recorded"):
        samples.history_mean()
    samples.history = None
    samples.push_history()
    assert samples.recorded == 0
    with pytest.raises(RuntimeError, match="no epoch has been recorded"):
        samples.history_mean()


def test_state_dict_holds_everything():
    samples = state()
    samples.push_history()
    samples.targets, samples.weight = torch.rand(2, 2), torch.rand(2)
    samples.shared["transition"] = torch.eye(2)
    saved = samples.state_dict()
    assert set(saved) == set(SampleState.__dataclass_fields__)
    again = SampleState.from_state_dict(saved, torch.device("cpu"))
    assert again.recorded == 1
    for name in ("probs", "used", "history", "targets", "weight"):
        assert torch.equal(getattr(again, name), getattr(samples, name))
    assert torch.equal(again.shared["transition"], torch.eye(2))


def test_predict_logits_in_parts_in_eval_mode_and_leaves_modes(monkeypatch):
    monkeypatch.setattr(module, "chunk_rows", lambda _features: 12)  # parts of 3 rows
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    second = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    networks, features = nn.ModuleList([first, second]), torch.randn(7, 3)
    found = predict_logits(networks, Normalizer(), features)
    assert first.training
    assert not second.training
    assert not found.requires_grad
    assert found.shape == (2, 7, 4)
    assert not first[1].running_mean.any(), "no statistics were moved"
    networks.eval()
    assert torch.allclose(found, torch.stack([first(features), second(features)]), atol=1e-6)
