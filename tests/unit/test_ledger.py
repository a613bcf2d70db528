"""The label ledger, decisions of people and differences of tables."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError

from labelrepair import decisions, label_diff, ledger
from labelrepair.errors import DataError
from labelrepair.label_io import DecisionsDataset, LedgerDataset
from labelrepair.label_table import make_label_table
from labelrepair.pipelines.ingestion.nodes import choose_curated

NAMES = ["ant", "bee", "cat"]
C = len(NAMES)
NOW = "2026-01-02T03:04:05Z"


def label_table(labels=(0, 1, 2, 0, 1, 2), test=1):
    """Return samples s0, s1, ...; the last ``test`` of them are the test split."""
    count = len(labels)
    splits = ["train"] * (count - test) + ["test"] * test
    ids = [f"s{row}" for row in range(count)]
    return make_label_table(ids, np.array(labels), splits, [f"h{row}" for row in range(count)])


def repaired(table, choices):
    """Return a repaired table: a choice per row: "keep", "drop", "review" or another class."""
    frame = table.copy()
    test = (table["split"] == "test").to_numpy()
    given_labels = table["given_label"].tolist()
    action, label, source, suggested = [], [], [], []
    for row, (own, choice) in enumerate(zip(given_labels, choices, strict=True)):
        word = choice if isinstance(choice, str) else ("keep" if choice == own else "relabel")
        kept = {"keep": own, "relabel": choice}.get(word)
        action.append(None if test[row] else word)
        label.append(None if test[row] else kept)
        source.append(None if test[row] else "model" if word == "relabel" else "given")
        suggested.append(None if test[row] else own if isinstance(choice, str) else choice)
    frame["label_quality"] = np.where(test, np.nan, 0.5)
    frame["suggested_label"] = pd.array(suggested, dtype="Int64")
    frame["confidence"] = np.where(test, np.nan, 0.75)
    frame["action"] = action
    frame["repaired_label"] = pd.array(label, dtype="Int64")
    frame["label_source"] = source
    frame["reason"] = [None if t else "because" for t in test]
    return frame


def record(book, frame, run="r1", decided=None):
    proposed = ledger.propose(frame, "jocor", decided)
    book = ledger.append(book, frame, proposed, run_id=run, now=NOW)
    ledger.check_events(book)
    return book


def decide(table, labels, reviewer="ann", **columns):
    rows = pd.DataFrame({"sample_id": list(labels), "reviewer": reviewer, **columns})
    rows["label"] = pd.array(list(labels.values()), dtype="Int64")
    return decisions.make(table, rows, batch="queue")


def same(one, other):
    pd.testing.assert_frame_equal(one, other)
    return True


CHOICE = st.sampled_from([*range(C), "keep", "drop", "review"])
LABELS = st.lists(st.integers(0, C - 1), min_size=2, max_size=8).map(lambda rest: [0, 1, 2, *rest])


@st.composite
def histories(draw):
    """Return a label table and the repaired tables of some runs, some rows decided by people."""
    table = label_table(draw(LABELS))
    count, runs = len(table), []
    decided = decisions.make(table, pd.DataFrame({"sample_id": [], "label": []}), batch="queue")
    for _ in range(draw(st.integers(1, 3))):
        choices = draw(st.lists(CHOICE, min_size=count, max_size=count))
        frame = repaired(table, choices)
        people = draw(st.dictionaries(st.integers(0, count - 2), st.integers(0, C - 1), max_size=3))
        new = decide(table, {f"s{row}": label for row, label in people.items()})
        decided = decisions.merge(decided, new)
        runs.append((decisions.apply(frame, decided, C), decided))
    return table, runs


def book_of(runs):
    book = ledger.empty()
    for number, (frame, decided) in enumerate(runs):
        book = record(book, frame, f"run{number}", decided)
    return book


@settings(max_examples=20, deadline=None)
@given(histories())
def test_replay_from_the_given_labels_gives_the_table(history):
    table, runs = history
    book = ledger.empty()
    for number, (frame, decided) in enumerate(runs):
        before = book
        book = record(book, frame, f"run{number}", decided)
        assert same(book.iloc[: len(before)], before)  # append-only
        assert same(ledger.replay(book, table), ledger.state_of(frame))
        assert record(book, frame, "again", decided) is book


@settings(max_examples=20, deadline=None)
@given(histories())
def test_an_event_that_is_there_twice_is_found(history):
    _, runs = history
    book = book_of(runs)
    ledger.check_events(book)
    changes = book.groupby("sample_id").size()
    appended = pd.concat([book, book]) if (changes == 1).any() else book.iloc[:0]
    for doubled in (appended, book.loc[book.index.repeat(2)]):
        if len(doubled):
            with pytest.raises(DataError, match=r"label ledger: event \d+ repeats the one before"):
                ledger.check_events(ledger.typed(doubled))


@settings(max_examples=20, deadline=None)
@given(histories())
def test_blame_leads_from_the_given_to_the_current_label(history):
    table, runs = history
    book, state = book_of(runs), ledger.state_of(runs[-1][0]).set_index("sample_id")
    for row in table.itertuples():
        events = ledger.blame(book, row.sample_id)
        labels = [row.given_label, *events["to_label"]]
        for before, event in zip(labels, events["from_label"], strict=False):
            assert before is event or before == event or (pd.isna(before) and pd.isna(event))
        current = state.loc[row.sample_id, "label"]
        assert labels[-1] is current or labels[-1] == current


@settings(max_examples=15, deadline=None)
@given(histories())
def test_reverting_everything_gives_the_given_labels(history):
    table, runs = history
    book = book_of(runs)

    restored, changes = ledger.revert(book, table, pd.Series(True, index=book.index))

    assert (restored["action"] == "keep").all()
    assert restored["label"].tolist() == table.loc[changes, "given_label"].tolist()
    state = ledger.replay(book, table)
    assert (state.loc[~changes, "label"] == table.loc[~changes, "given_label"]).all()


@settings(max_examples=20, deadline=None)
@given(histories())
def test_a_patch_leads_from_one_table_to_the_other(history):
    table, runs = history
    for before, after in ((table, runs[0][0]), (runs[0][0], runs[-1][0]), (runs[-1][0], table)):
        patch = label_diff.diff(before, after)
        assert same(label_diff.apply_patch(before, patch), ledger.state_of(after))
        text = label_diff.named(patch, NAMES).astype("str")
        read = label_diff.unnamed(text, NAMES, "patch.csv")
        assert same(label_diff.apply_patch(before, read), ledger.state_of(after))
        assert sum(label_diff.counts(patch).values()) == len(patch)
        moved = patch["from_label"].fillna(-1) != patch["to_label"].fillna(-1)
        assert label_diff.flow(patch, C).to_numpy().sum() == moved.sum()
    assert label_diff.diff(table, table).empty


def test_events_say_what_happened():
    table = label_table()
    frame = repaired(table, [0, 2, "drop", "review", 1, "keep"])

    book = record(ledger.empty(), frame)

    assert book[["sample_id", "from_label", "to_label", "action", "source"]].to_csv(
        index=False
    ) == (
        "sample_id,from_label,to_label,action,source\n"
        "s1,1,2,relabel,model\ns2,2,,drop,given\ns3,0,,review,given\n"
    )
    assert book["confidence"].tolist()[0] == 0.75
    assert book["confidence"].isna().tolist() == [False, True, True]
    assert set(book["run_id"]) == {"r1"}
    assert set(book["decided_at"]) == {NOW}
    assert set(book["method"]) == {"jocor"}
    assert ledger.data_hash(table) == book["data_hash_before"].unique().item()


def test_the_hash_before_is_that_of_the_labels_in_force():
    table = label_table()
    first = record(ledger.empty(), repaired(table, [0, 2, 2, 0, 1, 2]))

    second = record(first, repaired(table, [0, 2, "drop", 0, 1, 2]), "r2")

    relabelled = table.assign(given_label=[0, 2, 2, 0, 1, 2])
    assert second["data_hash_before"].iloc[-1] == ledger.data_hash(relabelled)


def test_people_outrank_the_model_in_every_later_run():
    table = label_table()
    decided = decide(table, {"s1": 0, "s3": 0})
    for choices in ([0, 2, 2, "drop", 1, 2], [0, 1, 2, 2, 1, 2]):
        result = decisions.apply(repaired(table, choices), decided, C).set_index("sample_id")
        assert result.loc["s1", ["action", "repaired_label", "label_source"]].tolist() == [
            "relabel",
            0,
            "human",
        ]
        assert result.loc["s3", ["action", "repaired_label"]].tolist() == ["keep", 0]
        assert result.loc["s1", "reason"] == "decided by ann"


def test_a_decision_meets_a_given_label_that_has_changed():
    decided = decide(label_table(), {"s1": 0})
    table = label_table([0, 0, 2, 0, 1, 2])

    result = decisions.apply(repaired(table, [0, 2, 2, 0, 1, 2]), decided, C)

    assert result.loc[1, ["action", "repaired_label"]].tolist() == ["keep", 0]


def test_decisions_survive_their_file(tmp_path):
    table = label_table()
    decided = decide(table, {"s3": None, "s1": 0}, note='a "hard" one, really')
    path = tmp_path / "decisions.csv"
    decisions.to_file(decided, NAMES).to_csv(path, index=False)

    read = decisions.from_file(decisions.read_csv(path), NAMES, "decisions.csv")

    assert same(read, decided.sort_values("sample_id", ignore_index=True))


def test_a_carriage_return_ends_no_line_of_a_file(tmp_path):
    names = ["ant", "bee\rfly", "cat"]
    table = label_table().replace({"sample_id": {"s1": "s1\r", "s3": "s3\r\n"}})
    decided = decide(table, {"s1\r": 1, "s3\r\n": None, "s4": 0}, note="one\r\ntwo\rthree")
    dataset = DecisionsDataset(filepath=str(tmp_path / "decisions.csv"))
    dataset.save(decisions.to_file(decided, names))

    read = decisions.from_file(dataset.load(), names, "decisions.csv")

    assert same(read, decided.sort_values("sample_id", ignore_index=True))
    assert set(read["note"]) == {"one\ntwo\nthree"}
    frame = decisions.apply(repaired(table, [0, 1, 2, 0, 1, 2]), decided, C)
    label_diff.label_changes(frame, names).to_csv(tmp_path / "changes.csv", index=False)
    assert len(decisions.read_csv(tmp_path / "changes.csv")) == 3


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("0999-12-31T23:59:59Z", NOW),
        ("2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_a_decision_is_later_than_any_before_it(before, expected):
    old = decide(label_table(), {"s1": 0}, decided_at=before)
    new = decide(label_table(), {"s1": 2}, reviewer="bob", decided_at=NOW)

    new = decisions.after(new, old)

    assert new["decided_at"].tolist() == [expected]
    assert decisions.merge(old, new)["reviewer"].tolist() == ["bob"]
    late = decisions.after(decide(label_table(), {"s1": 2}, decided_at="0001-01-01T00:00:00Z"), old)
    assert all(len(time) == len(NOW) for time in late["decided_at"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", "cta", "line 2, sample 's1': label 'cta' is no class; did you mean 'cat'"),
        ("action", "fix", "line 2, sample 's1': action 'fix' is no action"),
        ("label", "", "line 2, sample 's1': action 'relabel' needs a label"),
        ("action", "drop", "line 2, sample 's1': action 'drop' goes without a label"),
        ("sample_id", "s3", "line 3: sample_id 's3' is decided twice"),
        (
            "sample_id",
            "s9",
            "line 2: sample_id 's9' is not in the label table; that is the content of 's1' now",
        ),
        ("sample_id", "s5", "line 2: sample_id 's5' belongs to the test split"),
        ("content_hash", "hx", "line 2: sample_id 's1' has other content"),
        ("decided_at", "29.11.2025 10:00", "line 2, sample 's1': decided_at '29.* is no time like"),
        ("decided_at", "2026-13-01T10:00:00Z", "line 2, sample 's1': decided_at '2026-13.* is no"),
    ],
)
def test_wrong_decisions_name_file_and_line(column, value, message):
    table = label_table()
    raw = decisions.to_file(decide(table, {"s1": 0, "s3": 0}), NAMES)
    raw.loc[0, column] = value

    with pytest.raises(DataError, match=f"people.csv: {message}"):
        decisions.apply(
            repaired(table, [0, 2, 2, 0, 1, 2]),
            decisions.from_file(raw, NAMES, "people.csv"),
            C,
            "people.csv",
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": ["train", "test", *["train"] * 4]}, "'s1' belongs to the test split"),
        ({"content_hash": [f"n{row}" for row in range(6)]}, "'s1' has other content"),
        ({"sample_id": ["s0", "s1x", "s2", "s3", "s4", "s5"]}, "'s1' is not in the label table"),
    ],
)
def test_a_decision_that_no_longer_fits_is_refused_before_any_training(change, message):
    table = label_table()
    raw = decisions.to_file(decide(table, {"s1": 0, "s3": 0}), NAMES)
    truth = pd.DataFrame({"sample_id": table["sample_id"][:0], "true_label": np.empty(0, int)})
    assert choose_curated(table, truth, raw, NAMES, {}).empty

    with pytest.raises(DataError, match=f"human_decisions: line 2: sample_id {message}"):
        choose_curated(table.assign(**change), truth, raw, NAMES, {})


def test_revert_leaves_later_events_in_force():
    table = label_table()
    book = record(ledger.empty(), repaired(table, [1, 2, "drop", 0, 1, 2]), "first")
    decided = decide(table, {"s1": 0})
    frame = decisions.apply(repaired(table, [1, 2, "drop", 0, 2, 2]), decided, C)
    book = record(book, frame, "second", decided)

    restored, _ = ledger.revert(book, table, ledger.select(book, table, run_id="fir"))
    assert restored["sample_id"].tolist() == ["s0", "s2"]  # s1 was decided by a person since

    by_class = ledger.select(book, table, label=2)
    assert book.loc[by_class, "sample_id"].tolist() == ["s1", "s2", "s4"]
    one = ledger.select(book, table, samples=["s1"])
    assert ledger.revert(book, table, one)[0]["label"].tolist() == [1]


def test_revert_leaves_what_people_decided_where_its_label_stays():
    """Only keep or relabel is another one: the source gave another label since."""
    table = label_table()
    decided = decide(table, {"s0": 0, "s1": 1, "s2": None})
    before = decisions.apply(repaired(table, [0, 1, 2, 0, 1, 2]), decided, C)
    book = record(ledger.empty(), before, "r1", decided)
    other = label_table([2, 1, 2, 0, 1, 2])
    decided = decisions.merge(decided, decide(other, {"s1": 2}))
    after = decisions.apply(repaired(other, [2, 1, 2, 1, 1, 2]), decided, C)
    book = record(book, after, "r2", decided)
    assert book.loc[book["run_id"] == "r2", "sample_id"].tolist() == ["s0", "s0", "s1", "s3"]

    restored, rows = ledger.revert(book, other, ledger.select(book, other, run_id="r2"))

    assert restored[["sample_id", "label"]].to_numpy().tolist() == [["s1", 1], ["s3", 0]]
    assert rows.to_numpy().nonzero()[0].tolist() == [1, 3]


def test_events_of_other_content_do_not_count():
    table = label_table()
    book = record(ledger.empty(), repaired(table, [1, 2, 2, 0, 1, 2]), "first")
    assert book["content_hash"].tolist() == ["h0", "h1"]
    other = label_table([2, 1, 2, 0, 1, 2]).replace({"content_hash": {"h0": "new"}})
    frame = repaired(other, ["drop", 2, 2, 0, 1, 2])
    assert ledger.replay(book, other)["label"].tolist() == [2, 2, 2, 0, 1, 2]
    book = record(book, frame, "second")

    assert ledger.of_other_content(book, other).tolist() == [True, False, False]
    restored, _ = ledger.revert(book, other, ledger.select(book, other, run_id="second"))
    assert restored[["sample_id", "label", "action"]].to_numpy().tolist() == [["s0", 2, "keep"]]
    # Ledgers from before do not tell: their events are about the content there is.
    old = ledger.typed(book.drop(columns="content_hash"))
    assert not ledger.of_other_content(old, other).any()
    assert ledger.replay(old, other)["action"].tolist()[0] == "drop"


def test_select_refuses_what_the_ledger_does_not_know():
    table = label_table()
    book = record(ledger.empty(), repaired(table, [1, 2, "drop", 0, 1, 2]), "first")

    with pytest.raises(DataError, match="run 'x': no event in the label ledger; its runs: first"):
        ledger.select(book, table, run_id="x")
    with pytest.raises(DataError, match="sample 's99': not in the label table"):
        ledger.select(book, table, samples=["s1", "s99"])


@settings(max_examples=20, deadline=None)
@given(histories(), st.data())
def test_two_ledgers_are_one_and_lose_no_event(history, data):
    """Of two that grew apart after some run, with class lists of their own."""
    table, runs = history
    parts = []
    for side in "ab":
        book = book_of(runs)
        choices = data.draw(st.lists(CHOICE, min_size=len(table), max_size=len(table)))
        decided = decide(table, {"s0": data.draw(st.integers(0, C - 1))}, reviewer=side)
        frame = decisions.apply(repaired(table, choices), decided, C)
        proposed = ledger.propose(frame, "jocor", decided, class_names=[*NAMES, side])
        parts.append(ledger.append(book, frame, proposed, run_id=side, now=NOW))
    one, other = parts

    both = ledger.union(one, other)

    ledger.check_events(both)
    assert same(both.iloc[: len(one)], one)
    told = [name for name in ledger.IDENTITY if name != "to_label"]
    lines = [set(map(tuple, ledger.in_classes(book, [*NAMES, "a", "b"])[0][
        [*told, "to_label"]].astype(str).to_numpy())) for book in (one, other, both)]  # fmt: skip
    assert lines[0] | lines[1] == lines[2]
    assert len(both) == len(lines[2])
    assert ledger.union(both, other) is both
    assert ledger.union(both, one) is both
    assert ledger.union(ledger.empty(), one) is one


@pytest.mark.parametrize("turn", [1, -1])
def test_a_ledger_from_before_is_one_with_a_later_one(turn):
    """Whichever side has events of today: one without class lists, or one with them."""
    table = label_table()
    columns = [name for name in ledger.DTYPES if name not in ledger.LATER]
    old = ledger.typed(record(ledger.empty(), repaired(table, [1, 2, 2, 0, 1, 2]))[columns])
    proposed = ledger.propose(repaired(table, [1, 1, 2, 0, 0, 2]), "jocor", class_names=NAMES)
    new = ledger.append(old, table, proposed, run_id="r2")

    both = ledger.union(*(old, new)[::turn])

    ledger.check_events(both)
    assert same(both, new)
    assert ledger.in_classes(both, NAMES)[1] == NAMES
    assert same(ledger.replay(both, table), ledger.replay(new, table))


def test_another_given_label_in_the_source_is_an_event():
    table = label_table()
    decided = decide(table, {"s1": 1, "s3": 2})
    frame = decisions.apply(repaired(table, [1, 1, "drop", 0, 1, 2]), decided, C)
    book = record(ledger.empty(), frame, "first", decided)
    assert ledger.regiven(book, table).empty
    # s0 is what the model said, s1 is not what was decided, s3 is, and s4 nobody has touched.
    other = label_table([1, 2, 0, 2, 0, 2])
    assert ledger.regiven(book, other).to_dict() == {"s0": 0, "s1": 1, "s2": 2, "s3": 0}
    frame = decisions.apply(repaired(other, [1, 2, "drop", 2, 0, 2]), decided, C)

    later = record(book, frame, "second", decided)

    assert same(later.iloc[: len(book)], book)
    told = later.iloc[len(book) :].drop(columns=[n for n in later if n.startswith(("cl", "data"))])
    columns = ["sample_id", "from_label", "to_label", "action", "source", "method"]
    assert told[columns].to_csv(index=False, header=False) == (
        "s0,1,1,keep,given,source\ns1,1,2,keep,given,source\n"
        "s2,,0,keep,given,source\ns3,2,2,keep,given,source\n"
        "s1,2,1,relabel,human,queue\ns2,0,,drop,given,jocor\ns3,2,2,keep,human,queue\n"
    )
    assert set(told.loc[told["method"] == "source", "note"]) == {
        "another given label in the source"
    }
    assert same(ledger.replay(later, other), ledger.state_of(frame))
    assert ledger.regiven(later, other).empty
    assert record(later, frame, "again", decided) is later
    # Other content begins anew, another id is another sample, and another order of the classes
    # changes no name.
    new = other.assign(content_hash=[f"n{row}" for row in range(6)])
    assert ledger.regiven(book, new).empty
    assert ledger.regiven(book, other.assign(sample_id="x" + other["sample_id"])).empty
    named = ledger.append(
        ledger.empty(), table, ledger.propose(repaired(table, [1, 1, 2, 0, 1, 2]), "jocor",
        class_names=NAMES)
    )  # fmt: skip
    turned = ledger.in_classes(named, NAMES[::-1])[0]
    assert ledger.regiven(turned, label_table([2, 1, 0, 2, 1, 0])).empty


def test_a_class_list_that_changes_rewrites_no_history():
    older, newer = ["cat", "dog", "owl"], ["ape", "cat", "dog"]

    def add(book, frame, names, run):
        proposed = ledger.propose(frame, "jocor", class_names=names)
        book = ledger.append(book, frame, proposed, run_id=run, now=NOW)
        ledger.check_events(book)
        return book

    first = add(ledger.empty(), repaired(label_table(), [1, 2, "drop", 0, 1, 2]), older, "r1")
    table = label_table([1, 2, 2, 1, 2, 2])  # the same names, but for the owls
    book = add(first, repaired(table, ["drop", "drop", "drop", 1, 2, 2]), newer, "r2")

    assert same(book.iloc[: len(first)], first)
    assert [name for name in book["class_names"] if name] == [
        '["cat", "dog", "owl"]',
        '["ape", "cat", "dog", "owl"]',
    ]
    read, names = ledger.in_classes(book, newer)
    assert names == ["ape", "cat", "dog", "owl"]
    assert same(ledger.in_classes(read, newer)[0], read)
    last = read[read["run_id"] == "r2"]
    # s2 had been dropped before, and is again once its own class, the owls, has been left.
    assert last["sample_id"].tolist() == ["s2", "s0", "s1", "s2"]
    assert last["method"].tolist() == ["source", "jocor", "jocor", "jocor"]
    assert [names[code] for code in last["from_label"].dropna()] == ["dog", "owl", "dog"]
    restored, _ = ledger.revert(read, table, ledger.select(read, table, run_id="r2"))
    assert [names[code] for code in restored["label"].dropna()] == ["dog", "owl"]
    # A number that now means another class is another label.
    cats = repaired(label_table([1, 2, 2, 1, 2, 2]), [1, 2, "drop", 1, 2, 2])
    again = add(first, cats, newer, "r3")
    assert again["sample_id"].tolist()[len(first) :] == ["s2", "s0", "s1", "s2"]


def set_value(column, value, row=1):
    """Return what changes one value of a ledger, whatever its type."""

    def change(book):
        book = book.astype({column: object})
        book.loc[row, column] = value
        return book

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_value("to_label", 99), "event 1, sample 's1': to_label '99', expected a number of"),
        (set_value("to_label", -1), "event 1, sample 's1': to_label '-1', expected a number of"),
        (set_value("from_label", 3), "event 1, sample 's1': from_label '3', expected a number of"),
        (
            set_value("to_label", 0.5),
            r"event 1, .* to_label '0\.5', expected a class num",
        ),
        (set_value("to_label", None), "event 1, .* to_label '<NA>', expected a label if"),
        (lambda b: b.assign(to_label="a"), "event 0, sample 's0': to_label 'a', expected a number"),
        (set_value("action", "foo"), "event 1, sample 's1': action 'foo', expected one of keep, r"),
        (set_value("source", None), "event 1, sample 's1': source '', expected one of given, mod"),
        (set_value("sample_id", None), "event 1, sample '': sample_id '', expected an id"),
        (set_value("confidence", 7), "event 1, sample 's1': confidence '7.*', expected 0 to 1"),
        (set_value("class_names", "x", 0), "event 0, sample 's0': class_names 'x', expected the l"),
        (set_value("class_names", "null", 0), "class_names 'null', expected the list of distinct"),
        (set_value("class_names", "[1, 2, 3]", 0), r"class_names '\[1, 2, 3\]', expected the list"),
        (set_value("class_names", '["cat", "bee", "ant"]', 0), "whose digest is '[0-9a-f]{16}'"),
        (set_value("class_names", "[" * 100_000, 0), "expected the list of distinct names"),
        (set_value("classes", "zzz", 2), "event 2, .* class_names '', expected its class list"),
        (lambda book: book[1:], "event 0, sample 's1': class_names '', expected its class list"),
        (lambda book: book[::-1], "event 0, .* class_names '', expected its class list"),
        (
            lambda book: book.iloc[[0, 1, 4, 3, 2, *range(5, len(book))]],
            "event 4, sample 's2': from_label '2', expected the label that the event before it",
        ),
        (
            lambda book: book.drop(index=3),
            "event 4, sample 's0': from_label '2', expected the label that the event before it",
        ),
        (lambda book: b"PAR1 but not really", r"not a Parquet file \("),
    ],
)
def test_a_damaged_ledger_is_refused_by_file_and_event(tmp_path, change, message):
    file, table, book = tmp_path / "ledger.parquet", label_table(), ledger.empty()
    for number, choices in enumerate([[1, 2, 1, 0], [2, 2, "drop", 0], ["drop", 0, 0, 0]]):
        frame = repaired(table, [*choices, 1, 2])
        proposed = ledger.propose(frame, "jocor", class_names=NAMES)
        book = ledger.append(book, frame, proposed, run_id=f"r{number}", now=NOW)
    book.to_parquet(file)
    dataset = LedgerDataset(filepath=str(file))
    assert same(dataset.load(), book)

    damaged = change(book)
    if isinstance(damaged, bytes):
        file.write_bytes(damaged)
    else:
        damaged.to_parquet(file, index=False)

    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, DataError)
    assert re.search(rf"ledger\.parquet: .*{message}", str(caught.value.__cause__))


def test_a_ledger_from_before_is_of_the_first_class_list_that_it_names():
    table = label_table()
    columns = [name for name in ledger.DTYPES if name not in ledger.LATER]
    old = record(ledger.empty(), repaired(table, [1, 2, 2, 0, 1, 2]))[columns]

    book = ledger.typed(old)
    assert same(ledger.in_classes(book, NAMES)[0][columns], old)
    proposed = ledger.propose(repaired(table, [1, 1, 2, 0, 1, 2]), "jocor", class_names=NAMES)
    ledger.check_events(book)
    book = ledger.append(book, table, proposed, run_id="r2")
    ledger.check_events(book)
    read, names = ledger.in_classes(book, ["aaa", *NAMES])

    assert [names[code] for code in read["to_label"]] == ["bee", "cat", "bee"]
    short, names = ledger.in_classes(ledger.typed(old), NAMES[:2])
    assert [names[code] for code in short["to_label"]] == ["bee", "(class 2 of an unknown list)"]


def test_the_beginning_of_a_run_must_be_that_of_one():
    table = label_table()
    book = record(ledger.empty(), repaired(table, [1, 1, 2, 0, 1, 2]), "ab")
    book = record(book, repaired(table, [1, 2, 2, 0, 1, 2]), "ab12")
    book = record(book, repaired(table, [1, 2, 0, 0, 1, 2]), "ab99")

    def chosen(run):
        return ledger.select(book, table, run_id=run).tolist()

    assert chosen("ab1") == [False, True, False]
    assert chosen("ab") == [True, False, False]  # its whole id
    with pytest.raises(DataError, match="run 'a': 3 runs begin so, expected one: ab, ab12, ab99"):
        chosen("a")
    with pytest.raises(DataError, match="run '': no event"):
        chosen("")
    assert not ledger.select(book, table, run_id="ab", samples=[]).any()


def test_a_patch_made_from_another_state_is_refused():
    table = label_table()
    before, after = repaired(table, [0, 2, 2, 0, 1, 2]), repaired(table, [0, 0, 2, 0, 1, 2])
    patch = label_diff.diff(before, after)

    with pytest.raises(DataError, match=r"p\.csv: line 2: sample_id 's1' is no longer as"):
        label_diff.apply_patch(table, patch, "p.csv")
    with pytest.raises(DataError, match="'s6' is added or removed"):
        label_diff.apply_patch(table, label_diff.diff(table, label_table([0, 1, 2, 0, 1, 2, 1])))


def test_label_changes_is_small_and_sorted():
    table = label_table()
    frame = repaired(table, [0, 2, "drop", "review", 1, "keep"])
    frame = decisions.apply(frame, decide(table, {"s0": 0}), C)

    text = label_diff.label_changes(frame, NAMES).to_csv(index=False)

    assert text == (
        "sample_id,given_label,repaired_label,action,label_source,confidence\n"
        "s0,ant,ant,keep,human,\n"
        "s1,bee,cat,relabel,model,0.75\n"
        "s2,cat,,drop,given,\n"
        "s3,ant,,review,given,\n"
    )


def test_decisions_about_what_has_moved_say_where_it_is():
    """Rows before it are gone, or the file was renamed: ids that count go to other samples."""
    table = label_table()
    decided = decide(table, {"s1": 0})
    moved = table.assign(content_hash=[*table["content_hash"][1:], "hnew"])
    with pytest.raises(DataError, match=r"'s1' has other .*that is the content of 's0' now"):
        decisions.check(moved, decided)
    gone = table.assign(content_hash=table["content_hash"] + "x")
    with pytest.raises(DataError, match=r"'s1' has other content.*; decide again or remove"):
        decisions.check(gone, decided)
    texts = table.assign(content_hash="text:" + table["content_hash"])
    with pytest.raises(DataError, match=r"'s1' has other content.* earlier version.*label_table"):
        decisions.check(texts, decided)
    renamed = texts.assign(sample_id=["s0", "new", *texts["sample_id"][2:]])
    with pytest.raises(DataError, match=r"'s1' is not in the label table; .*no decided sample is"):
        decisions.check(renamed, decided)
    other = table.assign(sample_id=table["sample_id"] + "x", content_hash="other")
    with pytest.raises(
        DataError, match=r"no decided sample is: if the decisions are about another"
    ):
        decisions.check(other, decided)


def test_ids_of_a_large_table_are_not_compared_text_by_text(monkeypatch):
    """As isin does with its right side: a minute for 10^7, several times in a repair."""
    table = label_table([0, 1, 2] * 10)
    frame = repaired(table, [0] * 30)
    decided, book = decide(table, {"s1": 0}), record(ledger.empty(), frame)
    sizes = []

    def noted(self, values, plain=pd.Series.isin):
        sizes.append(len(values))
        return plain(self, values)

    monkeypatch.setattr(pd.Series, "isin", noted)
    decisions.check(table, decided)
    regiven = table.assign(given_label=[0, 2, *table["given_label"][2:]])
    proposed = ledger.propose(repaired(regiven, [0] * 30), "m")
    assert len(ledger.append(book, regiven, proposed)) == len(book) + 2
    assert max(sizes, default=0) < 10
