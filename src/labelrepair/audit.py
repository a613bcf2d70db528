"""What a random sample of reviewed rows says about all of them.

A review queue holds the worst rows: its answers say nothing about the rest. An audit draws rows at
random; its exact bounds hold whatever the model does.
"""

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labelrepair.config import in_unit_interval, one_of, require
from labelrepair.decisions import AUDIT, BATCH, LABEL, audits, refuse
from labelrepair.errors import DataError
from labelrepair.label_table import (
    ACTION,
    CONFIDENCE,
    GIVEN_LABEL,
    LABEL_SOURCE,
    REPAIRED_LABEL,
    SAMPLE_ID,
    SUGGESTED_LABEL,
    TRUE_LABEL,
    Action,
    LabelSource,
)
from labelrepair.ledger import FROM_LABEL, METHOD, SOURCE, TO_LABEL, of_other_content, replay
from labelrepair.review import ANSWER, AUDITED

GROUPS = ("relabel", "keep", "drop", "all")
MEANING = {
    "relabel": "of the relabels are wrong",
    "keep": "of the labels kept as given are wrong",
    "drop": "of the dropped rows had a right label",
    "all": "of the rows carry a wrong label after repair",
}
STRICT_FIRST = (0.99, 0.975, 0.95, 0.925, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
_NAME = re.compile(
    r"audit:(?P<group>relabel|keep|drop|all):(?P<drawn>\d+)of(?P<population>\d+):seed\d+"
    r"(?::[0-9a-f]{8}-(?P<scores>[0-9a-f]{8}))?"  # names from before have no such ending
)
_MARK = re.compile("m?[0-9a-f]{16}")  # files from before have no "m"
OVER_ALL = f"{AUDIT}all:"  # how the names of draws over all rows begin
OF_RELABELS = f"{AUDIT}relabel:"
ROUNDING = 1e-12  # 1 - 0.95 is a little over 0.05; a tie goes to the larger number

logger = logging.getLogger(__name__)


def draw(table: pd.DataFrame, group: str, count: int, seed: int) -> tuple[pd.DataFrame, str]:
    """Draw rows at random: of an action of the model (or of nobody), or of all rows.

    Args:
        table: a repaired table.
        group: one of :data:`GROUPS`: the action to audit, without the rows that people have decided
            about; or all rows outside the test split, with them.
        count: rows to draw; all of them if there are fewer.
        seed: decides the draw.

    Returns:
        The rows, sorted by sample id, and the batch's name, which says how they were drawn. It
        stands for these rows with these labels and the scores behind them: no other draw has it.

    Raises:
        ConfigError: an unknown group, or a count below 1.
        DataError: there is no such row.
    """
    one_of(GROUPS, of=group)
    require(count >= 1, f"count: must be at least 1, found {count}")
    rows = table[table[ACTION].notna()]
    if group != "all":
        of_people = (rows[LABEL_SOURCE] == LabelSource.HUMAN).fillna(False)
        rows = rows[(rows[ACTION] == group) & ~of_people]
    if rows.empty:
        raise DataError(f"audit: the repaired table has no row with action '{group}' to draw")
    size = min(count, len(rows))
    chosen = np.random.default_rng(seed).choice(len(rows), size, replace=False)
    drawn = rows.iloc[np.sort(chosen)]
    mark = _digest("".join(_marks(drawn, REPAIRED_LABEL)).encode())[:8]
    return drawn, f"audit:{group}:{size}of{len(rows)}:seed{seed}:{mark}-{scores_mark(table)}"


def scores_mark(table: pd.DataFrame) -> str:
    """Return a short text that stands for what the model says of all rows, "" for a table without.

    Another training changes it; another policy, and what people decide, does not.
    """
    if CONFIDENCE not in table:
        return ""
    scored = table[table[CONFIDENCE].notna()]
    # Another machine may differ in the last digits.
    confidence = np.round(scored[CONFIDENCE].to_numpy(np.float64) * 1e6).astype(np.int64)
    return _digest(scored[SUGGESTED_LABEL].to_numpy(np.int64).tobytes() + confidence.tobytes())[:8]


def audited(ledger: pd.DataFrame, table: pd.DataFrame) -> pd.Series:
    """Return, by sample id, a short text that stands for the label and action in force.

    It goes with the row to the reviewer and comes back with the answer, which is about that label
    and no other (:func:`refuse_stale`). As it differs between samples of the same label, it tells
    the reviewer nothing. It begins with a letter: a spreadsheet makes a number of one like 12e5.

    Args:
        ledger: events.
        table: label table.
    """
    state = replay(ledger, table)
    marks = [f"m{mark}" for mark in _marks(state, LABEL)]
    return pd.Series(marks, index=pd.Index(state[SAMPLE_ID]), dtype="str")


def refuse_stale(
    answers: pd.DataFrame, ledger: pd.DataFrame, table: pd.DataFrame, where: str
) -> None:
    """Refuse answers about labels that are others now than when they were drawn.

    Args:
        answers: see :mod:`labelrepair.review`; files from before :func:`audited` say nothing.
        ledger: events.
        table: label table.
        where: the file, to begin messages with.

    Raises:
        DataError: a mark is damaged, or a run has changed an audited label or its action; the
            message names line and sample. What people have decided since about a row drawn from all
            rows is no such change: its answer is about the label that they gave it.
    """
    said = answers[(answers[AUDITED] != "") & (answers[ANSWER] != "")]
    rule = (
        "is no mark of an audit, 'm' and 16 hex digits (without the 'm' it may be a number to a "
        "spreadsheet): take the column from the file that was drawn; the same draw writes it again"
    )
    refuse(said, ~said[AUDITED].str.fullmatch(_MARK).astype(bool), AUDITED, rule, where)
    marks = said[AUDITED].str.removeprefix("m")
    moved = pd.Series(False, index=said.index)
    for batch, rows in said.groupby(BATCH):
        found = _marks_since_the_last_run(ledger, table, set(rows[SAMPLE_ID]), str(batch))
        own = pd.MultiIndex.from_arrays([rows[SAMPLE_ID], marks[rows.index]])
        unknown = ~rows[SAMPLE_ID].isin(table[SAMPLE_ID])  # resolve names the sample
        moved[rows.index] = ~own.isin(found) & ~unknown
    rule = (
        "has another repaired label or action than when it was drawn, so its answer is about a "
        "label that is gone: draw the audit again, or blank the answer, which then counts as wrong"
    )
    refuse(said, moved, SAMPLE_ID, rule, where)


def interval(right: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return the two-sided exact (Clopper-Pearson) interval of a share; (0, 1) for no row."""
    if count == 0:
        return 0.0, 1.0
    from scipy import stats  # noqa: PLC0415

    found = stats.binomtest(right, count).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def most_wrong(wrong: int, count: int, population: int, level: float = 0.95) -> int:
    """Return the largest number of wrong rows in the population that the audit leaves possible.

    One-sided and exact for a draw without replacement: the largest M for which at most ``wrong``
    of ``count`` drawn rows being wrong still has a probability of 1 - level (hypergeometric).

    Args:
        wrong: wrong rows among those drawn.
        count: rows drawn.
        population: rows drawn from.
        level: of the statement, in (0, 1).
    """
    require(0 <= wrong <= count <= population, f"audit: {wrong} of {count} of {population} rows")
    require(0 < level < 1, f"level: must lie strictly in (0, 1), found {level}")
    from scipy import stats  # noqa: PLC0415

    low, high = wrong, population - (count - wrong)  # both ends agree with what was seen
    enough = 1 - level - ROUNDING
    while low < high:  # the probability falls with M
        middle = (low + high + 1) // 2
        if stats.hypergeom.cdf(wrong, population, middle, count) >= enough:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(frozen=True)
class AuditResult:
    """What one audit found.

    Attributes:
        batch: its name.
        group: what was audited.
        drawn: rows drawn.
        answered: rows that somebody decided.
        wrong: answered rows whose label was wrong.
        population: rows drawn from.
        level: of the statement.
    """

    batch: str
    group: str
    drawn: int
    answered: int
    wrong: int
    population: int
    level: float

    @property
    def bound(self) -> float:
        """The share of wrong rows, at most; rows without an answer count as wrong."""
        wrong = self.wrong + self.drawn - self.answered
        return most_wrong(wrong, self.drawn, self.population, self.level) / self.population

    @property
    def precision(self) -> tuple[float, float, float]:
        """The share of answered rows that were right, and its interval."""
        right = self.answered - self.wrong
        share = right / self.answered if self.answered else float("nan")
        return share, *interval(right, self.answered, self.level)

    @property
    def statement(self) -> str:
        """What may be said about all rows of the group."""
        text = (
            f"at most {100 * self.bound:.1f} % {MEANING[self.group]}, at {100 * self.level:g} % "
            f"({self.wrong} wrong of {self.answered} audited, {self.population:,} rows)"
        )
        missing = self.drawn - self.answered
        return f"{text}; {missing} without an answer count as wrong" if missing else text


def verdicts(ledger: pd.DataFrame, decided: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return what people said about the audited rows: one row for each audit of each sample.

    What was audited is what the ledger says of a row before the audit's answer: the last word of
    the model, or the label given then; where all rows were drawn from, the label in force, which
    may be people's. The answer is the decision in force, which may be a later one than the audit's:
    as long as a row stays in its sample, a label that somebody has looked at again is the better
    one.

    Args:
        ledger: events.
        decided: decisions in force (see :mod:`labelrepair.decisions`).
        table: label table, with the scores in force where there are any (a repaired table).

    Returns:
        Frame of sample_id, batch, true_label (Int64, null: no class fits), wrong (bool) and
        confidence (Float64): that of a relabel in an audit of relabels, as long as the table has
        the scores that this audit was drawn from; else null. The ledger's does not serve, it is
        that of the first run which arrived at the label.
    """
    answers = _answered(decided)
    state = pd.concat(
        [
            _before_answers(ledger, table, rows[SAMPLE_ID], str(batch))
            for batch, rows in answers.groupby(BATCH, sort=False)
        ]
        or [replay(ledger, table).iloc[:0]]
    )
    label, answer = state[LABEL].array, answers[LABEL].array
    other = (label != answer).fillna(True) & ~label.isna()
    # A dropped row was wrongly dropped if its given label was right.
    kept = label.isna() & (answers[ACTION] == Action.KEEP).to_numpy()
    name = answers[BATCH].astype("str").str.extract(_NAME)
    relabels = (name["group"] == "relabel") & (name["scores"] == scores_mark(table))
    shown = relabels.to_numpy(dtype=bool) & (state[SOURCE] == LabelSource.MODEL).to_numpy()
    confidence = pd.array([pd.NA] * len(answers), dtype="Float64")
    if shown.any():
        of_rows = table.set_index(SAMPLE_ID)[CONFIDENCE].astype("Float64")
        confidence[shown] = of_rows.reindex(answers.loc[shown, SAMPLE_ID]).array
    found = {
        SAMPLE_ID: answers[SAMPLE_ID].to_numpy(),
        BATCH: answers[BATCH].to_numpy(),
        TRUE_LABEL: answer,
        "wrong": np.where(name["group"] == "drop", kept, other).astype(bool),
        CONFIDENCE: confidence,
    }
    return pd.DataFrame(found)


def evaluate(found: pd.DataFrame, level: float = 0.95) -> list[AuditResult]:
    """Return what each audit supports, from :func:`verdicts`; they are named by their batch.

    Raises:
        DataError: a batch is no audit, or has more answers than rows were drawn.
    """
    results = []
    for batch, rows in found.groupby(BATCH, sort=True):
        group, drawn, population = _drawn(str(batch), len(rows))
        wrong = int(rows["wrong"].sum())
        results.append(AuditResult(str(batch), group, drawn, len(rows), wrong, population, level))
    return results


def relabels(found: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the audited relabels that tell of the scores in force, and how many lack an answer.

    Only audits of relabels count: of a draw over all rows it is not known which of the rows without
    an answer are relabels. A row of several audits counts once: it tells nothing twice.

    Args:
        found: from :func:`verdicts`.

    Raises:
        DataError: an audit has more answers than rows were drawn.
    """
    rows = found[found[CONFIDENCE].notna()]
    counts = rows[BATCH].value_counts()
    drawn = sum(_drawn(str(batch), int(count))[1] for batch, count in counts.items())
    return rows.drop_duplicates(SAMPLE_ID), drawn - len(rows)


def relabel_precision(found: pd.DataFrame, level: float = 0.95) -> tuple[int, int, float, float]:
    """Return (right, audited, low, high) of the relabels with the scores in force.

    The interval holds whatever the rows without an answer are: they are wrong for its lower end,
    right for its upper one.
    """
    rows, missing = relabels(found)
    right, count = int((~rows["wrong"]).sum()), len(rows) + missing
    low, high = interval(right, count, level)[0], interval(right + missing, count, level)[1]
    return right, len(rows), low, high


def thresholds(found: pd.DataFrame, target: float, level: float = 0.95) -> pd.DataFrame:
    """Return the values of ``relabel_confidence`` that keep a promised precision of the relabels.

    Values are tried from strict to loose and the first that fails ends the search: tested in this
    fixed order, all that hold hold together at ``level``, without a correction for many tests. The
    search begins where enough relabels were drawn for the test to be passed at all, a number that
    does not depend on whether they are right. A drawn row without an answer counts as wrong at
    every value: whatever it is, an answer would not take back what holds.
    Audited relabels lie above the threshold in force, so that a lower one needs a new audit, as
    does another training: only audits drawn from the scores in force count.

    Args:
        found: from :func:`verdicts`.
        target: precision to promise, in [0, 1].
        level: one-sided, in (0.5, 1).

    Returns:
        Frame of relabel_confidence, audited (answered rows), right, precision_at_least, holds.

    Raises:
        ConfigError: target or level lies outside.
        DataError: an audit has more answers than rows were drawn.
    """
    in_unit_interval(precision=target)
    require(0.5 < level < 1, f"level: must lie strictly in (0.5, 1), found {level}")
    rows, missing = relabels(found)
    tested = []
    for value in STRICT_FIRST if len(rows) else ():
        at = rows[(rows[CONFIDENCE] >= value).fillna(False)]
        count = len(at) + missing
        if interval(count, count, 2 * level - 1)[0] < target:
            continue  # too few are that sure: even if all are right, nothing is shown
        right = int((~at["wrong"]).sum())
        lowest = interval(right, count, 2 * level - 1)[0]  # one side of it: level
        tested.append((value, len(at), right, lowest, lowest >= target))
        if lowest < target or len(at) == len(rows):
            break
    columns = ["relabel_confidence", "audited", "right", "precision_at_least", "holds"]
    return pd.DataFrame(tested, columns=columns)


def curated(decided: pd.DataFrame) -> pd.DataFrame:
    """Return ``sample_id, true_label`` of the rows audited at random, for the ``curated`` T.

    Only draws over all rows count: a T from the review queue, the worst rows, would tell of much
    more noise than there is. Rows that fit no class are left out. Drawn rows without an answer are
    warned of: if these are the hard ones, T tells of too little noise.
    """
    found = _answered(decided)
    found = found[found[BATCH].str.startswith(OVER_ALL)]
    for batch, answers in found[BATCH].value_counts(sort=False).items():
        missing = int(_NAME.fullmatch(str(batch))["drawn"]) - answers  # type: ignore[index]
        if missing > 0:
            logger.warning(
                "%s: %d drawn rows have no answer, so that T is estimated from a sample that may "
                "be no random one any more: answer them (reverted answers are none)",
                batch,
                missing,
            )
    chosen = found.loc[found[LABEL].notna(), [SAMPLE_ID, LABEL]].drop_duplicates(SAMPLE_ID)
    chosen = chosen.rename(columns={LABEL: TRUE_LABEL}).astype({TRUE_LABEL: np.int64})
    return chosen.sort_values(SAMPLE_ID, ignore_index=True)


def of_relabels(decided: pd.DataFrame) -> bool:
    """Return whether people have answered an audit of relabels, which only scores tell of."""
    return bool(_answered(decided)[BATCH].str.startswith(OF_RELABELS).any())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _marks(rows: pd.DataFrame, label: str) -> list[str]:
    """Return a text for each row that stands for its sample, its label and its action."""
    labels = rows[label].astype("string").fillna("")
    texts: Iterable[tuple[str, ...]] = zip(rows[SAMPLE_ID], rows[ACTION], labels, strict=True)
    return [_digest("\0".join(text).encode())[:16] for text in texts]


def _drawn(batch: str, answers: int) -> tuple[str, int, int]:
    """Return the group, the rows drawn and those drawn from, of an audit with so many answers.

    Raises:
        DataError: it is no audit, or has more answers than rows were drawn.
    """
    match = _NAME.fullmatch(batch)
    if match is None:
        raise DataError(f"audit: '{batch}' is no name of an audit")
    drawn = int(match["drawn"])
    if answers > drawn:
        raise DataError(
            f"human_decisions: batch '{batch}': expected the answers of at most {drawn} drawn "
            f"rows, found {answers}: two audits from before names told draws apart are called so; "
            "write another seed in the batch of one audit's lines"
        )
    return match["group"], drawn, int(match["population"])


def _answered(decided: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each audit of each decision, ordered by audit; in review is no answer."""
    names = [audits(batch) for batch in decided[BATCH]]
    each = decided.iloc[np.repeat(np.arange(len(decided)), [len(of) for of in names])]
    each = each.assign(**{BATCH: pd.array([name for of in names for name in of], dtype="str")})
    rows = each[each[BATCH].str.fullmatch(_NAME) & (each[ACTION] != Action.REVIEW)]
    return rows.sort_values([BATCH, SAMPLE_ID], ignore_index=True)


def _before_answers(
    ledger: pd.DataFrame, table: pd.DataFrame, samples: "pd.Series[str]", batch: str
) -> pd.DataFrame:
    """Return the states of audited samples before the first answer of their audit, in their order.

    Events of people are left out unless all rows were drawn from: an action is audited where it is
    not of people. Without an event before it, a sample had the label that was given then, at which
    its first event begins; the source may have given another one since.
    """
    own = table[table[SAMPLE_ID].isin(samples)]
    events = ledger[ledger[SAMPLE_ID].isin(samples)]
    events = events[~of_other_content(events, table)]
    first = events.drop_duplicates(SAMPLE_ID).set_index(SAMPLE_ID)[FROM_LABEL]
    given = own[SAMPLE_ID].map(first).fillna(own[GIVEN_LABEL]).astype(np.int64)
    people = events[SOURCE] == LabelSource.HUMAN
    answers = (people & _is_of(events, batch)).astype(np.int8)
    answered = answers.groupby(events[SAMPLE_ID]).cummax() == 1
    before = events[~answered & (~people | batch.startswith(OVER_ALL))]
    state = replay(before, own.assign(**{GIVEN_LABEL: given}))
    return state.set_index(SAMPLE_ID).reindex(samples)


def _marks_since_the_last_run(
    ledger: pd.DataFrame, table: pd.DataFrame, samples: set[str], batch: str
) -> pd.MultiIndex:
    """Return (sample, mark) of the states that an audit may have drawn: the last of a run.

    Where all rows were drawn from, also those that people made of it since.
    """
    events = ledger[ledger[SAMPLE_ID].isin(samples)]
    events = events[~of_other_content(events, table)]
    people = events[SOURCE] == LabelSource.HUMAN
    state = replay(events[~people], table[table[SAMPLE_ID].isin(samples)])
    parts = [state[[SAMPLE_ID, LABEL, ACTION]]]
    if batch.startswith(OVER_ALL):
        run_after = (~people)[::-1].groupby(events[SAMPLE_ID]).cummax()[::-1]
        since = events[~run_after].rename(columns={TO_LABEL: LABEL})
        parts.append(since[[SAMPLE_ID, LABEL, ACTION]])
    drawn = pd.concat(parts)
    return pd.MultiIndex.from_arrays([drawn[SAMPLE_ID], _marks(drawn, LABEL)])


def _is_of(events: pd.DataFrame, batch: str) -> "pd.Series[bool]":
    """Return which events are of decisions that an audit was answered by."""
    named = {method: batch in audits(method) for method in events[METHOD].unique()}
    return events[METHOD].map(named).astype(bool)
