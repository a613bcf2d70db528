"""The one training loop. It knows no method by name."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from labelrepair.errors import CheckpointError, ConfigError, LabelRepairError, shown
from labelrepair.networks.classifier import Normalizer
from labelrepair.training.batches import Batch, Holdout, TrainSet, batches
from labelrepair.training.checkpoint import Checkpointer
from labelrepair.training.collapse import Collapse
from labelrepair.training.config import Optimizer, TrainingConfig
from labelrepair.training.progress import Progress
from labelrepair.training.seeds import derive_seed, generator
from labelrepair.training.state import (
    Best,
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


@dataclass
class TrainResult:
    """What training leaves behind; tensors on the CPU.

    Attributes:
        networks: the K trained networks, eval mode.
        normalizer: turns stored features into their input.
        probs: float32 ``(N, C)``, the method's class probabilities of every row (clean pass of the
            final networks, mean over K, unless the method says otherwise in its docstring).
        selected: bool ``(N,)``, rows whose given label the method ended up believing, or None.
        history: one dict per epoch.
        used: per epoch, uint8 ``(K, ceil(N / 8))`` packed bits of the rows learned from.
        shared: what the method's stages shared, e.g. ``transition``.
        test_accuracy: of the networks returned, mean over K; None without a test split.
    """

    networks: nn.ModuleList
    normalizer: Normalizer
    probs: Tensor
    selected: Tensor | None
    history: list[dict[str, Any]]
    used: list[Tensor] = field(default_factory=list)
    shared: dict[str, Tensor] = field(default_factory=dict)
    test_accuracy: float | None = None


def choose_device(name: str) -> torch.device:
    """Return the device: ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: the named device is unknown or absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device: '{name}' is not available here ({error})") from error
    return device


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

    Returns:
        The result; the same seed on the same machine and versions gives the same bits.

    Raises:
        ConfigError: settings that do not fit the data or the stages.
        LabelRepairError: the loss is no longer finite.
    """
    with EXCLUSIVE:
        cpu_state = torch.get_rng_state()
        threads = torch.get_num_threads()
        if config.threads:
            torch.set_num_threads(config.threads)
        try:
            loop = _Loop(data, stages, build_network, config, seed, test, checkpoint, progress)
            return loop.run_all()
        finally:
            torch.set_rng_state(cpu_state)
            torch.set_num_threads(threads)


class _Loop:
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
        self.device = choose_device(config.device)
        self.data = data.to(self.device)
        self.val = Holdout(
            self.data.features[self.data.val_rows], self.data.given_labels[self.data.val_rows]
        )
        self.test = test and Holdout(test.features.to(self.device), test.labels.to(self.device))
        self.stages, self.build_network = list(stages), build_network
        self.config, self.seed, self.checkpoint = config, seed, checkpoint
        for stage in self.stages:
            require_validation(stage, data)
            for name in ("drop_last", "max_batches"):
                if stage.window and getattr(config, name):
                    raise ConfigError(
                        f"{name}: this method keeps state for all samples; set it off"
                    )
        if config.drop_last and len(data.train_rows) < config.batch_size:
            raise ConfigError(
                f"batch_size: {config.batch_size} exceeds the {len(data.train_rows)} training rows "
                "while drop_last is on, so no batch would be left"
            )
        normalizer = Normalizer.fit(config.normalize, self.data.features, self.data.train_rows)
        self.normalizer = normalizer.to(self.device)
        self.history: list[dict[str, Any]] = []
        self.used: list[Tensor] = []
        self.optimizer: torch.optim.Optimizer | None = None
        self.collapse = Collapse(self.data)
        self.progress = Progress(sum(s.schedule.epochs for s in self.stages), show=progress)
        self.run = self._first_run()

    def _first_run(self) -> Run:
        count, classes = len(self.data.given_labels), self.data.num_classes
        networks = max(stage.networks for stage in self.stages)
        samples = SampleState(
            probs=torch.zeros(count, classes, device=self.device),
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
        position, epoch = self._resume()
        self.progress.start(len(self.history))
        try:
            for index in range(position, len(self.stages)):
                entered = index == position and epoch > 0
                if not entered:
                    self._enter(index)
                for current in range(epoch if entered else 0, self.stages[index].schedule.epochs):
                    self._epoch(index, current)
                    self._save(index, current + 1)
                self._leave(index)
                self._save(index + 1, 0, force=True)
        finally:
            self.progress.stop()
        return self._result()

    def _enter(self, index: int) -> None:
        """Restart or carry networks and optimizer, and make room for the stage's state."""
        stage, run = self.stages[index], self.run
        run.stage, run.epoch, run.best = stage, 0, None
        if stage.start == "restart" or len(run.networks) == 0:
            run.networks = self._build(index, stage.networks)
            run.samples.history, run.samples.recorded = None, 0
        elif len(run.networks) != stage.networks:
            raise ConfigError(f"stage '{stage.name}' carries {len(run.networks)} networks, not K")
        if stage.optimizer == "restart" or stage.start == "restart" or self.optimizer is None:
            self.optimizer = _optimizer(run.networks, self.config.optimizer, stage.schedule.lr)
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
        return networks.to(self.device)

    def _leave(self, index: int) -> None:
        stage, run = self.stages[index], self.run
        if stage.keep != "last" and run.best is not None:
            run.networks.load_state_dict(run.best.networks)
        run.generator = generator(self.device, self.seed, index, "after_stage")
        _call(stage.after_stage, run)

    # -- one epoch ---------------------------------------------------------------------------

    def _epoch(self, index: int, epoch: int) -> None:
        stage, run = self.stages[index], self.run
        started = time.perf_counter()
        run.epoch = epoch
        run.generator = generator(self.device, self.seed, index, epoch, "method")
        torch.manual_seed(derive_seed(self.seed, index, epoch, "modules"))  # dropout
        run.networks.train()
        _call(stage.before_epoch, run)
        _set_schedule(self._optimizer, stage, self.config.optimizer, epoch)
        means = self._pass(index, epoch)
        run.samples.push_history()
        _call(stage.after_epoch, run)
        row: dict[str, Any] = {
            "stage": stage.name,
            "epoch": len(self.history),
            "lr": stage.schedule.lr_at(epoch),
            **means,
        }
        last = epoch + 1 == stage.schedule.epochs
        if last or (epoch + 1) % self.config.evaluate_every == 0:
            row |= self._evaluate(epoch)
        row["seconds"] = time.perf_counter() - started
        self.history.append(row)
        self.progress.epoch(row)

    def _pass(self, index: int, epoch: int) -> dict[str, float]:
        """Go once over the training rows; return the epoch's means."""
        run, config = self.run, self.config
        order = self._order(index, epoch)
        augmentation = generator("cpu", self.seed, index, epoch, "augment")
        totals: dict[str, Tensor] = {}
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        predicted = torch.zeros(run.data.num_classes, dtype=torch.int64, device=self.device)
        run.samples.used.zero_()
        steps = 0
        for chunk in batches(
            run.data, order, config.batch_size, self.normalizer, config.augment, augmentation
        ):
            logits, used = [], []
            for batch in chunk:
                step, outputs = self._step(batch)
                logits.append(outputs)
                used.append(step.used)
                for name, value in (("loss", step.loss), *step.log.items()):
                    totals[name] = totals.get(name, 0) + value.detach()
            steps += len(chunk)
            correct += self._record(chunk, logits, used, predicted)
        # The only wait for the device in an epoch of training.
        names = list(totals)
        counts = torch.stack([correct, predicted.max(), predicted.argmax()]).double()
        values = torch.cat([torch.stack([totals[n].double() / steps for n in names]), counts])
        host = values.tolist()
        means = dict(zip(names, host[:-3], strict=True))
        largest, label = host[-2] / len(order), int(host[-1])
        self.collapse.look(run.stage.name, epoch, largest, label)
        if not np.isfinite(means["loss"]):
            raise LabelRepairError(
                f"stage '{run.stage.name}', epoch {epoch}: the loss is {means['loss']}; lower the "
                "learning rate, or use forward instead of backward correction"
            )
        return {
            "loss": means.pop("loss"),
            "train_accuracy_given": host[-3] / len(order),
            "largest_class_share": largest,
            "used_share": float(run.samples.used[: len(run.networks)].double().sum())
            / (len(run.networks) * len(order)),
            **means,
        }

    def _order(self, index: int, epoch: int) -> Tensor:
        rows = self.data.train_rows
        draws = generator("cpu", self.seed, index, epoch, "order")
        order = rows[torch.randperm(len(rows), generator=draws).to(self.device)]
        if self.config.max_batches:
            order = order[: self.config.max_batches * self.config.batch_size]
        if self.config.drop_last:
            order = order[: len(order) // self.config.batch_size * self.config.batch_size]
        if len(order) % self.config.batch_size == 1 and _needs_two_rows(self.run.networks):
            order = order[:-1]  # another row in every epoch
        return order

    def _step(self, batch: Batch) -> tuple[Any, Tensor]:
        """One gradient step; returns the method's Step and the detached logits ``(K, B, C)``."""
        run, optimizer = self.run, self._optimizer
        with self._autocast():
            outputs = [network(batch.features) for network in run.networks]
        logits = torch.stack(outputs).float() if len(outputs) > 1 else outputs[0].float()[None]
        step = run.stage.step(logits, batch, run)
        optimizer.zero_grad(set_to_none=True)
        step.loss.backward()  # type: ignore[no-untyped-call]
        # Fused optimizers leave parameters and state alone where this flag is 1, on the device.
        skip = None if step.skip is None else step.skip.float().reshape(())
        optimizer.found_inf = skip  # type: ignore[attr-defined]
        optimizer.step()
        return step, logits.detach()

    def _record(
        self,
        chunk: list[Batch],
        logits: list[Tensor],
        used: list[Tensor | None],
        predicted: Tensor,
    ) -> Tensor:
        """Write a chunk's predictions and selection to the state; return the correct count.

        ``predicted``, int64 ``(C,)``, counts the classes predicted.
        """
        samples = self.run.samples
        rows = torch.cat([batch.rows for batch in chunk])
        labels = torch.cat([batch.labels for batch in chunk])
        probs = torch.cat(logits, dim=1).softmax(-1).mean(0)
        samples.probs[rows] = probs
        if all(item is None for item in used):
            samples.used[:, rows] = True
        else:
            samples.used[:, rows] = torch.cat([_two_dims(item) for item in used], dim=1)
        best = probs.argmax(1)
        predicted.index_add_(0, best, torch.ones_like(best))
        return (best == labels).sum()

    def _evaluate(self, epoch: int) -> dict[str, float]:
        """Look at the validation rows (noisy labels) and the test split."""
        run, found = self.run, {}
        if len(self.val.labels):
            logits = predict_logits(run.networks, self.normalizer, self.val.features)
            probs = logits.softmax(-1).mean(0)
            hits = (probs.argmax(1) == self.val.labels).double().mean()
            criterion = run.stage.val_loss or _cross_entropy
            losses = torch.stack([criterion(part, self.val.labels, run) for part in logits])
            found["noisy_val_accuracy"], found["noisy_val_loss"] = float(hits), float(losses.mean())
            self._remember_best(epoch, found)
        scores = self._test_scores()
        if scores:
            found["test_accuracy"] = sum(scores) / len(scores)
        if len(scores) > 1:
            found |= {f"test_accuracy_{k}": score for k, score in enumerate(scores)}
        return found

    def _test_scores(self) -> list[float]:
        """Return each network's accuracy on the test split; empty without one."""
        if self.test is None or len(self.test.labels) == 0:
            return []
        logits = predict_logits(self.run.networks, self.normalizer, self.test.features)
        scores: list[float] = (logits.argmax(-1) == self.test.labels).double().mean(1).tolist()
        return scores

    def _remember_best(self, epoch: int, found: dict[str, float]) -> None:
        run = self.run
        if not run.stage.tracks_best:
            return
        by_loss = run.stage.keep == "best_val_loss"
        value = -found["noisy_val_loss"] if by_loss else found["noisy_val_accuracy"]
        if run.best is None or value > run.best.value:
            weights = {k: v.detach().clone() for k, v in run.networks.state_dict().items()}
            run.best = Best(value, epoch, weights)

    # -- checkpoints -------------------------------------------------------------------------

    def _save(self, index: int, epoch: int, force: bool = False) -> None:
        """Save the next position, after the method's books are closed."""
        if epoch:
            bits = np.packbits(self.run.samples.used.cpu().numpy(), axis=1)
            self.used.append(torch.from_numpy(bits))
        if self.checkpoint is None or not (force or epoch % self.checkpoint.every == 0):
            return
        best = self.run.best
        self.checkpoint.save(
            {
                "position": [index, epoch],
                "networks": self.run.networks.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "samples": self.run.samples.state_dict(),
                "best": best and {"value": best.value, "epoch": best.epoch, "nets": best.networks},
                "history": self.history,
                "used": torch.stack(self.used) if self.used else None,
            }
        )

    def _resume(self) -> tuple[int, int]:
        """Return (stage, epoch) to go on from, with everything restored."""
        state = self.checkpoint.load() if self.checkpoint else None
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
        index, epoch = state["position"]
        lengths = [*(stage.schedule.epochs for stage in self.stages), 0]  # the last: all done
        if not (0 <= index < len(lengths) and 0 <= epoch <= lengths[index]):
            raise ValueError(f"position {index, epoch} lies outside the training")
        within = self.stages[min(index, len(self.stages) - 1) if epoch else max(0, index - 1)]
        run = self.run
        run.stage = within
        run.networks = self._build(index, within.networks)
        run.networks.load_state_dict(state["networks"])
        self.optimizer = _optimizer(run.networks, self.config.optimizer, within.schedule.lr)
        self.optimizer.load_state_dict(state["optimizer"])
        run.samples = SampleState.from_state_dict(state["samples"], self.device)
        if state["best"]:
            nets = {key: value.to(self.device) for key, value in state["best"]["nets"].items()}
            run.best = Best(state["best"]["value"], state["best"]["epoch"], nets)
        self.history = state["history"]
        self.used = list(state["used"]) if state["used"] is not None else []
        logger.info("resuming at stage '%s', epoch %d", within.name, epoch)
        return index, epoch

    # -- small things ------------------------------------------------------------------------

    def _result(self) -> TrainResult:
        run = self.run
        shared = {key: value.cpu() for key, value in run.samples.shared.items()}
        probs = shared.pop("probs", None)
        if probs is None:
            probs = run.predict_probs().cpu()
        scores = self._test_scores()
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
        )

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        if self.optimizer is None:
            raise RuntimeError("no stage has been entered")
        return self.optimizer

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def _optimizer(networks: nn.ModuleList, options: Optimizer, lr: float) -> torch.optim.Optimizer:
    """One optimizer over all networks: with disjoint parameters it equals one for each."""
    parameters = list(networks.parameters())
    decay = options.weight_decay
    if options.name == "sgd":
        sgd = torch.optim.SGD(
            parameters, lr, momentum=options.momentum, weight_decay=decay, fused=True
        )
        if options.momentum:
            # Left to its first step, fused SGD keeps uninitialised memory if that step is skipped.
            for parameter in parameters:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    if options.name == "adagrad":
        eps = 1e-10 if options.eps is None else options.eps
        return torch.optim.Adagrad(parameters, lr, weight_decay=decay, eps=eps, fused=True)
    eps = 1e-8 if options.eps is None else options.eps
    return torch.optim.Adam(
        parameters, lr, betas=options.betas, eps=eps, weight_decay=decay, fused=True
    )


def _set_schedule(
    optimizer: torch.optim.Optimizer, stage: Stage, options: Optimizer, epoch: int
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = stage.schedule.lr_at(epoch)
        if "betas" in group:
            group["betas"] = (stage.schedule.beta1_at(epoch, options.betas[0]), options.betas[1])


def _cross_entropy(logits: Tensor, labels: Tensor, _run: Run) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")


def _needs_two_rows(networks: nn.ModuleList) -> bool:
    """Return whether a batch of one row is refused: normalised over itself it would be constant."""
    return any(isinstance(module, nn.BatchNorm1d) for module in networks.modules())


def _two_dims(used: Tensor | None) -> Tensor:
    if used is None:
        raise RuntimeError("a stage's steps must either all say which rows they used, or none")
    return used if used.dim() > 1 else used[None]


def _call(callback: Callable[[Run], None] | None, run: Run) -> None:
    if callback is not None:
        with torch.no_grad():
            callback(run)
