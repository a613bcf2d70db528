"""Labels that are written by two processes at once: nothing is lost."""

import errno
import multiprocessing
import os
import sys
import time
from pathlib import Path

import mlflow  # noqa: F401  # every child would import it otherwise
import numpy as np
import pandas as pd
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.framework.project import configure_project
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner
from kedro_datasets.pandas import ParquetDataset
from test_labels_command import NAMES, Host, repaired_table

from labelrepair import decisions, ledger
from labelrepair.errors import StoreError
from labelrepair.hooks.label_lock import LabelLockHook
from labelrepair.io import WholeFile
from labelrepair.label_io import DecisionsDataset, KnownLedgerDataset, LedgerDataset
from labelrepair.label_table import INGESTED_COLUMNS, data_hash
from labelrepair.locks import Lock
from labelrepair.pipeline_registry import register_pipelines
from labelrepair.pipelines.repair import create_pipeline, nodes
from labelrepair.settings import HOOKS

FORK = multiprocessing.get_context("fork")  # what is imported stays imported: no start costs


@pytest.fixture
def host(tmp_path):
    path, folder = list(sys.path), Path.cwd()
    os.chdir(tmp_path)
    yield Host(tmp_path)
    os.chdir(folder)
    sys.path[:] = path
    configure_project("labelrepair")


def at_once(*targets):
    """Run each target in a process of its own; all must end well."""
    barrier = FORK.Barrier(len(targets))

    def start(target):
        barrier.wait(timeout=30)
        target()

    processes = [FORK.Process(target=start, args=(target,)) for target in targets]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(targets)


def test_ledgers_saved_at_once_lose_no_event(tmp_path):
    file, table = str(tmp_path / "ledger.parquet"), repaired_table()
    proposed = ledger.propose(table, "jocor")

    def saver(rows):
        def save():
            for row in rows:
                LedgerDataset(filepath=file).save(proposed.iloc[[row]])

        return save

    at_once(*[saver(range(start, 16, 4)) for start in range(4)])

    found = LedgerDataset(filepath=file).load()
    assert sorted(found["sample_id"]) == [f"s/{row:02d}" for row in range(16)]


def test_commands_at_once_lose_no_decision(host):
    before = host.ledger()

    def reverter(samples):
        return lambda: [host.run("revert", "--sample", s, "--reviewer", "ada") for s in samples]

    at_once(reverter(["s/00", "s/02", "s/04"]), reverter(["s/01", "s/03", "s/05"]))

    samples = [f"s/{row:02d}" for row in range(6)]
    assert decisions.read_csv(host.data / "people.csv")["sample_id"].tolist() == samples
    assert sorted(host.ledger().iloc[len(before) :]["sample_id"]) == samples
    assert (host.table().loc[samples, "label_source"] == "human").all()


def repair(host, reading, table=None):
    """Run the repair pipeline in the host's files; it stops a while after it has read them."""
    real = nodes.repair_table

    def slow(*arguments):
        reading.set()
        time.sleep(1.0)
        return real(*arguments)

    nodes.repair_table = slow
    table = repaired_table() if table is None else table
    probs = np.full((38, 3), 0.02)
    probs[np.arange(38), table["suggested_label"][:38].to_numpy(int)] = 0.96
    files = host.data
    inputs = {
        "label_table": table[list(INGESTED_COLUMNS)],
        "refined_probs": probs,
        "training_selected": np.empty(0, bool),
        "training_report": {"preset": "jocor", "data_hash": data_hash(table)},
        "refined_noise": {
            "data_hash": data_hash(table),
            "method": "known",
            "noise_rate": 0.4,
            "interval": [0.3, 0.5],
            "class_prior": [1 / 3] * 3,
            "transition": (0.4 * np.eye(3) + 0.2).tolist(),
        },
        "class_names": NAMES,
        "params:scoring": {},
        "params:policy": {},
        "params:thresholds_from_reviews": {},
    }
    catalog = DataCatalog(
        {
            "human_decisions": DecisionsDataset(filepath=str(files / "people.csv")),
            "label_ledger": LedgerDataset(filepath=str(files / "ledger.parquet")),
            "known_ledger": KnownLedgerDataset(filename=str(files / "ledger.parquet")),
            "repaired_table": WholeFile(
                filepath=str(files / "repaired.parquet"),
                dataset={"type": ParquetDataset, "save_args": {"index": False}},
            ),
        }
    )
    for name, value in inputs.items():
        catalog[name] = value
    manager, pipeline = _create_hook_manager(), create_pipeline()
    manager.register(next(hook for hook in HOOKS if isinstance(hook, LabelLockHook)))
    manager.hook.before_pipeline_run(run_params={}, pipeline=pipeline, catalog=catalog)
    SequentialRunner().run(pipeline, catalog, hook_manager=manager)


