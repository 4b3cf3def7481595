"""Runs in GIMP beside the dialog of Protect Face, which imports it in the tests: does what a test orders.

An order is Python. It finds the dialog's controls as a user does, by what they say, and puts what the test wants to
know into ``found``.
"""

import json
import os
from pathlib import Path

from gi.repository import Gdk, Gimp, GimpUi, GLib, GObject, Gtk  # noqa: F401  # orders use them, too

import candidates
import meter
import preview

SHARE = Path(os.environ["SHARE"])
ORDER, FOUND = SHARE / "order.py", SHARE / "found.json"
# Runs before the dialog is built.
PREPARATION = SHARE / "preparation.py"
_PERIOD = 20  # milliseconds between looks for an order


def find_dialog():
    """The open dialog; None if there is none."""
    dialogs = [window for window in Gtk.Window.list_toplevels() if isinstance(window, GimpUi.ProcedureDialog)]
    return next((dialog for dialog in dialogs if dialog.get_mapped()), None)


def find_all(kind, within=None, hidden=False):
    """Every widget of a class, in the order of the dialog, those inside GTK's and GIMP's own widgets too.

    Args:
        kind: the class.
        within: the widget to look in; the dialog by default.
        hidden: also those that are not on the screen, such as those of the other page.
    """
    widgets, waiting = [], [within or find_dialog()]
    while waiting:
        widget = waiting.pop(0)
        if isinstance(widget, kind) and (hidden or widget.get_mapped()):
            widgets.append(widget)
        if isinstance(widget, Gtk.Container):
            children = []
            widget.forall(children.append)
            waiting[:0] = children
    return widgets


def read_texts():
    """Every label on the screen."""
    return [label.get_text() for label in find_all(Gtk.Label)]


def find_button(beginning):
    """The visible button whose text begins so; None if there is none."""
    buttons = [button for button in find_all(Gtk.Button) if button.get_label()]
    return next((button for button in buttons if button.get_label().replace("_", "").startswith(beginning)), None)


def can_press(beginning):
    button = find_button(beginning)
    return button is not None and button.get_sensitive()


def find_labelled(text):
    """The control that a label belongs to."""
    (label,) = [label for label in find_all(Gtk.Label) if label.get_text() == text]
    return label.get_mnemonic_widget()


def find_preview():
    (shown,) = find_all(preview.Preview)
    return shown


def list_numbers():
    """The numbered buttons of the faces."""
    return find_all(Gtk.ToggleButton, find_preview())


def find_strip():
    (strip,) = find_all(candidates.Strip, hidden=True)
    return strip


def list_thumbnails():
    """The buttons of finished searches."""
    return find_strip().get_children()


def find_figures():
    """The figures that the meter shows; None while it measures, and before."""
    (shown,) = find_all(meter.Meter, hidden=True)
    texts = [label.get_text() for label in find_all(Gtk.Label, shown, hidden=True)]
    return None if "measuring…" in texts else shown.figures


def locate_in_photo(x, y):
    """The position on the screen of a point of the shown photo; both are shares of its width and height."""
    shown = find_preview()
    (image,) = find_all(Gtk.Image, shown)
    left, top = image.translate_coordinates(shown, 0, 0)
    _, origin_x, origin_y = shown.get_window().get_origin()
    size = image.get_pixbuf()
    return [round(origin_x + left + x * size.get_width()), round(origin_y + top + y * size.get_height())]


def _obey():
    dialog = find_dialog()
    if dialog is not None and ORDER.exists():
        order, found = ORDER.read_text(), {}
        ORDER.unlink()
        exec(order, {**globals(), "dialog": dialog, "config": dialog.get_property("config"), "found": found})
        part = FOUND.with_suffix(".part")
        part.write_text(json.dumps(found))
        part.rename(FOUND)
    return True


if PREPARATION.exists():
    text = PREPARATION.read_text()
    PREPARATION.unlink()
    exec(text, globals())
GLib.timeout_add(_PERIOD, _obey)
