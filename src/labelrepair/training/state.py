"""The loop's vocabulary: steps, stages, per-sample state, and what callbacks may touch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from labelrepair.errors import ConfigError
from labelrepair.networks.classifier import Normalizer
from labelrepair.networks.features import Features, chunk_rows, in_order
from labelrepair.training.batches import Batch, TrainSet
from labelrepair.training.config import Schedule, TrainingConfig

Keep = Literal["last", "best_val_accuracy", "best_val_loss"]
Device = torch.device


@dataclass(frozen=True)
class Step:
    """What a method makes of one batch.

    Attributes:
        loss: the one scalar to differentiate; the losses of several networks are summed.
        used: bool ``(K, B)`` or ``(B,)``, the samples learned from; None = all.
        skip: float scalar tensor, 1 = change no parameter in this step (empty selection).
        log: scalars to average over the epoch.
    """

    loss: Tensor
    used: Tensor | None = None
    skip: Tensor | None = None
    log: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class SampleState:
    """Per-sample state; the first axis after any other is the row.

    Attributes:
        probs: float32 ``(N, C)``, mean over networks of the predictions made while training (train
            mode, augmented view) in the last epoch that visited the row; 1 / C before.
        used: bool ``(K, N)``, rows learned from in the last epoch.
        history: float32 ``(W, N, C)`` ring of the last W epochs' ``probs``, or None.
        recorded: number of epochs pushed since ``history`` was cleared.
        targets: float32 ``(N, C)`` soft labels, or None.
        weight: float32 ``(N,)`` sample weights, or None.
        shared: anything else a method's stages hand to each other; tensors only. ``probs`` and
            ``selected`` there, if set, are the method's own answer for the label table.
    """

    probs: Tensor
    used: Tensor
    history: Tensor | None = None
    recorded: int = 0
    targets: Tensor | None = None
    weight: Tensor | None = None
    shared: dict[str, Tensor] = field(default_factory=dict)

    def push_history(self) -> None:
        """Store this epoch's ``probs`` in the ring."""
        if self.history is not None:
            self.history[self.recorded % len(self.history)] = self.probs
            self.recorded += 1

    def history_mean(self) -> Tensor:
        """Return float32 ``(N, C)``, the mean over the epochs stored so far (at most W)."""
        if self.history is None or self.recorded == 0:
            raise RuntimeError("no epoch has been recorded yet")
        return self.history[: min(self.recorded, len(self.history))].mean(0)

    def state_dict(self) -> dict[str, Any]:
        """Return the content for a checkpoint."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any], device: Device) -> "SampleState":
        """Rebuild from :meth:`state_dict`, every tensor on ``device``."""
        shared = {key: value.to(device) for key, value in state.pop("shared").items()}
        moved: dict[str, Any] = {
            key: value.to(device) if isinstance(value, Tensor) else value
            for key, value in state.items()
        }
        return cls(shared=shared, **moved)


@dataclass(frozen=True)
class Stage:
    """One phase of a method's training.

    Attributes:
        name: shown in the history.
        schedule: epochs and learning rate.
        step: ``(logits (K, B, C), batch, run) -> Step``; must not wait for the device.
        networks: K.
        start: ``restart`` builds fresh networks, ``carry`` goes on with the previous stage's.
        optimizer: likewise for the optimizer's state.
        window: W, epochs of predictions kept in ``samples.history``.
        keep: which weights leave the stage; ``best_*`` look at the noisy validation rows only.
        val_loss: per-sample loss ``(logits (B, C), labels, run) -> (B,)`` for ``best_val_loss``;
            None = cross entropy.
        every_row: the stage keeps state of each row from one epoch to the next beside ``history``,
            so that no row may be left out of an epoch.
        divisible: the stage sees samples by their logits only, so that several processes can share
            its batches; False where it looks at features or inside the networks.
        track_best: remember the best weights (by ``keep``, or validation accuracy) while training
            so that ``run.predict_logits(weights="best")`` works.
    """

    name: str
    schedule: Schedule
    step: "Callable[[Tensor, Batch, Run], Step]"
    networks: int = 1
    start: Literal["restart", "carry"] = "restart"
    optimizer: Literal["restart", "carry"] = "restart"
    window: int = 0
    keep: Keep = "last"
    val_loss: "Callable[[Tensor, Tensor, Run], Tensor] | None" = None
    track_best: bool = False
    every_row: bool = False
    divisible: bool = True
    before_stage: "Callable[[Run], None] | None" = None
    before_epoch: "Callable[[Run], None] | None" = None
    after_epoch: "Callable[[Run], None] | None" = None
    after_stage: "Callable[[Run], None] | None" = None

    @property
    def tracks_best(self) -> bool:
        """Whether the best weights so far are remembered."""
        return self.track_best or self.keep != "last"


@dataclass
class Best:
    """The best epoch so far on noisy validation (higher ``value`` is better) and its weights."""

    value: float
    epoch: int
    networks: dict[str, Tensor]


@dataclass
class Run:
    """What a method's callbacks see. ``epoch`` is 0-based inside ``stage``."""

    data: TrainSet
    config: TrainingConfig
    normalizer: Normalizer
    networks: nn.ModuleList
    samples: SampleState
    stage: Stage
    generator: torch.Generator
    epoch: int = 0
    best: Best | None = None

    def predict_logits(
        self,
        features: Features | None = None,
        weights: Literal["current", "best"] = "current",
        rows: Tensor | None = None,
    ) -> Tensor:
        """Predict in eval mode, without augmentation.

        Args:
            features: ``(M, ...)`` as stored; None = all rows of the data.
            weights: the current ones, or those of the best epoch on noisy validation so far (the
                current ones while there is none).
            rows: int64 ``(M,)``, only these rows.

        Returns:
            Float32 ``(K, M, C)``, detached.
        """
        if weights == "best" and self.best is not None:
            current = {key: value.clone() for key, value in self.networks.state_dict().items()}
            self.networks.load_state_dict(self.best.networks)
            logits = predict_logits(self.networks, self.normalizer, self._rows(features), rows)
            self.networks.load_state_dict(current)
            return logits
        return predict_logits(self.networks, self.normalizer, self._rows(features), rows)

    def predict_probs(self, weights: Literal["current", "best"] = "current") -> Tensor:
        """Return float32 ``(N, C)``: softmax of :meth:`predict_logits`, mean over networks."""
        return self.predict_logits(weights=weights).softmax(-1).mean(0)

    def _rows(self, features: Features | None) -> Features:
        return self.data.features if features is None else features


def predict_logits(
    networks: nn.ModuleList,
    normalizer: Normalizer,
    features: Features,
    rows: Tensor | None = None,
) -> Tensor:
    """Return float32 ``(K, M, C)`` logits in eval mode; leaves every module's mode as it was.

    ``rows``, int64 ``(M,)``: only these; None = all.
    """
    chunk = max(1, chunk_rows(features) // 4)
    modes = [network.training for network in networks]
    networks.eval()
    parts = []
    with torch.no_grad():
        for part in in_order(features, chunk, rows):
            inputs = normalizer(part)
            parts.append(torch.stack([network(inputs) for network in networks]).float())
    for network, mode in zip(networks, modes, strict=True):
        network.train(mode)
    return torch.cat(parts, dim=1)


def require_validation(stage: Stage, data: TrainSet) -> None:
    """Raise ConfigError if ``stage`` needs validation rows and there are none."""
    if stage.tracks_best and len(data.val_rows) == 0:
        raise ConfigError(
            f"stage '{stage.name}' chooses weights on noisy validation rows, but there are none: "
            "set training.validation_fraction above 0 (the paper uses 0.1)"
        )
