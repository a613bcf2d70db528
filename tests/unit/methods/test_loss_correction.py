import numpy as np
import pytest
import torch

from labelrepair import losses, methods
from labelrepair.config import from_dict
from labelrepair.errors import ConfigError, TransitionError
from labelrepair.estimation import NoiseEstimate, anchor_transition
from labelrepair.methods import loss_correction
from labelrepair.methods.loss_correction import Options
from labelrepair.training import Batch, TrainingConfig
from labelrepair.training.seeds import derive_seed

T = np.array([[0.7, 0.3, 0, 0], [0, 0.7, 0.3, 0], [0, 0, 0.7, 0.3], [0.3, 0, 0, 0.7]])
OVERFIT = {"normalize": "none", "optimizer": {"name": "sgd"}, "schedule": {"epochs": 15, "lr": 1.0}}
SHORT = {"schedule": {"epochs": 2, "lr": 0.05}}


def estimate(transition):
    return NoiseEstimate(np.asarray(transition), 0.3, (0.3, 0.3), "given", np.full(4, 0.25))


class Notes:
    """Weights and predictions of the first stage's epochs, and what the second begins with."""

    def __init__(self, copied):
        self.copied, self.epochs, self.best, self.probs, self.second = copied, [], None, None, None

    def __call__(self, moment, when, run):
        if when == "end" or run.stage.name not in ("plain", "forward_corrected"):
            return
        if run.stage.name == "plain" and moment == "after_epoch":
            self.epochs.append(self.copied(run.networks))
        if run.stage.name == "plain" and moment == "after_stage":
            self.best, self.probs = run.best.epoch, run.predict_probs(weights="best")
        if run.stage.name == "forward_corrected" and moment == "before_stage":
            self.second = self.copied(run.networks)


def test_anchors_come_from_the_best_validation_network(train_method, fresh_network, copied):
    """T is read off all rows, training and validation, by the epoch of least validation loss."""
    notes, data = Notes(copied), train_method.data
    result = train_method("loss_correction", {}, look=notes, **OVERFIT)
    history = [row["noisy_val_loss"] for row in result.history if row["stage"] == "plain"]
    assert notes.best == int(np.argmin(history))
    assert notes.best < 14, "the last epoch is not the best, so the test can tell"

    def by(weights):
        network = fresh_network().eval()
        network.load_state_dict({key.removeprefix("0."): w for key, w in weights.items()})
        with torch.no_grad():
            return anchor_transition(network(data.features).softmax(-1).double().numpy(), 0.97)

    found = result.shared["transition"].numpy()
    np.testing.assert_allclose(found, by(notes.epochs[notes.best]), atol=1e-6)
    assert np.abs(found - by(notes.epochs[-1])).max() > 1e-3
    np.testing.assert_allclose(found.sum(1), 1.0)


def test_anchors_that_hardly_tell_classes_apart_are_warned_of(train_method, monkeypatch):
    classes = train_method.data.num_classes
    flat = np.full((classes, classes), 1 / classes) + 1e-4 * np.eye(classes)
    flat /= flat.sum(1, keepdims=True)
    monkeypatch.setattr(loss_correction, "anchor_transition", lambda *_, **__: flat)
    with pytest.warns(UserWarning, match=r"transition: condition number 1e\+04"):
        train_method("loss_correction", {}, **SHORT)


def test_the_second_stage_starts_from_fresh_weights(train_method, fresh_network, copied, equal):
    notes = Notes(copied)
    train_method("loss_correction", {}, look=notes, **OVERFIT)
    torch.manual_seed(derive_seed(0, 1, "init", 0))
    fresh = {f"0.{key}": value for key, value in fresh_network().state_dict().items()}
    assert equal(notes.second, fresh)
    assert not any(equal(notes.second, weights) for weights in notes.epochs)


def test_a_warm_start_goes_on_from_the_best_weights(train_method, copied, equal):
    notes = Notes(copied)
    train_method("loss_correction", {"warm_start": True}, look=notes, **OVERFIT)
    assert equal(notes.second, notes.epochs[notes.best])


