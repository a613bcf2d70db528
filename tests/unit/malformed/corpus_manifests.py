"""Manifests: encodings, columns, ids, labels, paths, splits, and Parquet that is none."""

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from corpus import Case
from corpus_images import encoded

from labelrepair.data import SourceSpec, read_source
from labelrepair.ingest import SplitSpec, tabulate

ROWS = 6
COLUMNS: dict[str, list[Any]] = {
    "sample_id": [f"s{row}" for row in range(ROWS)],
    "path": [f"{row}.png" for row in range(ROWS)],
    "label": ["cat", "dog"] * (ROWS // 2),
    "split": ["train"] * 4 + ["validation", "test"],
}
PICTURE = encoded("PNG", 2)
OPTIONS = {"split_column": "split"}


def pictures(folder: Path) -> None:
    for name in COLUMNS["path"]:
        (folder / name).write_bytes(PICTURE)


def changed(suffix: str = "csv", options: dict[str, Any] | None = None, **columns: Any) -> Any:
    """Return a reader of the good manifest with columns replaced, or rows of them by number."""

    def read(folder: Path) -> object:
        pictures(folder)
        table = {name: list(values) for name, values in COLUMNS.items()}
        for name, values in columns.items():
            if isinstance(values, dict):
                for row, value in values.items():
                    table[name][row] = value
            else:
                table[name] = values
        frame = pd.DataFrame(table)
        file = folder / f"m.{suffix}"
        frame.to_csv(file, index=False) if suffix == "csv" else frame.to_parquet(file)
        return read_source(SourceSpec("manifest", path=str(file), **(OPTIONS | (options or {}))))

    return read


def raw(content: bytes, suffix: str = "csv", **options: Any) -> Callable[[Path], object]:
    """Return a reader of a file of exactly these bytes."""

    def read(folder: Path) -> object:
        pictures(folder)
        (folder / f"m.{suffix}").write_bytes(content)
        return read_source(SourceSpec("manifest", path=str(folder / f"m.{suffix}"), **options))

    return read


GOOD_CSV = pd.DataFrame(COLUMNS).to_csv(index=False)


def cases() -> Iterator[Case]:
    yield from files()
    yield from ids()
    yield from labels()
    yield from paths()
    yield from splits()
    yield from parquets()


def files() -> Iterator[Case]:
    table, no_id = (
        ("m.csv", "cannot be read as a table"),
        ("no column 'sample_id'; expected one of",),
    )
    nul = "m.csv: cannot be read as a table: line 1 holds a NUL character"
    for name, content, said in (
        ("empty", b"", table),
        ("only_a_bom", b"\xef\xbb\xbf", table),
        ("only_newlines", b"\n\n\n", table),
        ("header_only", GOOD_CSV.encode().splitlines()[0], ("m.csv", "no row")),
        ("utf16", GOOD_CSV.encode("utf-16"), table),
        ("utf32", GOOD_CSV.encode("utf-32"), table),
        ("latin1", GOOD_CSV.replace("cat", "chä").encode("latin-1"), table),
        ("utf7_named", GOOD_CSV.encode("utf-7").replace(b"sample_id", b"+AHM"), no_id),
        (
            "nul_bytes",
            GOOD_CSV.replace("s3", "s\0").encode(),
            ("line 5 holds a NUL character; expected a CSV in UTF-8",),
        ),
        ("longer_row", (GOOD_CSV + "s9,0.png,cat,train,extra\n").encode(), table),
        (
            "shorter_row",
            (GOOD_CSV + "s9,0.png\n").encode(),
            ("m.csv, column 'label': sample 's9' .line 8.: the label is blank",),
        ),
        ("open_quote", (GOOD_CSV + '"s9,0.png,cat,train\n').encode(), table),
        ("semicolons", GOOD_CSV.replace(",", ";").encode(), ("m.csv", "no column 'sample_id'")),
        ("tabs", GOOD_CSV.replace(",", "\t").encode(), ("m.csv", "no column 'sample_id'")),
        ("json", b'[{"sample_id": "a"}]', (r"no column .sample_id.; did you mean .\[\{",)),
        ("parquet_named_csv", b"PAR1" + bytes(50) + b"PAR1", (nul + ", as a Parquet file",)),
        ("gzip_named_csv", b"\x1f\x8b\x08\x00" + b"\xff" * 60, table),
        ("pickle_named_csv", b"\x80\x04K\x01.", (*table, "can't decode byte 0x80 in position 0")),
        (
            "repeated_header",
            GOOD_CSV.replace("split", "label", 1).encode(),
            ("m.csv", "column 'label' is repeated; remove one"),
        ),
        (
            "upper_case_header",
            GOOD_CSV.replace("sample_id", "Sample_ID", 1).encode(),
            ("did you mean 'Sample_ID'",),
        ),
        (
            "blank_in_header",
            GOOD_CSV.replace("sample_id", " sample_id", 1).encode(),
            ("no column 'sample_id'",),
        ),
        ("excel", b"PK\x03\x04" + bytes(60), (nul + ", as an Excel workbook or a ZIP",)),
        ("binary", bytes(range(256)) * 4, (nul + "; expected a CSV in UTF-8",)),
        ("100000_columns", wide(100_000), (r"m\.csv: 100001 columns, expected at most 10000",)),
        ("columns_in_line_3", b"\n \n" + wide(20_000), ("20001 columns",)),
        ("2000_columns_and_no_id", wide(2_000, b"id"), ("no column 'sample_id'",)),
        ("endless_name", b"a" * 200_000 + b"," + GOOD_CSV.encode(), table),
    ):
        yield Case(f"csv_{name}", raw(content), said)
    for suffix in ("bz2", "gz", "tar", "tar.gz", "xz", "zip", "zst", "GZ"):
        said = (rf"m\.csv\.{suffix}: a compressed table is not read; unpack it",)
        yield Case(f"csv_{suffix}", raw(bytes(99), f"csv.{suffix}"), said)
    yield Case("csv_gz_bomb", _gzip_bomb, (r"m\.csv\.gz: a compressed table is not read",))
    yield Case(
        "no_manifest",
        lambda f: read_source(SourceSpec("manifest", path=str(f / "x.csv"))),
        ("no file at", r"x\.csv"),
    )
    yield Case(
        "a_folder", lambda f: read_source(SourceSpec("manifest", path=str(f))), ("no file at",)
    )


def wide(columns: int, first: bytes = b"sample_id") -> bytes:
    """Return a CSV of one row and so many columns beside its first."""
    names = b",".join(b"c%d" % number for number in range(columns))
    return first + b"," + names + b"\ns0" + b",1" * columns + b"\n"


def _gzip_bomb(folder: Path) -> object:
    """A megabyte that unpacks to a gigabyte of rows."""
    member = gzip.compress(b"s0,0.png,cat,train\n" * 2**20, 1)
    content = gzip.compress(GOOD_CSV.encode()) + member * 50
    return raw(content, "csv.gz")(folder)


ZERO_WIDTH, CYRILLIC_A, COMBINING = "\u200b", "\u0430", "\u0301"


def ids() -> Iterator[Case]:
    for name, row, value, said in (
        ("repeated", 3, "s1", "'s1' is repeated in line 5"),
        ("repeated_after_strip", 3, " s1 ", "'s1' is repeated in line 5"),
        ("blank", 2, "", "blank in line 4"),
        ("spaces", 2, "   ", "blank in line 4"),
        ("null", 2, None, "blank in line 4"),
        ("zero_width", 3, "s1" + ZERO_WIDTH, "U\\+200B"),
        ("bom_inside", 3, "s1\ufeff", "U\\+FEFF"),
        ("soft_hyphen", 3, "s\u00ad1", "U\\+00AD"),
        ("right_to_left", 3, "s\u202e1", "U\\+202E"),
        ("newline", 3, "s\n1", "U\\+000A"),
        ("tab", 3, "s\t1", "U\\+0009"),
        ("bell", 3, "s\a1", "U\\+0007"),
        ("fullwidth", 3, "\uff53\uff11", "looks like 's1'"),
        ("ligature", 3, "s\u00b9", "looks like 's1'"),
        ("no_break_space", 3, "s\u00a05", "looks like 's 5'"),
    ):
        extra = {2: "s 5"} if name == "no_break_space" else {}
        yield Case(f"id_{name}", changed(sample_id={**extra, row: value}), (r"m\.csv", said))
    pairs = {
        "accents": ("caf\u00e9", "cafe" + COMBINING),
        "cyrillic": ("cat1", "c" + CYRILLIC_A + "t1"),
        "greek": ("ABC", "\u0391BC"),
        "kelvin": ("K1", "\u212a1"),
        "both_foreign": ("\u0430\u0441", "a\u0441"),
    }
    for name, (one, other) in pairs.items():
        yield Case(
            f"ids_alike_{name}", changed(sample_id={1: one, 4: other}), (r"m\.csv", "looks like")
        )
    yield Case(
        "id_bytes",
        changed("parquet", sample_id=[b"a", b"b", b"c", b"d", b"e", b"f"]),
        ("'sample_id': row 0: expected text or a number, found bytes",),
    )
    lists = [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]
    yield Case(
        "id_lists",
        changed("parquet", sample_id=lists),
        ("'sample_id': row 0: expected text or a number, found ndarray",),
    )
    yield Case(
        "id_nan", changed("parquet", sample_id=[1.0, 2.0, np.nan, 4, 5, 6]), ("blank in row 2",)
    )
    yield Case(
        "id_too_large_for_a_float",
        changed("parquet", sample_id=[1.0, 2.0, 3.0, 2**53 + 1, np.nan, 6]),
        ("column 'sample_id': row 3: 9007199254740992.0 as a float",),
    )
    yield Case(
        "id_inf",
        changed("parquet", sample_id=[1.0, 2.0, 2.0, 4, 5, np.inf]),
        ("row 5.*found inf",),
    )


def labels() -> Iterator[Case]:
    named = {"class_names": ("cat", "dog")}
    big = "9" * 5_000
    for name, values, said, options in (
        ("blank", {3: ""}, "'s3'.*label is blank", {}),
        ("null", {3: None}, "'s3'.*label is blank", {}),
        ("unknown", {3: "cta"}, "'s3'.*'cta'.*did you mean 'cat'", named),
        ("mixed", {3: "1"}, "mixed", {}),
        (
            "mixed_with_names_given",
            {3: "1"},
            "'s3': unknown class '1'; expected one of cat, dog",
            named,
        ),
        ("one_class", ["cat"] * ROWS, "1 class", {}),
        ("negative", ["0", "1", "0", "-1", "0", "1"], "'s3'.*-1", {}),
        (
            "two_to_31",
            ["0", "1", "0", str(2**31), "0", "1"],
            f"'s3': label {2**31} is no class number",
            {},
        ),
        (
            "two_to_63",
            ["0", "1", "0", str(2**63), "0", "1"],
            f"'s3': label {2**63} is no class number",
            {},
        ),
        (
            "two_to_31_with_names",
            ["0", "1", "0", str(2**31), "0", "1"],
            "'s3'.*outside 0..1",
            named,
        ),
        (
            "two_to_70_with_names",
            ["0", "1", "0", str(2**70), "0", "1"],
            f"'s3': label {2**70} is no class number",
            named,
        ),
        ("digits_5000", ["0", "1", "0", big, "0", "1"], "no class number", {}),
        (
            "digits_5000_with_names",
            ["0", "1", "0", big, "0", "1"],
            r"'s3': label 9+\.\.\.9+ is no class number",
            named,
        ),
        ("beyond_names", ["0", "1", "0", "2", "0", "1"], "'s3'.*label 2 outside 0..1", named),
        ("fractions", ["0.5", "1.5", "0.5", "1.25", "0.5", "1.5"], "0.5 is a measure", {}),
        ("one_fraction", ["0", "1", "0", "0.5", "0", "1"], "0.5 is a measure", {}),
        ("nan_text", ["0", "1", "0", "nan", "0", "1"], "mixed", {}),
        ("inf_text", ["0", "1", "0", "inf", "0", "1"], "mixed", {}),
        ("arabic_digits", ["0", "1", "0", "\u0661", "0", "1"], "mixed", {}),
        ("cyrillic_twin", ["cat", "dog", "c\u0430t", "dog", "cat", "dog"], "looks like", {}),
        ("accent_twin", ["\u00e9", "dog", "e\u0301", "dog", "\u00e9", "dog"], "looks like", {}),
        ("zero_width_twin", ["cat", "dog", "cat\u200b", "dog", "cat", "dog"], "U\\+200B", {}),
        ("newline_inside", ["cat", "dog", "c\nat", "dog", "cat", "dog"], "U\\+000A", {}),
        (
            "hundred_thousand",
            ["0", "1", "0", "99999999", "0", "1"],
            "'s3': label 99999999 is no class number",
            {},
        ),
    ):
        yield Case(f"label_{name}", changed(label=values, options=options), (r"m\.csv", said))
    for name, column, said in (
        ("float_fraction", [0.0, 1.0, 0.0, 0.5, 0, 1], "'s3': label 0.5 is a measure"),
        ("float_nan", [0.0, 1.0, 0.0, np.nan, 0, 1], "'s3'.*label is blank"),
        ("float_inf", [0.0, 1.0, 0.0, np.inf, 0, 1], "row 3: expected text or a number, found inf"),
        ("float_1e300", [0.0, 1.0, 0.0, 1e300, 0, 1], "row 3: 1e\\+300 as a float"),
        ("float_lowest", [0.0, 1.0, 0.0, -1e300, 0, 1], "row 3: -1e\\+300 as a float"),
        ("float_two_to_53", [0.0, 1.0, None, 2**53 + 1, 0, 1], "row 3: 9007199254740992.0 as"),
        ("float_below", [0.0, 1.0, 0.0, 2.0**53 - 1, 0, 1], "9007199254740991 is no class number"),
        ("int64_two_to_31", [0, 1, 0, 2**31, 0, 1], f"'s3': label {2**31} is no class number"),
        ("int64_lowest", [0, 1, 0, -(2**63), 0, 1], f"'s3': label -{2**63} is no class number"),
        (
            "uint64_highest",
            np.array([0, 1, 0, 2**64 - 1, 0, 1], np.uint64),
            f"label {2**64 - 1} is no class number",
        ),
        ("bytes", [b"cat", b"dog"] * 3, "row 0: expected text or a number, found bytes"),
        ("lists", [[0], [1]] * 3, "row 0: expected text or a number, found ndarray"),
        ("dicts", [{"a": 0}, {"a": 1}] * 3, "row 0: expected text or a number, found dict"),
        (
            "dates",
            pd.date_range("2020-01-01", periods=ROWS),
            "row 0: expected text or a number, found Timestamp",
        ),
    ):
        yield Case(f"label_{name}", changed("parquet", label=column), (r"m\.parquet", said))
    truth = {"true_label_column": "truth"}
    yield Case(
        "truth_unknown", changed(truth=["cat"] * 5 + ["cow"], options=truth | named), ("s5.*'cow'",)
    )
    yield Case(
        "truth_out_of_range",
        changed(truth=["0"] * 5 + ["7"], label=["0", "1"] * 3, options=truth | named),
        ("true label: sample 's5': label 7 outside 0..1",),
    )
    contradiction = truth | {"labels_are_true": True}
    from labelrepair.errors import ConfigError  # noqa: PLC0415

    yield Case(
        "truth_twice",
        changed(truth=["cat"] * 6, options=contradiction),
        ("labels_are_true",),
        ConfigError,
    )


def paths() -> Iterator[Case]:
    for name, value, said in (
        ("parent", "../secret.png", "leads outside"),
        ("deep_parent", "a/b/../../../../etc/passwd", "leads outside"),
        ("absolute", "/etc/passwd", "leads outside"),
        ("sibling", "../m.csv.d/0.png", "leads outside"),
        ("windows_drive", "C:\\data\\0.png", "C:.*forward slashes"),
        ("windows_relative", "sub\\0.png", "forward slashes"),
        ("windows_parent", "..\\..\\0.png", "forward slashes"),
        ("unc", "\\\\server\\share\\0.png", "forward slashes"),
        ("url", "https://example.org/0.png", "no image at"),
        ("file_url", "file:///etc/passwd", "no image at"),
        ("home", "~/0.png", "no image at"),
        ("variable", "$HOME/0.png", "no image at"),
        ("folder", ".", "no image at"),
        ("missing", "9.png", "no image at"),
        ("other_case", "0.PNG", "no image at"),
        ("long", "x" * 5_000, "no image at .*x/?\\.\\.\\./?x"),
        ("deep", "x/" * 3_000 + "0.png", "no image at .*x/?\\.\\.\\./?x"),
        ("lone_dots", "...", "no image at"),
        ("device", "/dev/zero", "leads outside"),
        ("null_device", "../../../../../../../dev/null", "leads outside"),
    ):
        yield Case(f"path_{name}", changed(path={3: value}), (r"m\.csv", "line 5", "'s3'", said))
    yield Case("path_blank", changed(path={3: None}), (r"m\.csv", "'path' is blank in line 5"))
    yield Case(
        "path_nul",
        changed("parquet", path={3: "0\0.png"}),
        (r"m\.parquet", "'path' holds a NUL character in row 3"),
    )
    yield Case("path_link", _linked, (r"m\.csv", "line 5", "leads outside"))
    yield Case("path_pipe", _piped, (r"m\.csv", "line 5", "no image"))
    yield Case("path_loop", _looped, (r"m\.csv", "line 5", "no image"))


def _linked(folder: Path) -> object:
    root = folder / "root"
    root.mkdir()
    (root / "out.png").symlink_to("/etc/passwd")
    return changed(path={3: "out.png"})(root)


def _piped(folder: Path) -> object:
    os.mkfifo(folder / "a.png")
    return changed(path={3: "a.png"})(folder)


def _looped(folder: Path) -> object:
    (folder / "a.png").symlink_to(folder / "b.png")
    (folder / "b.png").symlink_to(folder / "a.png")
    return changed(path={3: "a.png"})(folder)


def splits() -> Iterator[Case]:
    for name, values, said in (
        ("unknown", {3: "Train"}, "'s3': unknown split 'Train'; did you mean 'train'"),
        ("val", {3: "val"}, "unknown split 'val'"),
        ("number", {3: "0"}, "unknown split '0'"),
        ("blank", {3: ""}, "'split' is blank in line 5"),
        ("all_test", ["test"] * ROWS, "training split is empty"),
        ("all_validation", ["validation"] * ROWS, "training split is empty"),
        ("none", ["none"] * ROWS, "training split is empty"),
    ):
        yield Case(f"split_{name}", changed(split=values), (r"m\.csv", said))
    twice = changed(sample_id={5: "s0"})  # in training and in test
    yield Case("split_contradiction", twice, (r"m\.csv", "'s0' is repeated"))
    yield Case("one_sample_per_class", _tabulated, ("single training sample", "an id"))
    for column in COLUMNS:
        content = pd.DataFrame(COLUMNS).drop(columns=column).to_csv(index=False).encode()
        yield Case(f"no_column_{column}", raw(content, **OPTIONS), (f"no column '{column}'",))


def _tabulated(folder: Path) -> object:
    samples = changed(label=list("abcdef"), split=["train"] * ROWS)(folder)
    return tabulate(samples, SplitSpec(test_fraction=0.0))


def parquets() -> Iterator[Case]:
    stream = pa.BufferOutputStream()
    pq.write_table(pa.table(COLUMNS), stream)
    whole = stream.getvalue().to_pybytes()
    footer = int.from_bytes(whole[-8:-4], "little")
    for share in (0.1, 0.5, 0.9, 0.99):
        cut = whole[: int(share * len(whole))]
        yield Case(
            f"parquet_cut_at_{share}", raw(cut, "parquet"), (r"m\.parquet", "cannot be read")
        )
    for name, content in {
        "empty": b"",
        "magic_only": b"PAR1PAR1",
        "csv": GOOD_CSV.encode(),
        "no_tail": whole[:-4],
        "long_footer": whole[:-8] + b"\xff\xff\xff\x7fPAR1",
        "zeroed_footer": whole[: -footer - 8] + bytes(footer) + whole[-8:],
        "zeroed_pages": whole[:4] + bytes(200) + whole[204:],
        "arrow": b"ARROW1" + bytes(100),
        "encrypted": b"PARE" + whole[4:-4] + b"PARE",
    }.items():
        yield Case(f"parquet_{name}", raw(content, "parquet"), (r"m\.parquet", "cannot be read"))
    yield Case(
        "parquet_repeated_column",
        _repeated_column,
        (r"m\.parquet", "column 'label' is repeated; remove one"),
    )
    for rows in (2**27, 2**33):
        yield Case(f"parquet_bomb_of_{rows}", rows_bomb(rows), (r"m\.parquet: unpacks to",))
    for rows in (4_000, 20_000):
        yield Case(f"parquet_text_bomb_of_{rows}", text_bomb(rows), (r"m\.parquet: unpacks to",))
    for name, bomb in nested_bombs():
        yield Case(f"parquet_bomb_{name}", written(bomb), (r"m\.parquet: unpacks to",))
    whole = pa.table({"a": repeated(bytes(2**20), 64, pa.binary(2**20)).dictionary_decode()})
    delta = {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}}
    for name, part, options in (
        ("fixed_size", whole, {}),
        ("delta", whole.cast(pa.schema([("a", pa.binary())])), delta),
    ):
        read = in_groups(part, 17, **options)
        yield Case(f"parquet_bomb_{name}", read, (r"m\.parquet: unpacks to",))
    yield Case("parquet_10001_columns", written(_many_columns()), ("10001 columns",))
    yield Case(
        "parquet_no_row",
        raw(_bytes(pa.table({k: pa.array([], pa.string()) for k in COLUMNS})), "parquet"),
        (r"m\.parquet", "no row"),
    )
    yield Case(
        "parquet_no_column",
        raw(_bytes(pa.table({})), "parquet"),
        (r"m\.parquet: no column 'sample_id'; there is none",),
    )


