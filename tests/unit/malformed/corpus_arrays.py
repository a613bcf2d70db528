"""Array files, Hugging Face files, folders, checkpoints and models: damaged, tampered, bombs."""

import io
import json
import os
import pickle
import socket
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from corpus import Case
from corpus_images import encoded

from labelrepair.data import SourceSpec, read_source
from labelrepair.data.store import read_features
from labelrepair.errors import CheckpointError, DataError
from labelrepair.networks.classifier import Classifier, Normalizer, build_from_spec, classifier_spec
from labelrepair.networks.penultimate import model_features
from labelrepair.training.checkpoint import Checkpointer

N = 8
VECTORS, LABELS = np.ones((N, 3), np.float32), np.arange(N) % 2


class Harm:
    """Unpickling this writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def cases() -> Iterator[Case]:
    yield from npz_arrays()
    yield from npz_types()
    yield from npz_files()
    yield from stores()
    yield from huggingface()
    yield from folders()
    yield from pipes()
    yield from checkpoints()
    yield from models()


def npz(**arrays: Any) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        values = {"features": VECTORS, "labels": LABELS, **arrays}
        np.savez(folder / "d.npz", **{k: v for k, v in values.items() if v is not None})
        return read_source(SourceSpec("npz", path=str(folder / "d.npz")))

    return read


def with_value(value: float, row: int = 5) -> np.ndarray:
    vectors = VECTORS.astype(np.float64)
    vectors[row, 1] = value
    return vectors


def npz_arrays() -> Iterator[Case]:
    far = {"labels": np.array([0, 1] * 3 + [0, 2**31])}
    many = np.arange(N) * 20_000
    for name, arrays, said in (
        ("nan", {"features": with_value(np.nan)}, "row 5 holds NaN or infinity"),
        ("inf", {"features": with_value(np.inf)}, "row 5 holds NaN or infinity"),
        ("minus_inf", {"features": with_value(-np.inf)}, "row 5 holds NaN or infinity"),
        ("too_large_for_float32", {"features": with_value(1e39)}, "row 5 holds NaN or infinity"),
        ("no_features", {"features": None}, "no array 'features'"),
        ("no_labels", {"labels": None}, "no array 'labels'"),
        ("no_row", {"features": VECTORS[:0], "labels": LABELS[:0]}, "at least one row"),
        ("no_column", {"features": VECTORS[:, :0]}, "at least one row"),
        ("scalar", {"features": np.float32(1)}, "at least one row"),
        ("one_axis", {"features": VECTORS[:, 0]}, "expected uint8 images"),
        ("three_float_axes", {"features": VECTORS[:, :, None]}, "expected uint8 images"),
        ("complex", {"features": VECTORS.astype(complex)}, "expected uint8 images"),
        ("words", {"features": VECTORS.astype(str)}, "expected uint8 images"),
        ("bool", {"features": VECTORS.astype(bool)}, "expected uint8 images"),
        ("structured", {"features": np.zeros(N, [("a", "f4")])}, "expected uint8 images"),
        ("channels_unclear", {"features": np.zeros((N, 3, 4, 3), np.uint8)}, "one axis of 1 or 3"),
        ("channels_missing", {"features": np.zeros((N, 4, 4, 4), np.uint8)}, "one axis of 1 or 3"),
        ("objects", {"features": VECTORS.astype(object)}, "without pickle"),
        ("object_labels", {"labels": LABELS.astype(object)}, "without pickle"),
        ("short_labels", {"labels": LABELS[:-1]}, r"'labels' is \(7,\), expected \(8,\)"),
        ("one_hot_labels", {"labels": np.eye(N)}, r"'labels' is \(8, 8\)"),
        ("label_two_to_31", far, "'row-00007': label 2147483648 is no class number"),
        ("label_negative", {"labels": LABELS - 1}, "'row-00000': label -1 outside"),
        ("label_nan", {"labels": LABELS + np.nan}, "'row-00000'.*blank"),
        (
            "label_inf",
            {"labels": np.where(LABELS, np.inf, 0.0)},
            "row 1: expected text or a number, found inf",
        ),
        ("label_fraction", {"labels": LABELS / 2}, "label 0.5 is a measure"),
        (
            "label_complex",
            {"labels": LABELS * 1j},
            "row 0: expected text or a number, found complex",
        ),
        (
            "label_dates",
            {"labels": LABELS.astype("M8[D]")},
            "row 0: expected text or a number, found Timestamp",
        ),
        (
            "label_not_utf8",
            {"labels": np.array([b"\xff", b"a"] * 4)},
            "'labels' is not UTF-8 text: .*byte 0xff",
        ),
        ("label_one_class", {"labels": LABELS * 0}, "1 class"),
        ("labels_far_apart", {"labels": many}, "is no class number"),
        ("ids_short", {"sample_ids": np.arange(3)}, "'sample_ids' is"),
        ("ids_repeated", {"sample_ids": LABELS}, "'0' is repeated"),
        ("ids_blank", {"sample_ids": np.array([""] * N)}, "row 0 has a blank"),
        ("ids_nan", {"sample_ids": np.where(np.arange(N) == 2, np.nan, 1.5)}, "row 2 has a blank"),
        (
            "ids_not_utf8",
            {"sample_ids": np.array([b"\xff%d" % i for i in range(N)])},
            "'sample_ids' is not UTF-8 text: .*byte 0xff",
        ),
        ("ids_surrogate", {"sample_ids": np.array([f"\ud800{i}" for i in range(N)])}, "UTF-8"),
        ("split_short", {"split": np.array(["train"])}, "'split' is"),
        ("split_unknown", {"split": np.array(["dev"] + ["train"] * 7)}, "unknown split 'dev'"),
        ("split_all_test", {"split": np.array(["test"] * N)}, "training split is empty"),
        ("split_numbers", {"split": LABELS}, "training split is empty"),
    ):
        yield Case(f"npz_{name}", npz(**arrays), (r"d\.npz", said))


def npz_types() -> Iterator[Case]:
    """Columns of structures, and of bytes without a type."""
    for kind, dtype in (("structured", np.dtype([("a", "i4")])), ("void", np.dtype("V4"))):
        for key in ("labels", "sample_ids", "split", "true_labels"):
            said = rf"d\.npz: array '{key}' is of type .*, expected text or numbers"
            yield Case(f"npz_{kind}_{key}", npz(**{key: np.zeros(N, dtype)}), (said,))


def as_file(content: bytes, suffix: str = "npz") -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        (folder / f"d.{suffix}").write_bytes(content)
        return read_source(SourceSpec("npz", path=str(folder / f"d.{suffix}")))

    return read


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode("latin1")
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


def packed(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz_files() -> Iterator[Case]:
    labels, whole = saved(LABELS), packed(features=saved(VECTORS), labels=saved(LABELS))
    unreadable = (r"d\.npz", "not a readable array file|unpacks to|more than")
    for share in (0.05, 0.3, 0.6, 0.95):
        yield Case(f"npz_cut_at_{share}", as_file(whole[: int(share * len(whole))]), unreadable)
    broken = bytearray(whole)
    broken[60:90] = bytes(30)
    claim = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }\n"
    claims = {
        "terabytes": claim % f"{2**40}, 3",
        "eight_exabytes": claim % f"{2**62}, 3",
        "beyond_int64": claim % f"{2**70}, 3",
        "negative": claim % "-8, 3",
        "more_than_there_is": claim % "800, 3",
        "gigabytes": claim % f"{2**28}, 3",
        "object": "{'descr': '|O', 'fortran_order': False, 'shape': (8, 3), }\n",
        "code": "{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (8, 3), }\n",
        "unknown_type": "{'descr': '<q99', 'fortran_order': False, 'shape': (8, 3), }\n",
        "no_shape": "{'descr': '<f4'}\n",
        "no_dict": "[1, 2, 3]\n",
        "open_brackets": "{'descr': ((((((((\n",
        "deep": "(" * 3_000 + "\n",
        "not_ascii": "{'descr': '\xff'}\n",
        "empty": "",
    }
    for name, header in claims.items():
        content = packed(features=npy(header, bytes(96)), labels=labels)
        yield Case(f"npz_header_{name}", as_file(content), unreadable)
    other = "not a readable array file: it begins with b.{}.*, expected .npz or .npy"
    starts = {
        "empty": "not a readable array file: it is empty, expected .npz or .npy",
        "text": other.format("0,1,2"),
        "pickle": other.format(""),
        "lfs_pointer": other.format("version https"),
        "empty_zip": "no array 'features'; there is none",
        "zip_of_text": "not a readable array file: 'features' is no NumPy array",
        "flipped": "not a readable array file .*: Bad CRC-32",
        "encrypted_flag": "not a readable array file .* is encrypted",
        "unknown_compression": "not a readable array file .*compression method is not supported",
    }
    huge = packed(features=npy(claim % f"{2**28}, 1", bytes(2**20)), labels=labels)
    for name, content in {
        "empty": b"",
        "text": b"0,1,2\n",
        "pickle": pickle.dumps([1, 2, 3]),
        "empty_zip": packed(),
        "zip_of_text": packed(features=b"hello", labels=labels),
        "flipped": bytes(broken),
        "claims_a_gibibyte": huge,
        "version_9": packed(features=npy("{}", version=9), labels=labels),
        "encrypted_flag": whole.replace(
            b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01"
        ).replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
        "unknown_compression": whole.replace(b"\x00\x00\x08\x00", b"\x00\x00\x63\x00"),
        "lfs_pointer": b"version https://git-lfs.github.com/spec/v1\n",
    }.items():
        said = (f"d.npz: {starts[name]}",) if name in starts else unreadable
        yield Case(f"npz_{name}", as_file(content), said)
    yield Case("npz_bomb", _zip_bomb, (r"d\.npz", "unpacks to .* GiB"))
    yield Case("npz_harmful", _harmful_npz, (r"d\.npz", "without pickle"))


def _zip_bomb(folder: Path) -> object:
    """A directory that tells of 4 TiB, as a real bomb's does."""
    content = bytearray(packed(features=saved(VECTORS), labels=saved(LABELS)))
    at = content.index(b"PK\x01\x02")
    extra = struct.pack("<HHQ", 1, 8, 2**42)  # zip64: the true size
    name = struct.unpack_from("<H", content, at + 28)[0]
    struct.pack_into("<I", content, at + 24, 0xFFFFFFFF)
    struct.pack_into("<H", content, at + 30, len(extra))
    content[at + 46 + name : at + 46 + name] = extra
    end = content.index(b"PK\x05\x06")
    size = struct.unpack_from("<I", content, end + 12)[0]
    struct.pack_into("<I", content, end + 12, size + len(extra))
    return as_file(bytes(content))(folder)


