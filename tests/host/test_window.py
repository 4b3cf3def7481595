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

from tests.error_assertions import sentence
from tests.host import gimp as host
from tests.host.conftest import stop_worker
from tests.host.gimp import (
    Gimp,
    count_jobs,
    count_jobs_and_done,
    find_plug_in_processes,
    read_endpoint_file,
    suspend_job_after,
    suspend_search,
)

pytestmark = [pytest.mark.host, pytest.mark.slow]

PROGRAMS = ("Xvfb", "openbox", "wmctrl", "xdotool", "import", "dbus-run-session")
# Without what the tests don't need: GIMP asks each of its own plug-ins what it offers when it starts in a new profile.
START = ("--new-instance", "--no-splash", "--no-data", "--no-fonts")
# Each test its own: a screen that was killed leaves its lock behind.
DISPLAYS = count(100 + os.getpid() % 400)
# Added to the dialog: what does the orders of a test.
DRIVER = "\n\nimport dialog_driver\n"
DRIVER_MODULE = Path(__file__).with_name("dialog_driver.py")
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
# Added to the dialog of the worker: takes a worker for hung in half the usual time.
IMPATIENT = """
from worker_client import client as _client

_client.ANSWER_SECONDS /= 2
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
    "check_dialog": SHOWN.replace("{name}", "build_content"),
    "worker_dialog": SHOWN.replace("{name}", "perform_and_describe") + IMPATIENT,
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

    def prepare(self, text: str) -> None:
        """Has the next dialog run Python before it is built."""
        (self.gimp.share / "preparation.py").write_text(text)

    def ask(self, order: str) -> dict[str, Any]:
        """Has the open dialog run Python with ``tests/host/dialog_driver.py``; what it put into ``found``."""
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


def list_missing_programs(gimp: Gimp) -> list[str]:
    """What a window needs and this system lacks."""
    folders = ("/usr/local/bin", "/usr/bin", "/bin")
    return [name for name in PROGRAMS if not gimp.prefix and shutil.which(name, path=":".join(folders)) is None]


@pytest.fixture(scope="module")
def window(gimp: Gimp) -> Iterator[Window]:
    if missing := list_missing_programs(gimp):
        pytest.skip(f"THE WINDOW IS NOT TESTED: there is no {', '.join(missing)} here")
    with open_window(gimp, gimp.share / "astronaut.png") as shown:
        yield shown


@contextmanager
def open_window(gimp: Gimp, photo: Path) -> Iterator[Window]:
    """GIMP's window with a photo, whose name begins with "astronaut", on a screen of its own."""
    profile = gimp.share / "profile-window"
    shutil.copytree(gimp.share / "profile" / "plug-ins" / "protect-face", profile / "plug-ins" / "protect-face")
    shutil.copy(DRIVER_MODULE, profile / "plug-ins" / "protect-face")
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


def list_colours(window: Window, title: str) -> set[tuple[int, int, int]]:
    """Every colour in the picture of a window."""
    picture = window.gimp.share / "window.png"
    window.do("import", "-window", title, str(picture))
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    return {(int(red), int(green), int(blue)) for red, green, blue in np.unique(pixels, axis=0)}


def test_a_user_protects_with_one_key_undoes_redoes_and_checks(window: Window) -> None:
    window.find("Protect Face", DIALOG)
    window.ask("config.set_property('steps', 2)")
    window.protect()

    window.do("wmctrl", "-a", "astronaut")
    window.keys("ctrl+z")
    window.wait_for_layers(1)
    window.keys("ctrl+y")
    window.wait_for_layers(2)

    window.find("Check Protection", "Check Protection")
    until = time.monotonic() + 30
    while not list_colours(window, "Check Protection") & BARS:
        assert time.monotonic() < until, "the window shows no bars"
    window.do("wmctrl", "-c", "Check Protection")
    window.wait(30, lambda titles: "Check Protection" not in titles)


# Whether the dialog has asked the worker and counted the faces.
READY = "found['ready'] = can_press('Quick preview')"
PROMPTS = "found['prompts'] = [row[0] for row in find_labelled('Makeup style').get_model()]"
TEXTS = "found['texts'] = read_texts()"


