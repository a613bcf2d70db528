"""A local Ray cluster of two workers gives what one process gives; ``make test-ray``."""

import os
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch

from labelrepair.config import from_dict
from labelrepair.errors import DataError, LabelRepairError
from labelrepair.estimation import NoiseEstimate
from labelrepair.policy import Policy
from labelrepair.scoring import ScoringSpec
from labelrepair.training import Checkpointer, Holdout, TrainSet
from labelrepair.workflow import Preset, fit, repair_rows

pytestmark = pytest.mark.ray
ray = pytest.importorskip("ray")
on_ray = pytest.importorskip("labelrepair.on_ray")
C = 4
T = np.full((C, C), 0.1) + 0.6 * np.eye(C)
NOISE = NoiseEstimate(T, 0.3, (0.2, 0.4), "given", np.full(C, 1 / C), rows=600)
TRAINING = {
    "network": {"name": "mlp", "options": {"hidden": [16]}},
    "schedule": {"epochs": 3, "lr": 0.01},
    "batch_size": 32,
    "device": "cpu",
    "threads": 1,
}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": paths | {"OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()


def preset(method="jocor", **options):
    recipe = {"name": "x", "method": method, "options": options, "training": TRAINING}
    return from_dict(Preset, recipe)


def test_a_training_on_two_workers_is_that_of_one_process(blobs, tmp_path):
    data = blobs(rows=200, validation=0.2).data
    test = Holdout(data.features[:40], data.given_labels[:40])
    model, result = on_ray.fit(
        preset(ramp=2), data, NOISE, seed=3, storage=tmp_path, workers=2, test=test
    )
    _, alone = fit(preset(ramp=2), data, NOISE, seed=3, test=test, progress=False)
    torch.testing.assert_close(result.probs, alone.probs, rtol=0, atol=1e-5)
    assert torch.equal(torch.stack(result.used), torch.stack(alone.used))
    assert torch.equal(result.selected, alone.selected)
    assert result.test_accuracy == alone.test_accuracy
    with torch.no_grad():
        torch.testing.assert_close(model(data.features), result.probs, rtol=0, atol=1e-6)


def test_an_error_on_a_worker_is_shown(blobs, tmp_path):
    data = blobs(rows=60).data
    wrong = TrainSet(torch.full_like(data.features, torch.inf), *(getattr(data, n) for n in FIELDS))
    with pytest.raises(LabelRepairError, match="epoch 0: the loss is nan"):
        on_ray.fit(preset("cross_entropy"), wrong, None, seed=0, storage=tmp_path)


FIELDS = ("given_labels", "num_classes", "train_rows", "val_rows")


def table(count, seed=0, selected=False):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(C, 0.3), count).astype(np.float32)
    given = np.where(rng.random(count) < 0.3, rng.integers(0, C, count), probs.argmax(1))
    given[rng.permutation(count)[: count // 5]] = 3  # a class that its floor has to hold
    chosen = rng.random(count) < 0.9 if selected else None
    return probs, given.astype(np.int64), chosen


def sharded(probs, given, selected, blocks=7):
    """Rows in shards that are not in the order of the table."""
    parts = np.array_split(np.arange(len(given)), blocks)[::-1]
    columns = [{"row": p, "given_label": given[p], "probs": probs[p]} for p in parts]
    if selected is not None:
        columns = [c | {"selected": selected[p]} for c, p in zip(columns, parts, strict=True)]
    return ray.data.from_blocks([_block(part) for part in columns])


def _block(columns):
    """As in a Parquet file: probabilities are lists of fixed length."""
    arrays = {name: pa.array(value) for name, value in columns.items() if name != "probs"}
    flat = pa.array(columns["probs"].reshape(-1))
    return pa.table(arrays | {"probs": pa.FixedSizeListArray.from_arrays(flat, C)})


@pytest.mark.parametrize("selected", [False, True])
def test_a_sharded_table_is_repaired_as_the_whole_one(selected):
    probs, given, chosen = table(5000, selected=selected)
    policy = Policy(review_budget=0.013, class_floor=0.9, keep_quality=0.6)
    plain = repair_rows(probs, given, NOISE, selected=chosen, policy=policy)
    found = on_ray.repair(sharded(probs, given, chosen), NOISE, policy=policy).to_pandas()
    found = found.sort_values("row", ignore_index=True)
    assert found["row"].tolist() == list(range(5000))
    assert plain["action"].nunique() == 4
    assert (plain["reason"] == "kept to hold the class floor").any()
    for name in plain.columns:
        assert found[name].tolist() == plain[name].tolist(), name


def test_a_table_without_a_suspect_row():
    probs = np.eye(C, dtype=np.float32)[np.arange(40) % C]
    found = on_ray.repair(sharded(probs, np.arange(40) % C, None), NOISE).to_pandas()
    assert (found["action"] == "keep").all()
    assert len(found) == 40


def test_missing_and_wrong_columns_are_named():
    with pytest.raises(DataError, match="missing column given_label, probs"):
        on_ray.repair(ray.data.from_items([{"row": 0}]), NOISE)
    probs, given, _ = table(20)
    twice = sharded(probs, given, None, blocks=1).union(sharded(probs, given, None, blocks=1))
    with pytest.raises(DataError, match=r"'row' must hold 0\.\.39"):
        on_ray.repair(twice, NOISE)


def test_a_row_that_is_there_twice_is_refused_without_calibration_too():
    probs, given, _ = table(400)
    twice = np.arange(400) % 200
    rows = ray.data.from_blocks([_block({"row": twice, "given_label": given, "probs": probs})])
    with pytest.raises(DataError, match=r"'row' must hold 0\.\.399, each once"):
        on_ray.repair(rows, NOISE, scoring=ScoringSpec(calibrate=False)).materialize()


def test_shards_that_a_filter_emptied():
    probs, given, _ = table(300)
    whole = sharded(probs, given, None, blocks=6)
    rows = whole.filter(lambda row: row["row"] < 150)
    found = on_ray.repair(rows, NOISE).to_pandas().sort_values("row", ignore_index=True)
    plain = repair_rows(probs[:150], given[:150], NOISE)
    assert found["action"].tolist() == plain["action"].tolist()


def test_a_lost_worker_is_replaced_and_goes_on_from_the_checkpoint(blobs, tmp_path):
    data = blobs(rows=200).data
    checkpoint = Checkpointer(tmp_path / "checkpoints", {"run": 1})
    trap = tmp_path / "trap"
    trap.write_text("set")
    network = {"name": "dying_network:Dying", "options": {"trap": str(trap)}}
    recipe = {"name": "x", "method": "cross_entropy", "training": TRAINING | {"network": network}}
    slow = from_dict(Preset, recipe)
    _, result = on_ray.fit(
        slow, data, None, seed=3, storage=tmp_path, checkpoint=checkpoint, retries=1
    )
    assert not trap.exists()
    _, alone = fit(slow, data, None, seed=3, progress=False)
    torch.testing.assert_close(result.probs, alone.probs, rtol=0, atol=1e-5)
