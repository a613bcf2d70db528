"""``kedro labels`` in a small foreign project."""

import gzip
import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from dvc.repo import Repo
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.project import configure_project
from kedro.framework.startup import bootstrap_project
from kedro.io import DatasetError

from labelrepair import decisions, ledger, review
from labelrepair.commands.labels import commands
from labelrepair.data.shards import row_hashes
from labelrepair.label_io import DecisionsDataset, LedgerDataset
from labelrepair.label_table import LabelSource, content_hashes, data_hash
from labelrepair.sealed import seal

NAMES = ["ant", "bee", "cat"]
FEATURES = np.arange(40 * 16, dtype=np.uint16).reshape(-1, 1, 4, 4) // 3 % 256
FEATURES = FEATURES.astype(np.uint8)
HASHES = content_hashes(FEATURES)
CATALOG = """
{prefix}class_names: {{type: json.JSONDataset, filepath: data/class_names.json}}
{prefix}label_table: {{type: pandas.ParquetDataset, filepath: data/label_table.parquet}}
{prefix}repaired_table:
  type: labelrepair.io.WholeFile
  filepath: data/repaired.parquet
  dataset: {{type: pandas.ParquetDataset, save_args: {{index: false}}}}
{prefix}input_format: {{type: json.JSONDataset, filepath: data/input_format.json}}
{prefix}features: {{type: labelrepair.io.ArrayDataset, filepath: data/features.npy}}
{prefix}human_decisions:
  {{type: labelrepair.label_io.DecisionsDataset, filepath: data/people.csv}}
{prefix}label_ledger:
  {{type: labelrepair.label_io.LedgerDataset, filepath: data/ledger.parquet}}
{prefix}label_changes:
  type: pandas.CSVDataset
  filepath: data/changes.csv
  save_args: {{index: false}}
"""


def repaired_table():
    """Return 40 rows: 0-9 relabelled, 10-14 in review, 15 dropped, 16-37 kept, 38-39 test."""
    count = 40
    rows = np.arange(count)
    given = rows % 3
    kinds = [rows < 10, rows < 15, rows < 16, rows < 38]
    action = np.select(kinds, ["relabel", "review", "drop", "keep"], "").astype(object)
    action[action == ""] = None
    other = (given + 1) % 3
    relabelled, kept, test = action == "relabel", action == "keep", rows >= 38
    label = pd.array(np.where(relabelled, other, given), dtype="Int64")
    label[~(relabelled | kept)] = pd.NA
    return pd.DataFrame(
        {
            "sample_id": pd.array([f"s/{row:02d}" for row in rows], dtype="str"),
            "given_label": given,
            "split": pd.array(np.where(test, "test", "train"), dtype="str"),
            "content_hash": pd.array(HASHES, dtype="str"),
            "label_quality": np.where(test, np.nan, 0.5 - rows / 100),
            "suggested_label": pd.array(np.where(rows < 16, other, given), dtype="Int64"),
            "confidence": np.where(test, np.nan, 0.9),
            "action": action.tolist(),
            "repaired_label": label,
            "label_source": [
                None if t else "model" if r else "given"
                for t, r in zip(test, relabelled, strict=True)
            ],
            "reason": [None if t else "because" for t in test],
        }
    )


class Host:
    """A foreign Kedro project with the products of a repair."""

    def __init__(self, root: Path, prefix: str = ""):
        self.root = root
        (root / "src/host").mkdir(parents=True)
        (root / "conf/base").mkdir(parents=True)
        (root / "conf/local").mkdir()
        (root / "src/host/__init__.py").touch()
        (root / "src/host/settings.py").touch()
        (root / "src/host/pipeline_registry.py").write_text(
            "def register_pipelines():\n    return {}\n"
        )
        (root / "conf/base/catalog.yml").write_text(CATALOG.format(prefix=prefix))
        tool = {"package_name": "host", "project_name": "host", "kedro_init_version": "1.7.0"}
        lines = "\n".join(f'{key} = "{value}"' for key, value in tool.items())
        (root / "pyproject.toml").write_text(f'[tool.kedro]\n{lines}\nsource_dir = "src"\n')
        self.data = root / "data"
        self.data.mkdir()
        table = repaired_table()
        (self.data / "class_names.json").write_text(json.dumps(NAMES))
        columns = ["sample_id", "given_label", "split", "content_hash"]
        table[columns].to_parquet(self.data / "label_table.parquet", index=False)
        table.to_parquet(self.data / "repaired.parquet", index=False)
        np.save(self.data / "features.npy", FEATURES)
        LedgerDataset(filepath=str(self.data / "ledger.parquet")).save(
            ledger.propose(table, "jocor")
        )

    def run(self, *arguments: str, fails: bool = False) -> str:
        metadata = bootstrap_project(self.root)
        done = CliRunner().invoke(commands, ["labels", *arguments], obj=metadata)
        assert (done.exit_code != 0) == fails, done.output
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    def table(self) -> pd.DataFrame:
        return pd.read_parquet(self.data / "repaired.parquet").set_index("sample_id")

    def ledger(self) -> pd.DataFrame:
        return pd.read_parquet(self.data / "ledger.parquet")

    def content(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in sorted(self.data.iterdir())}

    def fill(self, file: str, answers: dict[str, str], **columns: str) -> Path:
        sheet = pd.read_csv(self.root / file, dtype=str, keep_default_na=False)
        sheet["reviewed_label"] = sheet["sample_id"].map(answers).fillna("")
        sheet.assign(**columns).to_csv(self.root / file, index=False)
        return self.root / file


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    path, folder = list(sys.path), Path.cwd()
    os.chdir(tmp_path)
    yield Host(tmp_path)
    os.chdir(folder)
    sys.path[:] = path
    sys.modules.pop("host", None)
    sys.modules.pop("host.settings", None)
    configure_project("labelrepair")


def git(host, *arguments):
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run(["git", *who, *arguments], cwd=host.root, check=True, capture_output=True)


# -- versions ---------------------------------------------------------------------------------


def test_diff_shows_counts_flows_and_rows(host):
    shown = host.run("diff", "data/label_table.parquet", "--rows", "3", "-o", "out/patch.csv")

    assert "16 rows differ" in shown
    assert "10  another class" in shown
    assert "6  label withheld" in shown
    assert "s/00" in shown
    assert "and 13 more" in shown
    patch = pd.read_csv("out/patch.csv", dtype=str, keep_default_na=False)
    assert patch.iloc[0].tolist() == ["s/00", "ant", "bee", "keep", "relabel", "given", "model"]
    assert len(patch) == 16


def test_diff_with_the_given_labels_needs_no_commit(host):
    git(host, "init", "-q")
    Repo.init(str(host.root)).close()

    for revision in ([], ["HEAD"]):
        shown = host.run("diff", *revision, fails=True)
        assert "repaired.parquet at 'HEAD': not to be had" in shown
        assert shown.endswith("before any repair: kedro labels diff given\n")
    shown = host.run("diff", "given")
    assert "given -> workspace: 16 rows differ" in shown
    assert "10  another class" in shown
    assert "0 rows differ" in host.run("diff", "given", "data/label_table.parquet")
    assert '"given"' in host.run("diff", "--help")


def test_diff_takes_ids_as_they_are(host):
    ids = ["001", "NA", "None", "nan", "null", "x"]
    table = repaired_table().iloc[: len(ids)].assign(sample_id=sorted(ids))
    table.to_csv("before.csv", index=False, na_rep="NaN")
    table.to_parquet("after.parquet", index=False)

    assert "0 rows differ" in host.run("diff", "before.csv", "after.parquet")
    table.drop(columns="sample_id").to_csv("none.csv", index=False)
    assert "none.csv: missing column sample_id" in host.run("diff", "none.csv", fails=True)


def test_diff_reads_git_and_dvc_revisions(host):
    git(host, "init", "-q")
    Repo.init(str(host.root)).close()
    table = host.data / "repaired.parquet"
    git(host, "add", "-A")
    git(host, "commit", "-qm", "in git")
    git(host, "rm", "-q", "--cached", "data/repaired.parquet")
    with Repo(str(host.root)) as repo:
        changed = pd.read_parquet(table)
        changed.loc[20, ["action", "repaired_label"]] = ["drop", pd.NA]
        changed.to_parquet(table, index=False)
        repo.add(str(table))
    git(host, "add", "-A")
    git(host, "commit", "-qm", "in DVC")
    table.unlink()
    repaired_table().to_parquet(table, index=False)

    assert "0 rows differ" in host.run("diff", "HEAD~1")
    assert "1 rows differ" in host.run("diff", "HEAD")
    assert "s/20" in host.run("diff", "HEAD~1", "HEAD", "-o", "patch.parquet", "--flow", "flow.csv")
    assert pd.read_parquet("patch.parquet")["to_action"].tolist() == ["drop"]
    flow = pd.read_csv("flow.csv")
    assert flow.columns[0] == "from"
    assert flow.loc[2, "-"] == 1
    assert "'nowhere': not to be had from git or DVC" in host.run("diff", "nowhere", fails=True)