def _harmful_npz(folder: Path) -> object:
    try:
        return npz(features=np.array([Harm(folder / "harm")] * N))(folder)
    finally:
        assert not (folder / "harm").exists()


def stores() -> Iterator[Case]:
    whole = saved(VECTORS)
    for name, content in {
        "empty": b"",
        "cut": whole[:100],
        "cut_header": whole[:20],
        "no_magic": bytes(200),
        "object": npy("{'descr': '|O', 'fortran_order': False, 'shape': (8,), }\n", bytes(64)),
        "terabytes": npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**40},), }}\n"),
        "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-8,), }\n", bytes(64)),
        "deep": npy("(" * 3_000 + "\n"),
        "zip": packed(features=whole),
    }.items():
        yield Case(f"store_{name}", _store(content), (r"features\.npy", "not a readable"))


def _store(content: bytes) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        (folder / "features.npy").write_bytes(content)
        return read_features(folder / "features.npy")

    return read


def huggingface() -> Iterator[Case]:
    images = [encoded("PNG", 2)] * N
    good = {"img": images, "label": LABELS.tolist()}

    def read(table: pa.Table | bytes) -> Callable[[Path], object]:
        def inner(folder: Path) -> object:
            if isinstance(table, bytes):
                (folder / "t.parquet").write_bytes(table)
            else:
                pq.write_table(table, folder / "t.parquet", write_statistics=False)
            return read_source(
                SourceSpec("huggingface", files={"train": str(folder / "t.parquet")})
            )

        return inner

    def meta(content: bytes) -> pa.Table:
        return pa.table(good).replace_schema_metadata({"huggingface": content})

    stream = pa.BufferOutputStream()
    pq.write_table(pa.table(good), stream)
    whole = stream.getvalue().to_pybytes()
    for name, table, said in (
        ("cut", whole[:-30], r"t\.parquet: not a readable"),
        ("empty", b"", r"t\.parquet: not a readable"),
        (
            "zeroed_pages",
            whole[:4] + bytes(300) + whole[304:],
            r"t\.parquet: not a readable Parquet file: ",
        ),
        ("no_image", pa.table({"label": LABELS}), "none of the columns"),
        ("no_label", pa.table({"img": images}), "no column 'label'"),
        ("no_row", pa.table(good).slice(0, 0), "no row"),
        ("label_null", pa.table({**good, "label": [None, 1] * 4}), "label is blank"),
        (
            "label_list",
            pa.table({**good, "label": [[0], [1]] * 4}),
            "row 0: expected text or a number, found ndarray",
        ),
        ("label_two_to_31", pa.table({**good, "label": [2**31, 1] * 4}), "no class number"),
        ("image_text", pa.table({**good, "img": ["a"] * N}), "no encoded image bytes"),
        ("image_null", pa.table({**good, "img": [None] * N}), "no encoded image bytes"),
        ("image_cut", pa.table({**good, "img": [images[0][:30]] * N}), "not a readable image"),
        ("metadata_no_json", meta(b"{"), r"t\.parquet.*metadata"),
        ("metadata_list", meta(b"[1]"), r"t\.parquet.*metadata"),
        ("metadata_number", meta(json.dumps({"info": 3}).encode()), r"t\.parquet.*metadata"),
        (
            "metadata_names",
            meta(json.dumps({"info": {"features": {"label": {"names": 3}}}}).encode()),
            r"t\.parquet.*metadata",
        ),
        ("metadata_not_utf8", meta(b"\xff\xfe"), r"t\.parquet.*metadata"),
    ):
        yield Case(f"huggingface_{name}", read(table), (said,))
    picture = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4_000, "i4")), [bytes(2**20)])
    inside = pa.StructArray.from_arrays([picture, pa.nulls(4_000)], ["bytes", "path"])
    for name, column in (("bytes", picture), ("structure", inside)):
        bomb = pa.table({"img": column, "label": pa.array(np.zeros(4_000, "i8"))})
        yield Case(f"huggingface_bomb_of_{name}", read(bomb), (r"t\.parquet: unpacks to",))


