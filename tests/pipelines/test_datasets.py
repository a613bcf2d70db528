"""Kedro datasets, catalog schemas and hooks."""

import os
import pickle
import zipfile
from collections import OrderedDict

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Node, Pipeline
from pandera.errors import SchemaError, SchemaErrors

from labelrepair import hooks
from labelrepair.data.store import write_features
from labelrepair.errors import ConfigError, DataError
from labelrepair.io import ArrayDataset, CheckedJSONDataset, TorchStateDataset, WholeFile
from labelrepair.label_table import make_label_table
from labelrepair.networks.classifier import Classifier, Normalizer, build_from_spec, classifier_spec
from labelrepair.schemas import LabelTable, RepairedTable, TrueLabels
from labelrepair.tracking import (
    MlflowClassifierDataset,
    MlflowCurvesDataset,
    MlflowMetricsDataset,
)


class Failing:
    """Breaks in the middle of being pickled, as a full disk breaks a write."""

    def __reduce__(self):
        raise OSError("no space left on device")


class Code:
    """Would run a command where a pickle is trusted."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


# -- arrays -----------------------------------------------------------------------------------


def test_array_is_read_as_a_memory_map(tmp_path):
    dataset = ArrayDataset(filepath=str(tmp_path / "new/array.npy"))
    assert not dataset.exists()

    dataset.save(np.arange(6).reshape(2, 3))

    loaded = dataset.load()
    assert isinstance(loaded, np.memmap)
    assert not loaded.flags.writeable
    assert loaded.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert dataset.exists()
    assert not isinstance(
        ArrayDataset(filepath=str(tmp_path / "new/array.npy"), mmap=False).load(), np.memmap
    )


def test_empty_array(tmp_path):
    """What a method that does not select leaves."""
    dataset = ArrayDataset(filepath=str(tmp_path / "array.npy"))

    dataset.save(np.empty(0, dtype=bool))

    assert dataset.load().shape == (0,)


def test_array_with_objects_is_refused(tmp_path):
    dataset = ArrayDataset(filepath=str(tmp_path / "array.npy"))
    dataset.save(np.ones(2))

    with pytest.raises(DatasetError, match="refusing to pickle"):
        dataset.save(np.array([{"a": 1}], dtype=object))
    assert dataset.load().tolist() == [1, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["array.npy"]


def test_pickled_array_is_not_loaded(tmp_path):
    file = tmp_path / "array.npy"
    np.save(file, np.array([Code(tmp_path / "ran")], dtype=object), allow_pickle=True)

    with pytest.raises((DatasetError, DataError), match=r"array\.npy"):
        ArrayDataset(filepath=str(file)).load()
    assert not (tmp_path / "ran").exists()


def test_missing_array_says_what_to_do(tmp_path):
    with pytest.raises(DatasetError, match="no such file; run the pipeline that writes it"):
        ArrayDataset(filepath=str(tmp_path / "array.npy")).load()
    table = WholeFile(filepath=str(tmp_path / "x.parquet"), dataset="pandas.ParquetDataset")
    with pytest.raises(DatasetError, match=r"x\.parquet: no such file; run the pipeline that wri"):
        table.load()


def test_a_broken_write_leaves_the_old_array(tmp_path, monkeypatch):
    file = tmp_path / "array.npy"
    write_features(file, np.ones(3))

    def broken(stream, *_, **__):
        stream.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", broken)
    with pytest.raises(OSError, match="no space"):
        write_features(file, np.zeros(3))
    monkeypatch.undo()
    assert np.load(file).tolist() == [1, 1, 1]
    assert [found.name for found in tmp_path.iterdir()] == ["array.npy"]


# -- torch files ------------------------------------------------------------------------------


def test_state(tmp_path):
    dataset = TorchStateDataset(filepath=str(tmp_path / "new/model.pt"))
    state = {"spec": {"name": "mlp"}, "weights": OrderedDict(a=torch.ones(2)), "names": ["x"]}

    dataset.save(state)

    loaded = dataset.load()
    assert loaded["spec"] == {"name": "mlp"}
    assert loaded["names"] == ["x"]
    torch.testing.assert_close(loaded["weights"]["a"], torch.ones(2))
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "new/model.pt").stat().st_mode == plain.stat().st_mode


def test_a_broken_write_leaves_the_old_state(tmp_path):
    dataset = TorchStateDataset(filepath=str(tmp_path / "model.pt"))
    dataset.save({"a": torch.ones(2)})

    with pytest.raises(DatasetError, match="no space left"):
        dataset.save({"a": torch.zeros(2), "b": Failing()})

    assert dataset.load()["a"].tolist() == [1, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


def test_a_compressed_state_is_refused(tmp_path):
    """Megabytes of it would become gigabytes."""
    dataset = TorchStateDataset(filepath=str(tmp_path / "model.pt"), keys=["spec"])
    dataset.save({"spec": torch.zeros(1000)})
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "model.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)

    with pytest.raises(DatasetError, match=r"is compressed, expected what torch\.save writes"):
        dataset.load()


@pytest.mark.parametrize("write", [torch.save, lambda x, f: f.write_bytes(pickle.dumps(x))])
def test_state_with_code_is_not_run(tmp_path, write):
    file = tmp_path / "model.pt"
    write(Code(tmp_path / "ran"), file)

    with pytest.raises(DatasetError):
        TorchStateDataset(filepath=str(file)).load()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{"a": 1}, {"spec": {}}, [1, 2]])
def test_a_state_without_what_the_catalog_says_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    dataset = TorchStateDataset(filepath=str(tmp_path / "model.pt"), keys=["spec", "weights"])
    with pytest.raises(DatasetError, match=r"model\.pt: expected spec, weights, found .* again"):
        dataset.load()


@pytest.mark.parametrize(
    ("holds", "content", "expected"),
    [
        ("object", "null", "an object, found null"),
        ("object", "[]", r"an object, found \[\]"),
        ("object", '"text"', "an object"),
        ("names", "[]", "two or more distinct class names, found"),
        ("names", '["cat"]', "two or more"),
        ("names", '["cat", "dog", "cat"]', "distinct class names"),
        ("names", '["cat", " "]', "class names"),
        ("names", '["cat", 1]', "class names"),
        ("names", '{"cat": 0, "dog": 1}', "class names"),
        ("names", "null", "class names, found null"),
    ],
)
def test_json_of_another_kind_is_refused(tmp_path, holds, content, expected):
    file = tmp_path / "facts.json"
    file.write_text(content)
    inner = {"type": "labelrepair.io.CheckedJSONDataset", "holds": holds}
    for dataset in (
        CheckedJSONDataset(filepath=str(file), holds=holds),
        WholeFile(filepath=str(file), dataset=inner),
    ):
        with pytest.raises(DatasetError, match=rf"facts\.json: expected .*{expected}.*again"):
            dataset.load()


def test_json_of_the_right_kind(tmp_path):
    for number, (holds, data) in enumerate((("object", {"a": [1]}), ("names", ["cat", "dog"]))):
        file = tmp_path / f"{number}.json"
        dataset = CheckedJSONDataset(filepath=str(file), holds=holds, save_args={"indent": 1})
        dataset.save(data)
        assert dataset.load() == data
    file.write_text("[")
    with pytest.raises(DatasetError, match=r"1\.json"):
        dataset.load()
    with pytest.raises(ConfigError, match="holds: unknown value 'name'"):
        CheckedJSONDataset(filepath="x.json", holds="name")


def test_missing_state_says_what_to_do(tmp_path):
    with pytest.raises(DatasetError, match="run the training pipeline"):
        TorchStateDataset(filepath=str(tmp_path / "model.pt")).load()


# -- MLflow -----------------------------------------------------------------------------------


@pytest.fixture
def run(empty_database, tmp_path):
    """Return an active MLflow run in a database of its own."""
    file = tmp_path / "mlflow.db"
    file.write_bytes(empty_database.read_bytes())
    address = f"sqlite:///{file}"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(address)
    experiment = mlflow.create_experiment("tests", artifact_location=(tmp_path / "runs").as_uri())
    with mlflow.start_run(experiment_id=experiment) as active:
        yield active.info.run_id
    mlflow.set_tracking_uri(before)


def test_curves_leave_out_what_was_not_measured(run):
    curves = pd.DataFrame(
        {
            "epoch": [0, 1, 2],
            "stage": ["a", "a", "b"],
            "loss": [3.0, 2.0, 1.0],
            "test_accuracy": [np.nan, 0.5, np.nan],
        }
    )

    MlflowCurvesDataset(prefix="epoch.").save(curves)

    client = mlflow.MlflowClient()
    loss = client.get_metric_history(run, "epoch.loss")
    assert [(point.step, point.value) for point in loss] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    accuracy = client.get_metric_history(run, "epoch.test_accuracy")
    assert [(point.step, point.value) for point in accuracy] == [(1, 0.5)]
    assert set(client.get_run(run).data.metrics) == {"epoch.loss", "epoch.test_accuracy"}


def test_more_points_than_one_call_takes(run):
    curves = pd.DataFrame({"epoch": range(700), "loss": 1.0, "lr": 2.0})

    MlflowCurvesDataset().save(curves)

    client = mlflow.MlflowClient()
    assert len(client.get_metric_history(run, "loss")) == 700
    assert len(client.get_metric_history(run, "lr")) == 700


def test_metrics_leave_out_none(run):
    MlflowMetricsDataset().save({"labels.rows": 3, "relabel.precision": None, "rate": 0.5})

    assert mlflow.MlflowClient().get_run(run).data.metrics == {"labels.rows": 3.0, "rate": 0.5}


def test_nothing_is_logged_without_a_run_or_when_switched_off(run):
    quiet = [MlflowCurvesDataset(), MlflowMetricsDataset(), MlflowClassifierDataset()]
    content = [pd.DataFrame({"epoch": [0], "loss": [1.0]}), {"rate": 0.5}, (None, None)]
    for dataset, data in zip(quiet, content, strict=True):
        dataset._logging_activated = False  # as kedro-mlflow switches tracking off
        dataset.save(data)

    assert mlflow.MlflowClient().get_run(run).data.metrics == {}
    mlflow.end_run()
    for dataset, data in zip(quiet, content, strict=True):
        dataset._logging_activated = True
        dataset.save(data)


@pytest.mark.parametrize("dataset", [MlflowCurvesDataset(), MlflowMetricsDataset()])
def test_what_is_only_written(dataset):
    with pytest.raises(DatasetError, match="only written to MLflow"):
        dataset.load()


def classifier(shape, name="mlp", **options):
    spec = classifier_spec(name, options, shape, 3, 2)
    networks = torch.nn.ModuleList(build_from_spec(spec) for _ in range(2))
    scale = torch.tensor([1 / 255])
    return Classifier(Normalizer(scale=scale), networks, spec)


@pytest.mark.parametrize(
    ("model", "features"),
    [
        (classifier((1, 4, 4)), np.arange(96, dtype=np.uint8).reshape(6, 1, 4, 4)),
        (classifier((5,)), np.linspace(-1, 1, 30, dtype=np.float32).reshape(6, 5)),
        (
            classifier((4,), "embedding", vocabulary_size=9),
            (np.arange(24, dtype=np.int32) % 9).reshape(6, 4),
        ),
    ],
    ids=["images", "vectors", "tokens"],
)
def test_model_loads_back_and_takes_any_batch(run, model, features):
    dataset = MlflowClassifierDataset()

    dataset.save((model, features[:4]))

    loaded = dataset.load()
    signature = mlflow.models.get_model_info(f"runs:/{run}/model").signature
    assert signature.inputs.inputs[0].shape == (-1, *features.shape[1:])
    assert signature.inputs.inputs[0].type == features.dtype
    assert signature.outputs.inputs[0].shape == (-1, 3)
    for size in (1, 2, 5):
        batch = torch.from_numpy(features[:size].copy())
        with torch.no_grad():
            torch.testing.assert_close(loaded(batch), model.eval()(batch))


def test_an_example_of_one_row_is_refused(run):
    with pytest.raises(DatasetError, match="2 rows"):
        MlflowClassifierDataset().save((classifier((5,)), np.zeros((1, 5), np.float32)))


def test_no_model_without_a_run():
    with pytest.raises(DatasetError, match="no active MLflow run"):
        MlflowClassifierDataset().load()


# -- schemas ----------------------------------------------------------------------------------


def label_table():
    ids = ["a", "b", "c"]
    return make_label_table(ids, [0, 1, 0], ["train", "train", "test"], ids)


def repaired_table():
    return label_table().assign(
        label_quality=[0.9, 0.1, np.nan],
        is_label_issue=pd.array([False, True, None], dtype="boolean"),
        suggested_label=pd.array([0, 0, None], dtype="Int64"),
        confidence=[0.9, 0.8, np.nan],
        action=["keep", "relabel", None],
        repaired_label=pd.array([0, 0, None], dtype="Int64"),
        label_source=["given", "model", None],
        reason=["", "", None],
    )


def test_good_tables_pass():
    LabelTable.validate(label_table())
    RepairedTable.validate(repaired_table())
    selected = pd.array([True, False, None], dtype="boolean")
    RepairedTable.validate(repaired_table().assign(selected=selected))
    TrueLabels.validate(pd.DataFrame({"sample_id": ["a", "b"], "true_label": [-2, -1]}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: table.drop(columns="split"),
        lambda table: table.assign(true_label=0),
        lambda table: table.assign(sample_id=["a", "a", "c"]),
        lambda table: table.assign(sample_id=[1, 2, 3]),
        lambda table: table.iloc[::-1],
        lambda table: table.assign(given_label=[0, -1, 0]),
        lambda table: table.assign(given_label=[0.0, 1.0, 0.0]),
        lambda table: table.assign(split=["train", "dev", "test"]),
        lambda table: table.assign(split="test"),
    ],
)
@pytest.mark.parametrize(
    ("schema", "table"), [(LabelTable, label_table), (RepairedTable, repaired_table)]
)
def test_damaged_tables_do_not(schema, table, damage):
    with pytest.raises((SchemaError, SchemaErrors)):
        schema.validate(damage(table()))


@pytest.mark.parametrize(
    "changes",
    [
        {"label_quality": [1.1, 0.1, np.nan]},
        {"confidence": [0.9, -0.1, np.nan]},
        {"action": ["keep", "fix", None]},
        {"label_source": ["given", "oracle", None]},
        {"repaired_label": pd.array([0, -1, None], dtype="Int64")},
    ],
)
def test_damaged_repairs_do_not(changes):
    with pytest.raises((SchemaError, SchemaErrors)):
        RepairedTable.validate(repaired_table().assign(**changes))


def test_the_truth_has_no_other_column():
    frame = pd.DataFrame({"sample_id": ["a"], "true_label": [0], "given_label": [1]})
    with pytest.raises((SchemaError, SchemaErrors)):
        TrueLabels.validate(frame)


# -- hooks ------------------------------------------------------------------------------------


def test_the_checkpoint_goes_with_the_last_output_only(tmp_path):
    checkpoint = tmp_path / "run.pt"
    checkpoint.touch()
    hook, report = hooks.SummaryHook(), {"checkpoint": "run.pt"}
    inputs = ["params:namespace.checkpoints", "params:other"]
    train = Node(lambda *inputs: None, inputs, "x", name="train")
    folder = MemoryDataset(str(tmp_path))
    catalog = DataCatalog({"params:namespace.checkpoints": folder})
    hook.before_pipeline_run(Pipeline([train]), catalog)

    hook.after_dataset_saved("training_probs", np.zeros(1))
    hook.after_dataset_saved("model", {})
    assert checkpoint.exists()
    hook.after_dataset_saved("namespace.training_report", report)
    assert not checkpoint.exists()
    hook.after_dataset_saved("training_report", report)  # there may be none


def test_a_run_outside_git_has_no_revision(run, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    hook = hooks.ProvenanceHook()
    hook._project = tmp_path

    hook.before_pipeline_run()

    tags = mlflow.MlflowClient().get_run(run).data.tags
    assert tags["labelrepair.git_revision"] == tags["labelrepair.git_dirty"] == "none"


def test_the_lock_is_tagged(run, tmp_path):
    (tmp_path / "dvc.lock").write_text("x")
    hook = hooks.ProvenanceHook()
    hook._project = tmp_path

    hook.before_pipeline_run()

    tags = mlflow.MlflowClient().get_run(run).data.tags
    assert tags["labelrepair.dvc_lock_md5"] == "9dd4e461268c8034f5c8564e155c67a6"  # md5 of "x"


@pytest.mark.parametrize(
    ("dataset", "text", "shown"),
    [
        ("summary", "all [well] :cat:", "all [well] :cat:"),
        ("faces.summary", "(kedro labels export)", "(kedro labels --namespace faces export)"),
    ],
)
def test_the_summary_is_shown_once_with_the_command_of_its_namespace(capsys, dataset, text, shown):
    hook = hooks.SummaryHook()
    hook.before_pipeline_run(Pipeline([]), DataCatalog())
    hook.after_dataset_saved(dataset, text)
    hook.after_pipeline_run()
    assert shown in capsys.readouterr().out

    hook.before_pipeline_run(Pipeline([]), DataCatalog())
    hook.after_pipeline_run()
    assert not capsys.readouterr().out
