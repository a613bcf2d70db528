"""A headless Chromium over the DevTools pipe: no port, no network, no driver."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

SWITCHES = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-extensions "
    "--disable-background-networking --disable-component-update --disable-sync --hide-scrollbars "
    "--disable-dev-shm-usage --remote-debugging-pipe"
)
TIMEOUT = 30.0


def find_chromium() -> str | None:
    """Return the path of an installed Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


class Browser:
    """One tab; events are kept in ``events`` as they come."""

    def __init__(self, program: str, profile: Path) -> None:
        """Start the program with a fresh profile."""
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # Copies far from 3 and 4, so that moving one does not overwrite the other.
        high = [os.dup2(end, 100 + end) for end in (to_browser, from_browser)]

        def connect() -> None:
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            [program, *SWITCHES.split(), f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=connect,  # noqa: PLW1509 - before any thread of this process matters
            pass_fds=(3, 4, *high),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (to_browser, from_browser, *high):
            os.close(end)
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT
        while True:
            answer = self._receive(deadline, method)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def wait_for(self, event: str) -> None:
        """Wait until an event of this name has come."""
        deadline = time.monotonic() + TIMEOUT
        while not any(item["method"] == event for item in self.events):
            self._receive(deadline, event)

    def open(self, page: Path, width: int, theme: str, height: int = 900) -> None:
        """Load a file at a width in a theme, as the system would set it."""
        self.events.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": theme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait_for("Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression gives."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """Press and release one key."""
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
            self.call("Input.dispatchKeyEvent", **event, text=text if kind == "keyDown" else "")

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """Save the page, or what is seen of it, as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """Return errors and warnings of the console, and requests for anything but the page."""
        found = []
        for event in self.events:
            name, params = event["method"], event["params"]
            if name == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif name == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                found.append(str(params["args"]))
            elif name == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
            elif name == "Network.requestWillBeSent":
                address = params["request"]["url"]
                if not address.startswith(("file:", "data:")):
                    found.append(address)
        return found

    def close(self) -> None:
        """End the program that this object started."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def _receive(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            assert left > 0, f"Chromium did not answer: {what}"
            if select.select([self._in], [], [], left)[0]:
                chunk = os.read(self._in, 1 << 20)
                assert chunk, "Chromium has ended"
                self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message


KEYS = {"Tab": 9, "Enter": 13}
