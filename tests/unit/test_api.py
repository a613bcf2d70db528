"""The Python face on tiny data; what the methods learn is tested in tests/contract."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import labelrepair
from labelrepair import api, workflow
from labelrepair.errors import ConfigError, DataError, TransitionError
from labelrepair.label_table import check_repaired_table, content_hashes
from labelrepair.policy import Policy

ROWS, C = 48, 3
LABELS = np.arange(ROWS) % C
COLUMNS = ["sample_id", "given_label", "label_quality", "is_label_issue", "suggested_label"]
COLUMNS += ["confidence", "action", "repaired_label", "label_source", "reason"]
FAST = {"method": "cross_entropy", "epochs": 2, "batch_size": 16, "device": "cpu"}
rng = np.random.default_rng(0)


def images(*shape, dtype=np.uint8):
    """Bright stripes tell the classes apart."""
    values = rng.integers(0, 60, (ROWS, *shape))
    values[np.arange(ROWS), LABELS] += 150
    return values.astype(dtype)


FEATURES = {
    "uint8 NHW": images(8, 8),
    "uint8 NHWC": images(8, 8, 3),
    "uint8 NCHW": images(8, 8, 3).transpose(0, 3, 1, 2),
    "float images": images(8, 8, 1, dtype=np.float64) / 255,
    "float vectors": (rng.normal(size=(ROWS, 6)) + 3 * np.eye(6)[LABELS]).astype(np.float64),
    "tokens": np.column_stack([LABELS + 1, rng.integers(4, 9, (ROWS, 3))]).astype(np.int32),
    "tensor": torch.randn(ROWS, 6) + 3 * torch.eye(6)[LABELS],
    "nested lists": (rng.normal(size=(ROWS, 4))).tolist(),
}


@pytest.fixture(autouse=True)
def short_probe(monkeypatch):
    monkeypatch.setattr(workflow.noise, "PROBE_STEPS", 1)


def vectors():
    return FEATURES["float vectors"]


def repair(features=None, labels=LABELS, **more):
    features = vectors() if features is None else features
    return labelrepair.repair(features, labels, **{**FAST, **more})


@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
def test_every_kind_of_feature(features):
    result = repair(features)
    table = result.table
    assert list(table.columns) == COLUMNS
    assert table["sample_id"].tolist() == [str(row) for row in range(ROWS)]
    np.testing.assert_array_equal(table["given_label"], LABELS)
    assert result.probs.shape == (ROWS, C)
    assert result.probs.dtype == np.float32
    np.testing.assert_allclose(result.probs.sum(1), 1, atol=1e-5)
    assert result.transition_matrix.shape == (C, C)
    np.testing.assert_array_equal(result.transition_matrix, result.noise.transition)
    assert len(result.history) == 2


def test_a_result_is_shown_in_one_line():
    result = repair()
    probs = np.eye(C)[LABELS]
    for found in (result, labelrepair.repair_with_probs(probs, LABELS)):
        low, high = found.noise.interval
        counts = found.table["action"].value_counts()
        shown = repr(found)
        assert shown.startswith(f"<{type(found).__name__}: {ROWS} rows; noise rate ")
        assert f"({low:.1%} to {high:.1%}); keep {counts['keep']}, relabel " in shown
        assert "\n" not in shown


@pytest.mark.parametrize("method", ["cross_entropy", "joint_optimization", "nlnl"])
def test_the_unit_of_a_column_does_not_matter(method):
    """Whatever the method does with pixels; powers of two leave the bits alone."""
    columns = (rng.normal(size=(ROWS, 6)) + 3 * np.eye(6)[LABELS]).astype(np.float32)
    first, second = (
        labelrepair.repair(columns * scale, LABELS, method=method, device="cpu", budget=0.01)
        for scale in (1, 2.0 ** np.arange(-12, 12, 4))
    )
    np.testing.assert_array_equal(first.probs, second.probs)


def test_whole_numbers_of_images_are_pixels():
    pixels = images(8, 8, dtype=np.int64)
    first, second = repair(pixels), repair(pixels.astype(np.uint8))
    np.testing.assert_array_equal(first.probs, second.probs)


def test_float_images_of_a_large_scale_are_warned_of(caplog):
    repair(images(8, 8, dtype=np.float32))
    assert "the images hold numbers up to 209" in caplog.text
    caplog.clear()
    repair(images(8, 8, dtype=np.float32), normalize="standardize")
    repair(images(8, 8, dtype=np.float32) / 255)
    assert "hold numbers" not in caplog.text


def test_channels_may_come_first_or_last():
    last = images(8, 8, 3)
    first, second = repair(last), repair(last.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(first.probs, second.probs)


def test_the_model_takes_raw_features():
    array = images(8, 8)
    result = repair(array, normalize="pixel_mean", refinement={"rounds": 0})
    with torch.no_grad():
        found = result.model(torch.from_numpy(array[:, None]))
    np.testing.assert_allclose(found.numpy(), result.probs, atol=1e-5)


def test_the_table_obeys_the_rules_of_a_repaired_table():
    noisy = np.where(np.arange(ROWS) % 5 == 0, (LABELS + 1) % C, LABELS)
    names = [f"sample-{row:02d}" for row in range(ROWS)]
    result = repair(labels=noisy, sample_ids=names, method="jocor", epochs=20, lr=0.01, ramp=3)
    assert list(result.table.columns) == [*COLUMNS[:6], "selected", *COLUMNS[6:]]
    whole = result.table.assign(split="train", content_hash=content_hashes(vectors()))
    check_repaired_table(whole, C)
    assert result.table["sample_id"].tolist() == names
    assert len(set(result.table["action"])) > 1


def test_it_repairs(blobs):
    """Three labels in ten are wrong; after repair fewer are."""
    made = blobs(rows=300, classes=C)
    given, true = made.data.given_labels.numpy(), made.true_labels.numpy()
    transition = np.full((C, C), 0.15) + 0.55 * np.eye(C)
    result = repair(
        made.data.features,
        given,
        method="jocor",
        epochs=20,
        lr=0.01,
        transition=transition.tolist(),
    )
    kept = result.table.dropna(subset="repaired_label")
    assert len(kept) > 240
    assert (kept["repaired_label"] != true[kept.index]).mean() < 0.3 / 3
    assert result.table["is_label_issue"][given != true].mean() > 0.7
    assert result.table["is_label_issue"][given == true].mean() < 0.1
    np.testing.assert_allclose(result.transition_matrix, transition)
    assert result.noise.method == "given"


def test_inputs_and_global_random_state_are_left_alone():
    features, labels = vectors().copy(), LABELS.copy()
    state = torch.get_rng_state()
    repair(features, labels)
    np.testing.assert_array_equal(features, vectors())
    np.testing.assert_array_equal(labels, LABELS)
    assert torch.equal(state, torch.get_rng_state())


def test_the_callers_modes_have_no_influence():
    expected = repair().probs
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            np.testing.assert_array_equal(repair().probs, expected)
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(repair().probs, expected)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_same_seed_same_result():
    first, again, other = repair(seed=1), repair(seed=1), repair(seed=2)
    pd.testing.assert_frame_equal(first.table, again.table)
    np.testing.assert_array_equal(first.probs, again.probs)
    assert (first.probs != other.probs).any()


@pytest.mark.parametrize(
    "labels", [LABELS.astype(np.float64), LABELS.tolist(), torch.from_numpy(LABELS)]
)
def test_labels_in_other_forms(labels):
    np.testing.assert_array_equal(repair(labels=labels).table["given_label"], LABELS)


# -- options -----------------------------------------------------------------------------------


def test_short_names_reach_the_schedule():
    result = repair(epochs=3, lr=0.25)
    assert result.history["lr"].tolist() == [0.25] * 3
    assert len(repair(epochs=20, budget=0.2).history) == 4


def test_a_decay_beyond_the_last_epoch_moves_with_it():
    """JoCoR decays from epoch 80 of 200, i.e. after 40 %: epoch 4 of 10."""
    result = repair(method="jocor", epochs=10, lr=1.0, noise_rate=0.2)
    expected = [1, 1, 1, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert result.history["lr"].tolist() == pytest.approx(expected)


def test_options_go_to_method_and_loop():
    few = repair(method="generalized_cross_entropy", q=0.3, validation_fraction=0.25)
    many = repair(method="generalized_cross_entropy", q=0.9, validation_fraction=0.25)
    assert (few.probs != many.probs).any()
    assert "noisy_val_accuracy" in few.history


def test_staged_methods_take_their_own_schedules():
    tiny = {"epochs": 1, "lr": 0.1}
    more = {"method": "joint_optimization", "relabel": tiny, "retrain": tiny, "start_epoch": 1}
    result = labelrepair.repair(vectors(), LABELS, device="cpu", batch_size=16, **more)
    assert result.history["stage"].tolist() == ["relabel", "retrain"]
    for name in ("epochs", "lr", "schedule"):
        expected = f"^{name}: joint_optimization trains in stages.* set relabel, retrain"
        with pytest.raises(ConfigError, match=expected):
            labelrepair.repair(vectors(), LABELS, **more, **{name: 1})


def test_batches_are_filled_by_the_training_rows_there_are():
    """JoCoR leaves the last batch out; a quarter is held out."""
    result = repair(
        method="jocor", noise_rate=0.2, batch_size=len(LABELS), validation_fraction=0.25
    )
    assert len(result.table) == len(LABELS)


def test_policy_as_mapping_or_object():
    strict = {"relabel_confidence": 1.0, "review_budget": 1.0}
    by_mapping, by_object = repair(policy=strict), repair(policy=Policy(**strict))
    pd.testing.assert_frame_equal(by_mapping.table, by_object.table)
    assert (repair(policy={"relabel_confidence": 0.0}).table["action"] != "drop").all()
    assert "relabel" not in set(by_mapping.table["action"])


def test_default_networks():
    """mlp for vectors and small images, cnn7 for larger ones, embedding for tokens."""
    names = {
        kind: repair(FEATURES[kind]).model.spec["name"] for kind in ("float vectors", "tokens")
    }
    assert names == {"float vectors": "mlp", "tokens": "embedding"}
    assert api._network(None, np.zeros((1, 1, 28, 28)))["name"] == "mlp"
    assert api._network(None, np.zeros((1, 3, 28, 28)))["name"] == "cnn7"


@pytest.mark.parametrize(
    "network", ["mlp", {"name": "mlp", "options": {"hidden": [5]}}, "test_api:Tiny"]
)
def test_networks_by_name_mapping_and_path(network, monkeypatch):
    monkeypatch.setitem(sys.modules, "test_api", sys.modules[__name__])
    assert repair(network=network).probs.shape == (ROWS, C)


class Tiny(nn.Module):
    def __init__(self, in_shape=(6,), num_classes=C):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], num_classes)

    def forward(self, features):
        return self.layer(features)


def test_small_data_shrink_the_batch_of_methods_that_drop_the_last():
    result = labelrepair.repair(vectors(), LABELS, epochs=1, noise_rate=0.2, device="cpu")
    assert len(result.history) == 1, "JoCoR's batch of 128 would leave nothing"


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros(ROWS), r"expected \(N, D\).* found shape \(48,\)"),
        (np.zeros((0, 3)), r"found shape \(0, 3\)"),
        (np.zeros((2, 2, 2, 2, 2)), "found shape"),
        (np.where(np.arange(ROWS)[:, None] == 5, -1, np.ones((ROWS, 2), int)), "row 5 holds a neg"),
        (
            np.column_stack([LABELS, np.where(LABELS == 2, 2_000_000, 2024)]),
            r"row 2 holds the integer 2000000 in column 1: integer features are read as token ids, "
            r"expected 0 to 1000 in a table of shape \(48, 2\); pass floats .*astype\(float\)",
        ),
        (np.full((ROWS, 30), 14_401), "expected 0 to 14400 in"),
        (np.full((ROWS, 2), 2**24 - 1), "features: row 0 holds the integer 16777215"),
        (np.full((ROWS, 2), "x"), "features: expected numbers, found dtype <U1"),
        (np.zeros((ROWS, 2), bool), "features: expected numbers, found dtype bool"),
        (np.where(np.arange(ROWS)[:, None] == 7, np.nan, vectors()), "row 7 holds a NaN"),
        (np.where(np.arange(ROWS)[:, None] == 9, np.inf, vectors()), "row 9 holds a NaN or inf"),
        (
            np.ma.masked_array(vectors(), vectors() == vectors()[5, 2]),
            r"features: 1 rows hold masked values \(row 5\)",
        ),
        (torch.ones(ROWS, 2).to_sparse(), "features: a tensor that is no array: .*Sparse"),
        (images(8, 8, dtype=np.uint16) * 257, r"images of uint16 with values from 0 to \d{5}, exp"),
        (images(8, 8, dtype=np.int64) - 1, "images of int64 with values from -1 to"),
    ],
)
def test_features_that_cannot_be_used(features, message):
    with pytest.raises(DataError, match=message):
        repair(features)


def test_large_token_ids_pass_where_the_vocabulary_is_the_users():
    """Up to ten times the values of the table, and any with a network that is named."""
    assert repair(np.column_stack([LABELS, LABELS + 998])).model.spec["name"] == "embedding"
    known = repair(np.column_stack([LABELS, LABELS + 30_000]), network="embedding")
    assert known.model.spec["options"]["vocabulary_size"] == 30_003


@pytest.mark.parametrize(
    ("labels", "more", "message"),
    [
        (LABELS[:-1], {}, r"given_labels: expected shape \(48,\), found \(47,\)"),
        (LABELS[:, None], {}, "given_labels: expected shape"),
        (LABELS + 0.5, {}, "given_labels: expected whole numbers, found dtype float64"),
        (np.where(LABELS == 1, np.nan, LABELS), {}, "given_labels: expected whole numbers"),
        (LABELS.astype(str), {}, "given_labels: expected whole numbers.*use RobustClassifier"),
        (np.array([None, *LABELS[1:].astype(str)], object), {}, "given_labels: .*row 0 is blank"),
        (LABELS - 1, {}, r"given_labels: row 0 is -1, expected 0\.\.1"),
        (LABELS, {"num_classes": 2}, r"given_labels: row 2 is 2, expected 0\.\.1"),
        (LABELS, {"num_classes": 4}, "given_labels: class 3 of 4 has no sample"),
        (
            np.ma.masked_array(LABELS, LABELS == 1),
            {},
            r"given_labels: 16 rows hold masked values \(row 1, 4, 7, ...\)",
        ),
        (torch.zeros(ROWS, device="meta"), {}, "given_labels: a tensor that is no array"),
        (LABELS, {"sample_ids": 5}, "sample_ids: expected a list of 48, found 5"),
        (LABELS, {"sample_ids": "a" * ROWS}, "sample_ids: expected a list of 48, found 'aaa"),
        (LABELS, {"sample_ids": {*range(ROWS)}}, "sample_ids: expected a list of 48"),
        (LABELS, {"sample_ids": [*range(47), None]}, "sample_ids: row 47 has a blank sample id"),
        (LABELS, {"sample_ids": [*range(47), np.nan]}, "sample_ids: row 47 has a blank"),
        (LABELS, {"sample_ids": ["a", " ", *range(46)]}, "sample_ids: row 1 has a blank"),
        (
            LABELS,
            {"sample_ids": ["\ud800", *range(47)]},
            r"sample_ids: sample id '\\ud800' is not valid UTF-8 text",
        ),
        (LABELS, {"sample_ids": ["a"] * 3}, "sample_ids: expected 48, found 3"),
        (LABELS, {"sample_ids": ["a"] * 48}, "sample_ids: sample id 'a' is repeated"),
    ],
)
def test_labels_and_ids_that_cannot_be_used(labels, more, message):
    with pytest.raises(DataError, match=message):
        repair(labels=labels, **more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"method": "jocr"}, "method: unknown method 'jocr'; did you mean 'jocor'"),
        ({"epoch": 3}, "epoch: unknown option of cross_entropy; did you mean 'epochs'"),
        ({"co_lambda": 0.5}, "co_lambda: unknown option of cross_entropy"),
        ({"epochs": 0}, "schedule.epochs: must be greater than 0"),
        ({"batch_size": "x"}, "batch_size: expected int, found 'x'"),
        ({"keep": "first"}, "options.keep: unknown value 'first'"),
        ({"keep": "best_val_loss"}, "needs|chooses weights on noisy validation rows"),
        (
            {"policy": {"floor": 1}},
            "policy.floor: unknown option; did you mean 'class_floor'|expected",
        ),
        ({"policy": {"class_floor": 2}}, r"policy.class_floor: must lie in \[0, 1\]"),
        ({"network": "mlpp"}, "network: unknown name 'mlpp'; did you mean 'mlp'"),
        ({"network": {"nam": "mlp"}}, "network.nam: unknown option; did you mean 'name'"),
        ({"network": nn.Linear(6, 3)}, "network: pass a name or an import path"),
        ({"network": ["mlp"]}, r"network: expected a name or a mapping, found \['mlp'\]"),
        ({"network": {"name": "mlp", "options": None}}, "network.options: expected a mapping"),
        (
            {"network": {"name": "mlp", "options": {1: 2}}},
            "network.options: expected text as names",
        ),
        (
            {"network": {"name": "mlp", "options": {"name": "x"}}},
            "network mlp.name: unknown option",
        ),
        ({"network": "embedding"}, "network: 'embedding' takes token ids, found features torch.fl"),
        ({"probe": [1]}, r"probe: expected a mapping, found \[1\]"),
        (
            {"network": {"name": "mlp", "options": {"hidden": [10**9]}}},
            "network: 9,000,000,000 w",
        ),
        ({"augment": {"crop": 10**6}}, r"augment.crop: must lie in \[0, 512\], found 1000000"),
        ({"refinement": {"rounds": 10**9}}, r"refinement.rounds: must lie in \[0, 20\]"),
        ({"refinement": {"bootstrap": 10**7}}, r"refinement.bootstrap: must lie in \[2, 10000\]"),
        ({"schedule": [1]}, r"schedule: expected a mapping, found \[1\]"),
        ({"num_classes": "3"}, "num_classes: expected a whole number of at least 2, found '3'"),
        ({"num_classes": 3.0}, "num_classes: expected a whole number of at least 2, found 3.0"),
        ({"seed": "abc"}, "seed: expected a whole number of at least 0, found 'abc'"),
        ({"seed": 1.5}, "seed: expected a whole number of at least 0, found 1.5"),
        ({"seed": None}, "seed: expected a whole number of at least 0, found None"),
        ({"seed": [1]}, "seed: expected a whole number of at least 0"),
        ({"seed": -1}, "seed: expected a whole number of at least 0, found -1"),
        ({"device": "meta"}, "device: 'meta' is not available here"),
        ({"device": "abacus"}, "device: 'abacus' is not available here"),
        (
            {"num_classes": 1, "labels": LABELS * 0},
            "num_classes: expected a whole number of at least 2",
        ),
    ],
)
def test_settings_that_cannot_be_used(more, message):
    with pytest.raises(ConfigError, match=message):
        repair(**more)


@pytest.mark.parametrize(
    "transition", [np.ones((C, C)), np.eye(2), [0.5, 0.5, 0.0], [["a"]], np.full((C, C), np.nan)]
)
def test_transitions_that_cannot_be_used_are_refused_before_training(transition, monkeypatch):
    monkeypatch.setattr(api, "estimate", None)
    with pytest.raises(TransitionError, match=r"^transition: "):
        repair(transition=transition)


def test_loss_correction_trains_on_a_known_transition():
    flat = np.full((C, C), 1 / C)
    more = {"method": "loss_correction", "validation_fraction": 0.25}
    result = repair(**more, transition=0.5 * flat + 0.5 * np.eye(C))
    assert set(result.history["stage"]) == {"forward_corrected"}
    assert set(repair(**more).history["stage"]) == {"plain", "forward_corrected"}
    with pytest.warns(UserWarning, match="transition: condition number"):
        repair(**more, transition=flat)
    singular = pytest.warns(UserWarning, match="transition: condition number")
    with singular, pytest.raises(TransitionError):
        repair(**more, transition=flat, direction="backward")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_tensors_of_any_kind_of_float_that_may_need_gradients(dtype):
    values = torch.tensor(vectors()).to(dtype).requires_grad_()
    expected = values.detach().float().numpy()
    np.testing.assert_array_equal(api.as_features(values), expected)
    np.testing.assert_array_equal(api.as_features(np.ma.masked_array(expected)), expected)
    probs = torch.full((4, 2), 0.5, dtype=dtype).requires_grad_()
    assert labelrepair.repair_with_probs(probs, [0, 1, 0, 1]).probs.tolist() == [[0.5, 0.5]] * 4


def test_columns_of_probabilities_in_another_order_are_refused():
    probs = pd.DataFrame(np.eye(C)[LABELS])
    labelrepair.repair_with_probs(probs.set_axis(["a", "b", "c"][:C], axis=1), LABELS)
    with pytest.raises(DataError, match=r"probs: columns \[2, 1, 0\], expected them in the order"):
        labelrepair.repair_with_probs(probs[[2, 1, 0]], LABELS)


def test_masked_probabilities_and_transitions_are_refused():
    probs, hidden = np.full((4, 2), 0.5), [[False, True], *[[False, False]] * 3]
    with pytest.raises(DataError, match=r"probs: 1 rows hold masked values \(row 0\)"):
        labelrepair.repair_with_probs(np.ma.masked_array(probs, hidden), [0, 1, 0, 1])
    transition = np.ma.masked_array(np.eye(2), hidden[:2])
    with pytest.raises(DataError, match="transition: 1 rows hold masked values"):
        labelrepair.repair_with_probs(probs, [0, 1, 0, 1], transition=transition)


# -- imports -----------------------------------------------------------------------------------

HEAVY = "{'kedro', 'mlflow', 'dvc', 'matplotlib', 'kedro_mlflow', 'pandera', 'cleanlab'}"
PARTS = ["losses", "training", "methods", "api", "workflow", "data", "estimation", "networks"]


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_core_imports_no_pipeline_tools():
    modules = ", ".join(f"labelrepair.{part}" for part in PARTS)
    done = in_a_new_process(f"import sys, {modules}; print({HEAVY} & set(sys.modules))")
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


def test_the_package_itself_is_light():
    code = (
        "import sys, labelrepair; assert labelrepair.__version__; sys.exit('torch' in sys.modules)"
    )
    assert in_a_new_process(code).returncode == 0
    with pytest.raises(AttributeError, match="has no attribute 'repare'"):
        _ = labelrepair.repare
    assert labelrepair.RepairResult is api.RepairResult
