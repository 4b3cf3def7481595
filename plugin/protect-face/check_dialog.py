"""What recognisers say of the image as it looks now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gimp, GimpUi, Gio, GLib, Gtk  # noqa: E402
from worker_client import WorkerProblem  # noqa: E402
from worker_client.errors import Refused  # noqa: E402
from worker_client.report import (  # noqa: E402
    describe_left_out,
    describe_upload,
    list_conditions,
    list_reminders,
    make_text_report,
    write_report,
)
from worker_client.texts import _, to_sentence  # noqa: E402

from judgement import Judgement  # noqa: E402
from layers import walk_layers  # noqa: E402
from meter import Meter, OfferChoice, make_heading  # noqa: E402
from originals import Original, is_made_by_run  # noqa: E402

_UPLOAD, _SAVE, _OTHER, _FILE = 2, 3, 4, 5
_GAP = 12
_SMALL = (480, 240)
_TALL = 700


def show(judgement: Judgement) -> str | None:
    """Shows the figures until the user closes the dialog; returns the offer they chose, as in ``run_settings``."""
    GimpUi.init("protect-face")
    dialog = GimpUi.Dialog(title=_("Check Protection"), role="protect-face-check", use_header_bar=False)
    dialog.add_button(_("Ori_ginal…"), _OTHER)
    dialog.add_button(_("Save _Report…"), _SAVE)
    dialog.add_button(_("As _Uploaded"), _UPLOAD)
    dialog.add_button(_("_Close"), Gtk.ResponseType.CLOSE)
    dialog.set_default_response(Gtk.ResponseType.CLOSE)
    notice = Gtk.Label(xalign=0, wrap=True, max_width_chars=70, no_show_all=True)
    holder = Gtk.ScrolledWindow(
        hscrollbar_policy=Gtk.PolicyType.NEVER,
        propagate_natural_height=True,
        max_content_height=_TALL,
        min_content_width=_SMALL[0],
        min_content_height=_SMALL[1],
    )
    choice = OfferChoice(dialog)
    area = dialog.get_content_area()
    area.pack_start(holder, True, True, 0)
    area.pack_start(notice, False, False, _GAP)
    holder.show()
    _fill(dialog, holder, judgement, choice.choose)
    while (response := dialog.run()) in (_UPLOAD, _SAVE, _OTHER):
        try:
            if response == _SAVE:
                _save(dialog, judgement)
            elif _ask_again(dialog, judgement, upload=response == _UPLOAD):
                _fill(dialog, holder, judgement, choice.choose)
            notice.hide()
        except WorkerProblem as problem:
            notice.set_text(to_sentence(problem.message))
            notice.show()
    dialog.destroy()
    return choice.name


def ask_original(image: Gimp.Image, pictures: bool, parent: Gtk.Window | None = None) -> Original | None:
    """Lets the user name the unprotected photo; None when they cancel.

    Args:
        image: the judged one. Its lowest layer that no run of ours made is offered first.
        pictures: whether the original may be another open image or a file, too.
        parent: the window above which this dialog opens.

    Raises:
        Refused: there is nothing to choose from.
    """
    choices = [Original(layer=layer) for layer in walk_layers(image.get_layers()) if not is_made_by_run(layer)]
    if not choices and not pictures:
        raise Refused("original-not-named")
    GimpUi.init("protect-face")
    dialog = GimpUi.Dialog(title=_("Original"), role="protect-face-original", use_header_bar=False)
    if parent is not None:
        dialog.set_transient_for(parent)
    if pictures:
        dialog.add_button(_("Original from _File…"), _FILE)
    dialog.add_button(_("_Cancel"), Gtk.ResponseType.CANCEL)
    dialog.add_button(_("_OK"), Gtk.ResponseType.OK)
    dialog.set_default_response(Gtk.ResponseType.OK)
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6, border_width=_GAP)
    rows = Gtk.ComboBoxText()
    question = Gtk.Label(
        label=_("_Which is the photo before it was protected?"), use_underline=True, mnemonic_widget=rows, xalign=0
    )
    box.pack_start(question, False, False, 0)
    default_row = len(choices) - 1
    for choice in choices:
        rows.append_text(choice.name)
    for other in Gimp.get_images() if pictures else []:
        if other.get_id() != image.get_id():
            choices.append(Original(picture=other))
            rows.append_text(_("Image {}").format(choices[-1].name))
    rows.set_active(max(0, default_row))
    box.pack_start(rows, False, False, 0)
    dialog.get_content_area().pack_start(box, True, True, 0)
    box.show_all()
    dialog.set_response_sensitive(Gtk.ResponseType.OK, bool(choices))
    # Otherwise the list would have the focus, and Enter would open it.
    dialog.get_widget_for_response(Gtk.ResponseType.OK if choices else _FILE).grab_focus()
    chosen = None
    while chosen is None and (response := dialog.run()) in (_FILE, Gtk.ResponseType.OK):
        chosen = choices[rows.get_active()] if response == Gtk.ResponseType.OK else _choose_file(dialog, image)
    dialog.destroy()
    return chosen


def _ask_again(dialog: Gtk.Dialog, judgement: Judgement, upload: bool) -> bool:
    """Measures as uploaded too, or with another original; False if the user cancelled."""
    before = replace(judgement)
    if upload:
        judgement.upload = True
    else:
        original = ask_original(judgement.selected.image, pictures=True, parent=dialog)
        if original is None:
            return False
        judgement.original = original
    try:
        judgement.measure()
    except WorkerProblem:
        judgement.upload, judgement.original = before.upload, before.original
        raise
    return True


def _fill(
    dialog: Gtk.Dialog, holder: Gtk.ScrolledWindow, judgement: Judgement, on_offer: Callable[[str], object]
) -> None:
    """Shows the figures, in a window that is large enough for them."""
    old = holder.get_child()
    if old is not None:
        old.destroy()
    holder.add(build_content(judgement.figures, judgement.offers, on_offer))
    holder.show()
    dialog.set_response_sensitive(_UPLOAD, not judgement.upload)
    _least, natural = dialog.get_preferred_size()
    width, height = dialog.get_size()
    dialog.resize(max(width, natural.width), max(height, natural.height))


def build_content(figures: dict[str, Any], offers: Sequence[str], on_offer: Callable[[str], object]) -> Gtk.Widget:
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=_GAP, border_width=_GAP)
    _add_labels(box, list_conditions(figures))
    for title, part in ((None, figures), (describe_upload, figures.get("upload"))):
        if part is None:
            continue
        if title is not None:
            box.pack_start(make_heading(title(part)), False, False, 0)
        meter = Meter(offers if title is None else (), on_offer)
        box.pack_start(meter, False, False, 0)
        box.show_all()
        meter.show_figures(part)
        _add_labels(box, describe_left_out(part))
    _add_labels(box, list_reminders(figures))
    return box


def _add_labels(box: Gtk.Box, sentences: Sequence[str]) -> None:
    for sentence in sentences:
        label = Gtk.Label(label=sentence, xalign=0, wrap=True, max_width_chars=70)
        box.pack_start(label, False, False, 0)
        label.show()


def _choose_file(parent: Gtk.Dialog, image: Gimp.Image) -> Original | None:
    chooser = Gtk.FileChooserNative.new(
        _("Original from File"), parent, Gtk.FileChooserAction.OPEN, _("_Open"), _("_Cancel")
    )
    chooser.set_current_folder(_get_folder(image))
    file = chooser.get_file() if chooser.run() == Gtk.ResponseType.ACCEPT else None
    chooser.destroy()
    return None if file is None else Original(picture=file)


def _save(parent: Gtk.Dialog, judgement: Judgement) -> None:
    image = judgement.selected.image
    chooser = Gtk.FileChooserNative.new(_("Save Report"), parent, Gtk.FileChooserAction.SAVE, _("_Save"), _("_Cancel"))
    chooser.set_do_overwrite_confirmation(True)
    chooser.set_current_folder(_get_folder(image))
    chooser.set_current_name(f"{Path(image.get_name()).stem}.protection.txt")
    if chooser.run() == Gtk.ResponseType.ACCEPT:
        write_report(chooser.get_filename(), make_text_report(image.get_name(), judgement.figures))
    chooser.destroy()


def _get_folder(image: Gimp.Image) -> str:
    """The image's folder, else the home folder; the default would be GIMP's working folder, where no user looks."""
    file: Gio.File | None = image.get_file()
    folder = file.get_parent() if file is not None else None
    path = folder.get_path() if folder is not None else None
    return str(path or GLib.get_home_dir())
