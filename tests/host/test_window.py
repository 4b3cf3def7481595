"""What a user does with the mouse and the keyboard, in GIMP's real window on a virtual screen."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from worker_client.messages import render
from worker_client.settings import PRESETS

from tests.host import gimp as host
from tests.host.conftest import stop_worker
from tests.host.gimp import (
    Gimp,
    count_jobs,
    count_jobs_and_done,
    find_plug_in_processes,
    read_endpoint_file,
    suspend_search,
)

pytestmark = [pytest.mark.host, pytest.mark.slow]

PROGRAMS = ("Xvfb", "openbox", "wmctrl", "xdotool", "import", "dbus-run-session")
# Without what the tests don't need: GIMP asks each of its own plug-ins what it offers when it starts in a new profile.
START = ("--new-instance", "--no-splash", "--no-data", "--no-fonts")
# Each test its own: a screen that was killed leaves its lock behind.
DISPLAYS = count(100 + os.getpid() % 400)
# Added to the dialog: does what a test orders, with the dialog at hand, and hands back what it found.
DRIVER = """

import json as _json
import os as _os
from pathlib import Path as _Path

from gi.repository import GLib

_share = _Path(_os.environ["SHARE"])
_run = ProtectDialog.run


def _run_and_obey(self):
    GLib.timeout_add(20, _obey, self)
    return _run(self)


def _obey(self):
    order = _share / "order.py"
    if order.exists():
        found = {}
        text = order.read_text()
        order.unlink()
        exec(text, {"dialog": self, "found": found, "Gimp": Gimp, "share": _share})
        (_share / "found.part").write_text(_json.dumps(found))
        (_share / "found.part").rename(_share / "found.json")
    return not self._closed


ProtectDialog.run = _run_and_obey
"""
# Added to what shows errors: keeps the words, which no program can read off the screen.
WORDS = """

import os as _os
from pathlib import Path as _Path

_show_error = _make_error


def _make_error(procedure, words):
    (_Path(_os.environ["SHARE"]) / "said.txt").write_text(words)
    return _show_error(procedure, words)
"""
# Added to Check: Strengthen takes two steps.
TWO_STEPS = """

_strengthen = strengthen


def strengthen(selected, photo, stronger, steps):
    return _strengthen(selected, photo, stronger, 2)
"""
# Added to the dialogs of Check and of the worker: keeps what they show.
SHOWN = """

import json as _json
import os as _os
from pathlib import Path as _Path

_show = {name}


def {name}(*arguments):
    made = _show(*arguments)
    words = made if isinstance(made, str) else _json.dumps(arguments[0])
    (_Path(_os.environ["SHARE"]) / "shown.part").write_text(words)
    (_Path(_os.environ["SHARE"]) / "shown.part").rename(_Path(_os.environ["SHARE"]) / "shown.txt")
    return made
"""
# Added to the list of what became of every image: keeps it, and closes the window of the other image.
LISTED = """

import json as _json
import os as _os
from pathlib import Path as _Path

from gi.repository import Gimp as _Gimp

_sort = sort_for_reading


def sort_for_reading(outcomes):
    share, rows = _Path(_os.environ["SHARE"]), _sort(outcomes)
    _Gimp.Display.get_by_id(int((share / "display").read_text())).delete()
    lines = [[row.name, row.result is not None, describe_outcome(row)] for row in rows]
    (share / "shown.part").write_text(_json.dumps(lines))
    (share / "shown.part").rename(share / "shown.txt")
    return rows
