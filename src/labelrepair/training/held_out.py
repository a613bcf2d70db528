"""What is looked at between epochs: the validation rows (noisy labels) and the test split."""

import torch
from torch import Tensor
from torch.nn import functional

from labelrepair.training.batches import Holdout
from labelrepair.training.state import Best, Run, predict_logits


class HeldOut:
    """Rows that no gradient step uses. Only ``run.best`` depends on them, by validation rows."""

    def __init__(self, val: Holdout, test: Holdout | None) -> None:
        """Keep both, on the device of the networks; ``val`` may be empty."""
        self._val, self._test = val, test

    def look(self, run: Run, epoch: int, *, test: bool = True) -> dict[str, float]:
        """Return what enters the history; remember the best weights so far, if asked to.

        ``test``: look at the test split too.
        """
        found: dict[str, float] = {}
        if len(self._val.labels):
            logits = self._predict(run, self._val)
            probs = logits.softmax(-1).mean(0)
            hits = (probs.argmax(1) == self._val.labels).double().mean()
            criterion = run.stage.val_loss or _cross_entropy
            losses = torch.stack([criterion(part, self._val.labels, run) for part in logits])
            found["noisy_val_accuracy"], found["noisy_val_loss"] = float(hits), float(losses.mean())
            _remember_best(run, epoch, found)
        scores = self.test_scores(run)[0] if test else []
        if scores:
            found["test_accuracy"] = sum(scores) / len(scores)
        if len(scores) > 1:
            found |= {f"test_accuracy_{k}": score for k, score in enumerate(scores)}
        return found

    def test_scores(self, run: Run) -> tuple[list[float], float | None]:
        """Return the test split's accuracy of each network, and of their mean probabilities.

        Without such a split, none and None.
        """
        if self._test is None or len(self._test.labels) == 0:
            return [], None
        logits, labels = self._predict(run, self._test), self._test.labels
        scores: list[float] = (logits.argmax(-1) == labels).double().mean(1).tolist()
        together = logits.softmax(-1).mean(0).argmax(1) == labels
        return scores, float(together.double().mean())

    def _predict(self, run: Run, rows: Holdout) -> Tensor:
        """Return float32 ``(K, M, C)`` logits of all rows."""
        return predict_logits(run.networks, run.normalizer, rows.features)


def _remember_best(run: Run, epoch: int, found: dict[str, float]) -> None:
    if not run.stage.tracks_best:
        return
    by_loss = run.stage.keep == "best_val_loss"
    value = -found["noisy_val_loss"] if by_loss else found["noisy_val_accuracy"]
    if run.best is None or value > run.best.value:
        weights = {k: v.detach().clone() for k, v in run.networks.state_dict().items()}
        run.best = Best(value, epoch, weights)


def _cross_entropy(logits: Tensor, labels: Tensor, _run: Run) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")
