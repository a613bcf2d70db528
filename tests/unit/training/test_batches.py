import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelrepair.errors import DataError
from labelrepair.networks import features as features_module
from labelrepair.networks.classifier import Normalizer
from labelrepair.training.batches import Augment, TrainSet, batches, crop_flip


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def slow_crop_flip(images, augment, generator):
    """The same draws, one image and one pixel at a time."""
    count, _, height, width = images.shape
    tops, lefts = torch.randint(0, 2 * augment.crop + 1, (2, count, 1), generator=generator)
    mirrors = torch.randint(0, 2, (count, 1), generator=generator)
    result = torch.zeros_like(images)
    for n in range(count):
        for i in range(height):
            for j in range(width):
                source_j = width - 1 - j if augment.flip and mirrors[n, 0] else j
                y, x = int(tops[n]) + i - augment.crop, int(lefts[n]) + source_j - augment.crop
                if 0 <= y < height and 0 <= x < width:
                    result[n, :, i, j] = images[n, :, y, x]
    return result


@pytest.mark.parametrize("augment", [Augment(2, True), Augment(1, False), Augment(0, True)])
def test_crop_flip_equals_a_slow_reference(augment):
    images = torch.randn(12, 3, 5, 6, generator=draws(1))
    found = crop_flip(images, augment, draws(2))
    assert torch.equal(found, slow_crop_flip(images, augment, draws(2)))
    assert found.is_contiguous()
    assert not torch.equal(found, images)


def test_crop_flip_reaches_every_offset_and_both_sides():
    """One bright pixel in the middle of 3 x 3 can land on all nine, each as often: 4000 / 9."""
    images = torch.zeros(4000, 1, 3, 3)
    images[:, :, 1, 1] = 1
    counts = crop_flip(images, Augment(1, True), draws()).sum((0, 1))
    assert counts.sum() == 4000
    assert (counts - 4000 / 9).abs().max() < 5 * (4000 / 9) ** 0.5
    ramp = torch.arange(3.0).expand(1000, 1, 3, 3)
    assert torch.equal(crop_flip(ramp, Augment(0, False), draws()), ramp)
    mirrored = crop_flip(ramp, Augment(0, True), draws())[:, 0, 0, 0] == 2
    assert 400 < int(mirrored.sum()) < 600


def data_of(features, classes=3):
    count = len(features)
    return TrainSet(features, torch.arange(count) % classes, classes, torch.arange(count), NONE)


NONE = torch.empty(0, dtype=torch.int64)
PLAIN = Normalizer()


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 30), st.integers(0, 99))
def test_batches_cover_the_order_in_order(count, batch_size, chunk_rows, seed):
    data = data_of(torch.arange(100.0)[:, None])
    order = torch.randperm(100, generator=draws(seed))[:count]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features_module, "CHUNK_ROWS", chunk_rows)
        chunks = list(batches(data, order, batch_size, PLAIN, Augment(), draws()))
    flat = [batch for chunk in chunks for batch in chunk]
    assert torch.equal(torch.cat([batch.rows for batch in flat]), order)
    sizes = [len(batch.rows) for batch in flat]
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    assert 1 <= sizes[-1] <= batch_size
    for chunk in chunks:
        assert sum(len(batch.rows) for batch in chunk) <= max(chunk_rows, batch_size)
    for batch in flat:
        assert torch.equal(batch.features[:, 0], batch.rows.float())
        assert torch.equal(batch.labels, batch.rows % 3)


def test_augmentation_touches_images_only_and_differs_between_chunks(monkeypatch):
    monkeypatch.setattr(features_module, "CHUNK_ROWS", 4)
    order, crop = torch.zeros(8, dtype=torch.int64), Augment(2, True)
    images = data_of(torch.rand(8, 1, 6, 6, generator=draws()))
    first, second = (chunk[0] for chunk in batches(images, order, 4, PLAIN, crop, draws()))
    assert not torch.equal(first.features, images.features[order[:4]])
    assert not torch.equal(first.features, second.features), "the same image in another view"
    again = next(batches(images, order, 4, PLAIN, crop, draws()))[0]
    assert torch.equal(first.features, again.features)
    other = next(batches(images, order, 4, PLAIN, crop, draws(1)))[0]
    assert not torch.equal(first.features, other.features)
    vectors = data_of(torch.rand(8, 5, generator=draws()))
    batch = next(batches(vectors, order, 4, PLAIN, crop, draws()))[0]
    assert torch.equal(batch.features, vectors.features[order[:4]])


def test_the_padding_is_the_mean_where_one_is_subtracted():
    images = data_of(torch.full((4, 1, 3, 3), 100, dtype=torch.uint8))
    normalizer = Normalizer.fit("pixel_mean", images.features, images.train_rows)
    batch = next(batches(images, torch.arange(4), 4, normalizer, Augment(2, False), draws()))[0]
    assert torch.allclose(batch.features, torch.zeros(4, 1, 3, 3), atol=1e-6)


