"""What recognisers say of the image as it looks now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gimp, GimpUi, GLib, Gtk  # noqa: E402
from worker_client import WorkerProblem  # noqa: E402
from worker_client.report import text_report, upload_title, write_report  # noqa: E402
from worker_client.texts import _, sentence  # noqa: E402

from layers import every_layer  # noqa: E402
from meter import Meter, bold  # noqa: E402

_UPLOAD, _SAVE = 2, 3
_GAP = 12
_SMALL = (480, 240)


def show(
    figures: dict[str, Any], image: Gimp.Image, offers: Sequence[str], with_upload: Callable[[], dict[str, Any]]
) -> str | None:
    """Shows what was measured until the user closes it; what they want done, see ``run_settings.grant``.

    Args:
        figures: result of "check".
        image: that was judged, for the report.
        offers: what can be done.
        with_upload: measures again, as uploaded too.
    """
    GimpUi.init("protect-face")
    dialog = GimpUi.Dialog(title=_("Check Protection"), role="protect-face-check", use_header_bar=False)
    dialog.add_button(_("Save _Report…"), _SAVE)
    dialog.add_button(_("As _Uploaded"), _UPLOAD)
    dialog.add_button(_("_Close"), Gtk.ResponseType.CLOSE)
    dialog.set_default_response(Gtk.ResponseType.CLOSE)
    notice = Gtk.Label(xalign=0, wrap=True, max_width_chars=70, no_show_all=True)
    holder = Gtk.ScrolledWindow(
        hscrollbar_policy=Gtk.PolicyType.NEVER,
        propagate_natural_height=True,
        max_content_height=700,
        min_content_width=_SMALL[0],
        min_content_height=_SMALL[1],
    )
    wishes: list[str] = []

    def wish(name: str) -> None:
        wishes.append(name)
        dialog.response(Gtk.ResponseType.APPLY)

    holder.add(_content(figures, offers, wish))
    area = dialog.get_content_area()
    area.pack_start(holder, True, True, 0)
    area.pack_start(notice, False, False, _GAP)
    holder.show()
    answer = _UPLOAD
    while answer in (_UPLOAD, _SAVE):
        answer = dialog.run()
        try:
            if answer == _UPLOAD:
                figures = with_upload()
                holder.get_child().destroy()
                holder.add(_content(figures, offers, wish))
                holder.show()
                dialog.set_response_sensitive(_UPLOAD, False)
            if answer == _SAVE:
                _save(dialog, image, figures)
            notice.hide()
        except WorkerProblem as problem:
            notice.set_text(sentence(problem.message))
            notice.show()
    dialog.destroy()
    return wishes[0] if wishes else None


def ask_original(image: Gimp.Image, likely: Gimp.Layer | None) -> Gimp.Layer | None:
    """Lets the user name the unprotected layer; None when they cancel. Without a likely one the lowest is offered."""
    GimpUi.init("protect-face")
    dialog = GimpUi.Dialog(title=_("Check Protection"), role="protect-face-original", use_header_bar=False)
    dialog.add_button(_("_Cancel"), Gtk.ResponseType.CANCEL)
    dialog.add_button(_("_OK"), Gtk.ResponseType.OK)
    dialog.set_default_response(Gtk.ResponseType.OK)
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6, border_width=_GAP)
    box.pack_start(Gtk.Label(label=_("Which layer is the photo before it was protected?"), xalign=0), False, False, 0)
    rows = Gtk.ComboBoxText()
    choices = list(every_layer(image.get_layers()))
    for layer in choices:
        rows.append_text(layer.get_name())
    rows.set_active(choices.index(likely) if likely is not None else len(choices) - 1)
    box.pack_start(rows, False, False, 0)
    dialog.get_content_area().pack_start(box, True, True, 0)
    box.show_all()
    # Or the list would have the focus, and Enter would open it.
    dialog.get_widget_for_response(Gtk.ResponseType.OK).grab_focus()
    answer = dialog.run()
    chosen = rows.get_active()
    dialog.destroy()
    return choices[chosen] if answer == Gtk.ResponseType.OK else None


def _content(figures: dict[str, Any], offers: Sequence[str], wish: Callable[[str], object]) -> Gtk.Widget:
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=_GAP, border_width=_GAP)
    for title, part in ((None, figures), (upload_title, figures.get("upload"))):
        if part is None:
            continue
        if title is not None:
            box.pack_start(bold(title(part)), False, False, 0)
        meter = Meter(offers if title is None else (), wish)
        box.pack_start(meter, False, False, 0)
        box.show_all()
        meter.show_figures(part)
    return box


def _save(parent: Gtk.Dialog, image: Gimp.Image, figures: dict[str, Any]) -> None:
    chooser = Gtk.FileChooserNative.new(_("Save Report"), parent, Gtk.FileChooserAction.SAVE, _("_Save"), _("_Cancel"))
    chooser.set_do_overwrite_confirmation(True)
    file = image.get_file()
    # GIMP's own working folder is nowhere that a user looks.
    folder = file.get_parent().get_path() if file is not None and file.get_parent() is not None else None
    chooser.set_current_folder(folder or GLib.get_home_dir())
    chooser.set_current_name(f"{Path(image.get_name()).stem}.protection.txt")
    if chooser.run() == Gtk.ResponseType.ACCEPT:
        write_report(chooser.get_filename(), text_report(image.get_name(), figures))
    chooser.destroy()
