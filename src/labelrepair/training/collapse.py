"""Notice that a network predicts one class for everything, or that a stage learns from nothing."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from labelrepair.training.batches import TrainSet

logger = logging.getLogger("labelrepair.training.loop")
SHARE = 0.995  # of the training rows predicted to be of one class
ALWAYS = 0.9  # of the given labels: a set like that may well be predicted so
EPOCHS = 3  # in a row; networks that have just been started often begin like that


class Collapse:
    """Counts the epochs in a row in which one class was predicted; warns once a stage.

    Where a stage ends before they are enough, its last epoch decides.
    """

    def __init__(self, data: TrainSet) -> None:
        """Look at the given labels of the training rows."""
        counts = torch.bincount(data.given_labels[data.train_rows], minlength=1)
        self._possible = float(counts.max()) <= ALWAYS * len(data.train_rows)
        self.enter()

    def enter(self) -> None:
        """Begin a stage."""
        self._epochs, self._warned, self._last = 0, False, (0, 0.0, 0)

    def look(self, stage: str, epoch: int, share: float, label: int) -> None:
        """Take note of an epoch.

        Args:
            stage: its stage.
            epoch: 0-based, within the stage.
            share: of the training rows that were predicted to be of the most predicted class.
            label: that class.
        """
        self._epochs = self._epochs + 1 if self._possible and share >= SHARE else 0
        self._last = epoch, share, label
        if self._epochs == EPOCHS:
            self._warn(stage, f"for {EPOCHS} epochs")

    def leave(self, stage: str, history: Iterable[Mapping[str, Any]]) -> None:
        """End a stage; ``history``: of all epochs, those before a resume included."""
        if self._epochs:
            self._warn(stage, "in its last epoch")
        used = [row["used_share"] for row in history if row["stage"] == stage]
        if used and not any(used):
            logger.warning(
                "stage '%s' has learned from no row at all: its options deselect every sample; "
                "its predictions are those of the weights that it began with",
                stage,
            )

    def _warn(self, stage: str, when: str) -> None:
        if self._warned:
            return
        self._warned = True
        epoch, share, label = self._last
        logger.warning(
            "stage '%s', epoch %d: %.1f %% of the training rows have been predicted to be of "
            "class %d %s: the network has collapsed; lower the learning rate, or choose another "
            "method",
            stage,
            epoch,
            100 * share,
            label,
            when,
        )
