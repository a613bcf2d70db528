"""What is handed over, and which rows two models are compared on."""

import dataclasses
import sys
from types import ModuleType
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from labelrepair.data.input_format import InputFormat, input_format
from labelrepair.data.samples import Samples
from labelrepair.data.tokens import build_vocabulary, encode_texts
from labelrepair.errors import ConfigError, DataError
from labelrepair.gate import GateSpec
from labelrepair.handoff import (
    Contender,
    Evidence,
    HandoffSpec,
    facts_of,
    judge,
    package,
    row_hashes,
    translate,
)
from labelrepair.label_table import content_hashes, data_hash, make_label_table, text_hashes
from labelrepair.model_card import render
from labelrepair.networks.classifier import Classifier, Normalizer, build_from_spec, classifier_spec
from labelrepair.pipelines.handoff import nodes
from labelrepair.registry import said
from labelrepair.serving import Predictor
from labelrepair.training import Network

ROWS, NAMES = 600, ["a", "b", "c"]
BY_HAND = "it is not judged again, move `champion` by hand"
SPEC = GateSpec(min_rows=50, min_audited=10)


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    centres = 4 * np.eye(3)
    return (centres[np.arange(ROWS) % 3] + rng.normal(size=(ROWS, 3))).astype(np.float32)


@pytest.fixture(scope="module")
def table(features):
    ids = [f"s{row:04d}" for row in range(ROWS)]
    splits = np.repeat(["train", "validation", "test"], [300, 150, 150])
    return make_label_table(ids, np.arange(ROWS) % 3, splits, content_hashes(features))


def state(sharpness=1.0):
    """Return a linear model's state whose logits are the features; negative is the worst model."""
    spec = classifier_spec("mlp", {"hidden": []}, (3,), 3, 1)
    model = Classifier(Normalizer(), nn.ModuleList([build_from_spec(spec)]), spec)
    with torch.no_grad():
        for parameter in model.networks.parameters():
            parameter.copy_(sharpness * torch.eye(3) if parameter.dim() == 2 else torch.zeros(3))
    return {**model.state(), "class_names": NAMES}


FORM = {"kind": "vector", "shape": [3]}


def report(table, fraction=0.2, **changes):
    settings = {"training": {"validation_fraction": fraction}, "source": ""}
    facts = {"preset": "p", "method": "m", "networks": 1, "parameters": 12, "epochs": 3}
    return {"data_hash": data_hash(table), "seed": 0, "settings": settings, **facts, **changes}


def evidence(table, features, rate=0.0, curated=None, injected=False):
    transition = (1 - rate) * np.eye(3) + rate / 2 * (1 - np.eye(3))
    noise = {
        "transition": transition.tolist(),
        "noise_rate": rate,
        "interval": [rate, rate],
        "method": "given",
        "class_prior": [1 / 3] * 3,
    }
    nothing = pd.DataFrame({"sample_id": pd.array([], "str"), "true_label": np.empty(0, np.int64)})
    return Evidence(table, features, noise, nothing if curated is None else curated, injected)


# -- the package -------------------------------------------------------------------------------


def test_package(table, features):
    found = package(state(), FORM, table, features, report(table))

    assert found.held_out.tolist() == (table["split"] == "validation").tolist()
    train = table["split"] == "train"
    assert found.contender.trained_on.tolist() == sorted(row_hashes(table[train]).tolist())
    assert found.labels_md5 == data_hash(table)
    assert len(found.digest) == 32
    facts = facts_of(found, evidence(table, features), report(table), {}, 0.95)
    assert facts["rows"] == {"train": 300, "validation": 150, "test": 150}
    assert facts["test_accuracy"] is None


def test_the_test_accuracy_is_of_the_weights_kept_at_the_level_of_the_gate(good, table, features):
    def found(level):
        kept = report(table, test_accuracy_of_model=0.9)
        measured = {"test.accuracy_last": 0.4}
        return facts_of(good, evidence(table, features), kept, measured, level)["test_accuracy"]

    wide, narrow = found(0.95), found(0.8)
    assert wide["value"] == narrow["value"] == 0.9
    assert wide["low"] < narrow["low"] < 0.9 < narrow["high"] < wide["high"]


def test_a_preset_that_holds_nothing_out_has_seen_the_validation_rows(table, features):
    found = package(state(), FORM, table, features, report(table, fraction=0.0))

    assert not found.held_out.any()
    assert len(found.contender.trained_on) == 450


