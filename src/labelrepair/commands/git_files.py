"""Which files git must keep for the history of labels, and which of them it leaves out.

Kedro's own ``.gitignore`` leaves out all of ``data``: people's decisions, the changed labels, the
metrics and DVC's pointers to raw data with it.
"""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml

from labelrepair.atomic import whole_file

KEPT = (
    "03_primary/human_decisions.csv",
    "07_model_output/label_changes.csv",
    "08_reporting/metrics.json",
)
# Of raw data that `dvc add` has taken over: its pointers, and what it tells git to leave out. The
# latter is content of the folder to DVC, which would be another one in a clone.
POINTERS = ("*.dvc", ".gitignore")
STORE = ("/mlflow.db*", "/mlruns/", "/mlartifacts/")
BEGIN, END = "# >>> labelrepair: what git keeps, or leaves alone", "# <<< labelrepair"
_SPECIAL = re.compile(r"([*?\[])")


def ignored(project: Path, paths: Iterable[str | Path]) -> list[str]:
    """Return the paths that ``git add`` refuses; none outside a repository or without git."""
    return [str(path) for path in paths if _refused(project, str(path))]


def _refused(project: Path, path: str) -> bool:
    command = ["git", "-C", str(project), "check-ignore", "--quiet", "--", path]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def keep(project: Path, workspace: str, store: bool) -> bool:
    """Add lines to ``.gitignore`` by which git keeps the texts of a workspace and DVC's pointers.

    They stand in a block of their own at the end; what is there stays as it is.

    Args:
        project: the project's folder.
        workspace: folder of the products, relative to it; one outside is passed over.
        store: leave MLflow's database and files out, too.

    Returns:
        Whether lines were missing.
    """
    file = project / ".gitignore"
    present = file.read_bytes() if file.exists() else b""
    inside = not Path(workspace).is_absolute() and ".." not in Path(workspace).parts
    folder = _SPECIAL.sub(r"\\\1", Path(workspace).as_posix())
    wanted = [f"!data/**/{name}" for name in POINTERS]
    wanted += [f"!{folder}/{name}" for name in KEPT if inside]
    wanted += STORE if store else ()
    there = present.decode("utf-8", "replace").splitlines()
    missing = [line for line in wanted if line not in there]
    if not missing:
        return False
    lines = "".join(f"{line}\n" for line in missing).encode()
    if END in there[-1:]:  # our block, and nothing after it
        text = present[: present.rindex(END.encode())] + lines + f"{END}\n".encode()
    else:
        gap = b"" if not present else b"\n" if present.endswith(b"\n") else b"\n\n"
        text = present + gap + f"{BEGIN}\n".encode() + lines + f"{END}\n".encode()
    with whole_file(file) as stream:
        stream.write(text)
    return True


def left_out(project: Path, text: str) -> list[str]:
    """Return the lines that ``.gitignore`` needs, if git leaves out what ``dvc.yaml`` counts on.

    Args:
        project: the project's folder.
        text: of ``dvc.yaml``.
    """
    stages = yaml.safe_load(text)["stages"].values()
    deps = {dep for stage in stages for dep in stage.get("deps", ())}
    outs = [out for stage in stages for kind in ("outs", "metrics") for out in stage.get(kind, ())]
    made = {path: facts for out in outs for path, facts in _with_facts(out)}
    texts = {path for path, facts in made.items() if facts.get("cache") is False}
    texts |= {dep for dep in deps if Path(dep).name == Path(KEPT[0]).name}
    lines = {path: f"!{path}" for path in texts}
    for raw in deps - texts - made.keys():
        if not raw.startswith("src/"):
            is_folder = (project / raw).is_dir() or not Path(raw).suffix
            lines |= _beside(Path(raw), is_folder)
    return sorted({lines[path] for path in ignored(project, lines)})


def _beside(raw: Path, is_folder: bool) -> dict[str, str]:
    """Return what ``dvc add`` writes beside raw data, and the lines by which git keeps it."""
    folder = raw if is_folder else raw.parent
    pointer = f"{raw.as_posix()}/any.dvc" if is_folder else f"{raw.as_posix()}.dvc"
    below = f"{raw.parts[0]}/**"
    return {
        pointer: f"!{below}/*.dvc" if "/" in pointer else f"!/{pointer}",
        (folder / ".gitignore").as_posix(): f"!{below}/.gitignore",
    }


def _with_facts(out: str | dict[str, dict[str, bool]]) -> list[tuple[str, dict[str, bool]]]:
    return [(out, {})] if isinstance(out, str) else list(out.items())
