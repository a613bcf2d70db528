"""``kedro labelrepair``: commands in the CLI of every project that has labelrepair installed."""

import os
from pathlib import Path

import click
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata

from labelrepair.commands.git_files import KEPT, ignored, keep
from labelrepair.defaults import Host, add_to_project, shipped
from labelrepair.errors import ConfigError

ONCE = """
Once, at the end of {package}/settings.py, as what is assigned last holds (hooks and resolvers of
your own are joined with these, see docs/other_projects.md):
    from labelrepair.settings import CONFIG_LOADER_ARGS, HOOKS"""
THEN = """
Then:
    kedro run --pipelines {namespace}"""
RESOLVERS = ("choose", "home")


@click.group(name="labelrepair")
def commands() -> None:
    """Label repair in this project."""


@commands.group(name="labelrepair")
def labelrepair() -> None:
    """Put label repair into this project."""


@labelrepair.command()
@click.argument("namespace")
@click.option("--dataset", default="digits", show_default=True, help="Shipped, or your own.")
@click.option("--preset", default="auto_digits", show_default=True, help="Shipped, or your own.")
@click.option("--seed", default=0, show_default=True)
@click.option("--workspace", help="Folder of the products.  [default: data/NAMESPACE]")
@click.option("--mlflow/--no-mlflow", default=True, help="Track with kedro-mlflow.")
@click.pass_obj
def add(
    metadata: ProjectMetadata,
    namespace: str,
    dataset: str,
    preset: str,
    seed: int,
    workspace: str | None,
    mlflow: bool,
) -> None:
    """Write catalog, parameters and pipeline of NAMESPACE, and lines of .gitignore."""
    try:
        host = Host(namespace, dataset, preset, seed, workspace, mlflow)
        package = Path(metadata.source_dir) / metadata.package_name
        written = add_to_project(Path(metadata.project_path), host, package)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    for file in written:
        click.echo(f"wrote {os.path.relpath(file, metadata.project_path)}")
    project = Path(metadata.project_path)
    if keep(project, host.folder, store=any(file.name == "mlflow.yml" for file in written)):
        click.echo("wrote .gitignore (lines added: what git keeps of the products)")
    for path in ignored(project, [f"{host.folder}/{name}" for name in KEPT]):
        click.echo(f"git still ignores {path}: change the line that says so (git check-ignore -v)")
    if not set(RESOLVERS) <= (settings.CONFIG_LOADER_ARGS.get("custom_resolvers") or {}).keys():
        click.echo(ONCE.format(package=metadata.package_name))
    click.echo(THEN.format(namespace=namespace))


@labelrepair.command()
@click.argument("group", type=click.Choice(["presets", "datasets"]))
def names(group: str) -> None:
    """List the presets or data sets that ship with the package."""
    click.echo("\n".join(shipped(group)))
