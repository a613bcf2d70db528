"""The pipelines of this project, found by folder."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

APART = ("ab", "benchmark", "handoff")


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline by name; ``__default__`` chains those of a repair."""
    pipelines: dict[str, Pipeline] = find_pipelines(raise_errors=True)
    repair = [pipeline for name, pipeline in pipelines.items() if name not in APART]
    pipelines["__default__"] = sum(repair, start=Pipeline([]))
    return pipelines