def test_the_digest_is_of_model_format_and_labels(table, features):
    def digest(model=None, form=FORM, labels=table):
        return package(model or state(), form, labels, features, report(labels)).digest

    other = table.assign(given_label=(table["given_label"] + 1) % 3)
    renamed = {**state(), "class_names": ["x", "y", "z"]}
    found = [digest(), digest(state(2.0)), digest(renamed), digest(labels=other)]
    assert digest() == found[0]
    assert len(set(found)) == 4


def test_labels_that_changed_since_the_training_are_refused(table, features):
    other = table.assign(given_label=(table["given_label"] + 1) % 3)

    with pytest.raises(DataError, match="run the training pipeline again"):
        package(state(), FORM, other, features, report(table))


OWN = "tests_own_network:Linear"


class Linear(nn.Linear):
    """A user's network; what it is built with is written down."""

    built: ClassVar[list] = []

    def __init__(self, in_shape, num_classes, **options):
        self.built.append(options)
        super().__init__(*in_shape, num_classes)


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (Network(), {}),
        (Network("mlp", {"hidden": [3]}), {}),
        (Network("tests_own_network:Other"), {}),
        (Network(OWN), {"size": 3}),
        (Network(OWN, {"size": 4}), {"size": 3}),
    ],
)
def test_a_network_that_the_parameters_do_not_name_is_not_built(
    network, options, table, features, monkeypatch
):
    # A stranger's file could name anything that can be imported, os.system say.
    module = ModuleType("tests_own_network")
    module.Linear = module.Other = Linear
    monkeypatch.setitem(sys.modules, "tests_own_network", module)
    spec = {"name": OWN, "options": options, "in_shape": [3], "num_classes": 3, "count": 1}
    own = Network(OWN, options)
    stored = {**Classifier(Normalizer(), nn.ModuleList([build_from_spec(spec)]), spec).state()}
    stored["class_names"] = NAMES
    assert package(stored, FORM, table, features, report(table), own).model.spec == spec

    Linear.built.clear()
    with pytest.raises(
        DataError, match=rf"^model: built by '{OWN}' with .*parameters of the train"
    ):
        package(stored, FORM, table, features, report(table), network)
    assert not Linear.built


@pytest.mark.parametrize(
    ("spec", "weights", "found"),
    [
        ({"options": {"hidden": [4]}}, {}, r"shape \(3, 3\), expected \(4, 3\)"),
        ({"count": 10**9}, {}, "weights of 1 networks, expected 1000000000"),
        ({"in_shape": None}, {}, "TypeError"),
        ({}, {"normalizer.scale": "x"}, "TypeError"),
        ({}, {"normalizer.scale": None}, "received .*NoneType"),
    ],
)
def test_weights_of_another_network_are_refused(spec, weights, found, table, features):
    own = state()
    own["spec"], own["weights"] = {**own["spec"], **spec}, {**own["weights"], **weights}
    with pytest.raises(DataError, match=rf"(?s)^model: its weights do not fit .*({found})"):
        package(own, FORM, table, features, report(table))


def test_files_of_another_table_or_training_are_refused(table, features, monkeypatch):
    """What the gate judges by, and what the card says, must be of the model handed over."""
    monkeypatch.setattr(nodes.registry, "hand_over", lambda *_: ({}, "handed over"))
    trained = report(table, checkpoint="p-1.pt")
    rows, own = evidence(table, features), {"data_hash": data_hash(table)}

    def hand_over(noise, made_from):
        noise, clean, measured = {**rows.noise, **noise}, {"kind": "none"}, {"labels.rows": 450}
        data = (state(), FORM, features, table, noise, rows.curated, clean)
        recipe = {"name": "p", "method": "jocor"}
        parameters = ({"name": "n"}, recipe, "p")
        return nodes.hand_over(*data, trained, measured, made_from, *parameters)[1]

    origin = {**own, "checkpoint": "p-1.pt"}
    assert hand_over(own, origin) == "handed over"
    for noise in ({}, {"data_hash": "another"}):
        with pytest.raises(DataError, match="the refinement"):
            hand_over(noise, origin)
    for other in ({}, {**origin, "checkpoint": "p-2.pt"}, {**origin, "data_hash": "another"}):
        with pytest.raises(DataError, match="metrics: measured on another training"):
            hand_over(own, other)


