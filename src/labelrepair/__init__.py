"""labelrepair: estimate label noise, train past it, and repair the label table."""

import importlib
from typing import Any

__version__ = "0.1.0"
_HOMES = {
    "RepairResult": "api",
    "RepairedLabels": "api",
    "RobustClassifier": "robust_classifier",
    "repair": "api",
    "repair_with_probs": "api",
}
__all__ = [
    "RepairResult",
    "RepairedLabels",
    "RobustClassifier",
    "__version__",
    "repair",
    "repair_with_probs",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``import labelrepair`` stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"labelrepair.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'labelrepair' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names too, for completion."""
    return sorted({*globals(), *_HOMES})