"""
ADDED = {
    "dialog": DRIVER,
    "images_dialog": LISTED,
    "procedures": WORDS,
    "check_dialog": SHOWN.replace("{name}", "_build_content"),
    "worker_dialog": SHOWN.replace("{name}", "_perform_and_describe"),
    "check": TWO_STEPS,
}
DIALOG = "Protect Face"
CHECK, ORIGINAL, CHOOSER = "Check Protection", "Original", "Original from File"
# Menu entries: their procedure, and the key that starts them together with Ctrl and Alt.
KEYS = {
    "Protect Face": ("plug-in-protect-face", "1"),
    "Check Protection": ("plug-in-protect-face-check", "2"),
    "Protect Face Worker": ("plug-in-protect-face-worker", "3"),
}
# GIMP's own window for the search for actions.
SEARCH = "Search Actions"
# Every window that a test may leave open.
TITLES = {DIALOG, "Presets", SEARCH, CHECK, ORIGINAL, CHOOSER, "Protect Face Worker", "GIMP Message"}
# Names a folder that gets pictures of the windows, for people to look at.
SCREENSHOTS = "C2P_SCREENSHOTS"
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

    def wait_for(self, *command: str) -> None:
        """Runs a program until it succeeds."""
        until = time.monotonic() + 30
        while (tried := self.gimp.program(*command, DISPLAY=self.display)).wait():
            assert time.monotonic() < until, tried.communicate()
            time.sleep(0.1)

    def titles(self) -> list[str]:
        return [line.split(None, 3)[-1] for line in self.do("wmctrl", "-l").splitlines()]

    def wait(self, seconds: float, wanted: Callable[[list[str]], bool]) -> None:
        until = time.monotonic() + seconds
        while not wanted(self.titles()):
            assert time.monotonic() < until, self.titles()
            time.sleep(0.1)

    def keys(self, *names: str) -> None:
        self.do("xdotool", "key", *names)

    def choose(self, action: str, title: str) -> None:
        """Starts a menu entry by the key that it has in these tests, and waits for its window."""
        self.do("wmctrl", "-a", "astronaut")
        self.keys(f"ctrl+alt+{KEYS[action][1]}")
        self.wait(60, lambda titles: title in titles)
        self.do("wmctrl", "-a", title)

    def find(self, action: str, title: str) -> None:
        """Starts a menu entry by GIMP's search for actions, and waits for its window."""
        self.do("wmctrl", "-a", "astronaut")
        self.keys("slash")
        self.wait(30, lambda titles: SEARCH in titles)
        self.do("xdotool", "type", "--delay", "40", action)
        time.sleep(2)  # what it found can't be read off the screen
        self.keys("Return")
        self.wait(60, lambda titles: title in titles)
        self.do("wmctrl", "-a", title)

    def layers(self) -> int:
        """How many layers the image has; 0 when no image is open."""
        counts = [re.search(r", (\d+) layers?\)", title) for title in self.titles()]
        return sum(int(count[1]) for count in counts if count)

    def wait_for_layers(self, count: int, seconds: float = 30) -> None:
        self.wait(seconds, lambda _titles: self.layers() == count)

    def undo(self) -> None:
        """Undoes the last step, and waits until another number of layers is there."""
        before = self.layers()
        self.do("wmctrl", "-a", "astronaut")
        self.keys("ctrl+z")
        self.wait(30, lambda _titles: self.layers() != before)

    def ask(self, order: str) -> dict[str, Any]:
        """Has the open dialog run Python; what it put into ``found``."""
        share = self.gimp.share
        (share / "order.part").write_text(order)
        (share / "order.part").rename(share / "order.py")
        until = time.monotonic() + 30
        while not (share / "found.json").exists():
            assert time.monotonic() < until, self.titles()
            time.sleep(0.02)
        found: dict[str, Any] = json.loads((share / "found.json").read_text())
        (share / "found.json").unlink()
        return found

    def ask_until(self, order: str, wanted: Callable[[dict[str, Any]], bool], seconds: float = 120) -> dict[str, Any]:
        """The same, again and again until the answer is as wanted."""
        until = time.monotonic() + seconds
        while not wanted(found := self.ask(order)):
            assert time.monotonic() < until, found
            time.sleep(0.3)
        return found

    def open_dialog(self) -> None:
        """Opens the dialog of Protect Face, and waits until it has found the faces."""
        self.choose("Protect Face", DIALOG)
        self.ask_until(READY, lambda found: bool(found["ready"]))

    def wait_for_words(self, *wanted: str) -> str:
        """What Check or the worker's dialog shows, once all of it is there."""
        shown = self.gimp.share / "shown.txt"
        self.wait(60, lambda _titles: shown.exists() and all(word in shown.read_text() for word in wanted))
        words = shown.read_text()
        shown.unlink()
        return words

    def protect(self, seconds: float = 180) -> None:
        """Presses Enter in the open dialog, waits for the layer, and closes the message about it."""
        before = self.layers()
        self.do("wmctrl", "-a", DIALOG)
        self.keys("Return")
        self.wait_for_result(before + 1, seconds)

    def wait_for_result(self, layers: int, seconds: float = 180) -> None:
        """Waits for a new layer, and closes the message about it."""
        self.wait_for_layers(layers, seconds)
        self.wait(30, lambda titles: DIALOG in titles)
        self.do("wmctrl", "-c", DIALOG)
        self.wait(30, lambda titles: DIALOG not in titles)

    def shoot(self, title: str, name: str) -> None:
        """Keeps a picture of a window where somebody asked for it."""
        if folder := os.environ.get(SCREENSHOTS):
            Path(folder).mkdir(parents=True, exist_ok=True)
            inside = self.gimp.share / "shot.png"
            self.do("import", "-window", title, str(inside))
            shutil.move(inside, Path(folder) / f"{name}.png")

    def dismiss(self) -> None:
        """Closes the dialog without a run."""
        self.do("wmctrl", "-a", DIALOG)
        self.keys("Escape")
        self.wait(30, lambda titles: DIALOG not in titles)


def missing_programs(gimp: Gimp) -> list[str]:
    """What a window needs and this system lacks."""
    folders = ("/usr/local/bin", "/usr/bin", "/bin")
    return [name for name in PROGRAMS if not gimp.prefix and shutil.which(name, path=":".join(folders)) is None]


@pytest.fixture(scope="module")
def window(gimp: Gimp) -> Iterator[Window]:
    if missing := missing_programs(gimp):
        pytest.skip(f"THE WINDOW IS NOT TESTED: there is no {', '.join(missing)} here")
    with opened_window(gimp, gimp.share / "astronaut.png") as shown:
        yield shown


