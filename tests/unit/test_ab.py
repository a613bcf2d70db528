"""Given against repaired labels."""

import numpy as np
import pandas as pd
import pytest

from labelrepair.ab import AbSpec, _half_width, compare
from labelrepair.errors import ConfigError, DataError
from labelrepair.label_table import content_hashes, make_label_table
from labelrepair.pipelines.ab.nodes import compare_labels
from labelrepair.training import Schedule, TrainingConfig
from labelrepair.training.config import Network

ROWS = 400
TRAINING = TrainingConfig(
    network=Network("mlp", {"hidden": [64]}), schedule=Schedule(25, 0.01), batch_size=32, threads=1
)


@pytest.fixture(scope="module")
def study():
    """Return vectors of three classes, 45 % of the training labels shifted, repaired but for 20."""
    rng = np.random.default_rng(0)
    true = np.arange(ROWS) % 3
    features = (2.5 * np.eye(3)[true] + rng.normal(size=(ROWS, 3))).astype(np.float32)
    splits = np.where(np.arange(ROWS) < 250, "train", "test")
    wrong = (rng.random(ROWS) < 0.45) & (splits == "train")
    given = np.where(wrong, (true + 1) % 3, true)
    ids = [f"s{row:03d}" for row in range(ROWS)]
    table = make_label_table(ids, given, splits, content_hashes(features))
    repaired = pd.array(np.where(splits == "train", true, -1), dtype="Int64")
    repaired[splits == "test"] = pd.NA
    repaired[:20] = pd.NA
    truth = pd.DataFrame({"sample_id": ids, "true_label": true})
    return features, table.assign(repaired_label=repaired), truth


def test_repaired_labels_win_with_an_interval(study, caplog):
    features, table, truth = study

    with caplog.at_level("INFO"):
        found = compare(features, table, truth, np.eye(3), TRAINING, AbSpec(seeds=3), seed=0)

    (row,) = found["rows"]
    assert row["low"] < row["mean_difference"] < row["high"]
    said = f"{100 * row['mean_difference']:+.1f} points ({100 * row['low']:+.1f} to "
    assert said in caplog.text
    assert row["mean_difference"] > 0.02
    assert row["seeds"] == len(found["runs"]) == 3
    assert "true labels" in row["name"]
    runs = pd.DataFrame(found["runs"])
    assert row["mean_difference"] == pytest.approx((runs["repaired"] - runs["given"]).mean())
    assert found["metrics"]["ab.difference"] == row["mean_difference"]
    again = compare(features, table, truth, np.eye(3), TRAINING, AbSpec(seeds=3), seed=0)
    assert again == found


def test_the_same_labels_make_no_difference(study):
    features, table, truth = study
    same = table.assign(repaired_label=table["given_label"].astype("Int64"))

    found = compare(features, same, truth, np.eye(3), TRAINING, AbSpec(seeds=2), seed=0)

    assert [run["given"] for run in found["runs"]] == [run["repaired"] for run in found["runs"]]


def test_the_rarest_word_may_stand_only_in_a_test_text(study):
    _, table, truth = study
    tokens = np.random.default_rng(0).integers(3, 9, (ROWS, 4)).astype(np.int32)
    tokens[-1, 0] = 9
    once = TrainingConfig(network=Network("embedding"), schedule=Schedule(1, 0.01), threads=1)

    found = compare(tokens, table, truth, np.eye(3), once, AbSpec(seeds=2), seed=0)

    assert len(found["runs"]) == 2


def test_without_the_truth_the_test_labels_are_corrected(study):
    features, table, truth = study
    transition = 0.8 * np.eye(3) + 0.1 * (1 - np.eye(3))

    found = compare(features, table, truth.iloc[:0], transition, TRAINING, AbSpec(seeds=2), seed=0)

    assert "corrected by T" in found["rows"][0]["name"]


def test_what_cannot_be_compared(study):
    features, table, truth = study
    for damaged, message in (
        (table.assign(split="train"), "no test split"),
        (table.assign(repaired_label=pd.array([None] * ROWS, dtype="Int64")), "no row keeps"),
    ):
        with pytest.raises(DataError, match=message):
            compare(features, damaged, truth, np.eye(3), TRAINING, AbSpec(), seed=0)
    with pytest.raises(ConfigError, match="seeds"):
        AbSpec(seeds=1)


def test_the_interval_covers_the_choice_of_test_rows():
    """Many seeds say nothing about a hundred test rows: the training is the same for all."""
    rng = np.random.default_rng(0)
    true, covered, narrow = 0.02, 0, 0
    for _ in range(200):
        lead = rng.choice([1.0, -1.0, 0.0], 100, p=[0.07, 0.05, 0.88])
        leads = np.clip(lead + (rng.random((10, 100)) < 0.01), -1, 1)
        half = _half_width(leads, 0.95)
        covered += abs(leads.mean() - true - 0.01) <= half
        seeds = leads.mean(axis=1)
        narrow += abs(seeds.mean() - true - 0.01) <= 2.26 * seeds.std(ddof=1) / np.sqrt(10)
    assert covered >= 0.93 * 200
    assert narrow < 0.6 * 200  # what it was


def test_the_noise_of_another_table_is_refused(study):
    features, table, truth = study
    noise = {"transition": np.eye(3).tolist(), "data_hash": "0" * 32}
    with pytest.raises(DataError, match=r"the refinement worked on label table 0+ .*run it all"):
        compare_labels(features, table, truth, noise, {}, {}, 0)
