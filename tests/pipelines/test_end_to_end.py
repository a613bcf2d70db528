"""The whole chain in a copy of the project."""

import json
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from labelrepair.label_table import INGESTED_COLUMNS, REASON, REPAIR_COLUMNS, data_hash
from labelrepair.networks.classifier import Classifier
from labelrepair.schemas import LabelTable, RepairedTable

REPAIRED = "data/07_model_output/repaired_labels.parquet"
METRICS = "data/08_reporting/metrics.json"
REPORT = "data/08_reporting/report.html"
PLOTS = {
    "class_health",
    "confusion",
    "label_precision",
    "precision_recall",
    "quality_histogram",
    "recovery",
    "training_curves",
    "transition",
}
TRUTH_METRICS = {
    "labels.given_accuracy",
    "labels.repaired_accuracy",
    "noise.rate_actual",
    "noise.transition_mean_absolute_error",
    "recovery.accuracy",
    "selection.precision_last",
    "selection.recall_last",
    "detect.precision",
    "detect.recall",
    "detect.average_precision",
}
METRIC_KEYS = {
    "noise.rate_estimated",
    "noise.rate_low",
    "noise.rate_high",
    "labels.rows",
    "labels.kept_share",
    "counts.keep",
    "counts.relabel",
    "counts.drop",
    "counts.review",
    "counts.issues",
    "test.accuracy_last",
    "test.accuracy_last10",
}
EPOCHS = 10  # 200 times the budget of 0.05


@pytest.fixture(scope="module")
def digits(make_project, tmp_path_factory):
    """Run the embedded default once: all 1,797 digits, small budget."""
    project = make_project(tmp_path_factory.mktemp("digits_run"))
    printed = project.run(dataset="digits", preset="jocor_digits")
    client, runs = project.mlflow_client(), project.mlflow_runs()
    return SimpleNamespace(project=project, printed=printed, client=client, runs=runs)


# -- files ------------------------------------------------------------------------------------


def test_every_file_is_written(digits):
    written = {path for path in digits.project.data() if not path.endswith(".gitkeep")}

    expected = {
        "data/.run.lock",
        "data/01_raw/digits.npz",
        "data/02_intermediate/source_table.parquet",
        "data/03_primary/class_names.json",
        "data/03_primary/curated_labels.parquet",
        "data/03_primary/human_decisions.csv",
        "data/03_primary/ingested.json",
        "data/03_primary/injected_noise.json",
        "data/03_primary/input_format.json",
        "data/03_primary/label_table.parquet",
        "data/03_primary/true_labels.parquet",
        "data/04_feature/features.npy",
        "data/05_model_input/noise_estimate.json",
        "data/05_model_input/probe_probs.npy",
        "data/06_models/model.pt",
        "data/07_model_output/.label_ledger.parquet.lock",
        "data/07_model_output/label_changes.csv",
        "data/07_model_output/label_ledger.parquet",
        "data/07_model_output/policy.json",
        "data/07_model_output/refined_noise.json",
        "data/07_model_output/refined_probs.npy",
        "data/07_model_output/training_history.csv",
        "data/07_model_output/training_probs.npy",
        "data/07_model_output/training_report.json",
        "data/07_model_output/training_selected.npy",
        "data/07_model_output/training_used.npy",
        REPORT,
        "data/08_reporting/metrics_made_from.json",
        "data/08_reporting/summary.txt",
        REPAIRED,
        METRICS,
    }
    expected |= {f"data/08_reporting/plots/{name}.png" for name in PLOTS}
    expected |= {f"data/08_reporting/plot_data/{name}.csv" for name in PLOTS}
    pictures = {path for path in written if path.startswith("data/08_reporting/report_pictures/")}
    names = {Path(path).stem for path in pictures}
    assert {"flows", "confidence", "gallery_relabels", "before_true_to_given_labels"} <= names
    assert written - pictures == expected