@contextmanager
def opened_window(gimp: Gimp, photo: Path) -> Iterator[Window]:
    """GIMP's window with a photo, whose name begins with "astronaut", on a screen of its own."""
    profile = gimp.share / "profile-window"
    shutil.copytree(gimp.share / "profile" / "plug-ins" / "protect-face", profile / "plug-ins" / "protect-face")
    for name, lines in ADDED.items():
        with (profile / "plug-ins" / "protect-face" / f"{name}.py").open("a") as module:
            module.write(lines)
    (profile / "gimprc").write_text(
        f'(plug-in-path "{gimp.lean}:{profile}/plug-ins")\n'
        '(check-updates no)\n(show-welcome-dialog no)\n(config-version "3.0.4")\n(color-profile-policy keep)\n'
    )
    keys = [f'(action "{name}" "<Primary><Alt>{key}")\n' for name, key in KEYS.values()]
    (profile / "shortcutsrc").write_text("".join(keys))
    shown = Window(gimp, f":{next(DISPLAYS)}")
    try:
        # Without "-noreset" it starts anew when its only client leaves, and the next one may die of that.
        shown.start("Xvfb", shown.display, "-screen", "0", "1400x900x24", "-nolisten", "tcp", "-noreset")
        shown.gimp = gimp.beside(shown.processes[0].pid)
        # On a busy machine each of them may take seconds until the next can use it.
        shown.wait_for("xdotool", "getdisplaygeometry")
        shown.start("openbox")
        shown.wait_for("wmctrl", "-m")
        shown.start("dbus-run-session", "--", "gimp", *START, str(photo))
        shown.wait_for_layers(1, 120)
        yield shown
    finally:
        for process in shown.processes:
            for child in [*psutil.Process(process.pid).children(recursive=True), process]:
                with suppress(psutil.NoSuchProcess):  # it ends by itself when its parent has
                    child.kill()
            process.wait()
        shutil.rmtree(profile)


@pytest.fixture(autouse=True)
def only_the_photo(window: Window) -> None:
    """What an earlier test left is closed and undone, also if that test failed half-way."""
    until = time.monotonic() + 120
    while left := [title for title in window.titles() if title in TITLES]:
        assert time.monotonic() < until, left
        window.do("wmctrl", "-c", left[0])
        time.sleep(0.3)
    while window.layers() != 1:
        assert time.monotonic() < until, window.titles()
        window.undo()


def colours(window: Window, title: str) -> set[tuple[int, int, int]]:
    """Every colour in the picture of a window."""
    picture = window.gimp.share / "window.png"
    window.do("import", "-window", title, str(picture))
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    return {(int(red), int(green), int(blue)) for red, green, blue in np.unique(pixels, axis=0)}


def test_a_user_protects_with_one_key_undoes_redoes_and_checks(window: Window) -> None:
    window.find("Protect Face", DIALOG)
    window.ask("dialog._config.set_property('steps', 2)")
    window.protect()

    window.do("wmctrl", "-a", "astronaut")
    window.keys("ctrl+z")
    window.wait_for_layers(1)
    window.keys("ctrl+y")
    window.wait_for_layers(2)

    window.find("Check Protection", "Check Protection")
    until = time.monotonic() + 30
    while not colours(window, "Check Protection") & BARS:
        assert time.monotonic() < until, "the window shows no bars"
    window.do("wmctrl", "-c", "Check Protection")
    window.wait(30, lambda titles: "Check Protection" not in titles)


# Whether the dialog has asked the worker and counted the faces.
READY = "found['ready'] = dialog._quick_button.get_sensitive()"
PROMPTS = "found['prompts'] = [row[0] for row in dialog._prompts.get_model()]"


# A second image, without a face, in a window of its own.
OPEN_ANOTHER = """
image = Gimp.Image.new(96, 64, Gimp.ImageBaseType.RGB)
layer = Gimp.Layer.new(image, "blank", 96, 64, Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL)
image.insert_layer(layer, None, 0)
(share / "display").write_text(str(Gimp.Display.new(image).get_id()))
"""


def test_all_open_images_are_protected_and_a_list_says_what_became_of_each(window: Window) -> None:
    window.open_dialog()
    window.ask(OPEN_ANOTHER)
    window.ask("dialog._config.set_property('steps', 2); dialog._config.set_property('all-images', True)")
    window.shoot(DIALOG, "gimp-all-images")
    (window.gimp.share / "shown.txt").unlink(missing_ok=True)  # of an earlier Check
    window.do("wmctrl", "-a", DIALOG)
    window.keys("Return")
    rows = json.loads(window.wait_for_words("["))
    window.shoot(DIALOG, "gimp-all-images-list")
    window.do("wmctrl", "-c", DIALOG)
    window.wait_for_layers(2)
    assert [("astronaut" in name, protected) for name, protected, _ in rows] == [(False, False), (True, True)]
    assert render("no-face", {}) in rows[0][2]


def test_presets_are_offered_and_the_prompts_used_last_come_before_them(window: Window) -> None:
    window.choose("Protect Face", DIALOG)
    window.ask_until(PROMPTS, lambda found: found["prompts"][-len(PRESETS) :] == list(PRESETS))
    for prompt in ("blue eyeshadow", PRESETS[1]):
        window.ask("dialog._config.set_property('steps', 1)")
        window.keys("alt+y", "ctrl+a")
        window.do("xdotool", "type", "--delay", "40", prompt)
        window.protect()
        window.choose("Protect Face", DIALOG)
    rest = [preset for preset in PRESETS if preset != PRESETS[1]]
    found = window.ask_until(PROMPTS, lambda found: len(found["prompts"]) > len(PRESETS))
    assert found["prompts"][:2] == [PRESETS[1], "blue eyeshadow"]
    assert [prompt for prompt in found["prompts"][2:] if prompt in rest] == rest
    assert len(set(found["prompts"])) == len(found["prompts"])
    window.dismiss()


