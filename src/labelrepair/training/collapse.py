"""Notice that a network predicts one class for everything, or some class for nothing."""

import logging

import numpy as np
import torch
from numpy.typing import NDArray

from labelrepair.training.batches import TrainSet

logger = logging.getLogger("labelrepair.training.loop")
SHARE = 0.995  # of the training rows predicted to be of one class
ALWAYS = 0.9  # of the given labels: a set like that may well be predicted so
LOST = 0.1  # of the expected rows of a class
FEWEST = 10  # rows that must be expected before their absence says anything
EPOCHS = 3  # in a row; networks that have just been started often begin like that


def lost_classes(predicted: NDArray[np.int64], prior: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the classes that are hardly ever predicted though rows of them are expected.

    Args:
        predicted: int64 ``(N,)``, the class predicted for each row.
        prior: ``(C,)`` estimated shares of the true classes.

    Returns:
        Ascending: those predicted for under a tenth of the expected rows, of which there are at
        least ten. Where one class is predicted for everything, all others.
    """
    expected = prior * len(predicted)
    found = np.bincount(predicted, minlength=len(prior))
    return np.flatnonzero((expected >= FEWEST) & (found < LOST * expected))


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
