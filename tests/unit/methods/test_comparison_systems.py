"""D2L, the two-stage approach, the iterative open-set method and annealed EM."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from labelrepair import methods
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import cross_entropy
from labelrepair.methods.d2l import Options as D2lOptions
from labelrepair.methods.d2l import _alpha, _turns, intrinsic_dimensionality
from labelrepair.methods.iterative_open_set import contrastive
from labelrepair.training import TrainingConfig, TrainSet

C, RATE = 4, 0.3
T = np.full((C, C), RATE / (C - 1)) + (1 - RATE - RATE / (C - 1)) * np.eye(C)
NOISE = NoiseEstimate(T, RATE, (RATE, RATE), "given", np.full(C, 1 / C))
SHORT = {"schedule": {"epochs": 6, "lr": 0.01}}


# -- D2L --------------------------------------------------------------------------------------


def test_dimensionality_by_hand():
    """On a line at 0, 1 and 3: the two neighbours of 0 are at 1 and 3, of 1 at 1 and 2."""
    found = intrinsic_dimensionality(torch.tensor([[0.0], [1.0], [3.0]]), 2)
    expected = [-2 / np.log(1 / 3), -2 / np.log(1 / 2), -2 / np.log(2 / 3)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("dimension", [1, 3, 8])
def test_dimensionality_is_that_of_the_manifold_not_of_the_space(dimension):
    draws = torch.Generator().manual_seed(0)
    points = torch.rand(2000, dimension, generator=draws)
    turned = points @ torch.linalg.qr(torch.randn(20, 20, generator=draws)).Q[:dimension]
    found = intrinsic_dimensionality(turned, 20).mean()
    assert found == pytest.approx(dimension, rel=0.25)


def test_copies_have_no_dimensionality():
    """All of a copy's neighbours are at distance 0; the two others have each other as well."""
    others = torch.tensor([[1.0, 0.0], [1.5, 0.0]])
    found = intrinsic_dimensionality(torch.cat([torch.zeros(30, 2), others]), 20)
    assert found[:30].isnan().all()
    assert found[30:].isfinite().all()


@pytest.mark.parametrize(
    ("lids", "turns"),
    [
        ([9, 8, 7, 6, 5, 5.5], False),  # still in the initial epochs and the window
        ([9, 8, 7, 6, 5, 5.5, 8.0], False),  # window 7 6 5 5.5: 5.875 + 2 * 0.740 = 7.36
        ([9, 8, 7, 6, 5, 5.5, 7.3], False),
        ([9, 8, 7, 6, 5, 5.5, 6.0, 7.4], True),  # window 6 5 5.5 6: 5.625 + 2 * 0.41
        ([9, 8, 7, 6, 5, 5.5, 6.0, 6.4], False),
    ],
)
def test_the_turning_point(lids, turns):
    assert _turns([float(v) for v in lids], D2lOptions(initial=3, window=4)) == turns


@pytest.mark.parametrize(
    ("lids", "growth"),
    [
        ([4.0, 2.0, 6.0], 3.0),
        ([np.nan, 4.0, 2.0, np.nan, 6.0], 3.0),  # in whatever order, NaN is not the lowest
        ([4.0, np.nan], 1.0),
        ([np.nan, 6.0], 1.0),
        ([6.0], 1.0),
    ],
)
def test_alpha_where_the_dimensionality_is_not_defined(lids, growth):
    assert _alpha(0.5, lids) == pytest.approx(np.exp(-0.5 * growth))


@pytest.mark.parametrize("rows", [2, 40])
def test_rows_without_a_dimensionality_train_all_the_same(rows, train_method):
    """Two rows have one distance alone, and equal rows none."""
    features = torch.ones(rows, 8)
    data = TrainSet(features, torch.arange(rows) % 4, 4, torch.arange(rows), torch.arange(0))
    found = train_method("d2l", {"turning_epoch": 1}, data=data, **SHORT)
    assert found.shared["lid"].isnan().all()
    assert float(found.shared["alpha"]) == pytest.approx(np.exp(-1))
    assert found.probs.isfinite().all()
    assert np.isfinite([row["loss"] for row in found.history]).all()


