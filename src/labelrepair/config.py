"""One strict builder that turns plain dictionaries (YAML) into frozen dataclasses."""

import dataclasses
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from labelrepair.errors import ConfigError, nearest

T = TypeVar("T")
MOST_INT = 2**63  # NumPy's and torch's whole numbers have 64 bits
PER_CORE = 4  # processes or threads; with more, a machine only suffers


def from_dict(cls: type[T], raw: Mapping[str, Any] | None, where: str = "") -> T:
    """Build a dataclass from a mapping; refuse what it does not know.

    Args:
        cls: a dataclass type. Nested dataclass fields are built recursively, over the field's own
            default; lists become tuples where the annotation says so; an int is accepted for a
            float; nothing else is coerced.
        raw: the values by field name; missing ones take the dataclass's default.
        where: the path of ``raw`` inside the configuration, for messages ("training.options").

    Returns:
        The dataclass, whose ``__post_init__`` has checked its ranges.

    Raises:
        ConfigError: for an unknown key (with the nearest valid one), a missing required key or a
            value of the wrong type; the message begins with the path of the key.
    """
    raw = {} if raw is None else raw
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where or cls.__name__}: expected a mapping, found {raw!r}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in raw:
        if key not in fields:
            raise ConfigError(
                f"{_join(where, str(key))}: unknown option; {nearest(str(key), fields)}"
            )
    values = {
        key: _convert(hints[key], _over_default(fields[key].default, value), _join(where, key))
        for key, value in raw.items()
    }
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            raise ConfigError(f"{_join(where, name)}: missing; it has no default")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{_join(where, str(error))}" if where else str(error)) from None


def to_dict(value: Any) -> Any:
    """Return a dataclass as plain nested dicts and lists, the inverse of :func:`from_dict`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_dict(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_dict(item) for key, item in value.items()}
    return value


def non_defaults(value: Any) -> Any:
    """Return what :func:`from_dict` needs to rebuild a dataclass: fields at their default left out.

    A field added later, with a default that changes nothing, leaves the result as it was; so what
    is named by a hash of it (a finished benchmark cell) stays valid.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: non_defaults(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if getattr(value, f.name) != _default(f)
        }
    if isinstance(value, tuple | list):
        return [non_defaults(item) for item in value]
    if isinstance(value, Mapping):
        return {key: non_defaults(item) for key, item in value.items()}
    return value


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def require(condition: bool, message: str) -> None:
    """Raise :class:`ConfigError` with ``message`` ("field: rule, found x") unless ``condition``."""
    if not condition:
        raise ConfigError(message)


def in_unit_interval(**values: float | None) -> None:
    """Check that every named value is None or lies in [0, 1]."""
    for name, value in values.items():
        if value is not None and not 0.0 <= value <= 1.0:
            raise ConfigError(f"{name}: must lie in [0, 1], found {value}")


def positive(**values: float | None) -> None:
    """Check that every named value is None or greater than zero, and finite."""
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name}: must be greater than 0 and finite, found {value}")


def not_negative(**values: float) -> None:
    """Check that every named value is at least zero, and finite."""
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ConfigError(f"{name}: must be >= 0 and finite, found {value}")


def below_one(**values: float | None) -> None:
    """Check that every named value is None or lies in [0, 1): what remains of a running mean."""
    for name, value in values.items():
        if value is not None and not 0.0 <= value < 1.0:
            raise ConfigError(f"{name}: must lie in [0, 1), found {value}")


def within(low: float, high: float, **values: float) -> None:
    """Check that every named value lies in [low, high]."""
    for name, value in values.items():
        if not low <= value <= high:
            raise ConfigError(f"{name}: must lie in [{low}, {high}], found {value}")


def whole(least: int, **values: Any) -> None:
    """Check that every named value is a whole number, no bool, and at least ``least``."""
    for name, value in values.items():
        number = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not (number and value >= least):
            kind = type(value).__name__
            raise ConfigError(
                f"{name}: expected a whole number of at least {least}, found {value!r} ({kind})"
            )


def affordable(**counts: int) -> None:
    """Check that named numbers of processes or threads suit this machine."""
    cores = os.cpu_count() or 1
    for name, value in counts.items():
        if not 0 <= value <= PER_CORE * cores:
            raise ConfigError(
                f"{name}: expected 0 to {PER_CORE * cores} ({PER_CORE} for each of the {cores} "
                f"cores of this machine), found {value}"
            )


def one_of(valid: tuple[str, ...], **values: str) -> None:
    """Check that every named value is one of ``valid``."""
    for name, value in values.items():
        if value not in valid:
            raise ConfigError(f"{name}: unknown value '{value}'; {nearest(str(value), valid)}")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _over_default(default: Any, value: Any) -> Any:
    """Complete a nested mapping: it changes the field's own default, not the type's."""
    if not isinstance(value, Mapping) or not dataclasses.is_dataclass(default):
        return value
    return {f.name: getattr(default, f.name) for f in dataclasses.fields(default)} | dict(value)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Return ``value`` as the annotation ``hint`` wants it, or raise ConfigError."""
    if isinstance(value, np.generic):  # of a grid that np.arange made
        value = value.item()
    if hint is Any or (dataclasses.is_dataclass(hint) and isinstance(value, hint)):  # type: ignore[arg-type]
        return value
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    of_generic = _CONVERTERS.get(typing.get_origin(hint) or hint)
    if of_generic is not None:
        return of_generic(typing.get_args(hint), value, where)
    return _convert_scalar(hint, value, where)


def _convert_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    errors = []
    for arg in args:
        if arg is type(None):
            continue
        try:
            return _convert(arg, value, where)
        except ConfigError as error:
            errors.append(error)
    raise errors[0] if errors else ConfigError(f"{where}: unexpected value {value!r}")


def _convert_literal(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value not in args:
        raise ConfigError(f"{where}: unknown value {value!r}; {nearest(str(value), args)}")
    return value


def _convert_dict(args: tuple[Any, ...], value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a mapping, found {value!r}")
    inner = args[1] if args else Any
    for key in value:
        if args and args[0] is str and not isinstance(key, str):
            raise ConfigError(f"{where}: expected text as names, found {key!r}")
    return {key: _convert(inner, item, _join(where, str(key))) for key, item in value.items()}


def _convert_tuple(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: expected a list, found {value!r}")
    if args[-1] is Ellipsis:
        return tuple(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(args) != len(value):
        raise ConfigError(f"{where}: expected {len(args)} items, found {len(value)}")
    pairs = zip(args, value, strict=True)
    return tuple(_convert(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(pairs))


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint in (int, float) and isinstance(value, int) and not -MOST_INT <= value < MOST_INT:
        found = f"found one of {value.bit_length()} bits"
        raise ConfigError(f"{where}: expected a whole number of less than 64 bits, {found}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wrong_bool = isinstance(value, bool) and hint is not bool
    if wrong_bool or not isinstance(value, hint):
        raise ConfigError(
            f"{where}: expected {hint.__name__}, found {value!r} ({type(value).__name__})"
        )
    return value


_CONVERTERS: dict[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {
    typing.Union: _convert_union,
    types.UnionType: _convert_union,
    typing.Literal: _convert_literal,
    tuple: _convert_tuple,
    dict: _convert_dict,
}
