import gzip
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from labelrepair.data import SourceSpec, read_source
from labelrepair.errors import DataError


def test_digits():
    samples = read_source(SourceSpec("digits"))
    assert samples.features.shape == (1797, 1, 8, 8)
    assert samples.features.dtype == np.uint8
    # The first digit is a zero whose first row is 0 0 5 13 9 1 0 0 of 16.
    assert samples.features[0, 0, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert samples.features.max() == 255
    assert samples.labels[:3].tolist() == [0, 1, 2]
    assert samples.sample_ids[[0, -1]].tolist() == ["digit-00000", "digit-01796"]
    assert set(samples.splits) == {"train"}
    assert samples.labels_are_true
    assert samples.true_labels.tolist() == samples.labels.tolist()


def test_missing_torchvision_data_names_folder_and_option(tmp_path):
    for name, folder in (("MNIST", tmp_path / "MNIST" / "raw"), ("CIFAR10", tmp_path)):
        spec = SourceSpec("torchvision", name=name, root=str(tmp_path))
        with pytest.raises(DataError, match=f"{name}.* in {folder} .*download: true"):
            read_source(spec)


def test_download_is_passed_on_and_cifar_axes_are_turned(monkeypatch):
    calls = []

    def cifar(root, train, download):
        calls.append((root, train, download))
        data = np.zeros((2, 4, 5, 3), np.uint8)
        data[1, 3, 2, 1] = 7 if train else 9
        return SimpleNamespace(data=data, targets=[1, 0], classes=["x", "y"])

    monkeypatch.setattr("torchvision.datasets.CIFAR10", cifar)
    samples = read_source(SourceSpec("torchvision", name="CIFAR10", root="r", download=True))
    assert sorted(calls) == [("r", False, True), ("r", True, True)]
    assert samples.features.shape == (4, 3, 4, 5)
    assert samples.sample_ids.tolist() == ["test-00000", "test-00001", "train-00000", "train-00001"]
    assert samples.features[[1, 3], 1, 3, 2].tolist() == [9, 7]
    assert samples.labels.tolist() == [1, 0, 1, 0]
    assert samples.splits.tolist() == ["test", "test", "train", "train"]


def test_mnist_gets_a_channel_axis(monkeypatch):
    def mnist(root, train, download):
        data = torch.full((2, 3, 4), int(train), dtype=torch.uint8)
        return SimpleNamespace(
            data=data, targets=torch.tensor([0, 1]), classes=["0 - zero", "1 - one"]
        )

    monkeypatch.setattr("torchvision.datasets.MNIST", mnist)
    samples = read_source(SourceSpec("torchvision", name="MNIST", root="r"))
    assert samples.features.shape == (4, 1, 3, 4)
    assert samples.features[:, 0, 0, 0].tolist() == [0, 0, 1, 1]
    assert samples.labels.dtype == np.int64


def test_damaged_torchvision_data_is_an_error_not_a_crash(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for kind in ("train", "t10k"):
        for part in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            (raw / f"{kind}-{part}").write_bytes(gzip.compress(b"x"))
    with pytest.raises(DataError, match=r"damaged"):
        read_source(SourceSpec("torchvision", name="MNIST", root=str(tmp_path)))


@pytest.mark.data
@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_real_torchvision_sets(name):
    root = os.environ["LABELREPAIR_DATA"]
    samples = read_source(SourceSpec("torchvision", name=name, root=root))
    train = samples.splits == "train"
    assert samples.features.shape == (70_000, 1, 28, 28)
    assert (train.sum(), (~train).sum()) == (60_000, 10_000)
    assert samples.sample_ids[train][:2].tolist() == ["train-00000", "train-00001"]
    first = {"MNIST": [5, 0, 4, 1, 9], "FashionMNIST": [9, 0, 0, 3, 0]}[name]
    assert samples.labels[train][:5].tolist() == first
