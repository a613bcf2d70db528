import subprocess

import pytest
from kedro.io import DatasetError

from labelrepair.provenance import RunFactsDataset, project_facts


def test_facts_of_a_repository_and_of_none(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    none = {"git_revision": "none", "git_dirty": "none", "dvc_lock_md5": "none"}
    none["dvc_lock_committed"] = "none"
    assert project_facts(outside) == none

    git = ("git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-qm", "x", "--allow-empty"], check=True)
    (tmp_path / "dvc.lock").write_bytes(b"")
    found = project_facts(tmp_path)

    assert len(found["git_revision"]) == 40
    assert found["git_dirty"] == "False", "a run's own products are no change"
    assert found["dvc_lock_committed"] == "False"
    assert found["dvc_lock_md5"] == "d41d8cd98f00b204e9800998ecf8427e"

    subprocess.run([*git, "add", "dvc.lock"], check=True)
    subprocess.run([*git, "commit", "-qm", "y"], check=True)
    assert project_facts(tmp_path)["dvc_lock_committed"] == "True"
    (tmp_path / "data").mkdir()
    (tmp_path / "data/label_changes.csv").touch()
    assert project_facts(tmp_path)["git_dirty"] == "False"
    (tmp_path / "data/human_decisions.csv").touch()
    assert project_facts(tmp_path)["git_dirty"] == "True"


def test_the_table_is_named_as_dvc_names_it(tmp_path):
    table = tmp_path / "repaired.parquet"
    known = RunFactsDataset(filename=str(tmp_path / "dvc.lock"), table=str(table))
    assert "table_md5" not in known.load()
    table.write_bytes(b"")
    assert known.load()["table_md5"] == "d41d8cd98f00b204e9800998ecf8427e"


def test_the_page_of_a_run_carries_no_password(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    info = type("Info", (), {"run_id": "r1", "experiment_id": "7"})
    monkeypatch.setattr(mlflow, "active_run", lambda: type("Run", (), {"info": info}))
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "https://me:secret@host:5000/")
    facts = RunFactsDataset(filename=str(tmp_path / "dvc.lock")).load()
    assert facts["mlflow_url"] == "https://host:5000/#/experiments/7/runs/r1"
    assert "secret" not in str(facts)

    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "sqlite:////a/b.db")
    facts = RunFactsDataset(filename=str(tmp_path / "dvc.lock")).load()
    assert facts["mlflow_store"] == "sqlite:////a/b.db"
    assert "mlflow_url" not in facts


def test_facts_are_not_saved(tmp_path):
    with pytest.raises(DatasetError):
        RunFactsDataset(filename=str(tmp_path / "dvc.lock")).save({})
