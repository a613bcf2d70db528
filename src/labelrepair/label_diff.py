"""What differs between two label tables: rows, counts, flows; as a patch, and as a text for git."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from labelrepair.decisions import PLACE, refuse
from labelrepair.errors import DataError
from labelrepair.label_table import (
    ACTION,
    CONFIDENCE,
    GIVEN_LABEL,
    LABEL_SOURCE,
    REPAIRED_LABEL,
    SAMPLE_ID,
    Action,
    LabelSource,
)
from labelrepair.ledger import LABEL, SOURCE, STATE, changed, state_of

NO_LABEL = "-"
"""How a withheld label is written among class names."""

FROM = {name: f"from_{name}" for name in STATE}
TO = {name: f"to_{name}" for name in STATE}
PATCH_COLUMNS = (SAMPLE_ID, *(side[name] for name in STATE for side in (FROM, TO)))
CHANGE_COLUMNS = (SAMPLE_ID, GIVEN_LABEL, REPAIRED_LABEL, ACTION, LABEL_SOURCE, CONFIDENCE)


def read(
    table: pd.DataFrame, own_names: Sequence[str], class_names: Sequence[str], where: str
) -> pd.DataFrame:
    """Return a table of a file or a revision with the numbers of another class list, by name.

    Args:
        table: perhaps a label table or a repaired table.
        own_names: the class names that its numbers are of.
        class_names: C names.
        where: the file, to begin messages with.

    Raises:
        DataError: a missing column, a repeated sample, a label that is no number of ``own_names``,
            or of a class that ``class_names`` lacks; the message names the row.
    """
    repair = (REPAIRED_LABEL, LABEL_SOURCE) if ACTION in table else ()
    missing = [name for name in (SAMPLE_ID, GIVEN_LABEL, *repair) if name not in table]
    if missing:
        raise DataError(
            f"{where}: no label table: missing column {', '.join(missing)}; "
            f"found {', '.join(map(str, table.columns))}"
        )
    rows = table.assign(**{PLACE: [f"row {row}" for row in range(len(table))]})
    refuse(rows, rows[SAMPLE_ID].duplicated(), SAMPLE_ID, "is repeated", where)
    codes = {name: code for code, name in enumerate(class_names)}
    for column in [name for name in (GIVEN_LABEL, REPAIRED_LABEL) if name in table]:
        names = pd.to_numeric(table[column], errors="coerce").map(dict(enumerate(own_names)))
        rule = f"is no class number of 0..{len(own_names) - 1}"
        refuse(rows, table[column].notna() & names.isna(), column, rule, where)
        rows[column] = names
        gone = names.notna() & ~names.isin([*codes])
        refuse(rows, gone, column, "is a class that the class list no longer has", where)
        rows[column] = names.map(codes).astype("Int64")
    return rows.drop(columns=PLACE)


def diff(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose label, action or source differ, sorted by sample id.

    Args:
        before: a label table or a repaired table.
        after: another one; samples that only one of them has are null on the other side.

    Returns:
        Frame of ``PATCH_COLUMNS``: labels Int64 (null: withheld), actions and sources text (null:
        the sample is not in that table).
    """
    both = state_of(before).merge(
        state_of(after), on=SAMPLE_ID, how="outer", suffixes=("_before", "_after"), sort=True
    )
    sides = [
        both.rename(columns={f"{name}_{side}": name for name in STATE})[list(STATE)]
        for side in ("before", "after")
    ]
    differs = changed(*sides)
    patch = pd.DataFrame({SAMPLE_ID: both[SAMPLE_ID]})
    for name in STATE:
        patch[FROM[name]], patch[TO[name]] = sides[0][name], sides[1][name]
    return patch.loc[differs, list(PATCH_COLUMNS)].reset_index(drop=True)


def counts(patch: pd.DataFrame) -> dict[str, int]:
    """Return how many rows a patch changes, by kind; every row is of one kind."""
    added, removed = patch[FROM[ACTION]].isna(), patch[TO[ACTION]].isna()
    held, freed = patch[TO[LABEL]].isna(), patch[FROM[LABEL]].isna()
    same = (patch[FROM[LABEL]] == patch[TO[LABEL]]).fillna(False).astype(bool) | (held & freed)
    kinds = {
        "sample added": added,
        "sample removed": removed,
        "another class": ~same & ~held & ~freed,
        "label withheld": ~same & held,
        "label restored": ~same & freed,
        "same label, other action or source": same,
    }
    rest = np.ones(len(patch), dtype=bool)
    found = {}
    for name, mask in kinds.items():
        here = mask.to_numpy(dtype=bool) & rest
        rest &= ~here
        found[name] = int(here.sum())
    return found


def flow(patch: pd.DataFrame, num_classes: int) -> pd.DataFrame:
    """Return how many rows go from class i (row) to class j (column), the last being withheld.

    Returns:
        int64 ``(C + 1, C + 1)``; samples that only one table has are left out, as are rows whose
        label stays.
    """
    inside = patch[patch[FROM[ACTION]].notna() & patch[TO[ACTION]].notna()]
    pair = [inside[c].fillna(num_classes).astype(np.int64) for c in (FROM[LABEL], TO[LABEL])]
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    np.add.at(matrix, tuple(side.to_numpy() for side in pair), 1)
    np.fill_diagonal(matrix, 0)
    return pd.DataFrame(matrix)


