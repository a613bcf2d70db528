"""What an import costs, and what it must not pull in."""

import subprocess
import sys

import pytest

LATER = {
    "cleanlab",
    "dvc",
    "jinja2",
    "kedro",
    "matplotlib",
    "mlflow",
    "pandera",
    "sklearn",
    "torchvision",
}
WITHOUT = {
    "import labelrepair": LATER | {"numpy", "pandas", "torch", "scipy", "PIL"},
    "from labelrepair import repair, repair_with_probs": LATER,
    "import labelrepair.data, labelrepair.training, labelrepair.methods": LATER,
    "from labelrepair import RobustClassifier": LATER - {"sklearn"},
    # What every command of Kedro's begins with.
    "import labelrepair.settings": {"cleanlab", "dvc", "matplotlib", "scipy.stats", "sklearn"},
    "import labelrepair.served_model": LATER - {"mlflow"},
}


def run(code: str) -> str:
    """Return what a fresh process prints."""
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("statement", WITHOUT)
def test_nothing_is_imported_before_it_is_needed(statement):
    found = run(f"import sys; {statement}; print(*sys.modules)").split()
    assert "labelrepair" in found
    assert sorted(WITHOUT[statement] & set(found)) == []


COLLECTOR = """
import gc, labelrepair.settings as settings
from labelrepair.hooks import CollectorHook
started, frozen = gc.get_threshold()[0], gc.get_freeze_count()
assert any(isinstance(hook, CollectorHook) for hook in settings.HOOKS)
CollectorHook().after_context_created()
counts = []
for _ in range(2):
    CollectorHook().before_pipeline_run()
    counts.append(gc.get_freeze_count())
    kept = [[] for _ in range(1000)]
print(started, frozen, *counts, gc.get_threshold()[0], gc.isenabled())
"""


def test_the_garbage_collector_leaves_aside_what_imports_left_and_goes_on():
    started, frozen, once, twice, running, on = run(COLLECTOR).split()
    assert (started, frozen, running, on) == ("200000", "0", "10000", "True")
    # A second run of a process adds nothing: what the first left must be collected.
    assert 10_000 < int(once) == int(twice)


CPU = "import time; start = time.process_time(); {}; print(time.process_time() - start)"


@pytest.mark.slow
def test_import_takes_less_than_two_and_a_half_times_torch():
    """CPU time, the two taking turns, so that a busy machine slows both."""
    pairs = [
        [
            float(run(CPU.format(code)))
            for code in ("import torch", "from labelrepair import repair")
        ]
        for _ in range(5)
    ]
    torch, ours = (min(times) for times in zip(*pairs, strict=True))
    assert ours < 2.5 * torch
