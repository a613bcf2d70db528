"""Exported graphs of PyTorch leave something behind; this takes it away."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def forgotten(model: nn.Module) -> Iterator[None]:
    """Let go of what PyTorch keeps for good of exports of a model made in here: 0.1 MB each.

    The sizes of what is traced hold each other in a circle through C++, of which Python's collector
    sees only a part; a service that hands over model after model would grow.
    """
    traced: list[Any] = []

    def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not torch.compiler.is_dynamo_compiling():  # strict exports (older versions) refuse it
            traced.append(inputs[0])

    hook = model.register_forward_pre_hook(look)
    try:
        yield
    finally:
        hook.remove()
        for features in traced:
            sizes = getattr(getattr(features, "fake_mode", None), "shape_env", None)
            if sizes is not None:
                vars(sizes).clear()
