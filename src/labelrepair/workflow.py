"""The steps of a repair on arrays and frames; Kedro nodes and the Python face call these."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from labelrepair import methods
from labelrepair.config import from_dict, to_dict
from labelrepair.data.rows import RowStore
from labelrepair.data.splits import holdout
from labelrepair.errors import ConfigError, DataError
from labelrepair.estimation import EstimationSpec, NoiseEstimate, estimate_noise, known_transition
from labelrepair.label_table import (
    CONTENT_HASH,
    GIVEN_LABEL,
    SAMPLE_ID,
    SPLIT,
    TRUE_LABEL,
    Split,
    check_repaired_table,
    content_hashes,
    data_hash,
    extend,
)
from labelrepair.networks.classifier import Classifier, build_from_spec, classifier_spec
from labelrepair.networks.features import CHUNK_ROWS, Features, in_order, is_tokens
from labelrepair.policy import Policy, apply_policy
from labelrepair.refinement import (
    RefinementSpec,
    calibrated,
    fit_likelihood,
    refined_noise,
    refining,
)
from labelrepair.scoring import ScoringSpec, score
from labelrepair.shared_fit import answer, answered, packed, unpacked
from labelrepair.training import (
    Checkpointer,
    Holdout,
    Network,
    Schedule,
    TrainingConfig,
    TrainResult,
    TrainSet,
    choose_device,
    launch,
    train,
)
from labelrepair.training.launch import together
from labelrepair.training.probe import ProbeSpec, cross_validated_probs
from labelrepair.training.ranks import Ranks
from labelrepair.training.seeds import derive_seed
from labelrepair.training.streamed import Streamed
from labelrepair.transition import check_transition

logger = logging.getLogger(__name__)
Array = NDArray[Any]
PROBE_STEPS = 2_500  # gradient steps of each probe: enough to learn classes, too few to learn rows
KNOWN = ("given", "known", "curated")  # T from people, not from predictions: it is kept
MAX_SHARED = 10_000  # values of a stage's shared tensors that go into the training report
SPOT_CHECKS = 256  # rows whose content hash is compared before training


@dataclass(frozen=True)
class EstimationConfig:
    """Attributes: probe: out-of-sample probabilities; estimator: what is made of them."""

    probe: ProbeSpec = ProbeSpec()
    estimator: EstimationSpec = EstimationSpec()


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


def repairable(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return the mask of rows that may be learned from and repaired: all but the test split."""
    mask: NDArray[np.bool_] = (table[SPLIT] != Split.TEST).to_numpy()
    return mask


def check_alignment(table: pd.DataFrame, features: Array | RowStore) -> None:
    """Compare evenly spaced rows of the feature store with the table's content hashes.

    Raises:
        DataError: lengths differ, or a feature row is not the one that the table row was made from.
    """
    if len(table) != len(features):
        raise DataError(f"feature store has {len(features)} rows, the label table {len(table)}")
    rows = np.unique(np.linspace(0, len(table) - 1, SPOT_CHECKS).astype(int))
    found = content_hashes(np.asarray(features[rows]))
    expected = table[CONTENT_HASH].iloc[rows].tolist()
    for row, is_, should in zip(rows, found, expected, strict=True):
        if is_ != should:
            name = table[SAMPLE_ID].iloc[row]
            raise DataError(
                f"row {row} ('{name}'): the feature store does not hold this sample (content hash "
                f"{is_}, label table {should}); run the ingestion pipeline again"
            )


def train_set(
    table: pd.DataFrame,
    features: Array | RowStore,
    num_classes: int,
    validation_fraction: float,
    seed: int,
) -> tuple[TrainSet, Holdout]:
    """Return what training may see, and the test split to look at.

    Rows of the training set are those of ``table[repairable(table)]``, in order. The table's own
    validation rows are held out if the preset holds any out at all; where there are none, a
    fraction stratified by given label is.

    Args:
        table: label table, sorted by sample id.
        features: ``(M, ...)``, one row per row of ``table``; rows of a store stay there.
        num_classes: C.
        validation_fraction: see :class:`TrainingConfig`.
        seed: decides the holdout.
    """
    mask = repairable(table)
    labels = table.loc[mask, GIVEN_LABEL].to_numpy()
    held_out = held_out_rows(table, validation_fraction, seed)[mask]
    data = TrainSet(
        loop_features(features, mask),
        torch.from_numpy(labels.copy()),
        num_classes,
        torch.from_numpy(np.flatnonzero(~held_out)),
        torch.from_numpy(np.flatnonzero(held_out)),
    )
    test_labels = table.loc[~mask, GIVEN_LABEL].to_numpy().copy()
    return data, Holdout(loop_features(features, ~mask), torch.from_numpy(test_labels))


