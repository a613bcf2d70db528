import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelrepair.errors import DataError
from labelrepair.label_table import (
    INGESTED_COLUMNS,
    Action,
    LabelSource,
    Split,
    check_label_table,
    check_made_from,
    check_repaired_table,
    content_hashes,
    data_hash,
    extend,
    made_from,
    make_label_table,
    origin,
    text_hashes,
)


def table():
    return make_label_table(
        ["b", "a", "d", "c"], [1, 0, 1, 0], ["train", "train", "test", "train"], list("wxyz")
    )


def repaired():
    """One row per action, then a test row; classes 0..2."""
    ids = ["a", "b", "c", "d", "e"]
    base = make_label_table(ids, [0, 1, 2, 0, 1], ["train"] * 4 + ["test"], list("vwxyz"))
    return extend(
        base,
        pd.DataFrame(
            {
                "sample_id": ids[:4],
                "label_quality": [0.9, 0.1, 0.0, 1.0],
                "suggested_label": [0, 2, 1, 1],
                "confidence": [0.9, 0.8, 0.5, 0.5],
                "action": ["keep", "relabel", "drop", "review"],
                "repaired_label": pd.array([0, 2, None, None], dtype="Int64"),
                "label_source": ["given", "model", "model", "given"],
            }
        ),
    )


def test_make_sorts_every_column_with_its_id():
    made = table()
    assert tuple(made.columns) == INGESTED_COLUMNS
    assert made["sample_id"].tolist() == ["a", "b", "c", "d"]
    assert made["given_label"].tolist() == [0, 1, 0, 1]
    assert made["split"].tolist() == ["train", "train", "train", "test"]
    assert made["content_hash"].tolist() == ["x", "w", "z", "y"]
    assert made["given_label"].dtype == np.int64
    assert made.index.equals(pd.RangeIndex(4))
    check_label_table(made, 2)


def test_make_keeps_ids_as_text_and_refuses_odd_columns():
    assert make_label_table(["0001"], [0], ["train"], ["h"])["sample_id"].tolist() == ["0001"]
    with pytest.raises(DataError, match="'given_label': 1"):
        make_label_table(["a", "b"], [0], ["train", "train"], ["h", "h"])
    with pytest.raises(DataError, match="whole numbers, found float64"):
        make_label_table(["a"], [0.5], ["train"], ["h"])


def test_parquet_round_trip_passes_the_check(tmp_path):
    repaired().to_parquet(tmp_path / "t.parquet", index=False)
    check_repaired_table(pd.read_parquet(tmp_path / "t.parquet"), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="split"), "missing column split"),
        (lambda t: t.assign(sample_id=["a", "b", "b", "d"]), "'b'.*repeated"),
        (lambda t: t.assign(sample_id=["a", None, "c", "d"]), "missing in row 1"),
        (lambda t: t.assign(sample_id=[1, 2, 3, 4]), "sample_id must be text, found int64"),
        (lambda t: t.assign(given_label=[0, 1, 2, 1]), r"'c': given_label outside 0\.\.1 \(1 such"),
        (lambda t: t.assign(given_label=[0, -1, 0, 1]), r"'b': given_label outside 0\.\.1"),
        (lambda t: t.assign(given_label=[0, 1, None, 1]), "'c': given_label is missing"),
        (lambda t: t.assign(given_label=[0.0, 1.0, 0.0, 1.0]), "must be int64, found float64"),
        (
            lambda t: t.assign(split=["train", "trian", "train", "test"]),
            "'b'.*did you mean 'train'",
        ),
        (lambda t: t.assign(split=["train", None, "train", "test"]), "'b': unknown split"),
        (lambda t: t.sort_values("sample_id", ascending=False, ignore_index=True), "not sorted"),
        (lambda t: t.set_index(pd.Index([4, 5, 6, 7])), "index must be 0"),
        (lambda t: t.assign(split="test"), "training split is empty"),
    ],
)
def test_check_names_what_is_wrong(change, message):
    with pytest.raises(DataError, match=message):
        check_label_table(change(table()), 2)


