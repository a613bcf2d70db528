"""Losses: hand-worked values, analytic gradients, identities, and logits that break naive code."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from labelrepair import losses
from labelrepair.errors import ConfigError, TransitionError

C = 4
T = np.array([[0.7, 0.3, 0.0, 0.0], [0.0, 0.8, 0.2, 0.0], [0.1, 0.0, 0.6, 0.3], [0, 0, 0.1, 0.9]])
S = torch.from_numpy(np.linalg.inv(T))
TARGETS = torch.tensor([[8, 4, 4, 0], [0, 0, 16, 0], [1, 3, 5, 7]]).double() / 16
PRIOR = torch.tensor([4, 3, 3, 0]).double() / 10
# Three fixed samples, labels, and the other network's logits, which half precision represents.
Z = torch.tensor([[0.3, -1.2, 2.0, 0.7], [1.5, 0.2, -0.4, -3.0], [-0.6, 0.9, 0.1, 0.8]]).double()
Z_B = torch.tensor([[8, 3, -4, 1], [-2, 18, 5, -9], [2, 4, -15, 10]]).double() / 8
Y = torch.tensor([2, 1, 3])


class View:
    """The same problem with its classes renumbered: new class j is the old class perm[j]."""

    def __init__(self, perm: list[int]):
        self.perm = perm
        self.new_of_old = torch.tensor(np.argsort(perm))

    def classes(self, values: Tensor) -> Tensor:
        return values[..., self.perm]

    def labels(self, labels: Tensor) -> Tensor:
        return self.new_of_old[labels]

    def matrix(self, transition: np.ndarray) -> np.ndarray:
        return transition[np.ix_(self.perm, self.perm)]


SAME = View([0, 1, 2, 3])


def simple(loss: Callable, **options: object) -> Callable:
    return lambda z, y, v=SAME: loss(v.classes(z), v.labels(y), **options)


def complementary(y: Tensor) -> Tensor:
    """Two different labels and a repeated one, none of them y."""
    return torch.stack([(y + 1) % C, (y + 2) % C, (y + 2) % C], dim=1)


# name -> f(z, y, view) -> (B,)
OF_LOGITS: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": simple(losses.cross_entropy),
    "forward": lambda z, y, v=SAME: losses.forward_corrected(
        v.classes(z), v.labels(y), v.matrix(T)
    ),
    "backward": lambda z, y, v=SAME: losses.backward_corrected(
        v.classes(z), v.labels(y), v.matrix(T)
    ),
    "mae": simple(losses.mean_absolute_error),
    "gce": simple(losses.generalized_cross_entropy, q=0.7),
    "truncated": simple(losses.truncated_generalized_cross_entropy, q=0.7, k=0.3),
    "negative": simple(losses.negative_learning),
    "negative_many": lambda z, y, v=SAME: losses.negative_learning(
        v.classes(z), v.labels(complementary(y))
    ),
    "symmetric_kl": lambda z, y, v=SAME: losses.symmetric_kl(
        v.classes(z), v.classes(Z_B.to(z.dtype))
    ),
    "jocor": lambda z, y, v=SAME: losses.jocor(
        v.classes(z), v.classes(Z_B.to(z.dtype)), v.labels(y), 0.65
    ),
    "kl_to_targets": lambda z, y, v=SAME: losses.kl_to_targets(v.classes(z), v.classes(TARGETS)),
    "entropy": lambda z, y, v=SAME: losses.entropy(v.classes(z)),
    "unhinged_softmax": simple(losses.unhinged_softmax),
    "savage": simple(losses.savage),
    "soft_bootstrap": simple(losses.soft_bootstrap, beta=0.95),
    "hard_bootstrap": simple(losses.hard_bootstrap, beta=0.8),
}
OF_SCORES: dict[str, Callable[..., Tensor]] = {
    "unhinged": simple(losses.unhinged),
    "sigmoid": simple(losses.sigmoid),
}
PER_SAMPLE = OF_LOGITS | OF_SCORES

logits_arrays = hnp.arrays(np.float64, (3, C), elements=st.floats(-30, 30, width=32))
label_lists = st.lists(st.integers(0, C - 1), min_size=3, max_size=3)


def close(found: Tensor, expected: object, tolerance: float = 1e-12, name: str = "") -> None:
    expected = torch.as_tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(
        found, expected, rtol=tolerance, atol=tolerance, msg=lambda message: f"{name} {message}"
    )


def gradient(loss: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z).sum(), z)[0]


def one_hot(y: Tensor, num_classes: int = C) -> Tensor:
    return torch.nn.functional.one_hot(y, num_classes).double()


# ---------------------------------------------------------------- hand-worked values

F = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).double()
LOG2 = math.log(2)
SHIFTED = np.array([[0.8, 0.2, 0, 0], [0, 0.8, 0.2, 0], [0, 0, 0.8, 0.2], [0.2, 0, 0, 0.8]])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (losses.cross_entropy, 2 * LOG2),
        (losses.mean_absolute_error, 1.5),
        (losses.unhinged_softmax, 0.75),
        (lambda z, y: losses.generalized_cross_entropy(z, y, 0.5), 1.0),  # (1 - sqrt(1/4)) / .5
        (lambda z, y: losses.generalized_cross_entropy(z, y, 1.0), 0.75),
        # f_y = 1/4 <= k = 1/2: (1 - sqrt(1/2)) / .5; with k = 1/8 nothing is truncated
        (lambda z, y: losses.truncated_generalized_cross_entropy(z, y, 0.5, 0.5), 2 - 2**0.5),
        (lambda z, y: losses.truncated_generalized_cross_entropy(z, y, 0.5, 0.125), 1.0),
        (lambda z, y: losses.truncated_generalized_cross_entropy(z, y, 1e-9, 0.5), LOG2),
        # sum_j T[j, 1] f_j = .2 * 1/2 + .8 * 1/4
        (lambda z, y: losses.forward_corrected(z, y, SHIFTED), -math.log(0.3)),
        (losses.negative_learning, math.log(4 / 3)),
        (
            lambda z, y: losses.negative_learning(z, torch.tensor([[0, 1, 1]])),
            LOG2 + 2 * math.log(4 / 3),
        ),
        (lambda z, y: losses.entropy(z), 1.75 * LOG2),
        (lambda z, y: losses.soft_bootstrap(z, y, 0.8), 0.8 * 2 * LOG2 + 0.2 * 1.75 * LOG2),
        (lambda z, y: losses.hard_bootstrap(z, y, 0.8), 0.8 * 2 * LOG2 + 0.2 * LOG2),
        (losses.savage, (0.75 + (1 + math.exp(0.5)) ** -2) / 4),
        (lambda z, y: losses.savage(z, y, reduction="sum"), 0.75 + (1 + math.exp(0.5)) ** -2),
    ],
)
def test_hand_worked_values(loss, expected):
    """F = (1/2, 1/4, 1/8, 1/8), y = 1."""
    close(loss(F.log(), torch.tensor([1])), [expected])


def test_hand_worked_pairs():
    half, quarter = torch.tensor([[0.5, 0.5]]).double(), torch.tensor([[0.75, 0.25]]).double()
    a, b, y = half.log(), quarter.log(), torch.tensor([0])
    # (1/2 - 3/4) log(2/3) + (1/2 - 1/4) log 2
    close(losses.symmetric_kl(a, b), [math.log(3) / 4])
    supervised = LOG2 + math.log(4 / 3)
    close(losses.jocor(a, b, y, 0.25), [0.75 * supervised + 0.25 * math.log(3) / 4])
    close(losses.kl_to_targets(b, half), [math.log(4 / 3) / 2])
    close(losses.kl_to_targets(b, torch.tensor([[0.0, 1.0]])), [math.log(4)])
    batch = torch.cat([a, b])  # mean probabilities (5/8, 3/8)
    close(losses.prior_kl(batch, torch.tensor([0.5, 0.5]).double()), math.log(16 / 15) / 2)
    close(losses.prior_kl(batch, torch.tensor([1.0, 0.0]).double()), math.log(8 / 5))


def test_hand_worked_backward():
    """T = [[.9, .1], [.2, .8]] has the inverse [[.8, -.1], [-.2, .9]] / .7."""
    transition = np.array([[0.9, 0.1], [0.2, 0.8]])
    z = torch.tensor([[0.75, 0.25], [0.75, 0.25]]).double().log()
    found = losses.backward_corrected(z, torch.tensor([0, 1]), transition)
    loss_0, loss_1 = math.log(4 / 3), math.log(4)
    close(found, [(0.8 * loss_0 - 0.1 * loss_1) / 0.7, (-0.2 * loss_0 + 0.9 * loss_1) / 0.7])


def test_hand_worked_scores():
    o, y = torch.tensor([[2.0, -1.0, 0.5, 0.0]]).double(), torch.tensor([0])
    close(losses.unhinged(o, y), [0.5])
    close(losses.unhinged(o, y, reduction="sum"), [2.0])
    close(losses.sigmoid(o, y), [(1.5 + 1 / (1 + math.exp(2))) / 4])
    close(losses.sigmoid(o, y, beta=2.0, reduction="sum"), [1.5 + 1 / (1 + math.exp(4))])


def test_hand_worked_savage_of_two_classes():
    z = torch.tensor([[0.75, 0.25]]).double().log()
    found = losses.savage(z, torch.tensor([0]))
    close(found, [(0.25 + (1 + math.exp(1.5)) ** -2) / 2])


def test_the_papers_truncation_constant():
    z = torch.tensor([[0.0, 5.0]]).double()
    found = losses.truncated_generalized_cross_entropy(z, torch.tensor([0]), 0.7, 0.5)
    close(found, [0.549183], tolerance=1e-6)


# ---------------------------------------------------------------- gradients

P, LOG_P = Z.softmax(1), Z.log_softmax(1)
P_B, E = Z_B.softmax(1), one_hot(Y)
P_Y = (P * E).sum(1, keepdim=True)
H = -(P * LOG_P).sum(1, keepdim=True)
E_TOP = one_hot(P.argmax(1))
DZ = Z - Z_B
JEFFREYS = P * (DZ - (P * DZ).sum(1, keepdim=True)) + (P - P_B)


def negative_gradient(k: Tensor) -> Tensor:
    e, p = one_hot(k), (P * one_hot(k)).sum(1, keepdim=True)
    return torch.where(e > 0, p, -p * P / (1 - p))


ANALYTIC = {
    "cross_entropy": P - E,
    "forward": P * (1 - torch.from_numpy(T).T[Y] / (P @ torch.from_numpy(T) * E).sum(1)[:, None]),
    "backward": P - S[Y],
    "mae": 2 * P_Y * (P - E),
    "gce": P_Y**0.7 * (P - E),
    "truncated": P_Y**0.7 * (P - E) * (P_Y > 0.3),
    "negative": negative_gradient(Y),
    "negative_many": sum(negative_gradient(k) for k in complementary(Y).unbind(1)),
    "symmetric_kl": JEFFREYS,
    "jocor": 0.35 * (P - E) + 0.65 * JEFFREYS,
    "kl_to_targets": P - TARGETS,
    "entropy": -P * (LOG_P + H),
    "unhinged_softmax": P_Y * (P - E),
    "savage": 4 * torch.exp(2 * P_Y) / (1 + torch.exp(2 * P_Y)) ** 3 * P_Y * (P - E) / C,
    "soft_bootstrap": 0.95 * (P - E) - 0.05 * P * (LOG_P + H),
    "hard_bootstrap": P - 0.8 * E - 0.2 * E_TOP,
    "unhinged": -E / C,
    "sigmoid": -E * torch.sigmoid(Z) * torch.sigmoid(-Z) / C,
}


def test_every_public_loss_is_in_the_tables():
    public = {n for n, f in vars(losses).items() if getattr(f, "__module__", "") == losses.__name__}
    public = {n for n in public if not n.startswith("_")}
    helpers = {"log_of_transition", "forward_corrected_with_log", "backward_corrected_with_inverse"}
    of_a_batch = {"prior_kl", "joint_optimization"}
    assert len(public - helpers - of_a_batch) == len(PER_SAMPLE) - 1  # negative counts twice
    assert ANALYTIC.keys() == PER_SAMPLE.keys()


@pytest.mark.parametrize("name", PER_SAMPLE)
def test_gradient_is_the_analytic_one(name):
    assert 0 < (P_Y > 0.3).sum() < len(P_Y)  # the truncated case has samples on both sides
    close(gradient(lambda z: PER_SAMPLE[name](z, Y), Z), ANALYTIC[name], tolerance=1e-10)


@pytest.mark.parametrize("name", PER_SAMPLE)
def test_gradient_is_the_finite_difference(name):
    assert torch.autograd.gradcheck(
        lambda z: PER_SAMPLE[name](z, Y), Z.clone().requires_grad_(), atol=1e-6
    )


def test_gradient_reaches_the_second_network():
    expected = 0.35 * (P - E) + 0.65 * JEFFREYS
    close(gradient(lambda z: losses.jocor(Z_B, z, Y, 0.65), Z), expected, tolerance=1e-10)


def test_prior_gradient():
    ratio = PRIOR / P.mean(0)
    expected = -P * (ratio - (P * ratio).sum(1, keepdim=True)) / len(P)
    close(gradient(lambda z: losses.prior_kl(z, PRIOR), Z), expected, tolerance=1e-10)
    z = Z.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: losses.prior_kl(z, PRIOR), z, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", [losses.unhinged, losses.sigmoid, losses.savage])
def test_reduction_over_classes(loss, reduction):
    scale = C if reduction == "sum" else 1
    close(loss(Z, Y, reduction=reduction), loss(Z, Y) * scale)


def test_joint_optimization_gradient_equals_its_cross_entropy_form():
    def as_coded(z: Tensor) -> Tensor:
        log_probs = z.log_softmax(1)
        prior_term = -(PRIOR * z.softmax(1).mean(0).log()).sum()
        return -(TARGETS * log_probs).sum(1).mean() + 1.2 * prior_term

    def as_written(z: Tensor) -> Tensor:
        return losses.kl_to_targets(z, TARGETS).mean() + 1.2 * losses.prior_kl(z, PRIOR)

    close(gradient(as_written, Z), gradient(as_coded, Z))


def test_the_terms_of_joint_optimization_share_their_softmax_only():
    def apart(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fit, doubt = losses.kl_to_targets(z, TARGETS).mean(), losses.entropy(z).mean()
        return fit, losses.prior_kl(z, PRIOR), doubt

    for one, other in zip(losses.joint_optimization(Z, TARGETS, PRIOR), apart(Z), strict=True):
        close(one, other)
    shared = gradient(lambda z: sum(losses.joint_optimization(z, TARGETS, PRIOR)), Z)
    close(shared, gradient(lambda z: sum(apart(z)), Z))


# ---------------------------------------------------------------- every loss


@settings(deadline=None, max_examples=30)
@given(logits_arrays, label_lists, st.floats(-50, 50))
def test_shift_invariance(array, label_list, shift):
    z, y = torch.from_numpy(array), torch.tensor(label_list)
    for name, loss in OF_LOGITS.items():
        close(loss(z + shift, y), loss(z, y), 1e-10, name)
    close(losses.prior_kl(z + shift, PRIOR), losses.prior_kl(z, PRIOR), tolerance=1e-10)


def test_scores_are_not_shift_invariant():
    for loss in OF_SCORES.values():
        assert not torch.allclose(loss(Z + 1, Y), loss(Z, Y), atol=1e-3)


@settings(deadline=None, max_examples=30)
@given(logits_arrays, label_lists, st.permutations(range(C)))
def test_class_permutation_equivariance(array, label_list, perm):
    z, y, view = torch.from_numpy(array), torch.tensor(label_list), View(perm)
    top_two = z.topk(2).values
    for name, loss in PER_SAMPLE.items():
        if name == "hard_bootstrap" and (top_two[:, 0] == top_two[:, 1]).any():
            continue  # the winner of a tie depends on the numbering
        close(loss(z, y, view), loss(z, y), 1e-10, name)
    close(losses.prior_kl(view.classes(z), view.classes(PRIOR)), losses.prior_kl(z, PRIOR), 1e-10)


@pytest.mark.parametrize(
    "name", sorted(PER_SAMPLE.keys() - {"symmetric_kl", "jocor", "kl_to_targets"})
)
def test_samples_do_not_see_each_other(name):
    together = PER_SAMPLE[name](Z, Y)
    assert together.shape == (3,)
    alone = torch.cat([PER_SAMPLE[name](Z[i : i + 1], Y[i : i + 1]) for i in range(3)])
    close(together, alone)


@pytest.mark.parametrize("name", PER_SAMPLE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_cast_up_first(name, dtype):
    loss, half = PER_SAMPLE[name], Z.to(dtype)
    found, single = loss(half, Y), loss(half.float(), Y)
    assert found.dtype == single.dtype == torch.float32
    close(found, single, tolerance=0)
    torch.testing.assert_close(found, loss(Z.float(), Y), rtol=0.03, atol=0.03)
    assert loss(Z, Y).dtype == torch.float64


def test_half_precision_prior():
    found = losses.prior_kl(Z.bfloat16(), PRIOR)
    assert found.dtype == torch.float32
    close(found, losses.prior_kl(Z.bfloat16().float(), PRIOR), tolerance=0)


class NoSync(TorchDispatchMode):
    """Refuse the operations that make a host wait for its device, or give shapes that depend."""

    REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.REFUSED, name
        if name in ("index", "index_put", "index_put_"):
            indices = [i for i in args[1] if i is not None]
            assert not any(i.dtype in (torch.bool, torch.uint8) for i in indices), name
        return func(*args, **(kwargs or {}))


def test_the_guard_can_fail():
    with NoSync(), pytest.raises(AssertionError, match=r"nonzero|index"):
        Z[Z > 0]
    with NoSync(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        Z[0, 0].item()


@pytest.mark.parametrize("name", [*PER_SAMPLE, "prior_kl"])
def test_no_loss_waits_for_the_device(name):
    loss = PER_SAMPLE.get(name, lambda z, y: losses.prior_kl(z, PRIOR))
    z = Z.clone().requires_grad_()
    with NoSync():
        loss(z, Y).sum().backward()


# ---------------------------------------------------------------- stress

HUGE = {
    "wide": [1000.0, 0.0, -1000.0, 0.0],
    "wider": [1e4, 0.0, -1e4, 0.0],
    "zeros": [0.0, 0.0, 0.0, 0.0],
    "two equal and huge": [1e4, 1e4, -1e4, -1e4],
    "all huge": [1e4, 1e4, 1e4, 1e4],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("row", HUGE)
@pytest.mark.parametrize("name", [*PER_SAMPLE, "prior_kl"])
def test_huge_logits_stay_finite(name, row, dtype):
    loss = PER_SAMPLE.get(name, lambda z, y: losses.prior_kl(z, PRIOR))
    for label in range(C):
        z = torch.tensor([HUGE[row]] * 3, dtype=dtype, requires_grad=True)
        value = loss(z, torch.full((3,), label))
        assert value.isfinite().all(), label
        assert torch.autograd.grad(value.sum(), z)[0].isfinite().all(), label


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stress_values(dtype):
    z, y = torch.tensor([[1000.0, 0, -1000, 0, 0]], dtype=dtype), torch.tensor([2])
    assert losses.cross_entropy(z, y).item() == 2000
    for q in (0.25, 0.7, 1.0):
        expected = torch.tensor(1 / q, dtype=dtype).item()
        assert losses.generalized_cross_entropy(z, y, q).item() == expected
    close(gradient(lambda z: losses.generalized_cross_entropy(z, y, 0.7), z), torch.zeros(1, 5))
    zeros = torch.zeros(1, 5, dtype=dtype)
    close(losses.cross_entropy(zeros, y), [math.log(5)], 1e-6)
    close(losses.generalized_cross_entropy(zeros, y, 0.7), [(1 - 5**-0.7) / 0.7], 1e-6)
    close(losses.negative_learning(zeros, y), [math.log(5 / 4)], 1e-6)
    close(losses.negative_learning(zeros, y[:, None]), [math.log(5 / 4)], 1e-6)


@pytest.mark.parametrize("columns", [(), (1,)], ids=["(B,)", "(B, K)"])
def test_negative_learning_of_a_confidently_wrong_output(columns):
    """The authors' clamp gives 11.5 and no gradient here: f_0 = 1 - 2e-12, or exactly 1."""
    y = torch.zeros(1, *columns, dtype=torch.int64)
    for gap in (math.log(1e12), 1e4):
        z = torch.tensor([[gap, 0.0, 0.0]])
        close(losses.negative_learning(z, y), [gap - LOG2], tolerance=1e-6)
        found = gradient(lambda z: losses.negative_learning(z, y), z)
        # At logits of 1e4 float32 resolves 1e-3, and the gradient that much of 1.
        close(found, [[1.0, -0.5, -0.5]], tolerance=1e-3 if gap > 100 else 1e-5)


