"""The hook that refuses the runner which cannot run these pipelines."""

from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.pipeline import Node, Pipeline

from labelrepair.errors import ConfigError


class RunnerHook:
    """Refuses the runner that cannot run these pipelines, before anything has happened."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Look for a node of ours under ParallelRunner.

        Raises:
            ConfigError: there is one.
        """
        ours = [node.name for node in our_nodes(pipeline)]
        if ours and "ParallelRunner" in str(run_params.get("runner")):
            raise ConfigError(
                f"runner: ParallelRunner cannot run '{ours[0]}' and {len(ours) - 1} other nodes of "
                "labelrepair: it calls no hooks in its processes (no provenance, no checkpoint "
                "kept in order) and cannot hand MLflow's run to them. Use SequentialRunner (the "
                "default) or ThreadRunner; a training uses the cores or the GPU by itself"
            )


def our_nodes(pipeline: Pipeline) -> list[Node]:
    """Return our nodes; those of a host are none of our business."""
    return [node for node in pipeline.nodes if node.func.__module__.startswith("labelrepair.")]
