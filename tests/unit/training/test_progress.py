import logging
import sys

import pytest

from labelrepair.training import progress as module
from labelrepair.training.progress import Progress

ROW = {"stage": "train", "loss": 0.51234, "used_share": 0.75}
LINE = "train, loss 0.5123, used 75%"


def test_a_log_gets_a_line_now_and_then_and_at_the_end(caplog, monkeypatch):
    clock = iter([0.0, 1.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    caplog.set_level(logging.INFO)
    shown = Progress(epochs=4)
    shown.start(0)
    for _ in range(4):
        shown.epoch(ROW)
    shown.stop()
    assert caplog.messages == [f"epoch 2/4  {LINE}", f"epoch 4/4  {LINE}"]


def test_accuracies_are_shown_where_known(caplog, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    caplog.set_level(logging.INFO)
    shown = Progress(epochs=5)
    shown.start(4)
    shown.epoch({**ROW, "noisy_val_accuracy": 0.5, "test_accuracy": 0.9123})
    assert caplog.messages == [f"epoch 5/5  {LINE}, noisy val 50.00%, test 91.23%"]


@pytest.mark.parametrize("show", [True, False])
def test_a_terminal_gets_a_bar_and_no_log(caplog, monkeypatch, capsys, show):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    caplog.set_level(logging.INFO)
    shown = Progress(epochs=3, show=show)
    shown.start(1)
    shown.epoch(ROW)
    if show:
        task = shown._bar.tasks[0]
        assert (task.completed, task.total, task.description) == (2, 3, LINE)
    shown.stop()
    assert not caplog.messages
    assert (shown._bar is not None) == show
    assert show or capsys.readouterr() == ("", "")