def folders() -> Iterator[Case]:
    def layout(*files: str, content: bytes = encoded("PNG", 2)) -> Callable[[Path], object]:
        def read(folder: Path) -> object:
            for name in files:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            return read_source(SourceSpec("image_folder", path=str(folder)))

        return read

    def linked(folder: Path) -> object:
        (folder / "a").mkdir()
        (folder / "b").symlink_to("/etc")
        return layout("a/0.png")(folder)

    def beside(special: Callable[[Path], object]) -> Callable[[Path], object]:
        def read(folder: Path) -> object:
            (folder / "a").mkdir()
            special(folder / "a" / "9.png")
            return layout("a/0.png", "b/1.png")(folder)

        return read

    def linked_pipe(path: Path) -> None:
        os.mkfifo(path.parent / "pipe")
        path.symlink_to("pipe")

    no_file = r"no file at .*a/9\.png: it is no regular file"
    for name, read, said in (
        ("pipe", beside(os.mkfifo), no_file),
        ("link_to_a_pipe", beside(linked_pipe), no_file),
        ("socket", beside(_socket), no_file),
        ("link_to_nothing", beside(lambda path: path.symlink_to("gone.png")), no_file),
        ("no_class", layout(), "no class folder"),
        ("flat", layout("0.png", "1.png"), "no class folder"),
        ("one_class", layout("a/0.png", "a/1.png"), "1 class"),
        ("empty_class", layout("a/0.png", "b/readme.txt"), "folder .*b holds no image"),
        ("only_test", layout("test/a/0.png", "test/b/1.png"), "training split is empty"),
        ("cut_image", layout("a/0.png", "b/1.png", content=b"\x89PNG"), "0.png: not a readable"),
        ("alike_classes", layout("a/0.png", "\u0430/1.png"), "looks like"),
        ("alike_files", layout("a/\u00e9.png", "a/e\u0301.png", "b/1.png"), "looks like"),
        ("bidi_file", layout("a/gnp\u202e.png", "b/1.png"), r"U\+202E"),
        ("newline_file", layout("a/0\n.png", "b/1.png"), r"U\+000A"),
        ("link_out", linked, "leads outside"),
        (
            "is_a_file",
            lambda f: read_source(SourceSpec("image_folder", path=__file__)),
            "no folder",
        ),
    ):
        yield Case(f"folder_{name}", read, (said,))


