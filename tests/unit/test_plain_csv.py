"""What a spreadsheet makes of texts, and which lines may therefore be about another sample."""

import pandas as pd
import pytest

from labelrepair.decisions import merge, refuse_rewritten
from labelrepair.errors import DataError
from labelrepair.plain_csv import rewritten, survives

EANS = [str(4006381333900 + number) for number in range(400)]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("00012", "12"),
        ("1e5", "100000"),
        ("1.50", "1.5"),
        ("-0", "0"),
        ("true", "TRUE"),
        ("12345678901", "12345678901"),
        ("4006381333900", "4.00638E+12"),
        ("1e999", "1e999"),
        ("2024-01-02", "2024-01-02"),
        ("digit-00012", "digit-00012"),
    ],
)
def test_what_is_written(text, written):
    assert rewritten(text) == written


def test_what_survives():
    kept = ["12", "-7", "0", "TRUE", "cat", "digit-00012", "1e999"]
    assert all(map(survives, kept))
    assert not any(map(survives, ["007", "1e5", "true", "2024-01-02", "2-jan", "4006381333900"]))


def refused(lines, known):
    refuse_rewritten(pd.DataFrame({"sample_id": lines}), "sample_id", known, "file")


@pytest.mark.parametrize(
    "known", [EANS, ["2024-01-02", "2024-02-01"], ["1-2", "2-1"], ["0001234567", "0001234568"]]
)
def test_a_file_that_keeps_what_a_spreadsheet_changes_is_taken(known):
    refused(known, known)
    for one in known[:3]:
        refused([one], known)


def test_one_of_two_that_a_spreadsheet_makes_one_is_refused():
    known = ["00012", "12", "13"]
    refused(["12", "00012"], known)
    refused(["13"], known)
    with pytest.raises(DataError, match=r"line 3: sample_id '12' may be '00012'"):
        refused(["13", "12"], known)


def decision(batch, content, **changed):
    line = {
        "sample_id": "a", "content_hash": content, "label": 1, "action": "keep", "batch": batch,
        "reviewer": "Ann", "decided_at": "2026-01-01T00:00:00Z", "note": "",
    }  # fmt: skip
    return pd.DataFrame([line | changed]).astype({"label": "Int64"})


@pytest.mark.parametrize(("content", "batch"), [("x", "queue audit:all:1"), ("y", "queue")])
def test_a_sample_of_other_content_is_in_no_audit_of_the_former(content, batch):
    old = decision("audit:all:1", "x")
    new = decision("queue", content, label=2, decided_at="2026-02-01T00:00:00Z")
    assert merge(old, new)["batch"].tolist() == [batch]
