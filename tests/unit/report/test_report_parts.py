"""What the page shows: numbers, flows, samples and drawings."""

import base64
import dataclasses
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from labelrepair.label_table import Action
from labelrepair.report import ReportSpec, build_context
from labelrepair.report.charts import Line, histogram, line_chart
from labelrepair.report.estimates import quantities
from labelrepair.report.flows import DROPPED, OTHERS, REVIEW, alluvial, flows_of
from labelrepair.report.galleries import galleries
from labelrepair.report.matrix import matrix_of
from labelrepair.report.samples import Viewer
from labelrepair.report.svg import tag, ticks


def rows_of(**columns):
    """Return decided rows; by hand."""
    frame = pd.DataFrame(columns)
    for name in ("repaired_label", "true_label"):
        if name in frame:
            frame[name] = frame[name].astype("Int64")
    return frame


HAND = rows_of(
    given_label=[0, 0, 0, 1],
    suggested_label=[0, 1, 1, 1],
    repaired_label=[0, 1, None, 1],
    true_label=[0, 1, 1, None],
    action=["keep", "relabel", "drop", "keep"],
    label_source=["given", "model", "given", "given"],
    is_label_issue=[False, True, True, False],
    label_quality=[0.9, 0.2, 0.4, 0.5],
    confidence=[0.9, 0.8, 0.6, 0.5],
)


def test_estimates_are_means_of_probabilities_and_measurements_are_counts():
    found = quantities(HAND, 0.5, (0.4, 0.6), 0.95)

    # Kept and relabelled rows: 0.9, 0.8 and 0.5.
    assert found["repaired"].estimated.value == pytest.approx(2.2 / 3)
    assert found["repaired"].measured.value == 1.0
    assert found["repaired"].measured.count == 2  # row 3 has no known truth
    assert found["given"].estimated.value == 0.5
    assert (found["given"].estimated.low, found["given"].estimated.high) == (0.4, 0.6)
    assert found["given"].measured.value == pytest.approx(1 / 3)
    assert found["relabel"].estimated.value == 0.8
    assert found["flagged"].estimated.value == pytest.approx((0.8 + 0.6) / 2)
    assert found["found"].estimated.value == pytest.approx(1.4 / 2.0)
    assert found["found"].measured.value == 1.0


def test_intervals_hold_counting_error_and_the_noise_rates_own():
    rows = pd.concat([HAND] * 100, ignore_index=True)
    sharp = quantities(rows, 0.5, (0.5, 0.5), 0.95)["relabel"].estimated
    # 100 rows at 0.8: 1.96 * 0.04.
    assert sharp.high - sharp.low == pytest.approx(2 * 1.96 * 0.04, rel=0.01)
    wide = quantities(rows, 0.5, (0.4, 0.5), 0.95)["relabel"].estimated
    # All of the 0.1 * 400 rows may be among these 100.
    assert wide.low == pytest.approx(0.8 - np.hypot(0.4, 1.96 * 0.04), abs=0.001)
    assert wide.high == sharp.high


def test_more_noise_makes_flags_and_changes_right_and_given_labels_wrong():
    rows = pd.concat([HAND] * 100, ignore_index=True)
    exact, more = (quantities(rows, 0.5, (0.5, high), 0.95) for high in (0.5, 0.51))
    for key in ("relabel", "flagged"):
        assert more[key].estimated.low == exact[key].estimated.low
        assert more[key].estimated.high > exact[key].estimated.high
    assert more["given"].estimated.low == pytest.approx(0.49)
    assert more["given"].estimated.high == 0.5
    # Of kept and changed rows: either way.
    for end in ("low", "high"):
        change = getattr(more["repaired"].estimated, end) - getattr(
            exact["repaired"].estimated, end
        )
        assert change != 0


@pytest.mark.parametrize("of_no_class", [0, 240])
def test_estimates_agree_with_the_metrics(make_sources, of_no_class):
    sources = make_sources(of_no_class=of_no_class)
    found = build_context(sources, ReportSpec())["quantities"]

    for key, metric in {
        "given": "labels.given_accuracy",
        "repaired": "labels.repaired_accuracy",
        "relabel": "relabel.precision",
        "flagged": "detect.precision",
        "found": "detect.recall",
    }.items():
        assert found[key].measured.value == pytest.approx(sources.metrics[metric]), key


