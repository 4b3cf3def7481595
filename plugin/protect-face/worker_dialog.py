"""The dialog of Protect Face Worker."""

from __future__ import annotations

import json

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GimpUi, Gtk  # noqa: E402

from texts import Refused, _, duration, megabytes  # noqa: E402
from worker_menu import DIAGNOSE, FETCH, RESTART, STATUS, answer  # noqa: E402

_COPY = 1
_GAP = 12


def show() -> None:
    """Shows the worker's state until the user closes it."""
    GimpUi.init("protect-face")
    dialog = GimpUi.Dialog(title=_("Protect Face Worker"), role="protect-face-worker", use_header_bar=False)
    responses = {2: STATUS, 3: RESTART, 4: FETCH, 5: DIAGNOSE}
    for number, label in ((3, _("_Restart")), (4, _("_Fetch Models")), (5, _("_Diagnosis")), (_COPY, _("Cop_y"))):
        dialog.add_button(label, number)
    dialog.add_button(_("_Close"), Gtk.ResponseType.CLOSE)
    dialog.set_default_response(Gtk.ResponseType.CLOSE)
    text = Gtk.TextView(editable=False, wrap_mode=Gtk.WrapMode.WORD_CHAR, cursor_visible=False)
    for side in ("left", "right", "top", "bottom"):
        getattr(text, f"set_{side}_margin")(_GAP)
    holder = Gtk.ScrolledWindow(min_content_width=560, min_content_height=240)
    holder.add(text)
    dialog.get_content_area().pack_start(holder, True, True, 0)
    holder.show_all()
    wish = 2
    while wish in responses or wish == _COPY:
        if wish == _COPY:
            buffer = text.get_buffer()
            words = buffer.get_text(buffer.get_start_iter(), buffer.get_end_iter(), False)
            clipboard = Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD)
            clipboard.set_text(words, -1)
            clipboard.store()
        else:
            text.get_buffer().set_text(_words(responses[wish]))
        wish = int(dialog.run())
    dialog.destroy()


def _words(what: str) -> str:
    try:
        told = answer(what)
    except Refused as refused:
        return str(refused)
    if what == DIAGNOSE:
        return "\n".join(f"{key}: {_plain(value)}" for key, value in told.items())
    if what == FETCH:
        return _models(told)
    hello = told["hello"]
    lines = [
        _("Protect Face {version} runs on {device}.").format(version=hello["version"], device=hello["device_name"]),
        _("It has been running for {time} and uses {memory}.").format(
            time=duration(told["seconds_running"]), memory=megabytes(told["memory"])
        ),
        _("Its log is {}.").format(told["log"]),
        "",
        _models(hello["models"]),
    ]
    return "\n".join(lines)


def _models(models: dict[str, list[object]]) -> str:
    lines = [_("Models: {}.").format(", ".join(str(name) for name in models["present"]))]
    for model in models["missing"]:
        assert isinstance(model, dict)
        lines.append(_("Missing: {name} ({size}).").format(name=model["name"], size=megabytes(model["size"] or 0)))
    return "\n".join(lines)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
