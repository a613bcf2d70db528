"""The rule that picks a method from the estimated noise."""

import numpy as np
import pytest

from labelrepair import methods
from labelrepair.config import from_dict
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.methods import auto
from labelrepair.noise import asymmetric, symmetric
from labelrepair.training import TrainingConfig
from labelrepair.transition import noise_rate_of

PAIRS = asymmetric(10, {2: 7, 3: 8, 7: 1, 5: 6, 6: 5}, 0.4)
OPTIONS = auto.Options()


def noise(transition, low=None, high=None, rows=60_000, probe_accuracy=0.97):
    rate = noise_rate_of(transition)
    interval = (rate if low is None else low, rate if high is None else high)
    prior = np.full(len(transition), 1 / len(transition))
    more = {"rows": rows, "probe_accuracy": probe_accuracy}
    return NoiseEstimate(np.asarray(transition), rate, interval, "confident_joint", prior, **more)


@pytest.mark.parametrize(
    ("transition", "expected", "why"),
    [
        (symmetric(10, 0.01), OPTIONS.clean, "at most 1.0% of the labels are wrong"),
        (PAIRS, OPTIONS.paired, "100% of the wrong labels go to one class each"),
        (symmetric(10, 0.5), OPTIONS.spread, "50.0% of the labels are wrong and spread"),
        (symmetric(2, 0.3), OPTIONS.spread, "30.0% of the labels are wrong and spread"),
    ],
)
def test_the_noise_decides(transition, expected, why):
    found = auto.choose(OPTIONS, TrainingConfig(), noise(transition))
    assert (found.method, found.options) == (expected.method, expected.options)
    assert why in found.why


def test_few_rows_decide_before_the_structure():
    found = auto.choose(OPTIONS, TrainingConfig(), noise(PAIRS, rows=1_438))
    assert found.method == OPTIONS.small.method
    assert "of only 1,438 labels are wrong" in found.why
    assert (
        auto.choose(OPTIONS, TrainingConfig(), noise(PAIRS, rows=None)).method
        == OPTIONS.paired.method
    )


@pytest.mark.parametrize(
    ("accuracy", "why"),
    [
        (0.85, "a plain network is right about 85.0% of the rows (limit 86%)"),
        (None, "how well a plain network tells the classes apart is not known"),
    ],
)
def test_networks_are_not_asked_to_agree_on_classes_that_are_close(accuracy, why):
    found = auto.choose(OPTIONS, TrainingConfig(), noise(PAIRS, probe_accuracy=accuracy))
    assert (found.method, found.options) == ("jocor", {"co_lambda": 0.0})
    assert why in found.why
    spread = auto.choose(OPTIONS, TrainingConfig(), noise(symmetric(10, 0.3), probe_accuracy=0.9))
    assert (spread.options, "(limit 92%)" in spread.why) == ({"co_lambda": 0.0}, True)
    pairs = auto.choose(OPTIONS, TrainingConfig(), noise(PAIRS, probe_accuracy=0.9))
    assert pairs.options == OPTIONS.paired.options
    other = auto.Options(close=auto.Candidate("co_teaching"))
    chosen = auto.choose(other, TrainingConfig(), noise(PAIRS, probe_accuracy=accuracy))
    assert chosen.method == "co_teaching"


@pytest.mark.parametrize("network", ["embedding", "embedding_lstm"])
def test_networks_of_words_are_corrected_by_the_estimate(network):
    config = from_dict(TrainingConfig, {"network": {"name": network}})
    found = auto.choose(OPTIONS, config, noise(symmetric(2, 0.3)))
    assert (found.method, found.options["transition"]) == ("loss_correction", "given")
    assert f"networks of kind '{network}' learn too slowly" in found.why


def test_an_uncertain_rate_is_not_clean():
    found = auto.choose(OPTIONS, TrainingConfig(), noise(symmetric(10, 0.01), low=0.0, high=0.05))
    assert found.method == OPTIONS.spread.method


def test_it_trains_as_the_chosen_method_does():
    config = from_dict(TrainingConfig, {"schedule": {"epochs": 20}, "budget": 0.5})
    options = {"spread": {"method": "co_teaching_plus", "options": {"warmup": 8}}}
    (stage,) = methods.plan("auto", options, config, noise(symmetric(10, 0.5)))
    (same,) = methods.plan("co_teaching_plus", {"warmup": 8}, config, noise(symmetric(10, 0.5)))
    assert (stage.name, stage.networks, stage.schedule) == (same.name, same.networks, same.schedule)
    assert stage.schedule.epochs == 10


def test_who_was_chosen():
    assert methods.chosen("jocor", {"ramp": 5}, TrainingConfig(), None) == (
        "jocor",
        {"ramp": 5},
        "",
    )
    options = {"paired": {"method": "crf_em"}}
    method, _, why = methods.chosen("auto", options, TrainingConfig(), noise(PAIRS))
    assert method == "crf_em"
    assert why.startswith("auto: 100% of the wrong labels")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spread": {"method": "jocar"}}, "options.spread.method: unknown method 'jocar'"),
        ({"spread": {"method": "auto"}}, "options.spread.method: auto cannot choose itself"),
        (
            {"paired": {"method": "jocor", "options": {"co_lamda": 1}}},
            "options.paired.options.co_lamda: unknown option; did you mean 'co_lambda'",
        ),
        ({"clean_below": 2.0}, "options.clean_below"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_early(options, message):
    with pytest.raises(ConfigError, match=message):
        methods.plan("auto", options, TrainingConfig(), noise(PAIRS))


def test_no_estimate():
    with pytest.raises(ConfigError, match="auto chooses by the estimated noise"):
        methods.plan("auto", {}, TrainingConfig(), None)