@pytest.mark.parametrize("columns", [(), (1,)], ids=["(B,)", "(B, K)"])
def test_negative_learning_clipped_as_in_the_authors_code(columns):
    """Bounded by -log 1e-5 = 11.5 without a gradient, and as ever elsewhere."""
    y = torch.zeros(1, *columns, dtype=torch.int64)
    z = torch.tensor([[math.log(1e12), 0.0, 0.0]])
    close(losses.negative_learning(z, y, 1e-5), [-math.log(1e-5)], tolerance=1e-6)
    assert not gradient(lambda z: losses.negative_learning(z, y, 1e-5), z).any()
    usual = torch.tensor([[1.0, 0.0, -1.0]])
    assert torch.equal(losses.negative_learning(usual, y, 1e-5), losses.negative_learning(usual, y))
    with pytest.raises(ConfigError, match=r"^clip: must lie in \(0, 1\), found 1"):
        losses.negative_learning(z, y, 1.0)


def test_negative_learning_of_two_equal_tops():
    z = torch.tensor([[1e4, 1e4, -1e4]])
    for y in (torch.tensor([0]), torch.tensor([[1]])):
        close(losses.negative_learning(z, y), [LOG2], tolerance=1e-6)


def test_forward_with_far_logits():
    """Exponentiated float32 probabilities underflow at gaps of about 100; the sum must not."""
    z = torch.tensor([[0.0, -300.0]])
    transition = np.array([[1.0, 0.0], [0.5, 0.5]])
    found = losses.forward_corrected(z, torch.tensor([1]), transition)
    close(found, [300 + LOG2], tolerance=1e-6)
    found = gradient(lambda z: losses.forward_corrected(z, torch.tensor([1]), transition), z)
    close(found, [[1.0, -1.0]], tolerance=1e-6)


