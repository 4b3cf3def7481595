"""What a user does with the mouse and the keyboard, in GIMP's real window on a virtual screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import psutil
import pytest
from PIL import Image

from tests.host import gimp as host
from tests.host.conftest import stop_worker
from tests.host.gimp import Gimp

pytestmark = [pytest.mark.host, pytest.mark.slow]

PROGRAMS = ("Xvfb", "openbox", "wmctrl", "xdotool", "import", "dbus-run-session")
# Each test its own: a screen that was killed leaves its lock behind.
DISPLAYS = count(100 + os.getpid() % 400)
# Added to the dialog: presses the button as soon as it is offered, and keeps what the dialog then says.
PRESS_FETCH = """

import os as _os
from pathlib import Path as _Path

_show_estimate = _ProtectDialog._show_estimate


def _show_and_press(self):
    _show_estimate(self)
    if not hasattr(self, "label"):
        self.label = ""
        GLib.timeout_add(200, _press_and_keep_words, self)


def _press_and_keep_words(self):
    if not self.label and self._fetch.get_visible() and self._fetch.get_sensitive():
        self.label = self._fetch.get_label()
        self._fetch.clicked()
    words = [self.label, self._line.get_text()]
    (_Path(_os.environ["SHARE"]) / "said.txt").write_text("\\n".join(words))
    return not self._closed


_ProtectDialog._show_estimate = _show_and_press
"""
# What the dialog of Check draws for protected, unsure and recognised.
BARS = {(46, 139, 87), (214, 152, 32), (196, 60, 52)}


@dataclass
class Window:
    """GIMP's window, with the astronaut in it."""

    gimp: Gimp
    display: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str) -> None:
        profile = str(self.gimp.share / "profile-window")
        self.processes.append(
            self.gimp.program(*command, DISPLAY=self.display, GIMP3_DIRECTORY=profile, NO_AT_BRIDGE="1")
        )

    def do(self, *command: str) -> str:
        process = self.gimp.program(*command, DISPLAY=self.display)
        return process.communicate(timeout=60)[0].decode(errors="replace")

    def titles(self) -> list[str]:
        return [line.split(None, 3)[-1] for line in self.do("wmctrl", "-l").splitlines()]

    def wait(self, seconds: float, wanted: Callable[[list[str]], bool]) -> None:
        until = time.monotonic() + seconds
        while not wanted(self.titles()):
            assert time.monotonic() < until, self.titles()
            time.sleep(0.3)

    def keys(self, *names: str) -> None:
        self.do("xdotool", "key", *names)

    def choose(self, action: str, title: str) -> None:
        """Starts a menu entry by GIMP's search for actions, and waits for its window."""
        self.do("wmctrl", "-a", "astronaut")
        self.keys("slash")
        time.sleep(2)
        self.do("xdotool", "type", "--delay", "40", action)
        time.sleep(2)
        self.keys("Return")
        self.wait(60, lambda titles: title in titles)
        self.do("wmctrl", "-a", title)

    def layers(self, count: int, seconds: float = 30) -> None:
        words = "1 layer)" if count == 1 else f"{count} layers)"
        self.wait(seconds, lambda titles: any(words in title for title in titles))


@pytest.fixture
def window(gimp: Gimp) -> Iterator[Window]:
    folders = ("/usr/local/bin", "/usr/bin", "/bin")
    missing = [name for name in PROGRAMS if not gimp.prefix and shutil.which(name, path=":".join(folders)) is None]
    if missing:
        pytest.skip(f"THE WINDOW IS NOT TESTED: there is no {', '.join(missing)} here")
    profile = gimp.share / "profile-window"
    shutil.copytree(gimp.share / "profile" / "plug-ins" / "protect-face", profile / "plug-ins" / "protect-face")
    (profile / "gimprc").write_text(
        '(check-updates no)\n(show-welcome-dialog no)\n(config-version "3.0.4")\n(color-profile-policy keep)\n'
    )
    shown = Window(gimp, f":{next(DISPLAYS)}")
    try:
        shown.start("Xvfb", shown.display, "-screen", "0", "1400x900x24", "-nolisten", "tcp")
        time.sleep(2)
        shown.start("openbox")
        portrait = str(gimp.share / "astronaut.png")
        shown.start("dbus-run-session", "--", "gimp", "--new-instance", "--no-splash", portrait)
        shown.layers(1, 120)
        yield shown
    finally:
        for process in shown.processes:
            for child in [*psutil.Process(process.pid).children(recursive=True), process]:
                child.kill()
            process.wait()
        shutil.rmtree(profile)


def colours(window: Window, title: str) -> set[tuple[int, int, int]]:
    """Every colour in the picture of a window."""
    picture = window.gimp.share / "window.png"
    window.do("import", "-window", title, str(picture))
    with Image.open(picture) as image:
        return {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}


def test_a_user_protects_undoes_redoes_and_checks(window: Window) -> None:
    window.choose("Protect Face", "Protect Face")
    time.sleep(3)
    window.keys("Return")
    window.layers(2, 180)
    window.wait(30, lambda titles: "Protect Face" in titles)
    window.do("wmctrl", "-c", "Protect Face")
    window.wait(30, lambda titles: "Protect Face" not in titles)

    window.do("wmctrl", "-a", "astronaut")
    window.keys("ctrl+z")
    window.layers(1)
    window.keys("ctrl+y")
    window.layers(2)

    window.choose("Check Protection", "Check Protection")
    until = time.monotonic() + 30
    while not colours(window, "Check Protection") & BARS:
        assert time.monotonic() < until, "the window shows no bars"


def test_missing_models_are_offered_with_their_size_and_the_button_asks_for_them(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    gimp, folder = window.gimp, window.gimp.share / "profile-window" / "plug-ins" / "protect-face"
    bare, said = gimp.share / "bare", gimp.share / "said.txt"
    # Without a network nothing comes; the sentence that says so is the worker's answer to the button.
    monkeypatch.setenv("C2P_MODELS", str(bare / "models"))
    monkeypatch.setenv("C2P_OFFLINE", "1")
    (folder / "protect-face-worker.json").write_text(host.pointer(bare / "run", in_root=bool(gimp.prefix)))
    (folder / "dialog.py").write_text((folder / "dialog.py").read_text() + PRESS_FETCH)
    try:
        window.choose("Protect Face", "Protect Face")
        until = time.monotonic() + 120
        while not (said.exists() and "once with a network" in said.read_text()):
            assert time.monotonic() < until, said.read_text() if said.exists() else "no button"
            time.sleep(0.3)
    finally:
        stop_worker(bare / "run")
    label = said.read_text().splitlines()[0]
    assert label.startswith("Fetch ") and " missing models (" in label and label.endswith(" MB)")