def held_out_rows(table: pd.DataFrame, validation_fraction: float, seed: int) -> NDArray[np.bool_]:
    """Return the mask of rows of ``table`` that :func:`train_set` holds out for validation."""
    mask = repairable(table)
    held_out = np.zeros(len(table), dtype=bool)
    if validation_fraction > 0:
        held_out = (table[SPLIT] == Split.VALIDATION).to_numpy(copy=True)
        if not held_out.any():
            kept = table[mask]
            held_out[mask] = holdout(
                kept[GIVEN_LABEL].to_numpy(),
                validation_fraction,
                derive_seed(seed, "validation"),
                sample_ids=kept[SAMPLE_ID].to_numpy(),
            )
    return held_out


def network_builder(
    network: Network,
    features: Features,
    num_classes: int,
    count: int = 1,
    test: Holdout | None = None,
) -> tuple[Callable[[], nn.Module], dict[str, Any]]:
    """Return a builder of fresh networks for these features, and the spec that it builds from.

    Text networks take their vocabulary size from the tokens unless the options set it; those of
    the test split count, as a rare word may stand only there.
    """
    options = dict(network.options)
    if is_tokens(features):
        tokens = [features] if test is None else [features, test.features]
        parts = (part for some in tokens for part in in_order(some, CHUNK_ROWS))
        largest = max(int(part.max()) for part in parts if part.numel())
        options.setdefault("vocabulary_size", largest + 1)
    spec = classifier_spec(network.name, options, tuple(features.shape[1:]), num_classes, count)
    return lambda: build_from_spec(spec), spec


