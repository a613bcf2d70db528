import pytest

from labelrepair.data import SourceSpec, read_source
from labelrepair.errors import DataError

LISTS = {
    "noisy_train_key_list.txt": "images/0/n1.png\nimages/0/n2.png\n",
    "clean_train_key_list.txt": "images/0/c1.png\nimages/0/c2.png\n",
    "clean_val_key_list.txt": "images/0/v1.png\n",
    "clean_test_key_list.txt": "images/0/t1.png\n",
    "noisy_label_kv.txt": (
        "images/0/n1.png 0\nimages/0/n2.png 1\nimages/0/c1.png 2\nimages/0/v1.png 0\n"
    ),
    "clean_label_kv.txt": (
        "images/0/n2.png 2\nimages/0/c1.png 0\nimages/0/c2.png 1\nimages/0/v1.png 1\n"
        "images/0/t1.png 2\n"
    ),
    "category_names_eng.txt": "T-Shirt\nShirt\nDown Coat\n",
}


@pytest.fixture
def root(tmp_path, png):
    for name, content in LISTS.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "images/0").mkdir(parents=True)
    for value, name in enumerate(["n1", "n2", "c1", "c2", "v1", "t1"]):
        (tmp_path / f"images/0/{name}.png").write_bytes(png(value, (2 + value, 3)))
    return tmp_path


def rows(samples):
    columns = (samples.sample_ids, samples.splits, samples.labels, samples.true_labels)
    return {
        key[9:11]: (split, given, true) for key, split, given, true in zip(*columns, strict=True)
    }


def test_layout(root):
    samples = read_source(SourceSpec("clothing1m", root=str(root), image_size=(4, 5)))
    assert samples.class_names == ("T-Shirt", "Shirt", "Down Coat")
    assert samples.features.shape == (4, 3, 4, 5)
    assert rows(samples) == {
        "n1": ("train", 0, -1),
        "n2": ("train", 1, 2),
        "v1": ("validation", 1, 1),
        "t1": ("test", 2, 2),
    }
    assert samples.features[:, 0, 0, 0].tolist() == [0, 1, 5, 4]  # by id: n1, n2, t1, v1
    assert read_source(SourceSpec("clothing1m", root=str(root))).features.shape[2:] == (64, 64)


def test_clean_training_images_with_a_noisy_label_can_join(root):
    spec = SourceSpec("clothing1m", root=str(root), image_size=(2, 2), add_clean_train=True)
    assert rows(read_source(spec))["c1"] == ("train", 2, 0)
    assert "c2" not in rows(read_source(spec))  # it has no noisy label


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("noisy_label_kv.txt", "images/0/n1.png 0\n", "train image 'images/0/n2.png' has no label"),
        (
            "noisy_label_kv.txt",
            "images/0/n1.png\n",
            "noisy_label_kv.txt, line 1: expected 'key label'",
        ),
        ("noisy_train_key_list.txt", "images/0/t1.png\n", "'images/0/t1.png' has no label"),
        ("clean_test_key_list.txt", "images/0/n2.png\n", "'images/0/n2.png' is repeated"),
        ("category_names_eng.txt", "T-Shirt\nShirt\n", r"label 2 outside 0\.\.1"),
        ("noisy_train_key_list.txt", "", "training split is empty"),
    ],
)
def test_bad_lists_are_named(root, name, content, message):
    (root / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_source(SourceSpec("clothing1m", root=str(root), image_size=(2, 2)))


@pytest.mark.parametrize("name", ["clean_val_key_list.txt", "images/0/v1.png"])
def test_missing_files_are_named(root, name):
    (root / name).unlink()
    with pytest.raises(DataError, match=f"no file at .*{name}"):
        read_source(SourceSpec("clothing1m", root=str(root), image_size=(2, 2)))


def test_keys_that_lead_outside_are_refused(root):
    (root / "noisy_train_key_list.txt").write_text("../secret.png\n")
    (root / "noisy_label_kv.txt").write_text("../secret.png 0\n")
    with pytest.raises(DataError, match=r"'\.\./secret.png' leads outside"):
        read_source(SourceSpec("clothing1m", root=str(root), image_size=(2, 2)))
