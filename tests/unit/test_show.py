"""What ``kedro labels`` prints can be read and copied in any terminal."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from labelrepair.commands import show

LONG = [f"a rather long class name {number}" for number in range(10)]
SHORT = [str(number) for number in range(10)]
IDS = [f"2024/images/warehouse-{number:02d}/IMG_{number:08d}.jpeg" for number in range(3)]


def patch(names):
    """Return a patch of three rows, as ``kedro labels diff`` names it."""
    columns = {f"{side}_{what}": value for side in ("from", "to") for what, value in FIXED.items()}
    return pd.DataFrame(
        {"sample_id": IDS, "from_label": names[0], "to_label": names[1:4], **columns}
    )


FIXED = {"action": "relabel", "source": "model"}


def printed(names, width, monkeypatch, capsys):
    """Return what a diff prints in a terminal of a width."""
    monkeypatch.setenv("COLUMNS", str(width))
    values = np.zeros((11, 11), dtype=np.int64)
    values[0, 1:4] = (41, 52, 63)
    named = patch(names).astype(object)
    monkeypatch.setattr(show, "counts", lambda patch: {})
    show.differences(named, named, pd.DataFrame(values), names, 10, "a -> b")
    text = capsys.readouterr().out
    return text


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_flows_of_long_names_are_told_by_name(width, monkeypatch, capsys):
    text = printed(LONG, width, monkeypatch, capsys)
    assert "largest flows" in text
    assert "…" not in text
    for count in (41, 52, 63):
        assert re.search(rf"\b{count}\b", text)


@pytest.mark.parametrize(("width", "shape"), [(80, "from (row)"), (30, "largest flows")])
def test_a_matrix_is_shown_where_it_fits(width, shape, monkeypatch, capsys):
    text = printed(SHORT, width, monkeypatch, capsys)
    assert shape in text
    assert "…" not in text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
@pytest.mark.parametrize("names", [LONG, SHORT])
def test_ids_stay_in_one_piece(names, width, monkeypatch, capsys):
    text = printed(names, width, monkeypatch, capsys)
    assert [name for name in IDS if name not in text] == []
    assert f"{names[0]} -> {names[1]}" in text
    assert text.count("relabel -> relabel") == 3


def test_a_table_is_shown_where_it_fits(monkeypatch, capsys):
    text = printed(SHORT, 120, monkeypatch, capsys)
    (line,) = [line for line in text.splitlines() if IDS[0] in line]
    assert "0 -> 1" in line
    assert "relabel -> relabel" in line


def test_a_text_that_git_ignores_is_not_told_to_be_committed(tmp_path, capsys):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("human*\n")
    project = SimpleNamespace(
        root=tmp_path, path=lambda name: Path(f"{name}.csv"), namespace=None, env=None, params=()
    )
    show.done(patch(SHORT), project, dry_run=False, decided=True)
    told = " ".join(capsys.readouterr().out.split())
    assert "human_decisions.csv (git ignores it, and no clone will have it: git check-ign" in told
    assert "label_changes.csv (commit it)" in told
