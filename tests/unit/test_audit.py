"""What random samples say: exact bounds, draws, and what people's answers feed."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from labelrepair import audit, decisions, ledger
from labelrepair.errors import ConfigError, DataError
from labelrepair.ingest import CuratedSpec, collect_curated
from labelrepair.review import ANSWER, AUDITED, PLACE

COUNTS = st.integers(1, 60).flatmap(
    lambda population: st.integers(1, population).flatmap(
        lambda drawn: st.tuples(st.just(population), st.just(drawn), st.integers(0, drawn))
    )
)


def table(count=30):
    """Return rows 0-19 relabelled from 0 to 1, the rest kept as 2."""
    relabelled = np.arange(count) < 20
    return pd.DataFrame(
        {
            "sample_id": pd.array([f"s{row:02d}" for row in range(count)], dtype="str"),
            "given_label": np.where(relabelled, 0, 2),
            "split": pd.array(["train"] * count, dtype="str"),
            "content_hash": pd.array(["h"] * count, dtype="str"),
            "label_quality": 0.5,
            "suggested_label": pd.array(np.where(relabelled, 1, 2), dtype="Int64"),
            "confidence": np.where(np.arange(count) < 10, 0.995, 0.8),
            "action": pd.array(np.where(relabelled, "relabel", "keep"), dtype="str"),
            "repaired_label": pd.array(np.where(relabelled, 1, 2), dtype="Int64"),
            "label_source": pd.array(np.where(relabelled, "model", "given"), dtype="str"),
            "reason": pd.array(["because"] * count, dtype="str"),
        }
    )


def answered(frame, batch, labels):
    rows = pd.DataFrame({"sample_id": list(labels)})
    rows["label"] = pd.array(list(labels.values()), dtype="Int64")
    return decisions.make(frame, rows, batch=batch)


def named(frame, group="relabel", drawn=20):
    """Return the name of a draw from the frame's scores."""
    return f"audit:{group}:{drawn}of20:seed0:0123abcd-{audit.scores_mark(frame)}"


def book(frame):
    return ledger.append(ledger.empty(), frame, ledger.propose(frame, "jocor"), run_id="r")


@settings(max_examples=60, deadline=None)
@given(COUNTS)
@example((20, 1, 0))  # 19 wrong rows leave a chance of 1/20 exactly
def test_the_bound_is_the_last_that_the_audit_leaves_possible(counts):
    population, drawn, wrong = counts

    bound = audit.most_wrong(wrong, drawn, population)

    def chance(total):  # by its definition: a sum over what could have been drawn
        ways = [stats.hypergeom.pmf(seen, population, total, drawn) for seen in range(wrong + 1)]
        return sum(ways)

    possible = range(wrong, population - (drawn - wrong) + 1)
    assert bound == max(total for total in possible if chance(total) >= 0.05 - 1e-12)


def test_the_bound_covers():
    """Of many audits of the same rows, at most 5 % state too little."""
    rng = np.random.default_rng(0)
    population, wrong = 500, 40
    found = rng.hypergeometric(wrong, population - wrong, 60, size=2000)
    bounds = {int(seen): audit.most_wrong(int(seen), 60, population) for seen in np.unique(found)}
    missed = np.mean([bounds[int(seen)] < wrong for seen in found])
    assert 0.01 < missed <= 0.06


def test_known_values():
    # No wrong row of 59 of very many: the rule behind "59 samples for 95 / 95".
    assert audit.most_wrong(0, 59, 1_000_000) / 1_000_000 == pytest.approx(0.0495, abs=2e-4)
    assert audit.most_wrong(0, 100, 100) == 0
    low, high = audit.interval(48, 50)
    assert (round(low, 4), round(high, 4)) == (0.8629, 0.9951)  # Clopper-Pearson
    assert audit.interval(0, 0) == (0.0, 1.0)


