import numpy as np
import pytest

from labelrepair.data import SourceSpec, read_source
from labelrepair.errors import DataError

LABELS = np.array([0, 1, 1])


@pytest.fixture
def make(tmp_path):
    def write(options=None, **arrays):
        np.savez(tmp_path / "d.npz", **arrays)
        return SourceSpec("npz", path=str(tmp_path / "d.npz"), **(options or {}))

    return write


@pytest.mark.parametrize(
    ("shape", "turned"),
    [
        ((3, 4, 5), None),
        ((3, 1, 4, 5), None),
        ((3, 3, 4, 5), None),
        ((3, 4, 5, 3), 3),
        ((3, 4, 5, 1), 1),
    ],
)
def test_image_layouts(make, shape, turned):
    images = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    samples = read_source(make(features=images, labels=LABELS))
    channels = turned or (1 if len(shape) == 3 else shape[1])
    assert samples.features.shape == (3, channels, 4, 5)
    assert samples.features.dtype == np.uint8
    index = (
        (2, 3, 1, channels - 1)
        if turned
        else (2, 3, 1)
        if len(shape) == 3
        else (2, channels - 1, 3, 1)
    )
    assert samples.features[2, channels - 1, 3, 1] == images[index]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors_become_float32(make, dtype):
    samples = read_source(make(features=np.eye(3, dtype=dtype), labels=LABELS))
    assert samples.features.dtype == np.float32
    assert samples.sample_ids.tolist() == ["row-00000", "row-00001", "row-00002"]
    assert set(samples.splits) == {"train"}


def test_other_names(make):
    options = {
        "features_key": "x", "labels_key": "y", "split_key": "s", "ids_key": "i",
        "true_labels_key": "t", "class_names": ("cat", "dog"),
    }  # fmt: skip
    samples = read_source(
        make(
            options,
            x=np.eye(3),
            y=np.array(["dog", "cat", "dog"]),
            s=np.array([b"train", b"train", b"test"]),
            i=np.array([10, 11, 12]),
            t=np.array(["cat", "", "dog"]),
        )
    )
    assert samples.labels.tolist() == [1, 0, 1]
    assert samples.true_labels.tolist() == [0, -1, 1]
    assert samples.splits.tolist() == ["train", "train", "test"]
    assert samples.sample_ids.tolist() == ["10", "11", "12"]
    assert samples.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"feature": np.eye(3), "labels": LABELS}, "no array 'features'; did you mean 'feature'"),
        ({"features": np.eye(3), "labels": LABELS[:2]}, r"'labels' is \(2,\), expected \(3,\)"),
        ({"features": np.eye(3), "labels": LABELS, "split": LABELS[:1]}, r"'split' is \(1,\)"),
        ({"features": np.zeros((3, 3, 4, 3), np.uint8), "labels": LABELS}, "one axis of 1 or 3"),
        ({"features": np.zeros((3, 4, 4, 4), np.uint8), "labels": LABELS}, "one axis of 1 or 3"),
        ({"features": np.zeros((3, 4), np.uint8), "labels": LABELS}, "expected uint8 images"),
        ({"features": np.zeros((3, 1, 4, 4)), "labels": LABELS}, "expected uint8 images"),
        ({"features": np.zeros((0, 4)), "labels": LABELS[:0]}, "expected at least one row"),
        (
            {"features": np.array([[0.0], [np.nan], [np.inf]]), "labels": LABELS},
            r"row 1 .*\(2 such",
        ),
        (
            {"features": np.array([[0.0], [1.0], [1e300]]), "labels": LABELS},
            "row 2 holds NaN or inf",
        ),
        (
            {"features": np.eye(3), "labels": np.array([0.5, 0, 1])},
            "label 0.5 is a measure",
        ),
        ({"features": np.eye(3), "labels": np.array([0, -1, 1])}, "'row-00001': label -1 outside"),
        ({"features": np.eye(3), "labels": np.array([0, 1, 1], object)}, "without pickle"),
        ({"features": np.eye(3), "labels": LABELS, "true_labels": np.array([0, 1, 2])}, None),
    ],
)
def test_unusable_arrays_are_named(make, arrays, message):
    if message is None:  # the truth may name a class that no given label has
        assert read_source(make(**arrays)).class_names == ("0", "1", "2")
        return
    with pytest.raises(DataError, match=message):
        read_source(make(**arrays))


def test_damaged_or_missing_file(tmp_path):
    file = tmp_path / "d.npz"
    with pytest.raises(DataError, match=r"no file at"):
        read_source(SourceSpec("npz", path=str(file)))
    for content in (b"", b"nothing", b"PK\x03\x04broken"):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"not a readable array file"):
            read_source(SourceSpec("npz", path=str(file)))
