"""What imports cost, beside `import torch`.

    python benchmarks/start.py [--again N] [--out FILE]

Each statement in a fresh process, taking turns; CPU seconds, the best of N.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
from pathlib import Path

STATEMENTS = (
    "import torch",
    "import labelrepair",
    "from labelrepair import repair",
    "import labelrepair.settings",  # what every command of Kedro's begins with
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--again", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON to write")
    arguments = parser.parse_args()
    turns = [{name: seconds(name) for name in STATEMENTS} for _ in range(arguments.again)]
    best = {name: min(turn[name] for turn in turns) for name in STATEMENTS}
    print(f"{platform.machine()}, Python {platform.python_version()}; CPU seconds, by import torch")
    for name, value in best.items():
        print(f"{name:36}{value:8.2f}{value / best['import torch']:8.2f}")
    if arguments.out:
        arguments.out.write_text(json.dumps(best, indent=1) + "\n")


def seconds(statement: str) -> float:
    """Return the CPU seconds of a process that does nothing else."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


if __name__ == "__main__":
    main()