def test_blame_tells_the_history(host):
    host.run("revert", "--sample", "s/01", "--reviewer", "ada", "--note", "the bee is a bee")

    shown = host.run("blame", "s/01").splitlines()

    assert "s/01 (train)" in shown[0]
    words = [line.split() for line in shown[2:]]
    assert words[0] == ["bee", "given"]
    assert [w for w in words[1] if w in ("cat", "relabel", "model", "0.90", "jocor")] == [
        "cat", "relabel", "model", "0.90", "jocor"
    ]  # fmt: skip
    assert "bee" in words[2]
    assert shown[-1].rstrip().endswith("the bee is a bee")
    assert "did you mean 's/01'" in host.run("blame", "s/001", fails=True)


def test_blame_begins_at_the_label_that_was_given_then(host):
    host.run("revert", "--sample", "s/01", "--reviewer", "ada")
    for name in ("repaired", "label_table"):  # the source has another label, or another picture
        table = pd.read_parquet(host.data / f"{name}.parquet")
        table.loc[1, "given_label"], table.loc[3, "content_hash"] = 0, "new"
        table.to_parquet(host.data / f"{name}.parquet", index=False)

    def shown(sample):
        return [" ".join(line.split()) for line in host.run("blame", sample).splitlines()[2:]]

    history = shown("s/01")
    assert history[0] == "bee given"
    assert history[-1] == "ant given another given label in the source; no run has noted it yet"
    edited = shown("s/03")
    assert edited[0] == "ant given (of other content)"
    assert edited[1].endswith("jocor (of other content)")
    assert edited[-1] == "ant given"
    host.run("revert", "--sample", "s/05", "--reviewer", "ada")  # notes it, as any run does
    history = shown("s/01")
    assert "ant keep given source another given label in the source" in history[-2]
    assert "bee relabel human ada revert" in history[-1]


def test_blame_takes_an_event_from_before_for_one_of_the_content_there_is(host):
    book = pd.read_parquet(host.data / "ledger.parquet").drop(columns=list(ledger.LATER))
    book.to_parquet(host.data / "ledger.parquet", index=False)
    host.run("revert", "--sample", "s/01", "--reviewer", "ada")

    shown = [line.split() for line in host.run("blame", "s/01").splitlines()[2:]]

    labels = [[word for word in words if word in (*NAMES, *LabelSource)] for words in shown]
    assert labels == [["bee", "given"], ["cat", "model"], ["bee", "human"]]


@pytest.mark.parametrize("name", [":cat:", "[bold]", "[red]b[/red]", "[/]", ":x: [link=a]"])
def test_names_are_shown_as_they_are(host, name):
    (host.data / "class_names.json").write_text(json.dumps([f"{name}0", f"{name}1", name]))

    shown = host.run("diff", "given", "--rows", "20")
    assert shown.count(f" {name}0 ") > 2  # of the matrix and the rows
    assert f"{name}0 -> {name}1" in shown
    done = host.run("revert", "--sample", "s/00", "--reviewer", name, "--note", f"why {name}")
    assert f"{name}1 -> {name}0" in done
    history = host.run("blame", "s/00").splitlines()
    assert history[2].split("given")[0].strip() == f"{name}0"
    assert history[-1].count(name) == 3  # class, reviewer, note
    names = [f"{name}{row}" for row in range(15)]  # more classes are shown as flows
    (host.data / "class_names.json").write_text(json.dumps(names))
    assert f"{name}2" in host.run("diff", "given", "--rows", "0")


def test_a_ledger_of_another_clone_is_brought_in(host):
    git(host, "init", "-q", "-b", "main")
    git(host, "add", "-A")
    git(host, "commit", "-qm", "a repair")
    git(host, "switch", "-qc", "bobs")
    host.run("revert", "--sample", "s/00", "--sample", "s/01", "--reviewer", "bob")
    git(host, "add", "-A")
    git(host, "commit", "-qm", "Bob's")
    people, bobs = host.data / "people.csv", host.ledger()
    bobs_line = people.read_text().splitlines()[2]
    assert bobs_line.startswith("s/01")
    git(host, "switch", "-q", "main")
    host.run("revert", "--sample", "s/00", "--sample", "s/02", "--reviewer", "ann")
    anns = host.ledger()
    # Ann takes her side, and the line that only Bob has.
    people.write_text(people.read_text() + f"{bobs_line}\n")

    shown = host.run("merge-ledger", "bobs")

    assert "2 events of bobs appended to data/ledger.parquet" in shown
    assert "1 row changed" in shown
    both = host.ledger()
    pd.testing.assert_frame_equal(both.iloc[: len(anns)], anns)
    pairs = both.iloc[len(anns) :][["sample_id", "reviewer"]].to_numpy().tolist()
    assert pairs == [["s/00", "bob"], ["s/01", "bob"]]
    assert host.table().loc["s/01", "label_source"] == "human"
    before = host.content()
    bobs.to_parquet("bobs.parquet")
    assert "0 events of bobs.parquet appended" in host.run("merge-ledger", "bobs.parquet")
    assert host.content() == before
    bobs.assign(action="foo").to_parquet("bobs.parquet")
    assert "bobs.parquet: event 0" in host.run("merge-ledger", "bobs.parquet", fails=True)


def test_the_labels_in_force_are_those_of_the_decisions_whatever_a_ledger_says(host):
    host.run("diff", "workspace", "given", "-o", "patch.csv")
    patch = pd.read_csv("patch.csv", dtype=str, keep_default_na=False)
    theirs = patch[patch["sample_id"] == "s/00"].assign(to_label="cat", to_action="relabel")
    theirs.to_csv("patch.csv", index=False)
    before = {file: file.read_bytes() for file in host.data.iterdir()}
    host.run("apply", "patch.csv", "--reviewer", "bob")
    host.ledger().to_parquet("bobs.parquet")
    for file, content in before.items():
        file.write_bytes(content)
    host.run("revert", "--sample", "s/00", "--reviewer", "ann")

    assert "1 event of bobs.parquet" in host.run("merge-ledger", "bobs.parquet")

    events = ledger.blame(host.ledger(), "s/00")
    assert events["reviewer"].tolist() == ["", "ann", "bob", "ann"]
    assert events["to_label"].tolist() == [1, 0, 2, 0]
    assert host.table().loc["s/00", "repaired_label"] == 0


def test_rows_of_the_model_go_back_to_what_the_run_here_made_of_them(host):
    host.run("revert", "--sample", "s/20", "--reviewer", "ada")
    own = repaired_table()
    theirs = own.copy()
    for row, label in ((0, 2), (16, 2)):  # another relabel, and one of a label that is kept here
        theirs.loc[row, ["action", "label_source", "repaired_label"]] = ["relabel", "model", label]
    book = ledger.append(host.ledger(), theirs, ledger.propose(theirs, "crust"), run_id="theirs")
    book.to_parquet("theirs.parquet")

    assert "2 events of" in host.run("merge-ledger", "theirs.parquet")

    assert host.ledger().iloc[-4:][["sample_id", "source", "method"]].to_numpy().tolist() == [
        ["s/00", "model", "crust"],
        ["s/16", "model", "crust"],
        ["s/00", "model", "jocor"],
        ["s/16", "given", "jocor"],
    ]


@pytest.mark.parametrize("what", ["sample_id", "content_hash"])
def test_a_ledger_of_other_data_is_not_taken_in(host, what):
    other = repaired_table()
    other[what] = "x" + other[what]
    book = ledger.append(ledger.empty(), other, ledger.propose(other, "jocor"), run_id="other")
    book.to_parquet("other.parquet")
    before = host.content()

    told = host.run("merge-ledger", "other.parquet", fails=True)

    assert "other.parquet: none of its 16 events is in data/ledger.parquet or about a" in told
    assert f"the first is about '{other['sample_id'][0]}'; expected the ledger of another" in told
    assert host.content() == before
    # One event in common, though about a sample that has gone since, shows that it is of this data.
    both = pd.concat([host.ledger(), book], ignore_index=True)
    both.to_parquet(host.data / "ledger.parquet", index=False)
    assert "0 events" in host.run("merge-ledger", "other.parquet")


