"""Per-sample losses: ``(logits (B, C), labels (B,)) -> (B,)``; never a mean, never state.

Every function computes in float32 at least (half and bfloat16 are cast up first, float64 is kept),
works from log-probabilities so that finite logits of any size give finite values and gradients,
and never waits for the device: the values of tensors are not checked. ``labels`` are int64 in
``0..C-1``; z are logits, f = softmax(z), L = log f, f_y the probability of the sample's label.
The names follow the papers: [LC] Patrini et al. 2017, [GCE] Zhang & Sabuncu 2018, [JO] Tanaka et
al. 2018, [NL] Kim et al. 2019, [JC] Wei et al. 2020, [BS] Reed et al. 2015.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from labelrepair.config import in_unit_interval, one_of, positive, require
from labelrepair.transition import check_transition, invert_transition

LOWEST_POWER = 1e-6
"""Below this q the generalized cross entropy is the cross entropy to float precision."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy -L_y, in [0, inf); gradient f - e_y."""
    return functional.cross_entropy(_upcast(logits), labels, reduction="none")


def forward_corrected(logits: Tensor, labels: Tensor, transition: NDArray[np.float64]) -> Tensor:
    """Forward correction -log sum_j T[j, y] f_j, in [0, inf) [LC eq. 3-5].

    Args:
        logits: (B, C).
        labels: (B,) given labels.
        transition: T (C, C), row-stochastic, T[i, j] = P(given = j | true = i); zeros are fine as
            long as the column of every label that occurs holds a positive entry.

    Returns:
        (B,) losses; gradient f_j (1 - T[j, y] / sum_k T[k, y] f_k).

    Raises:
        TransitionError: if T is not a row-stochastic (C, C) matrix.
    """
    matrix = check_transition(transition, num_classes=logits.shape[1])
    return forward_corrected_with_log(logits, labels, log_of_transition(matrix, like=logits))


def log_of_transition(transition: NDArray[np.float64], like: Tensor) -> Tensor:
    """Return log T (C, C) on the device of ``like``, at least float32; log 0 is -inf."""
    with np.errstate(divide="ignore"):
        return _as_tensor(np.log(transition), like)


def forward_corrected_with_log(logits: Tensor, labels: Tensor, log_transition: Tensor) -> Tensor:
    """:func:`forward_corrected` from log T, for loops that compute it once; unchecked."""
    # A sum of exponentiated probabilities would underflow at logit gaps of about 100 in float32.
    return -torch.logsumexp(_log_probs(logits) + log_transition.index_select(1, labels).t(), dim=1)


def backward_corrected(
    logits: Tensor, labels: Tensor, transition: NDArray[np.float64], clip: float | None = None
) -> Tensor:
    """Backward correction -sum_j S[y, j] L_j with S = T^-1, in (-inf, inf) [LC section 4.1].

    Args:
        logits: (B, C).
        labels: (B,) given labels.
        transition: T (C, C), row-stochastic, T[i, j] = P(given = j | true = i).
        clip: as in :func:`backward_corrected_with_inverse`.

    Returns:
        (B,) losses, unbiased: sum_j T[i, j] loss(y = j) = cross_entropy(y = i); gradient f - S[y].

    Raises:
        ConfigError: if ``clip`` is out of range.
        TransitionError: if T is not a row-stochastic (C, C) matrix or cannot be inverted.
    """
    matrix = check_transition(transition, num_classes=logits.shape[1])
    inverse = _as_tensor(invert_transition(matrix), like=logits)
    return backward_corrected_with_inverse(logits, labels, inverse, clip)


