"""Whole runs on features that do not lie in memory: the products of a run on resident ones."""

import numpy as np
import pytest
from kedro.io import DatasetError
from PIL import Image
from sklearn.datasets import load_digits

from labelrepair.errors import DataError

pytestmark = pytest.mark.slow
PRODUCTS = (
    "03_primary/label_table.parquet",
    "05_model_input/probe_probs.npy",
    "05_model_input/noise_estimate.json",
    "07_model_output/training_probs.npy",
    "07_model_output/refined_probs.npy",
    "07_model_output/repaired_labels.parquet",
    "08_reporting/metrics.json",
    "08_reporting/ab_evidence.json",
)


@pytest.fixture(scope="module")
def pictures(make_project, tmp_path_factory):
    """A project with 150 digits as image files in class folders."""
    project = make_project(tmp_path_factory.mktemp("stored") / "project")
    bunch = load_digits(n_class=3)
    for row in range(150):
        split = "test" if row % 5 == 0 else "train"
        path = project / f"data/01_raw/pictures/{split}/{bunch.target[row]}/{row:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(bunch.images[row] * (255 / 16)).astype(np.uint8)).save(path)
    source = {"kind": "image_folder", "path": "data/01_raw/pictures", "mode": "L"}
    noise = {"kind": "instance_dependent", "rate": 0.3, "seed": 1}
    project.dataset("pictures", {**source, "labels_are_true": True}, noise)
    return project


def run(project, kind, *pipelines):
    choice = {"dataset": "pictures", "ingestion": {"storage": {"kind": kind, "shard_bytes": 2e3}}}
    project.run(*pipelines, **choice)


@pytest.mark.parametrize("kind", ["shards", "files"])
def test_products_are_those_of_resident_features(pictures, kind):
    def products(kind):
        for pipelines in ((), ("ab",)):
            run(pictures, kind, *pipelines)
        return {name: (pictures / "data" / name).read_bytes() for name in PRODUCTS}

    found, expected = products(kind), products("resident")
    assert [name for name in PRODUCTS if found[name] != expected[name]] == []
    assert not list((pictures / "data/04_feature").glob("unfinished/*"))


def test_an_image_that_disappeared_is_named(pictures):
    run(pictures, "files", "ingestion")
    (pictures / "data/01_raw/pictures/train/1/011.png").unlink()
    with pytest.raises((DataError, DatasetError), match=r"train/1/011.png: row \d+: the image was"):
        run(pictures, "files", "estimation", "training")