def _socket(path: Path) -> None:
    """Make a socket; its name may have about 100 bytes, so that it is bound elsewhere."""
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s")
        os.link(f"{short}/s", path)


def pipes() -> Iterator[Case]:
    """Pipes in place of files, which nobody ever writes into."""

    def read(name: str, kind: str) -> Callable[[Path], object]:
        def inner(folder: Path) -> object:
            os.mkfifo(folder / name)
            paths = {"files": {"train": str(folder / name)}} if kind == "huggingface" else {}
            return read_source(SourceSpec(kind, **(paths or {"path": str(folder / name)})))

        return inner

    for name, kind in (
        ("m.csv", "manifest"),
        ("m.csv.gz", "manifest"),
        ("m.parquet", "manifest"),
        ("d.npz", "npz"),
        ("t.parquet", "huggingface"),
        ("t", "image_folder"),
    ):
        yield Case(f"pipe_{kind}_{name}", read(name, kind), (name, "no (file|folder) at"))

    def store(folder: Path) -> object:
        os.mkfifo(folder / "features.npy")
        return read_features(folder / "features.npy")

    yield Case("pipe_store", store, (r"features\.npy", "no features file"))


def checkpoints() -> Iterator[Case]:
    def read(tamper: Callable[[Path], object]) -> Callable[[Path], object]:
        def inner(folder: Path) -> object:
            keeper = Checkpointer(folder, {"data": "mine"})
            keeper.save({"position": [0, 1], "weights": torch.ones(64)})
            tamper(keeper.path)
            return keeper.load()

        return inner

    def cut(share: float) -> Callable[[Path], object]:
        return lambda p: _keep(p, share)

    def of_another(path: Path) -> None:
        other = Checkpointer(path.parent, {"data": "theirs"})
        other.save({"position": [0, 1]})
        other.path.rename(path)

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        at = content.index(torch.ones(4).numpy().tobytes())
        content[at] ^= 1
        path.write_bytes(content)

    def written(value: Any) -> Callable[[Path], object]:
        return lambda path: torch.save(value, path)

    unreadable = "not a readable checkpoint.*delete it"
    for name, tamper, said in (
        *((f"cut_at_{share}", cut(share), unreadable) for share in (0.0, 0.1, 0.5, 0.9)),
        ("of_another_data_set", of_another, "checkpoint of another run"),
        ("one_bit_flipped", flip, unreadable),
        ("text", lambda p: p.write_text("hello"), unreadable),
        ("pickle", lambda p: p.write_bytes(pickle.dumps({"format": 1})), unreadable),
        ("list", written([1, 2]), unreadable),
        ("tensor", written(torch.ones(3)), unreadable),
        ("empty_dict", written({}), "checkpoint of another run"),
        ("other_format", written({"format": 99}), "found format 99"),
        ("module", written(torch.nn.Linear(2, 2)), unreadable),
        ("zip", lambda p: p.write_bytes(packed(a=b"b")), unreadable),
        ("folder", lambda p: (p.unlink(), p.mkdir()), unreadable),
        ("harmful", lambda p: torch.save(Harm(p.parent / "harm"), p), unreadable),
    ):
        yield Case(f"checkpoint_{name}", read(tamper), (r"\.pt: ", said), CheckpointError)


