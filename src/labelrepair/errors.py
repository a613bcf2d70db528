"""Errors that a user can act on: what was found, where, and what was expected."""

import difflib
from collections.abc import Iterable


class LabelRepairError(ValueError):
    """Base of every error that labelrepair raises on purpose."""


class DataError(LabelRepairError):
    """The input data break a rule; the message names the file, the row and the rule."""


class ConfigError(LabelRepairError):
    """A parameter is unknown, missing, of the wrong type or out of range."""


class TransitionError(LabelRepairError):
    """A transition matrix is not row-stochastic, of the wrong shape, or cannot be inverted."""


class CheckpointError(LabelRepairError):
    """A checkpoint belongs to other data, another configuration, or is damaged."""


class StoreError(LabelRepairError):
    """A store (MLflow's server or registry, a folder) cannot be reached, written, or is in use."""


def shown(value: object, most: int = 120) -> str:
    """Return a value as text that fits into a message: its middle is left out where it is long."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint for an unknown name: the nearest valid one, or the whole list.

    Args:
        name: the name that was found.
        valid: the names that would have been accepted.

    Returns:
        ``"did you mean 'x'?"``, ``"expected one of a, b, c"`` or, where nothing is valid,
        ``"there is none"``, ready to end a message.
    """
    names = sorted(valid)
    if not names:
        return "there is none"
    close = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(names)
    return f"did you mean '{close[0]}'? (valid: {listed})" if close else f"expected one of {listed}"
