"""Every drawing of the page is a PNG, too."""

import re
import xml.etree.ElementTree as ET

import pytest

from labelrepair.pictures import ZOOM, png, pngs, style_sheet
from labelrepair.report import ReportSpec, build_context, drawings, render_context

ROW = {"mean_difference": 0.03, "low": 0.01, "high": 0.05, "seeds": 5}
AB = {"rows": [{"name": "accuracy", **ROW}]}
HOSTILE = "<script>alert(1)</script>\"'&"


@pytest.fixture(scope="module")
def context(make_sources):
    return build_context(make_sources(ab=AB), ReportSpec())


def colours(picture):
    return {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}


def test_every_drawing_and_gallery_of_the_page_has_one(context):
    drawn, page = drawings(context), render_context(context)
    inline = page.count("<svg ") - 1  # the wide and the narrow flow are one drawing
    shown = len(re.findall(r'<ul class="gallery', page))
    # Beside them the bar of the actions and the intervals of the retraining, which are no SVG.
    assert len(drawn) == inline + shown + 2
    assert {"gallery_relabels", "after_true_to_repaired_labels", "retraining"} <= set(drawn)


def test_they_show_something_in_the_colours_of_the_page(context):
    some = ("after_true_to_repaired_labels", "confidence", "gallery_relabels", "retraining")
    drawn = drawings(context)
    for name, picture in pngs({name: drawn[name] for name in some}).items():
        assert picture.format == "PNG"
        assert picture.width == 860 * ZOOM
        assert len(colours(picture)) > 20, name
    kept, changed = (185, 196, 204), (0, 114, 178)  # --keep and --relabel of the light theme
    assert {kept, changed} <= colours(png(drawn["actions"]))


def test_the_style_is_the_pages_own_without_its_variables():
    style = style_sheet()
    assert "var(" not in style
    assert "light-dark" not in style
    assert ".chart .end { text-anchor: end; }" in style
    assert "width: 100%" not in style


@pytest.mark.parametrize("kind", ["text", "vector", "colour"])
def test_any_kind_of_sample(make_sources, kind):
    made = make_sources(kind=kind, known=0.0, rows=200)
    drawn = drawings(build_context(made, ReportSpec(gallery_size=3)))
    assert not [name for name in drawn if "true_to" in name], "no truth, no confusions"
    assert len(colours(png(drawn["gallery_relabels"]))) > 20


def test_names_of_the_data_cannot_break_a_drawing(make_sources):
    names = [HOSTILE, "b", "c", "d", "e" * 200]
    for svg in drawings(build_context(make_sources(class_names=names), ReportSpec())).values():
        assert ET.fromstring(svg).tag.endswith("svg")


def test_same_run_same_bytes(context):
    svg = drawings(context)["flows"]
    assert png(svg).tobytes() == png(svg).tobytes()
