"""The threshold in force: as set, or raised by what reviewers have audited, and always with why."""

import logging

import numpy as np
import pandas as pd
import pytest

from labelrepair import audit, decisions, ledger
from labelrepair.errors import ConfigError
from labelrepair.policy import Policy
from labelrepair.thresholds import ReviewedThresholds, choose, in_force, metrics

COUNT = 200
ON = ReviewedThresholds(apply=True)


@pytest.fixture(scope="module")
def table():
    """Return 200 rows relabelled from 0 to 1, with confidences from 0.7 to 1."""
    ids = [f"s{row:03d}" for row in range(COUNT)]
    return pd.DataFrame(
        {
            "sample_id": pd.array(ids, dtype="str"),
            "given_label": 0,
            "split": pd.array(["train"] * COUNT, dtype="str"),
            "content_hash": pd.array(["h"] * COUNT, dtype="str"),
            "label_quality": 0.1,
            "suggested_label": pd.array([1] * COUNT, dtype="Int64"),
            "confidence": np.linspace(0.7, 1, COUNT),
            "action": pd.array(["relabel"] * COUNT, dtype="str"),
            "repaired_label": pd.array([1] * COUNT, dtype="Int64"),
            "label_source": pd.array(["model"] * COUNT, dtype="str"),
            "reason": pd.array(["because"] * COUNT, dtype="str"),
        }
    )


@pytest.fixture(scope="module")
def book(table):
    return ledger.append(ledger.empty(), table, ledger.propose(table, "jocor"), run_id="r")


def answers(table, count, wrong=lambda confidence: confidence < 0):
    """Return decisions about ``count`` rows drawn at random."""
    rows, batch = audit.draw(table, "relabel", count, 0)
    answered = rows[["sample_id"]].copy()
    answered["label"] = pd.array(np.where(wrong(rows["confidence"]), 2, 1), dtype="Int64")
    return decisions.make(table, answered, batch=batch)


def test_the_lowest_threshold_that_is_shown_to_hold_is_in_force(table, book, caplog):
    decided = answers(table, COUNT, lambda confidence: confidence < 0.75)

    with caplog.at_level(logging.WARNING):
        record = choose(Policy(), ON, book, decided, table, "jocor")

    # From 0.75 on all 166 are right. From 0.7 on 166 of 200: at least 78 %, not 95 %.
    assert record["relabel_confidence"] == 0.75
    assert (record["set"], record["chosen_by"]) == (0.7, "reviews")
    assert (record["audited"], record["right"]) == (200, 166)
    assert record["precision"] == 0.83
    assert record["low"] == pytest.approx(0.7706, abs=1e-4)  # Clopper-Pearson of 166 of 200
    assert record["high"] == pytest.approx(0.8793, abs=1e-4)
    assert record["why"] == (
        "chosen by the audits, the lowest value shown to keep a precision of 95 %, at 95 % "
        "(166 of 166 audited relabels from there on are right); set is 0.7"
    )
    assert f"policy.relabel_confidence is 0.75: {record['why']}" in caplog.text
    assert in_force(Policy(review_budget=0.1), record) == Policy(0.75, review_budget=0.1)
    assert metrics(record)["audit.relabel_precision"] == 0.83


def test_nothing_changes_unless_it_is_asked_for(table, book, caplog):
    decided = answers(table, COUNT, lambda confidence: confidence < 0.75)
    record = choose(Policy(), ReviewedThresholds(), book, decided, table, "jocor")
    assert (record["relabel_confidence"], record["chosen_by"]) == (0.7, "conf")
    assert "would support 0.75" in record["why"]
    assert record["precision"] == 0.83, "shown all the same"
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("count", "wrong", "method", "why"),
    [
        (0, 2.0, "jocor", "no relabel by this training of jocor has been audited"),
        (59, 0.0, "jocor", "59 relabels have been audited, 60 are needed"),
        (COUNT, 2.0, "jocor", "show for no value that it keeps a precision of 95 %"),
        (COUNT, 0.0, "jocor", "the audits show that it keeps a precision of 95 %, at 95 % (200 of"),
    ],
)
def test_otherwise_the_threshold_stays_as_set(table, book, count, wrong, method, why):
    decided = answers(table, max(count, 1), lambda confidence: confidence < wrong)[:count]
    record = choose(Policy(), ON, book, decided, table, method)
    assert record["relabel_confidence"] == 0.7
    assert record["why"].startswith("as set; ")
    assert why in record["why"]
    assert (record["chosen_by"] == "reviews") == ("show that it keeps" in why)


def test_audits_of_another_training_do_not_count(table, book):
    """Whatever the ledger says, which notes a label only when a run arrives at it first."""
    decided = answers(table, COUNT)
    other = table.assign(confidence=table["confidence"] - 0.01)
    for now in (other, table[["sample_id", "given_label", "split", "content_hash"]]):
        record = choose(Policy(), ON, book, decided, now, "jocor")
        assert (record["audited"], record["chosen_by"]) == (0, "conf")
    # An audit of its relabels counts, although no event tells of this training.
    assert choose(Policy(), ON, book, answers(other, COUNT), other, "nlnl")["audited"] == COUNT


def test_rows_without_an_answer_choose_nothing_that_all_answers_would_not(table, book):
    sure = table.assign(confidence=0.97)
    decided = answers(sure, 120)
    assert choose(Policy(), ON, book, decided, sure, "jocor")["relabel_confidence"] == 0.95

    record = choose(Policy(), ON, book, decided[:100], sure, "jocor")

    assert (record["relabel_confidence"], record["chosen_by"]) == (0.7, "conf")
    assert (record["audited"], record["precision"]) == (100, 1.0)
    assert record["low"] == audit.interval(100, 120)[0]
    assert record["why"].endswith("; 20 drawn without an answer count as wrong")


def test_audits_never_lower_the_threshold(table, book):
    decided = answers(table, COUNT)
    record = choose(Policy(relabel_confidence=0.93), ON, book, decided, table, "jocor")
    assert record["relabel_confidence"] == 0.93


def test_the_queue_does_not_count(table, book):
    """Its rows are the worst ones, not drawn at random."""
    rows = table[["sample_id"]].assign(label=pd.array([1] * COUNT, dtype="Int64"))
    decided = decisions.make(table, rows, batch="queue")
    assert choose(Policy(), ON, book, decided, table, "jocor")["audited"] == 0


def test_the_promise_is_kept():
    """Where relabels are right with probability = confidence, 5 % of the choices break it."""
    rng, kept = np.random.default_rng(0), []
    for _ in range(300):
        confidence = rng.uniform(0.7, 1, 300)
        wrong = rng.uniform(size=300) > confidence
        found = pd.DataFrame({"confidence": confidence, "wrong": wrong})
        found["sample_id"] = found.index.astype("str")
        found["batch"] = "audit:relabel:300of9999:seed0:0123abcd-0123abcd"
        tested = audit.thresholds(found.astype({"confidence": "Float64"}), 0.9)
        held = tested[tested["holds"]]["relabel_confidence"]
        if len(held):
            kept.append((held.min() + 1) / 2 >= 0.9)  # mean of uniform confidences above it
    assert len(kept) > 100
    assert 0.93 <= np.mean(kept) <= 1


def test_settings_are_checked():
    for wrong in ({"precision": 1.5}, {"level": 0.5}, {"min_relabels": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ReviewedThresholds(**wrong)