def test_draws_are_random_seeded_and_of_one_kind():
    frame = table()
    first, name = audit.draw(frame, "relabel", 5, 0)
    again, _ = audit.draw(frame, "relabel", 5, 0)
    other, _ = audit.draw(frame, "relabel", 5, 1)

    assert name.rpartition(":")[0] == "audit:relabel:5of20:seed0"
    pd.testing.assert_frame_equal(first, again)
    assert set(first["action"]) == {"relabel"}
    assert first["sample_id"].tolist() != other["sample_id"].tolist()
    counts = sum(
        audit.draw(frame, "relabel", 5, seed)[0]["sample_id"]
        .value_counts()
        .reindex(frame["sample_id"][:20], fill_value=0)
        for seed in range(200)
    )
    assert counts.between(25, 80).all()  # 50 each on average
    assert len(audit.draw(frame, "all", 99, 0)[0]) == 30
    with pytest.raises(DataError, match="no row with action 'drop'"):
        audit.draw(frame, "drop", 5, 0)
    with pytest.raises(ConfigError, match="count"):
        audit.draw(frame, "keep", 0, 0)


def test_answers_meet_the_models_last_word():
    frame = table()
    right = {f"s{row:02d}": 1 for row in (0, 1, 2)}
    decided = answered(frame, named(frame, drawn=5), {**right, "s03": 0})
    events = book(frame)
    after = decisions.apply(frame, decided, 3)
    events = ledger.append(events, frame, ledger.propose(after, "jocor", decided), run_id="r2")

    found = audit.verdicts(events, decided, frame)
    (result,) = audit.evaluate(found)

    assert found["wrong"].tolist() == [False, False, False, True]
    assert found["confidence"].tolist() == [0.995] * 4
    assert (result.drawn, result.answered, result.wrong, result.population) == (5, 4, 1, 20)
    assert result.bound == audit.most_wrong(2, 5, 20) / 20  # the missing one counts as wrong
    assert "1 wrong of 4 audited" in result.statement
    assert result.statement.endswith("1 without an answer count as wrong")
    right, count, low, high = audit.relabel_precision(found)
    assert (right, count) == (3, 4)
    assert (low, high) == (audit.interval(3, 5)[0], audit.interval(4, 5)[1])  # wrong, or right


def test_what_is_audited_is_told_to_nobody():
    frame = table()
    marks = audit.audited(book(frame), frame)
    assert marks.index.tolist() == frame["sample_id"].tolist()
    assert marks.is_unique  # equal labels do not look alike
    other = frame.assign(repaired_label=frame["repaired_label"].where(frame.index != 3, 2))
    later = ledger.append(book(frame), frame, ledger.propose(other, "jocor"), run_id="r2")
    assert (audit.audited(later, frame) != marks).to_numpy().nonzero()[0].tolist() == [3]


def test_a_mark_is_no_number_and_a_damaged_one_is_called_so():
    frame = table()
    rows, name = audit.draw(frame, "relabel", 20, 0)
    marks = audit.audited(book(frame), frame).reindex(rows["sample_id"]).to_numpy()
    assert all(re.fullmatch("m[0-9a-f]{16}", mark) for mark in marks)
    sheet = pd.DataFrame({"sample_id": rows["sample_id"], "batch": name, ANSWER: "x"})
    sheet[PLACE] = [f"line {row + 2}" for row in range(20)]
    sheet[AUDITED] = [mark[1:] for mark in marks]  # files from before
    audit.refuse_stale(sheet, book(frame), frame, "audit.csv")

    sheet.loc[3, AUDITED] = "1.23457E+15"
    message = r"line 5, sample 's03': audited '1.23457E\+15' is no mark of an audit, 'm' and 16 hex"
    with pytest.raises(DataError, match=f"audit.csv: {message}"):
        audit.refuse_stale(sheet, book(frame), frame, "audit.csv")


def decide(frame, events, decided):
    """Return the table and the ledger once decisions are in force."""
    after = decisions.apply(frame, decided, 3)
    return after, ledger.append(events, frame, ledger.propose(after, "repair", decided))