# What is drawn and measured: the pictures are kept for the test, and whether all that was asked for has come.
SHOWN_NOW = """
pair, background = dialog._preview._pair, dialog._background
idle = background._running is None and not background._following and not background._waiting and not dialog._jobs
found["there"] = bool(idle and pair and dialog._meter.figures)
if found["there"]:
    for name in ("before", "after"):
        getattr(pair, name).savev(str(share / f"{name}.png"), "png", [], [])
    found["alike"] = [row["after"] for row in dialog._meter.figures["faces"][0]["similarities"]]
    found["candidates"] = len(dialog._strip.candidates)
    found["notes"] = dialog._notes.get_text()
    found["mode"] = dialog._preview.mode
"""


def drawn(window: Window, order: str = "", candidates: int = 1) -> tuple[float, dict[str, Any]]:
    """What the preview shows after an order: how much the two pictures differ, and what else was found."""
    if order:
        window.ask(order)
        time.sleep(0.5)  # until the window has asked for a new picture
    found = window.ask_until(SHOWN_NOW, lambda found: found["there"] and found["candidates"] == candidates)
    before, after = (
        np.asarray(Image.open(window.gimp.share / f"{name}.png").convert("RGB")).astype(int)
        for name in ("before", "after")
    )
    assert before.shape == after.shape and before.std() > 20
    return float(np.abs(after - before).mean()), found


@pytest.fixture
def previewed(window: Window) -> Iterator[tuple[float, dict[str, Any]]]:
    """The open dialog after a quick preview: what is drawn and measured."""
    window.open_dialog()
    for name in ("amount", "shape", "light", "makeup"):
        window.ask(f"dialog._config.set_property('{name}', 100)")
    window.keys("alt+q")
    yield drawn(window)
    window.dismiss()


