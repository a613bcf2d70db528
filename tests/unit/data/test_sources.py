import dataclasses
import inspect

import numpy as np
import pytest

from labelrepair.config import from_dict
from labelrepair.data import Samples, SourceSpec, read_source
from labelrepair.data.samples import check_samples, numbered_ids
from labelrepair.data.sources import DECODE, READERS
from labelrepair.errors import ConfigError, DataError


def write_npz(path, **arrays):
    defaults = {"features": np.eye(4), "labels": np.array([0, 1, 0, 1])}
    np.savez(path, **{**defaults, **arrays})
    return {"kind": "npz", "path": str(path)}


def test_every_option_belongs_to_a_reader_and_every_reader_argument_is_an_option():
    options = {field.name for field in dataclasses.fields(SourceSpec)} - {"kind"}
    arguments = {
        name for reader in READERS.values() for name in inspect.signature(reader).parameters
    }
    assert options == arguments - {DECODE}
    assert len(READERS) == 9


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"kind": "digit"}, "kind: unknown value 'digit'; did you mean 'digits'"),
        ({"kind": "digits", "path": "x"}, "path: not an option of source kind 'digits'"),
        ({"kind": "npz"}, "path: missing; source kind 'npz' needs it"),
        ({"kind": "npz", "path": "x", "label_key": "y"}, "label_key.*did you mean 'labels_key'"),
        ({"kind": "npz", "path": "x", "label_column": "y"}, "label_column: not an option"),
        (
            {"kind": "npz", "path": "x", "class_names": ["a", "a"]},
            "class_names: a name is repeated",
        ),
        ({"kind": "image_folder", "path": "x", "mode": "CMYK"}, "mode: unknown value 'CMYK'"),
        (
            {"kind": "image_folder", "path": "x", "image_size": [0, 2]},
            r"image_size\[0\]: expected a whole number of at least 1, found 0",
        ),
        (
            {"kind": "image_folder", "path": "x", "image_size": [100_000, 100_000]},
            "image_size: at most 10000 pixels a side",
        ),
        (
            {"kind": "manifest", "path": "x", "length": 0},
            "length: expected a whole number of at least 1",
        ),
        ({"kind": "manifest", "path": "x", "vocabulary_size": 3}, "vocabulary_size: must exceed"),
        ({"kind": "torchvision", "name": "MNISTT", "root": "x"}, "name: unknown value"),
        ({"kind": "huggingface", "files": {"trian": "x"}}, "did you mean 'train'"),
        (
            {"kind": "overlay", "labels": "x", "base": {"kind": "digitz"}},
            "base.*did you mean 'digits'",
        ),
    ],
)
def test_bad_options_are_named(raw, message):
    with pytest.raises(ConfigError, match=message):
        read_source(from_dict(SourceSpec, raw))


@pytest.mark.parametrize("size", ["8", "88", 8, (1e5, 1e5), (8,)])
def test_an_image_size_that_is_no_pair_of_whole_numbers(size):
    with pytest.raises(ConfigError, match=r"image_size(\[0\])?: expected"):
        SourceSpec("image_folder", path="x", image_size=size)


def test_samples_come_sorted_by_id_with_all_their_columns(tmp_path):
    raw = write_npz(
        tmp_path / "d.npz",
        labels=np.array([0, 1, 2, 0]),
        sample_ids=np.array(["c", "a", "d", "b"]),
        split=np.array(["train", "test", "train", "validation"]),
        true_labels=np.array([0, 1, -1, 2]),
    )
    samples = read_source(from_dict(SourceSpec, raw))
    assert samples.sample_ids.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(samples.features, np.eye(4)[[1, 3, 0, 2]])
    assert samples.labels.tolist() == [1, 0, 0, 2]
    assert samples.splits.tolist() == ["test", "validation", "train", "train"]
    assert samples.true_labels.tolist() == [1, 2, 0, -1]
    assert not samples.labels_are_true


def test_truth_conventions(tmp_path):
    raw = write_npz(tmp_path / "plain.npz")
    assert read_source(from_dict(SourceSpec, raw)).true_labels is None
    stated = read_source(from_dict(SourceSpec, {**raw, "labels_are_true": True}))
    assert stated.labels_are_true
    assert stated.true_labels.tolist() == stated.labels.tolist()
    unknown = write_npz(tmp_path / "unknown.npz", true_labels=np.full(4, -1))
    assert read_source(from_dict(SourceSpec, unknown)).true_labels is None
    both = write_npz(tmp_path / "both.npz", true_labels=np.array([0, 1, 1, 1]))
    with pytest.raises(ConfigError, match=r"labels_are_true"):
        read_source(from_dict(SourceSpec, {**both, "labels_are_true": True}))


def samples(**changes):
    base = Samples(
        sample_ids=np.array(["a", "b", "c"]),
        features=np.zeros((3, 2), np.float32),
        labels=np.array([0, 1, 0]),
        splits=np.array(["train", "train", "test"]),
        class_names=("cat", "dog"),
    )
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array([0, 1])}, "src: 2 labels for 3 sample ids"),
        ({"true_labels": np.array([0])}, "1 true_labels for 3"),
        ({"splits": np.array(["test"] * 3)}, "src: the training split is empty"),
        ({"splits": np.array(["train", "val", "test"])}, "'b': unknown split 'val'"),
        ({"sample_ids": np.array(["a", " ", "c"])}, "row 1 has a blank"),
        ({"sample_ids": np.array(["a", "b", "a"])}, "'a' is repeated"),
        ({"sample_ids": np.array(["a", "b", "\udcff"])}, "not valid UTF-8"),
        ({"labels": np.array([0, 2, 0])}, r"'b': label 2 outside 0\.\.1"),
        ({"labels": np.array([0, 1, -1])}, "'c': label -1 outside"),
        ({"true_labels": np.array([-1, 0, 2])}, "true label: sample 'c': label 2"),
        ({"true_labels": np.array([-3, 0, 1])}, "true label: sample 'a': label -3"),
        ({"class_names": ("cat",)}, "found 1 class"),
        (
            {"class_names": ("cat", "(No class fits)")},
            r"src: the class name '\(No class fits\)' mean",
        ),
        ({"class_names": ("cat", " ")}, "src: the class name ' ' means 'no class' in the files"),
    ],
)
def test_check_samples_names_what_is_wrong(changes, message):
    check_samples(samples(), "src")
    check_samples(samples(true_labels=np.array([-1, -2, 1])), "src")
    with pytest.raises(DataError, match=message):
        check_samples(samples(**changes), "src")


def test_numbered_ids_sort_in_data_set_order():
    ids = numbered_ids("train", 100_001)
    assert ids == sorted(ids)
    assert numbered_ids("test", 3)[2] == "test-00002"


def test_take_keeps_columns_together():
    taken = samples(true_labels=np.array([1, 0, -1])).take(np.array([2, 0]))
    assert taken.sample_ids.tolist() == ["c", "a"]
    assert taken.true_labels.tolist() == [-1, 1]
    assert taken.splits.tolist() == ["test", "train"]