def test_a_run_does_not_overwrite_what_is_decided_meanwhile(host):
    reading = FORK.Event()
    run = FORK.Process(target=repair, args=(host, reading))
    run.start()
    assert reading.wait(30)

    host.run("revert", "--sample", "s/00", "--reviewer", "ada")

    run.join(30)
    assert run.exitcode == 0
    assert host.table().loc["s/00", ["repaired_label", "label_source"]].tolist() == [0, "human"]
    assert ledger.blame(host.ledger(), "s/00").iloc[-1]["reviewer"] == "ada"


def test_a_run_tells_of_decisions_that_are_gone(host, caplog, monkeypatch):
    monkeypatch.setattr(nodes, "repair_table", nodes.repair_table)  # put back what repair() sets
    monkeypatch.setattr(time, "sleep", lambda _: None)
    host.run("revert", *[f"--sample=s/0{row}" for row in range(7)], "--reviewer", "ada")
    repair(host, FORK.Event())
    assert "human_decisions" not in caplog.text  # a revert is a decision

    people = host.data / "people.csv"
    lines = people.read_text().splitlines(keepends=True)
    people.write_text("".join(lines[:2]))
    repair(host, FORK.Event())
    told = "no line any more about 6 samples whose label a person has decided: s/01, s/02, s/03, "
    assert told + "s/04, s/05, ...;" in caplog.text
    assert (host.table()["label_source"] == "human").sum() == 1

    caplog.clear()
    repair(host, FORK.Event())
    assert "human_decisions" not in caplog.text


def test_a_run_tells_of_given_labels_that_changed_under_decisions(host, caplog, monkeypatch):
    monkeypatch.setattr(nodes, "repair_table", nodes.repair_table)  # put back what repair() sets
    monkeypatch.setattr(time, "sleep", lambda _: None)
    host.run("revert", "--sample", "s/01", "--reviewer", "ada")
    repair(host, FORK.Event())
    assert "another label" not in caplog.text
    table = repaired_table()
    table.loc[[1, 2], "given_label"] = 0  # nobody has decided about the second

    repair(host, FORK.Event(), table)
    told = "gives another label than before to 1 samples that a person has decided about: s/01 (it "
    assert f"{told}was 'bee'); the decisions stay in force" in caplog.text
    assert host.table().loc["s/01", ["repaired_label", "label_source"]].tolist() == [1, "human"]

    caplog.clear()
    repair(host, FORK.Event(), table)
    assert "another label" not in caplog.text


def test_the_lock_is_given_back_after_an_error(host):
    hook, dataset = LabelLockHook(), LedgerDataset(filepath=str(host.data / "ledger.parquet"))
    pipeline = create_pipeline()
    hook.before_pipeline_run(pipeline, {"label_ledger": dataset})
    hook.before_dataset_loaded(pipeline.nodes[0])
    other = Lock(dataset.lock.file, "labels", patience=0.1)
    with pytest.raises(StoreError, match=r"labels: another process holds .*ledger.parquet.lock"):
        other.acquire()
    hook.on_pipeline_error()
    with other:
        pass


@pytest.mark.parametrize("of", [errno.EACCES, errno.EROFS])
def test_a_lock_of_somebody_else_is_one_line(host, monkeypatch, of):
    before, real = host.content(), os.open

    def refuse(path, *arguments, **options):
        if str(path).endswith(".lock"):
            raise OSError(of, os.strerror(of), path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    shown = host.run("revert", "--sample", "s/00", fails=True)

    assert shown.startswith("Error: labels: /")
    told = f".ledger.parquet.lock cannot be locked ({os.strerror(of)}); nothing has been done."
    assert told in shown
    assert shown.count("\n") == 1
    monkeypatch.undo()
    assert host.content() == before


def test_a_part_of_the_pipeline_gives_it_back(host):
    hook, dataset = LabelLockHook(), LedgerDataset(filepath=str(host.data / "ledger.parquet"))
    pipeline = create_pipeline().only_nodes("record_changes")
    hook.before_pipeline_run(pipeline, {"label_ledger": dataset})
    hook.before_dataset_loaded(pipeline.nodes[0])
    hook.after_dataset_saved("label_changes")
    with Lock(dataset.lock.file, "labels", patience=0.1):
        pass


def test_another_table_has_another_lock(tmp_path):
    files = [str(tmp_path / name / "label_ledger.parquet") for name in ("a", "b")]
    first, second = (LedgerDataset(filepath=file) for file in files)
    with first.lock:
        second.save(ledger.propose(repaired_table(), "jocor"))
    assert len(pd.read_parquet(files[1])) == 16


def test_nothing_waits_for_a_training():
    """The ledger's lock is taken by these nodes; a training must not lie between them."""
    pipeline = register_pipelines()["__default__"]
    order = [node.name for node in pipeline.nodes]
    assert order.index("choose_policy") > order.index("train_model")
    assert order.index("choose_policy") > order.index("look_again")
