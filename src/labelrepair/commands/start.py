"""What Kedro calls first when one of its commands starts."""

import contextlib
import importlib
import warnings
from pathlib import Path

from kedro.utils import find_kedro_project

# A class of kedro-mlflow's, which Kedro imports with every command of a project.
WARNED_OF = "kedro_mlflow.mlflow.kedro_pipeline_model"
ADVICE = "Add type hints to the `predict` method"


def quietly() -> None:
    """Import kedro-mlflow's class without MLflow's advice to its author, printed at every start.

    Only this import is quiet: a model class of the project's own is still warned of.
    """
    if not find_kedro_project(Path.cwd()):
        return  # where Kedro does not import it either
    # What fails here fails again when Kedro imports it, which says what and goes on.
    with contextlib.suppress(Exception):
        importlib.import_module("mlflow.pyfunc")  # it sets filters of its own, which stay
        # Recorded, as MLflow puts a filter before all of ours.
        with warnings.catch_warnings(record=True) as caught:
            importlib.import_module(WARNED_OF)
        for said in caught:
            if ADVICE not in str(said.message):
                warnings.warn_explicit(said.message, said.category, said.filename, said.lineno)
