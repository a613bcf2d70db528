import io
import os
import stat

import pytest
import torch

from labelrepair.atomic import whole_file, whole_path
from labelrepair.errors import StoreError


def test_what_a_kill_left_is_overwritten_and_nothing_stays(tmp_path):
    target = tmp_path / "new folder" / "file"
    target.parent.mkdir()
    (target.parent / ".file.part").write_bytes(b"left by a killed writer, and longer")
    with whole_file(target) as stream:
        stream.write(b"short")
        assert not target.exists(), "no name before it is complete"
    assert target.read_bytes() == b"short"
    assert os.listdir(target.parent) == ["file"]


def test_an_error_leaves_the_old_file(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(TypeError), whole_file(target) as stream:
        stream.writelines([b"half", "not bytes"])
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_two_writers_of_one_file_do_not_share_a_temporary_one(tmp_path):
    target = tmp_path / "file"
    with whole_file(target, writer=".1") as one:
        one.write(b"one")
        with whole_file(target, writer=".2") as two:
            two.write(b"two")
        assert target.read_bytes() == b"two"
    assert target.read_bytes() == b"one"


@pytest.mark.parametrize("whole", [whole_file, whole_path])
@pytest.mark.parametrize("kind", ["pipe", "device", "link"])
def test_what_is_no_file_is_refused_and_stays(tmp_path, whole, kind):
    target = tmp_path / "target"
    if kind == "device":
        try:
            os.mknod(target, stat.S_IFCHR | 0o600, os.makedev(1, 7))
        except PermissionError:
            pytest.skip("making a device needs root")
    else:
        os.mkfifo(tmp_path / "pipe" if kind == "link" else target)
    if kind == "link":
        target.symlink_to("pipe")
    before = {file.name: file.lstat().st_ino for file in tmp_path.iterdir()}

    told = r"target: is neither a file nor a folder .* nothing has been written"
    with pytest.raises(StoreError, match=told), whole(target):
        pytest.fail("refused only after the writer's work")

    assert {file.name: file.lstat().st_ino for file in tmp_path.iterdir()} == before


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "target").mkdir()
    told = "target: is a folder, expected a file or nothing there"
    with pytest.raises(StoreError, match=told), whole_file(tmp_path / "target"):
        pytest.fail("refused only after the writer's work")
    assert os.listdir(tmp_path) == ["target"]


def test_a_link_to_a_file_is_replaced(tmp_path):
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "target").symlink_to("other")
    with whole_file(tmp_path / "target") as stream:
        stream.write(b"new")
    assert (tmp_path / "target").read_bytes() == b"new"
    assert (tmp_path / "other").read_bytes() == b"other"


@pytest.mark.parametrize("whole", [whole_file, whole_path])
def test_a_folder_that_cannot_be_made_is_named(tmp_path, whole):
    (tmp_path / "notes").write_text("a file")
    path = tmp_path / "notes/run/table.csv"
    told = r"notes/run: cannot be made \(Not a dir.*nothing has been written"
    with pytest.raises(StoreError, match=told), whole(path):
        pass
    assert (tmp_path / "notes").read_text() == "a file"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)])
def test_a_stop_in_the_middle_of_writing_is_one(tmp_path, stop):
    """PyTorch calls Python's ``write`` from C++, and says "unexpected pos" if it raises."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"before")

    class Stopped(io.BytesIO):
        def write(self, _):
            raise stop

    with pytest.raises(type(stop)), whole_file(path):
        torch.save({"weights": torch.ones(3)}, Stopped())
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]
