"""Debian's Chromium without a window, controlled through its driver's protocol (W3C WebDriver)."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
TAB, HOME, END, RIGHT = "\ue004", "\ue011", "\ue010", "\ue014"
_ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,1400"]
_STARTING = 60.0


class Browser:
    """One session."""

    def __init__(self, address: str) -> None:
        self._http = requests.Session()
        options = {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": _ARGUMENTS},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        answer = self._send("POST", f"{address}/session", {"capabilities": {"alwaysMatch": options}})
        self._session = f"{address}/session/{answer['sessionId']}"

    def open(self, page: Path) -> None:
        """Load a file completely."""
        self._post("url", url=page.absolute().as_uri())

    def run(self, script: str) -> Any:
        """Run a script as the body of a function; returns its result."""
        return self._post("execute/sync", script=script, args=[])

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("actions", actions=[{"type": "key", "id": "keys", "actions": strokes}])

    def read_errors(self) -> list[str]:
        """The messages on the console since the last call."""
        return [entry["message"] for entry in self._post("se/log", type="browser")]

    def read_requested_urls(self) -> list[str]:
        """The URLs requested since the last call."""
        messages = (json.loads(entry["message"])["message"] for entry in self._post("se/log", type="performance"))
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path: Path) -> None:
        """Save the content of the window as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._send("GET", f"{self._session}/screenshot")))

    def quit(self) -> None:
        """End the browser."""
        self._send("DELETE", self._session)

    def _post(self, command: str, **body: Any) -> Any:
        return self._send("POST", f"{self._session}/{command}", body)

    def _send(self, method: str, address: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._http.request(method, address, json=body, timeout=120)
        value = answer.json()["value"]
        assert answer.ok, value
        return value


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser that ends with the block."""
    assert DRIVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _STARTING
        while True:
            try:
                requests.get(f"{address}/status", timeout=5)
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline, "the driver does not answer"
                time.sleep(0.1)
        browser = Browser(address)
        try:
            yield browser
        finally:
            browser.quit()
    finally:
        driver.terminate()
        driver.wait()
