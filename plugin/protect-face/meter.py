"""The meter: a bar that shows whether others' photos still lead to this one, and every recogniser's verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import GdkPixbuf, GLib, Gtk, Pango  # noqa: E402
from worker_client.report import (  # noqa: E402
    LIKELY,
    NO,
    UNLIKELY,
    count_lost,
    describe_face,
    describe_judgement,
    describe_other_photos,
    describe_same_photo,
    describe_verdict,
    explain_verdicts,
    get_disclaimer,
    get_question,
    has_other_photos,
    judge,
)
from worker_client.texts import _  # noqa: E402

from run_settings import ANOTHER, SHAPE, STRONGER  # noqa: E402

_GAP = 12
_TALL = 420  # pixels of the details at most, before they are scrolled
_BAR = (260, 14)
_METER_BAR = (240, 16)
_STUB = 0.04  # of the bar is always filled, so that it shows its colour even if no recogniser has lost the face
_GREEN, _AMBER, _RED, _TRACK, _MARK = (46, 139, 87), (214, 152, 32), (196, 60, 52), (205, 205, 205), (20, 20, 20)
_JUDGEMENT_COLOURS = {LIKELY: _GREEN, UNLIKELY: _AMBER, NO: _RED, None: _TRACK}
# By the verdict on other photos of the person, else by that on this same photo.
_COLOURS = {
    "lost": _GREEN,
    "may match": _AMBER,
    "protected": _GREEN,
    "mostly protected": _AMBER,
    "recognised": _RED,
}


@dataclass
class OfferChoice:
    """What the user chose among the offers in a dialog: choosing ends the dialog.

    Attributes:
        dialog: the dialog.
        name: of the chosen offer; None for none yet.
    """

    dialog: Gtk.Dialog
    name: str | None = None

    def choose(self, name: str) -> None:
        """Choose an offer; called when its button is pressed."""
        self.name = name
        self.dialog.response(Gtk.ResponseType.APPLY)


class Meter(Gtk.Box):
    """The bar, with an expander for the details and buttons for remedies."""

    def __init__(self, offers: Sequence[str], on_offer: Callable[[str], object], narrow: bool = False) -> None:
        """Args:
        offers: the buttons, of ``STRONGER``, ``ANOTHER`` and ``SHAPE``.
        on_offer: called with one of them when it is pressed.
        narrow: whether the details scroll sideways instead of widening the window.
        """
        super().__init__(orientation=Gtk.Orientation.VERTICAL, spacing=6)
        self.figures: dict[str, Any] | None = None
        self._question = Gtk.Label(label=get_question(), xalign=0, wrap=True, max_width_chars=48)
        self._bar = Gtk.Image()
        self._answer = Gtk.Label(xalign=0)
        line = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=_GAP)
        line.pack_start(self._bar, False, False, 0)
        line.pack_start(self._answer, False, False, 0)
        self._offers = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=6)
        labels = {STRONGER: _("Str_onger"), ANOTHER: _("Try a_nother"), SHAPE: _("More sh_ape")}
        self.buttons = {name: Gtk.Button(label=labels[name], use_underline=True) for name in offers}
        for name, button in self.buttons.items():
            button.connect("clicked", lambda _button, name=name: on_offer(name))
            self._offers.pack_start(button, False, False, 0)
        self._details = Gtk.Expander(label=_("Details _by recogniser"), use_underline=True)
        self._holder = Gtk.ScrolledWindow(
            hscrollbar_policy=Gtk.PolicyType.AUTOMATIC if narrow else Gtk.PolicyType.NEVER,
            propagate_natural_height=True,
            max_content_height=_TALL,
        )
        self._details.add(self._holder)
        if not narrow:
            self._details.connect_after("notify::expanded", lambda *_: GLib.idle_add(self._fit_window))
        for widget in (self._question, line, self._offers, self._details):
            self.pack_start(widget, False, False, 0)
        self.show_all()
        self.clear()

    def _fit_window(self) -> bool:
        """Makes the window large enough for the details, which would otherwise scroll."""
        window = self.get_toplevel()
        if window.is_toplevel():
            _least, natural = window.get_preferred_size()
            width, height = window.get_size()
            window.resize(max(width, natural.width), max(height, natural.height))
        return False

    def clear(self) -> None:
        """Shows that nothing is measured."""
        self.figures = None
        self._bar.set_from_pixbuf(_draw_bar(_METER_BAR, 0.0, None, _TRACK))
        self._answer.set_text("")
        self._offers.hide()
        self._details.hide()

    def offer(self, offers: Sequence[str]) -> None:
        """Shows only the buttons that would help now."""
        for name, button in self.buttons.items():
            button.set_visible(name in offers)

    def wait(self) -> None:
        """Shows that new figures are being measured: hides the verdict, keeps the bar."""
        self._answer.set_markup("<i>" + GLib.markup_escape_text(_("measuring…")) + "</i>")

    def show_figures(self, figures: dict[str, Any]) -> None:
        """Shows figures: the header of the result of "measure", "search", "protect" or "check"."""
        self.figures = figures
        faces = figures["faces"]
        judgement = judge(faces)
        share = _compute_share(faces) if judgement is None else max(_STUB, _compute_share(faces))
        self._bar.set_from_pixbuf(_draw_bar(_METER_BAR, share, None, _JUDGEMENT_COLOURS[judgement]))
        self._answer.set_markup("<b>" + GLib.markup_escape_text(describe_judgement(judgement)) + "</b>")
        previous = self._holder.get_child()
        if previous is not None:
            previous.destroy()
        self._holder.add(build_details(figures))
        self._details.show_all()
        self._offers.set_visible(judgement in (UNLIKELY, NO))


def build_details(figures: dict[str, Any]) -> Gtk.Widget:
    """Every recogniser's verdict on every face, and an explanation."""
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=_GAP, border_width=_GAP)
    for face in figures["faces"]:
        box.pack_start(build_face_details(face), False, False, 0)
    box.pack_start(build_explanation(figures), False, False, 0)
    return box


