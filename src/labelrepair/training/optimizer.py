"""The optimizer of a stage, and its settings at an epoch."""

import torch
from torch import nn

from labelrepair.training.config import Optimizer
from labelrepair.training.state import Stage


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
