"""Sources of several files: Clothing1M, torchvision, overlays, open sets; texts."""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from corpus import Case
from corpus_images import encoded

from labelrepair.data import SourceSpec, read_source
from labelrepair.errors import ConfigError

CLOTHING = {
    "noisy_train_key_list.txt": "0.png\n1.png\n",
    "clean_train_key_list.txt": "",
    "clean_val_key_list.txt": "2.png\n",
    "clean_test_key_list.txt": "3.png\n",
    "noisy_label_kv.txt": "0.png 0\n1.png 1\n",
    "clean_label_kv.txt": "2.png 0\n3.png 1\n",
    "category_names_eng.txt": "Shirt\nVest\n",
}


def cases() -> Iterator[Case]:
    yield from clothing1m()
    yield from torchvision()
    yield from overlays()
    yield from open_sets()
    yield from texts()


def clothing(*pipes: str, **changes: str | bytes) -> Callable[[Path], object]:
    """Return a reader of a good folder with lists replaced (by name without .txt), or pipes."""

    def read(folder: Path) -> object:
        for name, content in CLOTHING.items():
            text = changes.get(name.removesuffix(".txt"), content)
            if name.removesuffix(".txt") in pipes:
                os.mkfifo(folder / name)
            else:
                (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        for row in range(4):
            (folder / f"{row}.png").write_bytes(encoded("PNG", 2))
        return read_source(SourceSpec("clothing1m", root=str(folder)))

    return read


def clothing1m() -> Iterator[Case]:
    expected = "line 2: expected 'key label', the label a class number, found '1.png"
    for name, content, said in (
        ("latin1", "0.png 0\n1ä.png 1\n".encode("latin-1"), "expected a list in UTF-8: "),
        ("utf16", CLOTHING["noisy_label_kv.txt"].encode("utf-16"), "expected a list in UTF-8: "),
        ("superscript", "0.png 0\n1.png ²\n", expected),
        ("arabic_digit", "0.png 0\n1.png \u0661\n", expected),
        ("5000_digits", "0.png 0\n1.png " + "9" * 5_000, expected),
        ("two_to_63", f"0.png 0\n1.png {2**63}\n", expected),
        ("negative", "0.png 0\n1.png -1\n", expected),
        ("fraction", "0.png 0\n1.png 0.5\n", expected),
        ("no_label", "0.png 0\n1.png\n", expected),
        (
            "contradiction",
            "0.png 0\n\n1.png 1\n0.png 1\n",
            "line 4: '0.png' has label 1, in a line before 0",
        ),
    ):
        read = clothing(noisy_label_kv=content)
        yield Case(f"clothing1m_{name}", read, (rf"noisy_label_kv\.txt[:,] {said}",))
    for name, changes, said in (
        (
            "names_repeated",
            {"category_names_eng": "Shirt\nVest\n\nShirt\n"},
            "eng.txt, line 4: 'Sh",
        ),
        (
            "names_latin1",
            {"category_names_eng": b"Shirt\nV\xeate\n"},
            "eng.txt: expected a list in",
        ),
        ("names_one", {"category_names_eng": "Shirt\n"}, "found 1 class .*expected two or more"),
        ("names_alike", {"category_names_eng": "Shirt\nSh\u0456rt\n"}, "looks like"),
        ("label_beyond", {"noisy_label_kv": "0.png 0\n1.png 2\n"}, "label 2 outside 0..1"),
        ("keys_latin1", {"clean_val_key_list": b"\xe4.png\n"}, "val_key_list.txt: expected a list"),
        (
            "keys_nul",
            {"noisy_train_key_list": "0\0.png\n", "noisy_label_kv": "0\0.png 0\n"},
            "no path",
        ),
        ("key_twice", {"noisy_train_key_list": "0.png\n0.png\n"}, "'0.png' is repeated"),
        ("key_unlabelled", {"noisy_train_key_list": "9.png\n"}, "train image '9.png' has no label"),
        ("no_key", {"noisy_train_key_list": ""}, "training split is empty"),
    ):
        yield Case(f"clothing1m_{name}", clothing(**changes), (said,))

    for name in ("noisy_label_kv", "category_names_eng"):
        said = f"no file at .*{name}.txt: it is no regular file"
        yield Case(f"clothing1m_pipe_{name}", clothing(name), (said,))


def idx(*shape: int, code: int = 8, data: bytes | None = None) -> bytes:
    """Return a file of MNIST's format; code 8 is uint8, 13 float32."""
    size = int(np.prod(shape)) * {8: 1, 12: 4, 13: 4}[code]
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape) + (data or bytes(size))


