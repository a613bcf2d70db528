"""The plans of docs/scale.md are what benchmarks/scale.py makes of the committed measurements."""

import importlib.util
import json
from pathlib import Path

import pytest

import labelrepair

ROOT = Path(labelrepair.__file__).parents[2]


@pytest.fixture(scope="module")
def scale():
    spec = importlib.util.spec_from_file_location("scale", ROOT / "benchmarks/scale.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_holds_the_plan(scale):
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    written = page.partition(scale.BEGIN)[2].partition(scale.END)[0]
    assert written == scale.plan(), "run python benchmarks/scale.py"


def test_the_label_tables_costs_are_those_of_the_performance_page(scale):
    found = json.loads(scale.MEASURED.read_text("utf-8"))["label_tables"]
    assert [found["seconds"], found["megabytes"]] == pytest.approx(scale.table_costs())


def test_sizes_and_times_are_shown_with_their_units(scale):
    assert [scale.size(g) for g in (0.5, 2, 5000)] == ["512 MiB", "2.0 GiB", "4.9 TiB"]
    shown = [scale.hours(s) for s in (20, 150, 7200, 864000)]
    assert shown == ["20 s", "2 min", "2.0 h", "10 days"]
