"""What ``kedro labels`` prints: tables for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from labelrepair.commands.git_files import ignored
from labelrepair.label_diff import NO_LABEL, counts
from labelrepair.label_table import LabelSource
from labelrepair.printed import terminal

if TYPE_CHECKING:
    from labelrepair.audit import AuditResult

IGNORED = "git ignores it, and no clone will have it: git check-ignore -v says why"
WIDEST = 12  # classes up to which flows are shown as a matrix, where it fits
CHANGED = ("label", "action", "source")
UNBOUNDED = 10_000  # columns of no terminal
WIDE = 200  # characters of a history, whose columns must not be folded
FLOWS = 15  # else so many of the largest


def differences(
    patch: pd.DataFrame,
    named: pd.DataFrame,
    matrix: pd.DataFrame,
    class_names: Sequence[str],
    rows: int,
    title: str,
) -> None:
    """Show counts, flows and the first rows of a patch."""
    console = terminal()
    console.print(f"{title}: {len(patch):,} rows differ")
    if patch.empty:
        return
    for name, count in counts(patch).items():
        if count:
            console.print(f"  {count:>8,}  {name}")
    _flows(console, matrix, [*class_names, NO_LABEL])
    _rows(console, named, rows)


def history(
    row: "pd.Series[Any]", events: pd.DataFrame, class_names: Sequence[str], regiven: bool
) -> None:
    """Show a sample's events, beginning with the label that was given then.

    Args:
        row: of the repaired table.
        events: with a column ``other``: of other content than now.
        class_names: of the events' numbers.
        regiven: the source gives another label now than the events know of.
    """
    heads = ("when (UTC)", "label", "action", "source", "sure", "by", "how", "run", "note")
    table = Table(*heads, title=f"{row['sample_id']} ({row['split']})", title_justify="left")
    table.box = None
    for column in table.columns:
        column.no_wrap = True

    def given(label: int, note: str = "") -> None:
        table.add_row("", class_names[int(label)], "", str(LabelSource.GIVEN), *[""] * 4, note)

    contents: set[str] = set()
    for event in events.to_dict("records"):
        old = "(of other content) " if event["other"] else ""
        content = event["content_hash"] or row["content_hash"]  # events from before do not tell
        if content not in contents:  # each content begins at its given label
            given(event["from_label"], old)
        contents.add(content)
        label = NO_LABEL if pd.isna(event["to_label"]) else class_names[int(event["to_label"])]
        sure = "" if pd.isna(event["confidence"]) else f"{event['confidence']:.2f}"
        when = event["decided_at"][:16].replace("T", " ")
        run = "" if event["run_id"].startswith("run-") else event["run_id"][:8]
        what = (label, event["action"], event["source"], sure)
        by = (event["reviewer"], event["method"], run, old + event["note"])
        table.add_row(when, *what, *by)
    if events["other"].all():
        given(row["given_label"])
    elif regiven:
        given(row["given_label"], "another given label in the source; no run has noted it yet")
    terminal(WIDE).print(table)


def done(named: pd.DataFrame, project: Any, dry_run: bool, decided: bool) -> None:
    """Show what was changed, or would be; ``decided``: the decisions' file says something else."""
    console = terminal()
    word = "would change" if dry_run else "changed"
    console.print(f"{len(named):,} {'row' if len(named) == 1 else 'rows'} {word}")
    _rows(console, named, 10)
    texts = ["human_decisions"] if decided else []
    texts += ["label_changes"] if len(named) and not dry_run else []
    for name in texts:
        path = project.path(name)
        out = ignored(project.root, [path])
        console.print(f"  written: {path} ({IGNORED if out else 'commit it'})")
    if len(named) and not dry_run:
        for name in ("repaired_table", "label_ledger"):
            console.print(f"  written: {project.path(name)}")
        mounted = f"--from-nodes {project.namespace}.choose_policy"
        which = mounted if project.namespace else "--pipelines repair,evaluation,report"
        which += f" --env {project.env}" if project.env else ""
        told = ",".join("=".join(pair) for pair in project.params)
        which += f" --params {told}" if told else ""
        # DVC's stages know nothing of what this command was told.
        other = "" if project.env or project.params else " dvc repro, or"
        console.print(f"Then bring metrics and report up to date:{other}")
        console.print(f"  kedro run {which}")