def test_training_goes_back_and_then_believes_itself(train_method, copied):
    ends, starts, alphas = [], [], []

    def look(moment, when, run):
        if (moment, when) == ("after_epoch", "begin"):
            ends.append(copied(run.networks))
        if (moment, when) == ("after_epoch", "end"):
            starts.append(copied(run.networks))
            alphas.append(float(run.samples.shared["alpha"]))

    result = train_method("d2l", {"turning_epoch": 2}, look=look, **SHORT)
    assert int(result.shared["turning_epoch"]) == 2
    for epoch in (0, 1, 3, 4, 5):
        assert all(torch.equal(starts[epoch][k], ends[epoch][k]) for k in ends[0])
    assert all(torch.equal(starts[2][k], ends[1][k]) for k in ends[0])
    assert not all(torch.equal(ends[2][k], ends[1][k]) for k in ends[0])
    lid = result.shared["lid"].tolist()
    expected = [1, 1] + [np.exp(-(e + 1) / 6 * lid[e] / min(lid[:e])) for e in range(2, 6)]
    assert alphas == pytest.approx(expected, rel=1e-6)
    assert not [name for name in result.shared if name.startswith("before.")]


def test_without_a_turn_it_is_cross_entropy(train_method):
    found = train_method("d2l", {"turning_epoch": 99}, **SHORT)
    plain = train_method("cross_entropy", optimizer={"name": "sgd"}, **SHORT)
    assert torch.equal(found.probs, plain.probs)


# -- two stages -------------------------------------------------------------------------------

SEMI = {"filter": {"epochs": 3, "lr": 0.01}, "semi": {"epochs": 4, "lr": 0.01}, "ramp": 2}


@pytest.mark.parametrize(("rate", "kept"), [(0.25, 165), (0.0, 220), (1.0, 1)])
def test_the_most_confident_rows_are_reliable(train_method, rate, kept):
    losses = {}

    def look(moment, when, run):
        if moment == "after_stage" and when == "end" and run.stage.name == "filter":
            losses["all"] = cross_entropy(run.predict_logits()[0], run.data.given_labels)

    options = {**SEMI, "noise_rate": rate}
    selected = train_method("ding_semi", options, look=look).selected
    assert int(selected.sum()) == kept
    if 0 < kept < 220:
        assert losses["all"][selected].max() <= losses["all"][~selected].min()


def test_a_threshold_instead_of_a_share(train_method):
    shares = [
        float(train_method("ding_semi", {**SEMI, "threshold": at}).selected.double().mean())
        for at in (0.0, 0.5, 1.0)
    ]
    assert shares[0] == 1
    assert 0 < shares[1] < 1
    assert shares[2] < 0.05


def test_the_remembered_target_is_a_weighted_mean(train_method):
    """Weights (1 - m) m^(t - e), divided by their sum."""
    seen, targets = [], []

    def look(moment, when, run):
        if moment == "after_epoch" and run.stage.name == "semi":
            if when == "begin":
                seen.append(run.samples.probs.clone())
            else:
                targets.append(run.samples.targets.clone())

    train_method("ding_semi", {**SEMI, "momentum": 0.5, "noise_rate": 0.2}, look=look)
    for t, target in enumerate(targets):
        weights = [0.5 ** (t - e) for e in range(t + 1)]
        expected = sum(w * p for w, p in zip(weights, seen, strict=False)) / sum(weights)
        torch.testing.assert_close(target, expected)


def test_labels_of_rows_that_are_not_reliable_are_not_learned(train_method):
    """Their labels turned round after stage 1 change nothing."""

    def turn(moment, when, run):
        if (moment, when) == ("after_stage", "end") and run.stage.name == "filter":
            wrong = (run.data.given_labels + 1) % C
            kept = run.samples.shared["selected"]
            run.data.given_labels.copy_(torch.where(kept, run.data.given_labels, wrong))

    options = {**SEMI, "noise_rate": 0.3}
    before = train_method.data.given_labels.clone()
    plain = train_method("ding_semi", options)
    turned = train_method("ding_semi", options, look=turn)
    train_method.data.given_labels.copy_(before)
    assert torch.equal(plain.probs, turned.probs)


