"""What an export leaves in memory."""

import gc

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from labelrepair.exports import _generated, exporting, traces_strictly


def remembered():
    gc.collect()
    return sum(bool(vars(found)) for found in gc.get_objects() if type(found) is ShapeEnv)


def export(model):
    sizes = {0: torch.export.Dim.DYNAMIC}
    return torch.export.export(model, (torch.zeros(4, 3),), dynamic_shapes=(sizes,))


@pytest.mark.skipif(traces_strictly(), reason="this PyTorch lets nobody look at a strict export")
def test_an_export_leaves_nothing_behind(tmp_path):
    model, file = nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), tmp_path / "model.pt2"
    export(model)  # as if by somebody else
    before, texts = remembered(), set(_generated())
    with exporting(model):
        torch.export.save(export(model), file)
        assert FakeTensorMode.cache
    assert remembered() == before
    assert not FakeTensorMode.cache
    assert set(_generated()) == texts
    assert texts, "else this PyTorch keeps them elsewhere, or not at all"
    assert not model._forward_pre_hooks
    features = torch.ones(7, 3)
    torch.testing.assert_close(torch.export.load(file).module()(features), model(features))