def test_prior_of_a_class_that_nobody_predicts():
    found = losses.prior_kl(torch.tensor([[0.0, -1e4]] * 2), torch.tensor([0.5, 0.5]))
    close(found, 5000 - LOG2, tolerance=1e-6)


# ---------------------------------------------------------------- identities


def test_corrections_with_the_identity_are_cross_entropy():
    eye = np.eye(C)
    for loss in (losses.forward_corrected, losses.backward_corrected):
        close(loss(Z, Y, eye), losses.cross_entropy(Z, Y))
        close(gradient(lambda z, f=loss: f(z, Y, eye), Z), P - E)


def test_backward_is_unbiased():
    """sum_j T[i, j] backward(j) = CE(i)."""
    backward = torch.stack(
        [losses.backward_corrected(Z, torch.full((3,), j), T) for j in range(C)], dim=1
    )
    clean = torch.stack([losses.cross_entropy(Z, torch.full((3,), i)) for i in range(C)], dim=1)
    close(backward @ torch.from_numpy(T).T, clean)


def test_forward_with_symmetric_noise_ignores_the_numbering():
    symmetric = np.full((C, C), 0.1) + 0.6 * np.eye(C)
    view = View([2, 0, 3, 1])
    found = losses.forward_corrected(view.classes(Z), view.labels(Y), symmetric)
    close(found, losses.forward_corrected(Z, Y, symmetric))