def mnist(**files: bytes) -> Callable[[Path], object]:
    """Return a reader of MNIST with some files replaced."""
    labels = idx(4, data=bytes(range(4)))
    good = {"train_images": idx(4, 2, 2), "t10k_images": idx(4, 2, 2)}
    good |= {"train_labels": labels, "t10k_labels": labels}

    def read(folder: Path) -> object:
        raw = folder / "MNIST/raw"
        raw.mkdir(parents=True)
        for name, content in (good | files).items():
            split, part = name.split("_")
            (raw / f"{split}-{part}-idx{3 if part == 'images' else 1}-ubyte").write_bytes(content)
        return read_source(SourceSpec("torchvision", name="MNIST", root=str(folder)))

    return read


def torchvision() -> Iterator[Case]:
    damaged = "torchvision MNIST: not found, or damaged, in .*MNIST/raw "
    for name, files, said in (
        ("float", {"train_images": idx(4, 2, 2, code=13)}, damaged + ".*uint8 .*float32"),
        ("int32", {"t10k_images": idx(4, 2, 2, code=12)}, damaged + ".*uint8 .*int32"),
        ("float_labels", {"train_labels": idx(4, code=13)}, damaged + ".*uint8 .*float32"),
        ("one_axis", {"train_images": idx(4)}, damaged + ".*3 dimension"),
        ("cut", {"train_images": idx(4, 2, 2)[:-3]}, damaged),
        ("empty", {"train_images": b""}, damaged),
        ("text", {"train_images": b"not an idx file"}, damaged),
        ("huge", {"train_images": idx(2**31, 2**31, 2, data=bytes(8))}, damaged),
        ("size", {"t10k_images": idx(4, 3, 2)}, r"test images in .*MNIST/raw are \(1, 3, 2\), exp"),
        ("short_labels", {"train_labels": idx(3)}, "8 features for 7 sample ids"),
        ("label", {"train_labels": idx(4, data=bytes([200] * 4))}, "label 200 outside 0..9"),
    ):
        yield Case(f"torchvision_{name}", mnist(**files), (said,))
    unknown = lambda f: read_source(SourceSpec("torchvision", name="MNITS", root=str(f)))  # noqa: E731
    yield Case("torchvision_name", unknown, ("name: .*'MNITS'; did you mean 'MNIST'",), ConfigError)


def base(folder: Path, rows: int = 6, width: int = 2, **arrays: Any) -> SourceSpec:
    """Write arrays of vectors, and return their source."""
    file = folder / f"base{rows}{width}.npz"
    features = np.ones((rows, width), np.float32)
    np.savez(file, **({"features": features, "labels": np.arange(rows) % 2} | arrays))
    return SourceSpec("npz", path=str(file))


