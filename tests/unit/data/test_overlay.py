import numpy as np
import pytest

from labelrepair.config import from_dict
from labelrepair.data import SourceSpec, read_source
from labelrepair.errors import DataError


@pytest.fixture
def base(tmp_path):
    """A base whose file order (c, a, t, b) is not the order of its ids."""
    np.savez(
        tmp_path / "base.npz",
        features=np.eye(4),
        labels=np.array([0, 1, 2, 1]),
        sample_ids=np.array(["c", "a", "t", "b"]),
        split=np.array(["train", "train", "test", "train"]),
    )
    return {"kind": "npz", "path": str(tmp_path / "base.npz"), "labels_are_true": True}


def read(base, labels, **options):
    raw = {"kind": "overlay", "base": base, "labels": str(labels), **options}
    return read_source(from_dict(SourceSpec, raw))


def check(samples):
    assert samples.sample_ids.tolist() == ["a", "b", "c", "t"]
    assert samples.labels.tolist() == [2, 0, 1, 2]  # the file says c=1, a=2, b=0
    assert samples.true_labels.tolist() == [1, 1, 0, 2]
    assert not samples.labels_are_true


def test_labels_follow_the_base_order_not_the_sorted_one(base, tmp_path):
    np.save(tmp_path / "l.npy", np.array([1, 2, 0]))
    check(read(base, tmp_path / "l.npy"))


def test_npz_key(base, tmp_path):
    np.savez(tmp_path / "l.npz", worse=np.array([1, 2, 0]), aggre=np.array([0, 1, 1]))
    check(read(base, tmp_path / "l.npz", key="worse"))
    assert read(base, tmp_path / "l.npz", key="aggre").labels.tolist() == [1, 1, 0, 2]
    with pytest.raises(DataError, match=r"set key .*did you mean 'worse'"):
        read(base, tmp_path / "l.npz", key="worst")
    with pytest.raises(DataError, match=r"set key .*one of worse, aggre"):
        read(base, tmp_path / "l.npz")


def test_csv_column(base, tmp_path):
    (tmp_path / "l.csv").write_text("n,mine\n9,1\n9,2\n9,0\n")
    check(read(base, tmp_path / "l.csv", column="mine"))
    with pytest.raises(DataError, match=r"set column .*one of n, mine"):
        read(base, tmp_path / "l.csv")
    (tmp_path / "one.csv").write_text("mine\n1\n2\n0\n")
    check(read(base, tmp_path / "one.csv"))


def test_truth_of_the_base_is_used_only_if_it_is_one(base, tmp_path):
    np.save(tmp_path / "l.npy", np.array([1, 2, 0]))
    assert read({**base, "labels_are_true": False}, tmp_path / "l.npy").true_labels is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([1, 2]), "2 labels for 3 training rows"),
        (np.array([1, 2, 0, 1]), "4 labels for 3 training rows"),
        (np.array([1, 3, 0]), r"'a': label 3 outside 0\.\.2"),
        (np.array([[1, 2, 0]]), r"labels are \(1, 3\)"),
        (np.array([1, 2, 0], object), "without pickle"),
    ],
)
def test_labels_that_do_not_fit(base, tmp_path, labels, message):
    np.save(tmp_path / "l.npy", labels, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        read(base, tmp_path / "l.npy")


def test_pickled_files_are_not_read(base, tmp_path):
    (tmp_path / "CIFAR-10_human.pt").write_bytes(b"cos\nsystem\n")
    with pytest.raises(DataError, match=r"CIFAR-10_human.pt: a pickled file.*convert"):
        read(base, tmp_path / "CIFAR-10_human.pt")
    np.save(tmp_path / "l.npy", np.array([1, 2, 0]))
    with pytest.raises(DataError, match=r"leave out key"):
        read(base, tmp_path / "l.npy", key="x")


def test_numbers_that_are_also_names_of_other_classes_are_refused(base, tmp_path):
    path = tmp_path / "base.npz"
    arrays = dict(np.load(path)) | {"labels": np.array(["0", "10", "1", "2"])}
    np.savez(path, **arrays)
    base = {**base, "class_names": ["0", "1", "10", "2"]}
    (tmp_path / "l.csv").write_text("mine\n2\n0\n2\n")
    np.save(tmp_path / "l.npy", np.array([2, 0, 2]))
    for name in ("l.npy", "l.csv"):
        with pytest.raises(
            DataError, match="label 2 is the number of class '10', but the n"
        ) as error:
            read(base, tmp_path / name)
    assert "store the labels as text" in str(error.value)
    np.save(tmp_path / "l.npy", np.array(["2", "0", "10"]))
    assert read(base, tmp_path / "l.npy").labels.tolist() == [0, 2, 3, 1]
    np.save(tmp_path / "l.npy", np.array([1, 0, 1]))  # the same either way
    assert read(base, tmp_path / "l.npy").labels.tolist() == [0, 1, 1, 1]