def test_precomputed_matrices_give_the_same_losses():
    log_transition = losses.log_of_transition(T, like=Z)
    close(
        losses.forward_corrected_with_log(Z, Y, log_transition),
        losses.forward_corrected(Z, Y, T),
        tolerance=0,
    )
    assert losses.log_of_transition(T, like=Z.bfloat16()).dtype == torch.float32
    close(losses.backward_corrected_with_inverse(Z, Y, S), losses.backward_corrected(Z, Y, T))


def test_backward_clip_bounds_the_loss_and_stops_the_gradient():
    transition, y = np.array([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0])
    z = torch.tensor([[100.0, 0.0]]).double()
    close(losses.backward_corrected(z, y, transition), [-0.1 * 100 / 0.7])  # unbounded below
    found = losses.backward_corrected(z, y, transition, clip=1e-7)
    close(found, [(-0.8 * math.log1p(-1e-7) + 0.1 * math.log(1e-7)) / 0.7])
    clipped = gradient(lambda z: losses.backward_corrected(z, y, transition, clip=1e-7), z)
    close(clipped, torch.zeros(1, 2), tolerance=0)
    inside = losses.backward_corrected(Z, Y, T, clip=1e-7)
    close(inside, losses.backward_corrected(Z, Y, T))


@settings(deadline=None, max_examples=50)
@given(logits_arrays, label_lists, st.floats(0.01, 1))
def test_generalized_cross_entropy_identities(array, label_list, q):
    z, y = torch.from_numpy(array), torch.tensor(label_list)
    ce, label_probs = losses.cross_entropy(z, y), torch.exp(-losses.cross_entropy(z, y))
    close(losses.generalized_cross_entropy(z, y, 1.0), losses.mean_absolute_error(z, y) / 2)
    close(losses.generalized_cross_entropy(z, y, 1.0), losses.unhinged_softmax(z, y))
    near = ce < 10
    small = losses.generalized_cross_entropy(z, y, 1e-8)
    close(small[near], ce[near], tolerance=1e-6)
    slope = gradient(lambda z: losses.generalized_cross_entropy(z, y, q), z)
    plain = gradient(lambda z: losses.cross_entropy(z, y), z)
    close(slope, label_probs[:, None] ** q * plain, tolerance=1e-10)


