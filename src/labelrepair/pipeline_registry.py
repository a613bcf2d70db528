"""The pipelines of this project, found by folder."""

import re
from pathlib import Path

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

from labelrepair.errors import ConfigError, nearest

APART = ("ab", "benchmark", "handoff")


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline by name; ``__default__`` chains those of a repair.

    Raises:
        ConfigError: ``kedro run --pipelines`` asks for one that there is not.
    """
    try:
        pipelines: dict[str, Pipeline] = find_pipelines(raise_errors=True)
    except ImportError as error:
        # Kedro imports what is asked for by name; with a cause, it is there and broken.
        asked = re.search(r"\.pipelines\.(.+)' module", str(error))
        if error.__cause__ or not asked:
            raise
        raise ConfigError(f"no pipeline '{asked[1]}'; {nearest(asked[1], _folders())}") from None
    repair = [pipeline for name, pipeline in pipelines.items() if name not in APART]
    pipelines["__default__"] = sum(repair, start=Pipeline([]))
    return pipelines


def _folders() -> list[str]:
    found = Path(__file__).with_name("pipelines").glob("*/__init__.py")
    return [file.parent.name for file in found]
