"""The review queue, out to people and back: Label Studio, FiftyOne, CSV. Plain files, no SDK.

Every file carries the data hash of the label table that it was made from; an answer to another
table is refused.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC as UTC_ZONE
from datetime import datetime, timedelta
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pandas as pd

from labelrepair import decisions
from labelrepair.decisions import BATCH, DECIDED_AT, LABEL, NOTE, PLACE, REVIEWER, UTC, refuse
from labelrepair.errors import DataError
from labelrepair.label_table import (
    ACTION,
    CONFIDENCE,
    GIVEN_LABEL,
    LABEL_QUALITY,
    NO_CLASS,
    SAMPLE_ID,
    SUGGESTED_LABEL,
    Action,
    LabelSource,
    check_class_names,
    data_hash,
)
from labelrepair.ledger import SOURCE, TO_LABEL

QUEUE = "queue"
MODEL_VERSION = "labelrepair"  # constant: Label Studio sorts by the scores of one version only

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC_ZONE)
AHEAD = timedelta(days=7)  # of this clock: another one may go wrong, and wins over later decisions

URI, HASH, ANSWER, EXPORTED_AT = "uri", "data_hash", "reviewed_label", "exported_at"
TEXT = "text"
"""Optional: the words of a sample that is a text."""
AUDITED = "audited"
"""Optional: what an audit is about, without telling it; see :func:`labelrepair.audit.audited`."""
ITEM_COLUMNS = (SAMPLE_ID, URI, GIVEN_LABEL, SUGGESTED_LABEL, LABEL_QUALITY, CONFIDENCE)
CSV_COLUMNS = (*ITEM_COLUMNS, ANSWER, REVIEWER, NOTE, BATCH, HASH, EXPORTED_AT)
ABOUT = (HASH, EXPORTED_AT, AUDITED, PLACE)
ANSWER_COLUMNS = (SAMPLE_ID, ANSWER, REVIEWER, DECIDED_AT, NOTE, BATCH, *ABOUT)


def queue(table: pd.DataFrame, limit: int | None = None) -> pd.DataFrame:
    """Return the rows of a repaired table that are in review, the worst label first.

    How many there are is the policy's ``review_budget``; rows about which people disagreed come
    back, rows that somebody has decided do not.
    """
    waiting = table[(table[ACTION] == Action.REVIEW).fillna(False)]
    ordered = waiting.sort_values([LABEL_QUALITY, SAMPLE_ID], kind="stable")
    return ordered.head(len(ordered) if limit is None else limit)


def items(
    rows: pd.DataFrame,
    class_names: Sequence[str],
    uris: Mapping[str, str] | None = None,
    *,
    texts: Mapping[str, str] | None = None,
    blind: bool = False,
) -> pd.DataFrame:
    """Return what a reviewer sees of some rows: ``ITEM_COLUMNS`` as class names, perhaps ``TEXT``.

    Args:
        rows: of a repaired table, in the order of review.
        class_names: C names.
        uris: where a sample can be looked at, by id.
        texts: what a sample says, by id, where samples are texts.
        blind: leave out what is known already: an audit must not be talked into agreeing.
    """
    shown = pd.DataFrame({SAMPLE_ID: rows[SAMPLE_ID].astype("str").to_numpy()})
    shown[URI] = [(uris or {}).get(sample, "") for sample in shown[SAMPLE_ID]]
    for name in (GIVEN_LABEL, SUGGESTED_LABEL):
        shown[name] = ["" if blind else class_names[int(code)] for code in rows[name]]
    for name in (LABEL_QUALITY, CONFIDENCE):
        shown[name] = np.nan if blind else rows[name].to_numpy(np.float64).round(4)
    if not texts:
        return shown[list(ITEM_COLUMNS)]
    shown[TEXT] = [texts[sample] for sample in shown[SAMPLE_ID]]
    return shown[[SAMPLE_ID, URI, TEXT, *ITEM_COLUMNS[2:]]]


def to_csv(shown: pd.DataFrame, batch: str, table_hash: str, now: str = "") -> pd.DataFrame:
    """Return the table to fill in: a class name or ``NO_CLASS`` in reviewed_label, else blank.

    ``now`` tells :func:`older` which decisions came after the table. Columns ``TEXT`` and
    ``AUDITED`` stay.
    """
    blank = {ANSWER: "", REVIEWER: "", NOTE: ""}
    filled = shown.assign(**blank, **{BATCH: batch, HASH: table_hash, EXPORTED_AT: now})
    about = [name for name in (SAMPLE_ID, URI, TEXT) if name in shown]
    asked = [*about, *CSV_COLUMNS[2:], *(name for name in (AUDITED,) if name in shown)]
    return filled[asked]


def to_label_studio(shown: pd.DataFrame, batch: str, table_hash: str) -> list[dict[str, Any]]:
    """Return Label Studio tasks; the suggestion is their pre-annotation.

    The score stands in ``data`` too: Label Studio shows that column in any project, and orders by
    it (worst first = ascending).
    """
    tasks = []
    for row in shown.to_dict("records"):
        kind = "image" if row[URI] else "text"
        known = {k: v for k, v in row.items() if k not in (URI,) and v != "" and not pd.isna(v)}
        data = {
            kind: row[URI] or row.get(TEXT) or row[SAMPLE_ID],
            **known,
            BATCH: batch,
            HASH: table_hash,
        }
        task: dict[str, Any] = {"data": data}
        if row[SUGGESTED_LABEL]:
            choice = {
                "id": f"{row[SAMPLE_ID]}-p",
                "from_name": "label",
                "to_name": kind,
                "type": "choices",
                "value": {"choices": [row[SUGGESTED_LABEL]]},
            }
            score = row[LABEL_QUALITY]
            task["predictions"] = [
                {"model_version": MODEL_VERSION, "score": score, "result": [choice]}
            ]
        tasks.append(task)
    return tasks


def label_studio_view(class_names: Sequence[str], kind: str) -> str:
    """Return the labelling interface of the tasks as Label Studio's XML; kind: image or text."""
    choices = "\n".join(
        f"    <Choice value={quoteattr(name)}/>" for name in [*class_names, NO_CLASS]
    )
    tag = {"image": "Image", "text": "Text"}[kind]
    return (
        f'<View>\n  <{tag} name="{kind}" value="${kind}"/>\n'
        f'  <Choices name="label" toName="{kind}" choice="single" showInline="true">\n'
        f"{choices}\n  </Choices>\n</View>\n"
    )