def test_rows_of_no_class_are_wrong_unless_they_are_left_out():
    open_set = HAND.assign(true_label=pd.array([-2, -2, -2, 1], dtype="Int64"))

    found = quantities(open_set, 0.5, (0.4, 0.6), 0.95)

    assert {key: quantity.measured.value for key, quantity in found.items()} == {
        "given": 0.25,
        "repaired": pytest.approx(1 / 3),  # the dropped row is not one of them
        "relabel": 0.0,
        "flagged": 1.0,
        "found": pytest.approx(2 / 3),
    }
    assert found["repaired"].measured.count == 3


def test_the_model_does_not_estimate_what_people_decided():
    """Of three classes people chose 2, where the model is sure of 1, and kept what it flagged."""
    theirs = rows_of(
        given_label=[0, 0, 0],
        suggested_label=[1, 1, 0],
        repaired_label=[2, 0, 2],
        true_label=[2, 0, 2],
        action=["relabel", "keep", "relabel"],
        label_source=["human"] * 3,
        is_label_issue=[True, True, False],
        label_quality=[0.0, 0.0, 1.0],
        confidence=[1.0, 1.0, 1.0],
    )

    together = pd.concat([HAND, theirs])
    alone, only, both = (
        quantities(rows, 0.5, (0.5, 0.5), 0.95) for rows in (HAND, theirs, together)
    )

    for key in ("repaired", "relabel", "flagged", "found"):
        assert both[key].estimated == alone[key].estimated, key
        assert both[key].comparable == alone[key].measured, key
        assert only[key].estimated is None, key
    assert both["relabel"].measured.count == 3  # of theirs, too, the truth is the truth
    assert not any(quantity.contradicted for quantity in only.values())


def test_where_nothing_is_flagged_no_share_was_found():
    """The noise rate may be off by more rows than the model believes to be wrong."""
    clean = HAND.assign(is_label_issue=False, label_quality=0.999, confidence=0.999)

    assert quantities(clean, 0.3, (0.0, 0.6), 0.95)["found"].estimated is None


def test_flows_count_every_row_once():
    found = {(f.source, f.target): (f.action, f.count) for f in flows_of(HAND, 2, 12)}

    assert found == {
        (0, 0): (Action.KEEP, 1),
        (1, 1): (Action.KEEP, 1),
        (0, 1): (Action.RELABEL, 1),
        (0, DROPPED): (Action.DROP, 1),
    }


def test_quiet_classes_flow_together():
    given = np.repeat(np.arange(6), 10)
    repaired = given.copy()
    repaired[:3] = 1  # classes 0 and 1 change
    action = np.where(given == repaired, "keep", "relabel")
    action[-1] = "review"
    rows = rows_of(given_label=given, repaired_label=repaired, action=action)

    flows = flows_of(rows, 6, 2)

    assert sum(flow.count for flow in flows) == 60
    assert {flow.source for flow in flows} == {0, 1, OTHERS}
    assert {(f.source, f.target, f.count) for f in flows if f.action != "keep"} == {
        (0, 1, 3),
        (OTHERS, REVIEW, 1),
    }
    svg = str(alluvial(flows, [f"<{name}>" for name in "abcdef"]))
    assert "other classes · 40" in svg
    assert "&lt;a&gt; → &lt;b&gt;: 3 rows" in svg
    assert "<a>" not in svg


def test_classes_of_one_name_stay_apart():
    svg = str(alluvial(flows_of(HAND, 2, 12), ["dropped", "dropped"]))

    assert svg.count("dropped · 3") == 1  # given class 0
    assert svg.count("dropped · 1") == 3  # given class 1, repaired class 0, and what was dropped
    assert svg.count("dropped · 2") == 1  # repaired class 1


def test_heads_of_the_flow_are_not_cut():
    svg = str(alluvial(flows_of(HAND, 2, 12), ["0", "1"], 400, ("true label", "repaired label")))
    left, right = (float(x) for x in re.findall(r'class="label[^>]* x="([0-9.]+)"', svg))
    assert left >= 7 * len("true label")
    assert right + 7 * len("repaired label") <= 400


