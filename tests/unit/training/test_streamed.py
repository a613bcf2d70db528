"""Rows that are read as batches need them: bit for bit what a resident tensor gives."""

import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from labelrepair.data.images import EncodedImages
from labelrepair.data.storage import StorageSpec, load_features, save_features, stored
from labelrepair.errors import DataError, LabelRepairError
from labelrepair.networks import features as features_module
from labelrepair.networks.classifier import Normalizer
from labelrepair.networks.features import Stream, in_order, take
from labelrepair.networks.penultimate import penultimate
from labelrepair.training import (
    Augment,
    Checkpointer,
    Holdout,
    Network,
    Schedule,
    TrainingConfig,
    TrainSet,
)
from labelrepair.training import streamed as streamed_module
from labelrepair.training import train as train_stages
from labelrepair.training.probe import ProbeSpec, cross_validated_probs
from labelrepair.training.state import Stage, Step, predict_logits
from labelrepair.training.streamed import Streamed, address, ahead, at_address
from labelrepair.workflow import network_builder

ROWS, TEST = 60, 12
CONFIG = TrainingConfig(
    batch_size=8,
    normalize="pixel_mean",
    augment=Augment(2, True),
    device="cpu",
    schedule=Schedule(2, 0.01),
)


@pytest.fixture(scope="module")
def pixels():
    draws = np.random.default_rng(0)
    return draws.integers(0, 256, (ROWS + TEST, 3, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module", params=["shards", "files", "files by two processes"])
def store(request, pixels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    kind, _, processes = request.param.partition(" by ")
    source = pixels
    if kind == "files":
        paths = [str(folder / f"{row}.png") for row in range(len(pixels))]
        for path, image in zip(paths, pixels, strict=True):
            Image.fromarray(image.transpose(1, 2, 0)).save(path)
        source = EncodedImages(paths, paths, "RGB", None)
    spec = StorageSpec(kind, shard_bytes=13 * pixels[0].nbytes, unfinished=str(folder / "new"))
    found, _ = stored(source, spec)
    found.workers, found.unfinished = 2 if processes else 0, False
    return found


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(features_module, "CHUNK_ROWS", 20)  # several portions, some of two pieces
    monkeypatch.setattr(streamed_module, "PIECE_BYTES", 12 * 3 * 8 * 8)


def sets(features):
    rows, tests = torch.arange(ROWS), torch.arange(ROWS, ROWS + TEST)
    labels = torch.arange(ROWS + TEST) % 3
    data = TrainSet(take(features, rows), labels[:ROWS], 3, rows[10:], rows[:10])
    return data, Holdout(take(features, tests), labels[ROWS:])


def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Dropout(0.3), torch.nn.Linear(144, 3)
    )


def learn(logits, batch, run):
    return Step(torch.nn.functional.cross_entropy(logits[0], batch.labels))


def train(features, checkpoint=None):
    data, test = sets(features)
    stage = Stage("one", CONFIG.schedule, learn, window=1, keep="best_val_accuracy")
    stages = [stage, replace(stage, name="two", start="carry")]
    return train_stages(
        data, stages, network, CONFIG, seed=1, test=test, checkpoint=checkpoint, progress=False
    )


def outcome(result):
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]
    return history, [result.probs, *result.used, *result.networks.state_dict().values()]


def assert_same(first, second):
    (history, tensors), (other_history, others) = outcome(first), outcome(second)
    assert history == other_history
    assert all(torch.equal(a, b) for a, b in zip(tensors, others, strict=True))


def test_training_gives_the_same_bits(pixels, store):
    resident = train(torch.from_numpy(pixels))
    assert "test_accuracy" in resident.history[-1]
    assert "noisy_val_accuracy" in resident.history[-1]
    assert_same(resident, train(Streamed(store)))


class Stopped(Exception):
    pass


def test_a_resume_gives_the_same_bits_even_from_another_source(pixels, store, tmp_path):
    checkpoint = Checkpointer(tmp_path, {})

    class Stopping(Checkpointer):
        def save(self, state):
            super().save(state)
            if state["position"] == [1, 1]:
                raise Stopped

    with pytest.raises(Stopped):
        train(torch.from_numpy(pixels), Stopping(tmp_path, {}))
    resumed = train(Streamed(store), checkpoint)
    assert_same(train(torch.from_numpy(pixels)), resumed)


def test_the_probe_gives_the_same_bits(pixels, store):
    labels = torch.arange(len(pixels)) % 3

    def probs(features):
        spec = ProbeSpec(3, replace(CONFIG, schedule=Schedule(1, 0.01)))
        return cross_validated_probs(features, labels, 3, network, spec, seed=2)

    assert torch.equal(probs(torch.from_numpy(pixels)), probs(Streamed(store)))


@pytest.mark.parametrize("kind", ["none", "pixel_mean", "channel_mean", "standardize"])
def test_normalisation_is_the_same(pixels, store, kind):
    rows = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:50]
    one = Normalizer.fit(kind, torch.from_numpy(pixels), rows)
    two = Normalizer.fit(kind, Streamed(store), rows)
    assert torch.equal(one.shift, two.shift)
    assert torch.equal(one.scale, two.scale)


