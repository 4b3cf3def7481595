"""What recognisers say, as bars with a mark at the threshold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import GdkPixbuf, Gimp, GimpUi, GLib, Gtk, Pango  # noqa: E402
from worker_client import WorkerProblem  # noqa: E402
from worker_client.report import (  # noqa: E402
    beside,
    headline,
    judged_by_other_photos,
    meaning,
    no_promise,
    others,
    text_report,
    upload_title,
    verdict,
    warnings,
    write_report,
)
from worker_client.texts import _, sentence  # noqa: E402

from layers import every_layer  # noqa: E402

_STRENGTHEN, _UPLOAD, _SAVE = 1, 2, 3
_GAP = 12
_BAR = (260, 14)
_GREEN, _AMBER, _RED = (46, 139, 87), (214, 152, 32), (196, 60, 52)
# By the verdict on other photos of the person, else by that on this same photo.
_COLOURS = {
    "lost": _GREEN,
    "may match": _AMBER,
    "protected": _GREEN,
    "mostly protected": _AMBER,
    "recognised": _RED,
}
_TRACK = (205, 205, 205)
_MARK = (20, 20, 20)


def show(figures: dict[str, Any], name: str, with_upload: Callable[[], dict[str, Any]]) -> bool:
    """Shows what was measured until the user closes it; True when they want it strengthened.

    Args:
        figures: result of "check".
        name: of the image, for the report.
        with_upload: measures again, as uploaded too.
    """
    GimpUi.init("protect-face")
    dialog = GimpUi.Dialog(title=_("Check Protection"), role="protect-face-check", use_header_bar=False)
    dialog.add_button(_("Strengt_hen"), _STRENGTHEN)
    dialog.add_button(_("Save _Report…"), _SAVE)
    dialog.add_button(_("As _Uploaded"), _UPLOAD)
    dialog.add_button(_("_Close"), Gtk.ResponseType.CLOSE)
    dialog.set_default_response(Gtk.ResponseType.CLOSE)
    notice = Gtk.Label(xalign=0, wrap=True, max_width_chars=70, no_show_all=True)
    holder = Gtk.ScrolledWindow(
        hscrollbar_policy=Gtk.PolicyType.NEVER, propagate_natural_height=True, max_content_height=560
    )
    holder.add(_content(figures))
    area = dialog.get_content_area()
    area.pack_start(holder, True, True, 0)
    area.pack_start(notice, False, False, _GAP)
    holder.show_all()
    answer = _UPLOAD
    while answer in (_UPLOAD, _SAVE):
        answer = dialog.run()
        try:
            if answer == _UPLOAD:
                figures = with_upload()
                holder.get_child().destroy()
                holder.add(_content(figures))
                holder.show_all()
                dialog.set_response_sensitive(_UPLOAD, False)
            if answer == _SAVE:
                _save(dialog, name, figures)
            notice.hide()
        except WorkerProblem as problem:
            notice.set_text(sentence(problem.message))
            notice.show()
    dialog.destroy()
    return bool(answer == _STRENGTHEN)


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
    answer = dialog.run()
    chosen = rows.get_active()
    dialog.destroy()
    return choices[chosen] if answer == Gtk.ResponseType.OK else None


def _content(figures: dict[str, Any]) -> Gtk.Widget:
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=_GAP, border_width=_GAP)
    for face in figures["faces"]:
        box.pack_start(_face(face), False, False, 0)
    if "upload" in figures:
        box.pack_start(_bold(upload_title(figures["upload"])), False, False, 0)
        for face in figures["upload"]["faces"]:
            box.pack_start(_face(face), False, False, 0)
    faces = figures["faces"]
    if judged_by_other_photos(faces):
        explained = _(
            "Bars show how much alike this photo and the protected one are to a recogniser; left of the mark it no"
            " longer matches other photos of the person."
        )
    else:
        explained = _(
            "Bars show how much alike the faces are to a recogniser; left of the mark it no longer matches them."
        )
    lines = [*warnings(figures), explained, *meaning(faces), no_promise()]
    box.pack_start(_small("\n".join(lines)), False, False, 0)
    return box


def _face(face: dict[str, Any]) -> Gtk.Widget:
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6)
    box.pack_start(_bold(headline(face)), False, False, 0)
    for line in beside(face):
        box.pack_start(Gtk.Label(label=line, xalign=0), False, False, 0)
    grid = Gtk.Grid(column_spacing=_GAP, row_spacing=4, margin_start=_GAP)
    if face["similarities"]:
        for column, text in ((2, _("Other photos")), (3, _("This same photo"))):
            grid.attach(_bold(text), column, 0, 1, 1)
    for row, similarity in enumerate(face["similarities"], 1):
        colour = _COLOURS[similarity.get("other_photos") or similarity["verdict"]]
        mark = similarity.get("other_photos_up_to")
        bar = Gtk.Image.new_from_pixbuf(_bar(similarity["after"], similarity["far1"] if mark is None else mark, colour))
        same = _("{verdict}: {after:.2f} (threshold {far1:.2f})").format(
            verdict=verdict(similarity), after=similarity["after"], far1=similarity["far1"]
        )
        words = (similarity["recogniser"], others(similarity), same)
        for column, text in zip((0, 2, 3), words, strict=True):
            grid.attach(Gtk.Label(label=text, xalign=0), column, row, 1, 1)
        grid.attach(bar, 1, row, 1, 1)
    box.pack_start(grid, False, False, 0)
    return box


def _bar(value: float, threshold: float, colour: tuple[int, int, int]) -> GdkPixbuf.Pixbuf:
    """A bar over 0..1 with a mark. Drawn by hand, because not every GIMP's Python has cairo."""
    width, height = _BAR
    filled, mark = round(min(1.0, max(0.0, value)) * width), round(min(1.0, max(0.0, threshold)) * width)
    inner = b"".join(bytes(_MARK if abs(x - mark) <= 1 else colour if x < filled else _TRACK) for x in range(width))
    outer = b"".join(bytes((*_MARK, 255) if abs(x - mark) <= 1 else (0, 0, 0, 0)) for x in range(width))
    opaque = b"".join(inner[3 * x : 3 * x + 3] + b"\xff" for x in range(width))
    # The mark stands out above and below.
    data = GLib.Bytes.new(outer * 3 + opaque * (height - 6) + outer * 3)
    return GdkPixbuf.Pixbuf.new_from_bytes(data, GdkPixbuf.Colorspace.RGB, True, 8, width, height, 4 * width)


def _bold(text: str) -> Gtk.Label:
    label = Gtk.Label(label=text, xalign=0)
    attributes = Pango.AttrList()
    attributes.insert(Pango.attr_weight_new(Pango.Weight.BOLD))
    label.set_attributes(attributes)
    return label


def _small(text: str) -> Gtk.Label:
    label = Gtk.Label(label=text, xalign=0, wrap=True, max_width_chars=80)
    attributes = Pango.AttrList()
    attributes.insert(Pango.attr_scale_new(0.9))
    label.set_attributes(attributes)
    return label


def _save(parent: Gtk.Dialog, name: str, figures: dict[str, Any]) -> None:
    chooser = Gtk.FileChooserNative.new(_("Save Report"), parent, Gtk.FileChooserAction.SAVE, _("_Save"), _("_Cancel"))
    chooser.set_do_overwrite_confirmation(True)
    chooser.set_current_name(f"{Path(name).stem}.protection.txt")
    if chooser.run() == Gtk.ResponseType.ACCEPT:
        write_report(chooser.get_filename(), text_report(name, figures))
    chooser.destroy()
