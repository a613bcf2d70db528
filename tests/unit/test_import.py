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
