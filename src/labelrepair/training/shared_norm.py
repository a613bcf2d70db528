"""Batch normalisation over the whole batch while its rows lie on several ranks."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from labelrepair.training.ranks import Ranks


def share_norms(networks: nn.Module, ranks: Ranks) -> None:
    """Let every batch normalisation see the rows of all ranks while training.

    Unlike ``nn.SyncBatchNorm`` this works on the CPU, and for a rank that has no row of a batch.
    Undone by :func:`own_norms`; parameters and buffers stay the modules' own.
    """
    for module in networks.modules():
        if isinstance(module, _BatchNorm):
            module.forward = partial(_forward, module, ranks)  # type: ignore[method-assign]


def own_norms(networks: nn.Module) -> None:
    """Undo :func:`share_norms`, so that the networks can be copied and saved."""
    for module in networks.modules():
        module.__dict__.pop("forward", None)


def _forward(norm: _BatchNorm, ranks: Ranks, inputs: Tensor) -> Tensor:
    """As ``norm`` itself, with mean and variance over the rows of all ranks."""
    if not norm.training:
        return type(norm).forward(norm, inputs)
    values = inputs.float()
    over = [0, *range(2, values.dim())]
    count = values.new_tensor([values.numel() // values.shape[1]])
    sums = ranks.add(torch.cat([values.sum(over), count]))
    total = sums[-1].detach()
    shape = [1, -1, *[1] * (values.dim() - 2)]
    centred = values - (sums[:-1] / total).view(shape)
    variance = ranks.add(centred.square().sum(over)) / total
    if norm.running_mean is not None and norm.running_var is not None:
        _remember(norm, (sums[:-1] / total).detach(), variance.detach(), total)
    result = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        result = result * norm.weight.view(shape) + norm.bias.view(shape)
    return result.to(inputs.dtype)


def _remember(norm: _BatchNorm, mean: Tensor, variance: Tensor, total: Tensor) -> None:
    """Update the running statistics as torch does: the variance without bias."""
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    weight = norm.momentum
    if weight is None:  # the mean of all batches so far
        weight = 1.0 / float(norm.num_batches_tracked)  # type: ignore[arg-type]
    unbiased = variance * total / (total - 1).clamp_min(1)
    norm.running_mean.lerp_(mean, weight)  # type: ignore[union-attr]
    norm.running_var.lerp_(unbiased, weight)  # type: ignore[union-attr]
