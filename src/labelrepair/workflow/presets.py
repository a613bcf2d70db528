"""Named recipes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labelrepair import methods
from labelrepair.config import from_dict, to_dict
from labelrepair.errors import ConfigError
from labelrepair.training import TrainingConfig


@dataclass(frozen=True)
class Preset:
    """A named recipe: one method with its options and loop settings.

    Attributes:
        name: the preset's own name; checked against the name it was chosen by.
        method: a module of :mod:`labelrepair.methods`.
        options: the method's options, checked by the method.
        training: loop settings.
        source: where the numbers come from (paper and table), for people.
    """

    name: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    training: TrainingConfig = TrainingConfig()
    source: str = ""


def choose_preset(recipe: Mapping[str, Any], name: str) -> Preset:
    """Build the preset and refuse one that was not chosen, or whose method does not know it.

    Raises:
        ConfigError: ``recipe`` is another preset than ``name``: a ``preset`` set where Kedro does
            not look for it would otherwise leave the old one active silently. Or an unknown method
            or option, with the nearest valid one.
    """
    preset = from_dict(Preset, recipe, "recipe")
    if preset.name != name:
        raise ConfigError(
            f"preset: '{name}' was asked for, but the recipe loaded is '{preset.name}'; choose "
            "with 'kedro run --params preset=NAME' or in globals.yml"
        )
    from_dict(methods.load(preset.method).Options, preset.options, "recipe.options")
    return preset


def resolved(preset: Preset) -> dict[str, Any]:
    """Return a preset as plain values with every default filled in; nothing stays implicit."""
    options: Any = from_dict(methods.load(preset.method).Options, preset.options, "options")
    filled: dict[str, Any] = to_dict(preset) | {"options": to_dict(options)}
    return filled