def overlay(content: Any, suffix: str = "npy", **options: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        file = folder / f"o.{suffix}"
        if isinstance(content, bytes):
            file.write_bytes(content)
        elif isinstance(content, dict):
            np.savez(file, **content)
        else:
            np.save(file, content)
        return read_source(SourceSpec("overlay", base=base(folder), labels=str(file), **options))

    return read


def overlays() -> Iterator[Case]:
    codes = np.arange(6) % 2
    for name, content, said in (
        ("short", codes[:5], "5 labels for 6 training rows"),
        ("two_axes", codes[:, None], r"labels are \(6, 1\), expected one axis"),
        ("structured", np.zeros(6, [("a", "i4")]), "the array is of type .*expected text or numb"),
        ("void", np.zeros(6, "V4"), "the array is of type .*V4, expected text or numbers"),
        ("objects", codes.astype(object), "without pickle"),
        ("nan", np.where(codes, np.nan, 0.0), "'row-00001'.*label is blank"),
        ("fraction", codes / 2, "unknown class '0.0'; expected one of 0, 1"),
        ("beyond", codes * 2, "label 2 outside 0..1"),
        ("negative", codes - 1, "label -1 outside 0..1"),
        (
            "two_to_63",
            codes.astype(np.uint64) * np.uint64(2**63),
            f"label {2**63} is no class number",
        ),
        ("name", np.where(codes, "0", "one"), "unknown class 'one'"),
        ("cut", b"\x93NUMPY\x01\x00v\x00{'descr'", "not a readable array file"),
        ("empty", b"", "not a readable array file"),
    ):
        yield Case(f"overlay_{name}", overlay(content), (r"o\.npy", said))
    for name, content, suffix, options, said in (
        ("pickle", b"\x80\x04K\x01.", "pt", {}, "a pickled file can run code and is not read"),
        ("two_arrays", {"a": codes, "b": codes}, "npz", {}, "set key to .*one of a, b"),
        ("unknown_key", {"worst": codes}, "npz", {"key": "worse"}, "did you mean 'worst'"),
        ("two_columns", b"a,b\n" + b"0,1\n" * 6, "csv", {}, "set column to .*one of a, b"),
        ("blank", b"a,b\n" + b"0,1\n" * 5 + b",1\n", "csv", {"column": "a"}, "label is blank"),
        ("gz", b"\x1f\x8b", "csv.gz", {}, "a compressed table is not read"),
    ):
        yield Case(f"overlay_{name}", overlay(content, suffix, **options), (rf"o\.{suffix}", said))


def open_sets() -> Iterator[Case]:
    def mixed(rate: float = 0.5, added: bool = False, **other: Any) -> Callable[[Path], object]:
        def read(folder: Path) -> object:
            sources = {"base": base(folder), "other": base(folder, **({"rows": 8} | other))}
            return read_source(SourceSpec("open_set", **sources, rate=rate, added=added))

        return read

    images = {"features": np.zeros((8, 4, 4), np.uint8)}
    for name, read, said in (
        (
            "width",
            mixed(width=3),
            r"samples of other are float32 \(3,\), those of base float32 \(2,\)",
        ),
        (
            "images",
            mixed(**images),
            r"samples of other are uint8 \(1, 4, 4\), those of base float32",
        ),
        ("few", mixed(0.9, rows=4), "5 foreign samples are needed, other has 4"),
        ("few_added", mixed(0.9, True), "54 foreign samples are needed, other has 8"),
        ("only_test", mixed(split=np.array(["test"] * 8)), "base82.npz.*training split is empty"),
    ):
        yield Case(f"open_set_{name}", read, (said,))
    for rate in (1.0, -0.1, float("nan")):
        yield Case(f"open_set_rate_{rate}", mixed(rate), ("rate: must",), ConfigError)
    yield Case("open_set_of_text", _text_base, ("tokens? .*texts",))


def _text_base(folder: Path) -> object:
    return text()(folder, lambda spec: SourceSpec("open_set", base=spec, other=spec))


def text(rows: int = 6, *, texts: Any = None, **options: Any) -> Callable[..., object]:
    """Return a reader of a manifest of texts."""

    def read(folder: Path, outer: Callable[[SourceSpec], SourceSpec] = lambda s: s) -> object:
        lines = [f"s{row},{(texts or {}).get(row, 'good words')},{row % 2}" for row in range(rows)]
        (folder / "m.csv").write_text("sample_id,text,label\n" + "\n".join(lines) + "\n")
        spec = SourceSpec(
            "manifest", path=str(folder / "m.csv"), **({"text_column": "text"} | options)
        )
        return read_source(outer(spec))

    return read


def texts() -> Iterator[Case]:
    for name, read, said in (
        ("blank", text(texts={3: ""}), "'text' is blank in line 5"),
        ("nul", text(texts={3: "a\0b"}), "line 5 holds a NUL"),
        ("comma", text(texts={3: "a, b"}), "m.csv: cannot be read as a table"),
        ("column", text(text_column="txt"), "no column 'txt'; did you mean 'text'"),
        ("none", text(rows=0), "m.csv: the table has no row"),
        (
            "memory",
            text(rows=300_000, length=1_000_000),
            "length: 300000 texts of 1000000 tokens .*GiB",
        ),
    ):
        yield Case(f"text_{name}", read, (said,))
    bound = r"length: must lie in \[1, 1000000\], found 1"
    whole = "length: expected a whole number of at least 1, found"
    for name, options, said in (
        ("length_10_to_9", {"length": 10**9}, bound),
        ("length_2_to_70", {"length": 2**70}, bound),
        ("length_0", {"length": 0}, whole),
        ("length_negative", {"length": -1}, whole),
        ("length_fraction", {"length": 2.5}, whole),
        ("length_nan", {"length": float("nan")}, whole),
        ("vocabulary", {"vocabulary_size": 3}, "vocabulary_size: must exceed 3"),
        ("pattern", {"token_pattern": "("}, "token_pattern: not a regular expression"),
        ("pattern_of_nothing", {"token_pattern": "a*"}, "matches the empty word"),
        ("pattern_of_groups", {"token_pattern": "(a)(b)"}, "one group at most, found 2"),
    ):
        yield Case(f"text_{name}", text(**options), (said,), ConfigError)