def _bytes(table: pa.Table) -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream)
    return stream.getvalue().to_pybytes()


def _repeated_column(folder: Path) -> object:
    arrays = [pa.array(values) for values in (*COLUMNS.values(), COLUMNS["label"])]
    table = pa.Table.from_arrays(arrays, names=[*COLUMNS, "label"])
    return raw(_bytes(table), "parquet")(folder)


def rows_bomb(rows: int) -> Callable[[Path], object]:
    """Return a reader of a few kilobytes that claim so many rows."""

    def read(folder: Path) -> object:
        batch = pa.table({name: repeated("a", 2**20, pa.string()) for name in COLUMNS})
        stream = pa.BufferOutputStream()
        pq.write_table(batch, stream, write_statistics=False)
        content = stream.getvalue().to_pybytes()
        return raw(_more_rows(content, 2**20, rows), "parquet")(folder)

    return read


def repeated(value: Any, rows: int, kind: pa.DataType) -> pa.Array:
    """Return one value over and over, as a dictionary."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, "i4")), pa.array([value], kind))


def written(table: pa.Table, **options: Any) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        # Without the schema, or it would be read as the dictionary that it is here.
        pq.write_table(
            table, folder / "m.parquet", write_statistics=False, store_schema=False, **options
        )
        return read_source(SourceSpec("manifest", path=str(folder / "m.parquet")))

    return read


def text_bomb(rows: int) -> Callable[[Path], object]:
    """Return a reader of some kilobytes that say a text of a megabyte in each row."""
    columns = {
        "sample_id": pa.array(map(str, range(rows))),
        "path": repeated("x" * 2**20, rows, pa.string()),
        "label": repeated("cat", rows, pa.string()),
    }
    return written(pa.table(columns))


def nested_bombs() -> Iterator[tuple[str, pa.Table]]:
    rows = 4_000
    for name, kind in (("string", pa.string()), ("binary", pa.binary())):
        value = "x" * 2**20 if name == "string" else bytes(2**20)
        column = repeated(value, rows, kind)
        yield name, pa.table({"sample_id": column})
        inside = pa.StructArray.from_arrays([column, pa.nulls(rows)], ["bytes", "path"])
        yield f"{name}_struct", pa.table({"image": inside})
        lists = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype="i4")), column)
        yield f"{name}_list", pa.table({"image": lists})


def in_groups(part: pa.Table, times: int, **options: Any) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        with pq.ParquetWriter(folder / "m.parquet", part.schema, **options) as writer:
            for _ in range(times):
                writer.write_table(part)
        return read_source(SourceSpec("manifest", path=str(folder / "m.parquet")))

    return read


def _many_columns() -> pa.Table:
    return pa.table({f"c{number}": [1] for number in range(10_001)})


def _more_rows(content: bytes, rows: int, claimed: int) -> bytes:
    """Replace a number of rows in a Parquet footer (zigzag varints) by another."""
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[start:-8].replace(_varint(rows), _varint(claimed))
    return content[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _varint(value: int) -> bytes:
    value, out = value << 1, b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
