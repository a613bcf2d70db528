"""Where the time of one ``kedro run`` goes, outside training and evaluation.

    python benchmarks/whole_run.py [--data-root FOLDER] [--epochs N] [--out FILE]

Runs the default pipeline in a copy of the project, in a process of its own, on MNIST with JoCoR if
a folder with MNIST is named, else on the bundled digits; N epochs of each training, as the rest
does not depend on them. CPU seconds of the process (program and kernel) stand beside those of the
clock: on a busy machine only the first say something. "training and evaluation" is what the nodes
compute that train networks or predict with them; all else is what a run costs around it.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COPIED = ("conf", "src", "pyproject.toml", ".telemetry")
LEARNING = {"estimate_label_noise", "train_model", "look_again"}


def main() -> None:
    """Run once, print the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, help="folder with torchvision's MNIST")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = outside(arguments, Path(folder))
    print(f"{platform.machine()}, Python {platform.python_version()}; seconds")
    print(f"{'':36}{'CPU':>8}{'clock':>8}")
    for name, (cpu, clock) in found.items():
        print(f"{name:36}{cpu:8.2f}{clock:8.2f}")
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1))


def outside(arguments: argparse.Namespace, folder: Path) -> dict[str, tuple[float, float]]:
    """Copy the project, run it in another process, return (CPU, clock) of each part."""
    for part in COPIED:
        source = ROOT / part
        copy: Any = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / part)
    file = folder / "parts.json"
    command = [sys.executable, str(Path(__file__).resolve()), "--inside", "--out", str(file)]
    command += ["--epochs", str(arguments.epochs)]
    if arguments.data_root:
        command += ["--data-root", str(arguments.data_root.resolve())]
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": str(folder / "src"),
    }
    subprocess.run(command, check=True, cwd=folder, env=env, stdout=subprocess.DEVNULL)
    found: dict[str, tuple[float, float]] = json.loads(file.read_text())
    return found


# -- inside the measured process ----------------------------------------------------------------


def now() -> tuple[float, float]:
    """Return CPU seconds of this process since it started, and of the clock."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.monotonic()


def inside(arguments: argparse.Namespace) -> None:
    """Run the pipeline with a watch on every node, load and save."""
    begun = now()[1]
    from kedro.framework.session import KedroSession  # noqa: PLC0415
    from kedro.framework.startup import bootstrap_project  # noqa: PLC0415
    from kedro.io import DataCatalog  # noqa: PLC0415
    from kedro.pipeline.node import Node  # noqa: PLC0415

    parts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    watch(Node, "run", lambda node, *_, **__: f"node {node.name}", parts)
    watch(DataCatalog, "load", lambda *_, **__: "loading", parts)
    watch(DataCatalog, "save", lambda _, name, *__, **___: f"saving {name}", parts)
    name = "mnist" if arguments.data_root else "digits"
    params: dict[str, Any] = {"dataset": name, "preset": f"jocor_{name}"}
    for place in ("data.probe", "recipe.training"):
        shorten(params, f"{place}.schedule.epochs", arguments.epochs)
    if arguments.data_root:
        params["data_root"] = str(arguments.data_root)
    bootstrap_project(Path.cwd())
    with KedroSession.create(Path.cwd(), runtime_params=params) as session:
        session.run()
    cpu, clock = now()[0], now()[1] - begun
    write(parts, cpu, clock, arguments.out)


def shorten(params: dict[str, Any], place: str, value: int) -> None:
    """Set a nested runtime parameter."""
    *folders, key = place.split(".")
    for folder in folders:
        params = params.setdefault(folder, {})
    params[key] = value


def watch(kind: Any, method: str, name: Any, parts: dict[str, list[float]]) -> None:
    """Add what every call of a method takes to the part that ``name`` gives."""
    real = getattr(kind, method)

    def watched(*args: Any, **kwargs: Any) -> Any:
        before = now()
        try:
            return real(*args, **kwargs)
        finally:
            for index, (was, is_) in enumerate(zip(before, now(), strict=True)):
                parts[name(*args, **kwargs)][index] += is_ - was

    setattr(kind, method, watched)


def write(parts: dict[str, list[float]], cpu: float, clock: float, file: Path) -> None:
    """Write all parts, the dearest first, between the totals."""
    learning = [sum(v[i] for k, v in parts.items() if k[5:] in LEARNING) for i in (0, 1)]
    rest = [total - sum(v[i] for v in parts.values()) for i, total in enumerate((cpu, clock))]
    found = {
        "whole run": (cpu, clock),
        "training and evaluation": tuple(learning),
        "outside of these": (cpu - learning[0], clock - learning[1]),
        "imports, configuration, MLflow run": tuple(rest),
    }
    shown = {k: v for k, v in parts.items() if k[5:] not in LEARNING}
    found |= dict(sorted(shown.items(), key=lambda item: -item[1][0])[:25])
    file.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
