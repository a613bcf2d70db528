"""The label ledger: every change of a label is a row, rows are only ever appended.

A sample's *state* is its label (null: withheld), the action behind it and its source. It starts as
(given label, keep, given); each event of the ledger replaces it. A state that a repair arrives at
again is no event, so that repeating a repair appends nothing. Where the source gives another label
than before, that is an event, too, which leads to it. See docs/versioning.md.

Events hold class numbers, which mean something in the class list of their time only: they say which
that was, and :func:`in_classes` reads them in another one, by name. They are about the content that
the sample had then: where it has other content now, they do not count.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from labelrepair.errors import DataError, shown
from labelrepair.label_table import (
    ACTION,
    CONFIDENCE,
    CONTENT_HASH,
    GIVEN_LABEL,
    INGESTED_COLUMNS,
    LABEL_SOURCE,
    REPAIRED_LABEL,
    SAMPLE_ID,
    Action,
    LabelSource,
    data_hash,
)

FROM_LABEL, TO_LABEL, SOURCE, METHOD = "from_label", "to_label", "source", "method"
RUN_ID, DECIDED_AT, REVIEWER, NOTE = "run_id", "decided_at", "reviewer", "note"
HASH_BEFORE = "data_hash_before"
CLASSES, CLASS_NAMES = "classes", "class_names"
LATER = (CLASSES, CLASS_NAMES, CONTENT_HASH)
"""Columns that a ledger may lack: a digest of the class list, and the list as JSON at the first
event that has it; the hash of the sample's content. Events from before are taken to be of the first
list that the ledger names, and about the content there is."""
IDENTITY = (
    *(SAMPLE_ID, TO_LABEL, ACTION, SOURCE, METHOD),
    *(RUN_ID, DECIDED_AT, REVIEWER, CONTENT_HASH),
)
"""What makes an event this one: what was decided about which sample, by whom, when and how."""
LABEL = "label"
STATE = (LABEL, ACTION, SOURCE)
REGIVEN = "source"
"""Value of ``method`` of the events by which a given label became another one in the source."""
KEPT = "take the file from the version control that keeps it"

DTYPES = {
    SAMPLE_ID: "str",
    FROM_LABEL: "Int64",
    TO_LABEL: "Int64",
    ACTION: "str",
    SOURCE: "str",
    CONFIDENCE: "Float64",
    METHOD: "str",
    RUN_ID: "str",
    HASH_BEFORE: "str",
    DECIDED_AT: "str",
    REVIEWER: "str",
    NOTE: "str",
    CLASSES: "str",
    CLASS_NAMES: "str",
    CONTENT_HASH: "str",
}
PROPOSED_DTYPES = {
    SAMPLE_ID: "str",
    LABEL: "Int64",
    **{name: DTYPES[name] for name in (ACTION, SOURCE, CONFIDENCE, METHOD)},
    **{name: DTYPES[name] for name in (DECIDED_AT, REVIEWER, NOTE)},
}


def empty() -> pd.DataFrame:
    """Return a ledger without events."""
    return typed(pd.DataFrame({name: [] for name in DTYPES}))


def typed(ledger: pd.DataFrame, where: str = "label ledger") -> pd.DataFrame:
    """Return the ledger's columns in their order and types; a missing text is "".

    Args:
        ledger: events.
        where: the file, to begin messages with.

    Raises:
        DataError: a column is missing, or holds no numbers where it must.
    """
    ledger = ledger.assign(**{name: "" for name in LATER if name not in ledger})
    missing = [name for name in DTYPES if name not in ledger]
    if missing:
        raise DataError(f"{where}: missing column {', '.join(missing)}")
    for name in (FROM_LABEL, TO_LABEL, CONFIDENCE):
        if not pd.api.types.is_numeric_dtype(ledger[name]):
            found = pd.to_numeric(ledger[name], errors="coerce")
            _refuse(ledger, ledger[name].notna() & found.isna(), name, "a number or null", where)
    for name in (FROM_LABEL, TO_LABEL):
        if pd.api.types.is_float_dtype(ledger[name]):
            whole = (ledger[name] % 1 == 0) | ledger[name].isna()
            _refuse(ledger, ~whole, name, "a class number or null", where)
    texts = {name: "" for name, kind in DTYPES.items() if kind == "str"}
    return ledger[list(DTYPES)].fillna(texts).astype(DTYPES).reset_index(drop=True)


def check_events(ledger: pd.DataFrame, where: str = "label ledger") -> None:
    """Refuse a ledger that is damaged, was edited by hand, or was appended to itself.

    Args:
        ledger: as :func:`typed` returns it.
        where: the file, to begin messages with.

    Raises:
        DataError: an event without a sample; an unknown action or source; a label that its class
            list lacks, or that does not go with its action; a class list that is not the one of its
            digest; an event that does not begin where the one before it of its sample ended, or
            that is there twice. The message names the event.
    """
    lists = _checked_lists(ledger, where)
    _refuse(ledger, ledger[SAMPLE_ID] == "", SAMPLE_ID, "an id", where)
    for column, valid in ((ACTION, list(Action)), (SOURCE, list(LabelSource))):
        unknown = ~ledger[column].isin([str(name) for name in valid])
        _refuse(ledger, unknown, column, f"one of {', '.join(valid)}", where)
    # Events from before the class lists may be of classes that were gone when the first was named.
    sizes = ledger[CLASSES].map({digest: len(names) for digest, names in lists.items()})
    for column in (FROM_LABEL, TO_LABEL):
        label = ledger[column]
        outside = ((label < 0) | (label >= sizes.fillna(np.inf))).fillna(False)
        _refuse(ledger, outside, column, "a number of the event's class list", where)
    labelled = ledger[ACTION].isin([str(Action.KEEP), str(Action.RELABEL)])
    odd = labelled == ledger[TO_LABEL].isna()
    _refuse(ledger, odd, TO_LABEL, "a label if kept or relabelled, else null", where)
    sure = ledger[CONFIDENCE]
    _refuse(ledger, ((sure < 0) | (sure > 1 + 1e-3)).fillna(False), CONFIDENCE, "0 to 1", where)
    _check_order(ledger, where)


def _checked_lists(ledger: pd.DataFrame, where: str) -> dict[str, list[str]]:
    """Return the class lists by digest; refuse one that is damaged, or not where it must be."""
    held = ledger.index[ledger[CLASS_NAMES] != ""]
    for row in held:
        digest, text = ledger.loc[row, [CLASSES, CLASS_NAMES]]
        try:
            names = json.loads(text)
        except (ValueError, RecursionError):
            names = None
        texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not texts or len(set(names)) < len(names) or _digest(names) != digest:
            expected = f"the list of distinct names whose digest is '{digest}'"
            _refuse(ledger, pd.Series(ledger.index == row), CLASS_NAMES, expected, where)
    first = (ledger[CLASSES] != "") & ~ledger[CLASSES].duplicated()
    rule = "its class list, which the first event of each list holds"
    _refuse(ledger, first & (ledger[CLASS_NAMES] == ""), CLASS_NAMES, rule, where)
    return _class_lists(ledger)


def _check_order(ledger: pd.DataFrame, where: str) -> None:
    """Refuse an event that does not follow on the one before it of its sample and content."""
    told = [*IDENTITY, CLASSES]
    again = ledger[ledger[SAMPLE_ID].duplicated(keep=False)]
    told.remove(SAMPLE_ID)
    before = again.groupby(SAMPLE_ID, sort=False)[told].shift()
    same = (again[told] == before).fillna(False) | (again[told].isna() & before.isna())
    repeated = same.all(axis=1) & again[SAMPLE_ID].duplicated()
    if repeated.any():
        row = int(again.index.to_numpy()[repeated.to_numpy(dtype=bool).argmax()])
        raise DataError(
            f"{where}: event {row} repeats the one before it of sample "
            f"'{ledger[SAMPLE_ID].iloc[row]}' ({int(repeated.sum())} such events); {KEPT}"
        )
    # Other content begins at the given label again, which is not told.
    several = len(ledger[CLASSES].unique()) > 1
    book = in_classes(ledger, [])[0].loc[again.index] if several else again
    one = book.groupby([SAMPLE_ID, CONTENT_HASH], sort=False)
    left, begun = one[TO_LABEL].shift(), book[FROM_LABEL]
    follows = (left == begun).fillna(False) | (left.isna() & begun.isna())
    wrong = (~follows & (one.cumcount() > 0)).reindex(ledger.index, fill_value=False)
    expected = "the label that the event before it of the sample led to"
    _refuse(ledger, wrong, FROM_LABEL, expected, where)


def _refuse(
    ledger: pd.DataFrame, wrong: "pd.Series[Any]", column: str, expected: str, where: str
) -> None:
    """Raise DataError naming the first wrong event, what was found and what was expected."""
    if wrong.any():
        row = int(wrong.to_numpy(dtype=bool).argmax())
        sample, value = ledger[SAMPLE_ID].iloc[row], ledger[column].iloc[row]
        raise DataError(
            f"{where}: event {row}, sample '{shown(sample)}': {column} '{shown(value)}', expected "
            f"{expected} ({int(wrong.sum())} such events); {KEPT}"
        )


def utc_now() -> str:
    """Return the time as the ledger writes it: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def state_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return the states that a label table or a repaired table says, one row per sample.

    Args:
        table: a label table; without repair columns, and for rows without an action, the given
            label is in force.

    Returns:
        Frame of sample_id, label (Int64), action, source, in the table's order.
    """
    given = table[GIVEN_LABEL].astype("Int64")
    state = pd.DataFrame({SAMPLE_ID: table[SAMPLE_ID].astype("str"), LABEL: given})
    state[ACTION], state[SOURCE] = str(Action.KEEP), str(LabelSource.GIVEN)
    if ACTION in table:
        decided = table[ACTION].notna()
        state[LABEL] = table[REPAIRED_LABEL].astype("Int64").where(decided, given)
        state[ACTION] = table[ACTION].astype(object).where(decided, state[ACTION])
        state[SOURCE] = table[LABEL_SOURCE].astype(object).where(decided, state[SOURCE])
    return state.astype({ACTION: "str", SOURCE: "str"}).reset_index(drop=True)


def in_classes(ledger: pd.DataFrame, class_names: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the ledger with the numbers of another class list, and that list.

    Numbers are translated by name. Classes of events that the list lacks come after it in the list
    that is returned, so that their numbers are never those of another class.

    Args:
        ledger: events.
        class_names: C names.
    """
    lists = _class_lists(ledger)
    names = [str(name) for name in class_names]
    codes = {name: code for code, name in enumerate(names)}
    before = lists | {"": next(iter(lists.values()), names)}
    result = ledger.reset_index(drop=True)
    for column in (FROM_LABEL, TO_LABEL):
        values = result[column].array.copy()
        for digest, rows in result.groupby(CLASSES, sort=False).indices.items():
            own = before.get(str(digest), [])
            held = rows[~result[column].isna().to_numpy()[rows]]
            found, place = np.unique(
                result[column].array[held].to_numpy(np.int64), return_inverse=True
            )
            moved = [codes.setdefault(_name(own, int(code)), len(codes)) for code in found]
            values[held] = np.array(moved, dtype=np.int64)[place]
        result[column] = values
    result[CLASSES], result[CLASS_NAMES] = _digest([*codes]), ""
    result.loc[:0, CLASS_NAMES] = _json([*codes])
    return result.set_index(ledger.index), [*codes]


