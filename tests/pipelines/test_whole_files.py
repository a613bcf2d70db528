"""Every file of the catalogs is whole or absent, whatever happens while it is written."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.figure
import pandas as pd
import pytest
import yaml
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import AbstractDataset, DatasetError

from labelrepair.atomic import whole_path

CATALOGS = Path(__file__).parents[2] / "conf/base"
FRAME = pd.DataFrame({"sample_id": ["0001", "0002"], "given_label": [1, 0]})
CSV = {"type": "pandas.CSVDataset", "save_args": {"index": False}}
PARQUET = {"type": "pandas.ParquetDataset", "save_args": {"index": False}}
PARTS = {"type": "partitions.PartitionedDataset", "filename_suffix": ".csv", "dataset": CSV}
# Writes for seconds, so that there is a middle.
WRITER = """
import resource, signal, sys
import pandas as pd
from kedro.io import AbstractDataset
if sys.argv[2] != "0":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
frame = pd.DataFrame({"number": range(3_000_000), "text": "some text"})
AbstractDataset.from_config("table", eval(sys.argv[1])).save(frame)
"""


TEXTS = r"""
import json, sys
import pandas as pd
from kedro.io import AbstractDataset
for name, entry in json.loads(sys.argv[1]).items():
    data = {"a": pd.DataFrame({"name": ["\u732b"]})} if "partitions" in str(entry) else "\u732b"
    data = pd.DataFrame({"name": ["\u732b"]}) if name == "label_changes" else data
    AbstractDataset.from_config(name, entry).save(data)
