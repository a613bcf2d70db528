"""The corpus' own bounds: what hangs or unpacks a bomb fails by name, and the next case runs."""

import contextlib
import os
import resource
import signal
import sys
import time

import corpus
import numpy as np
import pytest
from corpus import Case

from labelrepair.errors import DataError


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Limits, timer and handler are those of before."""
    state = lambda: (  # noqa: E731
        resource.getrlimit(resource.RLIMIT_DATA),
        signal.getitimer(signal.ITIMER_REAL),
        signal.getsignal(signal.SIGALRM),
    )
    before = state()
    yield
    assert state() == before


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(corpus, "WALL_SECONDS", 0.3)


def pipe(folder):
    os.mkfifo(folder / "pipe")
    return (folder / "pipe").read_bytes()


def stubborn(_folder):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(Exception):  # as readers of damaged files do
            time.sleep(10)


@pytest.mark.parametrize("read", [pipe, stubborn])
def test_a_case_that_hangs_fails_by_name(read, soon, tmp_path):
    started = time.monotonic()
    with pytest.raises(AssertionError, match=r"^mine: still busy after 0.3 s"):
        Case("mine", read, ()).check(tmp_path)
    assert time.monotonic() - started < 5


def at_once(_folder):
    return np.ones(10 * 2**30, np.uint8)


def bit_by_bit(_folder):
    return [np.empty(2**28, np.uint8) for _ in range(40)]  # none of it is written


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what a process has")
@pytest.mark.parametrize("read", [at_once, bit_by_bit])
def test_a_case_that_takes_ten_gigabytes_fails_by_name(read, tmp_path):
    with pytest.raises(AssertionError, match=r"^mine: more than 3000 MB"):
        Case("mine", read, ()).check(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what a process has")
def test_a_case_that_takes_half_a_gigabyte_fails_by_name(tmp_path):
    def read(_folder):
        np.ones(2**29, np.uint8)
        raise DataError("refused, but too late")

    with pytest.raises(AssertionError, match=r"^mine: 5\d\d MB"):
        Case("mine", read, ()).check(tmp_path)


def test_a_case_that_computes_for_long_fails_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(corpus, "SECONDS", 0.05)

    def read(_folder):
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        raise DataError("refused, but too late")

    with pytest.raises(AssertionError, match=r"^mine: 0.1 s"):
        Case("mine", read, ()).check(tmp_path)


def test_a_case_that_is_refused_in_time_passes(tmp_path):
    def read(_folder):
        raise DataError("row 3 is wrong")

    Case("mine", read, ("row 3",)).check(tmp_path)
