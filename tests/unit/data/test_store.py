import numpy as np
import pytest

from labelrepair.data.store import read_features, write_features
from labelrepair.errors import DataError


@pytest.mark.parametrize("mmap", [True, False])
def test_round_trip_is_read_only(tmp_path, mmap):
    features = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2)
    write_features(tmp_path / "new" / "f.npy", features)
    read = read_features(tmp_path / "new" / "f.npy", mmap=mmap)
    np.testing.assert_array_equal(read, features)
    assert isinstance(read, np.memmap) == mmap
    with pytest.raises(ValueError, match=r"read-only"):
        read[0] = 1


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    file = tmp_path / "f.npy"
    write_features(file, np.zeros(2))

    def fail(*_args):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match=r"disk full"):
        write_features(file, np.ones(2))
    assert read_features(file).tolist() == [0, 0]
    assert list(tmp_path.iterdir()) == [file]


def test_a_reader_keeps_the_old_rows_while_the_file_is_replaced(tmp_path):
    file = tmp_path / "f.npy"
    write_features(file, np.zeros(2))
    old = read_features(file)
    write_features(file, np.ones(2))
    assert old.tolist() == [0, 0]
    assert read_features(file).tolist() == [1, 1]


def test_what_cannot_be_stored_or_read(tmp_path):
    with pytest.raises(DataError, match=r"expected numbers"):
        write_features(tmp_path / "f.npy", np.array([{}]))
    with pytest.raises(DataError, match=r"no features file"):
        read_features(tmp_path / "f.npy")
    write_features(tmp_path / "f.npy", np.zeros(100))
    (tmp_path / "f.npy").write_bytes((tmp_path / "f.npy").read_bytes()[:200])
    for mmap in (True, False):
        with pytest.raises(DataError, match=r"not a readable"):
            read_features(tmp_path / "f.npy", mmap=mmap)