def _keep(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def models() -> Iterator[Case]:
    spec = classifier_spec("mlp", {"hidden": (4,)}, (3,), 2, 1)
    networks = torch.nn.ModuleList([build_from_spec(spec)])
    good = Classifier(Normalizer(), networks, spec).state()

    def read(value: Any) -> Callable[[Path], object]:
        def inner(folder: Path) -> object:
            content = value(folder) if callable(value) else value
            if isinstance(content, bytes):
                (folder / "model.pt").write_bytes(content)
            else:
                torch.save(content, folder / "model.pt")
            try:
                return model_features(folder / "model.pt", torch.ones(2, 3))
            finally:
                assert not (folder / "harm").exists()

        return inner

    def imports(folder: Path) -> dict[str, Any]:
        # A "network" by import path would be a way to run code.
        harm = {**spec, "name": "os:mkdir", "options": {"path": str(folder / "harm")}}
        return {**good, "spec": harm}

    for name, value in {
        "empty": b"",
        "text": b"hello",
        "pickle": pickle.dumps({"spec": spec}),
        "harmful": lambda folder: Harm(folder / "harm"),
        "imports": imports,
        "list": [1],
        "empty_dict": {},
        "no_weights": {"spec": spec},
        "no_spec": {"weights": good["weights"]},
        "other_network": {**good, "spec": {**spec, "options": {"hidden": (5,)}}},
        "unknown_network": {**good, "spec": {**spec, "name": "mpl"}},
        "huge_network": {**good, "spec": {**spec, "options": {"hidden": (2**40,)}}},
        "many_networks": {**good, "spec": {**spec, "count": 10**9}},
        "fewer_networks": {**good, "spec": {**spec, "count": 0}},
        "spec_text": {**good, "spec": "mlp"},
        "weights_text": {**good, "weights": "none"},
        "nothing": None,
    }.items():
        yield Case(f"model_{name}", read(value), (r"model\.pt: not a model file",), DataError)
