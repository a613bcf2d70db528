"""Sources of several files, and manifests of texts, are refused by name."""

import pytest
from corpus_sources import base, cases, clothing, mnist, overlay, text

from labelrepair.data import read_source

CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_refused(case, tmp_path):
    case.check(tmp_path)


def test_the_sources_that_the_others_change_are_good(tmp_path):
    again = "0.png 0\n1.png 1\n0.png 0\n"  # twice the same is no contradiction
    assert clothing(noisy_label_kv=again)(tmp_path).class_names == ("Shirt", "Vest")
    assert len(mnist()(tmp_path).labels) == 8
    assert overlay(base(tmp_path) and [1, 0] * 3)(tmp_path).labels.tolist() == [1, 0] * 3
    assert len(read_source(base(tmp_path)).labels) == 6
    assert text(length=4)(tmp_path).features.shape == (6, 4)
