import io
import logging

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from labelrepair.data import SourceSpec, read_source
from labelrepair.data.images import decode_image
from labelrepair.errors import DataError


def spec(path, **options):
    return SourceSpec("image_folder", path=str(path), **options)


@pytest.fixture
def put(tmp_path, png):
    def write(name, value=0, size=(2, 3), mode="RGB"):
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(value, size, mode))
        return file

    return write


def test_class_folders(tmp_path, put):
    put("dog/b.png", 20)
    put("cat/a.png", 10)
    put("cat/more/c.PNG", 30)
    put("cat/.hidden.png", 99)
    put("cat/.cache/d.png", 99)
    samples = read_source(spec(tmp_path / "root"))
    assert samples.class_names == ("cat", "dog")
    assert samples.sample_ids.tolist() == ["cat/a.png", "cat/more/c.PNG", "dog/b.png"]
    assert samples.features.shape == (3, 3, 2, 3)
    assert samples.features.dtype == np.uint8
    assert samples.features[:, 0, 0, 0].tolist() == [10, 30, 20]
    assert samples.labels.tolist() == [0, 0, 1]
    assert set(samples.splits) == {"train"}
    assert not samples.labels_are_true
    assert read_source(spec(tmp_path / "root", labels_are_true=True)).labels_are_true


def test_split_folders_share_the_class_numbers(tmp_path, put):
    put("train/ant/1.png", 1)
    put("train/bee/2.png", 2)
    put("validation/bee/3.png", 3)
    put("test/bee/1.png", 4)
    samples = read_source(spec(tmp_path / "root"))
    assert samples.sample_ids[0] == "test/bee/1.png"
    assert samples.splits.tolist() == ["test", "train", "train", "validation"]
    assert samples.labels.tolist() == [1, 0, 1, 1]


def test_a_class_called_train_is_a_class(tmp_path, put):
    put("train/1.png")
    put("bus/1.png")
    assert read_source(spec(tmp_path / "root")).class_names == ("bus", "train")


@pytest.mark.parametrize("name", ["val", "valid"])
def test_a_clear_alias_of_a_split_is_read(tmp_path, put, name):
    put("train/ant/1.png")
    put("train/bee/2.png")
    put(f"{name}/bee/3.png")
    samples = read_source(spec(tmp_path / "root"))
    assert samples.class_names == ("ant", "bee")
    assert samples.splits.tolist() == ["train", "train", "validation"]
    assert samples.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("name", ["dev", "testing", "Test", "extra"])
def test_splits_are_not_taken_for_classes(tmp_path, put, name):
    put("train/ant/1.png")
    put("train/bee/2.png")
    put(f"{name}/bee/3.png")
    with pytest.raises(
        DataError, match=rf"seems to be a split.* found ({name}, train|train, {name});"
    ):
        read_source(spec(tmp_path / "root"))


def test_mode_and_resizing(tmp_path, put):
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = (90, 150, 30)
    put("a/1.png")
    put("b/2.png", 50, (3, 3))
    Image.fromarray(image).save(tmp_path / "root/a/1.png")
    grey = read_source(spec(tmp_path / "root", image_size=(1, 2), mode="L"))
    assert grey.features.shape == (2, 1, 1, 2)
    assert grey.features[1].tolist() == [[[50, 50]]]
    left, right = grey.features[0, 0, 0].tolist()
    luma = round(0.299 * 90 + 0.587 * 150 + 0.114 * 30)
    assert 0 <= left < 40 < luma - 40 < right <= luma
    assert read_source(spec(tmp_path / "root", image_size=(4, 5))).features.shape == (2, 3, 4, 5)


def test_sizes_that_differ_are_named(tmp_path, put):
    put("a/1.png", size=(2, 3))
    put("b/2.png", size=(4, 3))
    with pytest.raises(DataError, match=r"b/2.png: image is 4x3, .*a/1.png is 2x3; set image_size"):
        read_source(spec(tmp_path / "root"))


@pytest.mark.parametrize("keep", [0, 40, -200])
def test_unreadable_and_truncated_images_are_named(tmp_path, put, keep):
    put("a/1.png")
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(noise).save(put("b/2.png"))
    file = tmp_path / "root/b/2.png"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"b/2.png: not a readable image"):
        read_source(spec(tmp_path / "root", image_size=(2, 3)))


def test_sixteen_bit_image_is_refused_not_clipped(tmp_path, put):
    put("a/1.png")
    deep = Image.fromarray(np.full((2, 3), 40_000, np.uint16))
    deep.save(put("b/2.png"))
    with pytest.raises(DataError, match=r"b/2.png: image has mode I(;16)?, expected 8 bits"):
        read_source(spec(tmp_path / "root"))