def test_generalized_cross_entropy_leads_to_cross_entropy():
    """The series is CE (1 - q CE / 2 + ...): on either side of the switch at 1e-6."""
    ce = losses.cross_entropy(Z, Y)
    for q in (1e-3, 1.1e-6, 0.9e-6):
        found = losses.generalized_cross_entropy(Z, Y, q)
        close(found, ce * (1 - q * ce / 2), tolerance=2e-6)


def all_labels(loss: Callable[[Tensor, Tensor], Tensor], z: Tensor) -> Tensor:
    return torch.stack([loss(z, torch.full((len(z),), j)) for j in range(z.shape[1])], dim=1)


@settings(deadline=None, max_examples=50)
@given(logits_arrays, st.floats(0.01, 1))
def test_sums_over_the_labels(array, q):
    z = torch.from_numpy(array)
    close(all_labels(losses.mean_absolute_error, z).sum(1), [2.0 * (C - 1)] * 3, 1e-10)
    close(all_labels(losses.unhinged_softmax, z).sum(1), [C - 1.0] * 3, 1e-10)
    total = all_labels(lambda z, y: losses.generalized_cross_entropy(z, y, q), z).sum(1)
    assert (total >= (C - C ** (1 - q)) / q - 1e-9).all()
    assert (total <= (C - 1) / q + 1e-9).all()


