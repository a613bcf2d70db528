"""What a grid is: noises x methods x seeds on one data set, and the name of each cell."""

import json
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from labelrepair import methods
from labelrepair.benchmark.baselines import BASELINES
from labelrepair.config import affordable, from_dict, non_defaults, one_of, require
from labelrepair.data import SourceSpec
from labelrepair.noise import NoiseSpec
from labelrepair.refinement import RefinementSpec
from labelrepair.training import TrainingConfig
from labelrepair.workflow import Preset

MEASURES = (
    "test_accuracy_last",
    "test_accuracy_last10",
    "test_accuracy_best_val",
    "test_accuracy_model",
    "recovery_accuracy",
)


@dataclass(frozen=True)
class GridNoise:
    """One column group of a table.

    Attributes:
        name: the published id of the noise, e.g. ``symmetric_exclusive``.
        rate: the published nominal rate.
        spec: what is injected.
    """

    name: str
    rate: float
    spec: NoiseSpec


@dataclass(frozen=True)
class GridMethod:
    """One row of a table; ``training`` is laid over the grid's.

    Attributes:
        method: module of :mod:`labelrepair.methods`, or of the baselines (``cleanlab``).
        options: its options.
        training: loop settings that differ from the grid's, top-level keys replaced whole.
    """

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """One table.

    Attributes:
        name: of the grid.
        paper, table, dataset, model: which published rows to put beside it; ``model`` None = any.
        source: the data; its labels must be true.
        noises: see :class:`GridNoise`.
        methods: by published method id.
        training: loop settings that all methods share.
        seeds: one run each; noise, initialisation and order all vary with it.
        measure: what is compared: one of :data:`MEASURES`.
        quantity: another published quantity that the page shows; its
            values may be those of another data set than ours, which the note then says.
        noise_known: hand the methods the true T and realised rate, as the papers do (an oracle);
            False estimates them as a user would have to.
        one_noise: one draw of the noise for all seeds, as in JoCoR's code; False draws anew.
        clean_validation: judge validation rows by their true labels, as in Tanaka et al.'s code
            (an oracle); no gradient step uses these rows.
        refinement: the second look at every method's repair; measured beside the method's own.
        jobs: cells side by side, each on one thread; 0 = as many as there are cores.
        run_missing: False shows the finished cells only and trains none.
        note: printed over the table.
        remarks: printed under it: what was tried where a published value is missed.
    """

    name: str
    paper: str
    table: str
    dataset: str
    source: SourceSpec
    noises: tuple[GridNoise, ...]
    methods: dict[str, GridMethod]
    model: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1)
    measure: str = "test_accuracy_last10"
    quantity: Literal["", "filter", "recovery_by_confidence"] = ""
    noise_known: bool = True
    one_noise: bool = False
    clean_validation: bool = False
    refinement: RefinementSpec = RefinementSpec(rounds=0)
    jobs: int = 0
    run_missing: bool = True
    note: str = ""
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check names and ranges."""
        one_of(MEASURES, measure=self.measure)
        require(len(self.seeds) > 0, "seeds: at least one is needed")
        require(len(set(self.seeds)) == len(self.seeds), f"seeds: one is repeated in {self.seeds}")
        require(len(self.noises) > 0 and len(self.methods) > 0, "noises, methods: none given")
        require(
            self.noise_known or not self.clean_validation,
            "clean_validation: only where noise_known is true; an estimate would see true labels",
        )
        affordable(jobs=self.jobs)
        for name in self.methods:
            preset_of(self, name)


@dataclass(frozen=True)
class Cell:
    """One row, noise and seed of a grid."""

    grid: Grid
    noise: GridNoise
    method: str
    seed: int

    @property
    def key(self) -> str:
        """A readable name with a hash of everything that decides the result.

        Values at their default are left out, so that a new setting leaves finished cells valid; who
        changes a default removes the cells that it decided.
        """
        row = self.grid.methods[self.method]
        preset = preset_of(self.grid, self.method)
        options: Any = from_dict(_options_of(row.method), row.options, "options")
        content = {
            "source": source_content(self.grid),
            "noise": non_defaults(self.noise),
            "method": row.method,
            "options": non_defaults(options),
            "training": non_defaults(preset.training),
            "noise_known": self.grid.noise_known,
            "seed": self.seed,
        }
        for setting in ("one_noise", "clean_validation"):
            if getattr(self.grid, setting):
                content[setting] = True
        if self.grid.refinement.rounds:
            content["refinement"] = non_defaults(self.grid.refinement)
        digest = blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=5).hexdigest()
        return f"{self.method}-{self.noise.name}-{self.noise.rate}-{self.seed}-{digest}"


def preset_of(grid: Grid, method: str) -> Preset:
    """Return the recipe of one row.

    Raises:
        ConfigError: unknown method, option or setting, with its path.
    """
    row = grid.methods[method]
    training = from_dict(
        TrainingConfig, {**grid.training, **row.training}, f"benchmark.methods.{method}.training"
    )
    from_dict(_options_of(row.method), row.options, f"benchmark.methods.{method}.options")
    return Preset(f"{grid.name}.{method}", row.method, row.options, training)


def _options_of(method: str) -> type:
    return BASELINES[method][0] if method in BASELINES else methods.load(method).Options


def source_content(grid: Grid) -> dict[str, Any]:
    """Return the source's settings without the folders that it lies in on this machine."""
    content: dict[str, Any] = non_defaults(grid.source)
    content.pop("root", None)
    if "path" in content:
        content["path"] = Path(content["path"]).name
    if "files" in content:
        content["files"] = {key: Path(file).name for key, file in content["files"].items()}
    return content