def test_empty_class_counts_training_rows_only_and_can_be_allowed():
    made = table().assign(given_label=[0, 0, 0, 1])  # class 1 is in the test split alone
    with pytest.raises(DataError, match="no training row has class 1 of 2"):
        check_label_table(made, 2)
    check_label_table(made, 2, allow_empty_classes=True)


def test_extend_joins_on_id_not_on_position():
    made = table()
    before = made.copy()
    new = pd.DataFrame({"sample_id": ["d", "a", "c", "b"], "rank": [3, 0, 2, 1]})
    result = extend(made, new)
    assert result["rank"].tolist() == [0, 1, 2, 3]
    assert result["rank"].dtype == np.int64
    pd.testing.assert_frame_equal(made, before)


def test_extend_subset_leaves_null_and_stays_whole():
    new = pd.DataFrame({"sample_id": ["c"], "n": [7], "flag": [True], "x": [0.5], "s": ["y"]})
    result = extend(table(), new)
    assert result["n"].dtype == "Int64"
    assert result["flag"].dtype == "boolean"
    assert result["n"].isna().tolist() == [True, True, False, True]
    assert result.loc[2, ["n", "flag", "x", "s"]].tolist() == [7, True, 0.5, "y"]
    assert result["s"].isna().sum() == 3


def test_extend_accepts_a_repeat_and_refuses_a_change():
    made = extend(table(), pd.DataFrame({"sample_id": ["a", "b"], "note": ["p", None]}))
    same = pd.DataFrame({"sample_id": ["b", "a"], "given_label": [1, 0], "note": [None, "p"]})
    pd.testing.assert_frame_equal(extend(made, same), made)
    with pytest.raises(DataError, match="'b': would change the existing column given_label"):
        extend(made, pd.DataFrame({"sample_id": ["a", "b"], "given_label": [0, 0]}))
    with pytest.raises(DataError, match="'b': would change the existing column note"):
        extend(made, pd.DataFrame({"sample_id": ["b"], "note": ["now"]}))
    with pytest.raises(DataError, match="'a': would change the existing column note"):
        extend(made, pd.DataFrame({"sample_id": ["a"], "note": [None]}))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "z"], "'z': unknown"),
        (["a", "a"], "'a'.*repeated"),
        (["a", None], "missing in row 1"),
    ],
)
def test_extend_refuses_ids(ids, message):
    with pytest.raises(DataError, match=message):
        extend(table(), pd.DataFrame({"sample_id": ids, "n": [1, 2]}))
    with pytest.raises(DataError, match="missing column sample_id"):
        extend(table(), pd.DataFrame({"n": [1]}))


def set_cell(column, row, value):
    def change(frame):
        frame = frame.copy()
        frame.loc[row, column] = value
        return frame

    return change


def test_repaired_table_passes():
    check_repaired_table(repaired(), 3)


def test_a_human_may_choose_what_was_not_suggested():
    changed = set_cell("repaired_label", 1, 0)(repaired())
    with pytest.raises(DataError, match="'b': relabel, but repaired_label is not suggested"):
        check_repaired_table(changed, 3)
    check_repaired_table(set_cell("label_source", 1, "human")(changed), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="confidence"), "missing column confidence"),
        (set_cell("repaired_label", 0, 1), "'a': keep, but"),
        (set_cell("repaired_label", 0, None), "'a': keep, but"),
        (set_cell("repaired_label", 1, 1), "'b': relabel, but repaired_label is the given"),
        (set_cell("repaired_label", 1, None), "'b': relabel, but repaired_label is null"),
        (set_cell("repaired_label", 2, 2), "'c': drop or review"),
        (set_cell("repaired_label", 3, 0), "'d': drop or review"),
        (set_cell("repaired_label", 1, 3), r"'b': repaired_label outside 0\.\.2"),
        (set_cell("suggested_label", 0, 9), r"'a': suggested_label outside 0\.\.2"),
        (lambda t: t.assign(suggested_label="cat"), "suggested_label must hold class numbers"),
        (set_cell("label_quality", 2, 1.01), r"'c': label_quality outside \[0, 1\]"),
        (set_cell("confidence", 3, -0.1), r"'d': confidence outside \[0, 1\]"),
        (set_cell("label_quality", 0, None), "'a': label_quality outside"),
        (set_cell("action", 1, "rename"), "'b': unknown action 'rename'"),
        (set_cell("action", 1, None), "'b': a training row has no action"),
        (set_cell("label_source", 1, "robot"), "'b': unknown label_source 'robot'"),
        (set_cell("label_source", 1, None), "'b': label_source is missing"),
        (set_cell("action", 4, "keep"), "'e': a test row carries an action"),
        (set_cell("repaired_label", 4, 2), "'e': a test row is relabelled"),
        (set_cell("label_source", 4, "model"), "'e': a test row's label_source"),
        (set_cell("given_label", 0, 3), r"'a': given_label outside 0\.\.2"),
    ],
)
def test_repaired_table_names_the_broken_rule(change, message):
    with pytest.raises(DataError, match=message):
        check_repaired_table(change(repaired()), 3)


