"""The dialog of Protect Face Worker."""

from __future__ import annotations

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GimpUi, Gtk  # noqa: E402
from worker_client import WorkerProblem  # noqa: E402
from worker_client.service import DIAGNOSE, FETCH, RESTART, STATUS, words  # noqa: E402
from worker_client.texts import _, sentence  # noqa: E402

from worker_menu import answer  # noqa: E402

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
            copied = buffer.get_text(buffer.get_start_iter(), buffer.get_end_iter(), False)
            clipboard = Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD)
            clipboard.set_text(copied, -1)
            clipboard.store()
        else:
            text.get_buffer().set_text(_words(responses[wish]))
        wish = int(dialog.run())
    dialog.destroy()


def _words(what: str) -> str:
    try:
        return words(what, answer(what))
    except WorkerProblem as problem:
        return sentence(problem.sentence)
