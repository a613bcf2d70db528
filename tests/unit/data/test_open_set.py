import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelrepair.config import from_dict
from labelrepair.data import Samples, SourceSpec, read_source
from labelrepair.data.open_set import mix_open_set
from labelrepair.data.samples import check_samples, numbered_ids
from labelrepair.errors import ConfigError, DataError
from labelrepair.label_table import OPEN_SET


def make(rows, offset=0, prefix="s", classes=4, tests=0, **changes):
    splits = np.where(np.arange(rows) < tests, "test", "train")
    labels = np.arange(rows) % classes
    content = {
        "sample_ids": np.array(numbered_ids(prefix, rows)),
        "features": (np.arange(rows, dtype=np.float32) + offset)[:, None],
        "labels": labels,
        "splits": splits,
        "class_names": tuple("abcdefgh"[:classes]),
        "true_labels": labels.copy(),
        "labels_are_true": True,
    }
    return Samples(**(content | changes))


def foreign(rows=500, **changes):
    return make(rows, offset=10_000, prefix="f", classes=7, **changes)


def came_in(mixed):
    return (mixed.features >= 10_000)[:, 0]


@settings(deadline=None)
@given(st.floats(0, 0.9), st.integers(0, 99))
def test_replaced_rows(rate, seed):
    base = make(200, tests=40)
    mixed = mix_open_set(base, foreign(), rate, seed, added=False)
    check_samples(mixed, "mixed")
    inside = came_in(mixed)
    assert inside.sum() == round(rate * 160)
    assert not inside[:40].any(), "test rows stay"
    np.testing.assert_array_equal(mixed.true_labels, np.where(inside, OPEN_SET, base.labels))
    np.testing.assert_array_equal(mixed.labels, base.labels)
    np.testing.assert_array_equal(mixed.sample_ids, base.sample_ids)
    assert len(np.unique(mixed.features[inside])) == inside.sum(), "no foreign sample twice"
    assert not mixed.labels_are_true
    assert (base.features < 10_000).all(), "the base is left alone"


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5])
def test_added_rows(rate):
    base = make(200, tests=40)
    mixed = mix_open_set(base, foreign(), rate, 0, added=True)
    check_samples(mixed, "mixed")
    inside = came_in(mixed)
    train = mixed.splits == "train"
    assert inside.sum() / train.sum() == pytest.approx(rate, abs=0.003)
    np.testing.assert_array_equal(mixed.features[:200], base.features)
    assert (mixed.true_labels[inside] == OPEN_SET).all()
    if rate:
        assert set(mixed.labels[inside]) == {0, 1, 2, 3}
        assert mixed.sample_ids[200].startswith("open-f-")


def test_the_seed_decides():
    rows = [
        np.flatnonzero(came_in(mix_open_set(make(200), foreign(), 0.3, seed, added=False))).tolist()
        for seed in (1, 1, 2)
    ]
    assert rows[0] == rows[1] != rows[2]


def test_test_rows_of_the_other_set_stay_out():
    mixed = mix_open_set(make(200), foreign(rows=120, tests=60), 0.3, 0, added=False)
    assert mixed.features[came_in(mixed)].min() >= 10_060


def test_unknown_truth_stays_unknown():
    base = make(100, labels_are_true=False, true_labels=None)
    truth = mix_open_set(base, foreign(), 0.3, 0, added=False).true_labels
    assert np.unique(truth, return_counts=True)[1].tolist() == [30, 70]  # -2, -1


@pytest.mark.parametrize(
    ("base", "other", "rate", "error", "message"),
    [
        (
            make(100),
            foreign(rows=10),
            0.3,
            DataError,
            "30 foreign samples are needed, other has 10",
        ),
        (make(100), foreign(), 1.0, ConfigError, "rate: must lie in"),
        (
            make(100),
            foreign(features=np.zeros((500, 2), np.float32)),
            0.3,
            DataError,
            r"float32 \(2,\), those of base float32 \(1,\); set image_size",
        ),
        (
            make(100),
            foreign(features=np.zeros((500, 1), np.uint8)),
            0.3,
            DataError,
            "samples of other are uint8",
        ),
        (make(100, vocabulary=("x",)), foreign(), 0.3, DataError, "not supported"),
    ],
)
def test_what_does_not_fit_is_refused(base, other, rate, error, message):
    with pytest.raises(error, match=message):
        mix_open_set(base, other, rate, 0, added=False)


def test_as_a_source(tmp_path):
    for name, shift in (("a", 0), ("b", 100)):
        features = np.arange(40, dtype=np.float32).reshape(20, 2) + shift
        np.savez(tmp_path / f"{name}.npz", features=features, labels=np.arange(20) % 2)
    raw = {
        "kind": "open_set",
        "base": {"kind": "npz", "path": str(tmp_path / "a.npz"), "labels_are_true": True},
        "other": {"kind": "npz", "path": str(tmp_path / "b.npz")},
        "rate": 0.25,
        "seed": 3,
    }
    samples = read_source(from_dict(SourceSpec, raw))
    assert (samples.true_labels == OPEN_SET).sum() == 5
    assert ((samples.features >= 100).all(axis=1) == (samples.true_labels == OPEN_SET)).all()
    added = read_source(from_dict(SourceSpec, {**raw, "added": True}))
    assert len(added.labels) == 27
    with pytest.raises(ConfigError, match="rate: must be less than 1"):
        from_dict(SourceSpec, {**raw, "rate": 1.0})