def imported(
    decided: int, conflicts: Sequence[str], unanswered: int, older: Sequence[str], again: int
) -> None:
    """Show what an import found."""
    console = terminal()
    console.print(f"{decided:,} samples decided, {unanswered:,} without an answer")
    if again:
        console.print(f"{again:,} had been decided so before: by whom and when stays as it was")
    if conflicts:
        console.print(f"{len(conflicts):,} stay in review, reviewers disagree: {_some(conflicts)}")
    if older:
        console.print(
            f"{len(older):,} left out, somebody has decided otherwise since: {_some(older)} "
            "(to decide again: --overrule)"
        )


def of_other_content(samples: Sequence[str]) -> None:
    """Show which samples a revert leaves out."""
    if samples:
        terminal().print(
            f"{len(samples):,} left out, changed when they had other content than now: "
            f"{_some(samples)}"
        )


def _some(names: Sequence[str]) -> str:
    """Return the first names of a list that may be long."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def audits(
    results: Sequence["AuditResult"],
    precision: tuple[int, int, float, float],
    level: float,
    tested: pd.DataFrame | None,
    target: float | None,
) -> None:
    """Show what audits support."""
    console = terminal()
    if not results:
        console.print("no audit has been answered; begin with: kedro labels audit draw")
        return
    for result in results:
        console.print(f"{result.batch}\n  {result.statement}")
    right, count, low, high = precision
    if count:
        console.print(
            f"relabels so far: {right} of {count} audited are right, {100 * right / count:.1f} % "
            f"({100 * level:g} % interval {100 * low:.1f} to {100 * high:.1f} %)"
        )
    if tested is None or target is None:
        return
    table = Table(title=f"precision of relabels at least {target:g}, at {level:g}?")
    for column in tested.columns:
        table.add_column(column.replace("_", " "), justify="right")
    for row in tested.itertuples(index=False):
        holds = "yes" if row.holds else "no"
        lowest = f"{row.precision_at_least:.3f}"
        table.add_row(
            f"{row.relabel_confidence:g}", str(row.audited), str(row.right), lowest, holds
        )
    console.print(table)
    good = tested[tested["holds"]]
    if good.empty:
        console.print("no threshold is shown to hold; audit more relabels")
    else:
        console.print(
            f"policy.relabel_confidence: {good['relabel_confidence'].iloc[-1]:g}  "
            "(by hand, or thresholds_from_reviews.apply: true)"
        )


def _flows(console: Console, matrix: pd.DataFrame, names: Sequence[str]) -> None:
    """Show from (rows) to (columns), or the largest flows if a matrix would be cut."""
    values = matrix.to_numpy()
    if not values.any():
        return
    table = Table(title="from (row) to (column)", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in zip(names, values, strict=True):
        table.add_row(name, *[str(count) if count else "" for count in row])
    if len(names) > WIDEST + 1 or _width(console, table) > console.width:
        table = Table(title="largest flows", title_justify="left")
        for head in ("from", "to"):
            table.add_column(head, overflow="fold")
        table.add_column("rows", justify="right", no_wrap=True)
        for cell in np.argsort(-values, axis=None, kind="stable")[:FLOWS]:
            before, after = np.unravel_index(cell, values.shape)
            if values[before, after]:
                table.add_row(names[before], names[after], str(values[before, after]))
    console.print(table)


def _width(console: Console, table: Table) -> int:
    """Return the columns of the terminal that a table takes if nothing in it is cut or folded."""
    return console.measure(table, options=console.options.update(max_width=UNBOUNDED)).maximum


def _rows(console: Console, named: pd.DataFrame, rows: int) -> None:
    """Show the first rows of a patch: a table, or one below the other where it would be cut."""
    if named.empty or rows < 1:
        return
    table = Table("sample", *CHANGED)
    lines = []
    for row in named.head(rows).to_dict("records"):
        pairs = [
            f"{row[f'from_{name}'] or NO_LABEL} -> {row[f'to_{name}'] or NO_LABEL}"
            for name in CHANGED
        ]
        table.add_row(row["sample_id"], *pairs)
        told = [f"  {name} {pair}" for name, pair in zip(CHANGED, pairs, strict=True)]
        lines += [row["sample_id"], *told]
    # Nothing of ours breaks a line, so that an id can be copied.
    console.print(table if _width(console, table) <= console.width else "\n".join(lines))
    if len(named) > rows:
        console.print(f"... and {len(named) - rows:,} more")
