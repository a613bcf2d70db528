"""Warnings: with the truth, and the honest signs there are without it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from labelrepair.label_table import OPEN_SET, TRUE_LABEL, content_hashes
from labelrepair.noise import symmetric
from labelrepair.pipelines.report.nodes import write_report
from labelrepair.refinement import METHOD
from labelrepair.report import ReportSpec, build_context, harm
from labelrepair.report.flows import DROPPED, REVIEW, RIGHT, WRONG, truth_flows


def warned(sources, **changes):
    context = build_context(dataclasses.replace(sources, **changes), ReportSpec(gallery_size=1))
    return context["warnings"]


@pytest.fixture(scope="module")
def unknown(make_sources):
    """Return sources without any truth; a third of the labels is flagged, 30 % are wrong."""
    sources = make_sources(known=0.0)
    return dataclasses.replace(sources, noise={**sources.noise, "interval": [0.28, 0.4]})


def test_a_sound_run_is_not_warned_about(unknown):
    assert warned(unknown, training={"test_accuracy_of_model": 0.68}) == []


@pytest.mark.parametrize(
    ("kappa", "method", "weak"),
    [
        (0.1, "confident_joint", True),
        (0.1, METHOD, True),
        (0.1, "curated", False),  # people counted the noise
        (0.3, "confident_joint", False),
        (None, "confident_joint", False),
    ],
)
def test_networks_that_only_guess(unknown, kappa, method, weak):
    noise = {**unknown.noise, "kappa": kappa, "method": method}
    found = [text for text in warned(unknown, noise=noise) if "by chance" in text]
    assert bool(found) == weak
    if weak:
        assert "kappa 0.10" in found[0]


@pytest.mark.parametrize(
    ("kappa", "method", "unsaid"),
    [
        (0.5, "confident_joint", True),
        (0.5, METHOD, True),
        (0.5, "curated", False),  # people counted the noise
        (0.63, "confident_joint", False),
        (0.1, "confident_joint", False),  # told already: they may only be guessing
        (None, "confident_joint", False),
    ],
)
def test_networks_that_agree_less_than_the_noise_accounts_for(unknown, kappa, method, unsaid):
    """10 % wrong labels of 4 equal classes: kappa (0.9 - 0.25) / 0.75 = 0.87."""
    matrix = symmetric(4, 0.1).tolist()
    noise = {"kappa": kappa, "method": method, "transition": matrix, "noise_rate": 0.1}
    noise = {**unknown.noise, **noise, "class_prior": [0.25] * 4}
    found = [text for text in warned(unknown, noise=noise) if "belong to no class" in text]
    assert bool(found) == unsaid
    if unsaid:
        assert "(Cohen's kappa 0.50) than 10 % wrong labels account for (0.87)" in found[0]


@pytest.mark.parametrize(("agreement", "weak"), [(0.35, True), (0.37, False)])
def test_a_model_that_knows_less_than_the_labels(unknown, agreement, weak):
    """At least 60 % of the given labels are right: 0.6 * 0.6 = 0.36 is the border."""
    found = warned(unknown, training={"test_accuracy_of_model": agreement})
    assert bool(found) == weak
    if weak:
        assert "agrees with 35 % of the given labels" in found[0]
        assert "the model is right in about 49 % to 58 %: less often" in found[0]


@pytest.mark.parametrize(
    ("agreement", "wrong", "weak"),
    [
        (0.67, [0.2, 0.2], True),  # (0.67 - 0.2) / 0.6 = 0.78, under 0.8
        (0.69, [0.2, 0.2], False),  # 0.82
        (0.67, [0.2, 0.25], False),  # of labels of which 75 % are right 0.84 are met
        (0.55, [0.45, 0.55], False),  # perhaps no label means anything
        (0.1, [0.1, 0.1], True),
    ],
)
def test_of_two_classes_errors_always_coincide(unknown, agreement, wrong, weak):
    noise = {**unknown.noise, "class_prior": [0.5, 0.5], "interval": wrong}
    found = harm._too_weak({"relabel": None}, with_noise(unknown, noise, agreement))
    assert bool(found) == weak
    if agreement == 0.1:
        assert "is right in about 0 % to 0 %" in found[0]


def with_noise(sources, noise, agreement):
    return dataclasses.replace(sources, noise=noise, training={"test_accuracy_of_model": agreement})


def test_the_terminal_is_told_as_well(unknown, caplog):
    """Who runs it on a server may never open the page."""
    parts = {field.name: getattr(unknown, field.name) for field in dataclasses.fields(unknown)}
    frames, facts = (parts.pop(name) for name in ("frames", "facts"))
    del parts["vocabulary"], parts["columns"]  # parts of the input format
    parts["table"] = parts["table"].assign(content_hash=content_hashes(parts["features"]))
    write_report(
        **parts | {"training": {"test_accuracy_of_model": 0.35}},
        plot_data={name: lambda frame=frame: frame for name, frame in frames.items()},
        facts={name: value for name, value in facts.items() if name != "dataset"},
        dataset="",
        input_format={"vocabulary": None},
        settings={"gallery_size": 1},
    )
    (told,) = [record for record in caplog.records if record.name.endswith("report.nodes")]
    assert told.levelname == "WARNING"
    assert "agrees with 35 % of the given labels" in told.getMessage()


def second_look(sources, **changes):
    """Warn of a weak model whose labels a second look has judged again."""
    noise = {**sources.noise, "method": METHOD}
    (found,) = warned(sources, noise=noise, training={"test_accuracy_of_model": 0.35}, **changes)
    return found


def test_the_changes_of_a_second_look_are_not_those_of_the_weak_model(unknown):
    found = second_look(unknown)
    assert "is right in about 49 % to 58 %: less often than the given labels. Do not hand" in found
    assert "The changes are those of the second look" in found
    assert " of the changed labels are right. Have people check some" in found
    assert "may do harm" not in found


def test_a_second_look_that_mistrusts_its_own_changes(unknown):
    unsure = unknown.table.assign(
        label_quality=unknown.table["label_quality"].clip(upper=0.3),
        confidence=unknown.table["confidence"].clip(upper=0.4),
    )
    found = second_look(unknown, table=unsure)
    assert "Do not hand this model over" in found
    assert "the repaired labels are less often right than the given ones. Its changes" in found


def test_a_second_look_that_changed_nothing(unknown):
    kept = unknown.table.assign(action="keep", repaired_label=unknown.table["given_label"])
    kept["repaired_label"] = kept["repaired_label"].astype("Int64")
    assert second_look(unknown, table=kept).endswith("Do not hand this model over.")


def test_changes_of_people_are_not_judged_by_the_model(unknown):
    theirs = unknown.table.assign(label_source="human")
    assert second_look(unknown, table=theirs).endswith("Do not hand this model over.")
    policy = {"relabel_confidence": 0.7, "why": "as set", "audited": 50, "right": 20, "level": 0.95,
              "precision": 0.4, "low": 0.26, "high": 0.55, "tested": []}  # fmt: skip
    assert warned(unknown, table=theirs, policy=policy) == []


def test_without_a_test_split_the_validation_split_tells(unknown):
    curves = unknown.frames["training_curves"].assign(noisy_val_accuracy=0.2)
    frames = {**unknown.frames, "training_curves": curves}
    (found,) = warned(unknown, training={"test_accuracy_of_model": None}, frames=frames)
    assert found.startswith("On the validation split the model agrees with 20 %")


def test_more_flags_than_wrong_labels(unknown):
    (found,) = warned(unknown, noise={**unknown.noise, "interval": [0.1, 0.2]}, training={})
    assert "of the labels are flagged, but at most 20 % are wrong by the estimate" in found


def test_people_find_less_than_the_model_expects(unknown):
    policy = {"relabel_confidence": 0.7, "why": "as set", "audited": 50, "right": 20, "level": 0.95,
              "precision": 0.4, "low": 0.26, "high": 0.55, "tested": []}  # fmt: skip
    (found,) = warned(unknown, policy=policy)
    assert "People found 40 % of the changed labels that they checked right (26 % to 55 %)" in found
    assert warned(unknown, policy=policy | {"high": 0.99}) == []


def test_retraining_that_gets_worse(unknown):
    row = {"name": "accuracy", "mean_difference": -0.03, "low": -0.05, "high": -0.01, "seeds": 3}
    (found,) = warned(unknown, ab={"rows": [row]})
    assert found == "A network retrained on the repaired labels is worse: accuracy."
    assert warned(unknown, ab={"rows": [row | {"high": 0.01}]}) == []


def test_flows_from_the_truth_count_every_known_row():
    rows = pd.DataFrame(
        {
            TRUE_LABEL: pd.array([0, 0, 0, 1, 1, pd.NA], dtype="Int64"),
            "given_label": np.array([0, 1, 1, 1, 0, 0]),
            "repaired_label": pd.array([0, 0, pd.NA, 1, pd.NA, 0], dtype="Int64"),
            "action": ["keep", "relabel", "drop", "keep", "review", "keep"],
        }
    )
    before, after = truth_flows(rows, 2, 12)
    assert {(f.source, f.target, f.action, f.count) for f in before} == {
        (0, 0, RIGHT, 1), (0, 1, WRONG, 2), (1, 1, RIGHT, 1), (1, 0, WRONG, 1)
    }  # fmt: skip
    assert {(f.source, f.target, f.action, f.count) for f in after} == {
        (0, 0, RIGHT, 2), (0, DROPPED, "drop", 1), (1, 1, RIGHT, 1), (1, REVIEW, "review", 1)
    }  # fmt: skip
    merged, _ = truth_flows(rows, 2, 1)
    assert sum(flow.count for flow in merged) == 5
    rows.loc[0, TRUE_LABEL] = OPEN_SET
    assert sum(flow.count for flow in truth_flows(rows, 2, 12)[0]) == 4
