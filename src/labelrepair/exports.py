"""Exporting the graph of a model; what PyTorch does for that belongs to the whole process."""

import inspect
import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.fx
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from labelrepair.training import EXCLUSIVE


@contextmanager
def exporting(model: nn.Module) -> Iterator[None]:
    """Let nothing else train or export meanwhile, and leave nothing of the export in memory.

    The sizes of what is traced hold each other in a circle through C++, of which Python's collector
    sees only a part: 0.1 MB an export in a service that hands over model after model. Versions of
    PyTorch that trace strictly by default (2.6) allow no look at them and keep that. The texts of
    all code that was generated for its graphs are kept as well, for tracebacks, and so is what was
    found of the shapes of every operation, under keys that no other graph has.

    Args:
        model: what is exported in here, once or several times.
    """
    traced: list[Any] = []

    def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        traced.append(inputs[0])

    with EXCLUSIVE:
        texts = _generated()
        known = set(texts)
        hook = None if traces_strictly() else model.register_forward_pre_hook(look)
        try:
            yield
        finally:
            if hook is not None:
                hook.remove()
            for features in traced:
                sizes = getattr(getattr(features, "fake_mode", None), "shape_env", None)
                if sizes is not None:
                    vars(sizes).clear()
            for name in texts.keys() - known:
                texts.pop(name, None)
                linecache.cache.pop(name, None)
            FakeTensorMode.cache_clear()


def _generated() -> dict[str, str]:
    """Return the texts that PyTorch keeps, by the names of files that there are none of."""
    loader = getattr(torch.fx.graph_module, "_loader", None)
    return getattr(loader, "eval_cache", {})


def traces_strictly() -> bool:
    """Return whether this PyTorch traces strictly unless it is told not to."""
    strict: bool = inspect.signature(torch.export.export).parameters["strict"].default
    return strict