# What the dialog says of the search that is shown.
QUICK, CHANGED = "Found in a few steps", "The settings have changed"
# Of the astronaut, as shares of the width and height of the photo: between the eyes and the mouth.
NOSE = (224 / 512, 143 / 512)


def says(found: dict[str, Any], beginning: str) -> bool:
    """Whether a text on the screen has a line that begins so."""
    return any(line.startswith(beginning) for text in found["texts"] for line in text.splitlines())


def read_thumbnails(window: Window) -> tuple[list[int], int]:
    """The seeds of the searches in the strip, and that of the one that is shown."""
    found = window.ask(
        "found['all'] = [thumbnail.get_tooltip_text() for thumbnail in list_thumbnails()];"
        "found['shown'] = [thumbnail.get_tooltip_text() for thumbnail in list_thumbnails() if thumbnail.get_active()]"
    )
    seeds, (shown,) = ([int(re.findall(r"seed (\d+)", text)[0]) for text in found[key]] for key in ("all", "shown"))
    return seeds, shown


# A second image, without a face, in a window of its own.
OPEN_ANOTHER = """
image = Gimp.Image.new(96, 64, Gimp.ImageBaseType.RGB)
layer = Gimp.Layer.new(image, "blank", 96, 64, Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL)
image.insert_layer(layer, None, 0)
(SHARE / "display").write_text(str(Gimp.Display.new(image).get_id()))
"""


def test_all_open_images_are_protected_and_listed_with_their_outcomes(window: Window) -> None:
    window.open_dialog()
    window.ask(OPEN_ANOTHER)
    window.ask("config.set_property('steps', 2); config.set_property('all-images', True)")
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
        window.ask("config.set_property('steps', 1)")
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


# What is drawn and measured, once no search runs: the pictures are kept for the test.
SHOWN_NOW = """
pair, figures = find_preview().pair, find_figures()
found["there"] = bool(pair and figures and not find_button("Stop searching"))
if found["there"]:
    for name in ("before", "after"):
        getattr(pair, name).savev(str(SHARE / f"{name}.png"), "png", [], [])
    found["alike"] = [row["after"] for row in figures["faces"][0]["similarities"]]
    found["candidates"] = len(list_thumbnails())
    found["texts"] = read_texts()
    found["zoomed"] = find_button("Zoom to the face").get_active()
"""


def wait_for_preview(window: Window, order: str = "", candidates: int = 1) -> tuple[float, dict[str, Any]]:
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
        window.ask(f"config.set_property('{name}', 100)")
    window.keys("alt+q")
    yield wait_for_preview(window)
    window.dismiss()