def test_a_merge_of_ledgers_that_fails_leaves_the_ledger_as_it_was(host):
    book = host.ledger()
    host.run("revert", "--sample", "s/00", "--reviewer", "bob")
    host.ledger().to_parquet("bobs.parquet")
    book.to_parquet(host.data / "ledger.parquet", index=False)
    people = host.data / "people.csv"
    people.write_text(people.read_text() + "<<<<<<< HEAD,,,,,,,\n")
    before = host.content()

    told = host.run("merge-ledger", "bobs.parquet", fails=True)

    assert "people.csv: line 3, sample '<<<<<<< HEAD'" in told
    assert host.content() == before


def test_a_revision_that_is_none_is_told_what_a_ledger_may_be_taken_from(host):
    git(host, "init", "-q")
    Repo.init(str(host.root)).close()
    told = host.run("merge-ledger", "workspace", fails=True)
    assert "ledger.parquet at 'workspace': not to be had from git or DVC" in told
    assert "expected a Parquet file, a git revision or a DVC experiment" in told


def test_what_the_repaired_table_notes_stays(host):
    table = pd.read_parquet(host.data / "repaired.parquet")
    table.attrs = {"sealed": {"label_table": "abc"}}
    table.to_parquet(host.data / "repaired.parquet", index=False)
    host.run("revert", "--sample", "s/01", "--reviewer", "ada")
    after = pd.read_parquet(host.data / "repaired.parquet")
    assert after["label_source"].eq("human").sum() == 1
    assert after.attrs == table.attrs


def test_revert_appends_and_holds(host):
    before = host.ledger()
    run = before["run_id"].iloc[0]

    assert "16 rows would change" in host.run("revert", "--run", run[:8], "--dry-run")
    assert len(host.ledger()) == len(before)
    host.run("revert", "--run", run, "--class", "cat", "--reviewer", "ada")

    table, after = host.table(), host.ledger()
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
    new = after.iloc[len(before) :]
    assert set(new["method"]) == {"revert"}
    assert set(new["source"]) == {"human"}
    # Changed to cat (s/01, s/04, s/07) or given it (every third row from s/02 on).
    expected = [f"s/{row:02d}" for row in range(16) if row % 3 == 2 or (row < 10 and row % 3 == 1)]
    assert new["sample_id"].tolist() == expected
    assert (table.loc[expected, "repaired_label"] == table.loc[expected, "given_label"]).all()
    # A later run of the repair pipeline comes to the same labels.
    raw = decisions.read_csv(host.data / "people.csv")
    decided = decisions.from_file(raw, NAMES, "people.csv")
    again = decisions.apply(repaired_table(), decided, 3).set_index("sample_id")
    pd.testing.assert_frame_equal(again, table)
    assert "say what to revert" in host.run("revert", fails=True)
    assert "its runs" in host.run("revert", "--run", "x", fails=True)
    shown = host.run("revert", "--class", "cta", "--dry-run", fails=True)
    assert shown.endswith(
        "--class: 'cta' is no class; did you mean 'cat'? (valid: ant, bee, cat)\n"
    )


def test_what_to_run_next_goes_on_with_the_same_parameters(host):
    options = ["--env", "base", "--params", "workspace=elsewhere,seed=1"]
    shown = host.run(*options, "revert", "--sample", "s/00", "--reviewer", "ada")
    ends = "--pipelines repair,evaluation,report --env base --params workspace=elsewhere,seed=1\n"
    assert shown.endswith(f"up to date:\n  kedro run {ends}")
    shown = host.run("revert", "--sample", "s/01", "--reviewer", "ada")
    assert "dvc repro, or\n  kedro run --pipelines repair,evaluation,report\n" in shown


def test_a_class_that_joins_or_leaves_moves_no_label(host):
    host.run("revert", "--sample", "s/00", "--reviewer", "ada")  # names the class list
    for name in ("repaired", "label_table"):
        table = pd.read_parquet(host.data / f"{name}.parquet")
        for column in {"given_label", "suggested_label", "repaired_label"} & set(table):
            table[column] += 1
        table.to_parquet(host.data / f"{name}.parquet", index=False)
    (host.data / "class_names.json").write_text(json.dumps(["aaa", *NAMES]))

    assert "cat" in host.run("blame", "s/01")
    host.run("revert", "--sample", "s/11")
    people = decisions.read_csv(host.data / "people.csv").set_index("sample_id")
    assert people.loc["s/11", "label"] == "cat"  # as it was given


def shift_classes(host, *names):
    """Let the ingestion find a class that comes before all others."""
    (host.data / "class_names.json").write_text(json.dumps(["aaa", *NAMES]))
    for name in names:
        file = host.data / f"{name}.parquet"
        table = pd.read_parquet(file)
        for column in {"given_label", "suggested_label", "repaired_label"} & set(table):
            table[column] += 1
        table.to_parquet(file, index=False)


@pytest.mark.parametrize(
    "command",
    [
        ["revert", "--sample", "s/00"],
        ["import", "review.csv"],
        ["apply", "patch.csv"],
        ["export", "-o", "new.csv"],
        ["diff", "given"],
        ["blame", "s/00"],
        ["audit", "draw", "-o", "new.csv"],
        ["audit", "evaluate"],
    ],
)
def test_no_label_is_read_with_the_class_names_of_a_later_ingestion(host, command):
    host.run("export", "-o", "review.csv")
    host.fill("review.csv", {"s/14": "cat"})
    host.run("diff", "workspace", "given", "-o", "patch.csv")
    shift_classes(host, "label_table")
    before = host.content()

    shown = host.run(*command, fails=True)

    assert "label_table.parquet: sample 's/00' has another given label now (40 such rows)" in shown
    assert "the pipelines have not run since; run them" in shown
    assert host.content() == before
    assert not Path("new.csv").exists()


def test_a_revision_is_read_with_its_own_class_names(host):
    git(host, "init", "-q")
    git(host, "add", "-A")
    git(host, "commit", "-qm", "with names")
    git(host, "rm", "-q", "--cached", "data/class_names.json")
    git(host, "commit", "-qm", "without names")
    assert "0 rows differ" in host.run("diff", "HEAD")  # the same given labels: the same classes
    shift_classes(host, "label_table", "repaired")

    assert "0 rows differ" in host.run("diff", "HEAD~1")
    host.run("diff", "HEAD~1", "given", "-o", "patch.csv")
    patch = pd.read_csv("patch.csv", dtype=str, keep_default_na=False)
    assert patch.iloc[0].tolist() == ["s/00", "bee", "ant", "relabel", "keep", "model", "given"]
    shown = host.run("diff", "HEAD", fails=True)
    assert "'HEAD': its class numbers cannot be read without its class names" in shown
    (host.data / "class_names.json").write_text(json.dumps(["aaa", "ant", "bee", "dog"]))
    shown = host.run("diff", "HEAD~1", fails=True)
    assert (
        "repaired.parquet at 'HEAD~1': row 2, sample 's/02': given_label 'cat' is a class that the "
        "class list no longer has (13 such rows)"
    ) in shown


def test_a_label_of_other_content_does_not_come_back(host, clock):
    run = host.ledger()["run_id"].iloc[0]
    for name in ("repaired", "label_table"):  # another picture under the id, given as a cat
        file = host.data / f"{name}.parquet"
        table = pd.read_parquet(file)
        table.loc[0, ["given_label", "content_hash"]] = [2, "new"]
        if name == "repaired":
            table.loc[0, ["action", "repaired_label", "suggested_label"]] = ["drop", pd.NA, 2]
        table.to_parquet(file, index=False)
    clock(3)
    table = pd.read_parquet(host.data / "repaired.parquet")
    LedgerDataset(filepath=str(host.data / "ledger.parquet")).save(ledger.propose(table, "jocor"))
    assert host.ledger()["sample_id"].tolist()[16:] == ["s/00"]
    before = host.content()

    shown = host.run("blame", "s/00")
    assert shown.count("(of other content)") == 2  # the label given then, and the event
    shown = host.run("revert", "--run", run, "--sample", "s/00", fails=True)
    assert "sample 's/00': has other content now than when its label was changed" in shown
    assert host.content() == before
    shown = host.run("revert", "--run", run, "--reviewer", "ada")
    assert "15 rows changed" in shown
    assert "1 left out, changed when they had other content than now: s/00" in shown
    host.run("revert", "--sample", "s/00", "--reviewer", "ada")
    assert host.table().loc["s/00", ["action", "repaired_label"]].tolist() == ["keep", 2]


