"""The dialog of Protect Face Worker."""

from __future__ import annotations

import threading
from collections.abc import Callable

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, Gimp, GimpUi, GLib, Gtk  # noqa: E402
from worker_client import Event, WorkerProblem  # noqa: E402
from worker_client.service import DIAGNOSE, FETCH, RESTART, STATUS, describe, perform  # noqa: E402
from worker_client.texts import _, describe_stage, to_sentence  # noqa: E402

import run  # noqa: E402

_COPY = 1
_GAP = 12


def show(help_id: str) -> None:
    """Shows the worker's state until the user closes the dialog. Asks in a thread, because a silent worker takes long.

    Args:
        help_id: of the page of GIMP's help.
    """
    GimpUi.init("protect-face")
    dialog = GimpUi.Dialog(title=_("Protect Face Worker"), role="protect-face-worker", use_header_bar=False)
    responses = {2: RESTART, 3: FETCH, 4: DIAGNOSE}
    for number, label in ((2, _("_Restart")), (3, _("_Fetch Models")), (4, _("_Diagnosis")), (_COPY, _("Cop_y"))):
        dialog.add_button(label, number)
    dialog.add_button(_("_Help"), Gtk.ResponseType.HELP)
    dialog.add_button(_("_Close"), Gtk.ResponseType.CLOSE)
    dialog.set_default_response(Gtk.ResponseType.CLOSE)
    text = Gtk.TextView(editable=False, wrap_mode=Gtk.WrapMode.WORD_CHAR, cursor_visible=False)
    for side in ("left", "right", "top", "bottom"):
        getattr(text, f"set_{side}_margin")(_GAP)
    holder = Gtk.ScrolledWindow(min_content_width=560, min_content_height=240)
    holder.add(text)
    dialog.get_content_area().pack_start(holder, True, True, 0)
    holder.show_all()
    buffer = text.get_buffer()

    def set_sensitive(sensitive: bool) -> None:
        for number in responses:
            dialog.set_response_sensitive(number, sensitive)

    def ask(action: str) -> None:
        set_sensitive(False)
        buffer.set_text(_("Asking the worker…"))

        def perform_in_thread() -> None:
            try:
                GLib.idle_add(
                    buffer.set_text, perform_and_describe(action, lambda event: GLib.idle_add(show_progress, event))
                )
            finally:
                GLib.idle_add(set_sensitive, True)

        threading.Thread(target=perform_in_thread, daemon=True).start()

    def show_progress(event: Event) -> None:
        if event.kind in ("queued", "progress"):
            buffer.set_text(describe_stage(event.header))

    def show_help(_dialog: Gtk.Dialog, key: Gdk.EventKey) -> bool:
        if key.keyval == Gdk.KEY_F1:
            Gimp.help("", help_id)
        return bool(key.keyval == Gdk.KEY_F1)

    dialog.connect("key-press-event", show_help)
    ask(STATUS)
    while (response := int(dialog.run())) in responses or response in (_COPY, Gtk.ResponseType.HELP):
        if response == Gtk.ResponseType.HELP:
            Gimp.help("", help_id)
        elif response == _COPY:
            clipboard = Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD)
            clipboard.set_text(buffer.get_text(buffer.get_start_iter(), buffer.get_end_iter(), False), -1)
            clipboard.store()
        else:
            ask(responses[response])
    dialog.destroy()


def perform_and_describe(action: str, show_progress: Callable[[Event], object]) -> str:
    try:
        return describe(action, perform(action, run.connect, show_progress))
    except WorkerProblem as problem:
        return to_sentence(problem.message)