@pytest.mark.parametrize("group", ["relabel", "all"])
def test_an_answer_is_stale_where_a_run_has_changed_the_label_drawn(group):
    frame = table()
    rows, name = audit.draw(frame, group, 20, 0)
    relabelled = rows.loc[rows["action"] == "relabel", "sample_id"]
    first, other = relabelled.iloc[:2]
    sheet = pd.DataFrame({"sample_id": [first, other], "batch": name, ANSWER: "x"})
    sheet[AUDITED] = audit.audited(book(frame), frame).reindex([first, other]).to_numpy()
    sheet[PLACE] = ["line 2", "line 3"]

    # What people decide is no change of what is audited, be it the audit's own answers or others.
    after, events = decide(frame, book(frame), answered(frame, name, {first: 0}))
    audit.refuse_stale(sheet, events, frame, "audit.csv")
    decided = answered(frame, "patch", {other: 0})
    _, patched = decide(after, events, decided)
    audit.refuse_stale(sheet, patched, frame, "audit.csv")
    withheld = after.assign(
        action=after["action"].mask(after["sample_id"] == other, "drop"),
        repaired_label=after["repaired_label"].mask(after["sample_id"] == other),
    )
    run = ledger.append(patched, withheld, ledger.propose(withheld, "jocor"), run_id="r2")
    message = f"audit.csv: line 3: sample_id '{other}' has another"
    with pytest.raises(DataError, match=message):
        audit.refuse_stale(sheet, run, frame, "audit.csv")
    # Nor does what people decide after it make the label come back that was drawn.
    _, again = decide(withheld, run, answered(frame, "patch", {other: 2}))
    with pytest.raises(DataError, match=message):
        audit.refuse_stale(sheet, again, frame, "audit.csv")


@pytest.mark.parametrize("turn", [1, -1])
def test_a_random_sample_keeps_the_rows_that_people_decide_about_elsewhere(turn):
    """However the answers come, no audit loses one; else the hard rows would leave the sample."""
    frame = table()
    truth = {f"s{row:02d}": 0 if row < 6 else 1 if row < 20 else 2 for row in range(30)}
    everything, relabelled = (audit.draw(frame, group, 30, 0)[1] for group in ("all", "relabel"))
    few = {sample: truth[sample] for sample in ("s00", "s06", "s25")}
    batches = {
        everything: truth,
        "queue": few,
        relabelled: {sample: label for sample, label in truth.items() if sample < "s20"},
    }
    decided, after, events = decisions.empty().astype({"label": "Int64"}), frame, book(frame)
    for batch, labels in list(batches.items())[::turn]:
        decided = decisions.merge(decided, answered(frame, batch, labels))
        after, events = decide(after, events, decided)

    results = {r.batch: r for r in audit.evaluate(audit.verdicts(events, decided, after))}
    assert {batch: (r.answered, r.drawn) for batch, r in results.items()} == {
        everything: (30, 30),
        relabelled: (20, 20),
    }
    assert results[relabelled].wrong == 6
    # Over all rows the labels count that were in force when the answers came.
    assert results[everything].wrong == (6 if turn == 1 else 0)
    trusted = audit.curated(decided)
    assert dict(zip(trusted["sample_id"], trusted["true_label"], strict=True)) == truth


def test_a_later_answer_is_the_one_that_counts_and_the_row_stays():
    frame = table()
    rows, name = audit.draw(frame, "all", 30, 0)
    decided = answered(frame, name, dict.fromkeys(rows["sample_id"], 2))
    after, events = decide(frame, book(frame), decided)
    decided = decisions.merge(decided, answered(frame, "queue", {"s03": 1}))
    after, events = decide(after, events, decided)

    found = audit.verdicts(events, decided, after).set_index("sample_id")
    assert (len(found), found["wrong"].sum(), found.loc["s03", "true_label"]) == (30, 19, 1)
    trusted = audit.curated(decided).set_index("sample_id")["true_label"]
    assert (len(trusted), trusted["s03"]) == (30, 1)


def test_a_reverted_answer_is_none_and_the_estimate_says_so(caplog):
    frame = table()
    _, name = audit.draw(frame, "all", 30, 0)
    decided = answered(frame, name, {f"s{row:02d}": 1 for row in range(30)})
    assert len(audit.curated(decided)) == 30
    assert caplog.text == ""
    # Also where the label stays: the rows that a revert changes are no random ones.
    reverted = decisions.merge(decided, answered(frame, "revert", {"s01": 1, "s02": 0}))
    (result,) = audit.evaluate(audit.verdicts(book(frame), reverted, frame))
    assert result.answered == 28
    assert len(audit.curated(reverted)) == 28
    assert f"{name}: 2 drawn rows have no answer, so that T is estimated" in caplog.text
    again = decisions.merge(reverted, decided)
    assert len(audit.curated(again)) == 30, "the audit's file can be imported again"