def test_label_table(digits):
    table = pd.read_parquet(digits.project / "data/03_primary/label_table.parquet")
    LabelTable.validate(table)
    truth = pd.read_parquet(digits.project / "data/03_primary/true_labels.parquet")
    source = pd.read_parquet(digits.project / "data/02_intermediate/source_table.parquet")
    record = json.loads((digits.project / "data/03_primary/injected_noise.json").read_text())

    test = table["split"] == "test"
    assert len(table) == 1797
    assert table["sample_id"].is_monotonic_increasing
    assert test.mean() == pytest.approx(0.2, abs=0.001)
    assert (table["given_label"] == truth["true_label"])[test].all()
    assert source["given_label"].tolist() == load_digits().target.tolist()
    wrong = (table["given_label"] != truth["true_label"])[~test]
    assert wrong.mean() == record["actual_rate"] == pytest.approx(0.4, abs=0.03)
    # Row r of the feature store is row r of the table.
    images = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)[:, None]
    np.testing.assert_array_equal(np.load(digits.project / "data/04_feature/features.npy"), images)


def test_repaired_table(digits):
    table = pd.read_parquet(digits.project / "data/03_primary/label_table.parquet")
    repaired = pd.read_parquet(digits.project / REPAIRED)
    RepairedTable.validate(repaired)

    pd.testing.assert_frame_equal(repaired[list(INGESTED_COLUMNS)], table)
    assert [*REPAIR_COLUMNS, "is_label_issue", REASON] == [
        name for name in [*REPAIR_COLUMNS, "is_label_issue", REASON] if name in repaired
    ]
    test = repaired["split"] == "test"
    added = repaired.drop(columns=list(INGESTED_COLUMNS))
    assert added[test].isna().all(axis=None)
    assert added.drop(columns="repaired_label")[~test].notna().all(axis=None)
    assert set(repaired["action"].dropna()) <= {"keep", "relabel", "drop", "review"}
    removed = repaired["action"].isin(["drop", "review"])
    assert (repaired["repaired_label"].isna() == (removed | test)).all()


def test_metrics(digits):
    metrics = json.loads((digits.project / METRICS).read_text())
    repaired = pd.read_parquet(digits.project / REPAIRED)
    truth = pd.read_parquet(digits.project / "data/03_primary/true_labels.parquet")

    assert metrics.keys() >= METRIC_KEYS | TRUTH_METRICS
    assert all(value is None or isinstance(value, int | float) for value in metrics.values())
    # Against a computation of its own.
    rows = repaired.merge(truth, on="sample_id")
    rows = rows[rows["split"] != "test"]
    assert metrics["labels.rows"] == len(rows) == 1438
    right = rows["repaired_label"] == rows["true_label"]
    kept = rows["repaired_label"].notna()
    assert metrics["labels.repaired_accuracy"] == pytest.approx(right[kept].mean())
    assert metrics["labels.kept_share"] == pytest.approx(kept.mean())
    actual = (rows["given_label"] != rows["true_label"]).mean()
    assert metrics["noise.rate_actual"] == pytest.approx(actual)
    for action in ("keep", "relabel", "drop", "review"):
        assert metrics[f"counts.{action}"] == (rows["action"] == action).sum()


def test_json_files_are_json(digits):
    """NaN is not JSON: MLflow's page, DVC and browsers refuse it."""

    def refuse(name):
        raise ValueError(name)

    files = [path for path in digits.project.data() if path.endswith(".json")]
    assert len(files) >= 5
    for path in files:
        json.loads((digits.project / path).read_text(), parse_constant=refuse)


