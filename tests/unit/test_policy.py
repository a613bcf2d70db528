import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelrepair.errors import ConfigError
from labelrepair.label_table import (
    LABEL_SOURCE,
    REPAIR_COLUMNS,
    check_repaired_table,
    extend,
    make_label_table,
)
from labelrepair.policy import CALM, Policy, _worst, apply_policy, settle, signs_of

NO_FLOOR = Policy(class_floor=0.0, review_budget=0.0)


def frame(*rows, selected=None):
    """Rows (given, suggested, quality, confidence); an issue is a suggestion that differs."""
    labels = np.array([row[0] for row in rows])
    suggested = np.array([row[1] for row in rows])
    scores = pd.DataFrame(
        {
            "label_quality": [float(row[2]) for row in rows],
            "is_label_issue": suggested != labels,
            "suggested_label": suggested,
            "confidence": [float(row[3]) for row in rows],
        }
    )
    if selected is not None:
        scores["selected"] = selected
    return scores, labels


def decide(*rows, policy=NO_FLOOR, selected=None):
    return apply_policy(*frame(*rows, selected=selected), policy)


def test_each_rule():
    """Agreed; confident issue; weak issue; agreed but of low quality."""
    found = decide((0, 0, 0.9, 0.9), (0, 1, 0.1, 0.8), (0, 1, 0.3, 0.5), (1, 1, 0.4, 0.4))
    assert found["action"].tolist() == ["keep", "relabel", "drop", "keep"]
    assert found["repaired_label"].tolist() == [0, 1, pd.NA, 1]
    assert str(found["repaired_label"].dtype) == "Int64"
    assert found["label_source"].tolist() == ["given", "model", "given", "given"]
    assert found["reason"].tolist() == [
        "the given label is the most probable class",
        "another class is more probable",
        "wrong by all signs, right label unclear",
        "doubtful, but the most probable class",
    ]


def test_thresholds_are_inclusive():
    assert decide((0, 1, 0.1, 0.7)).iloc[0]["action"] == "relabel"
    assert decide((0, 1, 0.1, 0.6999)).iloc[0]["action"] == "drop"
    sure = decide((0, 0, 0.5, 0.5)).iloc[0]["reason"]
    assert sure == "the given label is the most probable class"
    assert decide((0, 0, 0.4999, 0.4999)).iloc[0]["reason"].startswith("doubtful")


def test_thresholds_matter():
    rows = [(0, 1, 0.1, 0.8), (0, 0, 0.6, 0.6)]
    strict = dataclasses.replace(NO_FLOOR, relabel_confidence=0.9, keep_quality=0.7)
    assert decide(*rows)["action"].tolist() == ["relabel", "keep"]
    found = decide(*rows, policy=strict)
    assert found["action"].tolist() == ["drop", "keep"]
    assert found["reason"].iloc[1].startswith("doubtful")


def test_review_takes_the_worst_uncertain_rows_up_to_the_budget():
    """Five of ten rows are uncertain; int(0.35 * 10) = 3 go to review: qualities .1, .2 and .25."""
    rows = [(0, 0, 0.99, 0.99)] * 4 + [
        (0, 1, 0.0, 0.95),  # confident: not for people
        (0, 1, 0.2, 0.5),
        (0, 0, 0.25, 0.4),
        (0, 1, 0.1, 0.5),
        (0, 1, 0.3, 0.5),
        (0, 0, 0.45, 0.45),
    ]
    found = decide(*rows, policy=Policy(review_budget=0.35, class_floor=0.0))
    assert found["action"].tolist() == ["keep"] * 4 + [
        "relabel",
        "review",
        "review",
        "review",
        "drop",
        "keep",
    ]
    assert found["repaired_label"].isna().tolist() == [False] * 5 + [True] * 4 + [False]
    assert found["reason"].tolist()[5:8] == [
        "another class is more probable, but not surely",
        "the given label is doubtful",
        "another class is more probable, but not surely",
    ]


def test_review_ties_go_to_the_earlier_row():
    rows = [(0, 1, 0.2, 0.5)] * 4
    found = decide(*rows, policy=Policy(review_budget=0.5, class_floor=0.0))
    assert found["action"].tolist() == ["review", "review", "drop", "drop"]