def replay(ledger: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the states that the ledger leads to, in the form of :func:`state_of`.

    Args:
        ledger: events in order; those of samples outside ``table``, or of other content than
            theirs, do not matter.
        table: label table: the samples and the given labels that the states start from.
    """
    state = state_of(table[[SAMPLE_ID, GIVEN_LABEL]])
    ledger = ledger[~of_other_content(ledger, table)]
    last = ledger.drop_duplicates(SAMPLE_ID, keep="last").set_index(SAMPLE_ID)
    rows = last.index.get_indexer(pd.Index(state[SAMPLE_ID]))
    seen = rows >= 0
    for name, column in zip(STATE, (TO_LABEL, ACTION, SOURCE), strict=True):
        values = state[name].array.copy()
        values[seen] = last[column].array[rows[seen]]
        state[name] = values
    return state


def of_other_content(ledger: pd.DataFrame, table: pd.DataFrame) -> "pd.Series[bool]":
    """Return the mask of the events of samples whose content was another one then.

    Args:
        ledger: events; those without a content hash are taken to be about the content there is.
        table: label table.
    """
    now = ledger[SAMPLE_ID].map(table.set_index(SAMPLE_ID)[CONTENT_HASH])
    was = ledger[CONTENT_HASH]
    return now.notna() & (was != "") & (was != now)


def regiven(ledger: pd.DataFrame, table: pd.DataFrame) -> "pd.Series[Any]":
    """Return the given labels that the ledger knows where the table has another one, by sample.

    The ledger tells of a given label by the last event that kept it, else by the first event, which
    began at it. Of samples without events nothing is known, and nothing would come of it.

    Args:
        ledger: events; those of other content than in ``table`` do not matter.
        table: label table, with the given labels of now.
    """
    events = ledger[~of_other_content(ledger, table)]
    kept = events[events[ACTION] == Action.KEEP].drop_duplicates(SAMPLE_ID, keep="last")
    first = events[~events[SAMPLE_ID].isin(kept[SAMPLE_ID])].drop_duplicates(SAMPLE_ID)
    labels = [kept.set_index(SAMPLE_ID)[TO_LABEL], first.set_index(SAMPLE_ID)[FROM_LABEL]]
    known = pd.concat(labels)
    now = table.set_index(SAMPLE_ID)[GIVEN_LABEL].astype("Int64").reindex(known.index)
    differs = (known != now).fillna(False).to_numpy(dtype=bool)
    found: pd.Series[Any] = known[differs].sort_index()
    return found


def without_decision(
    ledger: pd.DataFrame, table: pd.DataFrame, decisions: pd.DataFrame
) -> list[str]:
    """Return the samples whose label in force is a person's, though no decision says so any more.

    Args:
        ledger: events.
        table: label table.
        decisions: those in force; a revert is one.
    """
    state = replay(ledger, table)
    lost = (state[SOURCE] == LabelSource.HUMAN) & ~state[SAMPLE_ID].isin(decisions[SAMPLE_ID])
    return [str(sample) for sample in state.loc[lost, SAMPLE_ID]]


def changed(before: pd.DataFrame, after: pd.DataFrame) -> "pd.Series[bool]":
    """Return where two frames of states, of the same samples in the same order, differ."""
    differs = np.zeros(len(before), dtype=bool)
    for name in STATE:
        one, other = before[name].astype(object), after[name].astype(object)
        same = (one.isna() & other.isna()) | (one == other).fillna(False)
        differs |= ~same.to_numpy(dtype=bool)
    return pd.Series(differs)  # type: ignore[return-value]  # the stubs take any mask for float


def append(
    ledger: pd.DataFrame,
    table: pd.DataFrame,
    proposed: pd.DataFrame,
    *,
    run_id: str = "",
    now: str | None = None,
) -> pd.DataFrame:
    """Return the ledger with an event for every sample whose state changes; nothing is removed.

    Of a proposed sample whose given label is another one now, an event says so first.

    Args:
        ledger: events so far.
        table: label table with at least the ingested columns.
        proposed: the states to arrive at, of some or all samples of ``table``; columns of
            ``PROPOSED_DTYPES`` and perhaps the class list in ``CLASS_NAMES``, else it is the
            ledger's last. A blank decided_at becomes ``now``.
        run_id: the run that proposes them.
        now: default: the time of the call.

    Returns:
        ``ledger`` itself where nothing changes, so that a file need not be written again.

    Raises:
        DataError: a proposed sample is not in the table, or is proposed twice.
    """
    names = _names(ledger, proposed)
    book, names = in_classes(ledger, names) if names else (ledger, names)
    now, count = now or utc_now(), len(ledger)
    for states in (_regiven_states(book, table, proposed), proposed):
        if states.empty:
            continue
        events = _events(book, table, states, run_id, now).assign(**{CLASSES: _digest(names)})
        book = pd.concat([part for part in (book, events) if len(part)] or [book])
    added = book.iloc[count:].reset_index(drop=True)
    if added.empty:
        return ledger
    if names and _digest(names) not in _class_lists(ledger):
        added.loc[0, CLASS_NAMES] = _json(names)
    return added if ledger.empty else pd.concat([ledger, added], ignore_index=True)


def _regiven_states(
    book: pd.DataFrame, table: pd.DataFrame, proposed: pd.DataFrame
) -> pd.DataFrame:
    """Return the states of the proposed samples that the source gives another label than before."""
    moved = regiven(book, table).index
    # Not by isin, which takes its right side text by text: a minute for 10^7.
    places = moved.get_indexer(pd.Index(proposed[SAMPLE_ID]))
    asked = moved[np.unique(places[places >= 0])]
    rows = np.sort(pd.Index(table[SAMPLE_ID]).get_indexer(asked))
    state = state_of(table[[SAMPLE_ID, GIVEN_LABEL]].iloc[rows]).assign(**{CONFIDENCE: np.nan})
    told = {METHOD: REGIVEN, NOTE: "another given label in the source"}
    return state.assign(**told, **{DECIDED_AT: "", REVIEWER: ""}).astype(PROPOSED_DTYPES)


def _events(
    book: pd.DataFrame, table: pd.DataFrame, proposed: pd.DataFrame, run_id: str, now: str
) -> pd.DataFrame:
    """Return an event for every proposed state that is not the one in force.

    ``book`` has the events so far, in the class list of the proposed states; the class list of the
    new events is for the caller to note. The rest as in :func:`append`.
    """
    rows = _rows(table, proposed)
    current = replay(book, table)
    before = current.iloc[rows].reset_index(drop=True)
    proposed = proposed.reset_index(drop=True)
    differs = changed(before, proposed)
    if not differs.any():
        return empty()
    events = proposed[differs].rename(columns={LABEL: TO_LABEL})
    events[FROM_LABEL] = before.loc[differs, LABEL]
    events[RUN_ID] = run_id
    events[HASH_BEFORE] = state_hash(table, current)
    events[CONTENT_HASH] = table[CONTENT_HASH].to_numpy()[rows[differs.to_numpy()]]
    blank = events[DECIDED_AT].fillna("") == ""
    events[DECIDED_AT] = events[DECIDED_AT].mask(blank, now)
    events[CLASSES], events[CLASS_NAMES] = "", ""
    return typed(events).sort_values(SAMPLE_ID, ignore_index=True)


def union(ledger: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return the ledger with the events that only another one has appended, in their order.

    For two that grew apart: in clones of one project. An appended event begins at the label that
    the ledger had led to, as events follow on one another; what it was decided to is as it was.
    The state in force afterwards may be the other ledger's: propose what is to be.

    Args:
        ledger: events.
        other: events.

    Returns:
        ``ledger`` itself where it lacks none, so that a file need not be written again.
    """
    if ledger.empty or other.empty:
        return other if ledger.empty else ledger
    count, both = len(ledger), pd.concat([ledger, other], ignore_index=True)
    names = _class_lists(ledger).get(str(ledger[CLASSES].iloc[-1]), [])
    # Events from before the class lists are of the first that there is, which may be the other's.
    names = names or next(iter(_class_lists(both).values()), [])
    if names:
        both, names = in_classes(both, names)
    keys = pd.MultiIndex.from_frame(both[list(IDENTITY)].astype("string").fillna(""))
    known = keys.isin(keys[:count])
    known[:count] = False  # these stay
    both, lacks = both[~known], int((~known).sum()) - count
    if not lacks:
        return ledger
    one = both.groupby([SAMPLE_ID, CONTENT_HASH], sort=False)
    both[FROM_LABEL] = one[TO_LABEL].shift().where(one.cumcount() > 0, both[FROM_LABEL])
    events = both.iloc[count:].assign(**{CLASS_NAMES: ""}).reset_index(drop=True)
    if names and _digest(names) not in _class_lists(ledger):
        events.loc[0, CLASS_NAMES] = _json(names)
    return pd.concat([ledger, typed(events)], ignore_index=True)


def state_hash(table: pd.DataFrame, state: pd.DataFrame) -> str:
    """Return the data hash of the table with the labels in force; unchanged labels: its own."""
    labels = state[LABEL].fillna(-1).astype(np.int64).to_numpy()
    return data_hash(table[list(INGESTED_COLUMNS)].assign(**{GIVEN_LABEL: labels}))


def propose(
    table: pd.DataFrame,
    method: str,
    decisions: pd.DataFrame | None = None,
    note: str = "",
    class_names: Sequence[str] = (),
) -> pd.DataFrame:
    """Return what a repaired table proposes to the ledger, one row per sample.

    Args:
        table: a repaired table.
        method: what decided about the rows that no person has decided about.
        decisions: see :mod:`labelrepair.decisions`; who decided about the others, and when.
        note: for the rows that no person has decided about.
        class_names: C names; without them the ledger cannot tell when the class list changes.

    Returns:
        The ingested columns, those of ``PROPOSED_DTYPES`` and the class list: enough for
        :func:`append`.
    """
    proposed = table[list(INGESTED_COLUMNS)].merge(state_of(table), on=SAMPLE_ID, sort=False)
    model = (proposed[SOURCE] == LabelSource.MODEL).to_numpy()
    human = (proposed[SOURCE] == LabelSource.HUMAN).to_numpy()
    proposed[CONFIDENCE] = table[CONFIDENCE].astype("Float64").array
    proposed.loc[~model, CONFIDENCE] = pd.NA  # of the suggestion, and there it was not followed
    proposed[METHOD] = method
    for name in (DECIDED_AT, REVIEWER, NOTE):
        proposed[name] = ""
    proposed.loc[~human, NOTE] = note
    if decisions is not None and len(decisions):
        keyed = decisions.set_index(SAMPLE_ID).reindex(proposed.loc[human, SAMPLE_ID])
        sources = {METHOD: "batch", DECIDED_AT: DECIDED_AT, REVIEWER: REVIEWER, NOTE: NOTE}
        for name, column in sources.items():
            proposed.loc[human, name] = keyed[column].fillna("").to_numpy()
    # Of one category: the list is held once, not once per row.
    text = _json(class_names) if class_names else ""
    names = pd.Categorical.from_codes(np.zeros(len(proposed), np.int8), pd.Index([text]))
    return proposed.astype(PROPOSED_DTYPES).assign(**{CLASS_NAMES: names})


def blame(ledger: pd.DataFrame, sample_id: str) -> pd.DataFrame:
    """Return the events of one sample, the oldest first."""
    return ledger[ledger[SAMPLE_ID] == sample_id].reset_index(drop=True)


def select(
    ledger: pd.DataFrame,
    table: pd.DataFrame,
    *,
    run_id: str | None = None,
    label: int | None = None,
    samples: Sequence[str] | None = None,
) -> "pd.Series[bool]":
    """Return the mask of the events that meet every condition given.

    Args:
        ledger: events.
        table: label table, for the given labels.
        run_id: the run, or the beginning of its id if no other run's begins so.
        label: events that changed to this class, or of samples given it.
        samples: ids.

    Raises:
        DataError: a sample or a run is unknown to the ledger, or several runs begin so.
    """
    mask = pd.Series(True, index=ledger.index)
    if run_id is not None:
        mask &= ledger[RUN_ID] == _run(ledger, run_id)
    if label is not None:
        given = ledger[SAMPLE_ID].map(table.set_index(SAMPLE_ID)[GIVEN_LABEL])
        mask &= (ledger[TO_LABEL] == label).fillna(False).astype(bool) | (given == label)
    if samples is not None:
        unknown = sorted(set(samples) - set(table[SAMPLE_ID]))
        if unknown:
            raise DataError(f"sample '{unknown[0]}': not in the label table")
        mask &= ledger[SAMPLE_ID].isin(list(samples))
    return pd.Series(mask.to_numpy(dtype=bool), index=ledger.index)


def revert(
    ledger: pd.DataFrame, table: pd.DataFrame, events: "pd.Series[bool]"
) -> tuple[pd.DataFrame, "pd.Series[Any]"]:
    """Return the states as if the selected events had never been.

    A later event that was not selected stays in force, so reverting a run leaves alone what people
    decided after it; reverting every event leads back to the given labels. Events of other content
    (:func:`of_other_content`) bring no label back. A label that people decided and that stays is no
    change, although its action may be another one: keep, as long as the given label was the same.

    Args:
        ledger: events.
        table: label table.
        events: mask of the events to undo.

    Returns:
        The states (see :func:`state_of`) of those samples that change, and the mask of ``table``'s
        rows that they are.
    """
    current = replay(ledger, table)
    restored = replay(ledger[~events], table)
    people = (current[SOURCE] == LabelSource.HUMAN) & (restored[SOURCE] == LabelSource.HUMAN)
    same = people & (current[LABEL] == restored[LABEL]).fillna(False).astype(bool)
    differs = changed(current, restored) & ~same
    return restored[differs.to_numpy()].reset_index(drop=True), differs


def _name(names: Sequence[str], code: int) -> str:
    return names[code] if code < len(names) else f"(class {code} of an unknown list)"


def _json(names: Sequence[str]) -> str:
    return json.dumps([str(name) for name in names], ensure_ascii=False)


def _digest(names: Sequence[str]) -> str:
    """Return what stands for a class list; "" for none."""
    return hashlib.sha256(_json(names).encode()).hexdigest()[:16] if names else ""


def _class_lists(ledger: pd.DataFrame) -> dict[str, list[str]]:
    """Return the class lists that a ledger names, by digest, the oldest first."""
    named = ledger[ledger[CLASS_NAMES] != ""]
    texts = dict(zip(named[CLASSES], named[CLASS_NAMES], strict=True))
    return {str(digest): json.loads(text) for digest, text in texts.items()}


def _names(ledger: pd.DataFrame, proposed: pd.DataFrame) -> list[str]:
    """Return the class list of proposed states: their own, else the ledger's last, else none."""
    text = str(proposed[CLASS_NAMES].iloc[0]) if CLASS_NAMES in proposed and len(proposed) else ""
    if text:
        return [str(name) for name in json.loads(text)]
    last = str(ledger[CLASSES].iloc[-1]) if len(ledger) else ""
    return _class_lists(ledger).get(last, [])


def _run(ledger: pd.DataFrame, start: str) -> str:
    """Return the one run that is called so, or whose id begins so."""
    runs = [str(run) for run in ledger[RUN_ID].unique() if run]
    found = [run for run in runs if run == start] or [
        r for r in runs if start and r.startswith(start)
    ]
    if not found:
        known = ", ".join(runs) or "none"
        raise DataError(f"run '{start}': no event in the label ledger; its runs: {known}")
    if len(found) > 1:
        raise DataError(
            f"run '{start}': {len(found)} runs begin so, expected one: {', '.join(found)}"
        )
    return found[0]


def _rows(table: pd.DataFrame, proposed: pd.DataFrame) -> Any:
    """Return the positions in ``table`` of the proposed samples."""
    ids = pd.Index(proposed[SAMPLE_ID])
    rows = pd.Index(table[SAMPLE_ID]).get_indexer(ids)
    for wrong, rule in ((rows < 0, "not in the label table"), (ids.duplicated(), "is repeated")):
        if wrong.any():
            raise DataError(f"label ledger: sample '{ids[wrong][0]}': {rule}")
    return rows