@settings(deadline=None, max_examples=50)
@given(logits_arrays, label_lists, st.floats(0.01, 1), st.floats(0.01, 0.99))
def test_truncation_is_a_minimum(array, label_list, q, k):
    z, y = torch.from_numpy(array), torch.tensor(label_list)
    plain = losses.generalized_cross_entropy(z, y, q)
    found = losses.truncated_generalized_cross_entropy(z, y, q, k)
    ceiling = (1 - k**q) / q
    close(found, plain.clamp(max=ceiling))
    kept = (losses.cross_entropy(z, y) < -math.log(k)).double()
    # The alternating search's optimum, w = 1 above the threshold, is the truncated loss.
    close(found.sum(), (kept * (plain - ceiling)).sum() + 3 * ceiling, tolerance=1e-9)
    slope = gradient(lambda z: losses.truncated_generalized_cross_entropy(z, y, q, k), z)
    assert (slope[kept == 0] == 0).all()
    close(losses.truncated_generalized_cross_entropy(z, y, q, 0.0), plain, tolerance=0)


def test_truncation_ties_and_nan():
    z, y = torch.zeros(1, 2).double(), torch.tensor([0])
    slope = gradient(lambda z: losses.truncated_generalized_cross_entropy(z, y, 0.7, 0.5), z)
    assert (slope == 0).all()  # f_y = k belongs to the truncated side
    nan = losses.truncated_generalized_cross_entropy(z * math.nan, y, 0.7, 0.5)
    assert nan.isnan().all()