def default_estimation(
    training: TrainingConfig, count: int, transition: NDArray[np.float64] | None = None
) -> EstimationConfig:
    """Return the probe for a training without a configured one: the same network, plain training.

    Args:
        training: whose network, normalisation, device and precision the probe shares.
        count: N; small sets get more epochs, up to 60, large ones at least 8.
        transition: ``(C, C)`` known T; None = estimated by confident joint.
    """
    batch = min(128, max(1, count // 4))
    epochs = int(np.clip(round(PROBE_STEPS * batch / count), 8, 60))
    probe = TrainingConfig(
        network=training.network,
        normalize=training.normalize,
        schedule=Schedule(epochs=epochs),
        batch_size=batch,
        device=training.device,
        precision=training.precision,
        threads=training.threads,
    )
    estimator = EstimationSpec() if transition is None else known_transition(transition)
    return EstimationConfig(ProbeSpec(training=probe), estimator)


def estimate(
    data: TrainSet,
    config: EstimationConfig,
    seed: int,
    curated: tuple[Array, Array] | None = None,
) -> tuple[NoiseEstimate, NDArray[np.float32]]:
    """Estimate T and the noise rate.

    Args:
        data: the rows to estimate on; the validation rows take part (their labels are given too).
        config: probe and estimator.
        seed: decides folds, probe training and bootstrap.
        curated: (true, given) labels of trusted rows, for the ``curated`` estimator.

    Returns:
        The estimate, and the probe's out-of-sample probabilities float32 ``(N, C)``.
    """
    probs = probe_probs(data, config.probe, seed).numpy()
    rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
    found = estimate_noise(probs, data.given_labels.numpy(), config.estimator, rng, curated)
    return found, probs


def probe_probs(data: TrainSet, probe: ProbeSpec, seed: int) -> torch.Tensor:
    """Cross-validate, each of several processes some of the folds; the bits of one process."""
    config = probe.training.distributed
    if not together(config):
        return _probe(data, probe, seed)
    content = packed({"probe": to_dict(probe), "seed": seed}, data, None, None)
    # Who has done its folds waits for the others, however long these take.
    patient = replace(config, timeout=launch.FOREVER.total_seconds())
    probs: torch.Tensor = launch.run(f"{__name__}:probe_rank", content, patient)["probs"]
    return probs


def probe_rank(content: launch.Content, ranks: Ranks) -> launch.Content:
    """Train one rank's folds; see :func:`probe_probs`."""
    plain, data, _, _ = unpacked(content)
    probe = from_dict(ProbeSpec, plain["probe"], "probe")
    ours = _probe(data, probe, plain["seed"], range(ranks.rank, probe.folds, ranks.size))
    return {"probs": ranks.add(ours.to(choose_device(probe.training.device))).cpu()}


def _probe(
    data: TrainSet, probe: ProbeSpec, seed: int, only: Sequence[int] | None = None
) -> torch.Tensor:
    build, _ = network_builder(probe.training.network, data.features, data.num_classes)
    return cross_validated_probs(
        data.features, data.given_labels, data.num_classes, build, probe, seed, only
    )


def refine(
    data: TrainSet,
    probs: Array,
    noise: NoiseEstimate,
    probe: ProbeSpec,
    spec: RefinementSpec,
    seed: int,
) -> tuple[NDArray[np.float32], NoiseEstimate]:
    """Look a second time: cross-validate on the repaired labels, fit T by likelihood.

    Args:
        data: the rows; validation rows take part.
        probs: float ``(N, C)``, the trained method's.
        noise: the first estimate; a T that was given, or counted on trusted rows, is kept.
        probe: how a plain network is trained on these data; ``spec`` has it trained for longer.
        spec: see :mod:`labelrepair.refinement`; with ``rounds=0`` nothing is done.
        seed: decides folds, trainings and bootstrap.

    Returns:
        The mean of the method's and the out-of-sample probabilities ``(N, C)``, as they know
        different things, and the estimate by likelihood; with ``rounds=0`` the arguments.
    """
    if spec.rounds == 0:
        return probs, noise
    given = data.given_labels.numpy()
    config = refining(probe, spec, data.features)
    total, joined = np.zeros(probs.shape), np.asarray(probs)
    for number in range(spec.rounds):
        found = score(joined, given, noise.transition, noise_rate=noise.noise_rate)
        suggested = torch.from_numpy(found["suggested_label"].to_numpy().copy())
        relabelled = replace(data, given_labels=suggested)
        part = probe_probs(relabelled, config, derive_seed(seed, "refine", number))
        total += part.numpy()
        known = noise.method in KNOWN
        likely = fit_likelihood(total / (number + 1), given, noise.transition, spec, known)
        second = calibrated(total / (number + 1), likely.temperature)
        if not known:
            rng = np.random.default_rng(derive_seed(seed, "refine", "bootstrap"))
            noise = refined_noise(second, given, likely.transition, spec, rng)
        joined = (probs + second) / 2
        logger.info("round %d: noise rate %.1f %%", number + 1, 100 * noise.noise_rate)
    return joined.astype(np.float32), noise


def fit(
    preset: Preset,
    data: TrainSet,
    noise: NoiseEstimate | None,
    *,
    seed: int,
    test: Holdout | None = None,
    checkpoint: Checkpointer | None = None,
    progress: bool = True,
) -> tuple[Classifier, TrainResult]:
    """Train a preset's method; see :func:`labelrepair.training.train`.

    Returns:
        The model to hand over, and the training's result.

    Raises:
        ConfigError: unknown method or option, with the nearest valid one.
        LabelRepairError: one of several processes ended before its time; names it.
    """
    if together(preset.training.distributed):
        return fit_together(
            preset, data, noise, seed=seed, test=test, checkpoint=checkpoint, progress=progress
        )
    return _fit(preset, data, noise, seed=seed, test=test, checkpoint=checkpoint, progress=progress)


def _fit(
    preset: Preset,
    data: TrainSet,
    noise: NoiseEstimate | None,
    *,
    seed: int,
    test: Holdout | None,
    checkpoint: Checkpointer | None,
    progress: bool,
    ranks: Ranks | None = None,
) -> tuple[Classifier, TrainResult]:
    """Train in this process, as one of ``ranks`` if there are any."""
    config = preset.training
    stages = methods.plan(preset.method, preset.options, config, noise)
    build, spec = network_builder(
        config.network, data.features, data.num_classes, stages[-1].networks, test
    )
    result = train(
        data,
        stages,
        build,
        config,
        seed=seed,
        test=test,
        checkpoint=checkpoint,
        progress=progress,
        ranks=ranks,
    )
    return Classifier(result.normalizer, result.networks, spec), result


def fit_together(
    preset: Preset,
    data: TrainSet,
    noise: NoiseEstimate | None,
    *,
    seed: int,
    test: Holdout | None = None,
    checkpoint: Checkpointer | None = None,
    progress: bool = True,
) -> tuple[Classifier, TrainResult]:
    """Train in several processes; see :func:`fit`."""
    content = job(
        preset, data, noise, seed=seed, test=test, checkpoint=checkpoint, progress=progress
    )
    folder = None if checkpoint is None else checkpoint.path.parent
    config = preset.training.distributed
    return answered(launch.run(f"{__name__}:fit_rank", content, config, folder))


def job(
    preset: Preset,
    data: TrainSet,
    noise: NoiseEstimate | None,
    *,
    seed: int,
    test: Holdout | None = None,
    checkpoint: Checkpointer | None = None,
    progress: bool = True,
) -> launch.Content:
    """Return what :func:`fit_rank` needs, as tensors and plain values."""
    methods.plan(preset.method, preset.options, preset.training, noise)  # refuse before starting
    plain = {
        "preset": to_dict(preset),
        "noise": noise and noise_to_dict(noise),
        "seed": seed,
        "progress": progress,
    }
    return packed(plain, data, test, checkpoint)


def fit_rank(content: launch.Content, ranks: Ranks) -> launch.Content:
    """Do one rank's part of a training; the same function under torchrun and under Ray."""
    plain, data, test, checkpoint = unpacked(content)
    model, result = _fit(
        from_dict(Preset, plain["preset"], "recipe"),
        data,
        plain["noise"] and noise_from_dict(plain["noise"]),
        seed=plain["seed"],
        test=test,
        checkpoint=checkpoint,
        progress=plain["progress"],
        ranks=ranks,
    )
    return answer(model, result)


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


def checkpointer(
    folder: str, preset: Preset, table: pd.DataFrame, noise: Mapping[str, Any], seed: int
) -> Checkpointer:
    """Return the checkpointer of one run: settings, label table, noise estimate and seed."""
    settings = resolved(preset)
    del settings["training"]["distributed"]  # other processes may go on where these were stopped
    content = {
        "preset": settings,
        "labels": data_hash(table),
        "noise": noise,
        "seed": seed,
    }
    return Checkpointer(folder, content, preset.training.checkpoint_every)


class TrainedParts(NamedTuple):
    """What training hands to later pipelines: CPU values only, in the order of the node's outputs.

    Attributes:
        probs: float32 ``(N, C)``, rows as in ``table[repairable(table)]``.
        selected: bool ``(N,)``, or ``(0,)`` if the method does not select.
        history: one row per epoch.
        used: uint8 ``(E, K, ceil(N / 8))`` packed bits.
        model: content of :meth:`Classifier.state` with the class names.
        example: the model and a few raw rows, for tracking.
        report: plain facts about the training.
    """

    probs: Array
    selected: Array
    history: pd.DataFrame
    used: Array
    model: dict[str, Any]
    example: tuple[Classifier, Array]
    report: dict[str, Any]


def trained_parts(
    preset: Preset,
    model: Classifier,
    result: TrainResult,
    class_names: Sequence[str],
    example: Array,
    checkpoint: Checkpointer,
    noise: NoiseEstimate | None,
) -> TrainedParts:
    """Arrange a training's result; times go to the report's log line, so that files repeat."""
    history = pd.DataFrame(result.history)
    seconds = history.pop("seconds")
    logger.info("trained %d epochs in %.1f s", len(history), seconds.sum())
    choice = methods.chosen(preset.method, preset.options, noise)
    report = {
        "preset": preset.name,
        "method": choice.method,
        "chosen_by": choice.why,
        "settings": resolved(preset),
        "epochs": len(history),
        "networks": len(result.networks),
        "parameters": sum(p.numel() for p in result.networks.parameters()),
        "test_accuracy_of_model": result.test_accuracy,
        "shared": {k: v.tolist() for k, v in result.shared.items() if v.numel() <= MAX_SHARED},
        "checkpoint": checkpoint.path.name,
    }
    none = np.empty(0, dtype=bool)
    return TrainedParts(
        probs=result.probs.numpy(),
        selected=none if result.selected is None else result.selected.numpy(),
        history=history,
        used=torch.stack(result.used).numpy(),
        model={**model.state(), "class_names": list(class_names)},
        example=(model, example),
        report=report,
    )


def noise_to_dict(noise: NoiseEstimate) -> dict[str, Any]:
    """Return an estimate as plain values for JSON."""
    plain = {
        "method": noise.method,
        "noise_rate": noise.noise_rate,
        "interval": list(noise.interval),
        "class_prior": noise.class_prior.tolist(),
        "transition": noise.transition.tolist(),
        "rows": noise.rows,
    }
    if noise.transition_interval is not None:
        low, high = noise.transition_interval
        plain |= {"transition_low": low.tolist(), "transition_high": high.tolist()}
    return plain


def noise_from_dict(raw: Mapping[str, Any]) -> NoiseEstimate:
    """Return the estimate that :func:`noise_to_dict` wrote.

    Raises:
        TransitionError: the matrix has been edited and is no longer row-stochastic.
    """
    low, high = raw["interval"]
    elements = None
    if "transition_low" in raw:  # files of earlier versions have none
        elements = (np.asarray(raw["transition_low"]), np.asarray(raw["transition_high"]))
    return NoiseEstimate(
        transition=check_transition(np.asarray(raw["transition"], dtype=np.float64)),
        noise_rate=raw["noise_rate"],
        interval=(low, high),
        method=raw["method"],
        class_prior=np.asarray(raw["class_prior"], dtype=np.float64),
        transition_interval=elements,
        rows=raw.get("rows"),
    )


def curated_pairs(table: pd.DataFrame, curated: pd.DataFrame) -> tuple[Array, Array]:
    """Return (true, given) labels int64 of the trusted rows."""
    given = table.set_index(SAMPLE_ID)[GIVEN_LABEL].loc[curated[SAMPLE_ID]]
    return curated[TRUE_LABEL].to_numpy(), given.to_numpy()


def repair_rows(
    probs: Array,
    given_labels: NDArray[np.int64],
    noise: NoiseEstimate,
    *,
    selected: Array | None = None,
    scoring: ScoringSpec | None = None,
    policy: Policy | None = None,
) -> pd.DataFrame:
    """Score the given labels and decide about each.

    Returns:
        Frame of N rows: the score columns, ``selected`` where the method selects, and the columns
        of :func:`labelrepair.policy.apply_policy`.
    """
    scores = score(probs, given_labels, noise.transition, noise_rate=noise.noise_rate, spec=scoring)
    if selected is not None:
        scores["selected"] = np.asarray(selected, dtype=bool)
    decisions = apply_policy(scores, given_labels, policy or Policy())
    return pd.concat([scores, decisions], axis=1)


def repair_table(
    table: pd.DataFrame,
    probs: Array,
    selected: Array,
    noise: NoiseEstimate,
    scoring: ScoringSpec,
    policy: Policy,
) -> pd.DataFrame:
    """Add the repair columns to the label table; rows of the test split get nulls.

    Raises:
        DataError: probabilities and repairable rows differ in number, or an invariant of the
            repaired table does not hold.
    """
    kept = table.loc[repairable(table)]
    if len(kept) != len(probs):
        raise DataError(f"training saw {len(probs)} rows, the label table has {len(kept)}")
    rows = repair_rows(
        probs,
        kept[GIVEN_LABEL].to_numpy(),
        noise,
        selected=selected if len(selected) else None,
        scoring=scoring,
        policy=policy,
    )
    rows.insert(0, SAMPLE_ID, kept[SAMPLE_ID].to_numpy())
    repaired = extend(table, rows)
    check_repaired_table(repaired, probs.shape[1])
    return repaired


def loop_features(features: Array | RowStore, mask: NDArray[np.bool_]) -> Features:
    """Return rows under a mask as the loop takes them: a tensor, or, from a store, a stream."""
    if isinstance(features, RowStore):
        return Streamed(features.take(mask))
    return torch.from_numpy(np.ascontiguousarray(features[mask]))