def test_large_numbers_leave_the_flows_their_place():
    flows = flows_of(HAND, 2, 12)
    many = [dataclasses.replace(flow, count=1_000_000 * flow.count) for flow in flows]
    svg = str(alluvial(many, ["American alligator", "common iguana lizard"], 380))
    places = sorted({float(x) for x in re.findall(r'<rect[^>]* x="([\d.]+)"', svg)})
    assert places[-1] - places[0] >= 0.2 * 380 - 8


def test_the_truth_s_legend_names_every_colour(make_sources):
    before, after = build_context(make_sources(), ReportSpec())["truth_flows"]
    assert [name for name, _ in before["legend"]] == ["right", "wrong"]
    assert [name for name, _ in after["legend"]] == [
        "right",
        "wrong, or dropped",
        "for people to decide",
    ]


def test_given_classes_take_turns(make_sources):
    context = build_context(make_sources(), ReportSpec(gallery_size=10))
    relabels, drops, ambiguous = context["galleries"]

    assert {card.given for card in relabels.cards} == {f"class {i}" for i in range(5)}
    assert len(relabels.cards) == 10
    assert all(card.given != card.suggested for card in relabels.cards)
    waiting = [card for card in ambiguous.cards if card.action == "review"]
    assert len(waiting) == (make_sources().table["action"] == "review").sum()
    assert waiting == list(ambiguous.cards[: len(waiting)])
    sure = [card.confidence for card in waiting]
    assert sure == sorted(sure)
    dropped = make_sources().table.query("action == 'drop'")
    assert drops.cards[0].quality == dropped["label_quality"].min()
    assert {card.verdict for card in relabels.cards} <= {"right", "wrong"}


def test_a_card_shows_the_sample_of_its_row():
    """Rows of the test split shift positions: the picture must be that of the feature row."""
    rows = HAND.assign(sample_id=list("abcd"), position=[5, 6, 7, 8], reason="")

    found = galleries(rows, ["x", "y"], lambda row: row, 5)

    assert [(card.sample_id, card.view) for card in found[0].cards] == [("b", 6)]
    assert [(card.sample_id, card.view) for card in found[1].cards] == [("c", 7)]


def test_galleries_show_what_the_model_did():
    """What people decided stands under another label than the one that it was sure of."""
    hand = HAND.assign(sample_id=list("abcd"), position=range(4), reason="")
    theirs = hand.assign(label_source="human", confidence=1.0, label_quality=0.0)
    theirs["sample_id"] = list("efgh")
    waits = theirs[:1].assign(sample_id="i", action="review", repaired_label=pd.NA)

    found = galleries(pd.concat([hand, theirs, waits]), ["x", "y"], lambda row: row, 5)

    shown = [[card.sample_id for card in gallery.cards] for gallery in found]
    assert shown == [["b"], ["c"], ["i", "d", "c", "b", "a"]]
    assert [gallery.total for gallery in found] == [1, 1, 5]


def picture(view):
    return Image.open(io.BytesIO(base64.b64decode(view.uri.split(",")[1])))


def test_small_pictures_are_exact_and_large_ones_reduced():
    small = np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8)
    large = np.zeros((1, 3, 300, 150), dtype=np.uint8)

    np.testing.assert_array_equal(picture(Viewer(small, (), ReportSpec())(0)), small[0, 0])
    view = Viewer(large, (), ReportSpec(image_pixels=60))(0)
    assert (view.width, view.height) == picture(view).size == (30, 60)


def test_vectors_show_unusual_values_or_a_picture():
    vectors = np.zeros((101, 4), dtype=np.float32)
    vectors[:, 2] = np.linspace(-1, 1, 101)
    vectors[7, 3] = 5.0

    found = Viewer(vectors, (), ReportSpec(vector_values=1))(7)
    assert found.values == (("x3", "5", "0"),)
    named = Viewer(vectors, (), ReportSpec(vector_values=1), ["age", "size", "weight", "price"])(7)
    assert named.values == (("price", "5", "0"),)
    drawn = Viewer(vectors, (), ReportSpec(vector_image=(2, 2)))(7)
    np.testing.assert_array_equal(np.asarray(picture(drawn)) > 200, [[False, False], [False, True]])


