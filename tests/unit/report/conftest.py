"""A made-up repair of any size, with or without truth, and a browser to look at its report."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from browser import Browser, find_chromium

from labelrepair.evaluation import evaluate
from labelrepair.noise import inject, symmetric
from labelrepair.plots import plot_data
from labelrepair.report import Sources

EPOCHS = 12


def features_of(kind, rows, rng):
    """Return a feature store of one kind."""
    if kind == "grey":
        return rng.integers(0, 256, (rows, 1, 28, 28)).astype(np.uint8)
    if kind == "colour":
        return rng.integers(0, 256, (rows, 3, 200, 120)).astype(np.uint8)
    if kind == "text":
        return rng.integers(0, 8, (rows, 90)).astype(np.int32)
    return rng.normal(size=(rows, 64)).astype(np.float32)


def table_of(true, given, num_classes, rng):
    """Return a repaired table that is right in nine of ten rows."""
    rows = len(true)
    guess = rng.integers(0, num_classes, rows)
    suggested = np.where(rng.random(rows) < 0.9, true, guess)
    issue = suggested != given
    confidence = np.where(rng.random(rows) < 0.7, 0.97 + 0.03 * rng.random(rows), rng.random(rows))
    sure = issue & (confidence > 0.5)
    action = np.where(~issue, "keep", np.where(sure, "relabel", "drop"))
    action[np.flatnonzero(action == "drop")[::3]] = "review"
    repaired = pd.array(np.where(action == "keep", given, suggested), dtype="Int64")
    repaired[np.isin(action, ["drop", "review"])] = pd.NA
    columns = {
        "sample_id": [f"{row:06d}" for row in range(rows)],
        "given_label": given,
        "split": "train",
        "content_hash": "0",
        "label_quality": np.where(issue, 1 - confidence, confidence),
        "is_label_issue": issue,
        "suggested_label": suggested,
        "confidence": confidence,
        "action": action,
        "repaired_label": repaired,
        "label_source": "given",
        "reason": "",
    }
    return pd.DataFrame(columns)


def make(
    *,
    num_classes=5,
    rows=600,
    rate=0.3,
    known=1.0,
    of_no_class=0,
    kind="grey",
    intervals=True,
    edit=None,
    **changes,
):
    """Return the sources of a report; ``edit`` changes the repaired table before evaluation.

    The first ``of_no_class`` rows are of the open set.
    """
    rng = np.random.default_rng(0)
    transition = symmetric(num_classes, rate)
    true = np.arange(rows) % num_classes
    given = inject(true, transition, rng)
    table = table_of(true, given, num_classes, rng)
    if edit is not None:
        edit(table)
    history = pd.DataFrame(
        {
            "stage": ["warmup"] * 4 + ["train"] * (EPOCHS - 4),
            "epoch": range(EPOCHS),
            "loss": np.linspace(2, 0.4, EPOCHS),
            "train_accuracy_given": np.linspace(0.2, 0.7, EPOCHS),
            "used_share": 0.8,
            "test_accuracy": [np.nan, *np.linspace(0.4, 0.9, EPOCHS - 1)],
        }
    )
    used = np.packbits(rng.random((EPOCHS, 1, rows)) < 0.8, axis=-1)
    noise = {
        "transition": transition.tolist(),
        "noise_rate": rate,
        "interval": [0.93 * rate, 1.07 * rate],
        "method": "confident_joint",
        "class_prior": np.full(num_classes, 1 / num_classes).tolist(),
    }
    if intervals:
        noise["transition_low"] = (0.9 * transition).tolist()
        noise["transition_high"] = np.minimum(1, 1.1 * transition).tolist()
    truth = pd.DataFrame({"sample_id": table["sample_id"], "true_label": true})
    truth.loc[rng.random(rows) >= known, "true_label"] = -1
    truth.loc[: of_no_class - 1, "true_label"] = -2
    names = [f"class {label}" for label in range(num_classes)]
    found = evaluate(table, truth, noise, history, used, num_classes, class_names=names)
    sources = Sources(
        table=table,
        true_labels=truth,
        noise=noise,
        metrics=found.metrics,
        frames=plot_data(found, noise, names),
        features=features_of(kind, rows, rng),
        class_names=names,
        training={"method": "jocor", "preset": "p", "epochs": EPOCHS, "parameters": 1234},
        facts={"dataset": "made_up", "git_revision": "abc123", "git_dirty": "False"},
    )
    return dataclasses.replace(sources, **changes)


@pytest.fixture(scope="session", name="make_sources")
def make_sources_fixture():
    return make


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Return a headless Chromium, one for all tests."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on the PATH; install chromium to test the report's page")
    started = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield started
    started.close()
