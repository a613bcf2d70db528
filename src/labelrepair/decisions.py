"""What people decided about labels. Their word outranks the model's, in this run and every later.

Decisions live in a small CSV of class *names* that belongs in git, one line per sample. Inside,
they are a frame of class numbers with columns ``COLUMNS``.
"""

import csv
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from labelrepair.errors import DataError, nearest
from labelrepair.label_table import (
    ACTION,
    CONTENT_HASH,
    GIVEN_LABEL,
    LABEL_SOURCE,
    OF_TEXT,
    REASON,
    REPAIRED_LABEL,
    SAMPLE_ID,
    SPLIT,
    Action,
    LabelSource,
    Split,
    check_repaired_table,
    of_texts,
)
from labelrepair.plain_csv import (
    SPREADSHEET,
    check_file,
    check_plain,
    rewritten,
    separator_hint,
    taken_for,
)

LABEL, BATCH, REVIEWER, DECIDED_AT, NOTE = "label", "batch", "reviewer", "decided_at", "note"
REVERT = "revert"  # the batch of decisions that take something back
AUDIT = "audit:"  # how the names of audits begin
PLACE = "place"  # optional column: where in its file a row stands, for messages
UTC = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
"""How a time is written; as text such times sort as they came."""
_UTC_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_LONGEST_HEADER = 2**20  # characters
COLUMNS = (SAMPLE_ID, ACTION, LABEL, BATCH, REVIEWER, DECIDED_AT, NOTE, CONTENT_HASH)


def empty() -> pd.DataFrame:
    """Return the file's content before anybody has decided anything."""
    return pd.DataFrame({name: pd.array([], dtype="str") for name in COLUMNS})


def from_file(raw: pd.DataFrame, class_names: Sequence[str], where: str) -> pd.DataFrame:
    """Return decisions with class numbers from the text of their file.

    Args:
        raw: text columns ``COLUMNS``; ``label`` is a class name, blank for drop and review;
            ``decided_at`` is a time like :data:`UTC`, or blank: before all others.
        class_names: C names.
        where: the file, to begin messages with.

    Returns:
        Frame of ``COLUMNS`` with ``label`` Int64, in the file's order.

    Raises:
        DataError: a missing column, an unknown action or class, a label where there must be none
            or the reverse, a sample with two decisions, or a time of another form, which would
            decide wrongly whose word is the later one; the message names file and line.
    """
    missing = [name for name in COLUMNS if name not in raw]
    if missing:
        raise DataError(
            f"{where}: missing column {', '.join(missing)}; found {', '.join(raw.columns)}"
        )
    found = raw[list(COLUMNS)].fillna("").astype("str")
    labelled = found[ACTION].isin([Action.KEEP, Action.RELABEL])
    name_of, actions = found[LABEL], [str(action) for action in Action]
    known = name_of.isin([*class_names, ""])
    refuse(found, ~found[ACTION].isin(actions), ACTION, f"is no action; {actions}", where)
    refuse(found, ~known, LABEL, "is no class", where, class_names)
    refuse(found, labelled & (name_of == ""), ACTION, "needs a label, found none", where)
    refuse(found, ~labelled & (name_of != ""), ACTION, "goes without a label", where)
    refuse(found, found[SAMPLE_ID].duplicated(), SAMPLE_ID, "is decided twice", where)
    times = found[DECIDED_AT]
    read = pd.to_datetime(times, format=_UTC_FORMAT, errors="coerce")
    odd = (times != "") & ~(times.str.fullmatch(UTC) & read.notna())
    refuse(found, odd, DECIDED_AT, "is no time like 2026-01-31T10:00:00Z (UTC)", where)
    codes = {name: code for code, name in enumerate(class_names)}
    labels = pd.array([codes.get(name) for name in name_of], dtype="Int64")
    return found.assign(**{LABEL: labels})


