"""The page as a text: well-formed, complete in itself, harmless, small."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import labelrepair
from labelrepair.errors import ConfigError
from labelrepair.report import ReportSpec, render

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


class Page(HTMLParser):
    """Collects elements, and refuses tags that do not close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture(scope="module")
def page(make_sources):
    return Page(render(make_sources()))


def keep_all(table):
    table["action"], table["is_label_issue"] = "keep", False
    table["suggested_label"] = table["given_label"]
    table["repaired_label"] = table["given_label"].astype("Int64")
    table["label_quality"] = table["confidence"]


def decide_changes(table):
    """People decide about all changed rows, and choose what the model did not suggest."""
    hit = table["action"] == "relabel"
    table.loc[hit, "label_source"] = "human"
    table.loc[hit, "repaired_label"] = (table["suggested_label"] + 1) % 5


def decide_all(table):
    decide_changes(table)
    table["label_source"] = "human"


def drop_all(table):
    table["action"] = "drop"
    table["repaired_label"] = pd.array([pd.NA] * len(table), dtype="Int64")


CASES = {
    "truth of some rows": {"known": 0.3},
    "no truth": {"known": 0.0},
    "two classes": {"num_classes": 2},
    "many classes": {"num_classes": 25, "rows": 1000},
    "colour": {"kind": "colour"},
    "text": {"kind": "text", "vocabulary": ["<padding>", "<start>", "<unknown>", "a", "b", "c"]},
    "vectors": {"kind": "vector"},
    "no intervals": {"intervals": False},
    "no label is wrong": {"rate": 0.0, "edit": keep_all},
    "nothing changed": {"edit": keep_all},
    "some rows of no class": {"of_no_class": 200},
    "all rows of no class": {"of_no_class": 600},
    "everything dropped": {"edit": drop_all},
    "people changed": {"edit": decide_changes, "known": 0.0},
    "people decided everything": {"edit": decide_all, "known": 0.0},
}


@pytest.mark.parametrize("case", CASES)
def test_any_run_gives_a_well_formed_page(make_sources, case):
    page = Page(render(make_sources(**CASES[case])))

    assert not re.search(r"\bnan\b|None(?! of| in)|Undefined|\binf\b", page.text), page.text
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"][1:] for attrs in page.all("a") if attrs["href"].startswith("#")}
    targets |= {
        attrs["aria-labelledby"] for _, attrs in page.elements if "aria-labelledby" in attrs
    }
    assert targets <= set(ids)


def test_pictures_and_tables_are_described(page):
    assert len(page.all("img")) >= 24
    assert all(image["alt"] and image["src"].startswith("data:image/") for image in page.all("img"))
    assert all(svg["aria-label"] for svg in page.all("svg"))
    names = [name for name, _ in page.elements]
    assert names.count("caption") == names.count("table") > 5
    assert names.count("h1") == 1
    assert all(attrs.get("scope") for attrs in page.all("th"))
    scrolled = [a for a in page.all("div") if "scroll" in (a.get("class") or "").split()]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolled)


def test_the_page_tells_how_people_are_asked(page, make_sources):
    told = "To ask people: kedro labels export ."
    assert page.text.count(told) == 1
    decided = make_sources()
    decided.table.loc[decided.table["action"] == "review", "action"] = "keep"
    assert told not in Page(render(decided)).text


def test_the_page_tells_which_version_made_it(page):
    assert f"Made by labelrepair {labelrepair.__version__}." in page.text


def test_nothing_comes_from_outside(make_sources):
    links = {"ticket": "https://example.org/1?a=1&b=2"}
    html = render(make_sources(), ReportSpec(links=links))

    assert re.findall(r"https?://[^\s\"<]+", html) == ["https://example.org/1?a=1&amp;b=2"] * 2
    assert Page(html).all("link") == []
    assert "@import" not in html
    assert "url(" not in html
    (policy,) = (m["content"] for m in Page(html).all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src 'sha256-" in policy


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "//example.org"])
def test_links_are_web_addresses(address):
    with pytest.raises(ConfigError, match=r"links.ticket: must begin with http"):
        ReportSpec(links={"ticket": address})


