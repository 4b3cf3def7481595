"""Finished searches, which the worker keeps, in a strip of thumbnails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gi

gi.require_version("Gdk", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GdkPixbuf, Gtk  # noqa: E402
from worker_client.texts import _  # noqa: E402

_SIDE = 72


@dataclass
class Candidate:
    """A finished search.

    Attributes:
        search: its name in the worker.
        settings: those that the search depends on, see ``worker_client.settings.get_search_settings``; ``steps`` as
            the user set them, even if a quick search took fewer.
        faces: numbers of the faces that it changed.
        quick: whether it took only a few steps.
        digest: of the pixels that were searched, see ``worker_client.results.PixelDigest``.
        detection: result of "find" for these faces.
        figures: header of the result of "search".
    """

    search: str
    settings: dict[str, Any]
    faces: frozenset[int]
    quick: bool
    digest: str
    detection: dict[str, Any]
    figures: dict[str, Any] = field(default_factory=dict)

    def fits(self, settings: dict[str, Any], faces: frozenset[int]) -> bool:
        """Whether a search with these settings for these faces would find the same."""
        return self.settings == settings and (self.faces == faces or (self.quick and self.faces <= faces))


class Strip(Gtk.Box):
    """A thumbnail for each candidate; one is picked, and any can be discarded."""

    def __init__(self, on_pick: Callable[[Candidate], object], on_discard: Callable[[Candidate], object]) -> None:
        """Args:
        on_pick: called with the one that the user picks.
        on_discard: called with the one that the user wants to discard; see ``discard``.
        """
        super().__init__(orientation=Gtk.Orientation.HORIZONTAL, spacing=4)
        self._on_pick = on_pick
        self._on_discard = on_discard
        self.candidates: list[Candidate] = []
        self._thumbnails: list[GdkPixbuf.Pixbuf] = []
        self._buttons: list[Gtk.ToggleButton] = []
        self._picking = False

    def add_candidate(self, candidate: Candidate, thumbnail: GdkPixbuf.Pixbuf) -> None:
        """Adds a thumbnail at the end."""
        scale = _SIDE / max(thumbnail.get_width(), thumbnail.get_height())
        width, height = (max(1, round(side * scale)) for side in (thumbnail.get_width(), thumbnail.get_height()))
        small = thumbnail.scale_simple(width, height, GdkPixbuf.InterpType.BILINEAR)
        kind = _("quick") if candidate.quick else _("full search")
        template = _("{prompt}, strength {strength:.2f}, seed {seed} ({kind})")
        lines = (
            template.format(kind=kind, **candidate.settings),
            _("The Delete key or the right mouse button discards it."),
        )
        button = Gtk.ToggleButton(image=Gtk.Image.new_from_pixbuf(small), tooltip_text="\n".join(lines))
        button.connect("toggled", self._on_toggled, candidate)
        button.connect("key-press-event", self._on_key_pressed, candidate)
        button.connect("button-press-event", self._on_pressed, candidate)
        button.connect("popup-menu", self._offer_to_discard, candidate)
        self.candidates.append(candidate)
        self._thumbnails.append(thumbnail)
        self._buttons.append(button)
        self.pack_start(button, False, False, 0)
        button.show_all()

    def discard(self, candidate: Candidate) -> Candidate | None:
        """Removes a thumbnail; returns the candidate that takes its place, None if it was the only one."""
        index = self.candidates.index(candidate)
        self.candidates.pop(index)
        self._thumbnails.pop(index)
        self._buttons.pop(index).destroy()
        if not self.candidates:
            return None
        next_index = min(index, len(self.candidates) - 1)
        self._buttons[next_index].grab_focus()
        return self.candidates[next_index]

    def get_thumbnail(self, candidate: Candidate | None) -> GdkPixbuf.Pixbuf | None:
        """The thumbnail of a candidate; None for none."""
        return None if candidate is None else self._thumbnails[self.candidates.index(candidate)]

    def mark(self, picked: Candidate | None) -> None:
        """Shows which one is picked."""
        self._picking = True
        for candidate, button in zip(self.candidates, self._buttons, strict=True):
            button.set_active(candidate is picked)
        self._picking = False

    def _on_toggled(self, _button: Gtk.ToggleButton, candidate: Candidate) -> None:
        if not self._picking:
            self._on_pick(candidate)

    def _on_key_pressed(self, _button: Gtk.ToggleButton, event: Gdk.EventKey, candidate: Candidate) -> bool:
        if event.keyval not in (Gdk.KEY_Delete, Gdk.KEY_KP_Delete):
            return False
        self._on_discard(candidate)
        return True

    def _on_pressed(self, button: Gtk.ToggleButton, event: Gdk.EventButton, candidate: Candidate) -> bool:
        return event.button == Gdk.BUTTON_SECONDARY and self._offer_to_discard(button, candidate)

    def _offer_to_discard(self, button: Gtk.ToggleButton, candidate: Candidate) -> bool:
        menu = Gtk.Menu(attach_widget=button)
        entry = Gtk.MenuItem(label=_("_Discard"), use_underline=True)
        entry.connect("activate", lambda _entry: self._on_discard(candidate))
        menu.append(entry)
        menu.show_all()
        menu.popup_at_widget(button, Gdk.Gravity.SOUTH_WEST, Gdk.Gravity.NORTH_WEST, None)
        return True
