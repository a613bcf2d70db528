"""Files of two runs, or changed ones, are refused by the step that would mix them."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from labelrepair.errors import DataError
from labelrepair.workflow.rows import SPOT_CHECKS

STORAGES = [pytest.param("resident", marks=pytest.mark.slow), "shards"]


@pytest.fixture(scope="module")
def made(make_project, tmp_path_factory):
    """A project whose default run is done."""
    project = make_project(tmp_path_factory.mktemp("mixed") / "project")
    project.run("ingestion", "estimation", "training", "refinement", "repair", "evaluation")
    return project


def refused(project, said, *pipelines):
    table = project / "data/07_model_output/repaired_labels.parquet"
    before = table.read_bytes()
    with pytest.raises(DataError, match=said):
        project.run(*pipelines)
    assert table.read_bytes() == before


ARRAYS = {
    "training_probs": ("refinement", "training"),
    "refined_probs": ("repair", "refinement"),
    "training_selected": ("repair", "training"),
}


@pytest.mark.parametrize(("name", "pipelines"), ARRAYS.items(), ids=ARRAYS)
def test_rows_in_another_order(made, name, pipelines):
    reads, makes = pipelines
    (file,) = (made / "data").glob(f"*/{name}.npy")
    stored = file.read_bytes()
    array = np.load(file)
    try:
        np.save(file, array[::-1])
        refused(made, rf"^{name}: not what the same run wrote.*--pipelines {makes}$", reads)
    finally:
        file.write_bytes(stored)
    made.run(reads)


def test_class_names_in_another_order(made):
    (file,) = (made / "data").glob("*/class_names.json")
    stored = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(stored)[::-1]))
        for reads in ("refinement", "repair"):
            refused(made, "^class_names: not what the same run wrote", reads)
    finally:
        file.write_text(stored)


def test_noise_that_was_estimated_on_other_labels(made):
    file, noise = "conf/base/parameters_datasets/small.yml", {"kind": "symmetric", "seed": 1}
    try:
        made.edit(file, "datasets", "small", noise={**noise, "rate": 0.5})
        made.run("ingestion")
        refused(made, "the estimation worked on label table", "training")
    finally:
        made.edit(file, "datasets", "small", noise={**noise, "rate": 0.3})
        made.run("ingestion")
    made.run("refinement")


def test_the_ledger_names_the_training_that_was(made):
    """``kedro run --params preset=other``, then repair alone as the review page says."""
    made.run("training", "refinement", preset="cross_entropy_digits")
    made.run("repair", policy={"relabel_confidence": 0.95})
    events = pd.read_parquet(made / "data/07_model_output/label_ledger.parquet")
    assert "cross_entropy_digits" in set(events["method"])
    assert events["method"].iloc[-1] == "cross_entropy_digits"
    policy = json.loads((made / "data/07_model_output/policy.json").read_text())
    assert policy["relabel_confidence"] == 0.95
    made.run("training", "refinement")


def reads_of(made, *, source=None, storage="resident", exchanged=()):
    """Do only the first step of an ingestion, as one that is killed then does."""
    small, raw = "conf/base/parameters_datasets/small.yml", made / "data/01_raw/digits.npz"
    if source:
        made.edit(small, "datasets", "small", source=source)
    if len(exchanged):
        held = dict(np.load(raw))
        for name in ("features", "labels"):
            held[name][exchanged] = held[name][exchanged[::-1]]
        np.savez(raw, **held)
    made.run("ingestion", to="read_samples", **kept_as(storage))


def kept_as(storage):
    return {"ingestion": {"storage": {"kind": storage, "shard_bytes": 2e3}}}


@pytest.fixture
def restored(made):
    """Bring raw data, settings and what ingestion writes back after a test."""
    files = [
        made / "conf/base/parameters_datasets/small.yml",
        made / "data/01_raw/digits.npz",
        *(made / "data").glob("0[2-5]_*/*"),
    ]
    held = {file: file.read_bytes() for file in files if file.is_file()}
    yield
    for file, content in held.items():
        if file.is_dir():  # shards
            shutil.rmtree(file)
        file.write_bytes(content)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.usefixtures("restored")
def test_features_of_an_ingestion_that_was_killed(made, storage):
    if storage == "shards":
        made.run("ingestion", **kept_as(storage))
    unseen = np.setdiff1d(np.arange(300), np.linspace(0, 299, SPOT_CHECKS).astype(int))
    reads_of(made, storage=storage, exchanged=unseen[:26])
    said = r"^row \d+ .*: the feature store does not hold this.*run the ingestion pipeline again"
    for reads in ("estimation", "training", "refinement", "report"):
        refused(made, said, reads)
    made.run("ingestion", **kept_as(storage))
    made.run("estimation")


RENAMED = {"kind": "npz", "path": "data/01_raw/digits.npz", "labels_are_true": True}


@pytest.mark.usefixtures("restored")
def test_class_names_of_an_ingestion_that_was_killed(made):
    reads_of(made, source={**RENAMED, "class_names": ["zero", "one", "two"]})
    said = "^class_names: not what the same run wrote beside the label table.*ingestion$"
    for reads in ("estimation", "training", "evaluation", "report"):
        refused(made, said, reads)
    done = made.command("kedro", "labels", "export", "--format", "csv", "-o", "q.csv", check=False)
    assert done.returncode == 1
    assert "class_names: not what the same run wrote beside the label table" in done.stderr


@pytest.mark.usefixtures("restored")
def test_a_truth_of_an_ingestion_that_was_killed(made):
    reads_of(made, source={**RENAMED, "labels_are_true": False})
    refused(made, "^true_labels: not what the same run wrote beside the label", "evaluation")
    (truth,) = (made / "data").glob("*/true_labels.parquet")
    made.run("ingestion", to="read_samples")
    assert len(pd.read_parquet(truth)) == 0


@pytest.mark.usefixtures("restored")
def test_trusted_labels_of_an_ingestion_that_was_killed(made):
    made.run("ingestion", ingestion={"curated": {"count": 20}})
    made.run("estimation")
    small = "conf/base/parameters_datasets/small.yml"
    made.edit(small, "datasets", "small", source={**RENAMED, "class_names": ["b", "c", "a"]})
    made.run("ingestion", to="add_noise")
    refused(made, "^class_names: not what the same run wrote beside curated_labels", "estimation")


@pytest.mark.usefixtures("restored")
def test_an_input_format_that_was_changed(made):
    (file,) = (made / "data").glob("*/input_format.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "resize": True}))
    for reads in ("training", "report"):
        refused(made, "^input_format: not what the same run wrote beside the label table", reads)


@pytest.mark.usefixtures("restored")
def test_a_table_that_notes_nothing_passes(made):
    (file,) = (made / "data").glob("*/label_table.parquet")
    table = pd.read_parquet(file)
    assert set(table.attrs["sealed"]) == {"true_labels", "class_names", "input_format"}
    table.attrs = {}
    table.to_parquet(file, index=False)
    made.run("estimation")


def test_a_second_look_at_another_training(made):  # last: what it leaves is mixed
    (report,) = (made / "data").glob("*/training_report.json")
    earlier = json.loads(report.read_text())["checkpoint"]
    made.run("training", seed=5)
    later = json.loads(report.read_text())["checkpoint"]
    assert later != earlier
    refused(made, rf"^refined_noise: .*{earlier}.*{later}; .*--pipelines refinement$", "repair")


@pytest.fixture
def texts(project):
    """A project of reviews, and a writer of so many of them, each with a number of its own."""

    def write(count, **options):
        words = (["dull", "weak", "boring"], ["grand", "lovely", "moving"])
        rows = [
            {
                "sample_id": f"r{row:03d}",
                "text": f"number{row} {words[row % 2][row % 3]} film",
                "label": ("bad", "good")[row % 2],
                "split": ("train", "test")[row % 5 == 0],
            }
            for row in range(count)
        ]
        pd.DataFrame(rows).to_csv(project / "data/01_raw/reviews.csv", index=False)
        source = {"kind": "manifest", "path": "data/01_raw/reviews.csv", "text_column": "text"}
        source |= {"split_column": "split", "vocabulary_size": 9, "length": 4, **options}
        project.dataset("reviews", source, network={"name": "embedding"})

    project.edit("conf/base/globals.yml", dataset="reviews")
    write(60)
    return project, write


def test_a_decision_about_a_text_outlives_other_rows_and_tokens(texts):
    """And goes to no other text, though its words are not in the vocabulary."""
    project, write = texts
    decided = project / "data/03_primary/human_decisions.csv"
    project.run("ingestion")
    tokens = np.load(project / "data/04_feature/features.npy")
    table = pd.read_parquet(project / "data/03_primary/label_table.parquet")
    hashes = table.set_index("sample_id")["content_hash"]
    assert (tokens[1] == tokens[7]).all()
    assert hashes.is_unique
    with decided.open("a") as stream:
        stream.write(f"r001,relabel,bad,,,,,{hashes['r001']}\n")
    write(65, vocabulary_size=30, length=5)
    project.run("ingestion")
    again = np.load(project / "data/04_feature/features.npy")
    assert again.shape == (65, 5)
    reviews = (project / "data/01_raw/reviews.csv").read_text()
    (project / "data/01_raw/reviews.csv").write_text(reviews.replace("number1 ", "number7 "))
    with pytest.raises(DataError, match="'r001' has other content than when it was decided"):
        project.run("ingestion")


@pytest.mark.parametrize("storage", STORAGES)
def test_what_was_made_from_other_tokens_of_the_same_texts(texts, storage):
    project, write = texts
    kind = kept_as(storage)
    project.run("ingestion", "estimation", **kind)
    write(60, vocabulary_size=30)
    project.run("ingestion", **kind)
    with pytest.raises(DataError, match=r"^input_format: the estimation worked on tokens of these"):
        project.run("training")


def test_a_drawn_split_moves_decided_rows_and_a_split_of_the_source_does_not(project):
    raw = project / "data/01_raw/digits.npz"
    whole = {name: array for name, array in np.load(raw).items() if name != "split"}
    tables = []
    for count in (200, 300):
        np.savez(raw, **{name: array[:count] for name, array in whole.items()})
        project.run("ingestion")
        tables.append(pd.read_parquet(project / "data/03_primary/label_table.parquet"))
    then, now = (table.set_index("sample_id")["split"] for table in tables)
    moved = then.index[(then == "train") & (now[then.index] == "test")][0]
    content = tables[0].set_index("sample_id")["content_hash"][moved]
    with (project / "data/03_primary/human_decisions.csv").open("a") as stream:
        stream.write(f"{moved},drop,,,,,,{content}\n")
    with pytest.raises(DataError, match=f"'{moved}' belongs to the test split.*grows.*'split' of"):
        project.run("ingestion")
    np.savez(raw, **whole, split=[*then, *["train"] * 100])
    project.run("ingestion")
