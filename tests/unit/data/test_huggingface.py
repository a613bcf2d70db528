import json
import os
import time
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelrepair.data import SourceSpec, read_source
from labelrepair.errors import DataError
from labelrepair.label_table import text_hashes

CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def write(path, frame, names=None):
    table = pa.Table.from_pandas(frame)
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path)


def images(png, values, labels, column="img"):
    content = [{"bytes": png(value), "path": None} for value in values]
    return pd.DataFrame({column: content, "label": labels})


@pytest.mark.parametrize("column", ["img", "image"])
def test_images_over_several_files(tmp_path, png, column):
    write(tmp_path / "train-1.parquet", images(png, [3, 4], [1, 0], column))
    write(tmp_path / "train-0.parquet", images(png, [1, 2], [0, 1], column))
    write(tmp_path / "test.parquet", images(png, [5], [1], column))
    files = {"train": str(tmp_path / "train-*.parquet"), "test": str(tmp_path / "test.parquet")}
    samples = read_source(SourceSpec("huggingface", files=files))
    assert samples.sample_ids.tolist() == ["test-00000", *(f"train-0000{i}" for i in range(4))]
    assert samples.features[:, 0, 0, 0].tolist() == [5, 1, 2, 3, 4]
    assert samples.labels.tolist() == [1, 0, 1, 1, 0]
    assert samples.class_names == ("0", "1")
    assert samples.true_labels is None
    small = SourceSpec(
        "huggingface", files=files, mode="L", image_size=(1, 1), labels_are_true=True
    )
    assert read_source(small).features.shape == (5, 1, 1, 1)
    assert read_source(small).labels_are_true


def test_class_names_come_from_the_metadata_unless_given(tmp_path, png):
    write(tmp_path / "a.parquet", images(png, [1, 2], [0, 2]), ["x", "y", "z"])
    files = {"train": str(tmp_path / "a.parquet")}
    assert read_source(SourceSpec("huggingface", files=files)).class_names == ("x", "y", "z")
    given = SourceSpec("huggingface", files=files, class_names=("p", "q", "r"))
    assert read_source(given).class_names == ("p", "q", "r")


def test_files_with_other_class_orders_are_refused(tmp_path, png):
    write(tmp_path / "a.parquet", images(png, [1, 2], [0, 1]), ["x", "y"])
    write(tmp_path / "b.parquet", images(png, [1, 2], [0, 1]), ["y", "x"])
    files = {"train": str(tmp_path / "a.parquet"), "test": str(tmp_path / "b.parquet")}
    for names in (None, ("x", "y")):
        with pytest.raises(DataError, match=r"order differ: \('x', 'y'\) and \('y', 'x'\)"):
            read_source(SourceSpec("huggingface", files=files, class_names=names))


NUMERALS = ("0", "1", "10", "11", "2")  # as `datasets` sorts them


def test_numbers_are_no_names_though_the_names_are_numbers(tmp_path, png):
    write(tmp_path / "a.parquet", images(png, range(5), [2, 1, 0, 2, 1]), list(NUMERALS))
    files = {"train": str(tmp_path / "a.parquet")}
    samples = read_source(SourceSpec("huggingface", files=files))
    assert samples.class_names == NUMERALS
    assert samples.labels.tolist() == [2, 1, 0, 2, 1]


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [(NUMERALS, ("0", "1", "2", "10", "11")), (("a", "b", "c", "d", "e"), tuple("edcba"))],
)
def test_class_names_in_another_order_take_their_rows_along(tmp_path, png, stored, wanted):
    codes = [4, 3, 2, 1, 0]
    write(tmp_path / "a.parquet", images(png, range(5), codes), list(stored))
    files = {"train": str(tmp_path / "a.parquet")}
    samples = read_source(SourceSpec("huggingface", files=files, class_names=wanted))
    assert [wanted[label] for label in samples.labels] == [stored[code] for code in codes]
    fewer = SourceSpec("huggingface", files=files, class_names=wanted[:-1])
    with pytest.raises(DataError, match=rf"'train-0000\d': unknown class '{wanted[-1]}'"):
        read_source(fewer)


def test_a_number_outside_the_stored_names(tmp_path, png):
    write(tmp_path / "a.parquet", images(png, range(3), [0, 1, 10]), list(NUMERALS))
    files = {"train": str(tmp_path / "a.parquet")}
    with pytest.raises(DataError, match=r"'train-00002': label 10 outside 0\.\.4"):
        read_source(SourceSpec("huggingface", files=files))
    other = SourceSpec("huggingface", files=files, class_names=("p", "q"))
    write(tmp_path / "a.parquet", images(png, range(3), [0, 1, 2]), list(NUMERALS))
    with pytest.raises(DataError, match=r"'train-00002': label 2 outside 0\.\.1"):
        read_source(other)