def test_no_label_goes_back_to_a_class_that_is_gone(host, clock):
    clock(2)
    host.run("revert", "--sample", "s/03", "--reviewer", "ada")  # ant; names the class list
    (host.data / "class_names.json").write_text(json.dumps(["ant", "dog", "cat"]))  # no bees
    clock(3)
    table = pd.read_parquet(host.data / "repaired.parquet")
    table.loc[0, ["action", "repaired_label", "label_source"]] = ["drop", pd.NA, "given"]
    proposed = ledger.propose(table, "jocor", class_names=["ant", "dog", "cat"])
    LedgerDataset(filepath=str(host.data / "ledger.parquet")).save(proposed)
    before = host.content()

    shown = host.run("revert", "--run", "run-2026-01-03", "--sample", "s/00", fails=True)

    assert "sample 's/00': its label was 'bee', which the class list no longer has" in shown
    assert host.content() == before
    assert "bee" in host.run("blame", "s/00")
    assert "1 row changed" in host.run("revert", "--sample", "s/00")  # all of it: ant, as given


def test_a_condition_that_meets_nothing_is_no_missing_condition(host):
    run = host.ledger()["run_id"].iloc[0]
    before = host.content()
    Path("none.csv").write_text("sample_id,why\n")
    Path("other.csv").write_text("id\ns/01\n")
    Path("some.csv").write_text("sample_id,why\ns/01,\n")

    shown = host.run("revert", "--run", run, "--samples-from", "none.csv", fails=True)
    assert "none.csv: holds no sample" in shown
    shown = host.run("revert", "--samples-from", "other.csv", fails=True)
    assert "other.csv: missing column sample_id; found id" in shown
    shown = host.run("revert", "--run", run, "--class", "", fails=True)
    assert "--class: '' is no class; expected one of ant, bee, cat" in shown
    assert host.content() == before
    assert "1 row changed" in host.run("revert", "--run", run, "--samples-from", "some.csv")


def test_apply_takes_a_reviewed_patch(host):
    host.run("diff", "workspace", "data/label_table.parquet", "-o", "patch.csv")
    patch = pd.read_csv("patch.csv", dtype=str, keep_default_na=False)
    patch.iloc[[0, 15]].assign(to_label=["cat", "cat"]).to_csv("patch.csv", index=False)

    host.run("apply", "patch.csv", "--reviewer", "ada")

    table = host.table()
    assert table.loc["s/00", ["action", "repaired_label", "label_source"]].tolist() == [
        "relabel", 2, "human"
    ]  # fmt: skip
    assert table.loc["s/15", "repaired_label"] == 2
    changes = (host.data / "changes.csv").read_text().splitlines()
    assert changes[1] == "s/00,ant,cat,relabel,human,"
    # The labels are others now: the same patch does not fit twice, and nothing is written.
    before = host.content()
    shown = host.run("apply", "patch.csv", fails=True)
    assert "patch.csv: line 2: sample_id 's/00' is no longer as the patch expects" in shown
    assert host.content() == before
    host.run("diff", "given", "-o", "backwards.csv")
    shown = host.run("apply", "backwards.csv", fails=True)
    assert "from the labels in force: kedro labels diff workspace REV --output FILE" in shown


# -- review -----------------------------------------------------------------------------------


def test_csv_out_and_back(host):
    assert "5 rows" in host.run("export", "-o", "review.csv")
    sheet = pd.read_csv("review.csv", dtype=str, keep_default_na=False)
    assert sheet["sample_id"].tolist() == [
        f"s/{row}" for row in (14, 13, 12, 11, 10)
    ]  # worst first
    assert set(sheet["data_hash"]) == {data_hash(repaired_table())}
    answers = {"s/14": "bee", "s/13": "bee", "s/12": "(no class fits)", "s/11": "ant"}
    host.fill("review.csv", answers, reviewer="ada")

    shown = host.run("import", "review.csv")

    assert "4 samples decided, 1 without an answer" in shown
    table = host.table()
    found = table.loc[["s/11", "s/12", "s/13", "s/14"], ["action", "repaired_label"]]
    assert found.fillna(-1).to_numpy().tolist() == [
        ["relabel", 0], ["drop", -1], ["keep", 1], ["relabel", 1]
    ]  # fmt: skip
    assert (table["label_source"] == "human").sum() == 4
    before = host.content()
    assert "0 rows changed" in host.run("import", "review.csv")
    assert host.content() == before
    assert "1 rows" in host.run("export", "-o", "rest.csv")


@pytest.fixture
def clock(monkeypatch):
    """Let a day pass between commands: calling the fixture's value sets the day."""

    def day(number):
        monkeypatch.setattr(ledger, "utc_now", lambda: f"2026-01-{number:02d}T10:00:00Z")

    return day


def test_a_file_imported_again_does_not_undo_what_was_decided_since(host, clock):
    clock(1)
    host.run("export", "-o", "review.csv")
    clock(2)
    host.fill("review.csv", {"s/14": "bee", "s/13": "ant"}, reviewer="ann")
    host.run("import", "review.csv")
    clock(3)
    host.run("revert", "--sample", "s/14", "--reviewer", "bob")
    bob = host.table().loc["s/14"]
    clock(4)
    host.fill("review.csv", {"s/14": "bee", "s/13": "ant", "s/12": "cat"}, reviewer="ann")

    shown = host.run("import", "review.csv")

    pd.testing.assert_series_equal(host.table().loc["s/14"], bob)
    assert host.table().loc["s/12", "repaired_label"] == 2
    assert "1 left out, somebody has decided otherwise since: s/14" in shown
    assert "2 samples decided" in shown
    # What Ann says of it in a file written since, or asks for, is a new decision.
    host.run("export", "-o", "second.csv")
    host.fill("second.csv", {"s/14": "cat"}, reviewer="ann")
    host.run("import", "second.csv")
    assert host.table().loc["s/14", "repaired_label"] == 2
    clock(5)
    assert "left out" not in host.run("import", "review.csv", "--overrule")
    assert host.table().loc["s/14", "repaired_label"] == 1


def test_what_was_decided_before_stays_its_authors(host, clock):
    clock(1)
    host.run("export", "-o", "review.csv")
    host.fill("review.csv", {"s/14": "bee", "s/13": "ant"})
    clock(2)
    assert "decided so before" not in host.run("import", "review.csv", "--reviewer", "ann")
    before = host.content()
    clock(3)

    shown = host.run("import", "review.csv", "--reviewer", "carol")

    assert "0 rows changed" in shown
    assert "2 had been decided so before: by whom and when stays as it was" in shown
    assert "written" not in shown
    assert host.content() == before
    # A note that its author adds is kept, and the file that holds it named.
    host.fill("review.csv", {"s/14": "bee", "s/13": "ant"}, note="with wings")
    shown = host.run("import", "review.csv", "--reviewer", "ann")
    assert "written: data/people.csv (commit it)" in shown
    assert "ledger" not in shown
    people = decisions.read_csv(host.data / "people.csv")
    assert set(people["note"]) == {"with wings"}
    assert set(people["decided_at"]) == {"2026-01-02T10:00:00Z"}


def test_an_overruled_answer_stays_in_its_audit(host, clock):
    def evaluated():
        return host.run("audit", "evaluate").splitlines()[1]

    clock(1)
    host.run("audit", "draw", "--count", "5", "-o", "audit.csv")
    sample = pd.read_csv("audit.csv", dtype=str)["sample_id"].iloc[0]
    labels = repaired_table().set_index("sample_id")["repaired_label"]
    right, wrong = NAMES[labels[sample]], NAMES[(labels[sample] + 1) % 3]
    host.run("audit", "draw", "--count", "5", "-o", "again.csv")
    clock(2)
    host.fill("audit.csv", {sample: right})
    host.run("import", "audit.csv")
    assert "0 wrong of 1 audited" in evaluated()
    host.fill("audit.csv", {sample: wrong}, batch="queue")  # somebody else says otherwise
    clock(3)
    host.run("import", "audit.csv")
    host.fill("again.csv", {sample: right})
    assert f"1 left out, somebody has decided otherwise since: {sample}" in (
        host.run("import", "again.csv")
    )
    assert "1 wrong of 1 audited" in evaluated()
    # As does one that is only known from a file which comes too late.
    people = host.data / "people.csv"
    name = pd.read_csv("again.csv")["batch"].iloc[0]
    people.write_text(people.read_text().replace(f"queue {name}", "queue"))
    assert "no audit" in host.run("audit", "evaluate")
    assert "written: data/people.csv" in host.run("import", "again.csv")
    assert f"queue {name}" in people.read_text()
    # A reverted one does not.
    host.run("revert", "--sample", sample)
    host.run("import", "again.csv")
    assert "no audit" in host.run("audit", "evaluate")