# -- open set ---------------------------------------------------------------------------------


def test_the_contrastive_term_by_hand():
    """Unit vectors at 0, 60 and 90 degrees: squared distances 1, 2 and 2 - 2 cos 30."""
    angles = torch.tensor([0.0, torch.pi / 3, torch.pi / 2])
    features = 7 * torch.stack([angles.cos(), angles.sin()], dim=1)
    one = torch.zeros(3, dtype=torch.int64)
    everyone = torch.ones(3, dtype=torch.bool)
    near = 2 - 2 * np.cos(np.pi / 6)
    assert contrastive(features, one, everyone, 1.0).item() == pytest.approx((1 + 2 + near) / 3)
    last_is_noisy = torch.tensor([True, True, False])
    pushed = (1 - np.sqrt(near)) ** 2  # the other pair is further apart than the margin
    expected = (1 + pushed + 0) / 3
    assert contrastive(features, one, last_is_noisy, 1.0).item() == pytest.approx(expected)
    assert contrastive(features, torch.arange(3), everyone, 1.0).item() == 0
    assert contrastive(features, one, ~everyone, 1.0).item() == 0


def test_the_contrastive_term_reaches_the_features():
    features = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    clean = torch.tensor([True] * 4 + [False] * 2)
    contrastive(features, torch.zeros(6, dtype=torch.int64), clean, 1.5).backward()
    assert features.grad.isfinite().all()
    assert (features.grad.abs().sum(1) > 0).all()


def test_foreign_samples_are_found(blobs, train_method):
    """A fifth of each class's rows is replaced by points scattered far and wide."""
    made = blobs(rows=400, noise=0.0, validation=0.0)
    draws = torch.Generator().manual_seed(1)
    foreign = torch.zeros(400, dtype=torch.bool)
    foreign[torch.randperm(400, generator=draws)[:80]] = True
    scattered = 12 * torch.randn(400, 8, generator=draws)
    features = torch.where(foreign[:, None], scattered, made.data.features)
    data = type(made.data)(
        features, made.data.given_labels, C, made.data.train_rows, made.data.val_rows
    )
    options = {"warmup": 3, "every": 3, "noise_rate": 0.2}
    schedule = {"epochs": 12, "lr": 0.005}
    result = train_method("iterative_open_set", options, data=data, schedule=schedule)
    assert int((~result.selected).sum()) == 80
    assert float(foreign[~result.selected].double().mean()) > 0.75


def test_noisy_rows_count_less_and_clean_rows_one(train_method):
    weights = []

    def look(moment, when, run):
        if (moment, when) == ("after_epoch", "end"):
            clean = run.samples.shared["clean"]
            weights.append((run.samples.weight.clone(), clean.clone()))

    train_method("iterative_open_set", {"warmup": 2, "every": 2}, look=look, noise=NOISE, **SHORT)
    assert all(weight.eq(1).all() for weight, _ in weights[:2])
    for weight, clean in weights[2:]:
        assert weight[clean].eq(1).all()
        assert weight[~clean].lt(1).any()
        assert ((weight >= 0) & (weight <= 1)).all()
        assert (~clean).double().mean() == pytest.approx(RATE, abs=0.02)


def test_no_hook_is_left_behind(train_method):
    result = train_method("iterative_open_set", {"warmup": 1}, noise=NOISE, **SHORT)
    assert not any(m._forward_pre_hooks for m in result.networks.modules())


# -- annealed EM ------------------------------------------------------------------------------


def test_beliefs(train_method):
    """alpha 0: Bayes' rule; alpha huge: what the given label alone says."""
    found = {}

    def look(moment, when, run):
        if (moment, when) == ("after_epoch", "end") and run.epoch == 0:
            found["probs"] = run.samples.probs.double()
            found["targets"] = run.samples.targets.double()

    labels, rows = train_method.data.given_labels, train_method.data.train_rows
    for alpha, power in ((0.0, 0.0), (1e6, 1.0), (2.0, None)):
        options = {"alpha": alpha, "anneal": 10**9}
        train_method("crf_em", options, look=look, noise=NOISE, **SHORT)
        likelihood = torch.from_numpy(T).t()[labels]
        a = alpha if power is None else (1e30 if power else 0.0)
        joint = (found["probs"] ** (1 / (1 + a))) * likelihood
        expected = joint / joint.sum(1, keepdim=True)
        torch.testing.assert_close(found["targets"][rows], expected[rows], atol=2e-5, rtol=1e-4)


