"""The handoff through Kedro against a database; the server's tests are in test_handoff_server."""

import contextlib
import http.server
import json
import re
import shutil
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from kedro.config import OmegaConfigLoader
from mlflow.models import Model
from torch import nn

import labelrepair
from labelrepair import hooks, model_flavor
from labelrepair.data.input_format import InputFormat
from labelrepair.data.tokens import WORDS, build_vocabulary, encode_texts
from labelrepair.errors import ConfigError, DataError, StoreError
from labelrepair.handoff import Contender, Package
from labelrepair.networks.classifier import Classifier, Normalizer, build_from_spec, classifier_spec
from labelrepair.registry import Registry
from labelrepair.serving import Predictor

NAME = "labelrepair-small"
RECORD, CARD = "data/08_reporting/handoff.json", "data/08_reporting/model_card.md"


@pytest.fixture(scope="module")
def handed(make_project, tmp_path_factory):
    """Return a project whose first model has been handed over, and then handed over again."""
    project = make_project(tmp_path_factory.mktemp("handoff"))
    project.edit("conf/base/parameters_handoff.yml", "handoff", "gate", min_rows=30)
    # Without the agreement term, which loses a class in so few steps: no such model is handed over.
    project.preset("small", "jocor", training(8), co_lambda=0.0, ramp=2)
    project.run()
    project.run("handoff")
    return project


def training(epochs, lr=0.01):
    return {
        "network": {"name": "mlp", "options": {"hidden": [32]}},
        "schedule": {"epochs": epochs, "lr": lr},
        "batch_size": 32,
        "threads": 1,
    }


def registry(project):
    """Return what the registry holds, as plain values."""
    client = project.mlflow_client()
    versions = client.search_model_versions(f"name='{NAME}'")
    return {
        "aliases": {
            alias: str(version)
            for alias, version in client.get_registered_model(NAME).aliases.items()
        },
        "versions": {
            str(version.version): (dict(version.tags), version.description, version.source)
            for version in versions
        },
    }


def test_the_first_model_becomes_champion(handed):
    found = registry(handed)

    assert set(found["versions"]) == {"1"}
    assert found["aliases"] == {"champion": "1", "challenger": "1"}
    tags, card, _ = found["versions"]["1"]
    record = json.loads((handed / RECORD).read_text())
    assert tags["labelrepair.gate"] == "passed"
    assert tags["labelrepair.method"] == "jocor"
    assert tags["labelrepair.preset"] == "small"
    assert tags["labelrepair.parent_version"] == "none"
    assert len(tags["labelrepair.git_revision"]) == 40
    assert len(tags["labelrepair.labels_md5"]) == 32
    noise = json.loads((handed / "data/07_model_output/refined_noise.json").read_text())
    low, high = map(float, tags["labelrepair.noise_rate_ci"].split(".."))
    assert low <= float(tags["labelrepair.noise_rate"]) <= high
    assert record["noise_rate"] == noise["noise_rate"]
    assert record["gate"]["overall"]["low"] > 0
    assert card == (handed / CARD).read_text()[:5000]


def test_the_version_leads_to_its_training(handed):
    (trained,) = [run for run in handed.mlflow_runs() if "loss" in str(run.data.metrics)]
    tags, card, _ = registry(handed)["versions"]["1"]
    assert tags["labelrepair.training_run_id"] == trained.info.run_id
    assert f"Trained in MLflow run `{trained.info.run_id}`." in card
    record = json.loads((handed / RECORD).read_text())
    assert record["training_run_id"] == trained.info.run_id


def test_the_card_says_what_one_has_to_know(handed):
    card = (handed / CARD).read_text()

    for expected in (
        "# labelrepair-small, version 1",
        "60 test rows",
        "## Noise",
        "Share of wrong given labels",
        "`jocor`, preset `small`",
        "| accuracy on clean labels | 0.",
        "Input: image, 1x8x8",
        "## Limits",
    ):
        assert expected in card
    assert "None" not in card
    assert "{{" not in card


