"""What a Parquet file unpacks to is counted exactly, and large tables of real kinds pass."""

from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelrepair.data import unpacked
from labelrepair.data.files import read_table
from labelrepair.data.unpacked import check_parquet
from labelrepair.errors import DataError

TEXTS = ["a", None, "bcd", "", "\N{SNOWMAN}"] * 20
BYTES = 20 * (1 + 3 + 3)


def column(kind):
    if kind == "list":
        return pa.array([[text, text] for text in TEXTS])
    if kind == "map":
        return pa.array([[("k", text)] for text in TEXTS], pa.map_(pa.string(), pa.string()))
    if kind == "struct":
        pictures = [{"bytes": text and text.encode(), "path": None} for text in TEXTS]
        return pa.array(pictures, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    if kind == "category":
        return pa.array(TEXTS).dictionary_encode()
    return pa.array(TEXTS).cast(kind)


ENCODINGS = ("dictionary", "PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY")
KINDS = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), "struct", "list")


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [*product(KINDS, ENCODINGS), ("category", "dictionary"), ("category", "PLAIN")],
    ids=str,
)
@pytest.mark.parametrize("rows", [7, 2**16])
def test_texts_are_counted(kind, encoding, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacked, "_ROWS", rows)
    times = 2 if kind == "list" else 1
    file, table = tmp_path / "t.parquet", pa.table({"a": column(kind)})
    options = {}
    if encoding != "dictionary":
        paths = {"struct": ("a.bytes", "a.path"), "list": ("a.list.element",)}.get(kind, ("a",))
        options = {"use_dictionary": False, "column_encoding": dict.fromkeys(paths, encoding)}
    pq.write_table(table, file, row_group_size=33, **options)
    leaves = pq.read_metadata(file).num_columns
    monkeypatch.setattr(unpacked, "MOST_TIMES", 0)
    # Eight bytes for each value beside the texts.
    expected = 8 * len(TEXTS) * times * leaves + BYTES * times
    least = sum(pq.read_metadata(file).row_group(g).total_byte_size for g in range(4))
    assert least < expected
    monkeypatch.setattr(unpacked, "FREE", expected)
    check_parquet(file)
    monkeypatch.setattr(unpacked, "FREE", expected - 1)
    with pytest.raises(DataError, match=r"t\.parquet: unpacks to more than"):
        check_parquet(file)


@pytest.mark.skipif(not hasattr(pa, "string_view"), reason="pyarrow of before 16")
def test_views_maps_and_null_columns_are_read(tmp_path):
    columns = {"view": pa.array(TEXTS, pa.string_view()), "map": column("map")}
    pq.write_table(pa.table({**columns, "null": pa.nulls(len(TEXTS))}), tmp_path / "t.parquet")
    check_parquet(tmp_path / "t.parquet")


def test_pictures_beyond_the_size_of_a_dictionary_are_read(tmp_path):
    pictures = np.random.default_rng(0).bytes(2_000 * 2_000)
    values = [
        {"bytes": pictures[at : at + 2_000], "path": None} for at in range(0, 4_000_000, 2_000)
    ]
    table = pa.table(
        {"image": pa.array(values, pa.struct({"bytes": pa.binary(), "path": pa.string()}))}
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=700)
    encodings = pq.read_metadata(tmp_path / "t.parquet").row_group(0).column(0).encodings
    assert {"PLAIN", "RLE_DICTIONARY"} <= set(encodings)
    check_parquet(tmp_path / "t.parquet")


def test_fifty_thousand_reviews_pass(tmp_path):
    drawn = np.random.default_rng(0)
    texts = [drawn.bytes(650).hex() for _ in range(50_000)]
    frame = pa.table({"sample_id": [str(row) for row in range(50_000)], "text": texts})
    pq.write_table(frame, tmp_path / "t.parquet")
    assert read_table(str(tmp_path / "t.parquet"))["text"].tolist() == texts


def test_ten_million_rows_of_a_few_names_and_paths_pass(tmp_path):
    rows = 10_000_000
    codes = pa.array(np.arange(rows, dtype="i4") % 10)
    table = pa.table(
        {
            name: pa.DictionaryArray.from_arrays(codes, pa.array([f"{text}{n}" for n in range(10)]))
            for name, text in (("label", "class_"), ("path", "data/01_raw/mine/images/part_"))
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", store_schema=False)
    check_parquet(tmp_path / "t.parquet")
