"""How far a training has come, as a checkpoint holds it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from labelrepair.training.state import Best, Run, SampleState, Stage


def snapshot(
    run: Run, optimizer: torch.optim.Optimizer, history: list[dict[str, Any]], used: list[Tensor]
) -> dict[str, Any]:
    """Return everything that a resume needs beside the position."""
    best = run.best
    return {
        "networks": run.networks.state_dict(),
        "optimizer": optimizer.state_dict(),
        "samples": run.samples.state_dict(),
        "best": best and {"value": best.value, "epoch": best.epoch, "nets": best.networks},
        "history": history,
        "used": torch.stack(used) if used else None,
    }


def found_in(state: dict[str, Any], stages: Sequence[Stage]) -> tuple[int, int, Stage]:
    """Return (stage, epoch) to go on from, and the stage that the saved networks belong to.

    Raises:
        ValueError: there is no such position in ``stages``.
    """
    index, epoch = state["position"]
    lengths = [*(stage.schedule.epochs for stage in stages), 0]  # the last: all done
    if not (0 <= index < len(lengths) and 0 <= epoch <= lengths[index]):
        raise ValueError(f"position {index, epoch} lies outside the training")
    return index, epoch, stages[min(index, len(stages) - 1) if epoch else max(0, index - 1)]


def restore(
    state: dict[str, Any], run: Run, optimizer: torch.optim.Optimizer
) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """Put a :func:`snapshot` back into ``run`` and ``optimizer``; return history and used rows."""
    device = run.data.given_labels.device
    run.networks.load_state_dict(state["networks"])
    optimizer.load_state_dict(state["optimizer"])
    run.samples = SampleState.from_state_dict(state["samples"], device)
    if state["best"]:
        nets = {key: value.to(device) for key, value in state["best"]["nets"].items()}
        run.best = Best(state["best"]["value"], state["best"]["epoch"], nets)
    return state["history"], list(state["used"]) if state["used"] is not None else []
