"""``kedro dvc``: keeps dvc.yaml in step with the Kedro graph."""

import difflib
from pathlib import Path

import click
from kedro.framework.startup import ProjectMetadata

from labelrepair.errors import LabelRepairError

FILE = "dvc.yaml"


@click.group(name="labelrepair")
def commands() -> None:
    """Hold the commands, as Kedro's entry point wants it."""


@commands.group()
def dvc() -> None:
    """Versions of data, tables and models by DVC."""


@dvc.command()
@click.option("--check", is_flag=True, help="Write nothing; fail with a diff if it is stale.")
@click.pass_obj
def write(metadata: ProjectMetadata, check: bool) -> None:
    """Write dvc.yaml: one stage for each pipeline of the default run."""
    from labelrepair.commands.git_files import left_out  # noqa: PLC0415
    from labelrepair.stages.dvc_file import make_inputs, render  # noqa: PLC0415

    file = Path(metadata.project_path) / FILE
    present = file.read_text(encoding="utf-8") if file.exists() else ""
    try:
        wanted = render(Path(metadata.project_path))
    except LabelRepairError as error:
        raise click.ClickException(str(error)) from error
    if lines := left_out(file.parent, wanted):
        click.echo("\n  ".join(["git ignores what a clone needs; add to .gitignore:", *lines]))
    for path in [] if check else make_inputs(file.parent, wanted):
        click.echo(f"{path} made, empty: DVC wants it to exist")
    if present == wanted:
        click.echo(f"{FILE} is up to date")
    elif check:
        click.echo(_diff(present, wanted), nl=False)
        raise click.ClickException(f"{FILE} is stale; write it with: kedro dvc write")
    else:
        file.write_text(wanted, encoding="utf-8")
        click.echo(f"{FILE} written")


def _diff(present: str, wanted: str) -> str:
    lines = difflib.unified_diff(
        present.splitlines(keepends=True),
        wanted.splitlines(keepends=True),
        fromfile=f"{FILE} (as it is)",
        tofile=f"{FILE} (as the Kedro graph wants it)",
    )
    return "".join(lines)
