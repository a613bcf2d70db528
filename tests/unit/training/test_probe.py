import dataclasses
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from labelrepair.errors import ConfigError
from labelrepair.training import Schedule, TrainingConfig
from labelrepair.training import probe as module
from labelrepair.training.probe import ProbeSpec, cross_validated_probs

SPEC = ProbeSpec(3, TrainingConfig(schedule=Schedule(8, 0.02), batch_size=16, device="cpu"))
build = partial(nn.Linear, 8, 4)


def predict(data, spec=SPEC, seed=0, labels=None):
    labels = data.given_labels if labels is None else labels
    return cross_validated_probs(data.features, labels, 4, build, spec, seed)


def test_predictions_are_out_of_sample_distributions_that_have_learned(blobs):
    made = blobs(rows=400, noise=0.2)
    probs = predict(made.data)
    assert probs.dtype == torch.float32
    assert torch.allclose(probs.sum(1), torch.ones(400))
    assert (probs.argmax(1) == made.true_labels).double().mean() > 0.85


def test_no_row_is_predicted_by_a_network_that_saw_its_label(blobs):
    """Another label for one row changes the predictions of other folds, never its own fold's."""
    data = blobs(rows=60).data
    labels = data.given_labels.clone()
    labels[0] = (labels[0] + 1) % 4
    folds = module._folds(data.given_labels, 3, 0)
    own = next(fold for fold in folds if 0 in fold)
    module_folds = module._folds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            module, "_folds", lambda _, count, seed: module_folds(data.given_labels, count, seed)
        )
        before, after = predict(data), predict(data, labels=labels)
    changed = (before != after).any(1)
    assert not changed[own].any()
    others = torch.ones(60, dtype=torch.bool).index_fill_(0, own, False)
    assert changed[others].all()


def test_folds_are_a_stratified_partition():
    labels = torch.arange(103) % 4
    folds = module._folds(labels, 5, seed=0)
    assert torch.equal(torch.cat(list(folds)).sort().values, torch.arange(103))
    counts = torch.stack([torch.bincount(labels[fold], minlength=4) for fold in folds])
    assert int((counts.max(0).values - counts.min(0).values).max()) <= 1
    other = module._folds(labels, 5, seed=1)
    assert not torch.equal(folds[0], other[0])


def test_seed_and_folds_matter_and_repeat(blobs):
    data = blobs(rows=60).data
    first = predict(data)
    assert torch.equal(first, predict(data))
    assert not torch.equal(first, predict(data, seed=1))
    assert not torch.equal(first, predict(data, dataclasses.replace(SPEC, folds=4)))


def test_errors(blobs):
    data = blobs(rows=8).data
    with pytest.raises(ConfigError, match="9 folds need at least as many rows, found 8"):
        predict(data, dataclasses.replace(SPEC, folds=9))
    with pytest.raises(ConfigError, match="folds: must be at least 2"):
        ProbeSpec(folds=1)


def test_long_work_says_how_far_it_is(blobs, monkeypatch, caplog):
    times = iter([0.0, 4.0, 12.0, 15.0])  # at the start and after each of three folds
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    trained = SimpleNamespace(shared={"held_out": torch.full((20, 4), 0.25)})
    monkeypatch.setattr(module, "train", lambda *_, **__: trained)
    with caplog.at_level("INFO", module.__name__):
        predict(blobs(rows=60).data)
    assert caplog.messages == ["out-of-sample predictions: 2 of 3 folds, 12 s"]
