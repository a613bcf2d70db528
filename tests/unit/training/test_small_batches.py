"""Batches of one row, which batch normalisation refuses."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from labelrepair.errors import ConfigError
from labelrepair.networks import build
from labelrepair.training import Schedule, Stage, Step, TrainingConfig, TrainSet, train

CONFIG = TrainingConfig(batch_size=16, device="cpu", schedule=Schedule(2, 0.05))
NORMS = {nn.BatchNorm1d: 0, nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}  # axes of a map


class Pixel(nn.Module):
    """Normalises maps of one pixel, as deep networks do at their end."""

    def __init__(self, norm, frozen=False):
        super().__init__()
        self.linear, self.norm, self.frozen = nn.Linear(8, 4), norm(4), frozen
        self.one = (1,) * NORMS[norm]

    def train(self, mode=True):
        super().train(mode)
        if self.frozen:
            self.norm.eval()
        return self

    def forward(self, rows):
        found = self.linear(rows)
        return self.norm(found.view(*found.shape, *self.one)).flatten(1)


def learn(logits, batch, run):
    return Step(functional.cross_entropy(logits[0], batch.labels))


def sizes(rows, network, size=16, shape=(8,)):
    """Train two epochs; return the sizes of all batches."""
    seen = []

    def note(logits, batch, run):
        seen.append(len(batch.rows))
        return learn(logits, batch, run)

    features = torch.rand(rows, *shape, generator=torch.Generator().manual_seed(0))
    data = TrainSet(features, torch.arange(rows) % 4, 4, torch.arange(rows), torch.arange(0))
    config = dataclasses.replace(CONFIG, batch_size=size)
    train(data, [Stage("a", config.schedule, note)], network, config, seed=0, progress=False)
    return seen


def test_a_row_that_was_never_visited_may_be_of_any_class():
    """One row of 17 is left out of the only epoch; methods that look at all rows read its state."""
    seen = []
    features = torch.rand(17, 8, generator=torch.Generator().manual_seed(0))
    data = TrainSet(features, torch.arange(17) % 4, 4, torch.arange(17), torch.arange(0))
    stage = Stage("a", Schedule(1, 0.05), learn, window=2)
    stage = dataclasses.replace(
        stage, after_epoch=lambda run: seen.append(run.samples.history_mean())
    )
    train(data, [stage], lambda: Pixel(nn.BatchNorm1d), CONFIG, seed=0, progress=False)
    torch.testing.assert_close(seen[0].sum(1), torch.ones(17))
    assert (seen[0] == 0.25).all(1).sum() == 1


@pytest.mark.parametrize("norm", NORMS)
def test_a_last_batch_of_one_row_is_left_out(norm):
    assert sizes(33, lambda: Pixel(norm)) == [16, 16] * 2
    assert sizes(34, lambda: Pixel(norm)) == [16, 16, 2] * 2


def test_a_deep_network_on_small_images_learns():
    assert sizes(17, lambda: build("resnet18", (3, 8, 8), 4), shape=(3, 8, 8)) == [16] * 2


def test_any_batch_will_do_where_nothing_is_normalised_over_it():
    assert sizes(33, lambda: Pixel(nn.BatchNorm2d, frozen=True)) == [16, 16, 1] * 2
    assert sizes(2, lambda: nn.Linear(8, 4), size=1) == [1, 1] * 2


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("rows", "size", "message"),
    [
        (9, 1, "batch_size: 1 is too little for the batch norm.*set batch_size to 2 or more"),
        (1, 16, "batch_size: 1 training row in all is too little .*needs at least 2 rows.*add"),
    ],
)
def test_batches_of_one_row_are_refused_by_name(norm, rows, size, message):
    with pytest.raises(ConfigError, match=message):
        sizes(rows, lambda: Pixel(norm), size)


@pytest.mark.parametrize(("rows", "size"), [(3, 1), (1, 16)])
def test_one_row_will_do_where_maps_have_several_pixels(rows, size):
    def network():
        return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 4))

    assert sizes(rows, network, size, (1, 4, 4)) == [1] * rows * 2


def test_other_errors_of_a_network_are_its_own():
    class Broken(Pixel):
        def forward(self, rows):
            if self.training:
                raise ValueError("of the network")
            return super().forward(rows)

    with pytest.raises(ValueError, match="of the network") as seen:
        sizes(4, lambda: Broken(nn.BatchNorm1d))
    assert not isinstance(seen.value, ConfigError)