def test_a_second_handoff_changes_nothing(handed, caplog):
    before, files = registry(handed), handed.data()

    handed.run("handoff")

    assert f"nothing changes; the decision was: {NAME}, version 1: champion, +" in caplog.text

    assert registry(handed) == before
    assert handed.data() == files


@pytest.fixture(scope="module")
def loaded(handed):
    """Return the registered version as pyfunc, as torch module, and the trained model."""
    mlflow.set_tracking_uri(f"sqlite:///{handed / 'mlflow.db'}")
    uri = f"models:/{NAME}@champion"
    state = torch.load(handed / "data/06_models/model.pt", weights_only=True)
    model = Classifier.from_state({"spec": state["spec"], "weights": state["weights"]})
    features = np.load(handed / "data/04_feature/features.npy")
    return mlflow.pyfunc.load_model(uri), mlflow.pytorch.load_model(uri), model, features


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_both_faces_equal_the_trained_model_at_any_batch(loaded, rows):
    pyfunc, module, model, features = loaded
    batch = torch.from_numpy(features[:rows].copy())
    with torch.no_grad():
        expected = model(batch).numpy()
        np.testing.assert_allclose(module(batch).numpy(), expected, atol=1e-6)

    found = pyfunc.predict(features[:rows])

    names = ["0", "1", "2"]
    assert list(found.columns) == ["label", *names]
    np.testing.assert_allclose(found[names].to_numpy(), expected, atol=1e-6)
    assert found["label"].tolist() == [names[i] for i in expected.argmax(1)]


def test_the_example_fits_and_the_signature_names_the_columns(loaded):
    pyfunc, *_ = loaded

    assert len(pyfunc.predict(pyfunc.input_example)) == 4
    signature = pyfunc.metadata.signature
    assert signature.inputs.input_names() == ["image"]
    assert signature.outputs.input_names() == ["label", "0", "1", "2"]


def test_a_bad_row_is_named_by_the_loaded_model(loaded):
    pyfunc, _, _, features = loaded
    frame = pd.DataFrame({"image": [*features[:2], b"\x89PNG broken"]})

    with pytest.raises(ValueError, match="row 2: not a readable image"):
        pyfunc.predict(frame)


def bundle(network, options, form, features):
    """Return a package around fresh weights."""
    spec = classifier_spec(network, options, features.shape[1:], 2, 1)
    torch.manual_seed(0)
    model = Classifier(Normalizer(), nn.ModuleList([build_from_spec(spec)]), spec).eval()
    contender = Contender(Predictor(model, form, ["bad", "good"]), np.arange(3, dtype=np.uint64))
    return Package(contender, model, "d", "l", features[:4], np.zeros(3, bool))


def test_raw_text_goes_in_because_the_vocabulary_travels_along(tmp_path):
    texts = ["a fine film", "dull", "fine but dull and long film", "film", "fine fine"]
    vocabulary = build_vocabulary(texts, 8)
    tokens = encode_texts(texts, vocabulary, 5)
    form = InputFormat("text", (5,), vocabulary=vocabulary, token_pattern=WORDS)
    made = bundle("embedding", {"vocabulary_size": 8, "embedding_size": 4}, form, tokens)

    model_flavor.save_model(str(tmp_path / "m"), Model(), made)

    loaded = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    for rows in (1, 2, 5):
        expected = made.model(torch.from_numpy(tokens[:rows])).detach().numpy()
        for inputs in (pd.DataFrame({"text": texts[:rows]}), texts[:rows], tokens[:rows]):
            found = loaded.predict(inputs)
            np.testing.assert_allclose(found[["bad", "good"]].to_numpy(), expected, atol=1e-6)
    assert isinstance(loaded.input_example[0], str)
    assert len(loaded.predict(loaded.input_example)) == 4
    with pytest.raises(DataError, match="row 1: no text"):
        loaded.predict(pd.DataFrame({"text": ["fine", None]}))