def to_fiftyone(
    shown: pd.DataFrame, class_names: Sequence[str], batch: str, table_hash: str
) -> dict[str, Any]:
    """Return ``labels.json`` of FiftyOne's FiftyOneImageClassificationDataset, given labels in it.

    The key of a label is the stem of its image's file name, or the sample id without an image.
    FiftyOne reads suggestion and ``mistakenness`` (1 - label quality) as attributes.
    """
    # As voxel51/fiftyone reads it (fiftyone/utils/data/importers.py, read at 000f8438): `classes`
    # and `labels`; a key is a file of data/ without its ending, and must be there. A value is a
    # class number, a name, or an object with `label` and `confidence`. Its documentation also
    # names `attributes`; the source read here did not show them.
    codes = {name: code for code, name in enumerate(class_names)}
    labels = {}
    for row in shown.to_dict("records"):
        stem = row[URI].rsplit("/", 1)[-1].rsplit(".", 1)[0] if row[URI] else row[SAMPLE_ID]
        labels[stem] = {
            "label": codes[row[GIVEN_LABEL]],
            "attributes": {
                SAMPLE_ID: row[SAMPLE_ID],
                "prediction": row[SUGGESTED_LABEL],
                "prediction_confidence": row[CONFIDENCE],
                "mistakenness": round(1 - row[LABEL_QUALITY], 4),
            },
        }
    about = {"model_version": MODEL_VERSION, BATCH: batch, HASH: table_hash}
    return {"classes": list(class_names), "labels": labels, "labelrepair": about}


