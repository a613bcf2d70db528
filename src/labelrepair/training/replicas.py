"""Several seeds of one method trained at once.

The networks of all seeds are stacked and go through batched operations, each with the batches, the
labels and the method's steps of its own seed. For small networks, and wherever launching an
operation costs more than computing it, this is faster than one training after the other.
"""

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labelrepair.errors import ConfigError
from labelrepair.training.batches import Batch, Holdout, TrainSet
from labelrepair.training.config import TrainingConfig
from labelrepair.training.device import autocast
from labelrepair.training.loop import BuildNetwork, Loop, alone
from labelrepair.training.passes import Means, Pass
from labelrepair.training.result import TrainResult
from labelrepair.training.stacked import Stacked
from labelrepair.training.state import Stage


def train_replicas(
    data: Sequence[TrainSet],
    stages: Sequence[Sequence[Stage]],
    build_network: BuildNetwork,
    config: TrainingConfig,
    *,
    seeds: Sequence[int],
    test: Holdout | None = None,
) -> list[TrainResult]:
    """Train one method S times at once; see :func:`labelrepair.training.train`.

    Args:
        data: S sets, of the same numbers of rows; they may share their features.
        stages: S lists from the method's ``stages()``, of the same length, epochs and networks.
        build_network: makes one network.
        config: settings of every replica.
        seeds: S seeds; each decides what it decides in a training of its own.
        test: only looked at.

    Returns:
        S results. Each equals that of a training of its own up to the order of float sums; dropout
        draws other masks. A row of the history has the seconds of its share in the epoch.

    Raises:
        ConfigError: the replicas differ in shape, a stage looks at features itself, or the network
            is recurrent.
        LabelRepairError: a loss is no longer finite.
    """
    _check(data, stages, seeds)
    with alone(config.threads):
        loops = [
            Loop(one, plan, build_network, config, seed, test, None, False)
            for one, plan, seed in zip(data, stages, seeds, strict=True)
        ]
        return _run_all(loops)


def _run_all(loops: list[Loop]) -> list[TrainResult]:
    for index, stage in enumerate(loops[0].stages):
        for loop in loops:
            loop.enter(index)
        networks = [network for loop in loops for network in loop.run.networks]
        if any(isinstance(module, nn.RNNBase) for module in networks[0].modules()):
            raise ConfigError(
                "replicas: recurrent networks cannot be stacked; train one seed at a time"
            )
        stacked = Stacked(networks)
        for epoch in range(stage.schedule.epochs):
            _epoch(loops, stacked, index, epoch)
        stacked.release()
        for loop in loops:
            loop.leave(index)
    return [loop.result() for loop in loops]


def _epoch(loops: list[Loop], stacked: Stacked, index: int, epoch: int) -> None:
    started = time.perf_counter()
    for loop in loops:
        loop.open_epoch(index, epoch)
    means = _go(loops, stacked, index, epoch)
    share = (time.perf_counter() - started) / len(loops)
    for loop, found in zip(loops, means, strict=True):
        loop.close_epoch(found, share)
        loop.save(index, epoch + 1)


def _go(loops: list[Loop], stacked: Stacked, index: int, epoch: int) -> list[Means]:
    """Make one pass of every replica, batch by batch together."""
    passes = [Pass(loop.run, loop.stepper) for loop in loops]
    sources = [loop.batches(*loop.draws(index, epoch)) for loop in loops]
    for one in passes:
        one.begin()
    for chunks in zip(*(chunks for chunks, _ in sources), strict=True):
        for together in zip(*chunks, strict=True):
            logits = _forward(loops[0], stacked, together)
            judged = zip(passes, logits, together, strict=True)
            steps = [one.judge(part, batch) for one, part, batch in judged]
            stacked.backward(torch.stack([step.loss for step in steps]).sum())
            for one, step in zip(passes, steps, strict=True):
                one.update(step)
        for one, chunk in zip(passes, chunks, strict=True):
            one.record(chunk)
    return [one.means(rows) for one, (_, rows) in zip(passes, sources, strict=True)]


def _forward(loop: Loop, stacked: Stacked, batches: Sequence[Batch]) -> Tensor:
    """Return the logits ``(S, K, B, C)``."""
    networks = len(loop.run.networks)
    features = torch.stack([batch.features for batch in batches])
    features = features.repeat_interleave(networks, dim=0) if networks > 1 else features
    with autocast(loop.config.precision, loop.device):
        outputs = stacked.forward(features)
    return outputs.float().view(len(batches), networks, *outputs.shape[1:])


def _check(
    data: Sequence[TrainSet], stages: Sequence[Sequence[Stage]], seeds: Sequence[int]
) -> None:
    if not len(data) == len(stages) == len(seeds) > 0:
        found = f"{len(data)} sets, {len(stages)} lists of stages, {len(seeds)} seeds"
        raise ConfigError(f"replicas: need one of each for every replica, found {found}")
    for name in ("train_rows", "val_rows"):
        counts = {len(getattr(one, name)) for one in data}
        if len(counts) > 1:
            raise ConfigError(f"replicas: need equally many {name}, found {sorted(counts)}")
    shapes = {tuple((s.schedule.epochs, s.networks) for s in plan) for plan in stages}
    if len(shapes) > 1:
        raise ConfigError("replicas: the stages differ in number, epochs or networks")
    for stage in stages[0]:
        if not stage.divisible:
            raise ConfigError(
                f"replicas: stage '{stage.name}' looks at features itself; train one seed at a time"
            )