def test_a_row_the_method_disbelieved_counts_as_a_doubt():
    rows = [(0, 0, 0.9, 0.9), (0, 0, 0.8, 0.8)]
    budget = Policy(review_budget=0.5, class_floor=0.0)
    assert decide(*rows, policy=budget)["action"].tolist() == ["keep", "keep"]
    found = decide(*rows, policy=budget, selected=[False, True])
    assert found["action"].tolist() == ["review", "keep"]


def test_the_class_floor_keeps_the_best_of_the_dropped():
    """Class 0: four weak issues, floor 0.5: the two of best quality stay. Class 1 is untouched."""
    rows = [(0, 1, q, 0.5) for q in (0.1, 0.4, 0.2, 0.3)] + [(1, 1, 0.9, 0.9)] * 2
    found = decide(*rows, policy=Policy(review_budget=0.0, class_floor=0.5))
    assert found["action"].tolist() == ["drop", "keep", "drop", "keep", "keep", "keep"]
    assert found["repaired_label"].tolist()[:4] == [pd.NA, 0, pd.NA, 0]
    assert found["reason"].iloc[1] == "kept to hold the class floor"


def test_rows_relabelled_into_a_class_count_for_its_floor():
    rows = [(0, 1, 0.3, 0.5), (0, 1, 0.2, 0.5), (1, 0, 0.0, 0.9), (1, 1, 0.9, 0.9)]
    found = decide(*rows, policy=Policy(review_budget=0.0, class_floor=0.5))
    assert found["action"].tolist() == ["drop", "drop", "relabel", "keep"]


def test_the_floor_rounds_up():
    """Three rows, floor 0.4: ceil(1.2) = 2 stay."""
    rows = [(0, 1, q, 0.5) for q in (0.1, 0.2, 0.3)]
    found = decide(*rows, policy=Policy(review_budget=0.0, class_floor=0.4))
    assert found["action"].tolist() == ["drop", "keep", "keep"]


def test_shares_are_of_whole_rows():
    """0.29 * 100 and 0.55 * 100 are no whole numbers in binary."""
    rows = [(0, 1, 0.1, 0.5)] * 100
    found = decide(*rows, policy=Policy(review_budget=0.29, class_floor=0.0))
    assert (found["action"] == "review").sum() == 29
    found = decide(*[(0, row % 2, 0.1, 0.9) for row in range(100)], policy=Policy(class_floor=0.55))
    assert (found["repaired_label"] == 0).sum() == 55


def test_no_rows():
    scores, labels = frame((0, 0, 1, 1))
    found = apply_policy(scores.iloc[:0], labels[:0], Policy())
    assert len(found) == 0
    assert list(found) == ["action", "repaired_label", "label_source", "reason"]


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Policy)])
def test_shares_out_of_range(name):
    with pytest.raises(ConfigError, match=f"^{name}: must lie in"):
        Policy(**{name: 1.5})


@st.composite
def cases(draw):
    count = draw(st.integers(1, 30))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    labels, posterior = rng.integers(4, size=count), rng.dirichlet([0.7] * 4, size=count)
    suggested = posterior.argmax(1)
    rows = np.arange(count)
    scores = pd.DataFrame(
        {
            "label_quality": posterior[rows, labels],
            "is_label_issue": suggested != labels,
            "suggested_label": suggested,
            "confidence": posterior.max(1),
        }
    )
    if draw(st.booleans()):
        scores["selected"] = rng.random(count) < 0.5
    shares = st.floats(0, 1)
    return scores, labels, Policy(draw(shares), draw(shares), draw(shares), draw(shares))