def apply_patch(table: pd.DataFrame, patch: pd.DataFrame, where: str = "patch") -> pd.DataFrame:
    """Return the states of ``table`` after a patch: of all its samples, in its order.

    Raises:
        DataError: the patch adds or removes samples, names one that the table lacks, or was made
            from another state than the table's; the message names the row.
    """
    state = state_of(table)
    rows = pd.Index(state[SAMPLE_ID]).get_indexer(pd.Index(patch[SAMPLE_ID]))
    outside = patch[FROM[ACTION]].isna() | patch[TO[ACTION]].isna()
    refuse(patch, outside, SAMPLE_ID, "is added or removed; a patch changes labels only", where)
    refuse(patch, pd.Series(rows < 0), SAMPLE_ID, "is not in the label table", where)
    refuse(patch, patch[SAMPLE_ID].duplicated(), SAMPLE_ID, "is repeated", where)
    expected = patch.rename(columns={FROM[name]: name for name in STATE})[list(STATE)]
    moved = changed(state.iloc[rows].reset_index(drop=True), expected.reset_index(drop=True))
    rule = (
        "is no longer as the patch expects it; make the patch again, from the labels in force: "
        "kedro labels diff workspace REV --output FILE"
    )
    refuse(patch, moved, SAMPLE_ID, rule, where)
    for name in STATE:
        values = state[name].array.copy()
        values[rows] = patch[TO[name]].array
        state[name] = values
    return state


def named(patch: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Return a patch with class names for files and people; a withheld label is blank."""
    text = patch.copy()
    for column in (FROM[LABEL], TO[LABEL]):
        names = ["" if pd.isna(code) else class_names[code] for code in patch[column]]
        text[column] = pd.array(names, dtype="str")
    return text.fillna("")


def unnamed(raw: pd.DataFrame, class_names: Sequence[str], where: str) -> pd.DataFrame:
    """Return the inverse of :func:`named` for the text of a file.

    Raises:
        DataError: a missing column, an unknown class, action or source, or a label that does not
            go with its action; the message names file and line.
    """
    missing = [name for name in PATCH_COLUMNS if name not in raw]
    if missing:
        raise DataError(
            f"{where}: missing column {', '.join(missing)}; found {', '.join(raw.columns)}"
        )
    patch = raw[list(PATCH_COLUMNS)].fillna("").astype("str")
    patch[PLACE] = [f"line {row + 2}" for row in range(len(patch))]
    codes = {name: code for code, name in enumerate(class_names)}
    labelled = [str(Action.KEEP), str(Action.RELABEL)]
    for column in (FROM[LABEL], TO[LABEL]):
        refuse(patch, ~patch[column].isin([*codes, ""]), column, "is no class", where, [*codes])
    for column, valid in ((ACTION, list(Action)), (SOURCE, list(LabelSource))):
        for name in (FROM[column], TO[column]):
            refuse(patch, ~patch[name].isin([*valid, ""]), name, f"is no {column}", where, valid)
    odd = patch[TO[ACTION]].isin(labelled) == (patch[TO[LABEL]] == "")
    refuse(patch, odd, TO[ACTION], "does not go with to_label", where)
    for column in (FROM[LABEL], TO[LABEL]):
        patch[column] = pd.array([codes.get(name) for name in patch[column]], dtype="Int64")
    for name in (FROM[ACTION], TO[ACTION], FROM[SOURCE], TO[SOURCE]):
        patch[name] = patch[name].mask(patch[name] == "", None)
    return patch


def label_changes(table: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Return the repair as a pull request should show it: the rows not kept as they were given.

    Rows are sorted by sample id and hold class names, no time and no run: what stays the same
    between two runs is no line in the difference of the two files.

    Args:
        table: a repaired table.
        class_names: C names.

    Returns:
        Text columns ``CHANGE_COLUMNS``; confidence, of the model's relabels, to two digits.
    """
    state = state_of(table)
    plain = (state[ACTION] == Action.KEEP) & (state[SOURCE] == LabelSource.GIVEN)
    rows, state = table[~plain.to_numpy()], state[~plain]
    names = np.array([*class_names, ""], dtype=object)
    by_model = (state[SOURCE] == LabelSource.MODEL).to_numpy()
    shown = np.where(by_model, [f"{value:.2f}" for value in rows[CONFIDENCE].fillna(0)], "")
    columns = {
        SAMPLE_ID: state[SAMPLE_ID].to_numpy(),
        GIVEN_LABEL: names[rows[GIVEN_LABEL].to_numpy(np.int64)],
        REPAIRED_LABEL: names[state[LABEL].fillna(len(names) - 1).to_numpy(np.int64)],
        ACTION: state[ACTION].to_numpy(),
        LABEL_SOURCE: state[SOURCE].to_numpy(),
        CONFIDENCE: shown,
    }
    changes = pd.DataFrame({k: pd.array(list(v), dtype="str") for k, v in columns.items()})
    # A bare carriage return would end the line: any writer of CSV quotes a line feed.
    changes = changes.replace(r"\r\n?", "\n", regex=True)
    return changes.sort_values(SAMPLE_ID, ignore_index=True)
