import os
import pickle
import re
import zipfile

import pytest
import torch

from labelrepair.atomic import whole_file
from labelrepair.errors import CheckpointError
from labelrepair.training import checkpoint as module
from labelrepair.training.checkpoint import Checkpointer, fingerprint

STATE = {"position": [1, 2], "weights": torch.arange(1000.0), "nested": {"best": None, "x": 0.5}}


@pytest.fixture
def saved(tmp_path):
    checkpointer = Checkpointer(tmp_path / "new" / "folder", {"seed": 1})
    checkpointer.save(STATE)
    return checkpointer


def only_file(checkpointer):
    return os.listdir(checkpointer.path.parent) == [checkpointer.path.name]


def test_round_trip(saved):
    found = saved.load()
    assert found["position"] == [1, 2]
    assert found["nested"] == STATE["nested"]
    assert torch.equal(found["weights"], STATE["weights"])
    assert only_file(saved)
    saved.save({**STATE, "position": [2, 0]})
    assert saved.load()["position"] == [2, 0]
    assert only_file(saved)


def test_nothing_saved_yet(tmp_path):
    checkpointer = Checkpointer(tmp_path / "none", {})
    assert checkpointer.load() is None
    assert not (tmp_path / "none").exists(), "looking leaves no trace"
    checkpointer.remove()


def test_remove(saved):
    saved.remove()
    assert saved.load() is None
    assert os.listdir(saved.path.parent) == []


@pytest.mark.parametrize(
    "place", ["training.checkpoint.torch.save", "atomic.os.fsync", "atomic.os.replace"]
)
def test_a_failure_while_saving_leaves_the_old_file(saved, monkeypatch, place):
    old = saved.path.read_bytes()

    def fail(*args, **_):
        if place.endswith("torch.save"):
            args[1].write(b"half a")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"labelrepair.{place}", fail)
        with pytest.raises(KeyboardInterrupt):
            saved.save({"position": [9, 9]})
    assert saved.path.read_bytes() == old
    assert only_file(saved)


def test_the_file_is_complete_before_it_gets_its_name(saved, monkeypatch):
    seen = []
    replace = os.replace

    def look(source, target):
        seen.append(torch.load(source, weights_only=True)["position"])
        assert os.path.dirname(source) == os.path.dirname(target), "same file system"
        replace(source, target)

    monkeypatch.setattr("labelrepair.atomic.os.replace", look)
    saved.save({"position": [3, 3]})
    assert seen == [[3, 3]]


