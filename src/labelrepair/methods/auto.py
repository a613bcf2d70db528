"""The method that the estimated noise asks for.

Not of a paper: a rule on what the estimation pipeline says of the noise, read off our own tables
(``docs/results.md``, the ``repair_`` grids). It looks at the noise rate, the number of rows, how
well the probe tells the classes apart, the structure of T
(:func:`labelrepair.transition.paired_share`) and the kind of network, names a method, and leaves
all else to it.

``choose`` says which and why; the training report, the log and the model card repeat it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labelrepair import methods
from labelrepair.config import from_dict, in_unit_interval, require
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.training import Stage, TrainingConfig, scale_epochs
from labelrepair.transition import paired_share

logger = logging.getLogger(__name__)
TRAINING: Mapping[str, Any] = {"schedule": {"epochs": 40, "lr": 0.001, "decay_from": 16}}

FORWARD: dict[str, Any] = {"direction": "forward", "transition": "given", "keep": "last"}


@dataclass(frozen=True)
class Candidate:
    """Attributes: method: of :func:`labelrepair.methods.available`; options: the method's."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check names and ranges now rather than after the noise has been estimated."""
        require(self.method != "auto", "method: auto cannot choose itself")
        from_dict(methods.load(self.method).Options, self.options, "options")


@dataclass(frozen=True)
class Options:
    """The rule.

    Attributes:
        clean_below: the method is ``clean`` where the noise rate's interval ends below this.
        small_below: it is ``small`` where there are fewer rows than this.
        apart_above: it is ``close`` where the probe's accuracy (estimated without the truth) is
            below this, or not known: two networks that have to agree lose the rows between
            classes.
        paired_apart_above: the same limit where the noise is paired, which has misled the probe,
            too.
        paired_above: it is ``paired`` where at least this share of the wrong labels goes to one
            class for each true class (3 classes and more).
        text_networks: those of words. They drop most of what they read at random (80 %) and
            learn too slowly to tell wrong labels by their losses, or to agree.
        clean: hardly a wrong label.
        text: the network is one of ``text_networks``; forward correction by the estimated T.
        small: too few rows for JoCoR's weight on agreement; Joint-only.
        close: classes that the probe does not tell apart well; Joint-only.
        paired: classes are mixed up in pairs.
        spread: wrong labels fall anywhere.
    """

    clean_below: float = 0.02
    small_below: int = 5_000
    apart_above: float = 0.92
    paired_apart_above: float = 0.86
    paired_above: float = 0.5
    text_networks: tuple[str, ...] = ("embedding", "embedding_lstm")
    # Factories, so that another method does not inherit the options of the default one.
    clean: Candidate = field(default_factory=lambda: Candidate("cross_entropy"))
    text: Candidate = field(default_factory=lambda: Candidate("loss_correction", dict(FORWARD)))
    small: Candidate = field(default_factory=lambda: Candidate("jocor", {"co_lambda": 0.0}))
    close: Candidate = field(default_factory=lambda: Candidate("jocor", {"co_lambda": 0.0}))
    paired: Candidate = field(default_factory=lambda: Candidate("jocor"))
    spread: Candidate = field(default_factory=lambda: Candidate("jocor"))

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.small_below >= 0, f"small_below: must be >= 0, found {self.small_below}")
        in_unit_interval(clean_below=self.clean_below, paired_above=self.paired_above)
        in_unit_interval(apart_above=self.apart_above, paired_apart_above=self.paired_apart_above)


def choose(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> methods.Choice:
    """Return the method for this noise and network, and why it.

    Raises:
        ConfigError: there is no estimate to choose by.
    """
    if noise is None:
        raise ConfigError("noise_rate: auto chooses by the estimated noise; run the estimation")
    high, share = noise.interval[1], paired_share(noise.transition, noise.class_prior)
    paired = len(noise.transition) > 2 and share >= options.paired_above
    limit = options.paired_apart_above if paired else options.apart_above
    if high < options.clean_below:
        found = options.clean
        why = f"at most {high:.1%} of the labels are wrong (limit {options.clean_below:.1%})"
    elif config.network.name in options.text_networks:
        found = options.text
        why = f"{noise.noise_rate:.1%} of the labels are wrong, and networks of kind"
        why += f" '{config.network.name}' learn too slowly to tell rows by their losses"
    elif noise.rows is not None and noise.rows < options.small_below:
        found = options.small
        why = f"{noise.noise_rate:.1%} of only {noise.rows:,} labels are wrong (limit"
        why += f" {options.small_below:,} rows)"
    elif noise.probe_accuracy is None or noise.probe_accuracy < limit:
        found = options.close
        right = noise.probe_accuracy
        told = "how well a plain network tells the classes apart is not known"
        if right is not None:
            told = f"a plain network is right about {right:.1%} of the rows"
            told += f" (limit {limit:.0%})"
        why = f"{noise.noise_rate:.1%} of the labels are wrong, and {told}"
    elif paired:
        found = options.paired
        why = f"{share:.0%} of the wrong labels go to one class each (limit"
        why += f" {options.paired_above:.0%}), {noise.noise_rate:.1%} of the labels are wrong"
    else:
        found = options.spread
        why = f"{noise.noise_rate:.1%} of the labels are wrong and spread over the classes"
    return methods.Choice(found.method, found.options, why)


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the stages of the chosen method."""
    chosen = choose(options, config, noise)
    told = ", ".join(f"{name} {value}" for name, value in chosen.options.items())
    logger.info("auto: %s%s, as %s", chosen.method, told and f" ({told})", chosen.why)
    module = methods.load(chosen.method)
    settings: Any = from_dict(module.Options, chosen.options, "options")
    return module.stages(scale_epochs(settings, config.budget), config, noise)
