"""How odd a row is among the rows of its class: the local outlier factor, on the data's device."""

import numpy as np
import torch
from torch import Tensor

CEILING = 1e6  # factors among copies of one sample would be infinite
_CHUNK = 4_000_000  # distances at once
_TINY = 1e-10


def outlier_factors(
    features: Tensor, neighbours: int | None = None, references: Tensor | None = None
) -> Tensor:
    """Return the local outlier factor of each row (Breunig et al., SIGMOD 2000, definition 7).

    How much sparser it is around a row than around its nearest neighbours; all rows as near as the
    k-th are neighbours. Time and memory grow with N times M.

    Args:
        features: float ``(N, d)``.
        neighbours: k of N rows; of M references a share of them as large. None = half of the rows.
        references: int64 ``(M,)``, the rows among which neighbours are looked for; None = all.

    Returns:
        Float32 ``(N,)`` in (0, 1e6]; 1 is usual, larger is odd. All 1 for fewer than 3 references.
    """
    rows = len(features)
    chosen = torch.arange(rows, device=features.device) if references is None else references
    if len(chosen) < 3:
        return features.new_ones(rows, dtype=torch.float32)
    share = 0.5 if neighbours is None else neighbours / rows
    k = min(max(1, round(share * len(chosen))), len(chosen) - 1)
    values = features.float() - features.float().mean(0)  # keeps small distances exact
    among = values[chosen]

    def near(part: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return distances ``(n, M)`` without that to itself, the k-th, and who is as near."""
        distances = torch.cdist(part, among)
        distances.masked_fill_(own[:, None] == chosen[None, :], torch.inf)
        farthest = _smallest(distances, k)
        return distances, farthest, (distances <= farthest[:, None]).float()

    def density(distances: Tensor, inside: Tensor, reach: Tensor) -> Tensor:
        """Return the local reachability density ``(n,)``."""
        total = torch.maximum(distances, reach).nan_to_num_(posinf=0.0).mul_(inside).sum(1)
        return 1 / (total / inside.sum(1) + _TINY)

    distances, reach, inside = near(among, chosen)
    around = density(distances, inside, reach)
    found = torch.empty(rows, device=features.device)
    found[chosen] = inside @ around / inside.sum(1) / around
    others = torch.ones(rows, dtype=torch.bool, device=features.device).index_fill_(
        0, chosen, False
    )
    for own in torch.split(others.nonzero()[:, 0], max(1, _CHUNK // len(chosen))):
        distances, _, inside = near(values[own], own)
        theirs = inside @ around / inside.sum(1)
        found[own] = theirs / density(distances, inside, reach)
    return found.clamp(max=CEILING)


def _smallest(distances: Tensor, k: int) -> Tensor:
    """Return the k-th smallest of each row ``(n,)``; NumPy's selection is nine times as fast."""
    if distances.device.type != "cpu":
        return distances.kthvalue(k, dim=1).values
    return torch.from_numpy(np.partition(distances.numpy(), k - 1, axis=1)[:, k - 1].copy())
