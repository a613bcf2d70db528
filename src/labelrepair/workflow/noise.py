"""What is known of the noise: the estimate, the second look, and both as plain values."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelrepair.config import from_dict, to_dict
from labelrepair.errors import DataError, LabelRepairError, shown
from labelrepair.estimation import (
    ROW_SUM_TOLERANCE,
    EstimationSpec,
    NoiseEstimate,
    estimate_noise,
    known_transition,
)
from labelrepair.estimation.accuracy import disagrees_unaccountably, may_guess
from labelrepair.estimation.spec import KNOWN
from labelrepair.refinement import (
    RefinementSpec,
    calibrated,
    fit_likelihood,
    matched,
    refined_noise,
    refining,
)
from labelrepair.scoring import score
from labelrepair.shared_fit import packed, unpacked
from labelrepair.training import Schedule, TrainingConfig, TrainSet, choose_device, launch
from labelrepair.training.launch import together
from labelrepair.training.probe import ProbeSpec, cross_validated_probs
from labelrepair.training.ranks import Ranks
from labelrepair.training.seeds import derive_seed
from labelrepair.transition import check_transition, lost_classes, warn_if_doubtful
from labelrepair.workflow.building import network_builder

logger = logging.getLogger(__name__)
Array = NDArray[Any]
AGAIN = "make it again: kedro run --pipelines estimation,training,refinement"
PROBE_STEPS = 2_500  # gradient steps of each probe: enough to learn classes, too few to learn rows


@dataclass(frozen=True)
class EstimationConfig:
    """Attributes: probe: out-of-sample probabilities; estimator: what is made of them."""

    probe: ProbeSpec = ProbeSpec()
    estimator: EstimationSpec = EstimationSpec()


def default_estimation(
    training: TrainingConfig, count: int, transition: NDArray[np.float64] | None = None
) -> EstimationConfig:
    """Return the probe for a training without a configured one: the same network, plain training.

    Args:
        training: whose network, normalisation, device, precision and layout the probe shares.
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
        memory_format=training.memory_format,
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
    if may_guess(found.kappa, found.method):
        logger.warning(
            "the cross-validation agrees with the given labels hardly more than by chance (Cohen's "
            "kappa %.2f): either most labels are wrong, or a stronger network, longer training or "
            "better features are needed; the noise rate of %.0f %% may be far too high",
            found.kappa,
            100 * found.noise_rate,
        )
    elif disagrees_unaccountably(found.kappa, found.transition, found.class_prior, found.method):
        logger.warning(
            "the cross-validation agrees with the given labels far less than %.1f %% wrong ones "
            "account for (Cohen's kappa %.2f): either it cannot tell the classes apart, or many "
            "samples belong to no class, which no noise rate counts; look at those of lowest label "
            "quality",
            100 * found.noise_rate,
            found.kappa,
        )
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
        different things, and the estimate by likelihood; with ``rounds=0`` the arguments. Where
        the method has lost a class, its probabilities are matched to the expected shares of the
        classes before the networks learn from them, or these would lose it, too; a second round
        learns what they agree on, and their probabilities alone are returned.
    """
    if spec.rounds == 0:
        return probs, noise
    given = data.given_labels.numpy()
    config = refining(probe, spec, data.features)
    rounds, predicted = spec.rounds, probs.argmax(1)
    lost = lost_classes(predicted, noise.class_prior)
    if len(lost):
        rounds, probs = max(rounds, 2), matched(probs, noise.class_prior)
        logger.warning(
            "the trained network has lost %d of %d classes (%d rows, where %.0f are expected): the "
            "second look only begins with it",
            len(lost),
            probs.shape[1],
            np.isin(predicted, lost).sum(),
            noise.class_prior[lost].sum() * len(predicted),
        )
    total, joined = np.zeros(probs.shape), np.asarray(probs)
    for number in range(rounds):
        found = score(joined, given, noise.transition, noise_rate=noise.noise_rate)
        learned = found["suggested_label"].to_numpy()
        relabelled = replace(data, given_labels=torch.from_numpy(learned.copy()))
        part = probe_probs(relabelled, config, derive_seed(seed, "refine", number))
        total += part.numpy()
        known = noise.method in KNOWN
        likely = fit_likelihood(total / (number + 1), given, noise.transition, spec, known)
        second = calibrated(total / (number + 1), likely.temperature)
        if not known:
            rng = np.random.default_rng(derive_seed(seed, "refine", "bootstrap"))
            noise = refined_noise(second, given, likely.transition, spec, rng)
        joined = second if len(lost) else (probs + second) / 2
        logger.info("round %d: noise rate %.1f %%", number + 1, 100 * noise.noise_rate)
    warn_if_doubtful(noise.transition)
    return joined.astype(np.float32), noise


def noise_to_dict(noise: NoiseEstimate) -> dict[str, Any]:
    """Return an estimate as plain values for JSON."""
    plain = {
        "method": noise.method,
        "noise_rate": noise.noise_rate,
        "interval": list(noise.interval),
        "class_prior": noise.class_prior.tolist(),
        "transition": noise.transition.tolist(),
        "rows": noise.rows,
        "probe_accuracy": noise.probe_accuracy,
        "kappa": noise.kappa,
        "level": noise.level,
    }
    if noise.transition_interval is not None:
        low, high = noise.transition_interval
        plain |= {"transition_low": low.tolist(), "transition_high": high.tolist()}
    return plain


def noise_from_dict(raw: Mapping[str, Any]) -> NoiseEstimate:
    """Return the estimate that :func:`noise_to_dict` wrote.

    Raises:
        DataError: it has been edited: a value is missing, or a share lies outside [0, 1].
        TransitionError: the matrix has been edited and is no longer row-stochastic.
    """
    try:
        found = _noise(raw)
    except LabelRepairError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"noise estimate: {error!r} in what was read; {AGAIN}") from error
    for name, values in (
        ("noise_rate", found.noise_rate),
        ("interval", found.interval),
        ("class_prior", found.class_prior),
    ):
        if not ((np.asarray(values) >= 0) & (np.asarray(values) <= 1)).all():
            raise DataError(f"noise estimate: {name} must lie in [0, 1], found {values}; {AGAIN}")
    classes, prior = len(found.transition), found.class_prior
    if prior.shape != (classes,) or abs(prior.sum() - 1) > ROW_SUM_TOLERANCE:
        rule = f"class_prior: expected {classes} shares with a sum of 1, found"
        raise DataError(f"noise estimate: {rule} {shown(prior)}; {AGAIN}")
    return found


def _noise(raw: Mapping[str, Any]) -> NoiseEstimate:
    low, high = map(float, raw["interval"])
    elements = None
    if "transition_low" in raw:  # files of earlier versions have none
        elements = (np.asarray(raw["transition_low"]), np.asarray(raw["transition_high"]))
    return NoiseEstimate(
        transition=check_transition(np.asarray(raw["transition"], dtype=np.float64)),
        noise_rate=float(raw["noise_rate"]),
        interval=(low, high),
        method=raw["method"],
        class_prior=np.asarray(raw["class_prior"], dtype=np.float64),
        transition_interval=elements,
        rows=raw.get("rows"),
        probe_accuracy=raw.get("probe_accuracy"),
        kappa=raw.get("kappa"),
        level=raw.get("level", 0.95),
    )