def test_an_answer_may_be_corrected_in_its_file_and_given_again_in_a_new_one(host, clock):
    clock(1)
    host.run("export", "-o", "review.csv")
    clock(2)
    host.fill("review.csv", {"s/14": "bee"}, reviewer="ann")
    host.run("import", "review.csv")
    clock(3)
    host.fill("review.csv", {"s/14": "cat"}, reviewer="ann")
    assert "left out" not in host.run("import", "review.csv")
    assert host.table().loc["s/14", "repaired_label"] == 2
    clock(4)
    host.run("revert", "--sample", "s/14")
    clock(5)
    host.run("export", "-o", "second.csv")
    clock(6)
    host.fill("second.csv", {"s/14": "cat"}, reviewer="ann")
    assert "left out" not in host.run("import", "second.csv")
    assert host.table().loc["s/14", "repaired_label"] == 2


def test_what_a_person_asks_for_holds_whatever_the_clocks_say(host, clock):
    clock(1)
    host.run("export", "-o", "review.csv")
    host.fill("review.csv", {"s/14": "bee"}, reviewer="ann")
    clock(20)  # ahead
    host.run("import", "review.csv")
    clock(2)

    assert "1 row changed" in host.run("revert", "--sample", "s/14", "--reviewer", "bob")
    assert host.table().loc["s/14", "repaired_label"] == 2
    host.run("diff", "workspace", "given", "-o", "patch.csv")
    patch = pd.read_csv("patch.csv", dtype=str, keep_default_na=False)
    patch[patch["sample_id"] == "s/00"].assign(sample_id="s/14", from_label="cat", to_label="ant",
        from_action="keep", to_action="relabel", from_source="human").to_csv(
        "patch.csv", index=False
    )  # fmt: skip
    assert "1 row changed" in host.run("apply", "patch.csv", "--reviewer", "bob")
    assert host.table().loc["s/14", "repaired_label"] == 0
    assert "1 left out" in host.run("import", "review.csv")
    assert "left out" not in host.run("import", "review.csv", "--overrule")
    assert host.table().loc["s/14", "repaired_label"] == 1
    people = decisions.read_csv(host.data / "people.csv")
    assert people["decided_at"].tolist() == ["2026-01-20T10:00:03Z"]


def test_lines_of_several_kinds_in_a_note_leave_the_file_readable(host):
    note = "one\rtwo\r\nthree"
    host.run("revert", "--sample", "s/00", "--reviewer", "ada", "--note", note)

    host.run("revert", "--sample", "s/01", "--reviewer", "ada")

    people = decisions.read_csv(host.data / "people.csv")
    assert people["sample_id"].tolist() == ["s/00", "s/01"]
    assert people["note"].tolist()[0] == "one\ntwo\nthree"


def test_a_line_that_no_longer_fits_is_named_by_its_own_number(host):
    host.run("revert", "--sample", "s/05", "--reviewer", "ada")
    people = host.data / "people.csv"
    people.write_text(people.read_text().replace(f",{HASHES[5]}", ",old"))
    before = host.content()

    shown = host.run("revert", "--sample", "s/00", "--sample", "s/01", fails=True)

    assert "people.csv: line 2: sample_id 's/05' has other content than when it was" in shown
    assert host.content() == before
    host.run("diff", "workspace", "given", "-o", "patch.csv")
    patch = pd.read_csv("patch.csv", dtype=str, keep_default_na=False)
    patch[patch["sample_id"] == "s/05"].assign(to_label="bee", to_action="relabel").to_csv(
        "patch.csv", index=False
    )
    assert "1 row changed" in host.run("apply", "patch.csv")  # decided again


@pytest.mark.parametrize("written", [None, "", "1/2/2027 10:00"])
def test_a_file_without_the_time_of_its_export_undoes_nothing_either(host, clock, written):
    clock(1)
    host.run("export", "-o", "review.csv")
    file = host.fill("review.csv", {"s/14": "bee"}, exported_at=str(written))
    if written is None:  # as files were before
        pd.read_csv(file, dtype=str, keep_default_na=False).drop(columns="exported_at").to_csv(
            file, index=False
        )
    clock(2)
    host.run("import", "review.csv")
    clock(3)
    host.run("revert", "--sample", "s/14", "--reviewer", "bob")
    before = host.content()

    assert "1 left out" in host.run("import", "review.csv")
    assert host.content() == before


def test_label_studio_out_and_back(host):
    host.run("export", "--format", "label-studio", "-o", "ls/tasks.json", "--images", "ls/img",
             "--image-url", "/data/local-files/?d=img/{name}")  # fmt: skip
    tasks = json.loads(Path("ls/tasks.json").read_text())
    # A server decodes the address and finds the file: no '%' in its name, though one in its id.
    (name,) = parse_qs(urlsplit(tasks[0]["data"]["image"]).query)["d"]
    assert name.startswith("img/s_2F14-")
    assert Path("ls", name).is_file()
    assert len(list(Path("ls/img").iterdir())) == len(tasks)
    assert tasks[0]["predictions"][0]["model_version"] == "labelrepair"
    assert tasks[0]["predictions"][0]["score"] == tasks[0]["data"]["label_quality"] == 0.36
    assert '<Choice value="cat"/>' in Path("ls/label_config.xml").read_text()
    says = {0: ["cat"], 1: ["ant", "ant"], 2: ["ant", "bee"], 3: []}
    for number, choices in says.items():
        tasks[number]["annotations"] = [
            {
                "completed_by": {"id": row, "email": f"{'ab'[row]}@example.org"},
                "was_cancelled": False,
                "updated_at": "2026-01-02T03:04:05.678901Z",
                "result": [{"from_name": "label", "type": "choices", "value": {"choices": [c]}}],
            }
            for row, c in enumerate(choices)
        ]
    tasks[3]["annotations"] = [{"was_cancelled": True, "result": [], "completed_by": 1}]
    Path("answers.json").write_text(json.dumps(tasks))

    shown = host.run("import", "answers.json")

    assert "2 samples decided, 2 without an answer" in shown
    assert "1 stay in review, reviewers disagree: s/12" in shown
    table = host.table()
    assert table.loc[["s/14", "s/13"], "repaired_label"].tolist() == [2, 0]
    assert table.loc["s/12", ["action", "label_source"]].tolist() == ["review", "human"]
    event = ledger.blame(host.ledger(), "s/12").iloc[-1]
    assert event["note"] == "reviewers disagree: ant (a@example.org), bee (b@example.org)"
    assert event["decided_at"] == "2026-01-02T03:04:05Z"
    # By their own times, older answers are older; they are named like those of a CSV.
    host.run("revert", "--sample", "s/13")
    reverted = host.content()
    assert "1 left out, somebody has decided otherwise since: s/13" in (
        host.run("import", "answers.json")
    )
    assert host.content() == reverted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace({"sample_id": {"s/14": "s/99"}}), "'s/14' is no longer in it"),
        (
            lambda t: t.replace({"content_hash": {HASHES[14]: "new"}}),
            "'s/14' has other content now",
        ),
        (lambda t: t.iloc[:-1], "'s/39' is no longer in it"),
    ],
)
def test_no_picture_of_another_sample_is_shown(host, change, message):
    file = host.data / "label_table.parquet"
    change(pd.read_parquet(file)).to_parquet(file, index=False)

    shown = host.run("export", "-o", "review.csv", "--images", "img", fails=True)

    assert f"label_table.parquet: sample {message}" in shown
    assert not Path("img").exists()
    assert not Path("review.csv").exists()


def test_no_picture_of_other_features_is_shown(host):
    np.save(host.data / "features.npy", np.zeros((39, 1, 4, 4), np.uint8))

    shown = host.run("export", "-o", "review.csv", "--images", "img", fails=True)

    assert "features.npy: 39 samples for 40 rows; the pipelines have not run since" in shown
    assert not Path("img").exists()
    # As many, of an ingestion that was stopped before it wrote its table.
    np.save(host.data / "features.npy", FEATURES[::-1])

    shown = host.run("export", "-o", "review.csv", "--images", "img", fails=True)

    assert "features.npy: row 14 is not sample 's/14' (content hash" in shown
    assert not Path("img").exists()
    assert not Path("review.csv").exists()


@pytest.fixture
def texts(host):
    """The host, of texts of two words; the vocabulary lacks every third."""
    vocabulary = ["<padding>", "<start>", "<unknown>", "good", *(f"word{row}" for row in range(40))]
    form = {"kind": "tokens", "vocabulary": vocabulary}
    (host.data / "input_format.json").write_text(json.dumps(form))
    tokens = [[0, 1, 3, 2 if row % 3 == 0 else row + 4] for row in range(40)]
    features = np.array(tokens, np.int32)
    np.save(host.data / "features.npy", features)
    hashes = [f"text:{value}" for value in HASHES]
    for name in ("label_table", "repaired"):
        table = pd.read_parquet(host.data / f"{name}.parquet").assign(content_hash=hashes)
        table.attrs = seal(input_format=form, features=row_hashes(features))
        table.to_parquet(host.data / f"{name}.parquet", index=False)
    return host


