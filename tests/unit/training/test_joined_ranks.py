"""Two processes that were started for us: how they end where one or both meet an error."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 60
SETTINGS = """
import sys, time
from labelrepair.errors import LabelRepairError
from labelrepair.training import Distributed, launch

FOREVER = Distributed(backend="gloo", timeout=launch.FOREVER.total_seconds())

def start(job, **content):
    try:
        print(launch.run(f"rank_jobs:{job}", content, FOREVER), flush=True)
    except LabelRepairError as error:
        print(type(error).__name__, error, flush=True)
"""
LATE = """
import os
load = launch._load
def late(file):
    time.sleep(2.0 * (os.environ["RANK"] == "1"))
    return load(file)
launch._load = late
"""


def environment(rank):
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    return {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(paths),
    }


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture
def two(tmp_path, port):
    """Run a script on two ranks; return exit code, output and errors of each."""
    started = []

    def run(script):
        for rank in range(2):
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", SETTINGS + script],
                    env={**environment(rank), "MASTER_PORT": port},
                    cwd=tmp_path,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        said = [process.communicate(timeout=SECONDS) for process in started]
        return [(process.returncode, *texts) for process, texts in zip(started, said, strict=True)]

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_an_error_of_one_rank_ends_it_with_its_message(two, tmp_path):
    first, second = two("launch.GRACE = 0.5; launch.join(); start('refused_by_last')")
    assert second[0] == 1
    assert "rank 1 of 2: DataError: row 3: seen by rank 1 only" in second[2]
    assert first[1].startswith("DataError row 3: seen by rank 1 only"), "not a lost rank"
    assert not list(tmp_path.iterdir())


def test_an_error_of_both_is_raised_by_the_first_and_the_next_job_goes_on(two, tmp_path):
    script = "launch.join(); start('refused'); start('summed', number=2.0); start('refused')"
    first, second = two(LATE + script)  # rank 0 does not take the file away before rank 1 has it
    assert [code for code, *_ in (first, second)] == [0, 0], second[2]
    said = first[1].splitlines()
    assert said == [
        "ConfigError noise_rate: said by a rank",
        "{'sum': tensor([4.])}",
        "ConfigError noise_rate: said by a rank",
    ]
    assert "Error" not in second[2]
    assert not list(tmp_path.iterdir())


PARENT = """
import subprocess, sys, os
ranks = [
    subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={**os.environ, "RANK": str(rank)})
    for rank in range(2)
]
print(*(process.pid for process in ranks), flush=True)
for process in ranks:
    process.wait()
"""


def test_ranks_end_with_torchrun(port, tmp_path):
    script = SETTINGS + "launch.join(); print('joined', flush=True); time.sleep(600)"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, script],
        env={**environment(0), "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "1"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    ranks = [int(number) for number in parent.stdout.readline().split()]
    try:
        assert parent.stdout.readline() == "joined\n"
        parent.kill()
        parent.communicate(timeout=SECONDS)  # until nobody is left who could write
    except subprocess.TimeoutExpired:
        for number in ranks:
            os.kill(number, signal.SIGKILL)
        raise
    finally:
        parent.kill()
        parent.wait()
