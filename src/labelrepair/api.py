"""The Python face: features (or probabilities) and given labels in, a repaired label table out."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from labelrepair import methods
from labelrepair.config import from_dict, require, to_dict, whole
from labelrepair.data.samples import check_ids, check_not_blank, warn_of_scale
from labelrepair.data.splits import holdout
from labelrepair.errors import ConfigError, DataError, nearest, shown
from labelrepair.estimation import (
    EstimationSpec,
    NoiseEstimate,
    check_probs,
    estimate_noise,
    known_transition,
)
from labelrepair.label_table import ACTION, Action
from labelrepair.networks.classifier import Classifier
from labelrepair.policy import Policy
from labelrepair.refinement import RefinementSpec
from labelrepair.scoring import ScoringSpec
from labelrepair.training import Schedule, TrainingConfig, TrainSet
from labelrepair.training.loop import default_modes
from labelrepair.training.probe import ProbeSpec
from labelrepair.training.seeds import derive_seed
from labelrepair.transition import check_transition
from labelrepair.workflow import (
    Preset,
    default_estimation,
    estimate,
    fit,
    refine,
    repair_rows,
)

MOST_TOKENS = 2**24  # the embedding has a row for every token
FEW_TOKENS = 1000  # ids up to this are token ids in the smallest of tables
IDS_PER_VALUE = 10  # a vocabulary built from the texts has fewer words than the table has values


@dataclass(frozen=True, eq=False, repr=False)
class RepairedLabels:
    """What :func:`repair_with_probs` returns.

    Attributes:
        table: one row per sample, in the order given: ``sample_id``, ``given_label``,
            ``label_quality``, ``is_label_issue``, ``suggested_label``, ``confidence``,
            ``selected`` (methods that select), ``action``, ``repaired_label``, ``label_source``,
            ``reason``.
        probs: float32 ``(N, C)``, the class probabilities that the table is made from.
        transition_matrix: float64 ``(C, C)``, ``T[i, j] = P(given = j | true = i)``.
        noise: the whole estimate: noise rate, bootstrap interval, class prior.
    """

    table: pd.DataFrame
    probs: NDArray[np.float32]
    transition_matrix: NDArray[np.float64]
    noise: NoiseEstimate

    def __repr__(self) -> str:
        """Return the result in one line; the arrays fill a notebook."""
        low, high = self.noise.interval
        found = self.table[ACTION].value_counts()
        actions = ", ".join(f"{action} {found.get(action, 0):,}" for action in Action)
        return (
            f"<{type(self).__name__}: {len(self.table):,} rows; noise rate "
            f"{self.noise.noise_rate:.1%} ({low:.1%} to {high:.1%}); {actions}; see .table>"
        )


@dataclass(frozen=True, eq=False, repr=False)
class RepairResult(RepairedLabels):
    """What :func:`repair` returns: repaired labels, and what the training left.

    Attributes:
        probe_probs: float32 ``(N, C)``, out-of-sample P(given = j | features) from a plain network
            per fold; what cleanlab calls ``pred_probs``.
        history: one row per epoch.
        model: module from raw features to probabilities ``(B, C)``.
    """

    probe_probs: NDArray[np.float32]
    history: pd.DataFrame
    model: Classifier


@default_modes()
def repair(
    features: ArrayLike | torch.Tensor,
    given_labels: ArrayLike,
    *,
    method: str = "jocor",
    network: str | Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    sample_ids: Sequence[str] | None = None,
    num_classes: int | None = None,
    transition: ArrayLike | None = None,
    policy: Mapping[str, Any] | Policy | None = None,
    probe: Mapping[str, Any] | None = None,
    refinement: Mapping[str, Any] | None = None,
    progress: bool = False,
    **options: Any,
) -> RepairResult:
    """Estimate the label noise, train a robust model and repair the labels.

    Args:
        features: N samples: images ``(N, H, W)``, ``(N, ch, H, W)`` or ``(N, H, W, ch)`` with
            ch = 1 or 3, integers in 0..255 or floats of about -1 to 1; float vectors ``(N, D)`` of
            any scale; or integers ``(N, L)``: token ids of texts, from 0. Whole numbers that are
            quantities (ages, prices) are passed as floats (``X.astype(float)``). Integers above
            1,000 and ten times N L are refused unless a ``network`` is named, as they are hardly
            token ids.
        given_labels: ``(N,)`` whole numbers in 0..C-1, perhaps wrong.
        method: one of :func:`labelrepair.methods.available`.
        network: name, import path, or ``{"name": ..., "options": {...}}``; None = ``mlp`` for
            vectors and small images, ``cnn7`` for larger ones, ``embedding`` for tokens.
        seed: same seed, same result on the same machine and versions.
        device: ``auto`` (CUDA, then CPU) or a torch device name.
        sample_ids: N unique ids; None = the row numbers as text.
        num_classes: C; None = the largest label + 1.
        transition: a known ``(C, C)`` T, which loss correction then trains on; None = estimated
            from out-of-sample predictions (loss correction: from its anchor points).
        policy: thresholds and budgets, see :class:`labelrepair.policy.Policy`.
        probe: changes to the probe that the noise is estimated with, see
            :class:`labelrepair.training.probe.ProbeSpec`; e.g.
            ``{"folds": 3, "training": {"schedule": {"epochs": 10}}}``.
        refinement: the second look, see :class:`labelrepair.refinement.RefinementSpec`;
            ``{"rounds": 0}`` judges by the trained method alone.
        progress: show progress.
        **options: options of the method, and settings of
            :class:`labelrepair.training.TrainingConfig`, by name (``epochs`` and ``lr`` are short
            for the schedule's). A tenth of the paper's epochs: ``budget=0.1``.

    Returns:
        See :class:`RepairResult`.

    Raises:
        ConfigError: an unknown method or option (with the nearest valid one), or a value out of
            range.
        DataError: features that are not finite or of no known form, integers that are hardly token
            ids, labels outside the classes, lengths that differ, a class without a label.
        TransitionError: ``transition`` is not row-stochastic, or singular where its inverse is
            needed.
    """
    whole(0, seed=seed)
    array = as_features(features)
    if options.get("normalize", "auto") in ("auto", "none"):
        warn_of_scale(array)
    if network is None and array.dtype == np.int64:  # a named network says that they are tokens
        _check_vocabulary(array)
    labels, classes = _labels(given_labels, len(array), num_classes)
    ids = _ids(sample_ids, len(array))
    known = None if transition is None else _transition(transition, classes)
    if known is not None and "transition" in _options_of(method):
        options["transition"] = "given"  # the method's option of this name cannot be passed as well
    chosen = _network(network, array)
    vectors = array.ndim == 2 and array.dtype.kind == "f"
    preset = _preset(method, options, chosen, device, vectors=vectors)
    rules = policy if isinstance(policy, Policy) else from_dict(Policy, policy, "policy")
    second_look = from_dict(RefinementSpec, refinement, "refinement")
    held_out = holdout(labels, preset.training.validation_fraction, derive_seed(seed, "validation"))
    preset = _fitting(preset, int((~held_out).sum()))
    data = TrainSet(
        torch.from_numpy(array),
        torch.from_numpy(labels),
        classes,
        torch.from_numpy(np.flatnonzero(~held_out)),
        torch.from_numpy(np.flatnonzero(held_out)),
    )
    estimation = default_estimation(preset.training, len(array), known)
    changed = from_dict(ProbeSpec, _merged(estimation.probe, probe), "probe")
    estimation = dataclasses.replace(estimation, probe=changed)
    noise, probe_probs = estimate(data, estimation, seed)
    model, result = fit(preset, data, noise, seed=seed, progress=progress)
    probs, noise = refine(data, result.probs.numpy(), noise, changed, second_look, seed)
    rows = repair_rows(
        probs,
        labels,
        noise,
        selected=None if result.selected is None else result.selected.numpy(),
        policy=rules,
    )
    table = pd.concat([pd.DataFrame({"sample_id": ids, "given_label": labels}), rows], axis=1)
    history = pd.DataFrame(result.history)
    return RepairResult(table, probs, noise.transition, noise, probe_probs, history, model)


def repair_with_probs(
    probs: ArrayLike,
    given_labels: ArrayLike,
    *,
    transition: ArrayLike | None = None,
    estimator: str = "confident_joint",
    scoring: Mapping[str, Any] | None = None,
    policy: Mapping[str, Any] | None = None,
    sample_ids: Sequence[str] | None = None,
    seed: int = 0,
) -> RepairedLabels:
    """Repair labels with probabilities that another model made; nothing is trained.

    Args:
        probs: ``(N, C)`` class probabilities, rows sum to 1, column j for class j. Out-of-sample
            ones (as ``cross_val_predict(..., method="predict_proba")`` makes them, cleanlab's
            ``pred_probs``) give a sound estimate of the noise.
        given_labels: ``(N,)`` whole numbers in 0..C-1, perhaps wrong.
        transition: a known ``(C, C)`` T; None = estimated.
        estimator: how T is estimated: ``confident_joint``, ``anchor`` or ``cleanlab`` (extra).
        scoring: see :class:`labelrepair.scoring.ScoringSpec`.
        policy: see :class:`labelrepair.policy.Policy`.
        sample_ids: N unique ids; None = the row numbers as text.
        seed: decides the bootstrap behind the interval of the noise rate.

    Returns:
        See :class:`RepairedLabels`.

    Raises:
        ConfigError: an unknown option, or a value out of range.
        DataError: probabilities that are none, labels outside the classes, lengths that differ.
        TransitionError: ``transition`` is not row-stochastic.
    """
    whole(0, seed=seed)
    _check_columns(probs)
    values = check_probs(plain_array(probs, "probs"))
    labels, classes = _labels(given_labels, len(values), values.shape[1], empty_classes=True)
    ids = _ids(sample_ids, len(values))
    settings = from_dict(ScoringSpec, scoring, "scoring")
    rules = from_dict(Policy, policy, "policy")
    if transition is None:
        spec = EstimationSpec(method=estimator)
    else:
        spec = known_transition(_transition(transition, classes))
    rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
    noise = estimate_noise(values, labels, spec, rng)
    rows = repair_rows(values, labels, noise, scoring=settings, policy=rules)
    table = pd.concat([pd.DataFrame({"sample_id": ids, "given_label": labels}), rows], axis=1)
    return RepairedLabels(table, values.astype(np.float32), noise.transition, noise)


def _merged(base: Any, changes: Any) -> Any:
    """Return a dataclass as nested dicts with nested ``changes``; what is wrong stays, to fail."""
    if not isinstance(changes, Mapping | None):
        return changes
    values = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)}
    for name, change in (changes or {}).items():
        nested = dataclasses.is_dataclass(values.get(name)) and isinstance(change, Mapping)
        values[name] = _merged(values[name], change) if nested else change
    return values


def as_features(features: ArrayLike | torch.Tensor) -> NDArray[Any]:
    """Return features as they are trained on.

    Args:
        features: as in :func:`repair`.

    Returns:
        uint8 or float32 ``(N, ch, H, W)``, float32 ``(N, D)`` or int64 ``(N, L)``, contiguous.

    Raises:
        DataError: not finite, or of no known form; the message names the row.
    """
    values = plain_array(features, "features")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"features: rows that are no array ({error})") from None
    if array.ndim not in (2, 3, 4) or array.size == 0:
        raise DataError(
            f"features: expected (N, D), (N, L), (N, H, W), (N, ch, H, W) or (N, H, W, ch) with "
            f"N > 0, found shape {array.shape}"
        )
    if array.dtype.kind not in "fiu":
        raise DataError(f"features: expected numbers, found dtype {array.dtype}")
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # an overflow to infinity is reported just below
            array = array.astype(np.float32)
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(1)
        if bad.any():
            raise DataError(f"features: row {int(np.argmax(bad))} holds a NaN or infinite value")
    elif array.ndim == 2 and array.dtype != np.uint8:
        _check_tokens(array)
        array = array.astype(np.int64)
    elif array.dtype != np.uint8:
        _check_pixels(array)
        array = array.astype(np.uint8)
    return np.ascontiguousarray(array)


def plain_array(values: Any, name: str) -> Any:
    """Return a tensor as an array, and all else as it is; refuse what NumPy would take wrongly.

    Args:
        values: what the user passed, of any type.
        name: how messages call it.

    Raises:
        DataError: a masked array that hides values, naming the first rows, which NumPy hands out
            as if they were not masked; or a tensor without values that an array can hold.
    """
    if isinstance(values, np.ma.MaskedArray):
        hidden = np.atleast_1d(np.ma.getmaskarray(values))
        rows = np.flatnonzero(hidden.reshape(len(hidden), -1).any(1)).tolist()
        if rows:
            more = ", ..." if len(rows) > 3 else ""
            raise DataError(
                f"{name}: {len(rows)} rows hold masked values (row {', '.join(map(str, rows[:3]))}"
                f"{more}), expected none: leave these rows out, or fill them"
            )
    if not isinstance(values, torch.Tensor):
        return values
    try:
        tensor = values.detach().cpu()
        # NumPy knows no bfloat16, nor the kinds of 8 bits.
        small = tensor.is_floating_point() and tensor.element_size() <= 2
        return (tensor.float() if small else tensor).numpy()
    except (RuntimeError, TypeError) as error:
        raise DataError(f"{name}: a tensor that is no array: {shown(error, 300)}") from None


def _transition(transition: ArrayLike, classes: int) -> NDArray[np.float64]:
    return check_transition(plain_array(transition, "transition"), classes, "transition")


def _check_tokens(tokens: NDArray[Any]) -> None:
    for wrong, found in (
        (tokens < 0, "a negative token, expected 0 or more"),
        (tokens >= MOST_TOKENS, f"a token of {MOST_TOKENS} or more: no vocabulary is that large"),
    ):
        if wrong.any():
            raise DataError(f"features: row {int(np.argmax(wrong.any(1)))} holds {found}")


def _check_pixels(images: NDArray[Any]) -> None:
    least, most = images.min(), images.max()
    if least < 0 or most > 255:
        raise DataError(
            f"features: images of {images.dtype} with values from {least} to {most}, expected "
            "0 to 255: scale them (16 bits: images / 257), or pass floats from about -1 to 1"
        )


def _check_vocabulary(tokens: NDArray[np.int64]) -> None:
    """Refuse quantities, of which an embedding would cost gigabytes and learn nothing."""
    most = max(FEW_TOKENS, IDS_PER_VALUE * tokens.size)
    row, column = np.unravel_index(tokens.argmax(), tokens.shape)
    if tokens[row, column] > most:
        raise DataError(
            f"features: row {row} holds the integer {tokens[row, column]} in column {column}: "
            f"integer features are read as token ids, expected 0 to {most} in a table of shape "
            f"{tokens.shape}; pass floats for numbers (X.astype(float)), or ids of a vocabulary "
            "numbered from 0; where these are such ids, name the network ('embedding')"
        )


def _labels(
    given: ArrayLike, count: int, num_classes: int | None, *, empty_classes: bool = False
) -> tuple[NDArray[np.int64], int]:
    if num_classes is not None:
        whole(2, num_classes=num_classes)
    labels = np.asarray(plain_array(given, "given_labels"))
    if labels.shape != (count,):
        raise DataError(f"given_labels: expected shape ({count},), found {labels.shape}")
    if labels.dtype.kind not in "iuf":
        blank = pd.isna(labels)
        hint = "number the classes from 0, or use RobustClassifier, which takes names"
        if blank.any():
            hint = f"row {int(blank.argmax())} is blank"
        kind = f"expected whole numbers, found dtype {labels.dtype}"
        raise DataError(f"given_labels: {kind}; {hint}")
    # Compared as they come: a cast to int64 would turn infinity and 2^64 into some other number.
    known = 2**53 if num_classes is None else num_classes
    with np.errstate(invalid="ignore"):
        wrong = ~((labels >= 0) & (labels < known) & (np.floor(labels) == labels))
    if wrong.any():
        row = int(np.argmax(wrong))
        found = f"row {row} is {labels[row]}"
        if labels.dtype.kind == "f":
            dtype = f"found dtype {labels.dtype}"
            raise DataError(f"given_labels: expected whole numbers, {dtype}: {found}")
        most = labels.max() if num_classes is None else num_classes - 1
        raise DataError(f"given_labels: {found}, expected 0..{most}")
    labels = labels.astype(np.int64)
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    require(classes >= 2, f"num_classes: at least 2 classes are needed, found {classes}")
    if not empty_classes:
        _check_classes(labels, classes)
    return labels, classes


def _check_classes(labels: NDArray[np.int64], classes: int) -> None:
    found, sizes = np.unique(labels, return_counts=True)
    if len(found) < classes:
        gaps = np.flatnonzero(found != np.arange(len(found)))
        empty = gaps[0] if gaps.size else len(found)
        raise DataError(f"given_labels: class {empty} of {classes} has no sample")
    if sizes.max() == 1:
        raise DataError(
            f"given_labels: every class has a single sample ({classes} classes); are these ids?"
        )


def _ids(sample_ids: Sequence[str] | None, count: int) -> list[str]:
    if sample_ids is None:
        return [str(row) for row in range(count)]
    values = plain_array(sample_ids, "sample_ids")
    if isinstance(values, str | bytes | Set | Mapping) or not isinstance(values, Iterable):
        raise DataError(f"sample_ids: expected a list of {count}, found {shown(repr(values))}")
    values = list(values)
    if len(values) != count:
        raise DataError(f"sample_ids: expected {count}, found {len(values)}")
    check_not_blank(values, "sample_ids")
    ids = list(map(str, values))
    check_ids(ids, "sample_ids")
    return ids


def _network(network: str | Mapping[str, Any] | None, array: NDArray[Any]) -> Mapping[str, Any]:
    if isinstance(network, nn.Module):
        raise ConfigError(
            "network: pass a name or an import path 'package.module:Class', not a built module; "
            "training starts from fresh weights, several times"
        )
    if isinstance(network, str):
        return {"name": network}
    if isinstance(network, Mapping):
        return network
    require(network is None, f"network: expected a name or a mapping, found {network!r}")
    if array.ndim == 2 and array.dtype.kind == "i":
        return {"name": "embedding"}
    large = array.ndim == 4 and array[0].size > 28 * 28
    return {"name": "cnn7" if large else "mlp"}


def _options_of(method: str) -> set[str]:
    return {field.name for field in dataclasses.fields(methods.load(method).Options)}


def _check_columns(probs: Any) -> None:
    """Refuse a frame whose columns are the class numbers in another order than 0, 1, ..."""
    if not isinstance(probs, pd.DataFrame):
        return
    names: list[Any] = list(probs.columns)
    expected = list(range(probs.shape[1]))
    if names != expected and set(names) == set(expected):
        raise DataError(
            f"probs: columns {shown(names)}, expected them in the order of the classes; "
            "pass probs[sorted(probs.columns)]"
        )


def _preset(
    method: str,
    options: Mapping[str, Any],
    network: Mapping[str, Any],
    device: str,
    *,
    vectors: bool,
) -> Preset:
    """Sort the options into the method's and the loop's, over the method's defaults.

    Those for pixels, as the mean that some subtract, are not taken for vectors.
    """
    module, of_method = methods.load(method), _options_of(method)
    of_loop = {f.name for f in dataclasses.fields(TrainingConfig)} - {"network", "device"}
    short = {"epochs", "lr"}
    staged = [f.name for f in dataclasses.fields(module.Options) if isinstance(f.default, Schedule)]
    for name in options:
        if staged and name in short | {"schedule"}:
            raise ConfigError(
                f"{name}: {method} trains in stages, each with a schedule of its own; set "
                f"{', '.join(staged)}, or budget for all of them"
            )
        if name not in of_method | of_loop | short:
            known = of_method | of_loop | short
            raise ConfigError(f"{name}: unknown option of {method}; {nearest(name, known)}")
    needed = module.TRAINING.get("network", {}).get("options", {})
    chosen = network.get("options", {})
    if isinstance(chosen, Mapping):  # else it is refused below
        network = {**network, "options": {**needed, **chosen}}
    loop = {**module.TRAINING, "network": network, "device": device}
    if vectors:
        loop["normalize"] = "standardize"
    loop |= {k: v for k, v in options.items() if k in of_loop and k not in of_method}
    changed = {k: v for k, v in options.items() if k in short and k not in of_method}
    schedule = to_dict(loop.get("schedule") or {})
    if changed and isinstance(schedule, Mapping):  # else it is refused below
        loop["schedule"] = _shorten({**schedule, **changed})
    config = from_dict(TrainingConfig, loop)
    own = {k: v for k, v in options.items() if k in of_method}
    return Preset(name=f"{method}_defaults", method=method, options=own, training=config)


def _fitting(preset: Preset, count: int) -> Preset:
    """Return the preset with batches that ``count`` training rows fill."""
    training = preset.training
    if training.drop_last and count < training.batch_size:
        training = dataclasses.replace(training, batch_size=count)
    return dataclasses.replace(preset, training=training)


def _shorten(schedule: dict[str, Any]) -> dict[str, Any]:
    """Move a decay that would begin after the last epoch to the same share of the training."""
    start, epochs = schedule.get("decay_from"), schedule.get("epochs", 200)
    if start is not None and start >= epochs:
        schedule["decay_from"] = max(1, round(0.4 * epochs))
    return schedule