def test_a_row_of_several_audits_is_counted_once_among_the_relabels():
    frame = table()
    one, two = (audit.draw(frame, "relabel", 20, seed)[1] for seed in (0, 1))
    labels = {f"s{row:02d}": 1 for row in range(20)}
    decided = decisions.merge(answered(frame, one, labels), answered(frame, two, labels))
    found = audit.verdicts(book(frame), decided, frame)
    assert [result.answered for result in audit.evaluate(found)] == [20, 20]
    assert audit.relabel_precision(found) == (20, 20, *audit.interval(20, 20))
    assert audit.of_relabels(decided)


def test_an_audit_of_all_rows_judges_the_labels_in_force():
    """What people decided wrongly is wrong, although the model had it right."""
    frame = table()
    people = {f"s{row:02d}": 0 for row in range(10)}
    queue = answered(frame, "queue", people)
    after, events = decide(frame, book(frame), queue)
    rows, name = audit.draw(after, "all", 30, 0)
    assert len(rows) == 30, "rows of people are among all rows, else their noise would be missed"
    truth = {sample: 1 if int(sample[1:]) < 20 else 2 for sample in rows["sample_id"]}
    decided = decisions.merge(queue, answered(after, name, truth | {"s00": 0}))

    (before,) = audit.evaluate(audit.verdicts(events, decided, after))
    after, events = decide(after, events, decided)
    (result,) = audit.evaluate(audit.verdicts(events, decided, after))

    assert (result.wrong, result.answered) == (9, 30)
    assert before == result, "answers in force do not judge themselves"
    assert result.statement.startswith("at most 30.0 % of the rows carry a wrong label")
    with pytest.raises(DataError, match="no row with action 'relabel'"):  # none is the model's
        audit.draw(after, "relabel", 20, 0)


@pytest.mark.parametrize("run_since", [False, True])
def test_a_verdict_is_about_the_label_that_was_given_when_it_was_drawn(run_since):
    frame = table()
    rows, name = audit.draw(frame, "all", 30, 0)
    truth = {sample: 1 if int(sample[1:]) < 20 else 2 for sample in rows["sample_id"]}
    decided = answered(frame, name, truth | {"s29": 1})
    after, events = decide(frame, book(frame), decided)
    # The source gives others since: to a row that was right and to one that was wrong.
    moved = after["sample_id"].isin(["s28", "s29"])
    after = after.assign(given_label=after["given_label"].mask(moved, 1))
    if run_since:
        after, events = decide(after, events, decided)
        assert (events["method"] == ledger.REGIVEN).sum() == 2

    found = audit.verdicts(events, decided, after)

    assert found.loc[found["wrong"], "sample_id"].tolist() == ["s29"]


def test_no_two_audits_have_one_name():
    frame = table()
    _, name = audit.draw(frame, "relabel", 5, 0)
    others = [
        frame.assign(sample_id="x" + frame["sample_id"]),
        frame.assign(repaired_label=frame["repaired_label"].replace(1, 2)),
        frame.assign(confidence=frame["confidence"] - 0.01),
    ]
    names = {audit.draw(other, "relabel", 5, 0)[1] for other in others}
    assert len(names | {name}) == 4
    # What people decide leaves the scores that an audit was drawn from.
    after, _ = decide(frame, book(frame), answered(frame, name, {"s00": 0}))
    assert audit.scores_mark(after) == audit.scores_mark(frame)


def test_old_audits_of_one_name_are_refused():
    frame = table()
    old = "audit:relabel:5of20:seed0"
    found = audit.verdicts(
        book(frame), answered(frame, old, {f"s{row:02d}": 1 for row in range(6)}), frame
    )
    with pytest.raises(DataError, match=f"batch '{old}': expected .* at most 5 .* found 6"):
        audit.evaluate(found)
    (result,) = audit.evaluate(found[:5])
    assert result.bound == audit.most_wrong(0, 5, 20) / 20
    assert audit.relabel_precision(found) == (0, 0, 0.0, 1.0), "of scores that nobody knows"


