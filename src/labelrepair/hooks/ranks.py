"""``torchrun ... -m kedro run``: one process runs the pipelines, the others train with it."""

from kedro.framework.hooks import hook_impl

from labelrepair.training import launch


class RankHook:
    """Sends every process but the first to wait for trainings to share.

    Rank 0 alone runs nodes, writes files and talks to MLflow. The others end when it does.
    """

    @hook_impl(tryfirst=True)  # before anything is written, also by kedro-mlflow
    def after_context_created(self) -> None:
        """Join the processes that torchrun has started, if it has."""
        launch.join()
