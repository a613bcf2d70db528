"""Exporting the graph of a model; what PyTorch does for that belongs to the whole process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from labelrepair.training import EXCLUSIVE


@contextmanager
def exporting(model: nn.Module) -> Iterator[None]:
    """Let nothing else train or export meanwhile, and leave nothing of the export in memory.

    The sizes of what is traced hold each other in a circle through C++, of which Python's collector
    sees only a part: 0.1 MB an export in a service that hands over model after model.

    Args:
        model: what is exported in here, once or several times.
    """
    traced: list[Any] = []

    def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not torch.compiler.is_dynamo_compiling():  # strict exports (older versions) refuse it
            traced.append(inputs[0])

    with EXCLUSIVE:
        hook = model.register_forward_pre_hook(look)
        try:
            yield
        finally:
            hook.remove()
            for features in traced:
                sizes = getattr(getattr(features, "fake_mode", None), "shape_env", None)
                if sizes is not None:
                    vars(sizes).clear()