@settings(deadline=None, max_examples=50)
@given(logits_arrays, label_lists)
def test_bootstrap_identities(array, label_list):
    z, y = torch.from_numpy(array), torch.tensor(label_list)
    ce, top = losses.cross_entropy(z, y), z.argmax(1)
    close(losses.soft_bootstrap(z, y, 1.0), ce)
    close(losses.hard_bootstrap(z, y, 1.0), ce)
    close(losses.soft_bootstrap(z, y, 0.0), losses.entropy(z))
    close(losses.soft_bootstrap(z, y, 0.7), 0.7 * ce + 0.3 * losses.entropy(z))
    close(losses.hard_bootstrap(z, top, 0.3), losses.cross_entropy(z, top))


def test_sigmoid_is_symmetric():
    total = losses.sigmoid(Z, Y, reduction="sum") + losses.sigmoid(-Z, Y, reduction="sum")
    close(total, [1.0 + (C - 1)] * 3)


@settings(deadline=None, max_examples=50)
@given(logits_arrays, label_lists)
def test_negative_learning_identities(array, label_list):
    z, y = torch.from_numpy(array), torch.tensor(label_list)
    one = losses.negative_learning(z, y)
    close(losses.negative_learning(z, y[:, None]), one, tolerance=1e-9)
    close(losses.negative_learning(z, y[:, None].expand(3, 5)), 5 * one, tolerance=1e-9)
    slope = gradient(lambda z: losses.negative_learning(z, y), z)
    close(slope.sum(1), torch.zeros(3))
    assert (slope.gather(1, y[:, None]) > 0).all()
    others = one_hot(y) == 0
    assert (slope[others] <= 1e-15).all()


def test_negative_learning_of_two_classes_is_cross_entropy():
    z, y = Z[:, :2], torch.tensor([0, 1, 1])
    for labels in (1 - y, (1 - y)[:, None]):
        close(losses.negative_learning(z, labels), losses.cross_entropy(z, y))


