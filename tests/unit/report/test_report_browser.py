"""The page in a real browser: nothing is fetched, nothing fails, nothing is cut off."""

import pytest

from labelrepair.report import render

AB = {
    "rows": [{"name": "accuracy", "mean_difference": 0.03, "low": 0.01, "high": 0.05, "seeds": 5}]
}

TRIED = [(0.9, 60, 60, 0.951, True), (0.85, 80, 79, 0.942, False)]
POLICY = {
    "relabel_confidence": 0.9,
    "why": "chosen by the audits, the lowest value shown to keep a precision of 95 %, at 95 % "
    "(60 of 60 audited relabels from there on are right); set is 0.7",
    "audited": 100,
    "right": 93,
    "precision": 0.93,
    "low": 0.861,
    "high": 0.971,
    "level": 0.95,
    "tested": [
        dict(
            zip(
                ("relabel_confidence", "audited", "right", "precision_at_least", "holds"),
                row,
                strict=True,
            )
        )
        for row in TRIED
    ],
}


@pytest.fixture(scope="module")
def page(make_sources, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    names = ["a", "class with a rather long name", "averyveryverylongwordasaname", "d", "e"]
    file.write_text(render(make_sources(ab=AB, policy=POLICY, class_names=names)), "utf-8")
    return file


def background(browser):
    return browser.value("getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_every_width_and_theme(browser, page, tmp_path, width, theme):
    browser.open(page, width, theme)

    assert browser.complaints() == []
    assert browser.value("document.documentElement.scrollWidth") == width
    dark = sum(int(n) for n in background(browser).removeprefix("rgb(").rstrip(")").split(","))
    assert (dark < 150) == (theme == "dark")
    small = (
        "[...document.querySelectorAll('main p, td, th, li, dd, summary')].filter(e => "
        "parseFloat(getComputedStyle(e).fontSize) < 12).length"
    )
    assert browser.value(small) == 0
    shot = tmp_path / "page.png"
    browser.screenshot(shot, whole=False)
    assert shot.stat().st_size > 10_000


def test_tables_scroll_inside_themselves(browser, page):
    browser.open(page, 400, "light")

    assert browser.value("document.querySelector('table.sortable').scrollWidth") > 400
    wide = "getComputedStyle(document.querySelector('.wide')).display"
    assert browser.value(wide) == "none"


def test_the_theme_button_works_by_keyboard(browser, page):
    browser.open(page, 1280, "light")
    light = background(browser)
    focused = []
    for _ in range(30):
        browser.press("Tab")
        focused.append(browser.value("document.activeElement.id || document.activeElement.hash"))
        if focused[-1] == "theme":
            break

    assert focused[0] == "#main"  # the way past the menu comes first
    assert focused[-1] == "theme"
    browser.press("Enter", "\r")
    assert background(browser) != light
    assert browser.value("document.getElementById('theme').textContent") == "Light"
    browser.press("Enter", "\r")
    assert background(browser) == light


def test_class_health_sorts_by_a_column(browser, page):
    browser.open(page, 1280, "light")
    column = "[...document.querySelectorAll('.sortable tbody tr')].map(r => +r.cells[1].dataset.v)"
    head = "document.querySelectorAll('.sortable th')[1]"

    browser.value(f"{head}.querySelector('button').click()")
    assert browser.value(column) == sorted(browser.value(column), reverse=True)
    assert browser.value(f"{head}.getAttribute('aria-sort')") == "descending"
    browser.value(f"{head}.querySelector('button').click()")
    assert browser.value(column) == sorted(browser.value(column))


def test_an_injected_script_does_not_run(browser, page, tmp_path):
    """The last line of defence, should escaping ever fail."""
    file = tmp_path / "report.html"
    attack = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    file.write_text(page.read_text("utf-8").replace("</main>", f"{attack}</main>"), "utf-8")

    browser.open(file, 1280, "light")

    assert "taken" not in browser.value("document.title")
    assert any("Content Security Policy" in text for text in browser.complaints())
