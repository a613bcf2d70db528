"""Write docs/licences.md: every package of this environment with its version and licence."""

import re
from importlib import metadata
from pathlib import Path

TITLE = """# Licences of all dependencies

Everything that `make install` puts beside labelrepair, extras and development tools included, as
the packages' own metadata state it, and what the extra `ray` adds. Written by `make
licences`; read it again before you ship.

| package | version | licence |
|---|---|---|
"""
OURS = "labelrepair"
PREFIX = "License :: "
# Of the extra that `make install` leaves out; read on PyPI.
OF_RAY = {"msgpack": "Apache-2.0", "ray": "Apache-2.0", "tensorboardx": "MIT"}


def licence(package: metadata.PackageMetadata) -> str:
    """Return the SPDX expression, else the classifiers, else the first line of the free text."""
    expression = package.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = [
        text.rpartition(" :: ")[2]
        for text in package.get_all("Classifier") or []
        if text.startswith(PREFIX) and text != "License :: OSI Approved"
    ]
    if classifiers:
        return "; ".join(classifiers)
    lines = [line.strip() for line in (package.get("License") or "").splitlines() if line.strip()]
    return lines[0][:80] if lines else "not stated"


def main() -> None:
    """Write the page."""
    pins = re.findall(r"^([\w-]+)==([^\s;]+)", Path("constraints.txt").read_text().lower(), re.M)
    found = {name: (version, OF_RAY[name]) for name, version in pins if name in OF_RAY}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name != OURS:
            found[name] = (distribution.version, licence(distribution.metadata))
    rows = [f"| {name} | {version} | {text} |" for name, (version, text) in sorted(found.items())]
    Path("docs/licences.md").write_text(TITLE + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
