"""Writes the configuration that ships with labelrepair into the new project."""

import sys
from pathlib import Path

try:
    from labelrepair.defaults import Host, add_to_project
except ModuleNotFoundError as error:
    sys.exit(f"{error}; install labelrepair[kedro,mlflow] into this Python first")

package = Path("src", "{{ cookiecutter.python_package }}")
add_to_project(Path.cwd(), Host("labels", workspace="data"), package)