class TestNormalisation:
    """float32 results against float64 NumPy on the training rows alone."""

    rows = torch.tensor([0, 2, 3, 5, 6])

    def images(self):
        return torch.randint(0, 256, (7, 3, 4, 5), generator=draws(), dtype=torch.uint8)

    def check(self, kind, features, expected, atol=1e-6):
        found = Normalizer.fit(kind, features, self.rows)(features)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), expected, atol=atol)

    def test_none(self):
        images = self.images()
        self.check("none", images, images.numpy() / 255.0)
        vectors = torch.randn(7, 3, generator=draws())
        self.check("none", vectors, vectors.numpy(), atol=0)

    def test_pixel_mean(self):
        images = self.images()
        values = images.numpy() / 255.0
        self.check("pixel_mean", images, values - values[self.rows].mean(0))

    def test_channel_mean(self):
        images = self.images()
        values = images.numpy() / 255.0
        self.check(
            "channel_mean", images, values - values[self.rows].mean((0, 2, 3), keepdims=True)
        )

    def test_standardize(self):
        images = self.images()
        values = images.numpy().astype(np.float64)
        values -= values[self.rows].mean(0)
        self.check("standardize", images, values / values[self.rows].std(0), atol=1e-5)

    def test_standardize_leaves_constant_features_finite(self):
        vectors = torch.randn(7, 3, generator=draws()).index_fill_(1, torch.tensor([1]), 4.0)
        found = Normalizer.fit("standardize", vectors, self.rows)(vectors)
        assert torch.equal(found[:, 1], torch.zeros(7))

    @pytest.mark.parametrize("value", [87.65, 1.7e9, -0.1, 3.3e-5])
    def test_standardize_sees_that_a_column_never_changes(self, value):
        """Rounding of squares must not look like a tiny spread, by which it would be divided."""
        vectors = torch.full((12_345, 3), value)
        assert torch.equal(
            Normalizer.fit("standardize", vectors, torch.arange(12_345)).scale, torch.ones(3)
        )

    @pytest.mark.parametrize("spread", [1e30, 1e-13, 1e-15, 1e-30, 1e-37])
    def test_standardize_takes_any_spread(self, spread):
        vectors = torch.randn(500, 3, generator=draws()) * spread
        vectors[:, 1] = spread  # never changes
        found = Normalizer.fit("standardize", vectors, torch.arange(500))(vectors)
        assert torch.equal(found[:, 1], torch.zeros(500))
        some, values = found[:, ::2], vectors[:, ::2].numpy().astype(np.float64)
        expected = (values - values.mean(0)) / values.std(0)
        np.testing.assert_allclose(some.numpy(), expected, rtol=0, atol=1e-5)

    def test_standardize_scales_denormal_numbers_as_far_as_floats_go(self):
        vectors = torch.randn(500, 1, generator=draws()) * 1e-42
        normalizer = Normalizer.fit("standardize", vectors, torch.arange(500))
        assert normalizer.scale.item() == torch.finfo(torch.float32).max
        found = normalizer(vectors)
        assert found.isfinite().all()
        assert 1e-4 < found.std().item() < 1e-3

    def test_standardize_far_from_zero_and_exported(self):
        """Column 1 changes in its last digit alone, 6e8 spreads away from 0."""
        vectors = torch.randn(2_000, 2, generator=draws())
        vectors[:, 1] = 1e-10
        vectors[7, 1] = torch.nextafter(vectors[7, 1], torch.tensor(1.0))
        normalizer = Normalizer.fit("standardize", vectors, torch.arange(len(vectors)))
        assert normalizer.far
        found = normalizer(vectors)
        one = found[7, 1].item()
        assert one == pytest.approx(len(vectors) ** 0.5, rel=1e-3)
        assert torch.equal(
            found[:, 1], torch.zeros(len(vectors)).index_fill_(0, torch.tensor([7]), one)
        )
        near = Normalizer.fit("standardize", vectors[:, :1], torch.arange(len(vectors)))
        assert not near.far
        assert torch.equal(found[:, :1], near(vectors[:, :1]))
        sizes = ({0: torch.export.Dim.DYNAMIC},)
        graph = torch.export.export(normalizer, (vectors[:4],), dynamic_shapes=sizes)
        assert torch.equal(graph.module()(vectors[:9]), found[:9])

    def test_fitting_in_parts_is_the_same(self, monkeypatch):
        monkeypatch.setattr(features_module, "CHUNK_ROWS", 2)
        self.test_pixel_mean()
        self.test_standardize()

    @pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
    def test_tokens_pass_as_int64(self, dtype):
        tokens = torch.arange(14, dtype=dtype).reshape(7, 2)
        found = Normalizer.fit("standardize", tokens, self.rows)(tokens)
        assert found.dtype == torch.int64
        assert torch.equal(found, tokens.long())


def test_train_set_errors():
    features, labels, rows = torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), torch.arange(3)
    with pytest.raises(DataError, match="features have 3 rows, given labels 2"):
        TrainSet(features, labels[:2], 2, rows, NONE)
    with pytest.raises(DataError, match="training split is empty"):
        TrainSet(features, labels, 2, NONE, rows)
