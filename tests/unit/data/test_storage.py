"""Features in shards and in image files: the rows of an array, and errors that name the row."""

import errno
import io
import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from labelrepair.data import SourceSpec, read_source
from labelrepair.data import images as images_module
from labelrepair.data import shards as shards_module
from labelrepair.data.image_files import FILES, ImageFiles
from labelrepair.data.images import EncodedImages
from labelrepair.data.rows import blocks, take
from labelrepair.data.shards import HASHES, MANIFEST, Shards, shard_name
from labelrepair.data.storage import StorageSpec, fingerprint, load_features, save_features, stored
from labelrepair.errors import ConfigError, DataError, StoreError
from labelrepair.ingest import SplitSpec, tabulate
from labelrepair.io import FeatureDataset
from labelrepair.label_table import CONTENT_HASH, content_hashes

ROWS = 23


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 256, (ROWS, 3, 4, 5), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, array):
    """An image folder of the array's rows, in the order of their names."""
    for row, pixels in enumerate(array):
        path = tmp_path / "raw" / f"class{row % 2}" / f"{row:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    return tmp_path / "raw"


def spec(tmp_path, kind="shards", rows=5):
    return StorageSpec(kind, shard_bytes=rows * 60, unfinished=str(tmp_path / "unfinished"))


def shards(tmp_path, array, name="features"):
    store, _ = stored(array, spec(tmp_path))
    save_features(tmp_path / name, store)
    return load_features(tmp_path / name)


def read(folder, **more):
    return read_source(SourceSpec("image_folder", path=str(folder)), **more)


# -- the same rows -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["shards", "files"])
def test_a_store_is_indexed_like_the_array(tmp_path, folder, kind):
    expected = read(folder).features
    store, hashes = stored(read(folder, decode=False).features, spec(tmp_path, kind))
    assert hashes == content_hashes(expected)
    save_features(tmp_path / "features", store)
    found = load_features(tmp_path / "features")
    assert isinstance(found, {"shards": Shards, "files": ImageFiles}[kind])
    assert (found.shape, found.dtype, found.ndim) == (expected.shape, expected.dtype, 4)
    assert (len(found), found.nbytes) == (ROWS, expected.nbytes)
    mask = np.arange(ROWS) % 3 == 1
    for key in (0, -1, np.int64(7), slice(3, 17, 4), mask, [4, 4, 0, 22, -2], np.array([], int)):
        np.testing.assert_array_equal(found[key], expected[key])
        if not isinstance(key, (int, np.integer)):
            np.testing.assert_array_equal(np.asarray(take(found, key)), take(expected, key))
    np.testing.assert_array_equal(np.asarray(found), expected)
    np.testing.assert_array_equal(found.take(mask).take([1, 0])[:], expected[mask][[1, 0]])
    np.testing.assert_array_equal(np.concatenate(list(blocks(found, 200))), expected)
    for wrong in (ROWS, [0, ROWS], np.ones(3, bool)):
        with pytest.raises(IndexError):
            found[wrong]


def test_large_rows_are_copied_one_by_one(tmp_path):
    array = np.random.default_rng(1).integers(0, 256, (9, 3, 80, 90), dtype=np.uint8)
    wide = StorageSpec("shards", shard_bytes=2 * array[0].nbytes, unfinished=str(tmp_path))
    rows = [8, 0, 3, 3, 2, 7]
    np.testing.assert_array_equal(stored(array, wide)[0][rows], array[rows])


@pytest.mark.parametrize(
    "array",
    [np.arange(60, dtype=np.float32).reshape(20, 3), np.arange(40, dtype=np.int32).reshape(20, 2)],
    ids=["vectors", "tokens"],
)
def test_shards_hold_any_numbers(tmp_path, array):
    found = shards(tmp_path, array)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found[::-1], array[::-1])


def test_auto_is_resident_up_to_the_limit(tmp_path, array):
    def kind(limit):
        chosen = StorageSpec(limit_bytes=limit, unfinished=str(tmp_path / "unfinished"))
        return type(stored(array, chosen)[0])

    assert kind(array.nbytes) is np.ndarray
    assert kind(array.nbytes - 1) is Shards