def test_the_learned_transition_is_row_stochastic_and_moves(train_method):
    options = {"anneal": 0, "learn_transition": True}
    result = train_method("crf_em", options, noise=NOISE, **SHORT)
    learned = result.shared["transition"].double()
    torch.testing.assert_close(learned.sum(1), torch.ones(C, dtype=torch.float64))
    assert not torch.allclose(learned, torch.from_numpy(T), atol=1e-3)
    fixed = train_method("crf_em", {"anneal": 0}, noise=NOISE, **SHORT)
    torch.testing.assert_close(fixed.shared["transition"].double(), torch.from_numpy(T))


def test_a_certain_transition_is_plain_training(train_method):
    """T = I leaves no doubt about the labels: the targets are they."""
    sure = NoiseEstimate(np.eye(C), 0.0, (0.0, 0.0), "given", np.full(C, 1 / C))
    targets = []

    def look(moment, when, run):
        if (moment, when) == ("after_epoch", "end"):
            targets.append(run.samples.targets)

    train_method("crf_em", look=look, noise=sure, **SHORT)
    hard = functional.one_hot(train_method.data.given_labels, C).float()
    torch.testing.assert_close(targets[-1], hard)


# -- what they need ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ding_semi", "noise_rate: needed"),
        ("iterative_open_set", "noise_rate: needed"),
        ("crf_em", "transition: needed"),
    ],
)
def test_a_missing_estimate_is_named(name, message):
    with pytest.raises(ConfigError, match=message):
        methods.plan(name, {}, TrainingConfig(), None)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("d2l", {"window": 0}, "window: must be greater than 0"),
        ("d2l", {"deviations": -1.0}, "deviations: must be >= 0"),
        ("d2l", {"rows": 2}, r"rows: must lie in \[3, 2147483647\], found 2"),
        ("d2l", {"rows": 2**40}, "rows: must lie in"),
        ("d2l", {"neighbours": 1}, r"neighbours: must lie in \[2, 127\], found 1"),
        ("d2l", {"neighbours": 128}, "neighbours: must lie in"),
        ("ding_semi", {"momentum": 1.0}, "momentum: must be less than 1"),
        ("ding_semi", {"threshold": 1.5}, "threshold: must lie in"),
        ("iterative_open_set", {"margin": 3.0}, "margin: must be at most 2"),
        ("iterative_open_set", {"contrast": np.inf}, "contrast: must be >= 0 and finite"),
        ("iterative_open_set", {"references": 10**9}, r"references: must lie in \[1, 10000\]"),
        ("ding_semi", {"consistency": np.inf}, "consistency: must be >= 0 and finite"),
        ("crf_em", {"alpha": -0.1}, "alpha: must be >= 0"),
        ("crf_em", {"alpha": np.inf}, "alpha: must be >= 0 and finite"),
        ("nlnl", {"window": 2**40}, r"window: must lie in \[1, 100\], found 1099511627776"),
        ("nlnl", {"window": 0}, "window: must lie in"),
        ("nlnl", {"complementary_labels": 10**9}, r"complementary_labels: .* \[1, 100000\]"),
        ("nlnl", {"negative": {"epochs": 10**9}}, "negative.epochs: must lie in"),
        ("joint_optimization", {"window": 10**8}, r"window: must lie in \[1, 100\]"),
        ("joint_optimization", {"top_k": 2**40}, "top_k: must lie in"),
        ("joint_optimization", {"alpha": np.inf}, "alpha: must be >= 0 and finite"),
    ],
)
def test_values_out_of_range_are_named(name, options, message):
    with pytest.raises(ConfigError, match=message):
        methods.plan(name, options, TrainingConfig(), NOISE)