def backward_corrected_with_inverse(
    logits: Tensor, labels: Tensor, inverse: Tensor, clip: float | None = None
) -> Tensor:
    """:func:`backward_corrected` from S = T^-1 (C, C), for loops that compute it once; unchecked.

    Args:
        logits: (B, C).
        labels: (B,) given labels.
        inverse: S, on the logits' device; its rows sum to 1, its entries may be negative.
        clip: bound f to [clip, 1 - clip] before the logarithm, in (0, 0.5). A negative entry of S
            leaves the loss unbounded below; the authors' code bounds it with 1e-7, which also
            zeroes the gradient of saturated entries. None computes the formula.

    Returns:
        (B,) losses.

    Raises:
        ConfigError: if ``clip`` is out of range.
    """
    log_probs = _log_probs(logits)
    if clip is not None:
        require(0.0 < clip < 0.5, f"clip: must lie in (0, 0.5), found {clip}")
        log_probs = log_probs.clamp(math.log(clip), math.log1p(-clip))
    return -(inverse[labels] * log_probs).sum(dim=1)


def mean_absolute_error(logits: Tensor, labels: Tensor) -> Tensor:
    """L1 distance of one-hot label and probabilities, 2 - 2 f_y, in [0, 2] [GCE eq. 4]."""
    return torch.expm1(-cross_entropy(logits, labels)) * -2.0


