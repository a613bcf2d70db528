"""Many runs in one process, as in a notebook or a service: nothing grows.

``LABELREPAIR_SOAK`` sets how many; see ``make test-soak``.
"""

import ctypes
import gc
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from test_kill_anywhere import lighten

pytestmark = pytest.mark.slow
RUNS = int(os.environ.get("LABELREPAIR_SOAK", "200"))
WARM = max(5, RUNS // 2)  # runs that fill caches
# Megabytes a run: torch.export and MLflow leave some KB each time, see docs/performance.md.
MOST = 0.13
logger = logging.getLogger("labelrepair.soak")  # shown by -o log_cli=true -o log_cli_level=INFO


def held() -> tuple[float, int, int]:
    """Return megabytes in use, open files and threads of this process."""
    for handler in logging.getLogger().handlers:  # pytest keeps all that a test logs
        getattr(handler, "reset", lambda: None)()
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free, but not given back, is no growth
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return kilobytes / 1024, len(os.listdir("/proc/self/fd")), threading.active_count()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux' /proc")
def test_nothing_grows(project):
    lighten(project)
    found = []
    for number in range(RUNS):
        project.run("__default__", "handoff", seed=number % 7)
        found.append(held())
        logger.info("run %d: %.1f MB, %d files, %d threads", number, *found[-1])
    memory, files, threads = np.array(found[WARM:]).T
    growth = np.polyfit(np.arange(len(memory)), memory, 1)[0]
    logger.info("%.3f MB a run", growth)
    assert growth < MOST
    assert files[-1] <= files[0] + 1
    assert threads[-1] <= threads[0]
