"""Where training runs, in which precision and in which layout."""

import contextlib
import ctypes
import os
from functools import cache
from typing import Any

import torch

from labelrepair.errors import ConfigError

KEPT = 256 << 20  # bytes
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt (malloc.h)


def named_device(name: str) -> torch.device:
    """Return the device of a name, whether or not it is there.

    Raises:
        ConfigError: torch knows no such device.
    """
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device: '{name}' is not available here ({error})") from error


def choose_device(name: str) -> torch.device:
    """Return the device: ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: the named device is unknown or absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = named_device(name)
    try:
        torch.empty(1, device=device).tolist()  # "meta" makes tensors, without values
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device: '{name}' is not available here ({error})") from error
    if device.type == "cuda" and device.index is None:
        # By number: in a thread of its own, "cuda" is the first one, whatever this thread has set.
        return torch.device("cuda", torch.cuda.current_device())
    return device


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return the context of a forward pass; losses stay float32 in any."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def layout(memory_format: str, precision: str, device: torch.device) -> torch.memory_format:
    """Return the layout of convolution weights; images follow the weights that they meet.

    On a CPU, training steps of small convolutional networks are 1.15 to 1.5 times as fast with
    ``channels_last``; on a GPU it is what half precision's convolutions are made for.
    """
    fits = device.type == "cpu" or precision == "bfloat16"
    last = memory_format == "channels_last" or (memory_format == "auto" and fits)
    return torch.channels_last if last else torch.contiguous_format


@cache
def keep_freed_memory() -> None:
    """Have the C library keep up to 256 MB that tensors gave back, for the next ones.

    glibc returns blocks of some megabytes to the system at once, which hands them out again page by
    page: a quarter of a training step of the word-embedding network. Whoever has set
    MALLOC_TRIM_THRESHOLD_, and other C libraries, are left alone.
    """
    mallopt = _of_c_library("mallopt")
    if mallopt is not None and "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        mallopt(_MMAP_THRESHOLD, 32 << 20)  # the most it takes
        mallopt(_TRIM_THRESHOLD, KEPT)


def hand_back_memory() -> None:
    """Hand what the C library keeps back to the system, before processes are forked.

    A forked process holds on to every page that this one has then, also to those of freed blocks
    once they are written anew here: at each start another copy of them.
    """
    trim = _of_c_library("malloc_trim")
    if trim is not None:
        trim(0)


def _of_c_library(name: str) -> Any:
    """Return one of glibc's own functions; None with another C library."""
    return getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None
