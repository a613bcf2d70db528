"""The methods, one module each.

A module exports ``Options`` (frozen dataclass, the paper's defaults), ``stages(options, config,
noise) -> list[Stage]``, and ``TRAINING``: loop settings for use without a preset. A new method is
a new file here; nothing has to be registered. One that leaves the training to another method
(``auto``) also exports ``choose(options, config, noise)``.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from labelrepair.config import from_dict
from labelrepair.errors import ConfigError, nearest
from labelrepair.estimation import NoiseEstimate
from labelrepair.training import Stage, TrainingConfig, scale_epochs


class Choice(NamedTuple):
    """Attributes: method; options: what it is given; why: one sentence, empty if nobody chose."""

    method: str
    options: dict[str, Any]
    why: str


class Method(Protocol):
    """What a method module offers."""

    Options: type
    TRAINING: Mapping[str, Any]

    def stages(
        self, options: Any, config: TrainingConfig, noise: NoiseEstimate | None
    ) -> list[Stage]:
        """Return the stages of training."""


def available() -> list[str]:
    """Return the names of all methods, in alphabetical order."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load(name: str) -> Method:
    """Import a method by name.

    Raises:
        ConfigError: there is no such method; the message names the nearest one.
    """
    if name not in available():
        raise ConfigError(f"method: unknown method '{name}'; {nearest(str(name), available())}")
    return cast(Method, importlib.import_module(f"{__name__}.{name}"))


def plan(
    name: str,
    options: Mapping[str, Any] | None,
    config: TrainingConfig,
    noise: NoiseEstimate | None,
    where: str = "options",
) -> Sequence[Stage]:
    """Return the stages of a method for raw options, with ``config.budget`` applied to all epochs.

    Raises:
        ConfigError: unknown method or option, a value out of range, or an estimate that the method
            needs and did not get.
    """
    method = load(name)
    settings: Any = from_dict(method.Options, options, where)
    budget = config.budget
    return method.stages(scale_epochs(settings, budget), scale_epochs(config, budget), noise)


def chooses(name: str) -> bool:
    """Return whether this method leaves the training to one that it chooses."""
    return hasattr(load(name), "choose")


def chosen(
    name: str,
    options: Mapping[str, Any] | None,
    config: TrainingConfig,
    noise: NoiseEstimate | None,
) -> Choice:
    """Return what trains under this name: itself, unless it is a method that chooses another."""
    if not chooses(name):
        return Choice(name, dict(options or {}), "")
    module: Any = load(name)
    found: Choice = module.choose(from_dict(module.Options, options, "options"), config, noise)
    return found._replace(why=f"{name}: {found.why}")
