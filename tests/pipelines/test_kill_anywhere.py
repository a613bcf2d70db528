"""A run that is killed at any moment, and run again, ends with the bits of the undisturbed run.

The moments are exact: an audit hook counts what the run does to files and to MLflow's database, and
the process is killed at the n-th of these. Some are killed a little later, from outside, to meet
the middle of a write or of a training step. ``LABELREPAIR_KILLS`` sets how many; see
``make test-kill``.
"""

import hashlib
import itertools
import json
import logging
import math
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from contextlib import closing
from pathlib import Path

import matplotlib.figure
import pandas as pd
import pytest
import sqlalchemy

import labelrepair.pictures

pytestmark = pytest.mark.slow
logger = logging.getLogger("labelrepair.kills")  # shown by -o log_cli=true
KILLS = int(os.environ.get("LABELREPAIR_KILLS", "100"))
CHAIN = 4  # kills, one after the other, before a run is left alone
LATER = 0.05  # seconds after the moment, at most, for the kills from outside
SEED = 5
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
NAME = "labelrepair-small"
LEDGER = "data/07_model_output/label_ledger.parquet"
# Names of runs, and times, stand in these; everything else is the same bytes every time.
NAMED = re.compile(r"label_ledger|report\.html|handoff\.json|model_card\.md|/\.label_ledger")

# By the first pattern that a moment meets; all others belong to the tracking by MLflow.
PARTS = {
    "checkpoints": "06_models/(.*/)?\\.?checkpoints",
    "ingestion": "data/0[1-4]",
    "estimation": "data/05",
    "training": "data/06|data/07.*training",
    "repair": "data/07",
    "reporting": "data/08.*(report|plot|summary|metrics)",
    "registry": "registered|model_version|handoff|data/08",
}


