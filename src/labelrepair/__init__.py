"""labelrepair: estimate label noise, train past it, and repair the label table."""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["RepairResult", "__version__", "repair"]


def __getattr__(name: str) -> Any:
    """Import the Python face on first use, so that ``import labelrepair`` stays light."""
    if name in ("RepairResult", "repair"):
        return getattr(importlib.import_module("labelrepair.api"), name)
    raise AttributeError(f"module 'labelrepair' has no attribute {name!r}")
