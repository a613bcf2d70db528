"""``kedro labels``: versions of labels, and the review loop."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.startup import ProjectMetadata

from labelrepair.errors import LabelRepairError
from labelrepair.plain_csv import check_file, survives

if TYPE_CHECKING:
    import pandas as pd

# Commands start in the time of their own imports: what is heavy is imported where it is used.

FORMATS = ("label-studio", "fiftyone", "csv")
GIVEN = "given"
"""The revision of the labels as they were given: the label table, which no repair touches."""
FILES = {"label-studio": "tasks.json", "fiftyone": "labels.json", "csv": "review.csv"}


class _Group(click.Group):
    """Commands whose expected errors are one line, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LabelRepairError as error:
            raise click.ClickException(str(error)) from None


def _alone(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that writes labels wait for a pipeline run or command that does so now."""

    @functools.wraps(command)
    def held(project: Any, /, **options: Any) -> None:
        with project.lock:
            command(project, **options)

    return held


@click.group(name="labelrepair")
def commands() -> None:
    """Hold the commands, as Kedro's entry point wants it."""


@commands.group(cls=_Group)
@click.option("--env", "-e", help="Kedro environment.")
@click.option("--namespace", help="Namespace that the pipelines are mounted in.")
@click.option("--params", default="", help="Runtime parameters, as in kedro run: workspace=FOLDER.")
@click.pass_context
def labels(ctx: click.Context, env: str | None, namespace: str | None, params: str) -> None:
    """Versions of labels, and the review loop.

    \b
    What changed:     kedro labels diff given, since a commit: kedro labels diff HEAD
    Why this label:   kedro labels blame SAMPLE
    Take it back:     kedro labels revert --sample SAMPLE
    After git merge:  kedro labels merge-ledger REV
    Ask people:       kedro labels export --format csv  ->  kedro labels import FILE
    How sure:         kedro labels audit draw  ->  import  ->  kedro labels audit evaluate
    """  # noqa: D301  # click reads the backspace
    from labelrepair.commands.label_project import LabelProject  # noqa: PLC0415

    metadata: ProjectMetadata = ctx.obj
    pairs = [item.partition("=") for item in params.split(",") if item]
    runtime = tuple((key.strip(), value.strip()) for key, _, value in pairs)
    root = Path(metadata.project_path)
    ctx.obj = LabelProject(root, metadata.package_name, env, namespace, runtime)


@labels.command()
@click.argument("before", default="HEAD", metavar="[REV1]")
@click.argument("after", default="workspace", metavar="[REV2]")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Rows, .csv or .parquet.")
@click.option("--flow", type=click.Path(path_type=Path), help="Class by class counts, .csv.")
@click.option("--rows", default=10, show_default=True, help="Rows to show.")
@click.pass_obj
def diff(
    project: Any, before: str, after: str, output: Path | None, flow: Path | None, rows: int
) -> None:
    """Show what differs between two versions of the labels.

    REV is "given" (the labels before any repair), "workspace" (those in force now), a git revision,
    a DVC experiment, or a table file (Parquet, CSV) with the class numbers of now; without any:
    HEAD, against the workspace. Classes of a revision are compared by name. What is written with
    --output is a patch: edit it if need be, then `kedro labels apply`.
    """
    from labelrepair import label_diff  # noqa: PLC0415
    from labelrepair.commands import show  # noqa: PLC0415

    _refuse_folders(output, flow)
    patch = label_diff.diff(_table_at(project, before), _table_at(project, after))
    named = label_diff.named(patch, project.class_names)
    matrix = label_diff.flow(patch, len(project.class_names))
    show.differences(patch, named, matrix, project.class_names, rows, f"{before} -> {after}")
    if output:
        _write_frame(named, output)
    if flow:
        head = [*project.class_names, label_diff.NO_LABEL]
        counts = matrix.set_axis(head, axis=1)
        counts.insert(0, "from", head)
        _write_frame(counts, flow)


@labels.command()
@click.argument("sample")
@click.pass_obj
def blame(project: Any, sample: str) -> None:
    """Show the history of one SAMPLE's label, from the given label to the one in force."""
    from labelrepair import ledger  # noqa: PLC0415
    from labelrepair.commands import show  # noqa: PLC0415
    from labelrepair.errors import DataError, nearest  # noqa: PLC0415

    row = project.table[project.table["sample_id"] == sample]
    if row.empty:
        hint = nearest(sample, project.table["sample_id"]).partition(" (valid")[0]
        close = f"; {hint}" if hint.startswith("did you mean") else ""
        raise DataError(f"sample '{sample}': not in the label table{close}")
    book, names = project.book()
    events = ledger.blame(book, sample)
    events["other"] = ledger.of_other_content(events, project.table)
    show.history(row.iloc[0], events, names, len(ledger.regiven(events, row)) > 0)


@labels.command()
@click.option("--run", "run_id", help="Changes of this run (the beginning of its id will do).")
@click.option("--class", "label", help="Changes to this class, or of samples given it.")
@click.option("--sample", "samples", multiple=True, help="A sample; may be repeated.")
@click.option(
    "--samples-from",
    type=click.Path(path_type=Path),
    help="CSV with a column sample_id.",
)
@click.option("--reviewer", help="Who takes it back.  [default: git's user.name]")
@click.option("--note", default="", help="Why.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.pass_obj
@_alone
def revert(
    project: Any,
    run_id: str | None,
    label: str | None,
    samples: tuple[str, ...],
    samples_from: Path | None,
    reviewer: str | None,
    note: str,
    dry_run: bool,
) -> None:
    """Take changes of labels back, and keep it so in later runs.

    Conditions are combined. Nothing is deleted: the ledger gets events that lead back, and the
    labels that they lead to are decisions of a person. Changes of a sample whose content is another
    one now are left out and named.
    """
    from labelrepair import decisions, ledger  # noqa: PLC0415
    from labelrepair.commands import label_project, show  # noqa: PLC0415
    from labelrepair.errors import DataError  # noqa: PLC0415

    if samples_from:
        samples = (*samples, *_sample_ids(samples_from, set(project.table["sample_id"])))
    if run_id is None and label is None and not samples:
        raise click.UsageError("say what to revert: --run, --class, --sample or --samples-from")
    (book, names), table = project.book(), project.table
    events = ledger.select(
        book,
        table,
        run_id=run_id,
        label=None if label is None else _code(project, label),
        samples=samples or None,
    )
    other = events & ledger.of_other_content(book, table)
    left = sorted(set(book.loc[other, "sample_id"]))
    if left and not (events & ~other).any():
        raise DataError(
            f"sample '{left[0]}': has other content now than when its label was changed, so there "
            f"is nothing to take back ({len(left)} such samples)"
        )
    restored, _ = ledger.revert(book, table, events)
    gone = restored[(restored["label"] >= len(project.class_names)).fillna(False)]
    if len(gone):
        sample, code = gone[["sample_id", "label"]].iloc[0]
        raise DataError(
            f"sample '{sample}': its label was '{names[code]}', which the class list no longer "
            f"has; leave it out, or revert more ({len(gone)} such rows)"
        )
    parts = [f"run {run_id}" if run_id else "", f"class {label}" if label else ""]
    about = ", ".join([part for part in parts if part] or ["samples"])
    person = reviewer or label_project.reviewer(project.root)
    decided = restored.assign(
        reviewer=person, note=note or f"revert of {about}", decided_at=ledger.utc_now()
    )
    new = decisions.make(table, decided, batch=decisions.REVERT)
    _put(project, decisions.after(new, project.decided), dry_run)
    show.of_other_content(left)


@labels.command()
@click.argument("patch", type=click.Path(path_type=Path))
@click.option("--reviewer", help="Who stands behind it.  [default: git's user.name]")
@click.option("--note", default="", help="Why.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.pass_obj
@_alone
def apply(project: Any, patch: Path, reviewer: str | None, note: str, dry_run: bool) -> None:
    """Apply a reviewed PATCH: the rows of `kedro labels diff --output`, perhaps edited.

    Its labels become decisions of the reviewer. A patch that was made from other labels than those
    in force is refused as a whole.
    """
    from labelrepair import decisions, label_diff, ledger  # noqa: PLC0415
    from labelrepair.commands import label_project  # noqa: PLC0415

    raw = _read_frame(patch)
    rows = label_diff.unnamed(raw, project.class_names, str(patch))
    if patch.suffix != ".parquet":
        decisions.refuse_rewritten(rows, "sample_id", set(project.table["sample_id"]), str(patch))
    label_diff.apply_patch(project.table, rows, str(patch))
    person = reviewer or label_project.reviewer(project.root)
    decided = rows.rename(columns={"to_label": "label", "to_action": "action"}).assign(
        reviewer=person, note=note or f"patch {patch.name}", decided_at=ledger.utc_now()
    )
    new = decisions.make(project.table, decided, batch="patch", where=str(patch))
    _put(project, decisions.after(new, project.decided), dry_run)


@labels.command()
@click.option("--format", "form", type=click.Choice(FORMATS), default="csv", show_default=True)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File to write.")
@click.option("--limit", type=click.IntRange(min=1), help="Most rows.  [default: all in review]")
@click.option("--images", type=click.Path(path_type=Path), help="Write the images here, as PNG.")
@click.option(
    "--image-url",
    default="{folder}/{name}",
    show_default=True,
    help='Address of an image, e.g. "/data/local-files/?d=images/{name}" for Label Studio.',
)
@click.option("--force", is_flag=True, help="Replace the file even if it holds answers.")
@click.pass_obj
def export(project: Any, /, form: str, output: Path | None, **options: Any) -> None:
    """Write the review queue for people: the worst label first, within the policy's budget.

    A file that somebody has filled in is not replaced.
    """
    from labelrepair import review  # noqa: PLC0415

    rows = review.queue(project.table, options.pop("limit"))
    _export(project, rows, review.QUEUE, form, output, blind=False, **options)


@labels.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--reviewer",
    help="Who answered, where the file does not say.  [default, of a CSV: git's user.name]",
)
@click.option("--overrule", is_flag=True, help="Also answers older than what is decided now.")
@click.pass_obj
@_alone
def import_(project: Any, file: Path, reviewer: str | None, overrule: bool) -> None:
    """Read what reviewers decided: Label Studio's JSON export, or the filled CSV.

    A file made from another version of the data is refused. Samples that reviewers disagree about
    stay in review. What people decided is never overwritten by a later run. Answers that somebody
    has overruled since, as of a file that is imported again, are left out and named.
    """
    import pandas as pd  # noqa: PLC0415

    from labelrepair import audit as audits  # noqa: PLC0415
    from labelrepair import decisions, ledger, review  # noqa: PLC0415
    from labelrepair.commands import label_project, show  # noqa: PLC0415
    from labelrepair.label_table import NO_CLASS  # noqa: PLC0415

    if file.suffix == ".json":
        check_file(file)
        answers = review.from_label_studio(file.read_bytes(), str(file))
        # These are others' answers: whoever imports them did not give them.
        nobody = (answers[review.ANSWER] != "") & (answers["reviewer"] == "") & (not reviewer)
        rule = "(completed_by) names nobody; say who answered: --reviewer NAME"
        decisions.refuse(answers, nobody, "reviewer", rule, str(file))
    else:
        answers = review.from_csv(decisions.read_csv(file), str(file))
        given = answers[answers[review.ANSWER] != ""].reset_index(drop=True)
        for column, valid in (
            ("sample_id", set(project.table["sample_id"])),
            (review.ANSWER, {*project.class_names, NO_CLASS}),
        ):
            decisions.refuse_rewritten(given, column, valid, str(file))
    person = reviewer or label_project.reviewer(project.root)
    answers["reviewer"] = answers["reviewer"].where(answers["reviewer"] != "", person)
    now = ledger.utc_now()
    book, _ = project.book()
    new, conflicts = review.resolve(answers, project.table, project.class_names, str(file), now)
    audits.refuse_stale(answers, book, project.table, str(file))
    older = review.older(new, answers, project.decided, book)
    if overrule:
        asked = new["sample_id"].isin(older)
        again = decisions.after(new[asked].assign(decided_at=now), project.decided)
        new.loc[asked, "decided_at"] = again["decided_at"]
        older = []
    overruled = new[new["sample_id"].isin(older)]
    new = decisions.remove(new, older)
    conflicts = [sample for sample in conflicts if sample not in older]
    same = int(decisions.known(project.decided, new).sum())
    left = decisions.stay_in_audits(project.decided, overruled)
    _put(project, pd.concat([part for part in (new, left) if len(part)] or [new]), False)
    unanswered = int((answers["reviewed_label"] == "").sum())
    show.imported(len(new) - len(conflicts), conflicts, unanswered, older, same)


@labels.command()
@click.argument("other", metavar="REV")
@click.pass_obj
@_alone
def merge_ledger(project: Any, other: str) -> None:
    """Bring the ledger of another clone into this one, after a merge in git.

    REV is a git revision, a DVC experiment, or a Parquet file. Its events that are not here yet are
    appended, then those that lead to what human_decisions.csv and the repaired table say: resolve
    conflicts in the former first.
    """
    from labelrepair import label_diff  # noqa: PLC0415
    from labelrepair.commands import show  # noqa: PLC0415

    count, patch, decided = project.merge_ledger(other)
    events = "event" if count == 1 else "events"
    click.echo(f"{count} {events} of {other} appended to {project.path('label_ledger')}")
    show.done(label_diff.named(patch, project.class_names), project, False, decided)


@labels.group(cls=_Group)
def audit() -> None:
    """Random samples, and what they say about all labels."""


@audit.command()
@click.option(
    "--of", "group", default="relabel", show_default=True, help="relabel, keep, drop, all."
)
@click.option("--count", default=100, show_default=True, help="Rows to draw.")
@click.option("--seed", default=0, show_default=True)
@click.option("--format", "form", type=click.Choice(FORMATS[::2]), default="csv", show_default=True)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File to write.")
@click.option("--images", type=click.Path(path_type=Path), help="Write the images here, as PNG.")
@click.option("--image-url", default="{folder}/{name}", show_default=True)
@click.option("--force", is_flag=True, help="Replace the file even if it holds answers.")
@click.pass_obj
def draw(
    project: Any,
    /,
    group: str,
    count: int,
    seed: int,
    form: str,
    output: Path | None,
    **options: Any,
) -> None:
    """Draw rows at random for reviewers, who are not told the labels.

    Draw --of relabel for a statement on the relabels; --of all also feeds the estimate of T
    (estimation.estimator.method: curated with ingestion.curated.reviewed: true).
    """
    from labelrepair import audit as audits  # noqa: PLC0415

    rows, batch = audits.draw(project.table, group, count, seed)
    marks = audits.audited(project.book()[0], project.table)
    output = output or Path(f"audit_{group}_seed{seed}{Path(FILES[form]).suffix}")
    _export(project, rows, batch, form, output, blind=True, marks=marks, **options)


@audit.command()
@click.option("--level", default=0.95, show_default=True, type=click.FloatRange(0.5, 1, True, True))
@click.option(
    "--precision",
    type=click.FloatRange(0, 1),
    help="Also find the policy.relabel_confidence that keeps this precision of relabels.",
)
@click.pass_obj
def evaluate(project: Any, level: float, precision: float | None) -> None:
    """Show what the audits answered so far support."""
    from labelrepair import audit as audits  # noqa: PLC0415
    from labelrepair.commands import show  # noqa: PLC0415

    found = audits.verdicts(project.book()[0], project.decided, project.table)
    tested = audits.thresholds(found, precision, level) if precision is not None else None
    results = audits.evaluate(found, level)
    show.audits(results, audits.relabel_precision(found, level), level, tested, precision)


def _table_at(project: Any, revision: str) -> "pd.DataFrame":
    """Return the labels as given, or the repaired table of a revision.

    Raises:
        DataError: there is none. After a first run nothing is committed yet, so the message names
            the revision that is always there.
    """
    from labelrepair.errors import DataError  # noqa: PLC0415

    if revision == GIVEN:
        table: pd.DataFrame = project.load("label_table")
        return table
    try:
        found: pd.DataFrame = project.table_at(revision)
    except DataError as error:
        if revision == "workspace" or Path(revision).is_file():
            raise
        mounted = f" --namespace {project.namespace}" if project.namespace else ""
        raise DataError(
            f"{error}; or 'given', the labels before any repair: kedro labels{mounted} diff given"
        ) from None
    return found


def _code(project: Any, name: str) -> int:
    """Return the number of a class that an option names.

    Raises:
        DataError: there is no such class.
    """
    from labelrepair.errors import DataError, nearest  # noqa: PLC0415

    if name not in project.class_names:
        raise DataError(f"--class: '{name}' is no class; {nearest(name, project.class_names)}")
    return int(project.code(name))


def _put(
    project: Any,
    new: "pd.DataFrame",
    dry_run: bool,
) -> None:
    """Put decisions in force, or only say which rows they are about."""
    from labelrepair import label_diff  # noqa: PLC0415
    from labelrepair.commands import show  # noqa: PLC0415

    if dry_run:
        patch, decided = label_diff.diff(project.table, project.after(new)[1]), False
    else:
        patch, decided = project.put(new)
    show.done(label_diff.named(patch, project.class_names), project, dry_run, decided)


def _export(
    project: Any,
    rows: "pd.DataFrame",
    batch: str,
    form: str,
    output: Path | None,
    *,
    blind: bool,
    images: Path | None,
    image_url: str,
    force: bool = False,
    marks: "pd.Series | None" = None,
) -> None:
    """Write rows for reviewers, with their images if asked for."""
    from labelrepair import ledger, review  # noqa: PLC0415
    from labelrepair.label_table import data_hash  # noqa: PLC0415

    output = output or Path(FILES[form])
    _refuse_folders(output)
    _require_address(image_url)
    if not force and form != "fiftyone":  # FiftyOne's is never filled in
        _require_unanswered(output, form)
    uris: dict[str, str] = {}
    if images:
        files = project.write_images(list(rows["sample_id"]), images)
        uris = {k: image_url.format(folder=images.as_posix(), name=n) for k, n in files.items()}
    names, current = project.class_names, data_hash(project.table)
    texts = project.texts(list(rows["sample_id"]))
    shown = review.items(rows, names, uris, texts=texts, blind=blind)
    if marks is not None:
        shown[review.AUDITED] = marks.reindex(shown["sample_id"]).to_numpy()
    if form == "csv":
        odd = [name for name in (*shown["sample_id"], *names) if not survives(name)]
        if odd:
            click.echo(
                f"{len(odd)} sample ids or class names, the first '{odd[0]}', are numbers or dates "
                "to a spreadsheet, which writes them otherwise: let it read the columns as text"
            )
        _write_frame(review.to_csv(shown, batch, current, ledger.utc_now()), output)
    elif form == "fiftyone":
        _write_text(output, _json(review.to_fiftyone(shown, names, batch, current)))
    else:
        _write_text(output, _json(review.to_label_studio(shown, batch, current)))
        view = output.with_name("label_config.xml")
        _write_text(view, review.label_studio_view(names, "image" if images else "text"))
        click.echo(f"{view}: the labelling interface")
    answer = "" if form == "fiftyone" else "; read the answers with: kedro labels import FILE"
    click.echo(f"{output}: {len(rows)} rows{answer}")


def _refuse_folders(*outputs: Path | None) -> None:
    """Refuse to write a file where a folder is, before anything else is written.

    Raises:
        DataError: there is one.
    """
    from labelrepair.errors import DataError  # noqa: PLC0415

    for output in outputs:
        if output and output.is_dir():
            raise DataError(f"{output}: is a folder; expected the name of a file")


def _require_address(image_url: str) -> None:
    """Refuse an address that is not another one for every image.

    Raises:
        ConfigError: an unknown placeholder, a lone brace, or no ``{name}``.
    """
    from labelrepair.errors import ConfigError  # noqa: PLC0415

    try:
        one, other = (image_url.format(folder="", name=name) for name in "ab")
        wrong = "no {name} in it" if one == other else ""
    except (LookupError, ValueError, AttributeError) as error:
        wrong = f"{type(error).__name__}: {error}"
    if wrong:
        raise ConfigError(
            f"--image-url: '{image_url}': {wrong}; expected {{name}}, perhaps {{folder}}, no others"
        )


def _require_unanswered(path: Path, form: str) -> None:
    """Refuse a file that holds people's work, or may: what cannot be read as a review file.

    Raises:
        DataError: the file holds answers, or notes, or is another one.
    """
    from labelrepair import review  # noqa: PLC0415
    from labelrepair.errors import DataError  # noqa: PLC0415

    if not path.is_file() or not path.stat().st_size:
        return
    keep = "import it first, name another file with -o, or replace it with --force"
    try:
        if form == "csv":
            answers = review.from_csv(_read_frame(path), str(path))
        else:
            answers = review.from_label_studio(path.read_bytes(), str(path))
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: exists, and is no review file ({error}); {keep}") from None
    filled = int(((answers["reviewed_label"] != "") | (answers["note"] != "")).sum())
    if filled:
        raise DataError(f"{path}: holds {filled} answers; {keep}")


def _sample_ids(path: Path, known: set[str]) -> list[str]:
    """Return the ids of a list of samples.

    Raises:
        DataError: it has no such column, or no line: a condition that meets nothing must not count
            as no condition; or an id may be another one of the known ones.
    """
    from labelrepair import decisions  # noqa: PLC0415
    from labelrepair.errors import DataError  # noqa: PLC0415

    raw = decisions.read_csv(path)
    if "sample_id" not in raw:
        raise DataError(f"{path}: missing column sample_id; found {', '.join(raw.columns)}")
    if raw.empty:
        raise DataError(f"{path}: holds no sample, so there is nothing to do; expected ids")
    decisions.refuse_rewritten(raw, "sample_id", known, str(path))
    return [str(sample) for sample in raw["sample_id"]]


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _write_text(path: Path, text: str) -> None:
    from labelrepair.atomic import whole_file  # noqa: PLC0415

    with whole_file(path) as stream:
        stream.write(text.encode())


def _write_frame(frame: "pd.DataFrame", path: Path) -> None:
    from labelrepair import decisions  # noqa: PLC0415
    from labelrepair.atomic import whole_file  # noqa: PLC0415

    with whole_file(path) as stream:
        if path.suffix == ".parquet":
            frame.to_parquet(stream, index=False)
        else:
            decisions.write_csv(frame, stream)


def _read_frame(path: Path) -> "pd.DataFrame":
    from labelrepair import decisions  # noqa: PLC0415
    from labelrepair.commands.label_project import read_parquet  # noqa: PLC0415

    if path.suffix == ".parquet":
        return read_parquet(path, str(path))
    return decisions.read_csv(path)