class Moments:
    """Counts what this process does to files and databases; dies at the chosen one."""

    def __init__(self, root: Path, at: int = 0, tell: int | None = None) -> None:
        """Listen from now on; at moment ``at`` die, or with ``tell`` write a byte to that pipe."""
        self.root, self.at, self.tell = str(root), at, tell
        self.seen: list[str] = []
        sys.addaudithook(self.audit)
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", self.statement)
        sqlalchemy.event.listen(sqlalchemy.Engine, "commit", lambda _: self.add("sql COMMIT"))

    def audit(self, event: str, arguments: tuple) -> None:
        if event in WRITES or (event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
            self.file(event, arguments[0])

    def file(self, event: str, path: object) -> None:
        if not isinstance(path, int) and os.path.abspath(os.fsdecode(path)).startswith(self.root):
            self.add(f"{event} {os.path.relpath(os.fsdecode(path), self.root)}")

    def statement(self, connection, cursor, statement: str, *_: object) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            self.add(f"sql {' '.join(statement.split()[:3])}")

    def add(self, moment: str) -> None:
        self.seen.append(moment)
        if len(self.seen) == self.at:
            if self.tell is None:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(self.tell, b".")


def forked(work) -> int:
    """Run ``work`` in a child that has everything imported; return its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def run(project) -> list[str]:
    """Run everything, undisturbed, in a child; return the moments it had."""
    listing = project / "moments.json"

    def work():
        moments = Moments(project.root)
        project.run("__default__", "handoff")
        listing.write_text(json.dumps(moments.seen))

    assert os.waitpid(forked(work), 0)[1] == 0
    return json.loads(listing.read_text())


def kill(project, at: int, delay: float) -> bool:
    """Run everything in a child and kill it; return whether it was not over before."""
    reads, writes = os.pipe()

    def work():
        os.close(reads)
        Moments(project.root, at, writes if delay else None)
        project.run("__default__", "handoff")

    child = forked(work)
    os.close(writes)
    if os.read(reads, 1):  # nothing: it has killed itself, or is over
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    os.close(reads)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, "an error of its own"
    return killed


@pytest.fixture(scope="module")
def warm(make_project, tmp_path_factory):
    """Return three projects: never run, run before with other labels, with features in shards.

    All is imported.

    Drawing is replaced: a blank picture is written the same way.
    """
    with pytest.MonkeyPatch.context() as patch:
        blank = b"\x89PNG\r\n\x1a\n" + bytes(3000)
        patch.setattr(matplotlib.figure.Figure, "savefig", lambda _, file, **__: file.write(blank))
        small = labelrepair.pictures.png('<svg width="1" height="1"/>')
        patch.setattr(labelrepair.pictures, "png", lambda *_, **__: small)
        names = ("imports", "fresh", "again", "shards")
        imports, *projects = [make_project(tmp_path_factory.mktemp(name)) for name in names]
        for project in (imports, *projects):
            lighten(project)
        imports.run("__default__", "handoff")
        relabel(projects[1], seed=2)
        run(projects[1])
        relabel(projects[1], seed=1)
        shards, file = projects[2], "conf/base/parameters_ingestion.yml"
        shards.edit(file, "ingestion", "storage", kind="shards", shard_bytes=6400)  # of 100 rows
        shards.commit()
        yield projects


def relabel(project, seed: int) -> None:
    """Let the next run draw other wrong labels."""
    noise = {"kind": "symmetric", "rate": 0.3, "seed": seed}
    project.edit("conf/base/parameters_datasets/small.yml", "datasets", "small", noise=noise)


def lighten(project) -> None:
    """Leave out the settings that no run here reads; they cost seconds of every run."""
    for file in (project / "conf/base").glob("parameters_*s/*.yml"):
        if file.stem != "small":
            file.unlink()
    project.edit("conf/base/parameters_handoff.yml", "handoff", "gate", min_rows=30)
    project.commit()


def products(project) -> dict[str, str]:
    """Return what must be the same: hashes, the ledger's rows, the registry."""
    found = {name: sum_ for name, sum_ in project.data().items() if not NAMED.search(name)}
    return found | {LEDGER: ledger(project)} | registry(project)


def ledger(project) -> str:
    if not (project / LEDGER).exists():
        return "none"
    events = pd.read_parquet(project / LEDGER).drop(columns=["run_id", "decided_at"])
    return hashlib.md5(events.to_csv().encode()).hexdigest()


def registry(project) -> dict[str, str]:
    """Read the tables themselves: a connection of this process must not come into its children."""
    tags = "SELECT version, key, value FROM model_version_tags WHERE name = ? ORDER BY 1, 2"
    with closing(sqlite3.connect(project / "mlflow.db")) as database:
        found = database.execute(tags, [NAME]).fetchall()
        aliases = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
        versions = "SELECT version FROM model_versions WHERE name = ?"
        rows = [f for f in found if not re.search("run_id|revision", f[1])]
        rows += sorted(database.execute(aliases, [NAME])) + sorted(
            database.execute(versions, [NAME])
        )
    return {"registry": json.dumps(rows)}


def check_whole(project, known: dict[str, set[str]]) -> None:
    """Refuse any file that is neither absent nor one of its whole versions."""
    for name, digest in project.data().items():
        file = project / name
        parts = Path(name).parts
        growing = any(part.startswith(".") for part in parts) or {"checkpoints", "unfinished"} & {
            *parts
        }
        if growing or file.suffix == ".lock":
            continue
        if NAMED.search(name):
            readable(file)
        else:
            assert digest in known.get(name, set()), f"{name} is not whole"
    assert ledger(project) in known[LEDGER], "events of the ledger are lost or doubled"


def readable(file: Path) -> None:
    if file.suffix == ".parquet":
        pd.read_parquet(file)
    elif file.suffix == ".json":
        json.loads(file.read_text())
    else:
        assert file.read_text().rstrip().endswith("</html>") or file.suffix == ".md"


def left_over(project) -> list[str]:
    """Return temporary files, checkpoints, growing shards: none outlives a finished run."""
    hidden = [n for n in project.data() if "/." in n and not n.endswith((".gitkeep", ".lock"))]
    return hidden + [n for n in project.data() if "checkpoints" in n or "unfinished" in n]


def part(moment: str) -> str:
    """Return which part of the work a moment belongs to."""
    for name, pattern in PARTS.items():
        if re.search(pattern, moment):
            return name
    return "tracking"


def chosen(moments: list[str], count: int, draws: random.Random) -> list[tuple[int, float]]:
    """Return (moment, delay) of each kill: of every part of the work the same number, at random."""
    by_part: dict[str, list[int]] = {}
    for number, moment in enumerate(moments, start=1):
        by_part.setdefault(part(moment), []).append(number)
    assert set(by_part) == {*PARTS, "tracking"}
    for numbers in by_part.values():
        draws.shuffle(numbers)
    turns = [n for turn in itertools.zip_longest(*by_part.values()) for n in turn if n is not None]
    at = draws.sample(turns[:count], count)
    return [(moment, draws.uniform(0, LATER) if k % 3 == 0 else 0.0) for k, moment in enumerate(at)]


def keep(project) -> Path:
    kept = project.root.with_name(f"{project.root.name}_kept")
    shutil.copytree(project.root, kept, symlinks=True)
    return kept


def restore(project, kept: Path) -> None:
    for part in ("data", "mlruns"):
        shutil.rmtree(project / part, ignore_errors=True)
        if (kept / part).exists():
            shutil.copytree(kept / part, project / part)
    for file in project.root.glob("mlflow.db*"):
        file.unlink()
    shutil.copy(kept / "mlflow.db", project / "mlflow.db")


@pytest.mark.parametrize("which", [0, 1, 2], ids=["fresh", "over an older run", "in shards"])
def test_killed_anywhere(warm, which):
    project, draws = warm[which], random.Random(SEED + which)
    kept = keep(project)
    old = {name: digest for name, digest in project.data().items()} | {LEDGER: ledger(project)}
    moments = run(project)
    expected = products(project)
    assert len(expected) > 25
    known = {name: {old.get(name, ""), expected.get(name, "")} for name in {*old, *expected}}
    logger.info("%d moments: %s", len(moments), Counter(map(part, moments)))

    # A run after a kill has fewer moments where training resumes: some kills come too late.
    wanted, done = math.ceil(KILLS / 3), 0
    kills = chosen(moments, 2 * wanted, draws)
    for start in range(0, len(kills), CHAIN):
        if done >= wanted:
            break
        restore(project, kept)
        for at, delay in kills[start : start + CHAIN]:
            where = f"killed {delay:.3f} s after moment {at}: {moments[at - 1]}"
            logger.info("%s: %s", part(moments[at - 1]), where)
            done += kill(project, at, delay)
            check_whole(project, known)
        run(project)
        assert products(project) == expected, where
        assert left_over(project) == []
        with closing(sqlite3.connect(project / "mlflow.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert done >= wanted