def test_reviewers_read_the_texts_that_they_are_asked_about(texts):
    texts.run("export", "-o", "review.csv")
    sheet = pd.read_csv("review.csv", dtype=str, keep_default_na=False).set_index("sample_id")
    assert sheet.columns[:2].tolist() == ["uri", "text"]
    assert sheet["text"].to_dict() == {
        "s/14": "good word14", "s/13": "good word13", "s/12": "good …", "s/11": "good word11",
        "s/10": "good word10",
    }  # fmt: skip
    texts.fill("review.csv", {"s/14": "bee"}, reviewer="ada")
    assert "1 samples decided" in texts.run("import", "review.csv")

    texts.run("export", "--format", "label-studio", "-o", "tasks.json")
    tasks = json.loads(Path("tasks.json").read_text())
    assert [task["data"]["text"] for task in tasks[:2]] == ["good word13", "good …"]

    texts.run("audit", "draw", "--count", "3", "-o", "audit.csv")
    drawn = pd.read_csv("audit.csv", dtype=str, keep_default_na=False)
    assert drawn["text"].str.startswith("good ").all()
    assert "audited" in drawn.columns


def test_no_words_of_another_vocabulary_are_shown(texts):
    ingested = pd.read_parquet(texts.data / "label_table.parquet")
    ingested.attrs = seal(input_format={"vocabulary": ["other"]})
    ingested.to_parquet(texts.data / "label_table.parquet", index=False)

    shown = texts.run("export", "-o", "review.csv", fails=True)

    assert "input_format: not what the same run wrote beside the label table" in shown
    assert not Path("review.csv").exists()


def test_no_words_of_other_samples_are_shown(texts):
    """Of an ingestion that was stopped: as many, of the same vocabulary, in another order."""
    features = np.load(texts.data / "features.npy")
    np.save(texts.data / "features.npy", features[::-1])

    shown = texts.run("export", "-o", "review.csv", fails=True)

    assert "features: not what the same run wrote beside the label table" in shown
    assert not Path("review.csv").exists()


def test_fiftyone_out(host):
    host.run("export", "--format", "fiftyone", "-o", "labels.json", "--limit", "2")

    content = json.loads(Path("labels.json").read_text())

    assert content["classes"] == NAMES
    for label in content["labels"].values():  # as FiftyOne's importer takes it apart
        assert content["classes"][label["label"]] in NAMES
        assert isinstance(label["attributes"]["mistakenness"], float)
    assert list(content["labels"]) == ["s/14", "s/13"]
    assert content["labels"]["s/14"]["label"] == 14 % 3
    assert content["labels"]["s/14"]["attributes"]["mistakenness"] == 0.64

    # With images, keys are the files of data/ without their ending: a key without one is an error.
    host.run("export", "--format", "fiftyone", "-o", "out/labels.json", "--images", "out/data")
    keys = set(json.loads(Path("out/labels.json").read_text())["labels"])
    assert keys == {file.stem for file in Path("out/data").iterdir()}


@pytest.mark.parametrize("command", [["export"], ["audit", "draw", "--count", "3"]])
def test_a_file_with_answers_is_not_replaced(host, command):
    host.run(*command, "-o", "review.csv")
    host.run(*command, "-o", "review.csv")  # nobody has answered
    sample = pd.read_csv("review.csv", dtype=str)["sample_id"].iloc[0]
    filled = host.fill("review.csv", {sample: "ant"}).read_bytes()

    shown = host.run(*command, "-o", "review.csv", "--images", "img", fails=True)

    assert "review.csv: holds 1 answers; import it first, name another file" in shown
    assert Path("review.csv").read_bytes() == filled
    assert not Path("img").exists()
    host.run(*command, "-o", "review.csv", "--force")
    assert pd.read_csv("review.csv", keep_default_na=False)["reviewed_label"].eq("").all()


@pytest.mark.parametrize("note", ["", "a bee, not an ant"])
def test_semicolons_are_named(host, note):
    host.run("export", "-o", "review.csv")
    text = host.fill("review.csv", {"s/14": "ant"}).read_text().replace(",", ";")
    Path("review.csv").write_text(text + note)
    Path("ids.csv").write_text("sample_id;why\ns/01;\n")
    before = host.content()

    expected = "the file looks separated by ';', expected commas: sample_id,"
    assert f"review.csv: {expected}uri," in host.run("import", "review.csv", fails=True)
    assert f"review.csv: {expected}uri," in host.run("apply", "review.csv", fails=True)
    shown = host.run("revert", "--samples-from", "ids.csv", fails=True)
    assert f"ids.csv: {expected}why" in shown
    assert host.content() == before


def test_a_file_that_may_hold_answers_is_not_replaced(host):
    host.run("export", "-o", "review.csv")
    text = host.fill("review.csv", {"s/14": "ant"}).read_text()
    Path("review.csv").write_text(text.replace(",", ";"))  # a spreadsheet's CSV
    assert "is no review file (review.csv: the file looks separated by ';'" in host.run(
        "export", "-o", "review.csv", fails=True
    )
    studio = ("export", "--format", "label-studio", "-o", "tasks.json")
    host.run(*studio)
    host.run(*studio)
    tasks = json.loads(Path("tasks.json").read_text())
    choice = {"from_name": "label", "type": "choices", "value": {"choices": ["ant"]}}
    tasks[0]["annotations"] = [{"completed_by": 1, "result": [choice]}]
    Path("tasks.json").write_text(json.dumps(tasks))
    assert "tasks.json: holds 1 answers" in host.run(*studio, fails=True)
    Path("tasks.json").write_text("[{")
    assert "tasks.json: exists, and is no review file" in host.run(*studio, fails=True)
    Path("tasks.json").write_text("")
    host.run(*studio)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_hash": "0" * 32}, "line 2, sample 's/14': data_hash '0+' is not that of the label"),
        ({"reviewed_label": "cta"}, "line 2, sample 's/14': reviewed_label 'cta' is no class; did"),
        ({"sample_id": "s/99"}, "line 2: sample_id 's/99' is not in the label table"),
        ({"sample_id": "s/39"}, "line 2: sample_id 's/39' belongs to the test split"),
    ],
)
def test_wrong_files_are_refused_whole(host, changes, message):
    host.run("export", "-o", "review.csv")
    file = host.fill("review.csv", {f"s/{row}": "ant" for row in range(10, 15)})
    sheet = pd.read_csv(file, dtype=str, keep_default_na=False)
    for name, value in changes.items():
        sheet.loc[0, name] = value
    sheet.to_csv(file, index=False)
    before = host.content()

    shown = host.run("import", "review.csv", fails=True)

    assert pd.Series([shown]).str.contains(f"review.csv: {message}").item(), shown
    assert host.content() == before


def call(host, ids, names=NAMES):
    """Give samples other ids, and the classes other names."""
    for name in ("repaired", "label_table"):
        table = pd.read_parquet(host.data / f"{name}.parquet")
        table = table.replace({"sample_id": ids}).sort_values("sample_id", ignore_index=True)
        table.to_parquet(host.data / f"{name}.parquet", index=False)
    (host.data / "class_names.json").write_text(json.dumps(names))


@pytest.mark.parametrize(
    ("own", "written"),
    [("00012", "12"), ("1e5", "1.00E+05"), ("1e5", "100000"), ("2024-01-02", "1/2/2024"),
     ("1-2", "2-Jan"), ("true", "TRUE"), ("12345678901234567890", "1.23457E+19")],
)  # fmt: skip
def test_what_a_spreadsheet_makes_of_an_id_is_named(host, own, written):
    call(host, {"s/14": own})
    shown = host.run("export", "-o", "review.csv")
    assert f"1 sample ids or class names, the first '{own}', are numbers or dates" in shown
    host.fill("review.csv", {own: "ant"})
    assert "1 samples decided" in host.run("import", "review.csv"), "it is fine as it is"
    sheet = pd.read_csv("review.csv", dtype=str, keep_default_na=False)
    sheet.replace({"sample_id": {own: written}}).to_csv("review.csv", index=False)

    shown = host.run("import", "review.csv", fails=True)
    assert f"sample_id '{written}' is not in the label table, which has '{own}': a spread" in shown


