"""Hooks for runs that DVC starts: one store for all of them, and no hidden settings."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kedro.config import AbstractConfigLoader, MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from labelrepair.stages.workspace import SQLITE, absolute_store, home, in_stage

logger = logging.getLogger(__name__)
PATTERNS = ["mlflow*", "mlflow*/**", "**/mlflow*"]  # as kedro-mlflow looks for its file
HIDDEN = ("catalog", "globals", "parameters")


class OneStoreHook:
    """Makes a relative SQLite store of MLflow one file, wherever the run was started.

    Relative to the working folder, a run from a subfolder would make a second database, and a run
    in an experiment's temporary copy would be deleted with it. Servers are left alone.
    """

    @hook_impl(tryfirst=True)  # before kedro-mlflow reads its file
    def after_context_created(self, context: KedroContext) -> None:
        """Replace the addresses in what kedro-mlflow will read."""
        settings = _mlflow_settings(context.config_loader)
        server = dict(settings.get("server") or {})
        given = server.get("mlflow_tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI", "")
        if not given.startswith(SQLITE):
            return
        project = Path(context.project_path)
        server["mlflow_tracking_uri"] = absolute_store(given, project)
        if registry := server.get("mlflow_registry_uri"):
            server["mlflow_registry_uri"] = absolute_store(registry, project)
        tracking = dict(settings.get("tracking") or {})
        experiment = dict(tracking.get("experiment") or {})
        name = experiment.get("name", "Default")
        folder = (home(project) / "mlruns" / name).as_uri()
        options = {
            "artifact_location": folder,
            **(experiment.get("create_experiment_kwargs") or {}),
        }
        tracking["experiment"] = {**experiment, "create_experiment_kwargs": options}
        context.config_loader["mlflow"] = {**settings, "server": server, "tracking": tracking}


class HiddenSettingsHook:
    """Warns when a DVC stage uses settings that DVC does not watch."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Name the settings, if there are any."""
        hidden = list(_hidden(context)) if in_stage() else []
        if hidden:
            logger.warning(
                "DVC does not watch %s: dvc.lock will not tell what this stage has used. "
                "Change conf/base, or use: dvc exp run -S FILE:KEY=VALUE",
                " and ".join(hidden),
            )


def _mlflow_settings(loader: AbstractConfigLoader) -> dict[str, Any]:
    """Return what mlflow.yml says; {} without one."""
    patterns: dict[str, list[str]] = getattr(loader, "config_patterns", {})
    patterns.setdefault("mlflow", PATTERNS)
    try:
        return dict(loader["mlflow"] or {})
    except MissingConfigException:
        return {}


def _hidden(context: KedroContext) -> Iterator[str]:
    """Yield what overrides conf/base: --params, and files of the run's environment."""
    loader = context.config_loader
    if loader.runtime_params:
        yield f"--params {','.join(loader.runtime_params)}"
    base = getattr(loader, "base_env", "base") or "base"
    env = context.env or getattr(loader, "default_run_env", "local") or "local"
    if env == base:
        return
    folder = Path(loader.conf_source) / env
    for file in sorted(folder.glob("**/*.y*ml")):
        inside = file.relative_to(folder)
        if any(part.startswith(HIDDEN) for part in inside.parts) and file.read_text().strip():
            yield f"{folder.parent.name}/{env}/{inside.as_posix()}"
