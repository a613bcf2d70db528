"""Training a preset, in one process or in several, and what it hands on."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from labelrepair import methods
from labelrepair.config import from_dict, to_dict
from labelrepair.estimation import NoiseEstimate
from labelrepair.label_table import data_hash
from labelrepair.networks.classifier import Classifier
from labelrepair.shared_fit import answer, answered, packed, unpacked
from labelrepair.training import Checkpointer, Holdout, TrainResult, TrainSet, launch, train
from labelrepair.training.launch import together
from labelrepair.training.ranks import Ranks
from labelrepair.transition import lost_classes
from labelrepair.workflow.building import network_builder
from labelrepair.workflow.noise import noise_from_dict, noise_to_dict
from labelrepair.workflow.presets import Preset, resolved

logger = logging.getLogger(__name__)
Array = NDArray[Any]
MAX_SHARED = 10_000  # values of a stage's shared tensors that go into the training report


def fit(
    preset: Preset,
    data: TrainSet,
    noise: NoiseEstimate | None,
    *,
    seed: int,
    test: Holdout | None = None,
    checkpoint: Checkpointer | None = None,
    progress: bool = True,
    ranks: Ranks | None = None,
    vocabulary_size: int = 0,
) -> tuple[Classifier, TrainResult]:
    """Train a preset's method; see :func:`labelrepair.training.train`.

    Where the preset asks for several processes and this is none of them (``ranks``), it starts
    them, or joins those that torchrun has started. A text network gets a row for each id below
    ``vocabulary_size``, whether or not the data hold it; see :func:`network_builder`.

    Returns:
        The model to hand over, and the training's result.

    Raises:
        ConfigError: unknown method or option, with the nearest valid one.
        LabelRepairError: one of several processes ended before its time; names it.
    """
    config = preset.training
    if ranks is None and together(config.distributed):
        content = job(
            preset,
            data,
            noise,
            seed=seed,
            test=test,
            checkpoint=checkpoint,
            progress=progress,
            vocabulary_size=vocabulary_size,
        )
        folder = None if checkpoint is None else checkpoint.path.parent
        return answered(launch.run(f"{__name__}:fit_rank", content, config.distributed, folder))
    stages = methods.plan(preset.method, preset.options, config, noise)
    build, spec = network_builder(
        config.network,
        data.features,
        data.num_classes,
        stages[-1].networks,
        test,
        vocabulary_size,
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


def job(
    preset: Preset,
    data: TrainSet,
    noise: NoiseEstimate | None,
    *,
    seed: int,
    test: Holdout | None = None,
    checkpoint: Checkpointer | None = None,
    progress: bool = True,
    vocabulary_size: int = 0,
) -> launch.Content:
    """Return what :func:`fit_rank` needs, as tensors and plain values."""
    methods.plan(preset.method, preset.options, preset.training, noise)  # refuse before starting
    plain = {
        "preset": to_dict(preset),
        "noise": noise and noise_to_dict(noise),
        "seed": seed,
        "progress": progress,
        "vocabulary_size": vocabulary_size,
    }
    return packed(plain, data, test, checkpoint)


def fit_rank(content: launch.Content, ranks: Ranks) -> launch.Content:
    """Do one rank's part of a training; the same function under torchrun and under Ray."""
    plain, data, test, checkpoint = unpacked(content)
    model, result = fit(
        from_dict(Preset, plain["preset"], "recipe"),
        data,
        plain["noise"] and noise_from_dict(plain["noise"]),
        seed=plain["seed"],
        test=test,
        checkpoint=checkpoint,
        progress=plain["progress"],
        ranks=ranks,
        vocabulary_size=plain["vocabulary_size"],
    )
    return answer(model, result)


def checkpointer(
    folder: str,
    preset: Preset,
    table: pd.DataFrame,
    noise: Mapping[str, Any],
    seed: int,
    vocabulary_size: int = 0,
    tokens: str = "",
) -> Checkpointer:
    """Return the checkpointer of one run: settings, label table, noise, seed, vocabulary.

    ``tokens`` is whatever tells apart the tokens of the same texts.
    """
    settings = resolved(preset)
    del settings["training"]["distributed"]  # other processes may go on where these were stopped
    content = {
        "preset": settings,
        "labels": data_hash(table),
        "noise": noise,
        "seed": seed,
        "vocabulary_size": vocabulary_size,
        **({"tokens": tokens} if tokens else {}),
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
    lost = []
    if noise is not None:
        classes = lost_classes(result.probs.numpy().argmax(1), noise.class_prior)
        lost = [class_names[label] for label in classes]
    if lost:
        logger.warning(
            "the trained network hardly ever predicts %s, though such rows are expected: choose "
            "another method, or lower its learning rate",
            ", ".join(map(repr, lost)),
        )
    choice = methods.chosen(preset.method, preset.options, preset.training, noise)
    report = {
        "preset": preset.name,
        "method": choice.method,
        "chosen_by": choice.why,
        "settings": resolved(preset),
        "epochs": len(history),
        "networks": len(result.networks),
        "lost_classes": lost,
        "parameters": sum(p.numel() for p in result.networks.parameters()),
        "test_accuracy_of_model": result.joint_test_accuracy,
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