def test_the_label_table_is_the_same_however_features_are_kept(tmp_path, folder):
    tables = [
        tabulate(read(folder, decode=False), SplitSpec(), spec(tmp_path, kind))[1]
        for kind in ("resident", "shards", "files")
    ]
    assert tables[0][CONTENT_HASH].nunique() == ROWS
    for table in tables[1:]:
        assert table.equals(tables[0])


def test_the_catalog_replaces_one_form_by_another(tmp_path, array, folder):
    dataset = FeatureDataset(filepath=str(tmp_path / "features.npy"), workers=3)
    files, _ = stored(read(folder, decode=False).features, spec(tmp_path, "files"))
    made, _ = stored(array, spec(tmp_path))
    again, _ = stored(array, spec(tmp_path / "more", rows=4))
    forms = {np.memmap: [array, array], Shards: [made, again], ImageFiles: [files, files]}
    for form in [np.memmap, Shards, ImageFiles, np.memmap, ImageFiles, Shards]:
        dataset.save(forms[form].pop(0))
        found = dataset.load()
        assert isinstance(found, form)
        assert len(found) == ROWS
        assert getattr(found, "workers", 3) == (0 if form is Shards else 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "features.npy",
        "more",
        "raw",
        "unfinished",
    ]
    assert not list(tmp_path.glob("**/unfinished/*")), "made shards are moved, not copied"


def test_only_unfinished_shards_are_removed(tmp_path, array):
    """The folder may be one that others use, too."""
    kept = ["notes/a.txt", "0123456789abcdef/theirs.csv", "0123456789abcdef/shard-000000.npy"]
    for name in [*kept, "fedcba9876543210/shard-000000.npy", "fedcba9876543210/.hashes.npy.part"]:
        file = tmp_path / "unfinished" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    made, _ = stored(array, spec(tmp_path))
    assert all((tmp_path / "unfinished" / name).exists() for name in kept)
    left = {path.name for path in (tmp_path / "unfinished").iterdir()}
    assert left == {"notes", "0123456789abcdef", made.folder.name}


def test_paths_below_the_project_move_with_it(tmp_path, folder, array, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = EncodedImages([str(folder / "class0" / "00.png")], ["a"], "RGB", None)
    stored(images, spec(tmp_path, "files"))[0].save(tmp_path / "features")
    (tmp_path / "elsewhere").mkdir()
    os.rename(folder, tmp_path / "elsewhere" / "raw")
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.testing.assert_array_equal(load_features(tmp_path / "features")[0], array[0])


# -- written once ------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def test_an_image_of_another_size_is_refused_before_it_is_decoded(png, monkeypatch):
    images = images_module.EncodedImages([png(0, (2, 3)), png(0, (900, 3))], "ab", "RGB", None)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match="b: image is 900x3, a is 2x3; set image_size"):
        images.decode(1)


def test_a_stopped_ingestion_goes_on_with_its_shards(tmp_path, folder, monkeypatch):
    decoded, decode = [], images_module.decode_image

    def counting(source, *more):
        decoded.append(source)
        if len(decoded) == 13:
            raise Killed
        return decode(source, *more)

    monkeypatch.setattr(images_module, "decode_image", counting)
    with pytest.raises(Killed):
        stored(read(folder, decode=False).features, spec(tmp_path))
    first = sorted(p.name for p in (tmp_path / "unfinished").glob("*/*"))
    assert first == [shard_name(0), shard_name(1)], "one look at the first image, two shards"
    decoded[:] = [None] * 100
    store, _ = stored(read(folder, decode=False).features, spec(tmp_path))
    assert len(decoded) == 100 + 1 + ROWS - 10
    undisturbed, _ = stored(read(folder, decode=False).features, spec(tmp_path / "b"))
    names = sorted(p.name for p in store.folder.iterdir())
    assert names == sorted([HASHES, MANIFEST, *map(shard_name, range(5))])
    for name in names:
        assert (store.folder / name).read_bytes() == (undisturbed.folder / name).read_bytes()


def test_shards_of_other_images_are_not_taken_over(tmp_path, folder):
    first, _ = stored(read(folder, decode=False).features, spec(tmp_path))
    image = folder / "class0" / "04.png"
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(image)
    os.utime(image, ns=(1, 1))
    second, _ = stored(read(folder, decode=False).features, spec(tmp_path))
    assert second.folder != first.folder
    assert not first.folder.exists()
    assert not second[2].any()


