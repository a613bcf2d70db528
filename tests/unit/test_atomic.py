import os

import pytest

from labelrepair.atomic import whole_file


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