def test_the_preview_shows_the_face_before_and_after_with_its_meter(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    change, found = previewed
    window.shoot(DIALOG, "preview")
    assert 0.5 < change < 40 and found["mode"] == "face" and len(found["alike"]) > 2
    assert found["notes"].startswith("Found in a few steps")


def test_less_of_an_amount_is_drawn_and_measured_without_another_search(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    whole, all_of_it = previewed
    half, found = drawn(window, "dialog._config.set_property('amount', 50)")
    window.shoot(DIALOG, "amount")
    assert 0.3 * whole < half < 0.8 * whole
    assert np.mean(all_of_it["alike"]) < np.mean(found["alike"]) < 1
    nothing, found = drawn(window, "dialog._config.set_property('amount', 0)")
    assert nothing == 0 and found["alike"] == pytest.approx([1.0] * len(found["alike"]), abs=2e-3)
    light, _ = drawn(window, "for n, v in (('amount', 100), ('shape', 0)): dialog._config.set_property(n, v)")
    assert 0 < light < whole


def test_a_note_says_that_settings_have_changed_until_they_are_changed_back(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    _, found = drawn(window, "dialog._config.set_property('seed', dialog._config.get_property('seed') + 1)")
    assert found["notes"].startswith("The settings have changed")
    _, found = drawn(window, "dialog._pick(dialog._strip.candidates[0])")
    assert found["notes"].startswith("Found in a few steps")


def test_the_space_bar_shows_the_photo_as_it_was_for_as_long_as_it_is_held(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    window.ask("dialog._preview.grab_focus()")
    comparing = "found['comparing'] = dialog._preview.comparing"
    window.do("xdotool", "keydown", "space")
    window.ask_until(comparing, lambda found: found["comparing"], 20)
    window.do("xdotool", "keyup", "space")
    window.ask_until(comparing, lambda found: not found["comparing"], 20)
    split = "found['split'] = dialog._preview.split"
    before = window.ask(split)["split"]
    window.keys("Left")
    window.ask_until(split, lambda found: found["split"] < before, 20)


# The letters of all labels that are on the screen, GIMP's own buttons included.
LETTERS = """
def walk(widget):
    keys = widget.get_mapped() and isinstance(widget, Gtk.Label) and widget.get_mnemonic_keyval()
    if keys and keys != Gdk.KEY_VoidSymbol:
        found["letters"] += chr(Gdk.keyval_to_unicode(keys))
    if isinstance(widget, Gtk.Container):
        widget.forall(walk)

from gi.repository import Gdk, Gtk
found["letters"] = ""
walk(dialog._dialog)
"""


def test_every_letter_leads_to_one_control_on_both_pages_and_locks_reach_the_search(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    usual = window.ask(LETTERS)["letters"]
    window.keys("alt+m")
    more = window.ask_until(LETTERS, lambda found: "j" in found["letters"], 20)["letters"]
    window.keys("alt+j")
    locked = "found['jaw'] = dialog._config.get_property('lock-jaw')"
    window.ask_until(locked, lambda found: found["jaw"], 20)
    window.shoot(DIALOG, "more")
    for letters, known in ((usual, "prchygtmq"), (more, "prchkxbmnjq")):
        assert len(letters) == len(set(letters)) and set(known) <= set(letters)
    window.keys("alt+q")
    drawn(window, candidates=2)
    found = window.ask(
        "found['locks'] = dialog._current.figures['settings']['locks']; found['seen'] = dialog._notes.get_text()"
    )
    assert found["locks"] == ["jaw"] and found["seen"].startswith("Found in a few steps")
    window.keys("alt+j")
    window.ask_until("found['seen'] = dialog._notes.get_text()", lambda found: "changed" in found["seen"], 20)


def test_settings_are_saved_under_a_name_with_a_thumbnail_and_taken_up_again_by_keyboard(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    folder = window.gimp.share / "profile-window" / "protect-face" / "presets"
    wanted = "found.update({name: dialog._config.get_property(name) for name in ('seed', 'lock-nose', 'shape')})"
    window.ask("dialog._config.set_property('seed', 41); dialog._config.set_property('lock-nose', True)")
    window.keys("alt+t")
    window.wait(30, lambda titles: "Presets" in titles)
    window.keys("alt+n")
    window.do("xdotool", "type", "--delay", "40", "Evening")
    window.keys("alt+t", "alt+s")
    window.wait(30, lambda _titles: len(list(folder.glob("*"))) == 2)
    window.shoot("Presets", "presets")
    (file,) = folder.glob("*.json")
    kept = json.loads(file.read_text())
    assert kept["name"] == "Evening" and kept["settings"].items() >= {"seed": 41, "lock_nose": True}.items()
    with Image.open(file.with_suffix(".png")) as thumbnail:
        assert max(thumbnail.size) <= 256 and np.asarray(thumbnail.convert("L")).std() > 20
    window.keys("alt+c")
    window.wait(30, lambda titles: "Presets" not in titles)
    changes = {"seed": 5, "lock-nose": False, "shape": 20}
    window.ask(f"for name, value in {changes}.items(): dialog._config.set_property(name, value)")
    window.keys("alt+t")
    window.wait(30, lambda titles: "Presets" in titles)
    window.keys("alt+p", "alt+u")
    window.wait(30, lambda titles: "Presets" not in titles)
    assert window.ask(wanted) == {"seed": 41, "lock-nose": True, "shape": 100}
    window.ask("dialog._config.set_property('seed', 0); dialog._config.set_property('lock-nose', False)")
    window.keys("alt+t")
    window.wait(30, lambda titles: "Presets" in titles)
    window.keys("alt+p", "alt+d")
    time.sleep(1)  # its question has no title
    window.keys("alt+d")
    window.wait(30, lambda _titles: not list(folder.glob("*")))
    window.keys("alt+c")
    window.wait(30, lambda titles: "Presets" not in titles)


def test_a_face_is_left_out_by_a_click_and_chosen_by_another(window: Window) -> None:
    window.open_dialog()
    place = window.ask("""
shown, full = dialog._preview._photo
left, top, width, _height = dialog._preview._drawn
x0, y0, x1, y1 = dialog._list_usable_faces()[0]["box"]
scale = width / full[0]
_, x, y = dialog._preview.get_window().get_origin()
found["at"] = [round(x + left + (x0 + x1) / 2 * scale), round(y + top + (y0 + 2 * y1) / 3 * scale)]
""")["at"]
    window.shoot(DIALOG, "faces")
    chosen = "found['chosen'] = sorted(dialog._chosen); found['ready'] = dialog._quick_button.get_sensitive()"
    window.do("xdotool", "mousemove", *map(str, place))
    # A double click is two clicks, however fast.
    for clicks, expected in ((1, []), (1, [1]), (2, [1]), (1, [])):
        window.do("xdotool", "click", "--repeat", str(clicks), "--delay", "60", "1")
        time.sleep(0.5)
        found = window.ask(chosen)
        assert found == {"chosen": expected, "ready": bool(expected)}
    window.dismiss()


def test_several_looks_are_tried_at_once_and_any_can_be_taken_up_again(window: Window) -> None:
    window.open_dialog()
    window.ask("dialog._config.set_property('seed', 0)")
    window.keys("alt+3")
    drawn(window, candidates=3)
    window.shoot(DIALOG, "candidates")
    seeds = "found['seeds'] = [c.settings['seed'] for c in dialog._strip.candidates]"
    assert window.ask(seeds)["seeds"] == [1, 2, 3]
    drawn(window, "dialog._strip._buttons[0].clicked()", candidates=3)
    found = window.ask("found['seed'] = dialog._config.get_property('seed'); found['now'] = dialog._current.settings")
    assert found["seed"] == 1 == found["now"]["seed"]
    # The Delete key discards the one that is shown, the menu any; the next one takes its place, at last the photo.
    window.ask("dialog._strip._buttons[0].grab_focus()")
    window.keys("Delete")
    drawn(window, candidates=2)
    now = "found['now'] = dialog._current and dialog._current.settings['seed']"
    assert window.ask(f"{seeds}; {now}") == {"seeds": [2, 3], "now": 2}
    window.ask("dialog._strip._buttons[1].grab_focus()")
    window.keys("Menu")
    time.sleep(0.5)
    window.shoot(DIALOG, "discard")
    window.keys("d")
    drawn(window, candidates=1)
    assert window.ask(f"{seeds}; {now}") == {"seeds": [2], "now": 2}
    window.ask("dialog._strip._buttons[0].grab_focus()")
    window.keys("Delete")
    window.ask_until(f"{seeds}; {now}", lambda found: found == {"seeds": [], "now": None}, 20)
    assert window.ask("found['mode'] = dialog._preview.mode; found['notes'] = dialog._notes.get_text()") == {
        "mode": "photo",
        "notes": "",
    }
    window.ask("dialog._config.set_property('seed', 0)")
    window.dismiss()


# The dialog as it would be if one more face had been found, which is covered.
ONE_COVERED = """
from worker_client.messages import Message
import preview

why = Message("face-covered", covered=80, most=67).described()
face = dict(dialog._detection["faces"][0], number=2, box=[300.0, 300.0, 420.0, 420.0], skipped=why)
dialog._detection["faces"].append(face)
preview.to_pixbuf = lambda shown: shown
shown, full = dialog._preview._photo
dialog._preview.show_photo(shown, full, dialog._detection["faces"])
dialog._choose_by_setting()
found["notes"] = dialog._notes.get_text()
x, y = dialog._preview.get_window().get_origin()[1:]
left, top, width, height = dialog._preview._drawn
found["at"] = [round(x + left + 360 * width / 512), round(y + top + 360 * height / 512)]
"""


def test_a_face_that_cannot_be_protected_has_a_box_and_a_reason_and_cannot_be_chosen(window: Window) -> None:
    window.open_dialog()
    found = window.ask(ONE_COVERED)
    assert found["notes"] == "Face 2 was left out: 80 % of the face are covered and at most 67 % may be."
    window.shoot(DIALOG, "covered")
    window.do("xdotool", "mousemove", *map(str, found["at"]), "click", "1")
    time.sleep(0.5)
    numbers = "found.update({str(n): b.get_sensitive() for n, b in dialog._preview._numbers.items()})"
    assert window.ask(f"{numbers}; found['chosen'] = sorted(dialog._chosen)") == {"1": True, "2": False, "chosen": [1]}
    window.dismiss()


def test_a_full_search_is_inserted_as_it_is_shown_without_another_one(window: Window) -> None:
    window.open_dialog()
    window.ask("dialog._config.set_property('steps', 2)")
    window.keys("alt+i")
    drawn(window)
    _, found = drawn(window, "dialog._config.set_property('amount', 80)")
    assert found["notes"].startswith("Protect inserts exactly this.")
    window.protect()
    kinds = re.findall(r"(\w+): result after", (window.gimp.share / "log" / "worker.log").read_text())
    assert kinds[-1] == "apply"


def test_a_further_look_hides_the_one_before_and_one_undo_brings_that_back(window: Window) -> None:
    shown = "found['shown'] = [layer.get_visible() for layer in dialog._source.image.get_layers()]"
    for _ in range(2):
        window.choose("Protect Face", DIALOG)
        window.ask("dialog._config.set_property('steps', 1)")
        window.protect()
    window.open_dialog()
    assert window.ask(shown)["shown"] == [True, False, True]
    window.dismiss()
    window.undo()
    window.open_dialog()
    assert window.ask(shown)["shown"] == [True, True]
    window.dismiss()


def test_repeat_runs_again_without_asking_and_says_what_came_of_it(window: Window) -> None:
    window.choose("Protect Face", DIALOG)
    window.ask("dialog._config.set_property('steps', 1)")
    window.protect()
    window.do("wmctrl", "-a", "astronaut")
    window.keys("ctrl+f")
    window.wait_for_layers(3, 60)
    window.wait(30, lambda titles: "GIMP Message" in titles)
    assert DIALOG not in window.titles()
    window.do("wmctrl", "-c", "GIMP Message")
    window.wait(30, lambda titles: "GIMP Message" not in titles)


STEPS = """
from gi.repository import GObject
dialog._config.set_property("steps", {})
found["text"] = dialog._dialog.get_widget("steps", GObject.TYPE_NONE).get_spin_button().get_text()
"""


def test_repeat_after_a_cancelled_run_takes_the_settings_of_that_run(window: Window) -> None:
    window.open_dialog()
    assert [window.ask(STEPS.format(steps))["text"] for steps in (40, 0)] == ["40", "usual"]
    window.ask("dialog._config.set_property('prompt', 'plum “lipstick”'); dialog._config.set_property('steps', 1)")
    with suspend_search(window.gimp):
        window.keys("Return")
        folder = window.gimp.share / "profile-window" / "plug-ins" / "protect-face"
        window.wait(60, lambda _titles: count_jobs(window.gimp) == 1)
        for cancelled in find_plug_in_processes(folder):
            cancelled.kill()  # as GIMP's Cancel does
    window.wait(30, lambda titles: "GIMP Message" in titles and not count_jobs(window.gimp))
    window.do("wmctrl", "-c", "GIMP Message")
    window.do("wmctrl", "-a", "astronaut")
    window.keys("ctrl+f")
    window.wait_for_layers(2, 60)
    window.wait(30, lambda titles: "GIMP Message" in titles)
    window.do("wmctrl", "-c", "GIMP Message")
    window.open_dialog()
    names = "found['names'] = [layer.get_name() for layer in dialog._source.image.get_layers()]"
    assert window.ask(names)["names"][0] == "plum “lipstick”"
    window.dismiss()


@pytest.fixture
def opened(window: Window) -> Iterator[Path]:
    """A file that gets the address of every page that is opened in the user's browser."""
    found, home = window.gimp.share / "opened.txt", window.gimp.share / ".local" / "share" / "applications"
    home.mkdir(parents=True)
    record = window.gimp.share / "record.sh"
    record.write_text(f'#!/bin/sh\necho "$1" > "{found}"\n')
    record.chmod(0o755)
    (home / "record.desktop").write_text(
        f"[Desktop Entry]\nType=Application\nName=Record\nExec={record} %u\nMimeType=text/html;x-scheme-handler/file;\n"
    )
    (home / "mimeapps.list").write_text(
        "[Default Applications]\ntext/html=record.desktop\nx-scheme-handler/file=record.desktop\n"
    )
    yield found
    shutil.rmtree(home)
    found.unlink(missing_ok=True)


@pytest.mark.parametrize("key", ["F1", "alt+h"])
def test_help_opens_the_manual_that_came_with_the_plug_in(window: Window, opened: Path, key: str) -> None:
    window.open_dialog()
    window.keys(key)
    window.wait(30, lambda _titles: opened.exists() and bool(opened.read_text().strip()))
    address, _, heading = opened.read_text().strip().partition("#")
    assert heading == "protect" and '<h2 id="protect">' in Path(address.removeprefix("file://")).read_text()
    window.dismiss()


def test_check_adds_the_upload_and_strengthens_at_the_press_of_a_button(window: Window) -> None:
    window.choose("Protect Face", DIALOG)
    window.ask("dialog._config.set_property('steps', 1)")
    window.protect()
    window.choose("Check Protection", "Check Protection")
    assert "upload" not in json.loads(window.wait_for_words("faces"))
    window.keys("alt+u")
    assert json.loads(window.wait_for_words("upload"))["upload"]["faces"]
    window.keys("alt+o")
    # Its result is as poor, after two steps, and offers the same again.
    window.wait_for_layers(3, 180)
    window.wait(30, lambda titles: DIALOG in titles)
    window.do("wmctrl", "-a", DIALOG)
    window.keys("alt+o")
    window.wait_for_result(4)


def test_check_compares_with_a_file_that_is_chosen_in_its_window(window: Window) -> None:
    window.choose("Protect Face", DIALOG)
    window.ask("dialog._config.set_property('steps', 1)")
    window.protect()
    window.choose(CHECK, CHECK)
    found = json.loads(window.wait_for_words("original"))
    assert found["original"] == {"name": "astronaut.png", "known": True, "layer": "astronaut.png"}
    window.shoot(CHECK, "check")
    window.keys("alt+g")
    window.wait(30, lambda titles: ORIGINAL in titles)
    window.keys("alt+f")
    window.wait(30, lambda titles: CHOOSER in titles)
    shutil.copy(window.gimp.share / "astronaut.png", window.gimp.share / "photo.png")
    window.do("xdotool", "type", "--delay", "40", str(window.gimp.share / "photo.png"))
    window.keys("Return")
    found = json.loads(window.wait_for_words("photo.png"))
    assert found["original"] == {"name": "photo.png", "known": True, "layer": "astronaut.png"}
    window.shoot(CHECK, "check-file")
    window.keys("alt+u")
    window.wait_for_words("upload")
    window.shoot(CHECK, "check-upload")
    window.do("wmctrl", "-c", CHECK)
    window.wait(30, lambda titles: CHECK not in titles)


def test_enter_in_the_question_for_the_original_answers_it(window: Window) -> None:
    window.choose(CHECK, ORIGINAL)
    window.shoot(ORIGINAL, "original")
    window.keys("Return")
    window.wait(60, lambda titles: "GIMP Message" in titles and ORIGINAL not in titles)
    assert (window.gimp.share / "said.txt").read_text() == render("pictures-the-same", {})
    window.do("wmctrl", "-c", "GIMP Message")
    window.wait(30, lambda titles: "GIMP Message" not in titles)


def test_the_workers_window_shows_its_state_restarts_and_diagnoses(window: Window) -> None:
    window.find("Protect Face Worker", "Protect Face Worker")
    window.wait_for_words("It has been running for", "All models are here.")
    before = read_endpoint_file(window.gimp)["pid"]
    window.keys("alt+r")
    window.wait_for_words("It has been running for")
    assert read_endpoint_file(window.gimp)["pid"] != before
    window.keys("alt+d")
    window.wait_for_words("run folder: ", "found by: ")
    window.do("wmctrl", "-c", "Protect Face Worker")
    window.wait(30, lambda titles: "Protect Face Worker" not in titles)


def test_a_worker_that_hangs_is_reported_at_once_and_can_be_restarted(window: Window) -> None:
    window.gimp.script("call('plug-in-protect-face-worker', do='status')")  # which starts one
    hung = psutil.Process(read_endpoint_file(window.gimp)["pid"])
    hung.suspend()
    window.choose("Protect Face Worker", "Protect Face Worker")
    window.wait_for_words("The worker does not answer; restart it.")
    time.sleep(1)  # its button becomes usable when the words are there
    window.keys("alt+r")
    window.wait_for_words("It has been running for")
    assert read_endpoint_file(window.gimp)["pid"] != hung.pid
    window.do("wmctrl", "-c", "Protect Face Worker")
    window.wait(30, lambda titles: "Protect Face Worker" not in titles)


def test_one_line_says_what_will_be_done_by_what_and_how_long_it_takes(window: Window) -> None:
    window.open_dialog()
    line = "dialog._config.set_property('faces', '{}'); found['line'] = dialog._status.get_text()"
    words = window.ask(line.format("all"))["line"]
    known = r"(It takes about .+|How long it takes is known after the first run)"
    assert re.fullmatch(rf"1 face will be protected\. {known}\. Computes on .+\.", words)
    assert window.ask(line.format("selection"))["line"].startswith("Nothing is selected; select a face or choose all")
    window.ask("dialog._config.set_property('faces', 'all')")
    known = """
hello = dialog._hello
hello["seconds_per_face"] = {{"makeup": 60.0}}
dialog._config.set_property("prior", "{}")
dialog._config.set_property("steps", {} * hello["defaults"]["steps"])
found["line"] = dialog._status.get_text()
"""
    assert "It takes about 2 min." in window.ask(known.format("makeup", 2))["line"]
    assert "How long it takes is known after" in window.ask(known.format("stylegan2", 2))["line"]
    window.ask(known.format("makeup", 0))
    window.dismiss()


def test_a_preview_of_a_layer_that_has_gone_says_so_and_can_be_tried_again(window: Window) -> None:
    window.open_dialog()
    window.ask("dialog._source.image.remove_layer(dialog._source.layer)")
    for start in ("dialog._quick_button.clicked()", "dialog._start_detection()"):
        window.ask(f"dialog._status.set_text(''); {start}")
        line = "found['line'] = dialog._status.get_text(); " + READY
        found = window.ask_until(line, lambda found: bool(found["line"]))
        assert found == {
            "line": "The layer was deleted during the run; select the layer with the photo and try again.",
            "ready": True,
        }
    window.dismiss()
    window.do("wmctrl", "-a", "astronaut")
    window.keys("ctrl+z")
    window.wait_for_layers(1)


@contextmanager
def searching(window: Window) -> Iterator[None]:
    """Presses Enter in the dialog; the search, which comes after the look for faces, then stands still meanwhile."""
    _, before = count_jobs_and_done(window.gimp)
    window.keys("Return")
    window.wait(60, lambda _titles: count_jobs_and_done(window.gimp) == (1, before + 1))
    with suspend_search(window.gimp):
        yield


SLOW = """
import run, threading, time

connect = run.connect


def slowly(*arguments):
    if threading.current_thread() is threading.main_thread():
        return connect(*arguments)
    while not (share / "go-on").exists():
        time.sleep(0.05)
    worker = connect(*arguments)
    (share / "connected").touch()
    return worker


run.connect = slowly
dialog._start_detection()
dialog._config.set_property("steps", 40)
"""


def test_a_dialog_that_is_closed_while_it_connects_asks_the_worker_no_more(window: Window) -> None:
    window.open_dialog()
    window.ask(SLOW)
    with searching(window):
        (window.gimp.share / "go-on").touch()
        window.wait(30, lambda _titles: (window.gimp.share / "connected").exists())
        time.sleep(1)
        assert count_jobs(window.gimp) == 1
    window.wait_for_result(2)


@pytest.fixture
def bare_models(window: Window, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in which the worker of these tests looks for models; it lacks two and can't fetch any."""
    folder = window.gimp.share / "profile-window" / "plug-ins" / "protect-face"
    bare, pointer = window.gimp.share / "bare", folder / "protect-face-worker.json"
    right = pointer.read_text()
    monkeypatch.setenv("C2P_MODELS", str(bare / "models"))
    monkeypatch.setenv("C2P_OFFLINE", "1")
    checkout = host.copy_checkout_with_missing_models(bare / "checkout")
    pointer.write_text(host.make_pointer(bare / "run", in_root=bool(window.gimp.prefix), checkout=checkout))
    yield bare / "models"
    pointer.write_text(right)
    stop_worker(bare / "run")
    shutil.rmtree(bare)


def test_a_prior_that_lacks_a_file_cannot_be_chosen_and_one_sentence_says_why(
    window: Window, bare_models: Path
) -> None:
    (bare_models / "stylegan2").mkdir(parents=True)
    (bare_models / "stylegan2" / "generator.pt").touch()
    window.choose("Protect Face", DIALOG)
    found = window.ask_until(
        """
choice = Gimp.param_spec_choice_get_choice(dialog._config.find_property("prior"))
found.update(words=dialog._missing.get_text(), usable=[n for n in ("makeup", "stylegan2") if choice.is_valid(n)])
""",
        lambda found: bool(found["words"]),
    )
    window.keys("alt+m")
    window.shoot(DIALOG, "priors")
    assert found["usable"] == ["makeup"]
    assert "lacks its encoder" in found["words"] and found["words"].count("\n") == 0
    window.dismiss()


def test_missing_models_are_offered_with_their_size_and_the_button_asks_for_them(
    window: Window, bare_models: Path
) -> None:
    window.choose("Protect Face", DIALOG)
    label = window.ask_until(
        "b = dialog._fetch_button; found['label'] = b.get_visible() and b.get_sensitive() and b.get_label()",
        lambda found: bool(found["label"]),
    )["label"]
    window.ask("dialog._fetch_button.clicked()")
    # Without a network nothing comes; the sentence that says so is the worker's answer to the button.
    window.ask_until("found['line'] = dialog._status.get_text()", lambda found: "once with a network" in found["line"])
    window.dismiss()
    assert label.startswith("Fetch ") and " missing mo_dels (" in label and label.endswith(" MB)")


def test_when_the_image_is_closed_during_a_run_the_user_reads_so_and_nothing_is_left(window: Window) -> None:
    window.open_dialog()
    window.ask("dialog._config.set_property('steps', 40)")
    with searching(window):
        assert count_jobs(window.gimp) == 1, "the search was over before the image could be closed"
        window.do("wmctrl", "-a", "astronaut")
        window.keys("ctrl+w")
        window.wait(30, lambda _titles: window.layers() == 0)
    window.wait(180, lambda titles: "GIMP Message" in titles)
    window.shoot("GIMP Message", "closed")
    assert (window.gimp.share / "said.txt").read_text() == "The image was closed during the run; open it and try again."
    assert window.titles().count("GIMP Message") == 1 and DIALOG not in window.titles()
    folder = window.gimp.share / "profile-window" / "plug-ins" / "protect-face"
    window.wait(10, lambda _titles: not find_plug_in_processes(folder) and count_jobs(window.gimp) == 0)
