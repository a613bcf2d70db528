"""The optimizer of a stage, and its settings at an epoch."""

import torch
from torch import nn
from torch.nn import functional

from labelrepair.training.config import Optimizer
from labelrepair.training.state import Stage

VANISHED = 2.0**-80
"""Moments up to this size move no weight: a step is their quotient by at least ``eps``, times lr
(8e-20 of Adam's defaults), and half the last digit of a weight of 1e-10 is forty times as much."""


def build_optimizer(
    networks: nn.ModuleList, options: Optimizer, lr: float
) -> torch.optim.Optimizer:
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


def set_schedule(
    optimizer: torch.optim.Optimizer, stage: Stage, options: Optimizer, epoch: int
) -> None:
    """Set learning rate and betas to those of ``epoch``."""
    for group in optimizer.param_groups:
        group["lr"] = stage.schedule.lr_at(epoch)
        if "betas" in group:
            group["betas"] = (stage.schedule.beta1_at(epoch, options.betas[0]), options.betas[1])


def drop_vanished(optimizer: torch.optim.Optimizer) -> None:
    """Set first moments that have all but vanished to 0, in place.

    Where no gradient comes any more (pixels that are hardly ever set, rare words, dead units) they
    are multiplied by beta1 at every step until they are subnormal numbers, and stay that for good:
    rounding keeps 0.9 of the smallest float at the smallest float. Some processors take a hundred
    times as long for a product with one of those. From 2^-80 on it takes 300 steps to get there.
    """
    for state in optimizer.state.values():
        for name in ("exp_avg", "momentum_buffer"):
            moment = state.get(name)
            if moment is not None and moment.device.type == "cpu":  # a GPU takes them as they come
                moment.copy_(functional.hardshrink(moment, VANISHED))