def test_the_preview_shows_the_face_before_and_after_with_its_meter(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    change, found = previewed
    window.shoot(DIALOG, "preview")
    assert 0.5 < change < 40 and found["zoomed"] and len(found["alike"]) > 2
    assert says(found, QUICK)


def test_a_smaller_amount_is_drawn_and_measured_without_another_search(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    whole, all_of_it = previewed
    half, found = wait_for_preview(window, "config.set_property('amount', 50)")
    window.shoot(DIALOG, "amount")
    assert 0.3 * whole < half < 0.8 * whole
    assert np.mean(all_of_it["alike"]) < np.mean(found["alike"]) < 1
    nothing, found = wait_for_preview(window, "config.set_property('amount', 0)")
    assert nothing == 0 and found["alike"] == pytest.approx([1.0] * len(found["alike"]), abs=2e-3)
    light, _ = wait_for_preview(window, "for n, v in (('amount', 100), ('shape', 0)): config.set_property(n, v)")
    assert 0 < light < whole


def test_a_note_says_that_settings_have_changed_until_they_are_changed_back(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    _, found = wait_for_preview(window, "config.set_property('seed', config.get_property('seed') + 1)")
    assert says(found, CHANGED)
    _, found = wait_for_preview(window, "list_thumbnails()[0].clicked()")
    assert says(found, QUICK)


def test_the_space_bar_shows_the_photo_as_it_was_for_as_long_as_it_is_held(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    window.ask("find_preview().grab_focus()")
    comparing = "found['comparing'] = find_preview().comparing"
    window.do("xdotool", "keydown", "space")
    window.ask_until(comparing, lambda found: found["comparing"], 20)
    window.do("xdotool", "keyup", "space")
    window.ask_until(comparing, lambda found: not found["comparing"], 20)
    split = "found['split'] = find_preview().split"
    before = window.ask(split)["split"]
    window.keys("Left")
    window.ask_until(split, lambda found: found["split"] < before, 20)


# The letters of all labels that are on the screen, GIMP's own buttons included.
LETTERS = """
keys = [label.get_mnemonic_keyval() for label in find_all(Gtk.Label)]
found["letters"] = "".join(chr(Gdk.keyval_to_unicode(key)) for key in keys if key != Gdk.KEY_VoidSymbol)
"""


def test_every_letter_leads_to_one_control_on_both_pages_and_locks_reach_the_search(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    usual = window.ask(LETTERS)["letters"]
    window.keys("alt+m")
    more = window.ask_until(LETTERS, lambda found: "j" in found["letters"], 20)["letters"]
    window.keys("alt+j")
    locked = "found['jaw'] = config.get_property('lock-jaw')"
    window.ask_until(locked, lambda found: found["jaw"], 20)
    window.shoot(DIALOG, "more")
    for letters, known in ((usual, "prchygtmq"), (more, "prchkxbmnjq")):
        assert len(letters) == len(set(letters)) and set(known) <= set(letters)
    window.keys("alt+q")
    wait_for_preview(window, candidates=2)
    locks = "found['locks'] = find_strip().candidates[-1].figures['settings']['locks']"
    found = window.ask(f"{locks}; {TEXTS}")
    assert found["locks"] == ["jaw"] and says(found, QUICK)
    window.keys("alt+j")
    window.ask_until(TEXTS, lambda found: says(found, CHANGED), 20)


def test_settings_are_saved_under_a_name_with_a_thumbnail_and_taken_up_again_by_keyboard(
    window: Window, previewed: tuple[float, dict[str, Any]]
) -> None:
    folder = window.gimp.share / "profile-window" / "protect-face" / "presets"
    wanted = "found.update({name: config.get_property(name) for name in ('seed', 'lock-nose', 'shape')})"
    window.ask("config.set_property('seed', 41); config.set_property('lock-nose', True)")
    window.keys("alt+t")
    window.wait(30, lambda titles: "Presets" in titles)
    window.keys("alt+n")
    window.do("xdotool", "type", "--delay", "40", "Evening")
    window.keys("alt+t", "alt+s")
    window.wait(30, lambda _titles: len(list(folder.glob("*.json"))) == len(list(folder.glob("*.png"))) == 1)
    window.shoot("Presets", "presets")
    (file,) = folder.glob("*.json")
    kept = json.loads(file.read_text())
    assert kept["name"] == "Evening" and kept["settings"].items() >= {"seed": 41, "lock_nose": True}.items()
    with Image.open(file.with_suffix(".png")) as thumbnail:
        assert max(thumbnail.size) <= 256 and np.asarray(thumbnail.convert("L")).std() > 20
    window.keys("alt+c")
    window.wait(30, lambda titles: "Presets" not in titles)
    changes = {"seed": 5, "lock-nose": False, "shape": 20}
    window.ask(f"for name, value in {changes}.items(): config.set_property(name, value)")
    window.keys("alt+t")
    window.wait(30, lambda titles: "Presets" in titles)
    window.keys("alt+p", "alt+u")
    window.wait(30, lambda titles: "Presets" not in titles)
    assert window.ask(wanted) == {"seed": 41, "lock-nose": True, "shape": 100}
    window.ask("config.set_property('seed', 0); config.set_property('lock-nose', False)")
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
    place = window.ask(f"found['place'] = locate_in_photo(*{NOSE})")["place"]
    window.shoot(DIALOG, "faces")
    chosen = f"found['chosen'] = [number.get_active() for number in list_numbers()]; {READY}"
    window.do("xdotool", "mousemove", *map(str, place))
    # A double click is two clicks, however fast.
    for clicks, expected in ((1, False), (1, True), (2, True), (1, False)):
        window.do("xdotool", "click", "--repeat", str(clicks), "--delay", "60", "1")
        time.sleep(0.5)
        found = window.ask(chosen)
        assert found == {"chosen": [expected], "ready": expected}
    window.dismiss()


def test_several_looks_are_tried_at_once_and_any_can_be_taken_up_again(window: Window) -> None:
    window.open_dialog()
    window.ask("config.set_property('seed', 0)")
    window.keys("alt+3")
    wait_for_preview(window, candidates=3)
    window.shoot(DIALOG, "candidates")
    assert read_thumbnails(window) == ([1, 2, 3], 3)
    wait_for_preview(window, "list_thumbnails()[0].clicked()", candidates=3)
    assert read_thumbnails(window) == ([1, 2, 3], 1)
    assert window.ask("found['seed'] = config.get_property('seed')")["seed"] == 1
    # The Delete key discards the one that is shown, the menu any; the next one takes its place, at last the photo.
    window.ask("list_thumbnails()[0].grab_focus()")
    window.keys("Delete")
    wait_for_preview(window, candidates=2)
    assert read_thumbnails(window) == ([2, 3], 2)
    window.ask("list_thumbnails()[1].grab_focus()")
    window.keys("Menu")
    time.sleep(0.5)
    window.shoot(DIALOG, "discard")
    window.keys("d")
    wait_for_preview(window, candidates=1)
    assert read_thumbnails(window) == ([2], 2)
    window.ask("list_thumbnails()[0].grab_focus()")
    window.keys("Delete")
    window.ask_until("found['count'] = len(list_thumbnails())", lambda found: found["count"] == 0, 20)
    found = window.ask(f"found['whole'] = find_button('Whole photo').get_active(); {TEXTS}")
    assert found["whole"] and not says(found, QUICK) and not says(found, CHANGED)
    window.ask("config.set_property('seed', 0)")
    window.dismiss()


# The worker as it would be if it found one more face, which is covered.
ONE_COVERED = """
from worker_client import Job
from worker_client.messages import Message

result = Job.result


def add_covered_face(job, *arguments, **options):
    event = result(job, *arguments, **options)
    if "regions" in event.header:
        why = Message("face-covered", covered=80, most=67).described()
        face = dict(event.header["faces"][0], number=2, box=[300.0, 300.0, 420.0, 420.0], skipped=why)
        event.header["faces"].append(face)
    return event


Job.result = add_covered_face
"""


def test_a_face_that_cannot_be_protected_has_a_box_and_a_reason_and_cannot_be_chosen(window: Window) -> None:
    window.prepare(ONE_COVERED)
    window.open_dialog()
    found = window.ask(f"found['place'] = locate_in_photo(360 / 512, 360 / 512); {TEXTS}")
    reason = render("face-covered", {"covered": 80, "most": 67})
    assert says(found, f"Face 2 was left out: {reason}.")
    window.shoot(DIALOG, "covered")
    window.do("xdotool", "mousemove", *map(str, found["place"]), "click", "1")
    time.sleep(0.5)
    numbers = "{number.get_label(): (number.get_sensitive(), number.get_active()) for number in list_numbers()}"
    assert window.ask(f"found.update({numbers})") == {"1": [True, True], "2": [False, False]}
    window.dismiss()


def test_a_full_search_is_inserted_as_it_is_shown_without_another_one(window: Window) -> None:
    window.open_dialog()
    window.ask("config.set_property('steps', 2)")
    window.keys("alt+i")
    wait_for_preview(window)
    _, found = wait_for_preview(window, "config.set_property('amount', 80)")
    assert says(found, "Protect inserts exactly this.")
    window.protect()
    kinds = re.findall(r"(\w+): result after", (window.gimp.share / "log" / "worker.log").read_text())
    assert kinds[-1] == "apply"


def test_a_further_look_hides_the_one_before_and_one_undo_brings_that_back(window: Window) -> None:
    shown = "found['shown'] = [layer.get_visible() for layer in Gimp.get_images()[0].get_layers()]"
    for _ in range(2):
        window.choose("Protect Face", DIALOG)
        window.ask("config.set_property('steps', 1)")
        window.protect()
    window.open_dialog()
    assert window.ask(shown)["shown"] == [True, False, True]
    window.dismiss()
    window.undo()
    window.open_dialog()
    assert window.ask(shown)["shown"] == [True, True]
    window.dismiss()


def test_repeat_runs_again_without_the_dialog_and_reports_the_outcome(window: Window) -> None:
    window.choose("Protect Face", DIALOG)
    window.ask("config.set_property('steps', 1)")
    window.protect()
    window.do("wmctrl", "-a", "astronaut")
    window.keys("ctrl+f")
    window.wait_for_layers(3, 60)
    window.wait(30, lambda titles: "GIMP Message" in titles)
    assert DIALOG not in window.titles()
    window.do("wmctrl", "-c", "GIMP Message")
    window.wait(30, lambda titles: "GIMP Message" not in titles)


STEPS = """
config.set_property("steps", {})
found["text"] = dialog.get_widget("steps", GObject.TYPE_NONE).get_spin_button().get_text()
"""


def test_repeat_after_a_cancelled_run_takes_the_settings_of_that_run(window: Window) -> None:
    window.open_dialog()
    assert [window.ask(STEPS.format(steps))["text"] for steps in (40, 0)] == ["40", "usual"]
    window.ask("config.set_property('prompt', 'plum “lipstick”'); config.set_property('steps', 1)")
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
    names = "found['names'] = [layer.get_name() for layer in Gimp.get_images()[0].get_layers()]"
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
    window.ask("config.set_property('steps', 1)")
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
    window.ask("config.set_property('steps', 1)")
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
    window.wait_for_words(render("worker-silent", {}))
    time.sleep(1)  # its button becomes usable when the words are there
    window.keys("alt+r")
    window.wait_for_words("It has been running for")
    assert read_endpoint_file(window.gimp)["pid"] != hung.pid
    window.do("wmctrl", "-c", "Protect Face Worker")
    window.wait(30, lambda titles: "Protect Face Worker" not in titles)


# The worker as it would be if a face had always taken a minute with the prior makeup, and the other had never run.
ONE_MINUTE = """
import run

connect, usual_steps = run.connect, []


def connect_to_known_worker(*arguments):
    worker = connect(*arguments)
    worker.hello["seconds_per_face"] = {"makeup": 60.0}
    usual_steps.append(worker.hello["defaults"]["steps"])
    return worker


run.connect = connect_to_known_worker
"""


def test_the_status_line_names_the_faces_the_device_and_the_time(window: Window) -> None:
    window.prepare(ONE_MINUTE)
    window.open_dialog()
    faces = f"config.set_property('faces', '{{}}'); {TEXTS}"
    window.ask("config.set_property('steps', 0)")
    assert says(window.ask(faces.format("all")), "1 face will be protected. It takes about 60 s. Computes on ")
    assert says(window.ask(faces.format("selection")), render("nothing-selected", {}))
    window.ask(faces.format("all"))
    search = f"config.set_property('prior', '{{}}'); config.set_property('steps', {{}} * usual_steps[0]); {TEXTS}"
    assert says(window.ask(search.format("makeup", 2)), "1 face will be protected. It takes about 2 min. ")
    assert says(window.ask(search.format("stylegan2", 2)), "1 face will be protected. How long it takes is known after")
    window.ask(search.format("makeup", 0))
    window.dismiss()


def test_a_preview_of_a_deleted_layer_is_an_error_and_can_be_tried_again(window: Window) -> None:
    window.open_dialog()
    window.ask("image = Gimp.get_images()[0]; image.remove_layer(image.get_layers()[0])")
    for _ in range(2):
        window.ask("find_button('Quick preview').clicked()")
        found = window.ask_until(f"{TEXTS}; {READY}", lambda found: says(found, render("layer-deleted", {})))
        assert found["ready"]
    window.dismiss()
    window.undo()


# Deletes the layer after the dialog was asked for and before it reads the pixels.
DELETED = """
import recent_prompts

list_prompts = recent_prompts.list_prompts


def delete_and_list_prompts():
    recent_prompts.list_prompts = list_prompts
    image = Gimp.get_images()[0]
    image.remove_layer(image.get_layers()[0])
    return list_prompts()


recent_prompts.list_prompts = delete_and_list_prompts
"""


def test_a_layer_deleted_while_the_dialog_opens_is_an_error_in_its_status_line(window: Window) -> None:
    window.prepare(DELETED)
    window.choose("Protect Face", DIALOG)
    window.ask_until(TEXTS, lambda found: says(found, render("layer-deleted", {})))
    window.dismiss()
    window.undo()


@contextmanager
def searching(window: Window) -> Iterator[None]:
    """Presses Enter in the dialog; the search, which comes after the look for faces, then stands still meanwhile."""
    _, before = count_jobs_and_done(window.gimp)
    window.keys("Return")
    with suspend_job_after(window.gimp, before + 1):
        yield


SLOW = """
import run, threading, time

connect = run.connect


def slowly(*arguments):
    if threading.current_thread() is threading.main_thread():
        return connect(*arguments)
    while not (SHARE / "go-on").exists():
        time.sleep(0.05)
    worker = connect(*arguments)
    (SHARE / "connected").touch()
    return worker


run.connect = slowly
"""


def test_a_dialog_closed_while_it_connects_submits_nothing_more(window: Window) -> None:
    window.prepare(SLOW)
    window.choose("Protect Face", DIALOG)
    window.ask("config.set_property('steps', 5)")
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


def test_a_prior_that_lacks_a_file_cannot_be_chosen_and_a_sentence_says_why(window: Window, bare_models: Path) -> None:
    (bare_models / "stylegan2").mkdir(parents=True)
    (bare_models / "stylegan2" / "generator.pt").touch()
    window.choose("Protect Face", DIALOG)
    window.ask_until(READY, lambda found: bool(found["ready"]))
    window.keys("alt+m")
    lacking = sentence("checkpoint-alone", missing="encoder")
    window.ask_until(TEXTS, lambda found: any(lacking.fullmatch(text) for text in found["texts"]), 30)
    window.shoot(DIALOG, "priors")
    usable = window.ask(
        "choice = Gimp.param_spec_choice_get_choice(config.find_property('prior'));"
        "found['usable'] = [name for name in ('makeup', 'stylegan2') if choice.is_valid(name)]"
    )["usable"]
    assert usable == ["makeup"]
    window.dismiss()


def test_missing_models_are_offered_with_their_size_and_the_button_asks_for_them(
    window: Window, bare_models: Path
) -> None:
    window.choose("Protect Face", DIALOG)
    label = window.ask_until(
        "found['label'] = can_press('Fetch') and find_button('Fetch').get_label()",
        lambda found: bool(found["label"]),
    )["label"]
    window.ask("find_button('Fetch').clicked()")
    # Without a network nothing comes; the sentence that says so is the worker's answer to the button.
    offline = sentence("model-offline")
    window.ask_until(TEXTS, lambda found: any(offline.fullmatch(text) for text in found["texts"]))
    window.dismiss()
    assert label.startswith("Fetch ") and " missing mo_dels (" in label and label.endswith(" MB)")


def test_closing_the_image_during_a_run_is_reported_and_leaves_nothing_behind(window: Window) -> None:
    window.open_dialog()
    window.ask("config.set_property('steps', 5)")
    with searching(window):
        assert count_jobs(window.gimp) == 1, "the search was over before the image could be closed"
        window.do("wmctrl", "-a", "astronaut")
        window.keys("ctrl+w")
        window.wait(30, lambda _titles: window.layers() == 0)
    window.wait(180, lambda titles: "GIMP Message" in titles)
    window.shoot("GIMP Message", "closed")
    assert (window.gimp.share / "said.txt").read_text() == render("image-closed", {})
    assert window.titles().count("GIMP Message") == 1 and DIALOG not in window.titles()
    folder = window.gimp.share / "profile-window" / "plug-ins" / "protect-face"
    window.wait(10, lambda _titles: not find_plug_in_processes(folder) and count_jobs(window.gimp) == 0)
