"""The one door to the readers: a source described in the configuration becomes Samples."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from labelrepair.config import in_unit_interval, one_of, require, whole, within
from labelrepair.data.builtin import read_digits, read_torchvision
from labelrepair.data.clothing1m import read_clothing1m
from labelrepair.data.huggingface import read_huggingface
from labelrepair.data.image_folder import read_image_folder
from labelrepair.data.manifest import read_manifest
from labelrepair.data.npz import read_npz
from labelrepair.data.open_set import mix_open_set
from labelrepair.data.overlay import overlay_labels
from labelrepair.data.samples import UNKNOWN, Samples, check_samples
from labelrepair.data.tokens import RESERVED, check_token_pattern
from labelrepair.errors import ConfigError, nearest

LARGEST_SIDE = 10_000  # pixels; a hundred million, as many as Pillow opens without a warning
LONGEST_TEXT = 1_000_000  # tokens; more than the longest novel, and 4 MB a text
DECODE = "decode"  # an argument of readers of images that is no option of a source


@dataclasses.dataclass(frozen=True)
class SourceSpec:
    """Where the data are and how to read them.

    ``kind`` chooses the reader in ``READERS``; the other fields are its arguments, described there.
    None means "not set": the reader's default holds. An option that the kind does not know is
    refused, so that none is ever ignored.

    Raises:
        ConfigError: unknown kind (with the nearest one), an option that is not the kind's, a
            required option that is missing, or a value out of range.
    """

    kind: str
    name: str | None = None
    root: str | None = None
    download: bool | None = None
    path: str | None = None
    files: dict[str, str] | None = None
    id_column: str | None = None
    label_column: str | None = None
    path_column: str | None = None
    image_column: str | None = None
    text_column: str | None = None
    feature_columns: tuple[str, ...] | None = None
    split_column: str | None = None
    true_label_column: str | None = None
    image_root: str | None = None
    image_size: tuple[int, int] | None = None
    mode: str | None = None
    vocabulary_size: int | None = None
    length: int | None = None
    token_pattern: str | None = None
    features_key: str | None = None
    labels_key: str | None = None
    split_key: str | None = None
    ids_key: str | None = None
    true_labels_key: str | None = None
    class_names: tuple[str, ...] | None = None
    labels_are_true: bool | None = None
    add_clean_train: bool | None = None
    base: "SourceSpec | None" = None
    labels: str | None = None
    key: str | None = None
    column: str | None = None
    other: "SourceSpec | None" = None
    rate: float | None = None
    seed: int | None = None
    added: bool | None = None

    def __post_init__(self) -> None:
        """Check the options against the reader's parameters, and their ranges."""
        one_of(tuple(READERS), kind=self.kind)
        parameters = _parameters(self.kind)
        for option in self.options():
            if option not in parameters:
                hint = nearest(option, parameters) if parameters else "it has no options"
                raise ConfigError(f"{option}: not an option of source kind '{self.kind}'; {hint}")
        for option, parameter in parameters.items():
            missing = getattr(self, option) is None and parameter.default is parameter.empty
            require(not missing, f"{option}: missing; source kind '{self.kind}' needs it")
        if self.mode is not None:
            one_of(("L", "RGB"), mode=self.mode)
        if self.image_size is not None:
            pair = isinstance(self.image_size, tuple | list) and len(self.image_size) == 2
            require(pair, f"image_size: expected (H, W), found {self.image_size!r}")
            sides = {f"image_size[{i}]": side for i, side in enumerate(self.image_size)}
            whole(1, **sides)
            most, found = LARGEST_SIDE, self.image_size
            require(max(found) <= most, f"image_size: at most {most} pixels a side, found {found}")
        if self.class_names is not None:
            repeated = len(set(self.class_names)) < len(self.class_names)
            require(not repeated, f"class_names: a name is repeated in {self.class_names}")
        if self.length is not None:
            whole(1, length=self.length)
            within(1, LONGEST_TEXT, length=self.length)
        in_unit_interval(rate=self.rate)
        whole(0, seed=self.seed or 0)
        require(self.rate is None or self.rate < 1, "rate: must be less than 1")
        if self.vocabulary_size is not None:
            room = self.vocabulary_size > len(RESERVED)
            require(room, f"vocabulary_size: must exceed {len(RESERVED)} reserved ids")
        if self.token_pattern is not None:
            check_token_pattern(self.token_pattern)

    def options(self) -> dict[str, Any]:
        """Return the options that are set, by name."""
        set_fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: v for k, v in set_fields.items() if k != "kind" and v is not None}


def read_source(spec: SourceSpec, *, decode: bool = True) -> Samples:
    """Read a source, check it, and return its samples sorted by ``sample_id``.

    The order is that of :func:`labelrepair.label_table.make_label_table`, so that row r of
    ``features`` belongs to row r of the table.

    Args:
        spec: the source.
        decode: decode images now, into one array; else features may be
            :class:`~labelrepair.data.images.EncodedImages`, of which only the first was looked at.

    Raises:
        DataError: the data break a rule; see the reader and
            :func:`labelrepair.data.samples.check_samples`.
        ConfigError: options that contradict each other.
    """
    samples = _read(spec, decode)
    order = np.argsort(samples.sample_ids, kind="stable")
    is_sorted = bool((order == np.arange(len(order))).all())
    return samples if is_sorted else samples.take(order)


def _read(spec: SourceSpec, decode: bool = True) -> Samples:
    """Read and check a source in its own order."""
    reader = READERS[spec.kind]
    knows = DECODE in inspect.signature(reader).parameters
    samples = reader(**spec.options(), **({DECODE: decode} if knows else {}))
    place = next((str(v) for k in ("path", "root", "labels") if (v := getattr(spec, k))), "")
    check_samples(samples, f"{spec.kind} {place}".strip())
    truth = samples.true_labels
    if samples.labels_are_true:
        require(truth is None, "labels_are_true: true labels are also given; leave one out")
        return dataclasses.replace(samples, true_labels=samples.labels.copy())
    if truth is not None and (truth == UNKNOWN).all():
        return dataclasses.replace(samples, true_labels=None)
    return samples


def _parameters(kind: str) -> dict[str, inspect.Parameter]:
    """Return the options of a reader, by name."""
    known = inspect.signature(READERS[kind]).parameters
    return {name: parameter for name, parameter in known.items() if name != DECODE}


def _read_overlay(
    base: SourceSpec,
    labels: str,
    key: str | None = None,
    column: str | None = None,
    *,
    decode: bool = True,
) -> Samples:
    """See overlay_labels; the base keeps its own order until the labels are laid over it."""
    return overlay_labels(_read(base, decode), labels, key, column)


def _read_open_set(
    base: SourceSpec,
    other: SourceSpec,
    rate: float = 0.4,
    seed: int = 0,
    added: bool = False,
) -> Samples:
    """See mix_open_set."""
    return mix_open_set(_read(base), _read(other), rate, seed, added)


READERS: dict[str, Callable[..., Samples]] = {
    "clothing1m": read_clothing1m,
    "digits": read_digits,
    "huggingface": read_huggingface,
    "image_folder": read_image_folder,
    "manifest": read_manifest,
    "npz": read_npz,
    "open_set": _read_open_set,
    "overlay": _read_overlay,
    "torchvision": read_torchvision,
}