def test_files_that_were_swapped_are_other_features(tmp_path, png):
    """Size and mtime of a path stay the same: shards that were begun then do not fit."""
    files = [tmp_path / name for name in ("a.bmp", "b.bmp")]
    for value, file in enumerate(files):
        with Image.open(io.BytesIO(png(value))) as image:
            image.save(file)
        os.utime(file, (1e9, 1e9))
    sources = [str(file) for file in files]
    before = fingerprint(EncodedImages(sources, sources, "L", None), 5)
    assert before == fingerprint(EncodedImages(sources, sources, "L", None), 5)
    files[0].rename(tmp_path / "t")
    files[1].rename(files[0])
    (tmp_path / "t").rename(files[1])
    assert before != fingerprint(EncodedImages(sources, sources, "L", None), 5)


def test_the_fingerprint_knows_what_the_features_are_made_of(array):
    assert fingerprint(array, 5) == fingerprint(array.copy(), 5)
    other = array.copy()
    other[-1, 0, 0, 0] ^= 1
    assert len({fingerprint(array, 5), fingerprint(array, 6), fingerprint(other, 5)}) == 3


# -- errors ------------------------------------------------------------------------------------


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")
def test_open_files_do_not_grow_with_the_shards_read(tmp_path, monkeypatch):
    array = np.random.default_rng(2).integers(0, 256, (600, 60), dtype=np.uint8)
    store, _ = stored(array, spec(tmp_path, rows=2))
    before, hashed = open_files(), []
    monkeypatch.setattr(
        shards_module, "content_hashes", lambda rows: hashed.append(1) or content_hashes(rows)
    )
    for _ in range(2):
        np.testing.assert_array_equal(store[:], array)
        assert open_files() - before <= shards_module.KEPT
    assert len(hashed) == 2 * 300, "a shard that is mapped again has been checked"
    held = list(store._open)
    store[2 * held[0]]
    store[0]
    assert list(store._open) == [*held[2:], held[0], 0]


def test_a_shard_changed_after_it_was_mapped_is_looked_at_again(tmp_path, array, monkeypatch):
    monkeypatch.setattr(shards_module, "KEPT", 1)
    store = shards(tmp_path, array)
    store[12]
    store[0]
    file = tmp_path / "features" / shard_name(2)
    swap(file)
    os.utime(file, ns=(1, 1))
    with pytest.raises(DataError, match="row 10 is another sample"):
        store[[12]]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cuts no file that is mapped")
def test_a_shard_cut_after_it_was_mapped_is_refused(tmp_path, array):
    """Touching pages that it no longer has would end the process."""
    store = shards(tmp_path, array)
    np.testing.assert_array_equal(store[[12]], array[[12]])
    file = tmp_path / "features" / shard_name(2)
    whole = file.read_bytes()
    os.truncate(file, 400)
    for _ in range(2):
        with pytest.raises(DataError, match=r"000002.npy: a truncated .*found 400 .*expected 428"):
            store[[12]]
    np.testing.assert_array_equal(store[[0, 20]], array[[0, 20]])
    file.write_bytes(whole)
    np.testing.assert_array_equal(store[[12]], array[[12]])


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EMFILE, "raise the limit on the open files"),
        (errno.ENFILE, "end other programs"),
        (errno.ENOMEM, "free some memory"),
        (errno.EACCES, "get the permission to read it"),
    ],
)
def test_what_the_system_refuses_is_no_damage(tmp_path, array, monkeypatch, number, advice):
    store = shards(tmp_path, array)

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(shards_module.mmap, "mmap", refuse)
        with pytest.raises(StoreError, match=rf"000002.npy: cannot be opened .*{advice}") as seen:
            store[[12]]
    assert "ingestion" not in str(seen.value)
    for name, place in (("manifest.json", "pathlib.Path.read_text"), ("hashes.npy", "numpy.load")):
        with monkeypatch.context() as patch:
            patch.setattr(place, refuse)
            with pytest.raises(StoreError, match=rf"{name}: cannot be opened .*{advice}"):
                load_features(tmp_path / "features")
    np.testing.assert_array_equal(store[:], array)


