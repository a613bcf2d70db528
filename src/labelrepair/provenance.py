"""Where a run comes from: git and DVC, asked without importing either, and the MLflow run.

Beside ``hooks`` and ``tracking`` the only module that may import mlflow.
"""

import subprocess
from hashlib import md5
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from kedro.io import AbstractDataset, DatasetError

# What runs themselves write into git: a run after the first would else never be clean.
PRODUCTS = ("dvc.lock", "label_changes.csv", "metrics.json")


def project_facts(project: Path) -> dict[str, str]:
    """Return git revision, whether the project differs from it, and the hash of ``dvc.lock``.

    Args:
        project: the project's folder.

    Returns:
        ``git_revision``, ``git_dirty`` ("True" or "False"; :data:`PRODUCTS` do not count),
        ``dvc_lock_md5`` and ``dvc_lock_committed``; "none" outside a repository, or before
        ``dvc repro`` has run.
    """
    revision = _git(project, "rev-parse", "HEAD")
    lock = project / "dvc.lock"
    code = [".", *(f":(exclude,glob)**/{name}" for name in PRODUCTS)]
    known = revision and lock.exists()
    return {
        "git_revision": revision or "none",
        "git_dirty": str(_changed(project, *code)) if revision else "none",
        "dvc_lock_md5": _md5(lock) if lock.exists() else "none",
        "dvc_lock_committed": str(not _changed(project, lock.name)) if known else "none",
    }


class RunFactsDataset(AbstractDataset[NoReturn, dict[str, str]]):
    """Where a run comes from: the active MLflow run, git and DVC. Works without MLflow, too."""

    def __init__(
        self, *, filename: str, table: str | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Name the project's ``dvc.lock`` and the repaired table; neither need exist."""
        self._lock = Path(filename)
        self._table = Path(table) if table else None
        self.metadata = metadata

    def load(self) -> dict[str, str]:
        """Return :func:`project_facts` and what MLflow knows of the run.

        ``mlflow_url`` is given where the tracking server has pages to link to, ``table_md5``, by
        which DVC names a file, where the table does exist.
        """
        facts = {**project_facts(self._lock.absolute().parent), **_mlflow_facts()}
        if self._table and self._table.is_file():
            facts["table_md5"] = _md5(self._table)
        return facts

    def save(self, data: NoReturn) -> NoReturn:  # noqa: ARG002
        """Refuse: facts are found, not made."""
        raise DatasetError("run facts are only read")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filename": str(self._lock)}


def _mlflow_facts() -> dict[str, str]:
    """Return id, store and page of the active MLflow run; nothing without one."""
    try:
        import mlflow  # noqa: PLC0415
    except ImportError:
        return {}
    run = mlflow.active_run()
    if run is None:
        return {}
    store = without_password(mlflow.get_tracking_uri())
    facts = {"mlflow_run": run.info.run_id, "mlflow_store": store}
    return facts | ({"mlflow_url": page} if (page := run_page(run)) else {})


def run_page(run: Any) -> str:
    """Return the address of an MLflow run's page; nothing where the store has no pages."""
    import mlflow  # noqa: PLC0415

    store = without_password(mlflow.get_tracking_uri())
    if not store.startswith(("http://", "https://")):
        return ""
    return f"{store.rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def without_password(address: str) -> str:
    """Return an address without user and password: the page is passed on."""
    parts = urlsplit(address)
    if "@" not in parts.netloc:
        return address  # also a path, which would lose a slash
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _changed(project: Path, *paths: str) -> bool:
    """Return whether files among the paths differ from the last commit, or are not in git."""
    return bool(_git(project, "status", "--porcelain", "--untracked-files=all", "--", *paths))


def _git(project: Path, *arguments: str) -> str:
    """Return git's answer, or nothing outside a repository."""
    command = ["git", "-C", str(project), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _md5(path: Path) -> str:
    return md5(path.read_bytes(), usedforsecurity=False).hexdigest()