def test_predictions_are_the_same(pixels, store):
    nets, rows = torch.nn.ModuleList([network()]), torch.tensor([5, 3, 3, 70, 0])
    tensor, stream = torch.from_numpy(pixels), Streamed(store)
    for which in (None, rows):
        one = predict_logits(nets, Normalizer(), tensor, which)
        assert torch.equal(one, predict_logits(nets, Normalizer(), stream, which))
        one = penultimate(nets[0], Normalizer(), tensor, which)
        assert torch.equal(one, penultimate(nets[0], Normalizer(), stream, which))
    assert torch.equal(
        predict_logits(nets, Normalizer(), tensor, rows),
        predict_logits(nets, Normalizer(), tensor[rows]),
    )


def test_what_a_stream_is(pixels, store):
    stream = Streamed(store)
    assert isinstance(stream, Stream)
    assert (stream.shape, stream.dtype, len(stream)) == (pixels.shape, torch.uint8, len(pixels))
    some = take(stream, torch.tensor([4, 2]))
    assert torch.equal(some[torch.tensor([1])], torch.from_numpy(pixels[[2]]))
    parts = list(in_order(stream, 50))
    assert [len(part) for part in parts] == [50, len(pixels) - 50]
    assert torch.equal(torch.cat(parts), torch.from_numpy(pixels))
    empty = list(in_order(stream.take(torch.tensor([], dtype=torch.int64)), 50))
    assert sum(map(len, empty)) == 0


def test_a_portion_may_be_empty(pixels, store):
    wanted = [torch.arange(20), torch.arange(0), torch.arange(20, 40), torch.arange(0)]
    found = list(Streamed(store).portions(wanted))
    for part, rows in zip(found, wanted, strict=True):
        assert torch.equal(part, torch.from_numpy(pixels[rows.numpy()]))


