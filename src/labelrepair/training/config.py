"""Settings of the training loop: what every method shares. Defaults are JoCoR's on MNIST."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

from labelrepair.config import (
    affordable,
    below_one,
    in_unit_interval,
    not_negative,
    one_of,
    positive,
    require,
    within,
)
from labelrepair.networks import check_name
from labelrepair.training.device import named_device

T = TypeVar("T")
MOST_EPOCHS = 10**6  # the longest of the papers are 720; the history has a row for each
MOST_ROWS = 2**31 - 1  # in effect all of them, in one batch or in one look
MOST_WINDOW = 100  # ten times the papers'; each epoch in it keeps all rows' probabilities
MOST_CROP = 512  # pixels: the papers pad by 4, and each side of every image in a batch grows by it


def epochs_field(default: int | None) -> Any:
    """A dataclass field that counts epochs, so that :func:`scale_epochs` finds it."""
    return field(default=default, metadata={"epochs": True})


@dataclass(frozen=True)
class Schedule:
    """Learning rate (and Adam's beta1) as a pure function of the epoch.

    Attributes:
        epochs: passes over the training rows.
        lr: first learning rate.
        milestones: epochs (0-based) from which the rate is multiplied by ``factor`` once more.
        factor: see ``milestones``.
        rates: learning rates from each milestone on, instead of ``factor``.
        decay_from: epoch from which the rate falls linearly, to reach 0 after the last epoch.
        beta1_after: Adam's beta1 from ``decay_from`` on; 0.1 in the Co-teaching family's code.
    """

    epochs: int = epochs_field(200)
    lr: float = 0.001
    milestones: tuple[int, ...] = field(default=(), metadata={"epochs": True})
    factor: float = 0.1
    rates: tuple[float, ...] = ()
    decay_from: int | None = epochs_field(None)
    beta1_after: float | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        positive(epochs=self.epochs, lr=self.lr, factor=self.factor)
        within(1, MOST_EPOCHS, epochs=self.epochs)
        below_one(beta1_after=self.beta1_after)
        require(
            len(self.rates) in (0, len(self.milestones)),
            f"rates: one for each of {len(self.milestones)} milestones, found {len(self.rates)}",
        )
        require(
            all(0 < rate < math.inf for rate in self.rates),
            f"rates: must be > 0 and finite, found {self.rates}",
        )

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of a 0-based epoch."""
        passed = sum(epoch >= milestone for milestone in self.milestones)
        rate = (self.lr, *self.rates)[passed] if self.rates else self.lr * self.factor**passed
        if self.decay_from is not None and epoch >= self.decay_from:
            rate *= (self.epochs - epoch) / max(1, self.epochs - self.decay_from)
        return rate

    def beta1_at(self, epoch: int, beta1: float) -> float:
        """Return Adam's beta1 of a 0-based epoch, given the optimizer's own ``beta1``."""
        late = self.decay_from is not None and epoch >= self.decay_from
        return self.beta1_after if late and self.beta1_after is not None else beta1


@dataclass(frozen=True)
class Optimizer:
    """Which optimizer and its constants; the learning rate is in :class:`Schedule`."""

    name: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float | None = None

    def __post_init__(self) -> None:
        """Check names and ranges."""
        one_of(("adam", "sgd", "adagrad"), name=self.name)
        in_unit_interval(momentum=self.momentum)
        require(
            all(0 <= beta < 1 for beta in self.betas),
            f"betas: both must lie in [0, 1), found {self.betas}",
        )
        not_negative(weight_decay=self.weight_decay)
        positive(eps=self.eps)


@dataclass(frozen=True)
class Augment:
    """Random crop after padding by ``crop`` pixels, and random horizontal ``flip``."""

    crop: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        within(0, MOST_CROP, crop=self.crop)

    @property
    def active(self) -> bool:
        """Whether anything is to be done."""
        return self.crop > 0 or self.flip


@dataclass(frozen=True)
class Network:
    """Name (or import path ``package.module:Class``) and options of the network."""

    name: str = "mlp"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Distributed:
    """Several processes, or GPUs, for one training; the result stays that of one, up to rounding.

    Attributes:
        processes: on this machine; 1 = this one. Under torchrun its own processes are taken.
        backend: ``nccl``, ``gloo``, or ``auto``: NCCL where each process has its own GPU.
        timeout: seconds without a sign of another process after which it counts as lost.
    """

    processes: int = 1
    backend: str = "auto"
    timeout: float = 600.0

    def __post_init__(self) -> None:
        """Check names and ranges."""
        positive(processes=self.processes, timeout=self.timeout)
        affordable(processes=self.processes)
        one_of(("auto", "gloo", "nccl"), backend=self.backend)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything about training that is not the method's own.

    Attributes:
        network: architecture.
        optimizer: optimizer and constants.
        schedule: of methods with a single stage; the others carry schedules in their options.
        batch_size: B.
        drop_last: leave the epoch's last, smaller batch out (two-network methods).
        max_batches: batches after which an epoch ends, the rows drawn anew in each; 0 = all of
            them. The code of JoCoR stops after 401 of MNIST's 468.
        normalize: ``none``, ``pixel_mean``, ``channel_mean``, ``standardize``, or ``auto``, which
            standardizes vectors, whose numbers have any scale, and leaves images and tokens alone.
        augment: crop and flip, on images.
        validation_fraction: share of the training rows held out, stratified by given label, when
            the label table brings no validation split; 0 trains on all.
        budget: factor on every number of epochs, proportions kept (0.1 = a tenth of the paper's).
        evaluate_every: epochs between looks at validation and test split.
        test_every: the test split is looked at in epochs divisible by this one too; of a large one
            that can be most of an evaluation. A stage's last epoch and the trained model always
            are measured on both.
        checkpoint_every: epochs between checkpoints.
        precision: ``float32`` or ``bfloat16`` (autocast; losses stay float32).
        memory_format: how convolutions lay images out: ``contiguous``, ``channels_last``, or
            ``auto``, the latter on a CPU and under bfloat16. The formulas are the same.
        device: ``auto`` (CUDA, then CPU) or a torch device name.
        threads: CPU threads of the training process; 0 leaves torch's choice, one per core. Sums in
            another number of parts differ in their last bits: to get the same result on
            machines of different sizes, set it.
        distributed: several processes or GPUs.
    """

    network: Network = Network()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    batch_size: int = 128
    drop_last: bool = False
    max_batches: int = 0
    normalize: str = "auto"
    augment: Augment = Augment()
    validation_fraction: float = 0.0
    budget: float = 1.0
    evaluate_every: int = 1
    test_every: int = 1
    checkpoint_every: int = 1
    precision: str = "float32"
    memory_format: str = "auto"
    device: str = "auto"
    threads: int = 0
    distributed: Distributed = Distributed()

    def __post_init__(self) -> None:
        """Check names and ranges; network and device now, as trainings may come hours later."""
        check_name(self.network.name, self.network.options)
        if self.device != "auto":
            named_device(self.device)
        kinds = ("auto", "none", "pixel_mean", "channel_mean", "standardize")
        one_of(kinds, normalize=self.normalize)
        one_of(("float32", "bfloat16"), precision=self.precision)
        one_of(("auto", "contiguous", "channels_last"), memory_format=self.memory_format)
        in_unit_interval(validation_fraction=self.validation_fraction)
        require(self.validation_fraction < 1, "validation_fraction: must be less than 1")
        positive(
            batch_size=self.batch_size,
            budget=self.budget,
            evaluate_every=self.evaluate_every,
            test_every=self.test_every,
            checkpoint_every=self.checkpoint_every,
        )
        within(1, MOST_ROWS, batch_size=self.batch_size)
        within(0, MOST_ROWS, max_batches=self.max_batches)
        affordable(threads=self.threads)


def scale_epochs(value: T, factor: float) -> T:
    """Return a settings dataclass with every number of epochs multiplied by ``factor``.

    Fields made with :func:`epochs_field` and nested dataclasses are scaled; a positive number of
    epochs stays at least 1. ``factor=1`` returns the value unchanged.
    """
    if factor == 1.0 or not dataclasses.is_dataclass(value):
        return value
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(value):
        current = getattr(value, item.name)
        if item.metadata.get("epochs"):
            changes[item.name] = _scaled(current, factor)
        elif dataclasses.is_dataclass(current):
            changes[item.name] = scale_epochs(current, factor)
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]


def _scaled(value: Any, factor: float) -> Any:
    if value is None or value == 0:
        return value
    if isinstance(value, tuple):
        return tuple(_scaled(item, factor) for item in value)
    return max(1, round(value * factor))
