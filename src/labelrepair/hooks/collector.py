"""The hook that keeps the garbage collector from walking through what imports leave behind.

Kedro, torch and MLflow come to a million objects that live as long as the process. Looking through
them again and again is a seventh of what a run costs outside training.
"""

import gc

from kedro.framework.hooks import hook_impl

STARTING, RUNNING = 200_000, 10_000  # new objects that make a collection; Python's own: 700


def _collect_every(objects: int) -> None:
    gc.set_threshold(objects, *gc.get_threshold()[1:])


# Now, as this module is the first that the hooks import: the others bring nearly all of those.
_collect_every(STARTING)


class CollectorHook:
    """Collects more often once the imports are done, and only what is new since."""

    @hook_impl(trylast=True)
    def after_context_created(self) -> None:
        """Collect as it befits a process that goes on without a run: a notebook, a server."""
        _collect_every(RUNNING)

    @hook_impl(trylast=True)
    def before_pipeline_run(self) -> None:
        """Leave aside what is there, for good; our trainings leave no cycles of tensors."""
        if not gc.get_freeze_count():  # a later run of this process would keep a former's garbage
            gc.freeze()