@pytest.mark.parametrize("where", ["id", "class"])
def test_what_may_be_another_id_or_class_is_not_guessed(host, where):
    if where == "id":
        call(host, {"s/13": "00012", "s/14": "12"})
        answer, column, other = {"12": "ant"}, "sample_id", "00012"
    else:
        call(host, {}, ["1", "01", "cat"])
        answer, column, other = {"s/14": "1"}, "reviewed_label", "01"
    host.run("export", "-o", "review.csv")
    before = host.content()
    host.fill("review.csv", answer)

    shown = host.run("import", "review.csv", fails=True)
    assert f"{column} '{[*answer, *answer.values()][where == 'class']}' may be '{other}'" in shown
    if where == "id":
        Path("ids.csv").write_text("sample_id\n12\n")
        shown = host.run("revert", "--samples-from", "ids.csv", fails=True)
        assert "ids.csv: line 2: sample_id '12' may be '00012', which there is, too" in shown
        host.run("diff", "workspace", "given", "-o", "patch.csv")
        patch = pd.read_csv("patch.csv", dtype=str, keep_default_na=False)
        patch[patch["sample_id"] == "12"].to_csv("patch.csv", index=False)
        assert "patch.csv: line 2: sample_id '12' may be" in host.run(
            "apply", "patch.csv", fails=True
        )
    assert host.content() == before
    both = {"id": {"00012": "ant"}, "class": {"s/13": "01"}}[where]
    host.fill("review.csv", answer | both)  # no spreadsheet has kept these
    assert "2 samples decided" in host.run("import", "review.csv")


def test_a_class_that_is_called_as_the_answer_for_none_is_never_answered(host):
    (host.data / "class_names.json").write_text(json.dumps(["ant", "bee", "(no class fits)"]))
    host.run("audit", "draw", "--of", "all", "--count", "2", "-o", "audit.csv")
    sheet = pd.read_csv("audit.csv", dtype=str, keep_default_na=False)
    both = pd.concat([sheet, sheet])  # one reviewer says ant, the other bee
    both["reviewed_label"] = ["ant"] * len(sheet) + ["bee"] * len(sheet)
    both.to_csv("audit.csv", index=False)
    before = host.content()

    shown = host.run("import", "audit.csv", fails=True)

    assert "audit.csv: the class name '(no class fits)' means 'no class' in the files" in shown
    assert host.content() == before


def test_a_damaged_export_names_the_task(host):
    Path("bad.json").write_text('[{"data": {"sample_id": "s/14"}}]')
    assert "bad.json: task 0: data.data_hash is missing" in host.run(
        "import", "bad.json", fails=True
    )
    Path("bad.json").write_text("{}")
    assert "expected a list of tasks" in host.run("import", "bad.json", fails=True)
    assert "none.csv: no such file" in host.run("import", "none.csv", fails=True)
    Path("bad.json").write_bytes('[{"a": "café"}]'.encode("latin1"))
    assert "bad.json: not JSON ('utf-8' codec" in host.run("import", "bad.json", fails=True)


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ("none", "annotations: expected a list of objects, found 'none'"),
        ([{"result": ["ant"]}], "result: expected a list of objects, found ['ant']"),
        ([{"result": [{"from_name": "label", "value": {"choices": None}}]}], "choices missing in"),
        ([{"result": [{"from_name": "label", "value": None}]}], "choices missing in None"),
        (
            [{"updated_at": "2.1.2026", "result": [{"from_name": "label",
                                                    "value": {"choices": ["ant"]}}]}],
            "updated_at '2.1.2026' is no time like 2026-01-31T10:00:00Z",
        ),
        (
            [{"updated_at": "0001-01-01T00:00:00+05:00", "result": [{"from_name": "label",
                                                    "value": {"choices": ["ant"]}}]}],
            "updated_at '0001-01-01T00:00:00+05:00' is no time like",
        ),
        *[
            ([{"updated_at": time, "result": [{"from_name": "label",
                                                    "value": {"choices": ["ant"]}}]}],
             f"updated_at '{time}': expected a time from 1970 to 7 days from now")
            for time in ("0001-01-01T00:00:00Z", "1969-12-31T23:59:59", "9999-12-31T23:59:59Z")
        ],
    ],
)  # fmt: skip
def test_a_damaged_annotation_names_the_task(host, annotations, message):
    data = {"sample_id": "s/14", "data_hash": "x", "batch": "queue"}
    Path("bad.json").write_text(json.dumps([{"data": data, "annotations": annotations}]))
    assert f"bad.json: task 0: {message}" in host.run("import", "bad.json", fails=True)


def test_times_of_another_zone_are_those_of_utc():
    chosen = [{"from_name": "label", "value": {"choices": ["ant"]}}]
    task = {
        "data": {"sample_id": "s/14", "data_hash": "x", "batch": "queue"},
        "annotations": [{"updated_at": "2026-01-02T03:04:05.6+02:00", "result": chosen}],
    }
    answers = review.from_label_studio(json.dumps([task]), "a.json")
    assert answers["decided_at"].tolist() == ["2026-01-02T01:04:05Z"]


@pytest.mark.parametrize("person", [None, {}, {"email": ""}, {"id": None}, " ", "absent"])
def test_an_answer_of_nobody_is_of_the_reviewer_who_is_named(host, person):
    host.run("export", "--format", "label-studio", "-o", "tasks.json")
    tasks = json.loads(Path("tasks.json").read_text())
    choice = {"from_name": "label", "type": "choices", "value": {"choices": ["ant"]}}
    tasks[1]["annotations"] = [{"completed_by": person, "result": [choice]}]
    if person == "absent":
        del tasks[1]["annotations"][0]["completed_by"]
    tasks[2]["annotations"] = [{"completed_by": {"id": 0}, "result": [choice]}]
    Path("tasks.json").write_text(json.dumps(tasks))
    before = host.content()

    shown = host.run("import", "tasks.json", fails=True)

    assert "tasks.json: task 1, sample 's/13': reviewer '' (completed_by) names nobody; " in shown
    assert host.content() == before
    host.run("import", "tasks.json", "--reviewer", "bob")
    people = decisions.read_csv(host.data / "people.csv")
    assert people["reviewer"].tolist() == ["0", "bob"]


@pytest.mark.parametrize(
    "arguments", [("apply",), ("revert", "--samples-from"), ("import",)], ids=lambda a: a[0]
)
def test_what_is_no_file_is_not_opened(host, arguments):
    """Reading a pipe waits for a writer, and a device may have no end."""
    Path("folder").mkdir()
    suffixes = [".csv", ".json"] if "import" in arguments else [".csv", ".parquet"]
    pipes = [f"pipe{suffix}" for suffix in suffixes]
    for name in pipes:
        os.mkfifo(name)
    for name in [*pipes, "folder", "/dev/zero"]:
        assert f"Error: {name}: no regular file\n" == host.run(*arguments, name, fails=True)


def test_a_pipe_for_decisions_is_not_opened(host):
    os.mkfifo(host.data / "people.csv")
    with pytest.raises(DatasetError, match=r"people\.csv: no regular file"):  # of kedro run
        DecisionsDataset(filepath=str(host.data / "people.csv")).load()
    shown = host.run("revert", "--sample", "s/00", fails=True)
    assert shown.endswith("people.csv: no regular file\n")
    assert shown.startswith("Error: ")


def test_a_link_for_decisions_that_leads_nowhere_is_not_nobodys_decision(host):
    host.run("revert", "--sample", "s/00", "--reviewer", "ada")
    people = host.data / "people.csv"
    people.unlink()
    people.symlink_to("../share/people.csv")
    told = r"people\.csv: is a link to \.\./share/people\.csv, where nothing is; bring that file"
    dataset = DecisionsDataset(filepath=str(people))
    for use in (dataset.load, lambda: dataset.save(decisions.empty())):
        with pytest.raises(DatasetError, match=told):  # of kedro run
            use()
    assert re.search(f"^Error: .*{told}", host.run("revert", "--sample", "s/01", fails=True))
    assert not Path("share").exists()


def test_decisions_are_written_where_a_link_leads(host):
    host.run("revert", "--sample", "s/00", "--reviewer", "ada")
    people, shared = host.data / "people.csv", host.root / "share/one/people.csv"
    shared.parent.mkdir(parents=True)
    people.rename(shared)
    (host.data / "between.csv").symlink_to("../share/one/people.csv")
    people.symlink_to("between.csv")

    host.run("revert", "--sample", "s/01", "--reviewer", "ada")

    assert people.is_symlink()
    assert decisions.read_csv(shared)["sample_id"].tolist() == ["s/00", "s/01"]
    assert os.listdir(shared.parent) == ["people.csv"]


def test_decisions_are_not_written_into_dvcs_cache(host):
    cached = host.root / "cache/files/md5/0a/1b2c"
    cached.parent.mkdir(parents=True)
    host.run("revert", "--sample", "s/00", "--reviewer", "ada")
    (host.data / "people.csv").rename(cached)
    (host.data / "people.csv").symlink_to(cached)
    before = cached.read_bytes()

    host.run("revert", "--sample", "s/01", "--reviewer", "ada")

    assert cached.read_bytes() == before
    assert len(decisions.read_csv(host.data / "people.csv")) == 2