def test_a_loaded_model_takes_words_beyond_its_embedding(tmp_path):
    texts = ["a fine film", "dull", "fine but dull", "film", "fine fine"]
    vocabulary = build_vocabulary(texts, 8)
    form = InputFormat("text", (5,), vocabulary=vocabulary, token_pattern=WORDS)
    options = {"vocabulary_size": 7, "embedding_size": 4}
    made = bundle("embedding", options, form, np.minimum(encode_texts(texts, vocabulary, 5), 6))

    sums = {}
    model_flavor.save_model(str(tmp_path / "m"), Model(), made, sums=sums)

    beyond, unknown = f"fine {vocabulary[7]}", "fine nonsense"
    for loaded in (
        mlflow.pyfunc.load_model(str(tmp_path / "m")),
        model_flavor.load_contender(tmp_path / "m", sums["graph_sha256"]).predictor,
    ):
        found = loaded.predict([beyond, unknown])
        np.testing.assert_array_equal(found["good"][0], found["good"][1])


def test_a_graph_that_changed_since_its_handoff_is_not_opened(tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    made, sums = bundle("mlp", {"hidden": [8]}, InputFormat("vector", (3,)), values), {}
    model_flavor.save_model(str(tmp_path / "m"), Model(), made, sums=sums)
    assert model_flavor.load_contender(tmp_path / "m", sums["graph_sha256"]).version is None

    graph = tmp_path / "m" / "data" / "model.pt2"
    graph.write_bytes(graph.read_bytes() + b" ")
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(DataError, match=r"model\.pt2 of version 4 has the SHA-256 .* not opened"):
        model_flavor.load_contender(tmp_path / "m", sums["graph_sha256"], "4")


@pytest.mark.parametrize("damage", ["labelrepair.json", "trained_on.npy", "data/model.pt2", ""])
def test_a_champion_whose_files_are_damaged_or_gone_cannot_be_judged(tmp_path, monkeypatch, damage):
    """The challenger then stays one, with the reason, as where the graph has changed."""
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    made, sums = bundle("mlp", {"hidden": [8]}, InputFormat("vector", (3,)), values), {}
    model_flavor.save_model(str(tmp_path / "m"), Model(), made, sums=sums)
    if damage == "data/model.pt2":
        (tmp_path / "m" / damage).unlink()
    elif damage:
        assert (tmp_path / "m" / damage).exists()
        (tmp_path / "m" / damage).write_text('{"x":')
    else:
        shutil.rmtree(tmp_path / "m")
    fetched = lambda *_, **__: str(tmp_path / "m")  # noqa: E731
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", fetched)
    tags = {"labelrepair.digest": "d", "labelrepair.graph_sha256": sums["graph_sha256"]}
    champion = SimpleNamespace(version=3, tags=tags)
    with pytest.raises(DataError, match="champion, version 3 of n, cannot be judged: its files"):
        Registry("n").contender(champion, str(tmp_path))


def test_a_frame_of_numbers_goes_in(tmp_path):
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    made = bundle("mlp", {"hidden": [8]}, InputFormat("vector", (3,)), values)

    model_flavor.save_model(str(tmp_path / "m"), Model(), made)

    loaded = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    for rows in (1, 2, 7):
        expected = made.model(torch.from_numpy(values[:rows])).detach().numpy()
        found = loaded.predict(pd.DataFrame(values[:rows], columns=["x", "y", "z"]))
        np.testing.assert_allclose(found[["bad", "good"]].to_numpy(), expected, atol=1e-6)
    assert len(loaded.predict(loaded.input_example)) == 4


def test_a_frame_with_the_names_of_the_training_goes_in_whatever_their_order(tmp_path):
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    form = InputFormat("vector", (3,), columns=("x", "y", "z"))
    made = bundle("mlp", {"hidden": [8]}, form, values)

    model_flavor.save_model(str(tmp_path / "m"), Model(), made)

    loaded = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    expected = made.model(torch.from_numpy(values)).detach().numpy()
    frame = pd.DataFrame(values, columns=["x", "y", "z"]).assign(id="a")
    found = loaded.predict(frame[["z", "id", "x", "y"]])
    np.testing.assert_allclose(found[["bad", "good"]].to_numpy(), expected, atol=1e-6)
    assert list(loaded.input_example) == ["x", "y", "z"]
    assert len(loaded.predict(loaded.input_example)) == 4
    with pytest.raises(DataError, match="no column 'x'"):
        loaded.predict(frame.rename(columns={"x": "X"}))


def test_a_model_of_another_labelrepair_is_told_of(tmp_path):
    """Python keeps the first one that a process has loaded; here that is the one under test."""
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    made = bundle("mlp", {"hidden": [8]}, InputFormat("vector", (3,)), values)
    folder = tmp_path / "m"
    model_flavor.save_model(str(folder), Model(), made)
    about, code = folder / "labelrepair.json", folder / "code/labelrepair/serving.py"
    content = json.loads(about.read_text())
    assert content["labelrepair"] == labelrepair.__version__
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        mlflow.pyfunc.load_model(str(folder))

    code.write_text(code.read_text() + "# changed since\n")
    about.write_text(json.dumps({**content, "labelrepair": "0.0.9"}))
    told = (
        f"the model brings labelrepair 0.0.9, but another labelrepair, {labelrepair.__version__}, "
        f"is already loaded in this process from {Path(labelrepair.__file__).parent} and is used; "
        "load the model in a process of its own"
    )
    with pytest.warns(RuntimeWarning, match=re.escape(told)):
        assert len(mlflow.pyfunc.load_model(str(folder)).predict(values)) == 7

    unknown = {**content["input_format"], "token_patern": None}
    about.write_text(json.dumps({**content, "input_format": unknown, "labelrepair": "0.0.9"}))
    refused = pytest.raises(ConfigError, match=f"token_patern: unknown option.*{re.escape(told)}")
    with pytest.warns(RuntimeWarning, match="another labelrepair"), refused:
        mlflow.pyfunc.load_model(str(folder))

    del content["labelrepair"]  # as in models of before
    about.write_text(json.dumps(content))
    with pytest.warns(RuntimeWarning, match="brings labelrepair of an unknown version"):
        assert len(mlflow.pyfunc.load_model(str(folder)).predict(values)) == 7


def test_an_example_of_one_row_would_freeze_the_batch(tmp_path):
    values = np.zeros((1, 3), np.float32)
    made = bundle("mlp", {"hidden": [8]}, InputFormat("vector", (3,)), values)

    with pytest.raises(DataError, match="2 rows"):
        model_flavor.save_model(str(tmp_path / "m"), Model(), made)


def test_a_weak_challenger_is_kept_out_with_a_reason(handed, tmp_path, caplog):
    """Then a better one takes over; the weak one's content is known and judged only once."""
    first = registry(handed)
    saved = shutil.copytree(handed / "data", tmp_path / "data")
    try:
        handed.preset("small", "cross_entropy", training(1, lr=1e-6))
        handed.run("training", "refinement", "repair", "evaluation")
        handed.run("handoff")

        assert "version 2: stays challenger, as lead over the champion -0." in caplog.text
        found = registry(handed)
        assert found["aliases"] == {"champion": "1", "challenger": "2"}
        tags = found["versions"]["2"][0]
        assert tags["labelrepair.gate"].startswith("failed: lead over the champion -0.")
        assert tags["labelrepair.parent_version"] == "1"
        assert found["versions"]["1"] == first["versions"]["1"]
        record = json.loads((handed / RECORD).read_text())
        assert record["champion"] == "1"
        assert not record["gate"]["passed"]
        assert "Not `champion`" in (handed / CARD).read_text()

        # Another rule is another decision: with every margin open it takes over.
        gate = {"min_rows": 30, "margin": 1.0, "class_margin": 1.0}
        handed.edit("conf/base/parameters_handoff.yml", "handoff", "gate", **gate)
        handed.run("handoff")
        found = registry(handed)
        assert found["aliases"] == {"champion": "2", "challenger": "2"}
        assert set(found["versions"]) == {"1", "2"}
        assert "| class | lead over the champion |" in (handed / CARD).read_text()
    finally:
        gate = {"margin": 0.01, "class_margin": 0.05}
        handed.edit("conf/base/parameters_handoff.yml", "handoff", "gate", **gate)
        shutil.rmtree(handed / "data")
        shutil.copytree(saved, handed / "data")
        client = handed.mlflow_client()
        client.delete_model_version(NAME, "2")
        client.set_registered_model_alias(NAME, "champion", "1")
        client.set_registered_model_alias(NAME, "challenger", "1")


def test_a_former_champion_that_is_handed_over_again_is_not_called_champion(handed, caplog):
    client, files = handed.mlflow_client(), [handed / RECORD, handed / CARD]
    saved, first = [file.read_bytes() for file in files], client.get_model_version(NAME, "1")
    second = client.create_model_version(NAME, first.source, first.run_id).version
    for alias in ("champion", "challenger"):
        client.set_registered_model_alias(NAME, alias, second)
    try:
        handed.run("handoff")

        assert f"version 1: was champion, now version {second} is" in caplog.text
        found = registry(handed)
        assert found["aliases"] == {"champion": str(second), "challenger": "1"}
        assert found["versions"]["1"][1] == first.description
        assert json.loads((handed / RECORD).read_text())["champion"] == str(second)
        assert f"Was `champion`; now version {second} is." in (handed / CARD).read_text()
    finally:
        client.delete_model_version(NAME, second)
        for alias in ("champion", "challenger"):
            client.set_registered_model_alias(NAME, alias, "1")
        for file, content in zip(files, saved, strict=True):
            file.write_bytes(content)


def test_metrics_of_another_training_are_refused(handed):
    file = handed / "data/08_reporting/metrics_made_from.json"
    saved = file.read_bytes()
    report = json.loads((handed / "data/07_model_output/training_report.json").read_text())
    assert json.loads(saved) == {name: report[name] for name in ("data_hash", "checkpoint")}
    file.write_text(json.dumps({**json.loads(saved), "data_hash": "another"}))
    try:
        with pytest.raises(DataError, match="measured on another training"):
            handed.run("handoff")
    finally:
        file.write_bytes(saved)


def test_a_handoff_that_was_cut_off_goes_on(handed):
    """Killed between moving the alias and the last tag: nothing is registered twice."""
    client = handed.mlflow_client()
    before = registry(handed)
    client.delete_model_version_tag(NAME, "1", "labelrepair.gate_key")

    handed.run("handoff")

    assert registry(handed) == before


@pytest.mark.parametrize("tag", ["gate", "parent_version", "gate_key"])
def test_a_handoff_that_was_cut_off_between_its_tags_goes_on(handed, tag, monkeypatch):
    client, before = handed.mlflow_client(), registry(handed)
    for name in ("gate", "parent_version", "gate_key"):
        client.delete_model_version_tag(NAME, "1", f"labelrepair.{name}")
    real = mlflow.MlflowClient.set_model_version_tag

    def cut_off(self, name, version, key, value):
        if key == f"labelrepair.{tag}":
            raise InterruptedError
        real(self, name, version, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_model_version_tag", cut_off)
        with pytest.raises(InterruptedError):
            handed.run("handoff")
    assert registry(handed) != before
    handed.run("handoff")

    assert registry(handed) == before


def test_a_champion_is_not_judged_again_by_another_rule(handed):
    before, record = registry(handed), (handed / RECORD).read_bytes()
    handed.edit("conf/base/parameters_handoff.yml", "handoff", "gate", level=0.9)
    try:
        handed.run("handoff")
    finally:
        handed.edit("conf/base/parameters_handoff.yml", "handoff", "gate", level=0.95)

    assert registry(handed) == before
    assert (handed / RECORD).read_bytes() == record


def test_labels_that_changed_are_refused(handed, tmp_path):
    table = handed / "data/03_primary/label_table.parquet"
    shutil.copy(table, tmp_path / "saved")
    frame = pd.read_parquet(table)
    frame.loc[0, "given_label"] = (frame.loc[0, "given_label"] + 1) % 3
    frame.to_parquet(table, index=False)
    try:
        with pytest.raises(ValueError, match="run the training pipeline again"):
            handed.run("handoff")
    finally:
        shutil.copy(tmp_path / "saved", table)


def test_ab_evidence(handed):
    handed.run("ab")

    found = json.loads((handed / "data/08_reporting/ab_evidence.json").read_text())
    (row,) = found["rows"]
    assert set(row) == {"name", "mean_difference", "low", "high", "seeds"}
    assert row["low"] <= row["mean_difference"] <= row["high"]
    logged = handed.mlflow_runs()[0].data.metrics
    assert logged["ab.difference"] == row["mean_difference"]

    handed.run("report")

    page = (handed / "data/08_reporting/report.html").read_text()
    assert 'id="ab-title">Does retraining profit?' in page
    assert row["name"] in page
    shown = [f"{100 * row[key]:+.1f}".replace("-", "\N{MINUS SIGN}") for key in ("low", "high")]
    assert f'<td class="range">{shown[0]} to {shown[1]}</td>' in page
    assert (handed / "data/08_reporting/report_pictures/retraining.png").exists()


def test_a_store_that_is_down_is_named_before_anything_happens(handed, free_port):
    address = f"http://127.0.0.1:{free_port}"
    handed.edit("conf/base/mlflow.yml", "server", mlflow_tracking_uri=address)
    before = handed.untouched()
    try:
        with pytest.raises(StoreError, match=f"MLflow at {address} cannot be reached"):
            handed.run("ingestion")
    finally:
        database = f"sqlite:///{handed / 'mlflow.db'}"
        handed.edit("conf/base/mlflow.yml", "server", mlflow_tracking_uri=database)
    assert handed.untouched() == before


def test_only_servers_are_asked_for_a_sign_of_life(free_port):
    hooks.check_store("sqlite:///mlflow.db")
    with pytest.raises(StoreError, match="cannot be reached"):
        hooks.check_store(f"http://127.0.0.1:{free_port}", timeout=1)


@contextlib.contextmanager
def answering(port, status, body, calls_status=None, asked=None):
    """Serve one answer to a sign of life, and one to MLflow's calls."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if asked is not None:
                asked.append(self.headers["Authorization"])
            called = self.path.startswith("/api")
            self.send_response(calls_status if called and calls_status else status)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", port), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, b"who?"), r"does not let us in \(401\).* MLFLOW_TRACKING_USERNAME"),
        ((200, b"OK", 403), r"does not let us in \(403\).* MLFLOW_TRACKING_TOKEN"),
        ((200, b"<html>log in</html>"), r"does not answer as it .*<html>log in.* in a browser"),
        ((404, b"<html>no</html>"), r"does not answer as it .*404.* correct it in conf/local"),
        ((503, b"later"), r"cannot be reached \(HTTP Error 503"),
    ],
)
def test_a_server_that_is_no_help_is_named_in_one_line(free_port, answer, told):
    with answering(free_port, *answer), pytest.raises(StoreError, match=told) as refused:
        hooks.check_store(f"http://user:secret@127.0.0.1:{free_port}")
    assert f"MLflow at http://127.0.0.1:{free_port} " in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_credentials_of_kedro_count(free_port, tmp_path, monkeypatch):
    """Kedro-mlflow puts them into the environment, but after us."""
    asked = []
    address = f"http://127.0.0.1:{free_port}"
    server = {"mlflow_tracking_uri": address, "credentials": "mine"}
    (tmp_path / "base").mkdir()
    (tmp_path / "base/mlflow.yml").write_text(json.dumps({"server": server}))
    mine = {"MLFLOW_TRACKING_TOKEN": "abc"}
    (tmp_path / "base/credentials.yml").write_text(json.dumps({"mine": mine}))
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "of the shell")
    loader = OmegaConfigLoader(str(tmp_path), base_env="base", default_run_env="base")
    with answering(free_port, 200, b"{}", asked=asked):
        hooks.StoreHook().after_context_created(SimpleNamespace(config_loader=loader))
    assert asked == [None, "Bearer abc"]


def test_a_server_is_asked_without_its_password_and_the_password_not_shown(free_port):
    address = f"http://user:secret@127.0.0.1:{free_port}"
    with pytest.raises(StoreError, match=f"MLflow at http://127.0.0.1:{free_port} ") as refused:
        hooks.check_store(address, timeout=1)
    assert "secret" not in str(refused.value)
    with answering(free_port, 200, b"{}"):
        hooks.check_store(address, timeout=5)
