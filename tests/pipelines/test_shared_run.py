"""``kedro run`` in several processes, by the node or by torchrun: the same table."""

import re

import pandas as pd
import pytest

PIPELINES = "--pipelines=ingestion,estimation,training,refinement,repair"
PARAMS = "recipe.training.budget=0.03,refinement.rounds=0"


def repaired(project):
    return pd.read_parquet(project / "data/07_model_output/repaired_labels.parquet")


def compare(found, alone):
    close = ["label_quality", "confidence"]
    pd.testing.assert_frame_equal(found[close], alone[close], rtol=0, atol=1e-4)
    pd.testing.assert_frame_equal(found.drop(columns=close), alone.drop(columns=close))


@pytest.mark.slow
def test_a_run_in_two_processes_repairs_as_one_does(project, free_port):
    project.kedro(PIPELINES, "--params", PARAMS)
    alone = repaired(project)
    two = f"{PARAMS},recipe.training.distributed.processes=2"
    project.kedro(PIPELINES, "--params", two)
    compare(repaired(project), alone)
    launch = ["torchrun", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    launch += [f"--master-port={free_port}"]
    done = project.command(*launch, "-m", "kedro", "run", PIPELINES, "--params", PARAMS)
    compare(repaired(project), alone)
    ended = re.findall("Pipeline execution completed", done.stdout + done.stderr)
    assert len(ended) == 1, "only rank 0 runs the pipelines"
    assert len(project.mlflow_runs()) == 3
    assert not list((project / "data/06_models/checkpoints").iterdir())