@pytest.mark.parametrize("command", ["apply", "import"])
def test_a_compressed_table_is_not_unpacked(host, command):
    Path("review.csv.gz").write_bytes(gzip.compress(b"sample_id,to_label\n"))
    message = "review.csv.gz: a compressed table is not read; unpack it"
    assert message in host.run(command, "review.csv.gz", fails=True)


def test_a_bomb_of_a_parquet_file_is_not_unpacked(host):
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_000, "i4")), ["a" * 2**20])
    pq.write_table(pa.table({"sample_id": texts}), "data/bomb.parquet")
    for command in ("diff", "apply"):
        shown = host.run(command, "data/bomb.parquet", fails=True)
        assert "data/bomb.parquet: unpacks to more than 1.0 GiB" in shown
    git(host, "init", "-q")
    Path("data/bomb.parquet").rename("data/repaired.parquet")
    git(host, "add", "data/repaired.parquet")
    git(host, "commit", "-qm", "bomb")
    shown = host.run("diff", "HEAD", "given", fails=True)
    assert "data/repaired.parquet at 'HEAD': unpacks to more than 1.0 GiB" in shown


@pytest.mark.parametrize("depth", [200, 900, 100_000])
def test_an_export_of_endless_depth_is_refused(host, depth):
    deep = "[" * depth + "]" * depth
    for content in (deep, f'[{{"data": {{}}, "annotations": {deep}}}]'):
        Path("deep.json").write_text(content)
        assert "Error: deep.json: " in host.run("import", "deep.json", fails=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hello", "other.parquet: not a Parquet file"),
        (pd.DataFrame({"x": [1]}), "no label table: missing column sample_id, given_label; found"),
        (
            pd.DataFrame({"sample_id": ["a"], "given_label": [0], "action": ["keep"]}),
            "no label table: missing column repaired_label, label_source",
        ),
        (
            pd.DataFrame({"sample_id": ["a", "b"], "given_label": [0, 3]}),
            "row 1, sample 'b': given_label '3' is no class number of 0..2",
        ),
        (
            pd.DataFrame({"sample_id": ["a"], "given_label": ["ant"]}),
            "row 0, sample 'a': given_label 'ant' is no class number of 0..2",
        ),
        (
            pd.DataFrame({"sample_id": ["a", "a"], "given_label": [0, 1]}),
            "row 1: sample_id 'a' is repeated",
        ),
    ],
)
def test_a_file_that_is_no_label_table_is_named(host, content, message):
    file = Path("other.parquet")
    if isinstance(content, str):
        file.write_text(content)
        assert message in host.run("apply", "other.parquet", fails=True)
    else:
        content.to_parquet(file, index=False)
        content.to_csv("other.csv", index=False)
        if "sample_id" in content:
            assert f"other.csv: {message}" in host.run("diff", "other.csv", fails=True)
    assert message in host.run("diff", "other.parquet", fails=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image-url", "x/{nam}"], "--image-url: 'x/{nam}': KeyError: 'nam'; expected {name}"),
        (["--image-url", "x/{"], "--image-url: 'x/{': ValueError"),
        (["--image-url", "x/y.png"], "--image-url: 'x/y.png': no {name} in it"),
        (["-o", "folder"], "folder: is a folder; expected the name of a file"),
    ],
)
def test_an_export_that_cannot_be_written_writes_no_image(host, options, message):
    Path("folder").mkdir()
    assert message in host.run("export", "--images", "img", *options, fails=True)
    assert not Path("img").exists()
    assert "folder: is a folder" in host.run("diff", "given", "--flow", "folder", fails=True)


# -- audits -----------------------------------------------------------------------------------


def test_an_audit_supports_a_statement(host):
    assert "no audit has been answered" in host.run("audit", "evaluate")
    host.run("audit", "draw", "--count", "8", "-o", "audit.csv", "--seed", "1")
    sheet = pd.read_csv("audit.csv", dtype=str, keep_default_na=False)
    assert len(sheet) == 8
    assert (sheet[["given_label", "suggested_label"]] == "").all(axis=None)  # blind
    labels = repaired_table().set_index("sample_id")["repaired_label"]
    answers = {sample: NAMES[labels[sample]] for sample in sheet["sample_id"]}
    wrong = sheet["sample_id"].iloc[0]
    answers[wrong] = NAMES[(labels[wrong] + 1) % 3]
    host.fill("audit.csv", answers)
    host.run("import", "audit.csv", "--reviewer", "ada")

    shown = host.run("audit", "evaluate", "--precision", "0.4")

    # 3 wrong of 10: P(1 or none among the 8 drawn) = 3 / 45 > 0.05; 4 cannot be, 7 are right.
    assert "at most 30.0 % of the relabels are wrong, at 95 % (1 wrong of 8 audited" in shown
    assert "7 of 8 audited are right, 87.5 % (95 % interval 47.3 to 99.7 %)" in shown
    assert "policy.relabel_confidence: 0.9" in shown
    for level in ("0.4", "0.5", "1"):
        wrong = host.run("audit", "evaluate", "--precision", "0.4", "--level", level, fails=True)
        assert f"{level} is not in the range 0.5<x<1" in wrong.replace(".0 ", " ")
    assert "did you mean 'relabel'" in host.run("audit", "draw", "--of", "relable", fails=True)


@pytest.mark.parametrize("form", ["csv", "label-studio"])
def test_an_audit_is_about_the_label_that_was_drawn(host, form):
    file = Path("audit.csv" if form == "csv" else "audit.json")
    host.run("audit", "draw", "--count", "4", "--format", form, "-o", str(file))

    def answer(count):
        if form == "csv":
            rows = pd.read_csv(file, dtype=str, keep_default_na=False)["sample_id"]
            return host.fill(str(file), dict.fromkeys(rows[:count], "ant"))
        tasks = json.loads(file.read_text())
        choice = {"from_name": "label", "type": "choices", "value": {"choices": ["ant"]}}
        for task in tasks[:count]:
            task["annotations"] = [{"completed_by": 1, "result": [choice]}]
        return file.write_text(json.dumps(tasks))

    answer(2)
    assert "2 samples decided" in host.run("import", str(file))
    answer(3)  # what people decide is no change of what is audited
    assert "3 samples decided" in host.run("import", str(file))
    # The next run drops all that nobody has decided about: the fourth answer is about no label.
    table = pd.read_parquet(host.data / "repaired.parquet")
    rows = table["label_source"] == "model"
    table.loc[rows, ["action", "repaired_label", "label_source"]] = ["drop", pd.NA, "given"]
    table.to_parquet(host.data / "repaired.parquet", index=False)
    LedgerDataset(filepath=str(host.data / "ledger.parquet")).save(ledger.propose(table, "jocor"))
    assert "3 samples decided" in host.run("import", str(file))
    before = host.content()
    answer(4)
    shown = host.run("import", str(file), fails=True)
    place = f"{file}: line 5: sample_id" if form == "csv" else f"{file}: task 3: sample_id"
    assert place in shown
    assert "has another repaired label or action than when it was drawn" in shown
    assert host.content() == before
    if form == "csv":  # files from before have no such column
        sheet = pd.read_csv(file, dtype=str, keep_default_na=False)
        sheet.drop(columns="audited").to_csv(file, index=False)
        assert "4 samples decided" in host.run("import", str(file))


# -- as a part of Kedro -----------------------------------------------------------------------


def test_help_is_there(host):
    for command in ([], ["diff"], ["blame"], ["revert"], ["apply"], ["export"], ["import"],
                    ["audit"], ["audit", "draw"], ["audit", "evaluate"],
                    ["merge-ledger"]):  # fmt: skip
        assert len(host.run(*command, "--help").splitlines()) > 5


def test_kedro_finds_the_commands(host):
    (found,) = [
        entry
        for entry in entry_points(group="kedro.project_commands")
        if entry.value == "labelrepair.commands.labels:commands"
    ]
    assert found.load() is commands

    done = CliRunner().invoke(KedroCLI(host.root), ["labels", "blame", "s/15"])

    assert done.exit_code == 0, done.output
    assert "drop" in done.output


def test_a_namespace(tmp_path):
    namespaced = Host(tmp_path / "project", prefix="mine.")
    folder = Path.cwd()
    os.chdir(namespaced.root)
    try:
        assert "no dataset 'repaired_table'" in namespaced.run("blame", "s/00", fails=True)
        assert "relabel" in namespaced.run("--namespace", "mine", "blame", "s/00")
        shown = namespaced.run("--namespace", "mine", "diff", fails=True)
        assert shown.endswith("kedro labels --namespace mine diff given\n")
    finally:
        os.chdir(folder)
        configure_project("labelrepair")