def test_a_rows_confidence_is_that_of_the_scores_it_was_drawn_from():
    """The ledger's is older where another training arrived at the same label."""
    frame = table()
    later = frame.assign(confidence=0.71)
    events = ledger.append(book(frame), later, ledger.propose(later, "nlnl"), run_id="r2")
    rows, name = audit.draw(later, "relabel", 20, 0)
    decided = answered(later, name, dict.fromkeys(rows["sample_id"], 1))

    found = audit.verdicts(events, decided, later)
    assert set(found["confidence"]) == {0.71}
    assert audit.thresholds(found, 0.8)["relabel_confidence"].tolist() == [0.7]
    # Another training, or no scores: the audit tells nothing of them.
    for other in (frame, later.drop(columns="confidence")):
        found = audit.verdicts(events, decided, other)
        assert found["confidence"].isna().all()
        assert audit.thresholds(found, 0.0).empty


def test_rows_without_an_answer_are_wrong_at_every_threshold():
    frame = table()
    labels = {f"s{row:02d}": 1 for row in range(20)}
    found = audit.verdicts(book(frame), answered(frame, named(frame), labels), frame)
    full, part = audit.thresholds(found, 0.7), audit.thresholds(found[2:], 0.7)
    assert full["holds"].all()
    assert (part["audited"].iloc[0], part["right"].iloc[0]) == (8, 8)
    assert part["precision_at_least"].iloc[0] == pytest.approx(audit.interval(8, 10, 0.9)[0])
    assert part["holds"].tolist() == [False]  # and the search ends, as with two wrong answers


def test_an_audit_of_dropped_rows():
    frame = table()
    frame.loc[[20, 21], ["action", "repaired_label"]] = ["drop", pd.NA]
    decided = answered(frame, "audit:drop:2of2:seed0", {"s20": 2, "s21": 0})

    found = audit.verdicts(book(frame), decided, frame)

    assert found["wrong"].tolist() == [True, False]  # the first was right as given


def test_thresholds_go_from_strict_to_loose():
    frame = table()
    labels = {f"s{row:02d}": 1 if row < 10 else 0 for row in range(20)}  # the unsure are wrong
    found = audit.verdicts(book(frame), answered(frame, named(frame), labels), frame)

    tested = audit.thresholds(found, 0.7)

    held = tested[tested["holds"]]["relabel_confidence"]
    assert held.min() == 0.85
    assert not tested.iloc[-1]["holds"]
    assert tested["relabel_confidence"].iloc[-1] == 0.8
    assert tested["precision_at_least"].iloc[0] == pytest.approx(0.05 ** (1 / 10))
    assert not audit.thresholds(found, 0.9)["holds"].any()
    for level in (0.4, 0.5, 1.0):
        with pytest.raises(ConfigError, match=r"level: must lie strictly in \(0.5, 1\), found"):
            audit.thresholds(found, 0.9, level)


def test_only_draws_over_all_rows_feed_the_estimate():
    frame = table()
    drawn = answered(frame, "audit:all:2of30:seed0", {"s25": 2, "s01": 1, "s02": None})
    queue = answered(frame, "queue", {"s03": 0})
    truth = pd.DataFrame({"sample_id": frame["sample_id"][:0], "true_label": np.empty(0, int)})
    decided = decisions.merge(drawn, queue)

    on = collect_curated(frame, truth, "abc", CuratedSpec(reviewed=True), decided)
    off = collect_curated(frame, truth, "abc", CuratedSpec(), decided)

    assert dict(zip(on["sample_id"], on["true_label"], strict=True)) == {"s01": 1, "s25": 2}
    assert off.empty
    elsewhere = decided.assign(sample_id=decided["sample_id"] + "x")
    with pytest.raises(DataError, match="'s01x' is not in the label table"):
        collect_curated(frame, truth, "abc", CuratedSpec(reviewed=True), elsewhere)