def damage(file, keep=-1):
    file.write_bytes(file.read_bytes()[:keep])


def swap(file):
    array = np.load(file)
    np.save(file, array[::-1].copy())


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (os.remove, r"shard-000002.npy: no such shard \(rows 10 to 14\); run the ingestion"),
        (
            damage,
            r"a truncated .*\(rows 10 to 14\): found 427 bytes, expected 428",
        ),
        (lambda f: damage(f, 9), "shard-000002.npy: a truncated or damaged shard"),
        (
            lambda f: np.save(f, np.zeros((4, 3, 4, 5), np.uint8)),
            r"holds uint8 \(4, 3, 4, 5\)",
        ),
        (
            lambda f: np.save(f, np.zeros((5, 3, 4, 5), np.int8)),
            r"holds int8 .*expected uint8",
        ),
        (
            swap,
            "000002.npy: row 10 is another sample .content hash .*: a shard of another",
        ),
    ],
)
def test_a_shard_that_is_not_the_one_written(tmp_path, array, harm, message):
    shards(tmp_path, array)
    harm(tmp_path / "features" / shard_name(2))
    store = load_features(tmp_path / "features")
    np.testing.assert_array_equal(store[[0, 20]], array[[0, 20]])
    with pytest.raises(DataError, match=message):
        store[[0, 12]]


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        (MANIFEST, os.remove, "manifest.json: no such manifest of a feature store"),
        (MANIFEST, damage, "manifest.json: not a readable manifest"),
        (HASHES, os.remove, "hashes.npy: not readable"),
        (HASHES, swap, "hashes.npy: 23 hashes, digest .*: of another data set"),
    ],
)
def test_lists_that_do_not_belong_to_the_shards(tmp_path, array, name, harm, message):
    shards(tmp_path, array)
    harm(tmp_path / "features" / name)
    with pytest.raises(DataError, match=message):
        load_features(tmp_path / "features")


def test_a_manifest_of_another_format(tmp_path, array):
    shards(tmp_path, array)
    file = tmp_path / "features" / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 9}))
    with pytest.raises(DataError, match="format 9 of storage 'shards', expected 1"):
        load_features(tmp_path / "features")


def rewrite(file):
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(file)


def enlarge(file):
    Image.fromarray(np.zeros((9, 5, 3), np.uint8)).save(file)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (os.remove, "04.png: row 2: the image was here at ingestion and is gone; put it back, or"),
        (damage, "row 2: the image has changed since ingestion: .*04.png: not a readable image"),
        (
            rewrite,
            "04.png: row 2: the image has changed since ingestion .content hash .*, exp",
        ),
        (enlarge, "row 2: the image has changed since ingestion: .*04.png: image is 9x5"),
    ],
)
def test_an_image_that_is_no_longer_what_it_was(tmp_path, folder, harm, message):
    store, _ = stored(read(folder, decode=False).features, spec(tmp_path, "files"))
    save_features(tmp_path / "features", store)
    if harm is damage:
        damage(folder / "class0" / "04.png", 30)
    else:
        harm(folder / "class0" / "04.png")
    with pytest.raises(DataError, match=message):
        load_features(tmp_path / "features").take(slice(1, 5))[:]


def test_lists_of_files_that_do_not_fit(tmp_path, folder):
    store, _ = stored(read(folder, decode=False).features, spec(tmp_path, "files"))
    save_features(tmp_path / "features", store)
    damage(tmp_path / "features" / FILES)
    with pytest.raises(DataError, match=r"files.parquet: not readable"):
        load_features(tmp_path / "features")


def test_files_needs_image_files(tmp_path, array):
    with pytest.raises(ConfigError, match=r"ingestion.storage.kind: files needs images in files"):
        stored(array, spec(tmp_path, "files"))
    encoded = EncodedImages([_png(array[0])], ["a"], "RGB", None)
    with pytest.raises(DataError, match="images are bytes inside a table; use shards"):
        stored(encoded, spec(tmp_path, "files"))
    np.testing.assert_array_equal(stored(encoded, spec(tmp_path))[0][:], array[:1])


def _png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(stream, "PNG")
    return stream.getvalue()
