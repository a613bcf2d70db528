"""Co-teaching and Co-teaching+: the readings of their authors' code."""

import pytest
import torch

from labelrepair import losses, methods
from labelrepair.training import Batch, TrainingConfig

ROWS = 25
BATCH = Batch(torch.arange(ROWS), None, torch.arange(ROWS) % 4)
RATE = {"noise_rate": 0.4, "ramp": 3}


class At:
    def __init__(self, epoch):
        self.epoch = epoch


def step_of(method, logits, options, epoch=9):
    (stage,) = methods.plan(method, {**RATE, **options}, TrainingConfig(), None)
    stage.before_epoch and stage.before_epoch(At(epoch))
    return stage.step(logits, BATCH, At(epoch))


def some_logits(alike):
    torch.manual_seed(0)
    first = torch.randn(ROWS, 4)
    return torch.stack([first, first + 0.01 if alike else torch.randn(ROWS, 4)]).requires_grad_()


@pytest.mark.parametrize(("method", "alike"), [("co_teaching", True), ("co_teaching_plus", False)])
def test_the_mean_divided_by_m_again(method, alike):
    logits = some_logits(alike)
    once, again = (step_of(method, logits, {"divide_again": twice}) for twice in (False, True))
    counts = once.used.sum(1)
    assert torch.equal(once.used, again.used)
    assert counts[0] == counts[1] > 1
    assert again.loss.item() == pytest.approx(once.loss.item() / counts[0].item(), rel=1e-6)


def test_a_batch_without_disagreement_teaches_nothing():
    step = step_of("co_teaching_plus", some_logits(alike=True), {})
    assert step.skip
    assert not step.used.any()


def test_or_all_its_rows_while_training_is_young():
    logits, whole = some_logits(alike=True), {"agreement": "whole_batch"}
    step = step_of("co_teaching_plus", logits, whole)
    expected = sum(losses.cross_entropy(part, BATCH.labels).mean() for part in logits)
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert step.used.all()
    assert step.skip is None
    old = step_of("co_teaching_plus", logits, whole, epoch=4999)  # the first batch of epoch 5,000
    assert old.skip
    assert not old.used.any()


def test_whole_batches_are_counted_within_an_epoch():
    options = {**RATE, "agreement": "whole_batch"}
    (stage,) = methods.plan("co_teaching_plus", options, TrainingConfig(), None)
    run, logits = At(2499), some_logits(alike=True)  # times 1 is below 5,000, times 2 is not
    for _ in range(2):
        stage.before_epoch(run)
        skipped = [stage.step(logits, BATCH, run).skip for _ in range(3)]
        assert skipped[0] is None
        assert skipped[1]
        assert skipped[2]


def test_a_batch_with_disagreement_is_the_same_in_both_readings():
    logits = some_logits(alike=False)
    skip, whole = (
        step_of("co_teaching_plus", logits, {"agreement": name}) for name in ("skip", "whole_batch")
    )
    assert torch.equal(skip.used, whole.used)
    assert skip.loss.item() == whole.loss.item()