def test_identity_mix_and_argmax_anchors(train_method):
    """a I + (1 - a) T of the same first stage."""
    plain = train_method("loss_correction", {}, **SHORT).shared["transition"]
    mixed = train_method("loss_correction", {"identity_mix": 0.25}, **SHORT).shared["transition"]
    expected = 0.25 * torch.eye(4, dtype=torch.float64) + 0.75 * plain
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)
    notes = {}

    def look(moment, when, run):
        if (run.stage.name, moment, when) == ("plain", "after_stage", "begin"):
            notes["probs"] = run.predict_probs().double().numpy()

    top = train_method("loss_correction", {"quantile": None}, look=look, **SHORT)
    expected = notes["probs"][notes["probs"].argmax(0)]
    np.testing.assert_allclose(top.shared["transition"].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("clip", [None, 0.2])
def test_the_corrected_loss_in_training_and_on_validation(train_method, direction, clip):
    data, looked = train_method.data, []
    options = {"direction": direction, "transition": "given", "clip": clip}

    def look(moment, when, run):
        if (moment, when) != ("before_stage", "end"):
            return
        logits, rows = torch.randn(1, 20, 4), torch.arange(20)
        labels = data.given_labels[rows]
        if direction == "forward":
            expected = losses.forward_corrected(logits[0], labels, T)
        else:
            expected = losses.backward_corrected(logits[0], labels, T, clip)
        step = run.stage.step(logits, Batch(rows, None, labels), run)
        assert step.loss.item() == pytest.approx(expected.mean().item(), rel=1e-5)
        assert torch.allclose(run.stage.val_loss(logits[0], labels, run), expected, atol=1e-5)
        looked.append(run.stage.name)

    result = train_method("loss_correction", options, look=look, noise=estimate(T), **SHORT)
    assert looked == [f"{direction}_corrected"]
    np.testing.assert_array_equal(result.shared["transition"].numpy(), T)


def test_the_estimate_handed_over_is_not_shared(train_method):
    noise = estimate(T.copy())
    result = train_method("loss_correction", {"transition": "given"}, noise=noise, **SHORT)
    result.shared["transition"].zero_()
    np.testing.assert_array_equal(noise.transition, T)


def test_backward_with_a_singular_matrix(train_method):
    singular = np.array([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    options = {"transition": "given", "direction": "backward"}
    with pytest.raises(TransitionError):
        train_method("loss_correction", options, noise=estimate(singular), **SHORT)
    options["direction"] = "forward"
    train_method("loss_correction", options, noise=estimate(singular), **SHORT)


def test_forward_with_a_label_that_no_class_is_given(train_method):
    """Its loss would be infinite; mixed with the identity it is not."""
    never = np.array([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]])
    options = {"transition": "given", "direction": "forward"}
    message = "transition: by it no sample is ever labelled class 3, .* identity_mix above 0"
    with pytest.raises(TransitionError, match=message):
        train_method("loss_correction", options, noise=estimate(never), **SHORT)
    options["identity_mix"] = 0.1
    train_method("loss_correction", options, noise=estimate(never), **SHORT)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_given_matrix_is_mixed_with_the_identity(train_method, direction):
    """Once: also a singular one, as the refusal of backward correction advises."""
    singular = np.array([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    expected = np.array([[0.75, 0.25, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    operand = np.log if direction == "forward" else np.linalg.inv
    options = {"transition": "given", "direction": direction, "identity_mix": 0.5}
    found = train_method("loss_correction", options, noise=estimate(singular), **SHORT).shared
    np.testing.assert_array_equal(found["transition"].numpy(), expected)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found["operand"].numpy(), operand(expected), rtol=1e-6)


def test_given_without_an_estimate_is_refused_before_training():
    with pytest.raises(ConfigError, match="transition: 'given' needs the estimation pipeline"):
        methods.plan("loss_correction", {"transition": "given"}, TrainingConfig(), None)


def test_the_default_needs_validation_rows(blobs, train_method):
    data = blobs(rows=60, validation=0).data
    with pytest.raises(ConfigError, match="stage 'plain' chooses weights on noisy validation"):
        train_method("loss_correction", {}, data=data, **SHORT)


@pytest.mark.parametrize(
    "wrong", [{"quantile": 1.1}, {"identity_mix": -0.1}, {"clip": 0.0}, {"clip": 0.5}]
)
def test_values_out_of_range(wrong):
    with pytest.raises(ConfigError, match=f"^options.{next(iter(wrong))}: "):
        from_dict(Options, wrong, "options")
