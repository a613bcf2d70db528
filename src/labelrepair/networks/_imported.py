"""Networks from elsewhere, by import path: any factory that returns an ``nn.Module``."""

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from labelrepair.config import require
from labelrepair.errors import ConfigError, nearest


def build_imported(
    path: str, in_shape: tuple[int, ...], num_classes: int, options: dict[str, Any]
) -> nn.Module:
    """Call the factory at ``path`` ("package.module:Class" or "package.module.Class").

    ``in_shape`` is passed if the factory's signature names it, ``num_classes`` if the signature
    names it or takes ``**kwargs`` (torchvision's and timm's factories hand those on).

    Raises:
        ConfigError: if the import fails, the factory does not take the options, or it returns
            something else than an ``nn.Module``.
    """
    factory = _load(path)
    arguments = dict(options)
    parameters, open_ended = _parameters(factory)
    if "in_shape" in parameters:
        arguments["in_shape"] = in_shape
    if "num_classes" in parameters or open_ended:
        arguments["num_classes"] = num_classes
    if not open_ended:
        for key in options:
            if key not in parameters:
                raise ConfigError(
                    f"network {path}: unknown option '{key}'; {_hint(key, parameters)}"
                )
    try:
        network = factory(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"network {path}: called with {sorted(arguments)}, it raised TypeError: {error}"
        ) from error
    require(
        isinstance(network, nn.Module),
        f"network {path}: expected an nn.Module, found {type(network).__name__}",
    )
    return network  # type: ignore[no-any-return]


def _load(path: str) -> Callable[..., Any]:
    module_name, separator, attribute = path.partition(":")
    if not separator:
        module_name, _, attribute = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
        factory = functools.reduce(getattr, attribute.split("."), module)
    # Whatever a foreign module raises while it is imported, the configuration named the module.
    except Exception as error:
        raise ConfigError(
            f"network {path}: tried to import '{attribute}' from module '{module_name}': "
            f"{type(error).__name__}: {error}"
        ) from error
    require(callable(factory), f"network {path}: expected a class or function, found {factory!r}")
    return factory  # type: ignore[return-value]


def _parameters(factory: Callable[..., Any]) -> tuple[list[str], bool]:
    """Return the names a factory takes as keywords, and whether it takes any name."""
    if getattr(factory, "__init__", None) is nn.Module.__init__:
        return [], False  # its signature is (*args, **kwargs), but it refuses all of them
    parameters = inspect.signature(factory).parameters.values()
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [p.name for p in parameters if p.kind in by_keyword]
    return names, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _hint(key: str, parameters: list[str]) -> str:
    options = [name for name in parameters if name not in ("in_shape", "num_classes")]
    return nearest(key, options) if options else "it takes no options"
