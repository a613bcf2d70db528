"""Notice that a network predicts one class for everything."""

import logging

import torch

from labelrepair.training.batches import TrainSet

logger = logging.getLogger("labelrepair.training.loop")
SHARE = 0.995  # of the training rows predicted to be of one class
ALWAYS = 0.9  # of the given labels: a set like that may well be predicted so
EPOCHS = 3  # in a row; networks that have just been started often begin like that


class Collapse:
    """Counts the epochs in a row in which one class was predicted, and warns once a stage."""

    def __init__(self, data: TrainSet) -> None:
        """Look at the given labels of the training rows."""
        counts = torch.bincount(data.given_labels[data.train_rows], minlength=1)
        self._possible = float(counts.max()) <= ALWAYS * len(data.train_rows)
        self._stage, self._epochs = "", 0

    def look(self, stage: str, epoch: int, share: float, label: int) -> None:
        """Take note of an epoch.

        Args:
            stage: its stage.
            epoch: 0-based, within the stage.
            share: of the training rows that were predicted to be of the most predicted class.
            label: that class.
        """
        if stage != self._stage:
            self._stage, self._epochs = stage, 0
        self._epochs = self._epochs + 1 if self._possible and share >= SHARE else 0
        if self._epochs == EPOCHS:
            logger.warning(
                "stage '%s', epoch %d: %.1f %% of the training rows have been predicted to be of "
                "class %d for %d epochs: the network has collapsed; lower the learning rate, or "
                "choose another method",
                stage,
                epoch,
                100 * share,
                label,
                EPOCHS,
            )