def test_text_networks_learn_their_vocabulary_from_a_stream(tmp_path):
    tokens = np.arange(60, dtype=np.int32).reshape(20, 3)
    spec = StorageSpec("shards", shard_bytes=50, unfinished=str(tmp_path))
    found, _ = stored(tokens, spec)
    options = [
        network_builder(Network("embedding"), features, 2)[1]["options"]
        for features in (torch.from_numpy(tokens), Streamed(found))
    ]
    assert options[0] == options[1]
    assert options[0]["vocabulary_size"] == 60


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_disappears_ends_the_training_with_its_name(pixels, tmp_path, workers):
    paths = [str(tmp_path / f"{row}.png") for row in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    found, _ = stored(EncodedImages(paths, paths, "RGB", None), StorageSpec("files"))
    found.workers = workers
    (tmp_path / "33.png").unlink()
    with pytest.raises(DataError, match=r"33.png: row 33: the image was here at ingestion") as seen:
        train(Streamed(found))
    assert "Traceback" not in str(seen.value)


def test_a_killed_process_is_reported():
    class Fatal:
        shape, dtype, nbytes, workers = (100, 1000), np.dtype(np.uint8), 100_000, 2

        def __len__(self):
            return 100

        def read(self, rows):
            os._exit(9)

    with pytest.raises(LabelRepairError, match="a process that decodes images ended"):
        list(Streamed(Fatal()).portions([torch.arange(50), torch.arange(50, 100)]))


def reading_threads():
    return [t for t in threading.enumerate() if t.name == "labelrepair-read-ahead"]


def test_reading_ahead_keeps_order_raises_and_ends():
    assert list(ahead(lambda: iter(range(50)))) == list(range(50))

    def broken():
        yield 1
        raise DataError("row 2 is gone")

    items = ahead(broken)
    assert next(items) == 1
    with pytest.raises(DataError, match="row 2 is gone"):
        next(items)
    made = []

    def endless():
        while True:
            made.append(len(made))
            yield made[-1]

    items = ahead(endless, depth=2)
    assert next(items) == 0
    items.close()
    assert not reading_threads()
    assert len(made) <= 5, "it does not run away from the reader"


# -- other processes ---------------------------------------------------------------------------


def test_other_processes_find_the_rows_by_their_address(pixels, store, tmp_path):
    save_features(tmp_path / "features", store)
    saved = load_features(tmp_path / "features", workers=0)
    some = take(take(Streamed(saved), torch.arange(3, 40)), torch.tensor([5, 1]))
    found = at_address(address(some))
    assert torch.equal(found[torch.arange(2)], torch.from_numpy(pixels[[8, 4]]))


# -- memory ------------------------------------------------------------------------------------

READ_ALL = """
import sys, torch
from pathlib import Path
from labelrepair.data.shards import Shards
from labelrepair.training.streamed import Streamed

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))

stream = Streamed(Shards(sys.argv[1]))
order = torch.randperm(len(stream), generator=torch.Generator().manual_seed(0))
before = peak()
rows = sum(len(part) for part in stream.portions(torch.split(order, 100)))
assert rows == len(stream)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_rows_read(tmp_path):
    """500 MB go through; a few portions of 15 MB are held, and no page of a shard."""
    rows = np.random.default_rng(0).integers(0, 256, (3500, 3, 224, 224), dtype=np.uint8)
    spec = StorageSpec("shards", shard_bytes=6e7, unfinished=str(tmp_path))
    found, _ = stored(rows, spec)
    command = [sys.executable, "-c", READ_ALL, str(found.folder)]
    megabytes = int(subprocess.run(command, check=True, capture_output=True).stdout)
    assert megabytes < 200


HELD = """
import numpy as np, torch
from pathlib import Path
from labelrepair.data.rows import RowStore
from labelrepair.training.device import keep_freed_memory
from labelrepair.training.streamed import Streamed

class Held(RowStore):
    shape, dtype, workers = (8, 1), np.dtype(np.int64), 2
    def read(self, rows):
        lines = Path("/proc/self/status").read_text().splitlines()
        held = next(int(line.split()[1]) >> 10 for line in lines if line.startswith("RssAnon"))
        return np.full((len(rows), 1), held)

keep_freed_memory()
blocks = [torch.ones(1 << 20) for _ in range(60)]  # of 4 MB
del blocks[:-1]  # what is left lies on top: the others stay with the process
parts = [torch.arange(4), torch.arange(4, 8)]
here = Held().read([0])
found = torch.cat(list(Streamed(Held()).portions(parts)))
print(here.item() - found.max().item())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_processes_that_decode_hold_no_memory_that_this_one_had_freed():
    """59 blocks of 4 MB are free when they start."""
    done = subprocess.run([sys.executable, "-c", HELD], check=True, capture_output=True)
    assert int(done.stdout) > 200
