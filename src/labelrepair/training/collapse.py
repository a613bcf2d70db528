"""Notice that a network predicts one class for everything, or that a stage learns from nothing."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from labelrepair.training.batches import TrainSet

logger = logging.getLogger("labelrepair.training.loop")
SHARE = 0.995  # of the training rows predicted to be of one class
ALWAYS = 0.9  # of the given labels: a set like that may well be predicted so
EPOCHS = 3  # in a row; networks that have just been started often begin like that


class Collapse:
    """Counts the epochs in a row in which one class was predicted; warns once a stage and network.

    Of several networks their mean is looked at as well: it may collapse where none does. Where a
    stage ends before the epochs are enough, its last one decides.
    """

    def __init__(self, data: TrainSet) -> None:
        """Look at the given labels of the training rows."""
        counts = torch.bincount(data.given_labels[data.train_rows], minlength=1)
        self._possible = float(counts.max()) <= ALWAYS * len(data.train_rows)
        self.enter()

    def enter(self) -> None:
        """Begin a stage."""
        self._epochs: Counter[int] = Counter()  # by place in ``largest``
        self._warned: set[int] = set()
        self._last: tuple[int, Sequence[tuple[float, int]]] = 0, ()

    def look(self, stage: str, epoch: int, largest: Sequence[tuple[float, int]]) -> None:
        """Take note of an epoch.

        Args:
            stage: its stage.
            epoch: 0-based, within the stage.
            largest: see :class:`labelrepair.training.passes.Means`.
        """
        self._last = epoch, largest
        for who, (share, _) in enumerate(largest):
            flat = self._possible and share >= SHARE
            self._epochs[who] = self._epochs[who] + 1 if flat else 0
            if self._epochs[who] == EPOCHS:
                self._warn(stage, who, f"for {EPOCHS} epochs")

    def leave(self, stage: str, history: Iterable[Mapping[str, Any]]) -> None:
        """End a stage; ``history``: of all epochs, those before a resume included."""
        for who, epochs in self._epochs.items():
            if epochs:
                self._warn(stage, who, "in its last epoch")
        used = [row["used_share"] for row in history if row["stage"] == stage]
        if used and not any(used):
            logger.warning(
                "stage '%s' has learned from no row at all: its options deselect every sample; "
                "its predictions are those of the weights that it began with",
                stage,
            )

    def _warn(self, stage: str, who: int, when: str) -> None:
        epoch, largest = self._last
        networks = max(1, len(largest) - 1)
        mean = who == networks
        if who in self._warned or (mean and self._warned):  # no wonder that the mean has collapsed
            return
        self._warned.add(who)
        share, label = largest[who]
        by = f" by network {who + 1} of {networks}" if networks > 1 else ""
        logger.warning(
            "stage '%s', epoch %d: %.1f %% of the training rows have been predicted to be of "
            "class %d%s %s: the %s collapsed; lower the learning rate, or choose another method",
            stage,
            epoch,
            100 * share,
            label,
            " by the networks' mean" if mean else by,
            when,
            "networks have" if mean else "network has",
        )