def from_csv(raw: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the answers (``ANSWER_COLUMNS``) in a filled table; blank: not answered yet.

    Raises:
        DataError: a column is missing.
    """
    needed = (SAMPLE_ID, ANSWER, BATCH, HASH)
    missing = [name for name in needed if name not in raw]
    if missing:
        raise DataError(
            f"{where}: missing column {', '.join(missing)}; found {', '.join(raw.columns)}"
        )
    answers = raw.assign(
        **{name: raw.get(name, "") for name in (REVIEWER, NOTE, EXPORTED_AT, AUDITED)}
    )
    # A spreadsheet may have rewritten the time, which then says nothing.
    readable = answers[EXPORTED_AT].astype("str").str.fullmatch(UTC)
    answers[EXPORTED_AT] = answers[EXPORTED_AT].where(readable, "")
    answers[ANSWER] = answers[ANSWER].fillna("").str.strip()
    answers[DECIDED_AT] = ""
    answers[PLACE] = [f"line {row + 2}" for row in range(len(answers))]
    return answers[list(ANSWER_COLUMNS)]


def from_label_studio(content: str | bytes, where: str) -> pd.DataFrame:
    """Return the answers in Label Studio's JSON export.

    Skipped and empty annotations are no answers. Where a task has an annotation that is marked as
    ground truth, the others of that task do not count. The reviewer is blank where none is named.

    Raises:
        DataError: not that format; the message names the task.
    """
    try:
        tasks = json.loads(content)
    except RecursionError:
        raise DataError(f"{where}: not a list of tasks: nested too deeply") from None
    except ValueError as error:  # also where the text is not UTF-8
        raise DataError(f"{where}: not JSON ({error})") from None
    if not isinstance(tasks, list):
        raise DataError(f"{where}: expected a list of tasks, found {type(tasks).__name__}")
    answers = [answer for number, task in enumerate(tasks) for answer in _task(task, number, where)]
    return pd.DataFrame(answers, columns=list(ANSWER_COLUMNS), dtype=object)


def resolve(
    answers: pd.DataFrame, table: pd.DataFrame, class_names: Sequence[str], where: str, now: str
) -> tuple[pd.DataFrame, list[str]]:
    """Return the decisions that the answers mean, and the samples that stay in review.

    Several answers about a sample that agree are one decision; those that do not keep it in review,
    with who said what in its note.

    Args:
        answers: from :func:`from_csv` or :func:`from_label_studio`.
        table: label table.
        class_names: C names.
        where: the file, to begin messages with.
        now: time of the decisions without one.

    Raises:
        DataError: an answer to another table (stale), an unknown sample or label, or a class that
            is called ``NO_CLASS``.
    """
    check_class_names(class_names, where)
    current = data_hash(table)
    rule = f"is not that of the label table, {current}: the export is stale; export again"
    refuse(answers, answers[HASH] != current, HASH, rule, where)
    given = answers[answers[ANSWER] != ""].reset_index(drop=True)
    valid = [*class_names, NO_CLASS]
    refuse(given, ~given[ANSWER].isin(valid), ANSWER, "is no class", where, valid)
    codes = {name: code for code, name in enumerate(class_names)}
    decided, conflicts = [], []
    for sample, group in given.groupby(SAMPLE_ID, sort=True):
        row = group.sort_values(DECIDED_AT, kind="stable").iloc[-1].to_dict()
        row[REVIEWER] = ", ".join(sorted({str(name) for name in group[REVIEWER] if name}))
        row[DECIDED_AT] = row[DECIDED_AT] or now
        row |= {ACTION: str(Action.DROP), LABEL: codes.get(row[ANSWER])}
        if len(set(group[ANSWER])) > 1:
            said = [
                f"{a} ({r or '?'})" for a, r in zip(group[ANSWER], group[REVIEWER], strict=True)
            ]
            row |= {ACTION: str(Action.REVIEW), LABEL: None}
            row[NOTE] = f"reviewers disagree: {', '.join(said)}"
            conflicts.append(str(sample))
        decided.append(row)
    frame = pd.DataFrame(decided, columns=[*ANSWER_COLUMNS, ACTION, LABEL])
    frame[LABEL] = frame[LABEL].astype("Int64")
    parts = [
        decisions.make(table, part, batch=str(batch), where=where)
        for batch, part in frame.groupby(BATCH, sort=True)
    ]
    none = decisions.make(table, frame.iloc[:0], batch=QUEUE)
    made = pd.concat(parts, ignore_index=True) if parts else none
    return made.sort_values(SAMPLE_ID, ignore_index=True), conflicts


def older(
    new: pd.DataFrame, answers: pd.DataFrame, decided: pd.DataFrame, book: pd.DataFrame
) -> list[str]:
    """Return the samples about which somebody has decided otherwise since they were answered.

    The lines of a CSV have no time of their own, and people go on filling in a file that they have
    imported before. Such an answer is older where it was in force already, after the file had been
    written, and is so no more.

    Args:
        new: from :func:`resolve`.
        answers: what ``new`` was resolved from.
        decided: decisions in force.
        book: the label ledger.
    """
    held = decided.set_index(SAMPLE_ID).reindex(new[SAMPLE_ID]).reset_index()
    said = decisions.says(new)
    other = held[ACTION].notna() & (said != decisions.says(held))
    untimed = answers[(answers[ANSWER] != "") & (answers[DECIDED_AT] == "")]
    written = new[SAMPLE_ID].map(untimed.groupby(SAMPLE_ID)[EXPORTED_AT].min())
    people = book[book[SOURCE] == LabelSource.HUMAN]
    past = people[[SAMPLE_ID, DECIDED_AT]].assign(says=decisions.says(people, TO_LABEL))
    mine = pd.DataFrame({SAMPLE_ID: new[SAMPLE_ID], "says": said, "written": written}).dropna()
    met = mine.astype({"written": "str"}).merge(past, on=[SAMPLE_ID, "says"])
    again = new[SAMPLE_ID].isin(met.loc[met[DECIDED_AT] >= met["written"], SAMPLE_ID])
    late = held[DECIDED_AT].fillna("").astype("str") > new[DECIDED_AT]
    return [str(sample) for sample in new.loc[other & (again | late), SAMPLE_ID]]


def _task(task: Any, number: int, where: str) -> list[dict[str, str]]:
    """Return the answers of one task."""
    place = f"task {number}"
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        raise DataError(f"{where}: {place}: no task of Label Studio's JSON export ('data' missing)")
    data = task["data"]
    absent = [name for name in (SAMPLE_ID, HASH, BATCH) if name not in data]
    if absent:
        raise DataError(
            f"{where}: {place}: data.{absent[0]} is missing; not from 'kedro labels export'"
        )
    about = {name: str(data[name]) for name in (SAMPLE_ID, BATCH, HASH)} | {PLACE: place}
    about |= {NOTE: "", EXPORTED_AT: "", AUDITED: str(data.get(AUDITED, ""))}
    annotations = _objects(task.get("annotations"), "annotations", where, place)
    answered = [a for a in annotations if not a.get("was_cancelled")]
    trusted = [a for a in answered if a.get("ground_truth")]
    found = []
    for annotation in trusted or answered:
        choice = _choice(annotation, where, place)
        if choice:
            time = _utc(annotation.get("updated_at"), where, place)
            who = {ANSWER: choice, REVIEWER: _person(annotation), DECIDED_AT: time}
            found.append(about | who)
    return found or [about | {ANSWER: "", REVIEWER: "", DECIDED_AT: ""}]


def _person(annotation: Mapping[str, Any]) -> str:
    """Return who made an annotation, or nothing: its user may be gone."""
    person = annotation.get("completed_by")
    if isinstance(person, dict):
        person = person.get("email") or person.get("id")
    return "" if person is None else str(person).strip()


def _choice(annotation: Mapping[str, Any], where: str, place: str) -> str:
    """Return the class that an annotation chose, or nothing."""
    chosen: list[Any] = []
    for part in _objects(annotation.get("result"), "result", where, place):
        if part.get("from_name") == "label":
            value = part.get("value", {})
            choices = value.get("choices", []) if isinstance(value, dict) else None
            if not isinstance(choices, list):
                raise DataError(f"{where}: {place}: choices missing in {value}, expected a list")
            chosen += choices
    if len(chosen) > 1:
        raise DataError(f"{where}: {place}: {len(chosen)} classes chosen ({chosen}), expected one")
    return str(chosen[0]) if chosen else ""


def _objects(found: Any, name: str, where: str, place: str) -> list[dict[str, Any]]:
    """Return a list of JSON's objects; null is none."""
    listed = found or []
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise DataError(
            f"{where}: {place}: {name}: expected a list of objects, found {found!r:.60}"
        )
    return listed


def _utc(time: Any, where: str, place: str) -> str:
    """Return a time of Label Studio, UTC unless it says otherwise, as decisions have it."""
    if not time:
        return ""
    found = f"{where}: {place}: updated_at '{time!s:.60}'"
    try:
        moment = datetime.fromisoformat(str(time))
        moment = moment.astimezone(UTC_ZONE) if moment.tzinfo else moment.replace(tzinfo=UTC_ZONE)
    except (ValueError, OverflowError):
        raise DataError(f"{found} is no time like 2026-01-31T10:00:00Z") from None
    if not EARLIEST <= moment <= datetime.now(UTC_ZONE) + AHEAD:
        raise DataError(f"{found}: expected a time from 1970 to {AHEAD.days} days from now")
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