def test_damage_is_refused_wherever_it_is(saved):
    whole = saved.path.read_bytes()
    broken = [whole[: len(whole) // 2], whole[:-10], b"", b"not a checkpoint at all", whole[100:]]
    for content in broken:
        saved.path.write_bytes(content)
        with pytest.raises(CheckpointError, match=re.escape(str(saved.path))) as caught:
            saved.load()
        assert "delete it to start afresh" in str(caught.value)


def test_a_flipped_bit_is_never_taken_for_a_weight(saved):
    whole = bytearray(saved.path.read_bytes())
    place = whole.find(torch.arange(500.0, 510.0).numpy().tobytes())
    assert place > 0
    whole[place + 2] ^= 0x40
    saved.path.write_bytes(bytes(whole))
    with pytest.raises(CheckpointError):
        saved.load()


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_code_is_refused_and_not_run(saved, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    content = {"format": 1, "fingerprint": saved.fingerprint, "x": Harmful()}
    torch.save(content, saved.path)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        saved.load()
    saved.path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError):
        saved.load()
    assert not (tmp_path / "harm").exists()


def test_a_file_that_holds_no_mapping_is_refused(saved):
    torch.save(torch.zeros(3), saved.path)
    with pytest.raises(CheckpointError):
        saved.load()


def deflate(path):
    """Write a file of torch's again, its entries compressed; return their sizes together."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return sum(len(content) for _, content in entries)


def test_a_small_file_that_unpacks_to_a_large_one_is_refused_unread(saved, monkeypatch):
    saved.save({"weights": torch.zeros(10**6)})
    assert deflate(saved.path) > 100 * saved.path.stat().st_size
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(CheckpointError, match=r"is compressed, expected what torch\.save writes"):
        saved.load()


def test_entries_that_share_their_bytes_are_refused_unread(saved, monkeypatch):
    saved.save({"a": torch.zeros(10**5), "b": torch.zeros(10**5)})
    content = saved.path.read_bytes()
    with zipfile.ZipFile(saved.path) as archive:
        archive.filelist.extend(archive.infolist()[-1:] * 9)
        one = archive.filelist
        tail = archive.start_dir
    with saved.path.open("wb") as stream, zipfile.ZipFile(stream, "w") as archive:
        stream.write(content[:tail])
        archive.filelist, archive.start_dir, archive._didModify = one * 9, tail, True
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(CheckpointError, match=r"entries of \d+ bytes in a file of \d+"):
        saved.load()


def test_another_fingerprint_or_format_is_refused(saved, tmp_path, monkeypatch):
    other = Checkpointer(tmp_path, {"seed": 2})
    assert other.path != saved.path
    assert other.load() is None, "another run starts afresh"
    other.path.write_bytes(saved.path.read_bytes())
    with pytest.raises(CheckpointError, match="checkpoint of another run") as caught:
        other.load()
    assert saved.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)
    monkeypatch.setattr(module, "FORMAT", 2)
    with pytest.raises(CheckpointError, match="found format 1"):
        saved.load()


def test_fingerprint_changes_with_content_versions_and_code(monkeypatch, tmp_path):
    first = fingerprint({"seed": 1, "preset": {"a": [1, 2]}})
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert fingerprint({"preset": {"a": [1, 2]}, "seed": 1}) == first, "order is no content"
    assert fingerprint({"seed": 1, "preset": {"a": [2, 1]}}) != first
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0.0")
        assert fingerprint({"seed": 1, "preset": {"a": [1, 2]}}) != first
    for part in (".", "training", "methods", "networks"):
        (tmp_path / part).mkdir(exist_ok=True)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "training" / "checkpoint.py"))
    seen = {fingerprint({})}
    for part in (".", "training", "methods", "networks"):
        (tmp_path / part / "code.py").write_text("x = 1")
        seen.add(fingerprint({}))
    assert len(seen) == 5


NETS = """
from torch import nn
class Base(nn.Module):
    pass
def one(num_classes):
    return nn.Linear(2, num_classes)
"""


@pytest.mark.parametrize("path", ["{}.nets:Mine", "{}.nets.Mine", "{}:Mine", "{}.nets:one"])
@pytest.mark.parametrize("edited", ["nets.py", "base.py"])
def test_fingerprint_changes_with_the_code_of_a_network_of_ones_own(
    tmp_path, monkeypatch, path, edited
):
    package = f"own_{tmp_path.name}"  # a module of this name is imported once
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text("from .nets import Mine\n")
    (folder / "base.py").write_text(NETS)
    (folder / "nets.py").write_text("from .base import *\nclass Mine(Base):\n    x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    content = {"preset": {"training": {"network": {"name": path.format(package)}}}}
    before = fingerprint(content)
    assert fingerprint(content) == before
    (folder / edited).write_text((folder / edited).read_text() + "# edited\n")
    assert fingerprint(content) != before


@pytest.mark.parametrize("name", ["mlp", "no.such:Thing", "torch.nn:NoSuch", "builtins:len", ":"])
def test_fingerprint_leaves_what_has_no_source_to_the_one_who_builds_it(name):
    assert fingerprint({"network": {"name": name}})
    assert fingerprint({"network": name, "list": [{"network": None}, 3]})


def test_the_same_run_at_work_elsewhere_and_what_a_kill_left(tmp_path):
    kept, same = (Checkpointer(tmp_path, {"run": 1}) for _ in range(2))
    with whole_file(kept.path, ".of-another-process") as stream:
        stream.write(b"begun")
        same.save({"position": [0, 1]})
        assert kept.load()["position"] == [0, 1]
    (tmp_path / f".{kept.path.name}.killed.part").write_bytes(b"half")
    kept.remove()
    assert list(tmp_path.iterdir()) == []
