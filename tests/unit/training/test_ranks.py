"""Two processes train as one: the same batches, the same rows learned from, the same labels."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import rank_jobs
import torch

from labelrepair.config import from_dict
from labelrepair.errors import ConfigError, LabelRepairError, StoreError
from labelrepair.training import Checkpointer, Distributed, Schedule, TrainingConfig, launch
from labelrepair.training.probe import ProbeSpec
from labelrepair.training.ranks import Ranks
from labelrepair.workflow import probe_probs

TWO = Distributed(processes=2, backend="gloo", timeout=600.0)
QUICK = ("jocor", "batch norm")
TOLERANCE = 1e-5  # of probabilities and weights after some epochs; seen: below 1e-6


def start(job, content):
    return launch.run(f"rank_jobs:{job}", content, TWO)


@pytest.fixture(scope="module")
def two():
    return start("every_case", {"cases": QUICK})


def compare(found, case):
    alone = rank_jobs.result(case)
    assert torch.equal(found["used"], alone["used"])
    torch.testing.assert_close(found["probs"], alone["probs"], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(found["weights"], alone["weights"], rtol=0, atol=TOLERANCE)
    assert torch.equal(found["probs"].argmax(1), alone["probs"].argmax(1))
    if alone["selected"] is not None:
        assert torch.equal(found["selected"], alone["selected"])
    assert found["test_accuracy"] == alone["test_accuracy"]
    for row, other in zip(found["history"], alone["history"], strict=True):
        assert row == pytest.approx(other, abs=TOLERANCE)


@pytest.mark.parametrize("case", QUICK)
def test_two_ranks_give_what_one_process_gives(two, case):
    compare(two[case], case)


@pytest.mark.slow
def test_every_kind_of_state_is_merged_by_row():
    rest = [case for case in rank_jobs.CASES if case not in QUICK]
    found = start("every_case", {"cases": rest})
    for case in rest:
        compare(found[case], case)


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_and_the_next_one_goes_on(tmp_path):
    checkpoint = Checkpointer(tmp_path, {"run": 1})
    job = {"checkpoint": checkpoint.address(), "epoch": 2}
    with pytest.raises(LabelRepairError, match=r"rank 1 of 2 was ended by SIGKILL.*start the run"):
        start("dies", job)
    state = checkpoint.load()
    assert state["position"] == [0, 2]
    compare(start("dies", job | {"epoch": None}), "jocor")
    assert not list(tmp_path.glob(".ranks-*"))


ORPHAN = """
import subprocess, sys
started = [sys.executable, "-m", "labelrepair.training.rank_main", "rank_jobs:numbers", sys.argv[1]]
subprocess.Popen([*started, "gloo", "600", sys.argv[2]], start_new_session=True)
"""


def test_a_rank_whose_parent_is_gone_leaves_nothing_behind(tmp_path):
    # The parent ends before the rank, which imports PyTorch first, can ask who it was.
    place = tmp_path / ".ranks-job"
    place.mkdir()
    place.joinpath("content.pt").write_bytes(bytes(100))
    wanted = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(place), "1000000"],
        env={**os.environ, **wanted, **where},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        parent.communicate(timeout=60)  # until the rank, which has its output, is gone as well
    assert not place.exists()


@pytest.mark.slow
def test_folds_are_shared_and_keep_their_bits():
    data, _ = rank_jobs.data()
    probe = ProbeSpec(folds=3, training=TrainingConfig(batch_size=32, threads=1, device="cpu"))
    probe = replace(probe, training=replace(probe.training, schedule=Schedule(2)))
    shared = replace(probe, training=replace(probe.training, distributed=TWO))
    assert torch.equal(probe_probs(data, shared, 5), probe_probs(data, probe, 5))


@pytest.mark.slow
def test_an_error_of_a_rank_is_that_of_the_run():
    with pytest.raises(ConfigError, match="said by a rank"):
        start("refused", {})


@pytest.fixture
def small_files():
    """Let this process and those that it starts write 100 kB into a file and no more."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("name", "content"),
    [("content.pt", {"numbers": torch.zeros(10**6)}), ("answer.pt", {"count": 10**6})],
)
def test_what_does_not_fit_on_the_disk_is_named(small_files, name, content):
    with pytest.raises(StoreError, match=rf"/\.ranks-.*/{name}: cannot be written \(File too"):
        start("numbers", content)


def test_rows_are_divided_evenly_within_training_and_validation_rows():
    train, val = torch.arange(10, 20), torch.arange(4)
    owner = Ranks(0, 3).owners(20, train, val)
    assert owner[train].tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert owner[val].tolist() == [0, 0, 1, 2]
    assert owner[4:10].tolist() == [0, 0, 1, 1, 2, 2]


def test_places_put_padded_parts_back_in_order():
    share = Ranks(1, 3).share(torch.tensor([2, 0, 1, 1, 0, 1]))
    assert share.counts == [2, 3, 1]
    assert share.mine.tolist() == [2, 3, 5]
    padded = torch.full((9,), -1)
    for rank in range(3):
        rows = (share.owner == rank).nonzero()[:, 0]
        padded[3 * rank : 3 * rank + len(rows)] = rows
    assert padded[share.places].tolist() == list(range(6))


def test_one_process_is_no_group_and_needs_none():
    assert Ranks.joined() is None
    assert not launch.together(TrainingConfig().distributed)
    assert launch.together(TWO)


def test_join_does_nothing_without_torchrun(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    launch.join()
    assert not launch.together(Distributed())


def test_nccl_without_gpus_is_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="nccl needs a GPU for each of the 2 processes"):
        launch.choose_backend("nccl")
    assert launch.choose_backend("auto") == "gloo"


@pytest.mark.parametrize("wrong", [{"processes": 0}, {"backend": "mpi"}, {"timeout": 0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        from_dict(TrainingConfig, {"distributed": wrong})


def test_the_environment_is_put_back(monkeypatch):
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    before = dict(os.environ)
    with launch._environment():
        assert os.environ["PYTHONPATH"]
    assert dict(os.environ) == before