def build_explanation(figures: dict[str, Any]) -> Gtk.Widget:
    """An explanation of bars and verdicts."""
    faces = figures["faces"]
    if has_other_photos(faces):
        text = _(
            "Bars show how much alike this photo and the protected one are to a recogniser; left of the mark it no"
            " longer matches other photos of the person."
        )
    else:
        text = _("Bars show how much alike the faces are to a recogniser; left of the mark it no longer matches them.")
    label = Gtk.Label(
        label="\n".join([text, *explain_verdicts(faces), get_disclaimer()]),
        xalign=0, wrap=True, max_width_chars=80,
    )  # fmt: skip
    attributes = Pango.AttrList()
    attributes.insert(Pango.attr_scale_new(0.9))
    label.set_attributes(attributes)
    return label


def build_face_details(face: dict[str, Any]) -> Gtk.Widget:
    """A bar with a mark at the threshold for each recogniser."""
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6)
    for line in [describe_face(face), *describe_same_photo(face)]:
        box.pack_start(Gtk.Label(label=line, xalign=0, wrap=True, max_width_chars=80), False, False, 0)
    grid = Gtk.Grid(column_spacing=_GAP, row_spacing=4, margin_start=_GAP)
    if face["similarities"]:
        for column, text in ((2, _("Other photos")), (3, _("This same photo"))):
            grid.attach(make_heading(text), column, 0, 1, 1)
    for row, similarity in enumerate(face["similarities"], 1):
        colour = _COLOURS[similarity.get("other_photos") or similarity["verdict"]]
        mark = similarity.get("other_photos_up_to")
        threshold = similarity["far1"] if mark is None else mark
        bar = Gtk.Image.new_from_pixbuf(_draw_bar(_BAR, similarity["after"], threshold, colour))
        same = _("{verdict}: {after:.2f} (threshold {far1:.2f})").format(
            verdict=describe_verdict(similarity), after=similarity["after"], far1=similarity["far1"]
        )
        for column, text in zip(
            (0, 2, 3), (similarity["recogniser"], describe_other_photos(similarity), same), strict=True
        ):
            grid.attach(Gtk.Label(label=text, xalign=0), column, row, 1, 1)
        grid.attach(bar, 1, row, 1, 1)
    box.pack_start(grid, False, False, 0)
    return box


def make_heading(text: str) -> Gtk.Label:
    """A heading."""
    label = Gtk.Label(label=text, xalign=0)
    attributes = Pango.AttrList()
    attributes.insert(Pango.attr_weight_new(Pango.Weight.BOLD))
    label.set_attributes(attributes)
    return label


def _compute_share(faces: list[dict[str, Any]]) -> float:
    """The share 0..1 of recognisers that no longer match the least protected face."""
    counts = [count_lost(face) for face in faces if face["similarities"]]
    return min((lost / known for lost, known in counts if known), default=0.0)


def _draw_bar(
    size: tuple[int, int], value: float, threshold: float | None, colour: tuple[int, int, int]
) -> GdkPixbuf.Pixbuf:
    """A bar over 0..1, with a mark if there is a threshold. Drawn by hand: not every GIMP's Python has cairo."""
    width, height = size
    filled = round(min(1.0, max(0.0, value)) * width)
    mark = None if threshold is None else round(min(1.0, max(0.0, threshold)) * width)

    def is_marked(x: int) -> bool:
        return mark is not None and abs(x - mark) <= 1

    opaque = b"".join(
        bytes((*(_MARK if is_marked(x) else colour if x < filled else _TRACK), 255)) for x in range(width)
    )
    outer = b"".join(bytes((*_MARK, 255) if is_marked(x) else (0, 0, 0, 0)) for x in range(width))
    # The mark stands out above and below.
    data = GLib.Bytes.new(outer * 3 + opaque * (height - 6) + outer * 3)
    return GdkPixbuf.Pixbuf.new_from_bytes(data, GdkPixbuf.Colorspace.RGB, True, 8, width, height, 4 * width)