def test_empty_places(tmp_path, put):
    with pytest.raises(DataError, match=r"no folder at .*root"):
        read_source(spec(tmp_path / "root"))
    put("a/1.png")
    (tmp_path / "root/b").mkdir()
    (tmp_path / "root/b/.hidden.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"class folder .*root/b holds no image"):
        read_source(spec(tmp_path / "root"))
    (tmp_path / "flat").mkdir()
    with pytest.raises(DataError, match=r"no class folder in .*flat"):
        read_source(spec(tmp_path / "flat"))


def test_no_training_folder(tmp_path, put):
    put("test/a/1.png")
    put("test/b/1.png")
    with pytest.raises(DataError, match=r"training split is empty"):
        read_source(spec(tmp_path / "root"))


def test_other_files_are_skipped_with_a_warning(tmp_path, put, caplog):
    put("a/1.png")
    put("b/1.png")
    (tmp_path / "root/a/notes.txt").write_text("x")
    with caplog.at_level(logging.WARNING):
        assert len(read_source(spec(tmp_path / "root")).labels) == 2
    assert "skipped 1 files" in caplog.text


@pytest.mark.parametrize("place", ["b", "a/link", "a/link.png"])
def test_links_that_lead_outside_are_refused(tmp_path, put, png, place):
    put("a/1.png")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.png").write_bytes(png(0))
    link = tmp_path / "root" / place
    link.symlink_to(outside / "1.png" if place.endswith("png") else outside)
    with pytest.raises(DataError, match=r"leads outside"):
        read_source(spec(tmp_path / "root"))


def link(tmp_path, place, target):
    (tmp_path / "root" / place).symlink_to(tmp_path / "root" / target)


def test_linked_folders_inside_are_followed_once(tmp_path, put, caplog):
    put("a/1.png", 1)
    put("a/z/2.png", 2)
    put("b/3.png", 3)
    put(".pool/4.png", 4)
    put(".pool/deep/5.png", 5)
    link(tmp_path, "a/y", "a/z")  # read as a/z
    link(tmp_path, "a/more", ".pool")
    link(tmp_path, "a/again", ".pool/deep")
    link(tmp_path, ".pool/deep/back", ".pool")
    (tmp_path / "root/.pool/notes.txt").write_text("x")
    with caplog.at_level(logging.WARNING):
        samples = read_source(spec(tmp_path / "root"))
    assert samples.sample_ids.tolist() == [
        "a/1.png",
        "a/again/5.png",
        "a/more/4.png",
        "a/z/2.png",
        "b/3.png",
    ]
    assert samples.features[:, 0, 0, 0].tolist() == [1, 5, 4, 2, 3]
    assert samples.labels.tolist() == [0, 0, 0, 0, 1]
    assert "skipped 1 files" in caplog.text


@pytest.mark.parametrize("target", ["a", ".", "a/../a"])
def test_a_link_back_to_a_folder_above_is_skipped_with_a_warning(tmp_path, put, caplog, target):
    put("a/deep/1.png")
    put("b/2.png")
    link(tmp_path, "a/deep/loop", target)
    with caplog.at_level(logging.WARNING):
        samples = read_source(spec(tmp_path / "root"))
    assert samples.sample_ids.tolist() == ["a/deep/1.png", "b/2.png"]
    assert "a/deep/loop: skipped, it leads back to" in caplog.text


def test_a_link_that_leads_outside_is_refused_behind_a_link_too(tmp_path, put):
    put("a/1.png")
    put(".pool/2.png")
    (tmp_path / "outside").mkdir()
    link(tmp_path, "a/more", ".pool")
    (tmp_path / "root/.pool/out").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="leads outside"):
        read_source(spec(tmp_path / "root"))


def test_a_class_that_may_be_a_split_is_told_of(tmp_path, put, caplog):
    """Pictures that nobody has labelled were given a label of their own without a word."""
    for name in ("cat/1.png", "test/1.png", "train/1.png"):
        put(name)
    assert read_source(spec(tmp_path / "root")).class_names == ("cat", "test", "train")
    (record,) = caplog.records
    assert "root/test is read as a class" in record.getMessage()


def test_images_beside_the_class_folders_are_told_of(tmp_path, put, caplog):
    for name in ("train/cat/1.png", "train/dog/1.png", "train/lost.png", "test/cat/2.png"):
        put(name)
    put("alone.png")
    with caplog.at_level(logging.WARNING):
        read_source(spec(tmp_path / "root"))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "skipped 1 images that are in no class folder, such as alone.png" in said[0]
    assert "such as lost.png" in said[1]


def test_what_systems_leave_in_folders_is_hidden(tmp_path, put):
    """Synology's thumbnails are pictures, too, of names that no label was given to."""
    for name in ("cat/1.png", "dog/1.png", "cat/@eaDir/1.png/SYNO_THUMB.png", "@eaDir/x.png"):
        put(name)
    put("__MACOSX/cat/._1.png")
    samples = read_source(spec(tmp_path / "root"))
    assert samples.sample_ids.tolist() == ["cat/1.png", "dog/1.png"]


def test_blanks_around_a_class_name_are_refused(tmp_path, put):
    """In a review's files "six " would become the other class."""
    put("six/1.png")
    put("six /1.png")
    with pytest.raises(DataError, match="class name 'six ' begins or ends with a blank"):
        read_source(spec(tmp_path / "root"))


def turned(size, orientation, kind):
    """Return an encoded picture, white above, black below, that is to be shown turned."""
    pixels = np.zeros(size, np.uint8)
    pixels[: size[0] // 2] = 255
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    note = image.getexif()
    note[ExifTags.Base.Orientation] = orientation
    image.save(buffer, kind, exif=note)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_read_as_they_are_shown(kind, orientation):
    """A 6 that is stored upside down is a 6 for whoever labels it, and a 9 for a network."""
    content = turned((16, 16), orientation, kind)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    found = decode_image(content, "L", None, "here")
    assert (found[0] == expected).all()


def test_sizes_are_those_of_the_pictures_as_they_are_shown(tmp_path, put):
    put("a/1.png", size=(4, 6))
    (tmp_path / "root/a/2.png").write_bytes(turned((6, 4), 6, "PNG"))
    put("b/1.png", size=(4, 6))
    assert read_source(spec(tmp_path / "root")).features.shape == (3, 3, 4, 6)
    put("b/2.png", size=(6, 4))
    with pytest.raises(DataError, match="image is 6x4"):
        read_source(spec(tmp_path / "root"))


def test_a_damaged_note_about_the_orientation_does_not_matter(png):
    content = png(7)
    with Image.open(io.BytesIO(content)) as image:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert (decode_image(buffer.getvalue(), "RGB", None, "here") == 7).all()
