"""Kedro pipelines: thin nodes over the core. Each sub-package exports ``create_pipeline``.

:func:`create_pipeline` here chains them, for the registry of another project.
"""

from collections.abc import Sequence
from importlib import import_module

from kedro.pipeline import Pipeline

from labelrepair.errors import ConfigError

REPAIR = ("ingestion", "estimation", "training", "refinement", "repair", "evaluation", "report")
REFINED = ("refined_probs", "refined_noise")
Names = str | set[str] | dict[str, str] | None


def create_pipeline(
    namespace: str | None = None,
    *,
    parts: Sequence[str] = REPAIR,
    inputs: Names = None,
    outputs: Names = None,
    parameters: Names = None,
    tags: str | Sequence[str] | None = None,
) -> Pipeline:
    """Return a repair from raw data to report, as one pipeline of a host project.

    Data sets and parameters are looked up under the namespace: ``NAMESPACE.label_table``,
    ``params:NAMESPACE.policy``. ``kedro labelrepair add NAMESPACE`` writes both files.

    Args:
        namespace: prefix; two different ones put two repairs into one registry.
        parts: sub-packages of :mod:`labelrepair.pipelines`, in order; e.g. without ``ingestion``
            when the host makes ``label_table``, ``features`` and the other inputs itself.
        inputs: free inputs that keep the host's names, see :class:`kedro.pipeline.Pipeline`;
            ``refined_probs`` and ``refined_noise`` where a host makes them in place of the part
            ``refinement``.
        outputs: outputs that keep the host's names.
        parameters: parameters that keep the host's names, e.g. ``{"seed"}`` for one seed of all.
        tags: tags of every node.

    Returns:
        The pipeline; SequentialRunner and ThreadRunner can run it.

    Raises:
        ModuleNotFoundError: a part is not there.
        ConfigError: a repair after an estimation or a training, without the refinement between them
            and its outputs not handed over: the repair would read those of an earlier run.
    """
    _check_parts(parts, inputs)
    made = (import_module(f"{__name__}.{part}").create_pipeline() for part in parts)
    chained = sum(made, start=Pipeline([]))
    return Pipeline(
        chained,
        namespace=namespace,
        inputs=inputs,
        outputs=outputs,
        parameters=parameters,
        tags=tags,
    )


def _check_parts(parts: Sequence[str], inputs: Names) -> None:
    """Refuse a repair that would not be one of this training, see :func:`create_pipeline`."""
    handed = {inputs} if isinstance(inputs, str) else set(inputs or ())
    before = [part for part in ("estimation", "training") if part in parts]
    if (
        "repair" in parts
        and "refinement" not in parts
        and before
        and not handed.issuperset(REFINED)
    ):
        raise ConfigError(
            f"parts: 'repair' with '{before[-1]}', but without 'refinement', which makes "
            f"{' and '.join(REFINED)}; add 'refinement' to parts, or name both in inputs"
        )