def test_enums_are_the_words_of_the_table():
    assert list(Split) == ["train", "validation", "test"]
    assert list(Action) == ["keep", "relabel", "drop", "review"]
    assert list(LabelSource) == ["given", "model", "human"]


def test_content_hash_is_blake2b_of_the_row_in_any_memory_order():
    features = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    expected = hashlib.blake2b(bytes(range(12, 24)), digest_size=8).hexdigest()
    assert content_hashes(features)[1] == expected
    assert len(expected) == 16
    assert content_hashes(np.asfortranarray(features)) == content_hashes(features)


def test_data_hash_sees_every_cell_of_every_row():
    count = 15_000
    ids = [f"{row:05d}" for row in range(count)]
    large = make_label_table(ids, np.zeros(count, int), ["train"] * count, ["h"] * count)
    digest = data_hash(large)
    assert len(digest) == 32
    assert data_hash(large.copy()) == digest
    other = {"sample_id": "x", "given_label": 1, "split": "test", "content_hash": "i"}
    seen = {data_hash(set_cell(name, count - 1, value)(large)) for name, value in other.items()}
    assert len(seen | {digest}) == 5


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=3), min_size=2, max_size=2))
def test_data_hash_does_not_confuse_neighbouring_values(pair):
    frame = pd.DataFrame(
        {"sample_id": pair, "given_label": [0, 1], "split": "train", "content_hash": "h"}
    )
    joined = "".join(pair)
    shifted = frame.assign(sample_id=[joined, ""])
    assert (data_hash(frame) == data_hash(shifted)) == (pair[1] == "")


def test_data_hash_survives_parquet_and_other_columns(tmp_path):
    table().assign(extra=1).to_parquet(tmp_path / "t.parquet", index=False)
    assert data_hash(pd.read_parquet(tmp_path / "t.parquet")) == data_hash(table())


def test_what_was_made_from_another_table_of_as_many_rows_is_refused():
    record = {"data_hash": data_hash(table())}

    check_made_from(table().assign(extra=1), record, "training")
    for name, value in {"sample_id": "z", "split": "validation", "content_hash": "i"}.items():
        other = set_cell(name, 3, value)(table())
        with pytest.raises(DataError, match=f"the training worked on .*{record['data_hash']}.*run"):
            check_made_from(other, record, "training")
    with pytest.raises(DataError, match="the refinement did not note its label table"):
        check_made_from(table(), {}, "refinement")


def test_other_tokens_of_the_same_texts_are_refused():
    texts = table().assign(content_hash=text_hashes(["one", "two", "é", ""] * (len(table()) // 4)))
    texts.attrs = {"sealed": {"input_format": "of then"}}
    record = made_from(texts)
    assert record == {"data_hash": data_hash(texts), "input_format": "of then"}
    assert origin(record | {"seed": 1}) == record | {"checkpoint": None}

    check_made_from(texts, record, "training")
    check_made_from(texts, {"data_hash": data_hash(texts)}, "training")
    texts.attrs = {"sealed": {"input_format": "of now"}}
    with pytest.raises(DataError, match=r"^input_format: the training .*of then.*of now.*again"):
        check_made_from(texts, record, "training")
    texts.attrs = {}  # read from another format than Parquet
    check_made_from(texts, record, "training")

    pictures = table()
    pictures.attrs = {"sealed": {"input_format": "of now"}}
    assert list(made_from(pictures)) == ["data_hash"]