@pytest.mark.parametrize("kind", ["grey", "text"])
def test_hostile_names_are_only_text(make_sources, kind):
    def edit(table):
        table["sample_id"] = [f"{row:04d}{HOSTILE}" for row in range(len(table))]
        table["reason"] = HOSTILE

    sources = make_sources(
        kind=kind,
        edit=edit,
        class_names=[f"{label}{HOSTILE}" for label in range(5)],
        vocabulary=[HOSTILE] * 8,
        facts={"dataset": HOSTILE, "git_revision": HOSTILE, "mlflow_run": HOSTILE, "more": HOSTILE},
        training={"method": HOSTILE},
        ab={
            "rows": [{"name": HOSTILE, "mean_difference": 0.1, "low": 0.0, "high": 0.2, "seeds": 3}]
        },
    )
    page = Page(render(sources, ReportSpec(title=HOSTILE)))

    assert len(page.all("script")) == 1
    assert not [attrs for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert HOSTILE in page.text  # shown as it is, also the braces


def test_60000_rows_stay_small(make_sources):
    sources = make_sources(num_classes=10, rows=60_000, kind="grey")
    colour = np.random.default_rng(0).integers(0, 256, (60_000, 3, 32, 32), dtype=np.uint8)
    spec = ReportSpec(gallery_size=48)

    for features in (sources.features, colour):
        html = render(dataclasses.replace(sources, features=features), spec)
        assert len(html.encode()) < 1_500_000  # the promise is 5 MB


def test_the_size_of_photographs_is_bounded(make_sources):
    sources = make_sources(kind="colour")
    sizes = {side: len(render(sources, ReportSpec(image_pixels=side))) for side in (24, 96)}

    assert sizes[24] < 0.7 * sizes[96] < 700_000


def test_the_headline_measures_where_it_can(make_sources):
    known, unknown = Page(render(make_sources())), Page(render(make_sources(known=0.0)))
    relabelled = (make_sources().table["action"] == "relabel").sum()

    assert f"{relabelled} of 600 labels were changed" in known.text
    assert "The true labels of all rows are known" in known.text
    assert "True labels are not known, so nothing here is measured" in unknown.text
    assert "An estimated 30 of 100 given labels are wrong" in unknown.text
    for word in ("Measured", "measured,", "right, measured", "Are confident suggestions right?"):
        assert word not in unknown.text
    assert "Precision and recall need true labels" in unknown.text
    assert "Precision and recall need true labels" not in known.text


def test_the_model_s_shares_are_not_those_of_people(make_sources):
    count = int((make_sources().table["action"] == "relabel").sum())
    text = Page(render(make_sources(known=0.0, edit=decide_changes))).text

    assert f"People decided about {count} rows, which are not estimated. All changes are" in text
    assert "Changed labels that are right all by people" in text
    assert f"they leave out the {count} rows that people decided about" in text
    assert "Of 100" not in text
    assert "Have people check" not in text
    assert "kedro labels audit draw" not in text

    def decide_one(table):
        table.loc[(table["action"] == "relabel").idxmax(), "label_source"] = "human"

    text = Page(render(make_sources(known=0.0, edit=decide_one))).text
    assert "People decided about 1 row, which is not estimated. Of 100 labels that the" in text
    assert "Have people check some of the changes." in text
    assert "People decided" not in Page(render(make_sources(known=0.0))).text


def test_a_run_without_changes_asks_for_nothing(make_sources):
    text = Page(render(make_sources(edit=keep_all, rate=0.0, known=0.0))).text

    assert "No confusion stands for one row or more." in text
    assert "largest changes" not in text
    assert "Have people check" not in text


def test_truth_of_some_rows_is_named_so(make_sources):
    sources = make_sources(known=0.3)
    count = int((sources.true_labels["true_label"] >= 0).sum())

    text = Page(render(sources)).text

    assert f"True labels are known for {count} of 600 rows" in text


def test_rows_of_no_class_count_as_wrong_and_have_no_flow(make_sources):
    sources = make_sources(of_no_class=200)

    text = Page(render(sources)).text

    assert "The true labels of all rows are known" in text
    assert f"{100 * sources.metrics['labels.repaired_accuracy']:.1f} %" in text
    assert "From 400 known true labels" in text
    assert "Left out: 200 rows that belong to no class." in text
    assert "truly (no class)" in text


def test_one_row_is_no_rows(make_sources):
    def change_one(table):
        keep_all(table)
        table.loc[0, ["action", "label_source"]] = "relabel", "model"
        table.loc[0, "repaired_label"] = (table.loc[0, "given_label"] + 1) % 5

    html = render(make_sources(edit=change_one, known=0.0))

    assert "1 of 600 labels was changed" in html
    assert re.search(r"class \d → class \d: 1 row<", html)
    assert "from given label to repaired label: 1 row changes or leaves" in html
    assert not re.search(r"\b1 rows", html)


def test_a_repair_that_does_harm_is_called_so(make_sources):
    def ruin(table):
        wrong = (table["given_label"] + 1) % 5
        table["action"], table["suggested_label"], table["confidence"] = "relabel", wrong, 0.99
        table["repaired_label"], table["is_label_issue"] = wrong.astype("Int64"), True
        table["label_quality"] = 0.01

    text = Page(render(make_sources(edit=ruin))).text

    assert "do not use this repair as it is" in text
    assert "Estimates that the measurement contradicts: 'Repaired labels that are right'" in text
    unmeasured = Page(render(make_sources(edit=ruin, known=0.0))).text
    assert "100 % of the labels are flagged, but at most 32 % are wrong" in unmeasured


def test_a_lost_class_is_named(make_sources):
    said = "The trained network hardly ever predicts 'class 3'"
    training = {"method": "jocor", "preset": "p", "epochs": 12, "parameters": 1234}
    lost = make_sources(training={**training, "lost_classes": ["class 3"]})
    assert said in Page(render(lost)).text
    assert "hardly ever predicts" not in Page(render(make_sources())).text


def test_a_class_that_the_repair_lost_is_named(make_sources):
    def lose(table):
        hit = table["suggested_label"] == 3
        table.loc[hit, ["suggested_label", "is_label_issue"]] = [2, True]

    count = int((make_sources().table["given_label"] == 3).sum())
    said = f"The repair calls hardly any row 'class 3', so what it says of the {count} rows"
    assert said in Page(render(make_sources(edit=lose))).text
    assert "calls hardly any row" not in Page(render(make_sources())).text


def test_the_run_and_the_version_are_named(make_sources):
    facts = {
        "git_revision": "abc123",
        "git_dirty": "True",
        "dvc_lock_md5": "d41d8",
        "dvc_lock_committed": "True",
        "table_md5": "7ab1e",
        "mlflow_run": "0f1e2d",
        "mlflow_url": "http://127.0.0.1:5000/#/experiments/1/runs/0f1e2d",
        "mlflow_store": "http://127.0.0.1:5000",
        "dataset": "digits",
    }
    page = Page(render(make_sources(facts=facts)))

    assert facts["mlflow_url"] in [link["href"] for link in page.all("a")]
    for text in ("abc123", "d41d8", "0f1e2d", "dvc checkout", "changes that are not committed"):
        assert text in page.text
    assert "git log -S 7ab1e -- dvc.lock" in page.text
    newer = Page(render(make_sources(facts=facts | {"dvc_lock_committed": "False"}))).text
    assert "commit it to keep this version" in newer
    assert "dvc checkout" not in newer, "that commit's lock leads elsewhere"


def test_ab_evidence_is_shown_unless_it_is_of_other_labels(make_sources, caplog):
    rows = [
        {
            "name": "test accuracy",
            "mean_difference": 0.031,
            "low": 0.018,
            "high": 0.044,
            "seeds": 5,
        },
        {
            "name": "macro F1",
            "mean_difference": -0.002,
            "low": -0.01,
            "high": 0.006,
            "seeds": [0, 1, 2],
        },
    ]
    text = Page(render(make_sources(ab={"rows": rows}))).text

    assert "+3.1 +1.8 to +4.4" in text
    assert "5 better" in text
    assert "3 no clear difference" in text
    assert "Does retraining profit?" not in Page(render(make_sources())).text
    stale = render(make_sources(ab={"rows": rows, "labels_hash": "another"}))
    assert "Does retraining profit?" not in stale
    assert "A/B evidence left out" in caplog.text


def test_the_same_run_gives_the_same_page(make_sources):
    assert render(make_sources()) == render(make_sources())