def test_tokens_become_words():
    tokens = np.array([[0, 0, 1, 4, 2, 3, 9, 3]])
    words = ["<padding>", "<start>", "<unknown>", "film", "dull"]

    def read(names, count=60):
        return Viewer(tokens, names, ReportSpec(text_words=count))(0).words

    assert read(words) == "dull … film #9 film"
    assert read(words, 2) == "dull … …"
    assert read(()) == "#4 #2 #3 #9 #3"


def test_the_matrix_names_the_largest_confusions():
    noise = {
        "transition": [[0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.0, 0.3, 0.7]],
        "class_prior": [0.5, 0.4, 0.1],
        "transition_low": [[0.7, 0.1, 0.0], [0.0, 0.8, 0.0], [0.0, 0.2, 0.6]],
        "transition_high": [[0.9, 0.3, 0.0], [0.2, 1.0, 0.0], [0.0, 0.4, 0.8]],
    }
    found = matrix_of(noise, ["a", "b", "c"], 1000)

    assert [(c.true, c.given, round(c.rows)) for c in found.confusions] == [
        ("a", "b", 100),
        ("b", "a", 40),
        ("c", "b", 30),
    ]
    cell = found.cells[2][1]
    assert (cell.value, cell.low, cell.high, cell.diagonal) == (0.3, 0.2, 0.4, False)


def test_confusions_of_no_row_are_none():
    noise = {"transition": [[0.9996, 0.0004], [0.006, 0.994]], "class_prior": [0.5, 0.5]}

    assert [c.true for c in matrix_of(noise, ["a", "b"], 240).confusions] == ["b"]


@pytest.mark.parametrize(
    ("edges", "shown"),
    [
        (np.linspace(0, 1, 26), "0.04 to 0.08"),
        (np.linspace(0.9, 1, 21), "0.905 to 0.910"),
        (np.linspace(0, 1, 4), "0.333333 to 0.666667"),
    ],
)
def test_bins_have_the_decimals_that_they_need(edges, shown):
    chart = histogram("t", edges, [("a", "accent", np.ones(len(edges) - 1))], "x")

    assert chart.rows[1] == (shown, "1")


def test_a_model_that_is_sure_of_everything_has_a_chart(make_sources):
    def certain(table):
        table["confidence"] = 1.0

    (chart,) = (
        item["chart"]
        for item in build_context(make_sources(edit=certain), ReportSpec())["evidence"]
        if item["title"] == "Confidence"
    )

    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([^"]+)"', chart.svg)]
    assert widths
    assert min(widths) > 5
    assert chart.rows[-1][0] == "0.995 to 1.000"
    assert sum(int(count) for count in chart.rows[-1][1:]) == 600


def test_a_large_matrix_is_a_picture():
    noise = {"transition": np.eye(25).tolist(), "class_prior": [1 / 25] * 25}
    found = matrix_of(noise, [str(i) for i in range(25)], 1000)

    assert found.cells == ()
    image = Image.open(io.BytesIO(base64.b64decode(found.uri.split(",")[1])))
    np.testing.assert_array_equal(np.asarray(image)[..., 3], 255 * np.eye(25))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.61, 0.99, [0.7, 0.8, 0.9]),
        (0, 60000, [0, 20000, 40000, 60000]),
        (3, 3, [3]),
        (-0.1, 0.1, [-0.1, -0.05, 0, 0.05, 0.1]),
    ],
)
def test_ticks_are_round(low, high, expected):
    found = ticks(low, high, 5 if high < 100 else 4)
    assert found == pytest.approx(expected)
    assert not [value for value in found if str(value) == "-0.0"]


def test_gaps_of_a_line_are_left_out():
    line = Line("a", [0, 1, 2], [0.5, np.nan, 0.7])
    chart = line_chart("t", [line], ("epoch", ""))

    assert chart.svg.count("L") == 1  # two points
    assert chart.rows == (("0", "50.0 %"), ("1", ""), ("2", "70.0 %"))


def test_elements_escape_what_they_are_given():
    assert tag("text", "<b>&", class_='x"y') == '<text class="x&#34;y">&lt;b&gt;&amp;</text>'
