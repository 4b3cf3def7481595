"""Debian's Chromium without a window, asked through its driver's own protocol (W3C WebDriver)."""

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
        self._asked = requests.Session()
        options = {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": _ARGUMENTS},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        answer = self._send("POST", f"{address}/session", {"capabilities": {"alwaysMatch": options}})
        self._session = f"{address}/session/{answer['sessionId']}"

    def open(self, page: Path) -> None:
        """Load a file, to its end."""
        self._post("url", url=page.absolute().as_uri())

    def run(self, script: str) -> Any:
        """What the body of a function returns."""
        return self._post("execute/sync", script=script, args=[])

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("actions", actions=[{"type": "key", "id": "keys", "actions": strokes}])

    def errors(self) -> list[str]:
        """What the console said since it was asked last."""
        return [entry["message"] for entry in self._post("se/log", type="browser")]

    def requested(self) -> list[str]:
        """Addresses that were asked for since this was asked last."""
        messages = (json.loads(entry["message"])["message"] for entry in self._post("se/log", type="performance"))
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path: Path) -> None:
        """What the window shows, as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._send("GET", f"{self._session}/screenshot")))

    def quit(self) -> None:
        """End the browser."""
        self._send("DELETE", self._session)

    def _post(self, what: str, **said: Any) -> Any:
        return self._send("POST", f"{self._session}/{what}", said)

    def _send(self, method: str, address: str, said: dict[str, Any] | None = None) -> Any:
        answer = self._asked.request(method, address, json=said, timeout=120)
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
        waiting = time.monotonic() + _STARTING
        while True:
            try:
                requests.get(f"{address}/status", timeout=5)
                break
            except requests.ConnectionError:
                assert time.monotonic() < waiting, "the driver does not answer"
                time.sleep(0.1)
        browser = Browser(address)
        try:
            yield browser
        finally:
            browser.quit()
    finally:
        driver.terminate()
        driver.wait()