def test_history_has_a_row_per_epoch(digits):
    history = pd.read_csv(digits.project / "data/07_model_output/training_history.csv")
    used = np.load(digits.project / "data/07_model_output/training_used.npy")

    assert history["epoch"].tolist() == list(range(EPOCHS))
    assert used.shape == (EPOCHS, 2, -(-1438 // 8))
    assert "seconds" not in history  # differs between runs


def test_plots_are_pictures_with_data(digits):
    for name in PLOTS:
        with Image.open(digits.project / f"data/08_reporting/plots/{name}.png") as image:
            assert image.format == "PNG"
            assert min(image.size) > 200
        assert len(pd.read_csv(digits.project / f"data/08_reporting/plot_data/{name}.csv")) > 0


def test_summary_is_printed(digits):
    saved = (digits.project / "data/08_reporting/summary.txt").read_text()
    metrics = json.loads((digits.project / METRICS).read_text())

    assert saved in digits.printed
    for text in (
        "given labels",
        "repaired labels",
        "noise rate, estimated",
        "noise rate, actual",
        "flagged as wrong",
        "relabelled",
        "dropped",
        "test accuracy",
        REPAIRED,
        "data/08_reporting/plots",
        REPORT,
        f"{100 * metrics['labels.repaired_accuracy']:.1f} %",
    ):
        assert text in saved, text
    assert digits.runs[0].info.run_id in digits.printed


def test_no_checkpoint_is_left(digits):
    assert not list((digits.project / "data/06_models").glob("checkpoints/*"))


def test_model_file_is_as_readable_as_the_others(digits):
    mode = (digits.project / METRICS).stat().st_mode
    assert (digits.project / "data/06_models/model.pt").stat().st_mode == mode


# -- MLflow -----------------------------------------------------------------------------------


def test_one_kedro_run_is_one_mlflow_run(digits):
    (run,) = digits.runs

    assert run.info.status == "FINISHED"
    assert mlflow.active_run() is None


def test_mlflow_parameters_are_flat(digits):
    parameters = digits.runs[0].data.params

    assert parameters["recipe.options.co_lambda"] == "0.95"
    assert parameters["recipe.training.budget"] == "0.05"
    assert parameters["recipe.training.optimizer.name"] == "adam"
    assert parameters["ingestion.noise.rate"] == "0.4"
    assert parameters["estimation.estimator.method"] == "confident_joint"
    assert parameters["policy.relabel_confidence"] == "0.7"
    assert parameters["seed"] == "0"
    assert not any(value.startswith("{") and value != "{}" for value in parameters.values())


def test_mlflow_curves_have_a_point_per_epoch(digits):
    history = pd.read_csv(digits.project / "data/07_model_output/training_history.csv")
    run = digits.runs[0].info.run_id

    for name in ("loss", "test_accuracy", "lr", "used_share"):
        points = digits.client.get_metric_history(run, f"epoch.{name}")
        assert [point.step for point in points] == list(range(EPOCHS))
        values = [point.value for point in points]
        assert values == pytest.approx(history[name].tolist())
    assert len(digits.client.get_metric_history(run, "epoch.selection_precision")) == EPOCHS


def test_mlflow_metrics(digits):
    metrics = json.loads((digits.project / METRICS).read_text())
    logged = digits.runs[0].data.metrics

    for name, value in metrics.items():
        if value is not None:
            assert logged[name] == pytest.approx(value)


def test_mlflow_artifacts(digits):
    run = digits.runs[0]
    with digits.project.active():
        names = [item.path for item in digits.client.list_artifacts(run.info.run_id)]
        plots = [item.path for item in digits.client.list_artifacts(run.info.run_id, "plots")]
        table = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id,
            artifact_path="repaired_labels.parquet",
            tracking_uri=f"sqlite:///{digits.project / 'mlflow.db'}",
        )
        content = Path(table).read_bytes()
    assert {"repaired_labels.parquet", "metrics.json", "noise_estimate.json", "plots"} <= set(names)
    assert "report.html" in names
    assert set(plots) == {f"plots/{name}.png" for name in PLOTS}
    assert content == (digits.project / REPAIRED).read_bytes()


def test_mlflow_tags_say_where_the_run_comes_from(digits):
    tags = digits.runs[0].data.tags
    table = pd.read_parquet(digits.project / "data/03_primary/label_table.parquet")
    revision = digits.project.command("git", "rev-parse", "HEAD").stdout.strip()

    assert tags["labelrepair.git_revision"] == revision
    assert tags["labelrepair.git_dirty"] == "False"
    assert tags["labelrepair.data_hash"] == data_hash(table)
    assert tags["labelrepair.dvc_lock_md5"] == "none"
    assert tags["labelrepair.device"] in ("cpu", "cuda")
    assert tags["labelrepair.torch"] == torch.__version__


def test_the_logged_model_predicts_like_the_local_one(digits):
    with digits.project.active():
        mlflow.set_tracking_uri(f"sqlite:///{digits.project / 'mlflow.db'}")
        logged = mlflow.pytorch.load_model(f"runs:/{digits.runs[0].info.run_id}/model")
    state = torch.load(digits.project / "data/06_models/model.pt", weights_only=True)
    local = Classifier.from_state(state)
    features = torch.from_numpy(np.load(digits.project / "data/04_feature/features.npy"))
    probs = np.load(digits.project / "data/07_model_output/training_probs.npy")
    table = pd.read_parquet(digits.project / "data/03_primary/label_table.parquet")

    assert state["class_names"] == [str(digit) for digit in range(10)]
    for size in (1, 2, 5):
        with torch.no_grad():
            found, expected = logged(features[:size]), local(features[:size])
        assert found.shape == (size, 10)
        torch.testing.assert_close(found, expected)
    with torch.no_grad():
        trained = features[torch.from_numpy((table["split"] != "test").to_numpy())]
        torch.testing.assert_close(local(trained), torch.from_numpy(probs))


def test_the_report_says_what_the_run_found(digits):
    page = (digits.project / REPORT).read_text("utf-8")
    metrics = json.loads((digits.project / METRICS).read_text())
    table = pd.read_parquet(digits.project / "data/03_primary/label_table.parquet")

    for text in (
        f"{metrics['counts.relabel']:,} of {metrics['labels.rows']:,} labels changed</title>",
        f"{100 * metrics['labels.repaired_accuracy']:.1f} %",
        f"{100 * metrics['noise.rate_low']:.1f} % to {100 * metrics['noise.rate_high']:.1f} %",
        digits.runs[0].info.run_id,
        digits.runs[0].data.tags["labelrepair.git_revision"],
        data_hash(table),
        "data:image/png;base64,",
    ):
        assert text in page, text


# -- again ------------------------------------------------------------------------------------


def results(project) -> dict[str, bytes]:
    names = (
        REPAIRED,
        METRICS,
        "data/05_model_input/noise_estimate.json",
        "data/06_models/model.pt",
        "data/07_model_output/refined_noise.json",
        "data/07_model_output/refined_probs.npy",
        "data/07_model_output/training_probs.npy",
        "data/07_model_output/training_history.csv",
        "data/07_model_output/training_used.npy",
    )
    return {name: (project / name).read_bytes() for name in names}


def test_same_seed_same_bytes_in_another_place(make_project, tmp_path):
    projects = [make_project(tmp_path / name) for name in ("a", "b")]
    torch.manual_seed(1)  # global generators must not matter
    np.random.seed(1)  # noqa: NPY002
    projects[0].run(to="evaluate_repair")
    projects[1].kedro("--to-nodes", "evaluate_repair")  # a process of its own
    first, second = map(results, projects)
    assert [name for name in first if first[name] != second[name]] == []

    for pipeline in ("ingestion", "estimation", "training", "repair"):
        projects[1].run(pipeline)  # one by one, through files
    projects[1].run("evaluation", to="evaluate_repair")
    assert results(projects[1]) == first

    projects[1].run(to="evaluate_repair", seed=1)
    other = results(projects[1])
    assert [name for name in first if first[name] == other[name]] == []


def test_two_runs_in_one_process_are_two_mlflow_runs(project):
    project.run("ingestion")
    (project / "conf/base/globals.yml").write_text(
        (project / "conf/base/globals.yml").read_text() + "\n# touched\n"
    )
    project.run("ingestion")

    runs = project.mlflow_runs()
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert [run.data.tags["labelrepair.git_dirty"] for run in runs] == ["True", "False"]


# -- other data -------------------------------------------------------------------------------


def test_own_noisy_images_without_truth(project):
    """A manifest of image files with wrong labels that nobody knows the truth of."""
    draws = np.random.default_rng(0)
    bunch = load_digits(n_class=3)
    folder = project / "data/01_raw/mine"
    (folder / "images").mkdir(parents=True)
    rows = []
    for row in range(150):
        pixels = np.rint(bunch.images[row] * (255 / 16)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{row}.png")
        wrong = draws.random() < 0.2
        label = (bunch.target[row] + wrong) % 3
        rows.append((f"{row:04d}", f"images/{row}.png", ["zero", "one", "two"][label]))
    manifest = pd.DataFrame(rows, columns=["sample_id", "path", "label"])
    manifest.to_csv(folder / "labels.csv", index=False)
    source = {"kind": "manifest", "path": "data/01_raw/mine/labels.csv", "mode": "L"}
    project.run()  # results of data with truth, which must not linger
    project.dataset("mine", source)

    printed = project.run(dataset="mine")

    metrics = json.loads((project / METRICS).read_text())
    assert not metrics.keys() & TRUTH_METRICS
    assert metrics.keys() >= METRIC_KEYS
    assert "true labels" in printed
    assert "unknown" in printed
    repaired = pd.read_parquet(project / REPAIRED)
    assert repaired["sample_id"].tolist() == manifest["sample_id"].tolist()
    assert (repaired["split"] == "test").sum() == 30
    names = json.loads((project / "data/03_primary/class_names.json").read_text())
    assert names == ["one", "two", "zero"]
    given = [names.index(label) for label in manifest["label"]]
    assert repaired["given_label"].tolist() == given
    assert len(pd.read_parquet(project / "data/03_primary/true_labels.parquet")) == 0
    reporting = project / "data/08_reporting"
    pictures = {file.stem for file in (reporting / "plots").glob("*.png")}
    assert pictures == {file.stem for file in (reporting / "plot_data").glob("*.csv")}
    assert pictures < PLOTS
    page = (project / REPORT).read_text("utf-8")
    assert "True labels are not known" in page
    assert "Precision and recall need true labels" in page
    assert "recovery" not in pictures


def test_text(project):
    """Reviews in the Hugging Face layout, through word embeddings."""
    draws = np.random.default_rng(0)
    words = (["dull", "weak", "boring"], ["grand", "lovely", "moving"])
    folder = project / "data/01_raw/reviews"
    folder.mkdir()
    for split, count in (("train", 120), ("test", 40)):
        labels = np.arange(count) % 2
        texts = [" ".join(draws.choice(words[label], 5)) + " film" for label in labels]
        texts[0] = f"zymurgy {texts[0]} {texts[0]}"  # too long: its first word is cut off
        frame = pd.DataFrame({"text": texts, "label": labels})
        frame.to_parquet(folder / f"{split}-0.parquet", index=False)
    files = {split: f"data/01_raw/reviews/{split}-*.parquet" for split in ("train", "test")}
    source = {"kind": "huggingface", "files": files, "vocabulary_size": 50, "length": 8}
    network = {"name": "embedding"}
    project.dataset(
        "reviews",
        source | {"labels_are_true": True},
        {"kind": "binary_text", "rate": 0.2, "seed": 3},
        network=network,
    )
    training = {"schedule": {"epochs": 15, "lr": 0.01}, "batch_size": 16, "threads": 1}
    project.preset("text", "cross_entropy", training | {"network": network})

    project.run(dataset="reviews", preset="text", to="evaluate_repair")

    metrics = json.loads((project / METRICS).read_text())
    features = np.load(project / "data/04_feature/features.npy")
    assert features.dtype == np.int32
    vocabulary = json.loads((project / "data/03_primary/input_format.json").read_text())[
        "vocabulary"
    ]
    state = torch.load(project / "data/06_models/model.pt", weights_only=True)
    assert vocabulary[features.max() + 1 :] == ["zymurgy"]
    assert state["spec"]["options"]["vocabulary_size"] == len(vocabulary)
    assert metrics["test.accuracy_last"] > 0.9
    assert metrics["labels.rows"] == 120
    assert not np.load(project / "data/07_model_output/training_selected.npy").size


@pytest.mark.parametrize(
    "noise",
    [{"kind": "instance_dependent", "rate": 0.3, "seed": 2}, {"kind": "pseudo_label"}],
    ids=lambda noise: noise["kind"],
)
def test_noise_of_the_features(project, noise):
    project.dataset(
        "odd", {"kind": "npz", "path": "data/01_raw/digits.npz", "labels_are_true": True}, noise
    )
    project.run("ingestion", dataset="odd")

    record = json.loads((project / "data/03_primary/injected_noise.json").read_text())
    table = pd.read_parquet(project / "data/03_primary/label_table.parquet")
    truth = pd.read_parquet(project / "data/03_primary/true_labels.parquet")["true_label"]
    wrong = (table["given_label"] != truth)[table["split"] != "test"].mean()
    assert record["kind"] == noise["kind"]
    assert record["actual_rate"] == pytest.approx(wrong)
    assert 0 < wrong < 0.4
    assert np.sum(record["transition"]) == pytest.approx(3)


def test_samples_of_no_class(project):
    """Pictures of nothing among the digits: known to evaluation, and to nothing before it."""
    pixels = np.random.default_rng(0).integers(256, size=(100, 1, 8, 8), dtype=np.uint8)
    np.savez(project / "data/01_raw/snow.npz", features=pixels, labels=np.arange(100) % 2)
    base = {"kind": "npz", "path": "data/01_raw/digits.npz", "labels_are_true": True}
    other = {"kind": "npz", "path": "data/01_raw/snow.npz"}
    source = {"kind": "open_set", "base": base, "other": other, "rate": 0.25, "seed": 1}
    project.dataset("snowy", source, {"kind": "symmetric", "rate": 0.2, "seed": 3})

    project.run(dataset="snowy", to="evaluate_repair")

    metrics = json.loads((project / METRICS).read_text())
    assert metrics["open_set.rows"] == 60
    assert 0 <= metrics["open_set.removed"] <= 1
    assert metrics["noise.rate_actual"] == pytest.approx(0.25 + 0.75 * 0.2, abs=0.06)
    assert metrics["labels.given_accuracy"] == pytest.approx(1 - metrics["noise.rate_actual"])
    truth = pd.read_parquet(project / "data/03_primary/true_labels.parquet")["true_label"]
    assert (truth == -2).sum() == 60
    table = pd.read_parquet(project / REPAIRED)
    assert "true_label" not in table
    assert table["given_label"].between(0, 2).all()


# -- estimators -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ingested(make_project, tmp_path_factory):
    project = make_project(tmp_path_factory.mktemp("estimators"))
    project.run("ingestion", ingestion={"curated": {"count": 60}})
    return project


GIVEN = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9]]


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "confident_joint"},
        {"method": "anchor", "quantile": 0.9},
        {"method": "anchor", "quantile": None},
        {"method": "curated", "smoothing": 1.0},
        {"method": "given", "transition": GIVEN},
        {"method": "cleanlab"},
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values())[:20],
)
def test_estimators(ingested, settings):
    if settings["method"] == "cleanlab":
        pytest.importorskip("cleanlab")

    ingested.run("estimation", estimation={"estimator": settings})

    found = json.loads((ingested / "data/05_model_input/noise_estimate.json").read_text())
    transition = np.array(found["transition"])
    assert found["method"] == settings["method"]
    np.testing.assert_allclose(transition.sum(axis=1), 1)
    assert transition.shape == (3, 3)
    assert found["interval"][0] <= found["noise_rate"] + 0.1
    assert found["interval"][1] >= found["noise_rate"] - 0.1
    if settings["method"] == "given":
        np.testing.assert_allclose(transition, GIVEN)
    else:
        assert abs(found["noise_rate"] - 0.3) < 0.2
    if settings["method"] == "curated":
        curated = pd.read_parquet(ingested / "data/03_primary/curated_labels.parquet")
        table = pd.read_parquet(ingested / "data/03_primary/label_table.parquet")
        assert len(curated) == 60
        pairs = curated.merge(table)
        assert set(pairs["split"]) == {"train"}
        counts = np.ones((3, 3))
        np.add.at(counts, (pairs["true_label"], pairs["given_label"]), 1)
        np.testing.assert_allclose(transition, counts / counts.sum(axis=1, keepdims=True))


def test_trusted_labels_from_a_file(ingested, tmp_path):
    truth = pd.read_parquet(ingested / "data/03_primary/true_labels.parquet")
    file = tmp_path / "trusted.csv"
    truth.iloc[5:45].sample(frac=1, random_state=0).to_csv(file, index=False)

    curated = {"path": str(file)}
    ingested.run(
        "ingestion",
        "estimation",
        ingestion={"curated": curated},
        estimation={"estimator": {"method": "curated", "smoothing": 1.0}},
    )

    found = pd.read_parquet(ingested / "data/03_primary/curated_labels.parquet")
    pd.testing.assert_frame_equal(found, truth.iloc[5:45].reset_index(drop=True))