def generalized_cross_entropy(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    """L_q = (1 - f_y^q) / q, in [0, 1/q]; gradient f_y^q (f - e_y) [GCE eq. 6].

    q in (0, 1] leads from cross entropy (q -> 0, taken below 1e-6) to MAE / 2 (q = 1); the paper
    uses 0.7.

    Raises:
        ConfigError: if ``q`` is out of range.
    """
    require(0.0 < q <= 1.0, f"q: must lie in (0, 1], found {q}")
    return _power_loss(cross_entropy(logits, labels), q)


def truncated_generalized_cross_entropy(
    logits: Tensor, labels: Tensor, q: float, k: float
) -> Tensor:
    """L_q(max(f_y, k)): constant, without gradient, where f_y <= k [GCE section 3.3].

    k in [0, 1), q in (0, 1]; the paper uses k = 0.5 and q = 0.7. k = 0 truncates nothing.

    Raises:
        ConfigError: if ``q`` or ``k`` is out of range.
    """
    require(0.0 < q <= 1.0, f"q: must lie in (0, 1], found {q}")
    require(0.0 <= k < 1.0, f"k: must lie in [0, 1), found {k}")
    ce = cross_entropy(logits, labels)
    loss = _power_loss(ce, q)
    if k == 0.0:
        return loss
    threshold = -math.log(k)
    ceiling = threshold if q < LOWEST_POWER else -math.expm1(-q * threshold) / q
    # Compared this way round, a NaN loss stays NaN instead of turning into the constant.
    return torch.where(ce >= threshold, ceiling, loss)


def negative_learning(
    logits: Tensor, complementary_labels: Tensor, clip: float | None = None
) -> Tensor:
    """-log(1 - f_k) for "not class k", in [0, inf), summed over K labels [NL eq. 2].

    Args:
        logits: (B, C), C >= 2.
        complementary_labels: (B,) or (B, K) int64; labels may repeat.
        clip: bound 1 - f_k below by it, in (0, 1). The authors' code does with 1e-5, which stops
            the gradient of confidently wrong outputs. None computes the formula, whose gradient
            stays f_k, however near f_k is to 1.

    Returns:
        (B,) losses.

    Raises:
        ConfigError: if ``clip`` is out of range.
    """
    require(clip is None or 0.0 < clip < 1.0, f"clip: must lie in (0, 1), found {clip}")
    log_probs = _log_probs(logits)
    if complementary_labels.dim() == 1:
        others = log_probs.scatter(1, complementary_labels.unsqueeze(1), -math.inf)
        return -_at_least(others.logsumexp(dim=1), clip)
    # log(1 - f) of every class at once: log1p is exact for f <= 1/2, which only the top class can
    # exceed, and that one gets the exact sum over the others.
    top = log_probs.argmax(dim=1, keepdim=True)
    others = log_probs.scatter(1, top, -math.inf)
    log_not = torch.log1p(-others.exp()).scatter(1, top, others.logsumexp(dim=1, keepdim=True))
    log_not = _at_least(log_not, clip)
    # Counting the labels, instead of gathering, keeps the gradient deterministic on a GPU: sums of
    # ones do not depend on their order.
    ones = log_probs.new_ones(()).expand_as(complementary_labels)
    counts = torch.zeros_like(log_probs).scatter_add_(1, complementary_labels, ones)
    return -(counts * log_not).sum(dim=1)


def _at_least(logs: Tensor, clip: float | None) -> Tensor:
    return logs if clip is None else logs.clamp_min(math.log(clip))


def symmetric_kl(logits_a: Tensor, logits_b: Tensor) -> Tensor:
    """KL(p_a || p_b) + KL(p_b || p_a), in [0, inf), gradients to both [JC eq. 3]."""
    return _jeffreys(_log_probs(logits_a), _log_probs(logits_b))


def jocor(logits_a: Tensor, logits_b: Tensor, labels: Tensor, co_lambda: float) -> Tensor:
    """(1 - lambda) (CE_a + CE_b) + lambda (KL_ab + KL_ba), in [0, inf) [JC eq. 1-3].

    Both terms reach both networks; ``co_lambda`` lies in [0, 1].

    Raises:
        ConfigError: if ``co_lambda`` is out of range.
    """
    in_unit_interval(co_lambda=co_lambda)
    log_a, log_b = _log_probs(logits_a), _log_probs(logits_b)
    supervised = functional.nll_loss(log_a + log_b, labels, reduction="none")
    return torch.lerp(supervised, _jeffreys(log_a, log_b), co_lambda)


def kl_to_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """KL(Y || f) = sum_j Y_j log(Y_j / f_j), in [0, inf), with 0 log 0 = 0 [JO eq. 7].

    ``targets`` (B, C) are soft labels whose rows sum to 1; gradient f - Y.
    """
    return _kl_to_targets(_log_probs(logits), targets)


def entropy(logits: Tensor) -> Tensor:
    """Entropy -sum_j f_j L_j in nats, in [0, log C] [JO eq. 12]."""
    return _entropy(_log_probs(logits))


def prior_kl(logits: Tensor, prior: Tensor) -> Tensor:
    """KL(prior || mean of f over the batch): a scalar, in [0, inf) [JO eq. 10-11].

    ``prior`` (C,) sums to 1 and may hold zeros. The only term here that belongs to a batch. A class
    that no sample predicts gives a large finite loss; for B < C a uniform prior is out of reach.
    """
    return _prior_kl(_log_probs(logits), prior)


def joint_optimization(
    logits: Tensor, targets: Tensor, prior: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three terms of joint optimization, scalars over the batch [JO eq. 5].

    :func:`kl_to_targets` as a mean, :func:`prior_kl`, and :func:`entropy` as a mean. They share one
    softmax, which is half of what they cost on a small network.
    """
    log_probs = _log_probs(logits)
    fit = _kl_to_targets(log_probs, targets).mean()
    return fit, _prior_kl(log_probs, prior), _entropy(log_probs).mean()


def unhinged(outputs: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Unhinged loss of scores o: mean_j (1 - e_j o_j) = 1 - o_y / C, unbounded [LC, its code].

    ``outputs`` (B, C) are scores of a batch-normalised head, not logits: the value is not invariant
    to a shift. ``reduction`` "sum" adds over the classes instead (C - o_y).

    Raises:
        ConfigError: if ``reduction`` is neither "mean" nor "sum".
    """
    negative_score = functional.nll_loss(_upcast(outputs), labels, reduction="none")
    return _over_classes(negative_score + outputs.shape[1], outputs.shape[1], reduction)


def unhinged_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Unhinged loss of probabilities, 1 - f_y = MAE / 2 = L_1, in [0, 1] [GCE section 3.1]."""
    return -torch.expm1(-cross_entropy(logits, labels))


def sigmoid(
    outputs: Tensor, labels: Tensor, *, beta: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """Sigmoid loss of scores: mean_j 1 / (1 + exp(beta e_j o_j)), in (0, 1) [LC, its code].

    ``outputs`` and ``reduction`` as in :func:`unhinged`; ``beta`` > 0. The classes other than y add
    the constant (C - 1) / 2 to the sum.

    Raises:
        ConfigError: if ``beta`` or ``reduction`` is out of range.
    """
    positive(beta=beta)
    negative_score = functional.nll_loss(_upcast(outputs), labels, reduction="none")
    total = torch.sigmoid(negative_score * beta) + (outputs.shape[1] - 1) / 2
    return _over_classes(total, outputs.shape[1], reduction)


def savage(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Savage loss of probabilities: mean_j 1 / (1 + exp(2 e_j f_j))^2, in (0, 1/4] [LC, its code].

    The gradient is tiny and carries 1 / C; ``reduction`` "sum" adds over the classes instead.
    Deviation: the savage loss proper is binary, on unbounded margins.

    Raises:
        ConfigError: if ``reduction`` is neither "mean" nor "sum".
    """
    label_probs = torch.exp(-cross_entropy(logits, labels))
    total = torch.sigmoid(label_probs * -2.0).square() + (logits.shape[1] - 1) / 4
    return _over_classes(total, logits.shape[1], reduction)


def soft_bootstrap(logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """Soft bootstrap beta CE + (1 - beta) H(f), in [0, inf), gradient through all of f [BS].

    ``beta`` in [0, 1]; the paper uses 0.95.

    Raises:
        ConfigError: if ``beta`` is out of range.
    """
    in_unit_interval(beta=beta)
    log_probs = _log_probs(logits)
    supervised = functional.nll_loss(log_probs, labels, reduction="none")
    return torch.lerp(_entropy(log_probs), supervised, beta)


def hard_bootstrap(logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """Hard bootstrap -beta L_y - (1 - beta) L_k, k = argmax f held constant, in [0, inf) [BS].

    ``beta`` in [0, 1]; the paper uses 0.8.

    Raises:
        ConfigError: if ``beta`` is out of range.
    """
    in_unit_interval(beta=beta)
    log_probs = _log_probs(logits)
    supervised = functional.nll_loss(log_probs, labels, reduction="none")
    own = functional.nll_loss(log_probs, log_probs.argmax(dim=1), reduction="none")
    return torch.lerp(own, supervised, beta)


def _upcast(values: Tensor) -> Tensor:
    """Return half precision as float32; half-precision softmax underflows at gaps of about 17."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def _as_tensor(matrix: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.from_numpy(matrix).to(device=like.device, dtype=_upcast(like.new_empty(0)).dtype)


def _log_probs(logits: Tensor) -> Tensor:
    return functional.log_softmax(_upcast(logits), dim=1)


def _power_loss(ce: Tensor, q: float) -> Tensor:
    # (1 - f^q) / q as written cancels for small q, and f^q has an infinite slope at f = 0.
    return ce if q < LOWEST_POWER else torch.expm1(ce * -q) * (-1.0 / q)


def _jeffreys(log_a: Tensor, log_b: Tensor) -> Tensor:
    # The two divergences share one difference: sum (p_a - p_b) (L_a - L_b), every term >= 0.
    return ((log_a.exp() - log_b.exp()) * (log_a - log_b)).sum(dim=1)


def _kl_to_targets(log_probs: Tensor, targets: Tensor) -> Tensor:
    targets = targets.to(log_probs.dtype)
    return (torch.xlogy(targets, targets) - targets * log_probs).sum(dim=1)


def _prior_kl(log_probs: Tensor, prior: Tensor) -> Tensor:
    log_mean = torch.logsumexp(log_probs, dim=0) - math.log(len(log_probs))
    prior = prior.to(log_mean.dtype)
    return (torch.xlogy(prior, prior) - prior * log_mean).sum()


def _entropy(log_probs: Tensor) -> Tensor:
    return -(log_probs.exp() * log_probs).sum(dim=1)


def _over_classes(total: Tensor, num_classes: int, reduction: str) -> Tensor:
    one_of(("mean", "sum"), reduction=reduction)
    return total / num_classes if reduction == "mean" else total
