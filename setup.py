"""Builds the wheel with the defaults of ``conf/base`` and the starter inside the package.

The rest is in pyproject.toml. A checkout and an editable install read the folders themselves.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = {"conf/base": "conf/base", "starters/labelrepair": "starters/labelrepair"}


class BuildWithDefaults(build_py):
    """Copies the carried folders beside the modules, unless the install is editable."""

    def run(self) -> None:
        """Copy after the modules."""
        super().run()
        if not self.editable_mode:
            for source, place in CARRIED.items():
                target = Path(self.build_lib, "labelrepair", place)
                shutil.rmtree(target, ignore_errors=True)
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, target, ignore=ignored)


setup(cmdclass={"build_py": BuildWithDefaults})