@pytest.mark.parametrize(
    "wrong",
    [{"name": name} for name in ("a/b", "", "it's", "..", " ", "n" * 201, "\u00fc" * 101)]
    # MLflow reads models:/a@b as an alias, and the others as parts of an address.
    + [{"name": name} for name in ("a@b", "a?b", "a#b", "a\u2028b")]
    + [{"lock_timeout": 0}],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        HandoffSpec(**{"name": "fine", **wrong})


@pytest.mark.parametrize("name", ["a b", "a&b=c", "[a]*~+", "a%41;,", "\u00fc" * 100, "x" * 200])
def test_names_that_mlflow_takes(name):
    assert HandoffSpec(name).name == name


# -- which rows --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(table, features):
    return package(state(), FORM, table, features, report(table))


@pytest.fixture(scope="module")
def bad(table, features):
    return package(state(-1.0), FORM, table, features, report(table))


def test_the_better_model_passes_and_the_worse_does_not(good, bad, table, features):
    rows = evidence(table, features)

    up, down = (
        judge(challenger, champion.contender, rows, SPEC)
        for challenger, champion in ((good, bad), (bad, good))
    )

    assert up["passed"]
    assert not down["passed"]
    assert (up["rows_from"], up["rows"], up["left_out_as_trained_on"]) == ("validation", 150, 0)
    assert up["overall"]["value"] == -down["overall"]["value"] > 0.9


def test_content_hashes_of_texts_are_numbers_too():
    hashes = text_hashes(["a", "b"])
    found = row_hashes(pd.DataFrame({"content_hash": hashes}))
    assert [f"text:{number:016x}" for number in found.tolist()] == hashes


def test_rows_that_the_champion_was_trained_on_are_left_out(good, table, features):
    """By content: what was a training row of the champion may be a validation row now."""
    seen = row_hashes(table)[300:390]
    champion = dataclasses.replace(good.contender, trained_on=seen)

    found = judge(good, champion, evidence(table, features), SPEC)

    assert (found["rows"], found["left_out_as_trained_on"]) == (60, 90)
    assert found["compared_with"] == "champion"


def test_a_duplicate_of_a_training_row_is_left_out(table, features):
    copied = features.copy()
    copied[300] = copied[0]
    hashes = table.assign(content_hash=content_hashes(copied))
    bundle = package(state(), FORM, hashes, copied, report(hashes))

    found = judge(bundle, None, evidence(hashes, copied), SPEC)

    assert (found["rows"], found["left_out_as_trained_on"]) == (149, 1)


def test_test_rows_step_in_for_validation_rows(good, table, features):
    champion = dataclasses.replace(good.contender, trained_on=row_hashes(table)[:440])
    rows = evidence(table, features)

    assert judge(good, champion, rows, SPEC)["rows_from"] == "test"
    only = dataclasses.replace(SPEC, rows="validation")
    found = judge(good, champion, rows, only)
    assert not found["passed"]
    assert found["reasons"][0].startswith("10 validation rows that neither model was trained on")


def test_injected_noise_leaves_the_test_labels_true(good, table, features):
    rows = evidence(table, features, rate=0.3, injected=True)

    on_test = judge(good, None, rows, dataclasses.replace(SPEC, rows="test"))
    on_validation = judge(good, None, rows, dataclasses.replace(SPEC, rows="validation"))

    assert on_test["labels"] == "true"
    assert on_test["challenger_accuracy"]["value"] > 0.9
    assert on_validation["labels"] == "given, corrected by T"
    assert on_validation["compared_with"] == "the most frequent class"


def test_audited_rows_that_were_trained_on_do_not_count(good, bad, table, features):
    ids = table["sample_id"]

    def found(rows):
        trusted = pd.DataFrame({"sample_id": ids.iloc[rows], "true_label": np.array(rows) % 3})
        return judge(good, bad.contender, evidence(table, features, curated=trusted), SPEC)

    assert found(list(range(0, 100)))["audited_rows"] == 0
    assert found(list(range(290, 320)))["audited_rows"] == 20
    assert found(list(range(290, 305)))["audited_rows"] == 0  # 5 rows are too few


def test_a_champion_of_other_classes_cannot_be_compared(good, table, features):
    predictor = Predictor(good.model, InputFormat("vector", (3,)), ["x", "y", "z"])

    found = judge(
        good, Contender(predictor, np.empty(0, np.uint64)), evidence(table, features), SPEC
    )

    assert not found["passed"]
    assert "it knows other classes" in found["reasons"][0]


# -- what is said about it -----------------------------------------------------------------------


def written(champion="1", passed=True, networks=1):
    """Return the card and the log line of version 1."""
    gate = {"passed": passed, "reasons": [] if passed else ["too bad"], "rows": 150}
    about = {"name": "n", "version": "1", "champion": champion, "parent_version": None}
    noise = {"labels_md5": "x", "noise_rate": 0.1, "noise_interval": [0.1, 0.2]}
    how = {"method": "m", "preset": "p", "rule": {"level": 0.95}, "gate": gate}
    record = {**about, **noise, **how}
    facts = {
        "rows": {"train": 300, "validation": 150, "test": 150},
        "metrics": {"labels.rows": 60000, "counts.keep": 54321, "detect.recall": 0.987654},
        "test_accuracy": {"value": 0.9, "low": 0.8, "high": 0.95},
        "class_names": NAMES,
        **{"input": "vector, 3", "noise_method": "given", "source": "", "networks": networks},
        **{"parameters": 12, "epochs": 3},
    }
    return render(record, facts), said(record)


def test_the_card_shows_counts_whole_and_shares_rounded():
    card, _ = written()

    assert "| labels.rows | 60,000 | | |\n| counts.keep | 54,321 | | |" in card
    assert "| detect.recall | 0.9877 | | |" in card
    assert "of the test split | 0.9 | 0.8 | 0.95 |" in card


@pytest.mark.parametrize(
    ("champion", "passed", "on_card", "in_log"),
    [
        ("1", True, "Became `champion`.", "champion"),
        ("2", True, "Was `champion`; now version 2 is.",
         f"was champion, now version 2 is; {BY_HAND}"),
        (None, True, "Was `champion`; now no version is.",
         f"was champion, now no version is; {BY_HAND}"),
        ("2", False, "Not `champion`: too bad.", "stays challenger, as too bad"),
        ("1", False, "`champion`, set by hand; the rule said: too bad.",
         "champion, set by hand, though too bad"),
    ],
)  # fmt: skip
def test_who_is_champion_now(champion, passed, on_card, in_log):
    card, line = written(champion, passed)

    assert card.splitlines()[2] == on_card
    assert line == f"n, version 1: {in_log}"


# -- other input formats -----------------------------------------------------------------------


def test_tokens_are_translated_word_by_word():
    texts = ["red green blue", "green yellow", "blue blue red green"]
    ours, theirs = build_vocabulary(texts, 6), build_vocabulary([*texts, "green green"], 7)
    source = InputFormat("text", (5,), vocabulary=ours)

    for length in (3, 5, 8):
        target = InputFormat("text", (length,), vocabulary=theirs)
        found = translate(encode_texts(texts, ours, 5), source, target)
        known = [text.replace("yellow", "unheard") for text in texts]  # not in our vocabulary
        np.testing.assert_array_equal(found, encode_texts(known, theirs, length))


def test_numbers_are_translated_by_the_names_of_their_columns():
    numbers = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    source = InputFormat("vector", (3,), columns=("a", "b", "c"))

    other = InputFormat("vector", (2,), columns=("c", "a"))
    assert translate(numbers, source, other).tolist() == [[3, 1], [6, 4]]
    assert translate(numbers, source, InputFormat("vector", (3,))).tolist() == numbers.tolist()
    with pytest.raises(DataError, match="no column 'd'"):
        translate(numbers, source, InputFormat("vector", (3,), columns=("a", "b", "d")))


def test_images_are_resized_only_for_a_model_that_was_made_so():
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 4, 4)).astype(np.uint8)
    source = InputFormat("image", (1, 4, 4))

    resized = translate(images, source, InputFormat("image", (1, 8, 8), resize=True))
    assert resized.shape == (2, 1, 8, 8)
    with pytest.raises(DataError, match="row 0: image is 4x4"):
        translate(images, source, InputFormat("image", (1, 8, 8)))
    with pytest.raises(DataError, match="takes vector input, not image"):
        translate(images, source, InputFormat("vector", (16,)))
    assert translate(images, source, source) is images


@pytest.mark.parametrize(
    ("features", "changes", "expected"),
    [
        (np.zeros((2, 3, 4, 4), np.uint8), {"resized": True},
         ("image", (3, 4, 4), True, None, None, None)),
        (np.zeros((2, 2), np.float32), {}, ("vector", (2,), False, None, None, None)),
        (np.zeros((2, 2), np.float32), {"columns": ("a", "b")},
         ("vector", (2,), False, None, None, ("a", "b"))),
        (np.zeros((2, 5), np.int32), {"vocabulary": ("p", "s", "u", "w"), "token_pattern": r"\w+"},
         ("text", (5,), False, ("p", "s", "u", "w"), r"\w+", None)),
    ],
)  # fmt: skip
def test_the_input_format_of_what_was_read(features, changes, expected):
    rows = {"sample_ids": np.array(["a", "b"]), "labels": np.array([0, 1])}
    splits = np.array(["train", "train"])
    samples = Samples(features=features, splits=splits, class_names=("x", "y"), **rows, **changes)

    assert dataclasses.astuple(input_format(samples)) == expected