def to_file(decisions: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Return the inverse of :func:`from_file`: class names, sorted by sample id."""
    names = [None if pd.isna(code) else class_names[code] for code in decisions[LABEL]]
    named = decisions.assign(**{LABEL: pd.array([n or "" for n in names], dtype="str")})
    return named[list(COLUMNS)].sort_values(SAMPLE_ID, ignore_index=True)


def make(
    table: pd.DataFrame, decided: pd.DataFrame, *, batch: str, where: str = "decisions"
) -> pd.DataFrame:
    """Return decisions about samples of ``table``, with the actions that their labels mean.

    Args:
        table: label table.
        decided: sample_id, label (Int64), and perhaps reviewer, decided_at, note, and an action for
            the rows without a label (else: drop). A label equal to the given one means keep.
        batch: why these samples were looked at: "queue", "audit:...", "patch", "revert"; after it,
            separated by blanks, perhaps audits that they were answered in before.
        where: the file, to begin messages with.

    Raises:
        DataError: an unknown sample, or one of the test split.
    """
    decided = decided.reset_index(drop=True)
    rows = _rows(table, decided, where)
    given = table[GIVEN_LABEL].to_numpy()[rows]
    made = decided.assign(**{ACTION: _actions(decided, given), BATCH: batch})
    made[CONTENT_HASH] = table[CONTENT_HASH].to_numpy()[rows]
    for name in (REVIEWER, DECIDED_AT, NOTE):
        made[name] = made[name].fillna("") if name in made else ""
        made[name] = made[name].astype("str").str.replace(r"\r\n?", "\n", regex=True)
    texts = {name: "str" for name in COLUMNS if name != LABEL}
    return made[list(COLUMNS)].astype({**texts, LABEL: "Int64"})


def merge(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return both; of a sample in both the later decision counts, the new one if as late.

    A decision that is made again stays the first one's, with its author and time; its note is
    replaced by a new one of the same author. A sample stays in every audit that it was answered in,
    whoever decides about it later: random samples must not lose the rows that somebody looks at
    again. Only a revert takes it out: the answer has been taken back.

    Only times count here. Whether an answer without a time of its own is older than it looks,
    :func:`labelrepair.review.older` tells.

    Args:
        old: decisions, one per sample.
        new: decisions, one per sample.
    """
    if new.empty:
        return old.sort_values(SAMPLE_ID, ignore_index=True)
    new = new.reset_index(drop=True)
    held = old.set_index(SAMPLE_ID).reindex(new[SAMPLE_ID]).reset_index()
    again = known(old, new) & (new[BATCH] != REVERT)
    late = new[DECIDED_AT] >= held[DECIDED_AT].fillna("").astype("str")
    wins = held[ACTION].isna() | (late & ~again)
    noted = again & (new[REVIEWER] == held[REVIEWER]).fillna(False) & (new[NOTE] != "")
    held[NOTE] = held[NOTE].mask(noted, new[NOTE])
    lines = pd.concat([part for part in (new[wins], held[~wins]) if len(part)]).sort_index()
    loses = np.where(wins, held[BATCH].fillna(""), new[BATCH])
    same = held[CONTENT_HASH] == new[CONTENT_HASH]
    each = zip(lines[BATCH], loses, again, same, strict=True)
    lines[BATCH] = pd.array([_batch(*one) for one in each], dtype="str")
    rest = old[~old[SAMPLE_ID].isin(new[SAMPLE_ID])]
    both = pd.concat([part for part in (rest, lines) if len(part)], ignore_index=True)
    return both.sort_values(SAMPLE_ID, ignore_index=True)


def _batch(wins: str, loses: str, again: bool, same: bool) -> str:
    """Return why a sample was decided about; ``same``: both decisions are about one content."""
    taken_back = wins.split()[:1] == [REVERT] and not again
    return wins if taken_back or not same else joined(wins, loses)


def known(old: pd.DataFrame, new: pd.DataFrame) -> "pd.Series[bool]":
    """Return the mask of the new decisions that say what the old ones say already.

    Of a sample that stays in review, the note is what there is to tell: who said what.
    """
    new = new.reset_index(drop=True)
    held = old.set_index(SAMPLE_ID).reindex(new[SAMPLE_ID]).reset_index()
    same = (says(held) == says(new)) & (held[CONTENT_HASH] == new[CONTENT_HASH])
    told = (held[ACTION] != Action.REVIEW) | (held[NOTE] == new[NOTE])
    return (same & told).fillna(False).astype(bool)


def stay_in_audits(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return the old decisions about the samples of new ones, in the audits of both.

    For answers that others have overruled: their rows stay in the sample. Reverted ones leave it.
    """
    batches = new.set_index(SAMPLE_ID)[BATCH]
    held = old[old[SAMPLE_ID].isin(batches.index)]
    held = held[held[BATCH].str.split().str[0] != REVERT]
    own = batches.reindex(held[SAMPLE_ID])
    both = [joined(before, batch) for before, batch in zip(held[BATCH], own, strict=True)]
    return held.assign(**{BATCH: pd.array(both, dtype="str")})


def audits(batch: str) -> list[str]:
    """Return the audits among the words of a batch: those that its sample was answered in."""
    return [word for word in str(batch).split() if word.startswith(AUDIT)]


def joined(batch: str, other: str) -> str:
    """Return a batch with the audits of another one after it, none twice."""
    words = batch.split()
    return " ".join([batch, *(name for name in audits(other) if name not in words)])


def says(frame: pd.DataFrame, label: str = LABEL) -> "pd.Series[str]":
    """Return the labels as text; where there is none, whether the row is dropped or in review."""
    return frame[label].astype("string").fillna(frame[ACTION].astype("string"))


def after(new: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """Return new decisions later than the old ones about the same samples, so that they count.

    For what a person asks for now: a clock that goes wrong, here or where the old one was made,
    must not decide whose word it is.
    """
    held = old.set_index(SAMPLE_ID)[DECIDED_AT].reindex(new[SAMPLE_ID]).fillna("")
    times = [
        time if time > before or not before else _next_second(before)
        for time, before in zip(new[DECIDED_AT], held, strict=True)
    ]
    return new.assign(**{DECIDED_AT: pd.array(times, dtype="str")})


def remove(decisions: pd.DataFrame, samples: Sequence[str]) -> pd.DataFrame:
    """Return the decisions about all other samples."""
    return decisions[~decisions[SAMPLE_ID].isin(list(samples))].reset_index(drop=True)


def check(table: pd.DataFrame, decisions: pd.DataFrame, where: str = "human_decisions") -> Any:
    """Return the row of every decision in the label table, which need not be repaired yet.

    Raises:
        DataError: see :func:`apply`.
    """
    rows = _rows(table, decisions, where)
    stale = table[CONTENT_HASH].to_numpy()[rows] != decisions[CONTENT_HASH].to_numpy()
    if stale.any():
        rule = f"has other content than when it was decided; {_advice(table, decisions, stale)}"
        refuse(decisions, pd.Series(stale), SAMPLE_ID, rule, where)
    return rows


def apply(
    table: pd.DataFrame, decisions: pd.DataFrame, num_classes: int, where: str = "human_decisions"
) -> pd.DataFrame:
    """Return the repaired table with every decision in force: the last step of a repair.

    Raises:
        DataError: a decision about an unknown sample, one of the test split, or one whose content
            has changed since.
    """
    if decisions.empty:
        return table
    rows = check(table, decisions, where)
    given = table[GIVEN_LABEL].to_numpy()[rows]
    reasons = [f"decided by {name}" if name else "decided" for name in decisions[REVIEWER]]
    wanted = {
        ACTION: _actions(decisions, given),  # the given label may have changed since
        REPAIRED_LABEL: decisions[LABEL],
        LABEL_SOURCE: [str(LabelSource.HUMAN)] * len(rows),
        REASON: reasons,
    }
    result = table.copy()
    for name, values in wanted.items():
        column = result[name].array.copy()
        column[rows] = pd.array(values, dtype=column.dtype)
        result[name] = column
    check_repaired_table(result, num_classes)
    return result


def read_csv(path: Path) -> pd.DataFrame:
    """Return a CSV as text, nothing guessed: 0001 stays 0001, and blank is "".

    Raises:
        DataError: no such file, no regular one, compressed, no CSV, or one that a spreadsheet has
            separated by semicolons.
    """
    check_file(path)
    check_plain(path)
    # Before it is parsed: a note with a comma in it would end that with another message.
    with path.open(encoding="utf-8", errors="replace") as stream:
        hint = separator_hint(stream.readline(_LONGEST_HEADER).strip().split(","))
    if hint:
        raise DataError(f"{path}: {hint}")
    try:
        return pd.read_csv(path, dtype="str", keep_default_na=False)
    except MemoryError as error:
        raise DataError(f"{path}: the table does not fit into memory: {error}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a CSV with a header ({error})") from None


def write_csv(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    """Write a CSV that :func:`read_csv` reads as it was."""
    text = frame.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # Python before 3.13 leaves it unquoted, and for a reader it ends the line
        text = frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL)
    stream.write(text.encode())


def _next_second(time: str) -> str:
    """Return the second after a time; the last of all is its own: as late is late enough."""
    moment = datetime.strptime(time, _UTC_FORMAT)
    if moment < datetime.max.replace(microsecond=0):
        moment += timedelta(seconds=1)
    return f"{moment.isoformat()}Z"  # strftime does not fill up a year to four digits


def _actions(decided: pd.DataFrame, given: Any) -> Any:
    """Return keep or relabel by the label, for rows without one drop unless review is asked for."""
    withheld = decided[LABEL].isna().to_numpy()
    same = (decided[LABEL].fillna(-1) == given).to_numpy(dtype=bool)
    actions = np.where(same, str(Action.KEEP), str(Action.RELABEL)).astype(object)
    actions[withheld] = str(Action.DROP)
    if ACTION in decided:
        stays = withheld & (decided[ACTION] == Action.REVIEW).to_numpy(dtype=bool)
        actions[stays] = str(Action.REVIEW)
    return actions


def _rows(table: pd.DataFrame, decided: pd.DataFrame, where: str) -> Any:
    rows = pd.Index(table[SAMPLE_ID]).get_indexer(pd.Index(decided[SAMPLE_ID]))
    gone = rows < 0
    if gone.any():
        told = _otherwise(table[SAMPLE_ID], decided[SAMPLE_ID][gone])
        if not told and CONTENT_HASH in decided:
            told = f"; {_advice(table, decided, gone)}"
        rule = f"is not in the label table{told}"
        refuse(decided, pd.Series(gone), SAMPLE_ID, rule, where)
    test = (table[SPLIT] == Split.TEST).to_numpy()[rows]
    moved = (
        "belongs to the test split, whose labels are never repaired; a split that is drawn "
        "(ingestion.split.test_fraction) moves rows when the set grows, one that the source brings "
        "stays (split_column of a manifest, array 'split' of an .npz): repaired_table has the "
        "splits of the last repair"
    )
    refuse(decided, pd.Series(test), SAMPLE_ID, moved, where)
    return rows


def _advice(table: pd.DataFrame, decided: pd.DataFrame, wrong: Any) -> str:
    """Return what to do about the first wrong decision: its sample has not the content of then."""
    sample, held = decided[[SAMPLE_ID, CONTENT_HASH]].iloc[int(wrong.argmax())]
    there = (table[SAMPLE_ID] == sample).any()
    if there and of_texts(table) and not str(held).startswith(OF_TEXT):
        return (
            "it is of an earlier version, whose hashes were of tokens: where the text is that of "
            "then, put label_table's content_hash into the line, else decide again or remove it"
        )
    now = table.loc[table[CONTENT_HASH] == held, SAMPLE_ID]
    if now.empty and not (there or table[SAMPLE_ID].isin(decided[SAMPLE_ID]).any()):
        return (
            "no decided sample is: if the decisions are about another data set, choose that "
            "(--params dataset=NAME), else decide again or remove the lines"
        )
    if now.empty:
        return "decide again or remove the line"
    own = f"'{now.iloc[0]}'" + (f" and {len(now) - 1} more" if len(now) > 1 else "")
    return f"that is the content of {own} now: write this id into the line, or decide again"


def _otherwise(known: Iterable[str], unknown: "pd.Series[Any]") -> str:
    """Return what to say of the first unknown text if a spreadsheet may have made it of another."""
    text = str(unknown.iloc[0])
    seen = taken_for(text)
    own = [name for name in known if seen and (taken_for(name) == seen or rewritten(name) == text)]
    return f", which has '{own[0]}': {SPREADSHEET}" if own else ""


def refuse_rewritten(frame: pd.DataFrame, column: str, known: Collection[str], where: str) -> None:
    """Refuse texts of a CSV that may be other texts, written otherwise by a spreadsheet.

    It writes 00012 as 12. Where there are both, a line with 12 may be about either, unless another
    line shows that the file has kept what a spreadsheet changes. Dates are left out: no two of a
    table are likely to be written in the ways of two languages.

    Args:
        frame: the file's lines.
        column: sample ids, or answers.
        known: all valid texts.
        where: the file, to begin messages with.

    Raises:
        DataError: the message names the first such line, and both texts.
    """
    texts = frame[column].astype("str")
    valid = set(texts) & set(known)
    if any(rewritten(text) != text for text in valid):
        return
    others = {rewritten(name): name for name in known if rewritten(name) != name}
    twins = texts.where(texts.isin(valid)).map(others)
    for name in twins.dropna().iloc[:1]:
        rule = (
            f"may be '{name}', which there is, too: {SPREADSHEET}; a file in another format (Label "
            "Studio, Parquet) leaves no doubt"
        )
        refuse(frame, twins.notna(), column, rule, where)


def refuse(
    frame: pd.DataFrame,
    wrong: "pd.Series[Any]",
    column: str,
    rule: str,
    where: str,
    valid: Sequence[str] = (),
) -> None:
    """Raise DataError naming the file, the line and the sample of the first wrong row."""
    if not wrong.any():
        return
    row = int(np.flatnonzero(wrong.to_numpy())[0])
    value = frame[column].iloc[row]
    sample = "" if column == SAMPLE_ID else f", sample '{frame[SAMPLE_ID].iloc[row]}'"
    hint = f"; {nearest(str(value), valid)}" if valid else ""
    place = frame[PLACE].iloc[row] if PLACE in frame else f"line {row + 2}"
    raise DataError(
        f"{where}: {place}{sample}: {column} '{value}' {rule}{hint} ({int(wrong.sum())} such rows)"
    )