def test_text(tmp_path):
    write(tmp_path / "a.parquet", pd.DataFrame({"text": ["Good, good!", "bad"], "sent": [1, 0]}))
    write(tmp_path / "b.parquet", pd.DataFrame({"text": ["unseen bad"], "sent": [0]}))
    files = {"train": str(tmp_path / "a.parquet"), "test": str(tmp_path / "b.parquet")}
    spec = SourceSpec("huggingface", files=files, label_column="sent", length=3, vocabulary_size=9)
    samples = read_source(spec)
    assert samples.vocabulary[3:] == ("good", "bad")
    assert samples.features.tolist() == [[1, 2, 4], [1, 3, 3], [0, 1, 4]]
    expected = text_hashes(["unseen bad", "Good, good!", "bad"])
    assert samples.content_hashes.tolist() == expected


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"pixels": [1], "label": [0]}), "none of the columns img, image, text"),
        (pd.DataFrame({"text": ["a"], "lab": [0]}), "no column 'label'"),
        (pd.DataFrame({"text": ["a", "b"], "label": [0, -1]}), "'train-00001': label -1 outside"),
        (pd.DataFrame({"text": ["a", None], "label": [0, 1]}), "'text' is blank in row 1"),
        (pd.DataFrame({"text": pd.Series([], dtype=str), "label": []}), "no row"),
    ],
)
def test_bad_files_are_named(tmp_path, frame, message):
    write(tmp_path / "a.parquet", frame)
    with pytest.raises(DataError, match=message):
        read_source(SourceSpec("huggingface", files={"train": str(tmp_path / "a.parquet")}))


def test_missing_and_damaged_files(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a.parquet: not a readable Parquet"):
        read_source(SourceSpec("huggingface", files={"train": str(tmp_path / "a.parquet")}))
    with pytest.raises(DataError, match=r"no file matches .*z-.* for split 'train'"):
        read_source(SourceSpec("huggingface", files={"train": str(tmp_path / "z-*.parquet")}))


def folder(name):
    root = os.path.join(os.environ["LABELREPAIR_DATA"], name)
    return {split: os.path.join(root, f"{split}-*.parquet") for split in ("train", "test")}


@pytest.mark.data
def test_real_cifar10_in_its_original_order_within_the_time():
    start = time.perf_counter()
    samples = read_source(SourceSpec("huggingface", files=folder("cifar10"), class_names=CIFAR10))
    # The brief's limit; 15 s were measured on two shared cores.
    assert time.perf_counter() - start < 30
    assert samples.features.shape == (60_000, 3, 32, 32)
    train = samples.splits == "train"
    assert np.bincount(samples.labels[train]).tolist() == [5000] * 10
    assert samples.labels[train][:5].tolist() == [6, 9, 9, 4, 1]
    # The frog: first pixel of data_batch_1.
    assert samples.features[train][0, :, 0, 0].tolist() == [59, 62, 63]
    means = samples.features[train].mean(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=1e-4)


@pytest.mark.data
def test_real_imdb():
    samples = read_source(SourceSpec("huggingface", files=folder("imdb")))
    assert samples.features.shape == (50_000, 400)
    assert samples.features.max() == 4999
    assert samples.vocabulary[3:6] == ("the", "and", "of")
    train = samples.splits == "train"
    assert np.bincount(samples.labels[train]).tolist() == [12_500, 12_500]


def test_numbers_stay_numbers_whatever_their_type(tmp_path, png):
    write(tmp_path / "a.parquet", images(png, range(4), [0.0, 1.0, 2.0, 2.0]), list(NUMERALS))
    files = {"train": str(tmp_path / "a.parquet")}
    samples = read_source(SourceSpec("huggingface", files=files))
    assert samples.labels.tolist() == [0, 1, 2, 2]


def test_numbers_in_one_file_and_names_in_another_are_refused(tmp_path, png):
    """Number 2 of the training file, class 10, became class 2, which the test file has as text."""
    write(tmp_path / "a.parquet", images(png, range(4), [0, 1, 2, 2]), list(NUMERALS))
    write(tmp_path / "b.parquet", images(png, range(4), ["0", "1", "2", "2"]))
    files = {"train": str(tmp_path / "a.parquet"), "test": str(tmp_path / "b.parquet")}
    with pytest.raises(DataError, match=r"'train-00000': label 0 after '0': some files have class"):
        read_source(SourceSpec("huggingface", files=files))


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([False, True, True], ["True", "False"], [1, 0, 0]),
        (pd.Categorical(["b", "b", "a"]), ["a", "b"], [1, 1, 0]),
        (pd.Categorical([2, 1, 1]), NUMERALS, [2, 1, 1]),
        (pd.array([2, 0, 1], dtype="Int64"), NUMERALS, [2, 0, 1]),
        ([Decimal(2), Decimal(0), Decimal(1)], NUMERALS, [2, 0, 1]),
    ],
)
def test_labels_of_every_type_beside_names(tmp_path, png, labels, names, expected):
    """Truth values are texts, whatever pandas thinks; grouped labels are what was grouped."""
    write(tmp_path / "a.parquet", images(png, range(3), labels), list(names))
    samples = read_source(SourceSpec("huggingface", files={"train": str(tmp_path / "a.parquet")}))
    assert samples.labels.tolist() == expected
    assert samples.class_names == tuple(names)


def test_grouped_labels_of_one_class_are_read(tmp_path, png):
    labels = pd.Categorical(["b", "b"])
    write(tmp_path / "a.parquet", images(png, range(2), labels), ["a", "b"])
    samples = read_source(SourceSpec("huggingface", files={"train": str(tmp_path / "a.parquet")}))
    assert samples.labels.tolist() == [1, 1]