def test_negative_learning_at_uniform_probabilities():
    slope = gradient(
        lambda z: losses.negative_learning(z, torch.tensor([1])), torch.zeros(1, C).double()
    )
    close(slope, [[-1 / 12, 1 / 4, -1 / 12, -1 / 12]])


def test_complementary_labels_pull_the_true_class_up():
    others = (Y[:, None] + torch.arange(1, C)) % C
    slope = gradient(lambda z: losses.negative_learning(z, others), Z)
    assert (slope.gather(1, Y[:, None]) < 0).all()


@settings(deadline=None, max_examples=50)
@given(logits_arrays, logits_arrays, label_lists, st.floats(0, 1))
def test_two_network_identities(first, second, label_list, co_lambda):
    a, b, y = torch.from_numpy(first), torch.from_numpy(second), torch.tensor(label_list)
    identity = ((a.softmax(1) - b.softmax(1)) * (a - b)).sum(1)
    found = losses.symmetric_kl(a, b)
    close(found, identity)
    assert (found >= 0).all()
    close(losses.symmetric_kl(a, a), torch.zeros(3), tolerance=0)
    ce = losses.cross_entropy(a, y) + losses.cross_entropy(b, y)
    close(losses.jocor(a, b, y, 0.0), ce)
    close(losses.jocor(a, b, y, 1.0), found)
    close(losses.jocor(a, b, y, co_lambda), (1 - co_lambda) * ce + co_lambda * found)
    close(losses.jocor(b, a, y, co_lambda), losses.jocor(a, b, y, co_lambda))
    same = losses.jocor(a, a, y, co_lambda)
    close(same, 2 * (1 - co_lambda) * losses.cross_entropy(a, y))


def test_joint_optimization_terms():
    close(losses.kl_to_targets(Z, E), losses.cross_entropy(Z, Y))
    close(losses.kl_to_targets(Z, P), torch.zeros(3))
    # The stall that the entropy term breaks: at Y = s nothing moves.
    close(gradient(lambda z: losses.kl_to_targets(z, P), Z), torch.zeros(3, C), tolerance=1e-15)
    assert (losses.entropy(Z) > 0).all()
    assert (losses.entropy(Z) < math.log(C)).all()
    close(losses.entropy(torch.zeros(1, C).double()), [math.log(C)])
    close(losses.prior_kl(Z, P.mean(0)), 0.0)
    assert losses.prior_kl(Z, PRIOR) > 0


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.generalized_cross_entropy(Z, Y, 0.0), r"q: must lie in \(0, 1\]"),
        (lambda: losses.generalized_cross_entropy(Z, Y, 1.1), "q: .*found 1.1"),
        (lambda: losses.generalized_cross_entropy(Z, Y, math.nan), "q: .*found nan"),
        (lambda: losses.truncated_generalized_cross_entropy(Z, Y, -0.5, 0.5), "q: "),
        (lambda: losses.truncated_generalized_cross_entropy(Z, Y, 0.7, 1.0), r"k: .*\[0, 1\)"),
        (lambda: losses.truncated_generalized_cross_entropy(Z, Y, 0.7, -0.1), "k: "),
        (lambda: losses.jocor(Z, Z_B, Y, 1.5), "co_lambda: .*found 1.5"),
        (lambda: losses.jocor(Z, Z_B, Y, -0.1), "co_lambda: "),
        (lambda: losses.soft_bootstrap(Z, Y, 2.0), "beta: .*found 2.0"),
        (lambda: losses.hard_bootstrap(Z, Y, -1.0), "beta: .*found -1.0"),
        (lambda: losses.sigmoid(Z, Y, beta=0.0), "beta: .*greater than 0"),
        (lambda: losses.unhinged(Z, Y, reduction="avg"), "reduction: unknown value 'avg'"),
        (lambda: losses.savage(Z, Y, reduction="none"), "reduction: "),
        (lambda: losses.backward_corrected(Z, Y, T, clip=0.5), "clip: .*found 0.5"),
    ],
)
def test_arguments_out_of_range(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize("loss", [losses.forward_corrected, losses.backward_corrected])
def test_transition_is_checked(loss):
    with pytest.raises(TransitionError, match="sum to 1"):
        loss(Z, Y, T.T)
    with pytest.raises(TransitionError, match=r"\(4, 4\)"):
        loss(Z, Y, np.eye(3))


def test_singular_transition_cannot_be_inverted():
    with pytest.raises(TransitionError, match="condition"):
        losses.backward_corrected(Z, Y, np.full((C, C), 1 / C))
    found = losses.forward_corrected(Z, Y, np.full((C, C), 1 / C))
    close(found, [math.log(C)] * 3)