"""


def definition(path, dataset):
    return {"type": "labelrepair.io.WholeFile", "filepath": str(path), "dataset": dataset}


def whole(path, dataset) -> AbstractDataset:
    return AbstractDataset.from_config("it", definition(path, dataset))


def figure() -> matplotlib.figure.Figure:
    drawn = matplotlib.figure.Figure(figsize=(1, 1))
    drawn.subplots().plot([0, 1])
    return drawn


def contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("name", "dataset", "data"),
    [
        ("table.csv", {**CSV, "load_args": {"dtype": {"sample_id": str}}}, FRAME),
        ("table.parquet", PARQUET, FRAME),
        ("facts.json", "json.JSONDataset", {"a": [1, 2]}),
        ("page.txt", "text.TextDataset", "text"),
    ],
)
def test_what_is_saved_is_loaded(tmp_path, name, dataset, data):
    file = whole(tmp_path / "new" / name, dataset)
    assert not file.exists()

    file.save(data)

    assert file.exists()
    if isinstance(data, pd.DataFrame):
        pd.testing.assert_frame_equal(file.load(), data)
    else:
        assert file.load() == data
    assert [p.name for p in (tmp_path / "new").iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "dataset", "data"),
    [
        ("table.csv", CSV, FRAME),
        ("table.parquet", PARQUET, FRAME),
        ("plots", "matplotlib.MatplotlibDataset", {"a.png": figure(), "b.png": figure()}),
        ("plot_data", PARTS, {"a": FRAME, "b": FRAME}),
    ],
)
def test_a_rewrite_is_byte_identical(tmp_path, name, dataset, data):
    file = whole(tmp_path / name, dataset)
    file.save(data)
    before = contents(tmp_path)
    time.sleep(0.01)

    file.save(data)

    assert contents(tmp_path) == before
    assert before


def test_a_folder_is_replaced_not_filled_up(tmp_path):
    folder = whole(tmp_path / "plot_data", PARTS)
    folder.save({"a": FRAME, "b": FRAME})

    folder.save({"c": FRAME})

    assert sorted(contents(tmp_path)) == ["plot_data/c.csv"]
    assert list(folder.load()) == ["c"]


def test_a_link_into_a_cache_is_replaced_not_written_through(tmp_path):
    cached = tmp_path / "cached"
    cached.write_text("old")
    (tmp_path / "page.txt").symlink_to(cached)

    whole(tmp_path / "page.txt", "text.TextDataset").save("new")

    assert cached.read_text() == "old"
    assert (tmp_path / "page.txt").read_text() == "new"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("name", "dataset", "data"),
    [("page.txt", "text.TextDataset", "text"), ("plot_data", PARTS, {"a": FRAME})],
)
def test_the_system_refuses(tmp_path, monkeypatch, error, function, name, dataset, data):
    file = whole(tmp_path / name, dataset)
    file.save(data)
    before = contents(tmp_path)
    real = getattr(os, function)

    def refuse(*arguments):
        if function == "replace" and arguments[1] != tmp_path / name:
            return real(*arguments)  # setting the old folder aside and putting it back
        monkeypatch.setattr(os, function, real)
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(DatasetError, match=os.strerror(error)):
        file.save("other" if name == "page.txt" else {"b": FRAME})

    assert contents(tmp_path) == before


def test_a_writer_that_fails_in_the_middle(tmp_path):
    file = whole(tmp_path / "facts.json", "json.JSONDataset")
    file.save({"old": 1})

    with pytest.raises(DatasetError, match="not JSON serializable"):
        file.save({"new": [1, object()]})

    assert file.load() == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["facts.json"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole_path(tmp_path / "nothing"):
        pass

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filepath": "s3://bucket/page.txt", "dataset": "text.TextDataset"}, "local files"),
        (
            {"filepath": "a.txt", "dataset": {"type": "text.TextDataset", "versioned": True}},
            "use DVC",
        ),
    ],
)
def test_what_cannot_be_written_whole_is_refused(settings, message):
    with pytest.raises(DatasetError, match=message):
        AbstractDataset.from_config("it", {"type": "labelrepair.io.WholeFile", **settings})


def written_by_another(dataset, environment, limit=0):
    command = [sys.executable, "-c", WRITER, repr(dataset), str(limit)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", ["whole", "plain"])
def test_killed_in_mid_write(tmp_path, command_environment, kind):
    target = tmp_path / "table.csv"
    target.write_text("old")
    plain = {**CSV, "filepath": str(target)}
    dataset = definition(target, CSV) if kind == "whole" else plain

    with written_by_another(dataset, command_environment) as writer:
        deadline = time.monotonic() + 60
        while not any(p.stat().st_size > 1000 for p in tmp_path.rglob("*.csv")):
            assert writer.poll() is None, writer.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL

    if kind == "plain":  # what this is about: without it a part of the table lies there
        assert target.read_bytes()[:3] != b"old"
        return
    assert target.read_text() == "old"
    whole(target, CSV).save(FRAME)  # and the next save works, and clears up
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_the_disk_is_full(tmp_path, command_environment):
    """A limit on the size of files: the system refuses in the middle, as a full disk does."""
    target = tmp_path / "table.csv"
    target.write_text("old")

    with written_by_another(definition(target, CSV), command_environment, 10**6) as writer:
        message = writer.communicate(timeout=60)[1]

    assert writer.returncode != 0
    assert os.strerror(errno.EFBIG) in message
    assert contents(tmp_path) == {"table.csv": b"old"}


def test_every_product_of_the_catalogs_is_written_whole(project):
    """Also those that come later: the datasets of kedro-datasets write in place, ours do not."""
    with project.active():
        bootstrap_project(project.root)
        with KedroSession.create(project.root) as session:
            context = session.load_context()
            written = set().union(*(pipeline.all_outputs() for pipeline in pipelines.values()))
            found = {name: context.catalog.get(name) for name in written & {*context.catalog}}
    files = {
        name: dataset
        for name, dataset in found.items()
        if hasattr(dataset, "_filepath") or hasattr(dataset, "_path")
    }
    assert len(files) > 15
    in_place = {
        name
        for name, dataset in files.items()
        if any(base.__module__.startswith("kedro_datasets") for base in type(dataset).__mro__)
    }
    assert in_place == set(), "wrap them in labelrepair.io.WholeFile"


def test_texts_are_utf_8_whatever_the_machine_speaks(tmp_path):
    """Class names are in any script, and a machine may be set to ASCII."""
    entries = {}
    for file in CATALOGS.glob("catalog_report*.yml"):
        content = yaml.safe_load(file.read_text().replace("${_workspace}", str(tmp_path)))
        for name, entry in content.items():
            inner = entry.get("dataset", entry) if "kedro_mlflow" in str(entry["type"]) else entry
            if "CSVDataset" in str(inner) or "TextDataset" in str(inner):
                entries[name] = {key: value for key, value in inner.items() if key != "metadata"}
    assert set(entries) >= {"label_changes", "summary", "report", "plot_data"}
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", TEXTS, json.dumps(entries)]
    subprocess.run(command, check=True, env={**os.environ, **ascii_only})
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == len(entries)
    assert all("\u732b" in path.read_text("utf-8") for path in written)