@given(cases())
def test_invariants(case):
    scores, labels, policy = case
    before, labels_before = scores.copy(), labels.copy()
    found = apply_policy(scores, labels, policy)
    pd.testing.assert_frame_equal(scores, before)
    np.testing.assert_array_equal(labels, labels_before)
    ids = [f"{row:03d}" for row in range(len(labels))]
    table = make_label_table(ids, labels, ["train"] * len(labels), ids)
    whole = extend(table, pd.concat([pd.Series(ids, name="sample_id"), scores, found], axis=1))
    assert set(REPAIR_COLUMNS) <= set(whole)
    check_repaired_table(whole, 4)

    action = found["action"].to_numpy(str)
    assert (action == "review").sum() <= int(round(policy.review_budget * len(labels), 9))
    relabelled = action == "relabel"
    assert scores["is_label_issue"][relabelled].all()
    assert (scores["confidence"][relabelled] >= policy.relabel_confidence).all()
    assert scores["is_label_issue"][action == "drop"].all()
    assert set(found[LABEL_SOURCE][relabelled]) <= {"model"}
    assert set(found[LABEL_SOURCE][~relabelled]) <= {"given"}
    # A class stays under its floor only where none of its rows was dropped or relabelled.
    remaining = found["repaired_label"].dropna().astype(int)
    counts = np.bincount(remaining, minlength=4)
    floors = np.ceil(np.round(policy.class_floor * np.bincount(labels, minlength=4), 9))
    short = counts < floors
    assert not short[labels[np.isin(action, ["drop", "relabel"])]].any()


def lost(suggestions: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Ten rows of class 0; of ten rows given 1, all but so many are surely 0 by the model."""
    rows = [(1, int(row >= 10 - suggestions), 0.01 * row, 0.99) for row in range(10)]
    return frame(*[(0, 0, 0.9, 0.9)] * 10, *rows)


def test_no_row_of_a_class_that_the_model_lost_is_relabelled():
    """The rows that it disbelieves most go to people, the others keep their label."""
    decided = apply_policy(*lost(suggestions=0), Policy(class_floor=0.1, review_budget=0.1))
    assert decided["action"].tolist() == ["keep"] * 10 + ["review"] * 2 + ["keep"] * 8
    assert (decided["reason"][10:12] == "the given label is doubtful").all()
    assert (decided["reason"][12:] == "kept, as the model has lost its class").all()
    assert (decided["repaired_label"][12:] == 1).all()


def test_a_class_that_the_model_nearly_lost_keeps_its_floor():
    decided = apply_policy(*lost(suggestions=1), Policy(class_floor=0.5, review_budget=0.0))
    assert decided["action"][10:].tolist() == ["relabel"] * 5 + ["keep"] * 5
    assert (decided["reason"][15:19] == "kept to hold the class floor").all()


def test_without_a_floor_classes_may_vanish():
    decided = apply_policy(*lost(suggestions=0), Policy(class_floor=0.0, review_budget=0.0))
    assert (decided["action"][10:] == "relabel").all()


@pytest.mark.parametrize("selected", [False, True])
def test_rows_without_a_sign_need_not_be_there_to_settle_the_others(selected):
    """What decides about a table in shards from the rows with a sign alone."""
    rng = np.random.default_rng(0)
    given, suggested = rng.integers(0, 4, 900), rng.integers(0, 4, 900)
    suggested = np.where(rng.random(900) < 0.6, given, suggested)
    scores = pd.DataFrame(
        {
            "label_quality": rng.random(900).round(2),
            "is_label_issue": suggested != given,
            "suggested_label": suggested,
            "confidence": rng.random(900),
        }
    )
    if selected:
        scores["selected"] = rng.random(900) < 0.9
    policy = Policy(class_floor=0.95, review_budget=0.1)
    signs, quality = signs_of(scores, policy), scores["label_quality"].to_numpy()
    actions, reasons = settle(signs, given, suggested, quality, policy)
    some = signs != CALM
    calm = np.bincount(given[~some], minlength=4)
    found = settle(signs[some], given[some], suggested[some], quality[some], policy, calm)
    assert (reasons == 6).any()
    assert not actions[~some].any()
    assert np.array_equal(found[0], actions[some])
    assert np.array_equal(found[1], reasons[some])


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0])), max_size=30),
    st.integers(0, 35),
)
def test_the_worst_are_those_that_a_stable_sort_puts_first(rows, count):
    candidates = np.array([row[0] for row in rows], dtype=bool)
    quality = np.array([row[1] for row in rows], dtype=float)
    among = np.flatnonzero(candidates)
    expected = among[np.argsort(quality[among], kind="stable")[:count]]
    assert np.flatnonzero(_worst(candidates, quality, count)).tolist() == sorted(expected)
