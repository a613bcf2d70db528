"""Bad input: an error that names the thing, and nothing written by the run that met it.

The project holds the results of a good run; a bad run must leave every one of its files as it was.
"""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Node, Pipeline
from PIL import Image

from labelrepair.errors import ConfigError, DataError, TransitionError
from labelrepair.hooks.dataset import DatasetHook

FOLDER = "data/01_raw/bad"  # where a test's own files go


@pytest.fixture(scope="module")
def good(make_project, tmp_path_factory):
    """Return a project after a good run."""
    project = make_project(tmp_path_factory.mktemp("bad_input"))
    project.run(to="evaluate_repair")
    (project / FOLDER).mkdir()
    return project


def refused(project, kind, *messages: str, pipelines=(), **params) -> None:
    """Check that a run fails with ``kind`` and all of ``messages``, and writes nothing."""
    before = project.untouched()
    with pytest.raises(kind) as error:
        project.run(*pipelines, **params)
    for message in messages:
        assert re.search(message, str(error.value)), str(error.value)
    after = project.untouched()
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] == []


def image(value: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_manifest(folder: Path, **changes) -> None:
    """Write 40 pictures of four greys and their manifest, then change columns of it."""
    for row in range(40):
        (folder / f"{row}.png").write_bytes(image(60 * (row % 4)))
    columns = {
        "sample_id": [f"s{row:02d}" for row in range(40)],
        "path": [f"{row}.png" for row in range(40)],
        "label": [("a", "b", "c", "d")[row % 4] for row in range(40)],
        "split": ["test" if row < 8 else "train" for row in range(40)],
    }
    frame = pd.DataFrame(columns)
    for name, change in changes.items():
        frame[name] = change(frame[name])
    frame.to_csv(folder / "labels.csv", index=False)


SOURCE = {
    "kind": "manifest",
    "path": f"{FOLDER}/labels.csv",
    "split_column": "split",
    "class_names": ["a", "b", "c", "d"],
    "mode": "L",
}


def set_row(row: int, value):
    return lambda column: column.where(column.index != row, value)


def test_the_manifest_of_these_tests_is_good(good):
    write_manifest(good / FOLDER)
    good.dataset("bad", SOURCE)

    good.run("ingestion", dataset="bad")
    good.run(to="evaluate_repair")  # back to the small digits


@pytest.mark.parametrize("content", [b"not a picture", image()[:40]], ids=["garbage", "cut"])
def test_unreadable_image(good, content):
    write_manifest(good / FOLDER)
    (good / FOLDER / "13.png").write_bytes(content)
    good.dataset("bad", SOURCE)

    refused(good, DataError, "labels.csv", "'s13'", "not a readable image", dataset="bad")


def test_missing_image(good):
    write_manifest(good / FOLDER, path=set_row(5, "nowhere.png"))
    good.dataset("bad", SOURCE)

    refused(good, DataError, "labels.csv", "'s05'", r"nowhere\.png", dataset="bad")


def test_label_outside_the_classes(good):
    write_manifest(good / FOLDER, label=set_row(11, "e"))
    good.dataset("bad", SOURCE)

    refused(good, DataError, "labels.csv", "column 'label'", "'s11'", "'e'", dataset="bad")


def test_label_number_outside_the_classes(good):
    labels = np.arange(40) % 4
    labels[7] = 4
    np.savez(good / FOLDER / "bad.npz", features=np.zeros((40, 3), np.float32), labels=labels)
    names = ["a", "b", "c", "d"]
    good.dataset("bad", {"kind": "npz", "path": f"{FOLDER}/bad.npz", "class_names": names})

    refused(good, DataError, r"bad\.npz", "'row-00007'", r"label 4 outside 0\.\.3", dataset="bad")


def test_duplicated_sample_id(good):
    write_manifest(good / FOLDER, sample_id=set_row(20, "s03"))
    good.dataset("bad", SOURCE)

    refused(good, DataError, "labels.csv", "'s03' is repeated in line 22", dataset="bad")


@pytest.mark.parametrize("name", ["sample_id", "label", "path", "split"])
def test_missing_column(good, name):
    write_manifest(good / FOLDER)
    file = good / FOLDER / "labels.csv"
    pd.read_csv(file, dtype=str).drop(columns=name).to_csv(file, index=False)
    good.dataset("bad", SOURCE)

    refused(good, DataError, "labels.csv", f"no column '{name}'", dataset="bad")


def test_empty_class(good):
    write_manifest(good / FOLDER, label=lambda column: column.replace("c", "d"))
    good.dataset("bad", SOURCE)

    refused(good, DataError, "class 'c': no training sample", dataset="bad")


def test_manifest_that_does_not_exist(good):
    good.dataset("bad", SOURCE | {"path": f"{FOLDER}/lables.csv"})

    refused(good, DataError, r"no file at data/01_raw/bad/lables\.csv", dataset="bad")


def test_empty_training_split(good):
    write_manifest(good / FOLDER, split=lambda column: column.replace("train", "test"))
    good.dataset("bad", SOURCE)

    refused(good, DataError, "labels.csv", "training split is empty", dataset="bad")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_feature_that_is_no_number(good, value):
    features = np.zeros((40, 3), np.float32)
    features[9, 1] = value
    np.savez(good / FOLDER / "bad.npz", features=features, labels=np.arange(40) % 2)
    good.dataset("bad", {"kind": "npz", "path": f"{FOLDER}/bad.npz"})

    refused(good, DataError, r"bad\.npz", "row 9 holds NaN or infinity", dataset="bad")


def test_features_exchanged_between_the_pipelines(good):
    """A feature store that is not the label table's is noticed, also by the later pipelines."""
    file = good / "data/04_feature/features.npy"
    stored = file.read_bytes()
    features = np.load(file)
    np.save(file, features[::-1])
    try:
        for pipeline in ("estimation", "training"):
            refused(good, DataError, "does not hold this sample", pipelines=[pipeline])
    finally:
        file.write_bytes(stored)


def test_probabilities_of_another_label_table(good):
    """They are joined by position: as many rows, one of them another, and all labels may shift."""
    file = good / "data/01_raw/digits.npz"
    stored = file.read_bytes()
    arrays = dict(np.load(file))
    ids = [f"row-{row:05d}" for row in range(300)]
    ids[1] = "row-99999"  # the first training row becomes the last
    np.savez(file, **arrays, sample_ids=np.array(ids))
    refined = good / "data/07_model_output/refined_noise.json"
    good.run("repair")  # also what the fixture's run left out: ledger, changes
    try:
        good.run("ingestion")
        again = "kedro run --pipelines estimation,training,refinement,repair"
        told = (r"label table \w{32}: the training worked on label table \w{32}", again)
        for pipeline in ("refinement", "repair"):
            refused(good, DataError, *told, pipelines=[pipeline])
        good.run("estimation", "training")
        # The training is new, the second look is still that of the first table.
        refused(good, DataError, "the refinement worked on", pipelines=["repair"])
        # The table that is there was repaired before this training.
        file.write_bytes(stored)
        good.run("ingestion")
        refused(good, DataError, "the training worked on", pipelines=["evaluation"])
        # The second look fits the table, what the method selected is of the other one.
        refused(good, DataError, "the training worked on", pipelines=["repair"])
    finally:
        file.write_bytes(stored)
        good.run(to="evaluate_repair")
    assert "data_hash" in json.loads(refined.read_text())


# -- damaged products of former runs -----------------------------------------------------------


def edited(**changes):
    return lambda file: file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def changed(change):
    return lambda file: np.save(file, change(np.load(file)))


def holding(text):
    return lambda file: file.write_text(text)


@pytest.mark.parametrize(
    ("path", "damage", "pipeline", "kind", "message"),
    [
        ("03_primary/class_names.json", holding("[]"), "estimation", DatasetError, "class names"),
        (
            "03_primary/class_names.json",
            holding('["a", "b"]'),
            "evaluation",
            DataError,
            "class_names: 2 names, but sample 'row-",
        ),
        ("03_primary/input_format.json", holding("null"), "training", DatasetError, "an object"),
        ("03_primary/ingested.json", holding("[]"), "training", DatasetError, "an object"),
        ("05_model_input/noise_estimate.json", holding("[]"), "training", DatasetError, "object"),
        (
            "05_model_input/noise_estimate.json",
            edited(noise_rate=7.0),
            "training",
            DataError,
            r"noise_rate must lie in \[0, 1\], found 7.0",
        ),
        (
            "07_model_output/refined_noise.json",
            edited(noise_rate=7.0),
            "evaluation",
            DataError,
            "noise_rate must lie in",
        ),
        ("07_model_output/refined_noise.json", holding("null"), "repair", DatasetError, "object"),
        ("07_model_output/training_report.json", holding("[]"), "repair", DatasetError, "object"),
        (
            "07_model_output/training_probs.npy",
            changed(lambda probs: probs[:, :2]),
            "refinement",
            DataError,
            "training_probs: expected shape",
        ),
        (
            "07_model_output/refined_probs.npy",
            changed(lambda probs: 5 * probs),
            "repair",
            DataError,
            "refined_probs: row 0 .* expected a sum of 1 .*--pipelines refinement",
        ),
        (
            "07_model_output/training_selected.npy",
            changed(lambda rows: rows[:-1] if rows.size else np.ones(3, bool)),
            "repair",
            DataError,
            "training_selected: expected bool",
        ),
    ],
)
def test_a_damaged_product_of_a_former_run(good, path, damage, pipeline, kind, message):
    file = good / "data" / path
    stored = file.read_bytes()
    damage(file)
    try:
        refused(good, kind, message, pipelines=[pipeline])
    finally:
        file.write_bytes(stored)


# -- another data set, and parameters that nothing reads ----------------------------------------


@pytest.mark.parametrize(
    ("wrong", "meant"), [({"datset": "digits"}, "dataset"), ({"polcy": {"x": 1}}, "policy")]
)
def test_a_runtime_parameter_that_nothing_reads(good, wrong, meant):
    (name,) = wrong
    refused(good, ConfigError, f"--params {name}: no such", f"did you mean '{meant}'", **wrong)


@pytest.mark.parametrize("preset", [None, 5])
def test_a_choice_that_is_no_name(good, preset):
    with pytest.raises(Exception, match="presets: expected a name to choose by, found") as error:
        good.run(preset=preset)
    assert "ConfigError" in repr(error.value.__cause__) + repr(error.value.__context__)


@pytest.mark.parametrize("seed", [-1, 1.5, "abc"])
def test_a_seed_that_is_no_whole_number(good, seed):
    for pipelines in (["estimation"], []):  # of a whole run, before the ingestion has written
        refused(good, ConfigError, "seed: expected a whole", pipelines=pipelines, seed=seed)


def test_a_file_of_trusted_labels_that_is_not_there(good):
    said = r"ingestion\.curated\.path: no file at nowhere\.csv: it does not exist"
    refused(good, DataError, said, **{"ingestion": {"curated": {"path": "nowhere.csv"}}})


def test_a_list_where_parameters_are_a_mapping(good):
    told = "parameters: what --params sets is of another kind .*DictConfig with ListConfig"
    with pytest.raises(ConfigError, match=told):
        good.run(recipe={"options": [1]})


@pytest.mark.parametrize("workspace", [None, "", "  ", {"folder": "x"}])
def test_a_workspace_that_is_no_folder(good, workspace):
    before = set(good.root.iterdir())
    told = f"workspace: expected a folder, found {workspace!r}"
    refused(good, ConfigError, re.escape(told), workspace=workspace)
    assert set(good.root.iterdir()) == before


@pytest.mark.parametrize("folder", [None, 5, "", ["a"]])
def test_checkpoints_in_no_folder(good, folder):
    told = re.escape(f"checkpoints: expected a folder, found {folder!r}")
    refused(good, ConfigError, told, pipelines=["training"], checkpoints=folder)


@pytest.mark.parametrize("name", ["parameters_datasets/small.yml", "parameters_mine.yml"])
def test_a_file_that_is_no_yaml(good, name):
    file = good / "conf/base" / name
    before = file.read_text() if file.exists() else None
    file.write_text("mine: [1, 2\nother: 3\n")
    try:
        done = good.kedro(check=False)
    finally:
        file.unlink() if before is None else file.write_text(before)
    assert done.returncode == 1
    assert "not readable as YAML" in done.stderr
    assert file.name in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr + done.stdout


def test_a_part_of_a_data_set(good):
    told = (
        r"parameters: \S+: Interpolation key 'data\.\w+' not found",
        r"--params datasets replaces a whole entry: .*ingestion\.noise",
    )
    part = {"mnist": {"noise": {"seed": 9}}}
    refused(good, ConfigError, *told, dataset="mnist", datasets=part)


def test_a_reference_to_a_parameter_that_is_not_there(good):
    file = good / "conf/base/parameters_mine.yml"
    file.write_text("mine: ${datas.probe}\n")
    try:
        refused(good, ConfigError, r"parameters: mine: .*'datas\.probe' not found; define it")
    finally:
        file.unlink()


def test_an_error_of_ours_ends_the_command_with_its_message_alone(good):
    done = good.kedro("--params", "preset=smal", check=False)
    assert done.returncode == 1
    assert "Error: unknown name 'smal' under 'presets'; did you mean 'small'" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_an_error_of_a_hook_before_the_run_does_so_too(good):
    done = good.kedro("--params", "presett=x", check=False)
    assert done.returncode == 1
    assert done.stderr.count("Error: --params presett: no such parameter; did you mean") == 1
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("pipelines", [["repair"], ["estimation", "training"], ["report"]])
def test_a_run_on_the_table_of_another_data_set(good, pipelines):
    told = ("'digits' is chosen, but the label table is that of 'small'", "--params dataset=small")
    refused(good, ConfigError, *told, pipelines=pipelines, dataset="digits")


def test_another_data_set_in_the_place_of_one_that_people_have_decided_about(good):
    file = good / "data/03_primary/human_decisions.csv"
    stored = file.read_text()
    columns = stored.strip().split(",")
    table = pd.read_parquet(good / "data/03_primary/label_table.parquet")
    made = {"sample_id": table["sample_id"].iloc[0], "decision": "keep"}
    file.write_text(stored + ",".join(made.get(column, "") for column in columns) + "\n")
    try:
        told = ("people have made 1 decisions about 'small' here", "workspace=FOLDER")
        refused(good, ConfigError, *told, dataset="digits")
    finally:
        file.write_text(stored)


@pytest.mark.parametrize(("sample", "stops"), [("a", True), ("x", False)])
def test_decisions_about_samples_that_are_not_there_do_not_keep_their_data_set_out(sample, stops):
    """Another set's ingestion, refused for them, has put its table in the place of theirs."""
    catalog = DataCatalog.from_config({})
    for name, held in {
        "ingested": {"dataset": "digits"},
        "params:dataset": "mine",
        "human_decisions": pd.DataFrame({"sample_id": [sample]}),
        "label_table": pd.DataFrame({"sample_id": ["a", "b"]}),
    }.items():
        catalog[name] = MemoryDataset(held)
    outputs = ["label_table", "ingested"]
    made = Pipeline([Node(lambda x: (x, x), "params:dataset", outputs, name="read")])
    if stops:
        with pytest.raises(ConfigError, match="people have made 1 decisions about 'digits'"):
            DatasetHook().before_pipeline_run(made, catalog)
    else:
        DatasetHook().before_pipeline_run(made, catalog)


# -- parameters: refused before anything runs -------------------------------------------------

SUMS_TO_TWO = [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
TRANSPOSED = [[0.9, 0.2, 0.0], [0.1, 0.8, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("params", "kind", "messages"),
    [
        (
            {"recipe": {"method": "jocr"}},
            ConfigError,
            ["unknown method 'jocr'", "did you mean 'jocor'"],
        ),
        (
            {"recipe": {"options": {"co_lamda": 0.9}}},
            ConfigError,
            [r"recipe\.options\.co_lamda: unknown option", "did you mean 'co_lambda'"],
        ),
        (
            {"recipe": {"training": {"batchsize": 8}}},
            ConfigError,
            [r"recipe\.training\.batchsize: unknown option", "did you mean 'batch_size'"],
        ),
        (
            {"recipe": {"options": {"noise_rate": 1.2}}},
            ConfigError,
            [r"recipe\.options\.noise_rate", r"\[0, 1\]", r"1\.2"],
        ),
        (
            {"ingestion": {"noise": {"rate": 1.5}}},
            ConfigError,
            [r"ingestion\.noise\.rate: must lie in \[0, 1\], found 1.5"],
        ),
        ({"ingestion": {"noise": {"rate": -0.1}}}, ConfigError, [r"ingestion\.noise\.rate"]),
        (
            {"ingestion": {"noise": {"kind": "symetric"}}},
            ConfigError,
            [r"ingestion\.noise\.kind", "did you mean 'symmetric'"],
        ),
        (
            {"ingestion": {"noise": {"kind": "transition", "rate": 0, "transition": SUMS_TO_TWO}}},
            TransitionError,
            [r"ingestion\.noise\.transition: every row must sum to 1", "row 0", "sum 2"],
        ),
        (
            {"estimation": {"estimator": {"method": "given", "transition": TRANSPOSED}}},
            TransitionError,
            [r"estimation\.transition: every row must sum to 1", "may be the transpose"],
        ),
        (
            {"estimation": {"estimator": {"method": "ancor"}}},
            ConfigError,
            [r"estimation\.estimator\.method", "did you mean 'anchor'"],
        ),
        (
            {"estimation": {"estimator": {"bootstrap": 10**7}}},
            ConfigError,
            [r"estimation\.estimator\.bootstrap: must lie in \[2, 10000\]"],
        ),
        (
            {"refinement": {"rounds": 10**9}},
            ConfigError,
            [r"refinement\.rounds: must lie in \[0, 20\]"],
        ),
        (
            {"recipe": {"training": {"augment": {"crop": 10**6}}}},
            ConfigError,
            [r"recipe\.training\.augment\.crop: must lie in \[0, 512\]"],
        ),
        (
            {"ingestion": {"storage": {"unfinished": "/dev/full"}}},
            ConfigError,
            [r"ingestion\.storage\.unfinished: expected a folder, but /dev/full is none"],
        ),
        (
            {"ingestion": {"source": {"image_size": [10**5, 10**5]}}},
            ConfigError,
            [r"ingestion\.source\.image_size: "],
        ),
        ({"estimation": {"probe": {"folds": 1}}}, ConfigError, [r"estimation\.probe\.folds"]),
        ({"ingestion": {"split": {"test_fraction": 2}}}, ConfigError, ["test_fraction"]),
        (
            {"ingestion": {"source": {"kind": "manifset"}}},
            ConfigError,
            [r"ingestion\.source\.kind", "did you mean 'manifest'"],
        ),
        ({"ingestion": {"curated": {"count": -1}}}, ConfigError, [r"ingestion\.curated\.count"]),
        (
            {"policy": {"class_flor": 0.5}},
            ConfigError,
            [r"policy\.class_flor: unknown option", "did you mean 'class_floor'"],
        ),
        ({"policy": {"review_budget": 2.0}}, ConfigError, [r"policy\.review_budget", r"\[0, 1\]"]),
        ({"scoring": {"calibrate": "yes"}}, ConfigError, [r"scoring\.calibrate"]),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_wrong_parameter(good, params, kind, messages):
    runs = len(good.mlflow_runs())

    refused(good, kind, *messages, **params)

    assert len(good.mlflow_runs()) == runs  # not even a run is opened


def test_a_pipeline_alone_checks_its_own_parameters_only(good):
    refused(good, ConfigError, "class_flor", pipelines=["repair"], policy={"class_flor": 1})

    before = good.data()
    good.run("estimation", policy={"class_flor": 1})
    assert good.data() == before  # the same estimate again


def test_singular_matrix_for_backward(make_project, small_training, tmp_path):
    project = make_project(tmp_path)
    third = [[1 / 3] * 3] * 3
    project.edit(
        "conf/base/parameters_estimation.yml",
        "estimation",
        "estimator",
        method="given",
        transition=third,
    )
    options = {"direction": "backward", "transition": "given", "keep": "last"}
    project.preset("backward", "loss_correction", small_training(epochs=2), **options)
    project.run("ingestion", "estimation")

    refused(
        project,
        TransitionError,
        "condition number",
        "cannot be inverted",
        "forward",
        pipelines=["training", "refinement", "repair", "evaluation"],
        preset="backward",
    )
    assert project.mlflow_runs()[0].info.status == "FAILED"
