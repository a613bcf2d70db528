"""Take the pictures of the documents anew, after `kedro run`: python tools/docs_pictures.py.

Needs Chromium and the extra `viz`.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"
REPORTING = ROOT / "data/08_reporting"
SECONDS = 600  # for Kedro-Viz to start
sys.path.insert(0, str(ROOT / "tests/unit/report"))

from browser import Browser, find_chromium  # noqa: E402


def save(browser: Browser, name: str) -> None:
    """Save what is seen as a small PNG without transparency."""
    file = IMAGES / name
    browser.screenshot(file, whole=False)
    Image.open(file).convert("RGB").save(file, optimize=True)


def of_the_report(browser: Browser) -> None:
    """The page's first screen in light, the transition matrix in dark."""
    page = REPORTING / "report.html"
    browser.open(page, 1200, "light")
    save(browser, "report_digits.png")
    browser.open(page, 1200, "dark")
    jump = "document.documentElement.style.scrollBehavior='auto';location.hash='#matrix'"
    browser.value(f"{jump};1")
    time.sleep(1)
    save(browser, "report_digits_dark.png")


@contextlib.contextmanager
def kedro_viz() -> Iterator[str]:
    """Run Kedro-Viz; yield its address."""
    port = 4149  # Kedro-Viz takes none of the ports above 49151
    address = f"http://127.0.0.1:{port}"
    command = ["kedro", "viz", "run", "--no-browser", "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        end = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api/main", timeout=60).close()
                break
            assert server.poll() is None, "kedro viz has ended"
            assert time.monotonic() < end, "kedro viz did not answer"
            time.sleep(1)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def of_the_graph(browser: Browser) -> None:
    """The graph round the repaired table, with its preview beside it."""
    with kedro_viz() as address:
        with urllib.request.urlopen(f"{address}/api/main") as answer:
            nodes = json.load(answer)["nodes"]
        (table,) = (node["id"] for node in nodes if node["name"] == "repaired_table")
        # Light, without the side bar and the tour of new features.
        bars = {"code": False, "graph": True, "miniMap": False, "sidebar": False, "slicing": True}
        look = json.dumps({"theme": "light", "showFeatureHints": False, "visible": bars})
        script = f"localStorage.setItem('KedroViz', JSON.stringify({look}))"
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        size = {"width": 1500, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        browser.events.clear()
        browser.call("Page.navigate", url=f"{address}/?sid={table}")
        browser.wait_for("Page.loadEventFired")
        time.sleep(20)  # the graph moves to its place
        save(browser, "kedro_viz.png")


def main() -> None:
    """Take all of them."""
    program = find_chromium()
    assert program, "no Chromium on the PATH"
    shutil.copy(REPORTING / "plots/confusion.png", IMAGES / "digits_before_after.png")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, Path(profile))
        try:
            of_the_report(browser)
            of_the_graph(browser)
        finally:
            browser.close()


if __name__ == "__main__":
    main()
