"""Small-loss selection and its schedule (Co-teaching family), without waiting for the device."""

from dataclasses import dataclass

import torch
from torch import Tensor


def keep_count(batch_size: int, forget_rate: float) -> int:
    """Return ``m = int((1 - forget) B)``, truncated; 1e-9 heals ``int((1 - .9) * 10) = 0``."""
    return int((1.0 - forget_rate) * batch_size + 1e-9)


def smallest(losses: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Select the ``count`` smallest losses; ties go to the earlier row on every device.

    Args:
        losses: float ``(B,)``; no gradient flows through the selection.
        count: m, 0..B.

    Returns:
        int64 ``(m,)`` positions in ascending order of loss, and the bool ``(B,)`` mask of them.
    """
    kept = torch.sort(losses.detach(), stable=True).indices[:count]
    mask = torch.zeros_like(losses, dtype=torch.bool).index_fill_(0, kept, True)
    return kept, mask


def smallest_among(losses: Tensor, eligible: Tensor, forget_rate: float) -> Tensor:
    """Select the smallest losses among eligible rows; how many there are is not known to the host.

    Args:
        losses: float ``(B,)``; no gradient flows through the selection.
        eligible: bool ``(B,)``.
        forget_rate: share of the eligible rows that is left out, truncated as in
            :func:`keep_count`; if that leaves none, all eligible rows are taken.

    Returns:
        Bool ``(B,)`` mask.
    """
    count = eligible.sum()
    kept = ((1.0 - forget_rate) * count + 1e-9).long()
    kept = torch.where(kept > 0, kept, count)
    order = torch.sort(losses.detach().masked_fill(~eligible, torch.inf), stable=True).indices
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return (rank < kept) & eligible


@dataclass(frozen=True)
class ForgetSchedule:
    """Share of a batch that is left out, by epoch.

    Attributes:
        noise_rate: tau, the final share.
        ramp: T_k, epochs of the ramp.
        variant: ``code``: ``linspace(0, tau, T_k)``, the schedule of the authors' code, here from
            epoch 0; ``code_from_one``: the same an epoch ahead, as their training begins with the
            second entry; ``paper``: ``min(e tau / T_k, tau)`` (JoCoR, section 4.1).
    """

    noise_rate: float
    ramp: int
    variant: str = "code"

    def at(self, epoch: int) -> float:
        """Return the forget rate of a 0-based epoch."""
        length = self.ramp if self.variant == "paper" else self.ramp - 1
        passed = epoch + 1 if self.variant == "code_from_one" else epoch
        return min(1.0, passed / max(1, length)) * self.noise_rate
