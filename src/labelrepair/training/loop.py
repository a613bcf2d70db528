"""The one training loop. It knows no method by name."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelrepair.errors import CheckpointError, ConfigError, LabelRepairError, shown
from labelrepair.networks.classifier import Normalizer
from labelrepair.networks.features import take
from labelrepair.training.batches import Batch, Holdout, TrainSet, batches
from labelrepair.training.checkpoint import Checkpointer
from labelrepair.training.collapse import Collapse
from labelrepair.training.config import TrainingConfig
from labelrepair.training.device import choose_device, keep_freed_memory, layout
from labelrepair.training.held_out import HeldOut
from labelrepair.training.optimizer import build_optimizer, set_schedule
from labelrepair.training.passes import Means, Pass, shuffled
from labelrepair.training.position import found_in, restore, snapshot
from labelrepair.training.progress import Progress
from labelrepair.training.ranks import Ranks
from labelrepair.training.result import TrainResult
from labelrepair.training.seeds import derive_seed, generator
from labelrepair.training.state import (
    Run,
    SampleState,
    Stage,
    predict_logits,
    require_validation,
)

logger = logging.getLogger(__name__)
BuildNetwork = Callable[[], nn.Module]
# Seeds, the number of threads and the tracing of exports belong to the process: who trains or
# exports in one of several threads (ThreadRunner) waits for its turn and gets the bits as alone.
EXCLUSIVE = threading.RLock()
LOOK = 64  # rows whose outputs are looked at when a stage ends


def train(
    data: TrainSet,
    stages: Sequence[Stage],
    build_network: BuildNetwork,
    config: TrainingConfig,
    *,
    seed: int,
    test: Holdout | None = None,
    checkpoint: Checkpointer | None = None,
    progress: bool = True,
    ranks: Ranks | None = None,
) -> TrainResult:
    """Train the stages one after the other.

    Args:
        data: rows, given labels and the validation rows; see :class:`TrainSet`.
        stages: from a method's ``stages()``.
        build_network: makes one network; called K times per restart under derived seeds.
        config: batch size, optimizer, precision, device and so on.
        seed: decides initialisation, order, augmentation and the method's own draws.
        test: only looked at: its accuracy enters the history and nothing else.
        checkpoint: where to save after epochs and to resume from, bit for bit.
        progress: show progress.
        ranks: the processes that share this training; each calls this with the same arguments.

    Returns:
        The result; the same seed on the same machine and versions gives the same bits (on a GPU as
        far as its libraries do: a network of one's own may call operations that sum in any order).

    Raises:
        ConfigError: settings that do not fit the data or the stages.
        LabelRepairError: the loss is no longer finite.
    """
    with alone(config.threads):
        loop = Loop if ranks is None else _shared_loop(ranks)
        parts = (data, stages, build_network, config, seed, test, checkpoint, progress)
        return loop(*parts).run_all()


@contextmanager
def default_modes() -> Iterator[None]:
    """Have gradients and float32, whatever the caller has set for itself."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)


@contextmanager
def alone(threads: int) -> Iterator[None]:
    """Have the process's seeds, threads and modes to oneself, and leave them as they were.

    Args:
        threads: number of CPU threads meanwhile; 0 = as they are.
    """
    keep_freed_memory()
    with EXCLUSIVE:
        state, before = torch.get_rng_state(), torch.get_num_threads()
        started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        cuda = torch.cuda.get_rng_state_all() if started else []
        cudnn = torch.backends.cudnn
        chosen = cudnn.deterministic, cudnn.benchmark
        cudnn.deterministic, cudnn.benchmark = True, False  # or convolutions differ between runs
        if threads:
            torch.set_num_threads(threads)
        try:
            with default_modes():
                yield
        finally:
            cudnn.deterministic, cudnn.benchmark = chosen
            torch.set_rng_state(state)
            if cuda:
                torch.cuda.set_rng_state_all(cuda)
            torch.set_num_threads(before)


def _shared_loop(ranks: Ranks) -> "Callable[..., Loop]":
    from labelrepair.training.rank_loop import RankLoop  # noqa: PLC0415 (it extends Loop)

    return partial(RankLoop, ranks)


class Loop:
    """State of one call of :func:`train`."""

    def __init__(
        self,
        data: TrainSet,
        stages: Sequence[Stage],
        build_network: BuildNetwork,
        config: TrainingConfig,
        seed: int,
        test: Holdout | None,
        checkpoint: Checkpointer | None,
        progress: bool,
    ) -> None:
        """Place the data and begin the state; the arguments are those of :func:`train`."""
        self.device = choose_device(config.device)
        self.stages, self.build_network = list(stages), build_network
        self.config, self.seed, self.checkpoint = config, seed, checkpoint
        _check(self.stages, data, config)
        self._place(data, test)
        self.history: list[dict[str, Any]] = []
        self.used: list[Tensor] = []
        self.optimizer: torch.optim.Optimizer | None = None
        self.collapse = Collapse(self.data)
        self.progress = Progress(sum(s.schedule.epochs for s in self.stages), show=progress)
        self.run = self._first_run()

    def _place(self, data: TrainSet, test: Holdout | None) -> None:
        """Put the rows where they are needed and fit the normalizer."""
        self.data = data.to(self.device)
        self.held_out = HeldOut(
            Holdout(
                take(self.data.features, self.data.val_rows),
                self.data.given_labels[self.data.val_rows],
            ),
            test and Holdout(test.features.to(self.device), test.labels.to(self.device)),
        )
        normalizer = Normalizer.fit(self.config.normalize, self.data.features, self.data.train_rows)
        self.normalizer = normalizer.to(self.device)

    def _first_run(self) -> Run:
        count, classes = len(self.data.given_labels), self.data.num_classes
        networks = max(stage.networks for stage in self.stages)
        samples = SampleState(
            # What is known of a row that no epoch has visited.
            probs=torch.full((count, classes), 1.0 / classes, device=self.device),
            used=torch.zeros(networks, count, dtype=torch.bool, device=self.device),
        )
        draws = generator(self.device, self.seed)
        return Run(
            self.data,
            self.config,
            self.normalizer,
            nn.ModuleList(),
            samples,
            self.stages[0],
            draws,
        )

    # -- the whole ---------------------------------------------------------------------------

    def run_all(self) -> TrainResult:
        """Train all stages from the checkpoint on."""
        position, epoch = self._resume()
        self.progress.start(len(self.history))
        try:
            for index in range(position, len(self.stages)):
                entered = index == position and epoch > 0
                if not entered:
                    self.enter(index)
                for current in range(epoch if entered else 0, self.stages[index].schedule.epochs):
                    self._epoch(index, current)
                    self.save(index, current + 1)
                self.leave(index)
                self.save(index + 1, 0, force=True)
        finally:
            self.progress.stop()
        return self.result()

    def enter(self, index: int) -> None:
        """Restart or carry networks and optimizer, and make room for the stage's state."""
        stage, run = self.stages[index], self.run
        run.stage, run.epoch, run.best = stage, 0, None
        self.collapse.enter()
        if stage.start == "restart" or len(run.networks) == 0:
            run.networks = self._build(index, stage.networks)
            run.samples.history, run.samples.recorded = None, 0
        elif len(run.networks) != stage.networks:
            raise ConfigError(f"stage '{stage.name}' carries {len(run.networks)} networks, not K")
        if stage.optimizer == "restart" or stage.start == "restart" or self.optimizer is None:
            self.optimizer = build_optimizer(run.networks, self.config.optimizer, stage.schedule.lr)
        if stage.window and run.samples.history is None:
            run.samples.history = run.samples.probs.new_zeros(
                (stage.window, *run.samples.probs.shape)
            )
            run.samples.recorded = 0
        run.generator = generator(self.device, self.seed, index, "before_stage")
        _call(stage.before_stage, run)

    def _build(self, index: int, count: int) -> nn.ModuleList:
        networks = nn.ModuleList()
        for k in range(count):
            torch.manual_seed(derive_seed(self.seed, index, "init", k))
            networks.append(self.build_network())
        config = self.config
        order = layout(config.memory_format, config.precision, self.device)
        return networks.to(self.device).to(memory_format=order)

    def leave(self, index: int) -> None:
        """End a stage: take the weights to keep, let the method draw its conclusions.

        Raises:
            LabelRepairError: the networks' outputs are no longer finite. No loss has seen what the
                last step made of them, and methods may hand over other probabilities than theirs.
        """
        stage, run = self.stages[index], self.run
        self.collapse.leave(stage.name, self.history)
        if stage.keep != "last" and run.best is not None:
            run.networks.load_state_dict(run.best.networks)
        self._check_outputs(stage)
        run.generator = generator(self.device, self.seed, index, "after_stage")
        _call(stage.after_stage, run)

    def _check_outputs(self, stage: Stage) -> None:
        features = self.data.features
        some = torch.arange(min(LOOK, len(features)), device=self.device)
        outputs = predict_logits(self.run.networks, self.normalizer, features, some)
        if not bool(outputs.isfinite().all()):
            raise LabelRepairError(
                f"stage '{stage.name}': the network's outputs are no longer finite after the last "
                "step; lower the learning rate"
            )

    # -- one epoch ---------------------------------------------------------------------------

    def _epoch(self, index: int, epoch: int) -> None:
        started = time.perf_counter()
        self.open_epoch(index, epoch)
        means = self._go(*self.draws(index, epoch))
        self.close_epoch(means, time.perf_counter() - started)

    def open_epoch(self, index: int, epoch: int) -> None:
        """Set schedule and seeds, after the method's own preparations."""
        stage, run = self.stages[index], self.run
        run.epoch = epoch
        run.generator = generator(self.device, self.seed, index, epoch, "method")
        torch.manual_seed(derive_seed(self.seed, index, epoch, "modules"))  # dropout
        run.networks.train()
        _call(stage.before_epoch, run)
        set_schedule(self.stepper, stage, self.config.optimizer, epoch)

    def close_epoch(self, means: Means, seconds: float) -> None:
        """Evaluate, and add the epoch's row to the history; ``seconds``: what it took so far."""
        run, started = self.run, time.perf_counter()
        stage, epoch = run.stage, run.epoch
        self.collapse.look(stage.name, epoch, means.largest)
        run.samples.push_history()
        _call(stage.after_epoch, run)
        row: dict[str, Any] = {
            "stage": stage.name,
            "epoch": len(self.history),
            "lr": stage.schedule.lr_at(epoch),
            **means.values,
        }
        last = epoch + 1 == stage.schedule.epochs
        if last or (epoch + 1) % self.config.evaluate_every == 0:
            test = last or (epoch + 1) % self.config.test_every == 0
            row |= self.held_out.look(run, epoch, test=test)
        row["seconds"] = seconds + time.perf_counter() - started
        self.history.append(row)
        self.progress.epoch(row)

    def draws(self, index: int, epoch: int) -> tuple[torch.Generator, torch.Generator]:
        """Return the generators of an epoch's order and of its augmentation."""
        names = ("order", "augment")
        order, augment = (generator("cpu", self.seed, index, epoch, name) for name in names)
        return order, augment

    def batches(
        self, order: torch.Generator, augment: torch.Generator
    ) -> tuple[Iterator[list[Batch]], int]:
        """Return the batches of an epoch, and how many rows they hold together."""
        run, config = self.run, self.config
        rows = shuffled(self.data.train_rows, order, config, run.networks)
        chunks = batches(
            run.data, rows, config.batch_size, self.normalizer, config.augment, augment
        )
        return chunks, len(rows)

    def _go(self, order: torch.Generator, augment: torch.Generator) -> Means:
        """Make one pass in an order drawn now."""
        return Pass(self.run, self.stepper).go(*self.batches(order, augment))

    # -- checkpoints -------------------------------------------------------------------------

    def save(self, index: int, epoch: int, force: bool = False) -> None:
        """Save the next position, after the method's books are closed."""
        if epoch:
            bits = np.packbits(self.run.samples.used.cpu().numpy(), axis=1)
            self.used.append(torch.from_numpy(bits))
        if self.checkpoint is None or not (force or epoch % self.checkpoint.every == 0):
            return
        content = snapshot(self.run, self.stepper, self.history, self.used)
        self._write({"position": [index, epoch], **content})

    def _write(self, state: dict[str, Any]) -> None:
        if self.checkpoint is not None:
            self.checkpoint.save(state)

    def _read(self) -> dict[str, Any] | None:
        return self.checkpoint.load() if self.checkpoint else None

    def _resume(self) -> tuple[int, int]:
        """Return (stage, epoch) to go on from, with everything restored."""
        state = self._read()
        if self.checkpoint is None or state is None:
            return 0, 0
        try:
            return self._restore(state)
        # Written by somebody else under our fingerprint: it may lack anything.
        except Exception as error:
            raise CheckpointError(
                f"{self.checkpoint.path}: does not hold the state of this training "
                f"({type(error).__name__}: {shown(error, 300)}); delete it to start afresh"
            ) from error

    def _restore(self, state: dict[str, Any]) -> tuple[int, int]:
        index, epoch, within = found_in(state, self.stages)
        run = self.run
        run.stage, run.networks = within, self._build(index, within.networks)
        self.optimizer = build_optimizer(run.networks, self.config.optimizer, within.schedule.lr)
        self.history, self.used = restore(state, run, self.optimizer)
        logger.info("resuming at stage '%s', epoch %d", within.name, epoch)
        return index, epoch

    # -- small things ------------------------------------------------------------------------

    def result(self) -> TrainResult:
        """Return what the training leaves behind, on the CPU."""
        run = self.run
        shared = {key: value.cpu() for key, value in run.samples.shared.items()}
        probs = shared.pop("probs", None)
        if probs is None:
            probs = run.predict_probs().cpu()
        scores, together = self.held_out.test_scores(run)
        test_accuracy = sum(scores) / len(scores) if scores else None
        return TrainResult(
            networks=run.networks.cpu().eval(),
            normalizer=self.normalizer.cpu(),
            probs=probs,
            selected=shared.pop("selected", None),
            history=self.history,
            used=self.used,
            shared=shared,
            test_accuracy=test_accuracy,
            joint_test_accuracy=together,
        )

    @property
    def stepper(self) -> torch.optim.Optimizer:
        """Return the optimizer of the stage entered."""
        if self.optimizer is None:
            raise RuntimeError("no stage has been entered")
        return self.optimizer


def _check(stages: Sequence[Stage], data: TrainSet, config: TrainingConfig) -> None:
    """Refuse settings that do not fit the data or the stages."""
    for stage in stages:
        require_validation(stage, data)
        for name in ("drop_last", "max_batches"):
            if (stage.window or stage.every_row) and getattr(config, name):
                raise ConfigError(f"{name}: this method keeps state for all samples; set it off")
    if config.drop_last and len(data.train_rows) < config.batch_size:
        raise ConfigError(
            f"batch_size: {config.batch_size} exceeds the {len(data.train_rows)} training rows "
            "while drop_last is on, so no batch would be left"
        )


def _call(callback: Callable[[Run], None] | None, run: Run) -> None:
    if callback is not None:
        with torch.no_grad():
            callback(run)
