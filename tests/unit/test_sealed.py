"""What a run noted of the files that it wrote is compared where they are read."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from labelrepair.errors import DataError
from labelrepair.sealed import check_seal, digest, seal

PARTS = {
    "probs": np.arange(6, dtype=np.float32).reshape(3, 2),
    "selected": np.empty(0, dtype=bool),
    "names": ["a", "b"],
    "model": {"spec": {"name": "mlp", "in_shape": [2]}, "weights": {"w": torch.ones(2, 2)}},
}


def test_the_same_parts_pass_in_any_order_and_from_a_file(tmp_path):
    report = json.loads(json.dumps({"preset": "p", **seal(**PARTS)}))
    np.save(tmp_path / "probs.npy", PARTS["probs"])
    read = np.load(tmp_path / "probs.npy", mmap_mode="r")
    model = {"weights": {"w": torch.ones(2, 2)}, "spec": {"in_shape": [2], "name": "mlp"}}
    check_seal(report, "training", **{**PARTS, "probs": read, "model": model})
    check_seal({}, "training", probs=read)  # written by a version that sealed nothing
    check_seal(report, "training", another=1)


CHANGED = {
    "reversed": ("probs", PARTS["probs"][::-1]),
    "another type": ("probs", PARTS["probs"].astype(np.float64)),
    "another shape": ("probs", PARTS["probs"].reshape(2, 3)),
    "fewer rows": ("probs", PARTS["probs"][:2]),
    "permuted": ("names", ["b", "a"]),
    "NaN": ("model", {**PARTS["model"], "weights": {"w": torch.full((2, 2), torch.nan)}}),
    "other options": ("model", {**PARTS["model"], "spec": {"name": "mlp", "in_shape": [3]}}),
}


@pytest.mark.parametrize(("name", "part"), CHANGED.values(), ids=CHANGED)
def test_a_part_that_differs_is_refused_by_name(name, part):
    said = rf"^{name}: not what the same run wrote.*{digest(PARTS[name])}.*--pipelines training$"
    with pytest.raises(DataError, match=said):
        check_seal(seal(**PARTS), "training", **{name: part})


def test_a_frame_comes_back_from_parquet_as_it_was(tmp_path):
    frame = pd.DataFrame({"sample_id": ["a", "é", "bc"], "true_label": [0, -1, 2]})
    for rows in (frame, frame.iloc[:0]):
        rows.to_parquet(tmp_path / "rows.parquet", index=False)
        assert digest(pd.read_parquet(tmp_path / "rows.parquet")) == digest(rows)
    others = [
        frame.iloc[::-1],
        frame.iloc[:2],
        frame.assign(true_label=[0, -1, 1]),
        frame.assign(sample_id=["a", "éb", "c"]),
        frame.rename(columns={"true_label": "given_label"}),
    ]
    assert len({digest(other) for other in [frame, *others]}) == 6
