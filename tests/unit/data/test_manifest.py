import numpy as np
import pandas as pd
import pytest

from labelrepair.data import SourceSpec, read_source
from labelrepair.errors import ConfigError, DataError
from labelrepair.label_table import text_hashes

ROWS = {
    "sample_id": ["0002", "0001", "0003"],
    "path": ["x/b.png", "x/a.png", "x/c.png"],
    "label": ["dog", "cat", "dog"],
}


@pytest.fixture
def make(tmp_path, png):
    """Write images a, b, c (grey 1, 2, 3) and a manifest; return its spec."""
    (tmp_path / "x").mkdir()
    for value, name in enumerate("abc", start=1):
        (tmp_path / "x" / f"{name}.png").write_bytes(png(value))

    def write(changes=None, suffix="csv", **options):
        frame = pd.DataFrame({**ROWS, **(changes or {})})
        file = tmp_path / f"m.{suffix}"
        frame.to_csv(file, index=False) if suffix == "csv" else frame.to_parquet(file)
        return SourceSpec("manifest", path=str(file), **options)

    return write


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_stay_text_and_rows_stay_together(make, suffix):
    samples = read_source(make(suffix=suffix))
    assert samples.sample_ids.tolist() == ["0001", "0002", "0003"]
    assert samples.features[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert samples.class_names == ("cat", "dog")
    assert samples.labels.tolist() == [0, 1, 1]
    assert samples.true_labels is None
    assert set(samples.splits) == {"train"}


def test_other_column_names_splits_and_truth(make):
    changes = {
        "key": ["q", "r", "s"],
        "file": ["b.png", "a.png", "c.png"],
        "y": [1, 0, 1],
        "part": ["train", "validation", "test"],
        "clean": [0, None, 1],
    }
    spec = make(
        changes, id_column="key", path_column="file", label_column="y", split_column="part",
        true_label_column="clean", image_root=None,
    )  # fmt: skip
    spec = SourceSpec("manifest", **{**spec.options(), "image_root": spec.path[:-5] + "x"})
    samples = read_source(spec)
    assert samples.sample_ids.tolist() == ["q", "r", "s"]
    assert samples.features[:, 0, 0, 0].tolist() == [2, 1, 3]
    assert samples.labels.tolist() == [1, 0, 1]
    assert samples.true_labels.tolist() == [0, -1, 1]
    assert samples.splits.tolist() == ["train", "validation", "test"]
    assert samples.class_names == ("0", "1")


def test_mode_size_and_stated_truth(make):
    samples = read_source(make(mode="L", image_size=(4, 4), labels_are_true=True))
    assert samples.features.shape == (3, 1, 4, 4)
    assert samples.true_labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("struct", [True, False])
def test_inline_images_of_a_parquet_file(make, png, struct):
    images = [png(value) for value in (7, 8, 9)]
    content = [{"bytes": image, "path": None} for image in images] if struct else images
    samples = read_source(make({"image": content}, "parquet", image_column="image"))
    assert samples.features[:, 0, 0, 0].tolist() == [8, 7, 9]
    broken = [images[0], None, images[2]]
    with pytest.raises(DataError, match=r"'0001': no encoded image bytes"):
        read_source(make({"image": broken}, "parquet", image_column="image"))
    damaged = [images[0], images[1], b"GIF89a"]
    with pytest.raises(DataError, match=r"'0003': not a readable image"):
        read_source(make({"image": damaged}, "parquet", image_column="image"))


def test_texts_use_the_vocabulary_of_the_training_rows(make):
    changes = {
        "text": ["good film good", "bad film", "odd odd odd"],
        "split": ["train", "train", "test"],
    }
    spec = make(changes, text_column="text", split_column="split", vocabulary_size=5, length=4)
    samples = read_source(spec)
    # film and good occur twice each, bad once, odd in the test row only; two ids are free.
    assert samples.vocabulary == ("<padding>", "<start>", "<unknown>", "film", "good")
    assert samples.features.tolist() == [[0, 1, 2, 3], [1, 4, 3, 4], [1, 2, 2, 2]]
    assert samples.features.dtype == np.int32


def test_the_content_of_a_text_is_the_text(make):
    """Rare words and long beginnings have no tokens of their own; other rows change the tokens."""
    changes = {"text": ["good film one", "good film two", "early good film"]}
    samples = read_source(make(changes, text_column="text", vocabulary_size=5, length=3))
    assert (samples.features[0] == samples.features[1]).all()
    assert samples.content_hashes.tolist() == text_hashes(
        ["good film two", "good film one", "early good film"]
    )
    assert len(set(samples.content_hashes)) == 3
    again = read_source(make(changes, text_column="text", vocabulary_size=9, length=4))
    assert again.content_hashes.tolist() == samples.content_hashes.tolist()
    assert read_source(make()).content_hashes is None


@pytest.mark.parametrize(
    ("labels", "class_names", "expected", "names"),
    [
        (["2", "0", "2"], None, [0, 2, 2], ("0", "1", "2")),
        (["02", "0", "1.0"], None, [0, 2, 1], ("0", "1", "2")),
        ([" dog", "cat ", "dog"], None, [0, 1, 1], ("cat", "dog")),
        (["dog", "cat", "dog"], ("dog", "cat", "eel"), [1, 0, 0], ("dog", "cat", "eel")),
        (["1", "0", "1"], ("dog", "cat"), [0, 1, 1], ("dog", "cat")),
        (["7", "3", "7"], ("3", "7"), [0, 1, 1], ("3", "7")),
        (["NA", "None", "nan"], None, [1, 0, 2], ("NA", "None", "nan")),
    ],
)
def test_labels_as_numbers_or_names(make, labels, class_names, expected, names):
    samples = read_source(make({"label": labels}, class_names=class_names))
    assert samples.labels.tolist() == expected
    assert samples.class_names == names


@pytest.mark.parametrize("labels", [[1, 0, 1], [1.0, 0.0, 1.0], [True, False, True]])
def test_typed_parquet_labels(make, labels):
    assert read_source(make({"label": labels}, "parquet")).labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"label_column": "lable"}, r"m.csv: no column 'lable'; did you mean 'label'"),
        ({}, {"id_column": "nr"}, "no column 'nr'.*label, path, sample_id"),
        ({}, {"split_column": "split"}, "no column 'split'"),
        ({"sample_id": ["1", "2", "1"]}, {}, "sample id '1' is repeated in line 4"),
        ({"sample_id": ["1", None, "3"]}, {}, "column 'sample_id' is blank in line 3"),
        ({"label": ["cat", None, "dog"]}, {}, r"sample '0001' \(line 3\): the label is blank"),
        ({"label": ["cat", "  ", "dog"]}, {}, r"sample '0001' \(line 3\): the label is blank"),
        ({"label": ["1", "cat", "dog"]}, {}, "'0002': unknown class '1'; numbers and names"),
        ({"label": ["1", "0", "-1"]}, {}, r"'0003': label -1 outside 0\.\.1"),
        ({"label": ["7", "0", "007"]}, {}, "'0003': label 007 is the number 7 in another spelling"),
        ({"label": ["1", "+1", "0"]}, {}, "is the number 1 in another spelling; set class_names"),
        ({"label": ["1", "0", "123456789"]}, {}, "label 123456789 is no class number"),
        (
            {"label": ["1", "0", "2"]},
            {"class_names": ("a", "b")},
            r"'0003': label 2 outside 0\.\.1",
        ),
        ({"label": ["cat", "dgo", "dog"]}, {"class_names": ("cat", "dog")}, "'0001': .*mean 'dog'"),
        ({"true": ["cat", "dog", "5"]}, {"true_label_column": "true"}, "'0003': unknown class '5'"),
        (
            {"path": ["x/b.png", "x/z.png", "x/c.png"]},
            {},
            "line 3, sample '0001': no image at .*z.png",
        ),
        ({"path": ["x/b.png", "../a.png", "x/c.png"]}, {}, r"line 3, .*'\.\./a.png' leads outside"),
        ({"path": ["/etc/passwd", "x/a.png", "x/c.png"]}, {}, "'/etc/passwd' leads outside"),
        ({"path": ["x/b.png", None, "x/c.png"]}, {}, "column 'path' is blank in line 3"),
        ({"s": ["train", "trian", "test"]}, {"split_column": "s"}, "'0001': unknown split 'trian'"),
        ({"s": ["test"] * 3}, {"split_column": "s"}, "training split is empty"),
        ({"t": ["a", None, "b"]}, {"text_column": "t"}, "column 't' is blank in line 3"),
    ],
)
def test_bad_rows_are_named(make, changes, options, message):
    with pytest.raises(DataError, match=message):
        read_source(make(changes, **options))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_id": ["1", "2", "1"]}, "sample id '1' is repeated in row 2"),
        ({"label": ["cat", None, "dog"]}, r"sample '0001' \(row 1\): the label is blank"),
        ({"path": ["x/b.png", "x/z.png", "x/c.png"]}, "row 1, sample '0001': no image"),
        ({"path": ["x/b.png", None, "x/c.png"]}, "column 'path' is blank in row 1"),
    ],
)
def test_a_parquet_file_has_rows_not_lines(make, changes, message):
    with pytest.raises(DataError, match=message):
        read_source(make(changes, "parquet"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_those_of_the_file(tmp_path, end):
    """A text over two lines, and lines that pandas takes for no rows."""
    lines = ["sample_id,t,label", '1,"one', '""two""",cat', "", "2,three,dog", "  ", "3,four,", ""]
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + end.join(lines).encode())
    with pytest.raises(DataError, match=r"sample '3' \(line 7\): the label is blank"):
        read_source(SourceSpec("manifest", path=str(tmp_path / "m.csv"), text_column="t"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", b"", "m.csv: cannot be read"),
        ("m.csv", b"sample_id,path,label\n", "m.csv: the table has no row"),
        ("m.csv", b"sample_id,path,label\n1,x/a.png,cat,extra\n", "m.csv: cannot be read"),
        ("m.csv", b"sample_id,path,label\n1,x/\xff.png,cat\n", "m.csv: cannot be read"),
        ("m.parquet", b"PAR1", "m.parquet: cannot be read"),
        (
            "m.csv",
            b"sample_id;path;label\n1;x/a.png;cat\n",
            "no column 'sample_id'; the file looks separated by ';', expected commas: sample_id,",
        ),
        ("m.csv", b"sample_id\tpath\tlabel\n1\tx/a.png\tcat\n", "separated by tabs, expected"),
        ("m.csv", b"sample_id;label\n1;cat, dog\n", "read as a table: .* separated by ';'"),
    ],
)
def test_damaged_tables(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_source(SourceSpec("manifest", path=str(tmp_path / name)))
    with pytest.raises(DataError, match=r"no file at .*absent.csv"):
        read_source(SourceSpec("manifest", path=str(tmp_path / "absent.csv")))


def test_a_byte_order_mark_is_not_part_of_the_first_column(make):
    spec = make()
    with open(spec.path, "rb+") as file:
        content = file.read()
        file.seek(0)
        file.write(b"\xef\xbb\xbf" + content)
    assert read_source(spec).sample_ids.tolist() == ["0001", "0002", "0003"]


NUMBERS = {
    "sample_id": ["b", "a", "c"],
    "mean_x": [1.5, 2.5, -3.0],
    "label": ["dog", "cat", "dog"],
    "clean": ["dog", "dog", "dog"],
    "count": [10, 20, 30],
    "mean_y": [0.1, 1e-5, 1e9],
}


@pytest.fixture
def numbers(tmp_path):
    """Write a table of numbers; return its spec."""

    def write(wanted, changes=None, suffix="csv", **options):
        frame = pd.DataFrame({**NUMBERS, **(changes or {})})
        file = tmp_path / f"numbers.{suffix}"
        frame.to_csv(file, index=False) if suffix == "csv" else frame.to_parquet(file)
        known = {"true_label_column": "clean", "feature_columns": tuple(wanted), **options}
        return SourceSpec("manifest", path=str(file), **known)

    return write


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("wanted", "order"),
    [
        (["count", "mean_x"], ["count", "mean_x"]),
        (["mean_*"], ["mean_x", "mean_y"]),
        (["count", "*"], ["count", "mean_x", "mean_y"]),
    ],
)
def test_columns_of_numbers_become_vectors(numbers, suffix, wanted, order):
    samples = read_source(numbers(wanted, suffix=suffix))
    assert samples.features.dtype == np.float32
    expected = pd.DataFrame(NUMBERS).sort_values("sample_id")[order].to_numpy(np.float32)
    np.testing.assert_array_equal(samples.features, expected)
    assert samples.sample_ids.tolist() == ["a", "b", "c"]
    assert samples.true_labels.tolist() == [1, 1, 1]
    assert not samples.resized
    assert samples.columns == tuple(order)


@pytest.mark.parametrize(
    ("wanted", "changes", "message"),
    [
        (["mean_z"], {}, r"feature_columns: no column 'mean_z'; did you mean 'mean_"),
        ([], {}, "feature_columns is empty; name columns"),
        (["median_*"], {}, r"feature_columns: no column 'median_\*'"),
        (["count", "label"], {}, "column 'label' is the id, a label or the split: no feature"),
        (["clean"], {}, "column 'clean' is the id, a label"),
        (["count"], {"count": [1, None, 3]}, "column 'count' is blank in line 3"),
        (["*"], {"count": [1, "red", 3]}, r"'count' holds 'red' in line 3.*columns of 0 and 1"),
        (["count"], {"count": ["1", "2,5", "3"]}, "'2,5' in line 3, expected a finite number"),
        (["count"], {"count": [1, 2, 1e300]}, "'1e\\+300' in line 4, expected a finite number"),
        (["count"], {"count": [1, "inf", 2]}, "'inf' in line 3"),
    ],
)
def test_what_is_no_number_is_refused_by_column_and_line(numbers, wanted, changes, message):
    with pytest.raises(DataError, match=message):
        read_source(numbers(wanted, changes))


def test_blanks_truth_values_and_dates_of_a_parquet_file(numbers):
    flags = read_source(numbers(["count"], {"count": [True, False, True]}, "parquet"))
    assert flags.features[:, 0].tolist() == [0, 1, 1]
    blank = pd.array([1, None, 3], dtype="Int64")
    with pytest.raises(DataError, match="'count' is blank in row 1; fill it in"):
        read_source(numbers(["count"], {"count": blank}, "parquet"))
    dates = pd.to_datetime(["2024-01-01"] * 3)
    with pytest.raises(DataError, match=r"column 'count'.*(text or a|finite) number"):
        read_source(numbers(["count"], {"count": dates}, "parquet"))


def test_features_come_from_one_place(numbers):
    with pytest.raises(ConfigError, match="features also come from 'label'; name one"):
        read_source(numbers(["count"], text_column="label"))
    spec = numbers(["count"])
    with pytest.raises(DataError, match=r"no column 'path'; .* of numbers the feature_columns"):
        read_source(SourceSpec("manifest", path=spec.path))
