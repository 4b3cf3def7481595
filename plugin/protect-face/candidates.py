"""What was tried: finished searches that the worker keeps, in a strip of thumbnails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import GdkPixbuf, Gtk  # noqa: E402
from worker_client.texts import _  # noqa: E402

_SIDE = 72


@dataclass
class Candidate:
    """A finished search.

    Attributes:
        search: its name in the worker.
        settings: those that it depends on, see ``worker_client.settings.search_settings``; ``steps`` as the user set
            them even where a quick search took fewer.
        faces: numbers of the faces that it changed.
        quick: whether it took only a few steps.
        digest: of the pixels that were searched, see ``worker_client.results.PixelDigest``.
        detection: result of "find" for these faces.
        figures: what was measured last.
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
    """A thumbnail for each candidate; one is picked."""

    def __init__(self, on_pick: Callable[[Candidate], object]) -> None:
        super().__init__(orientation=Gtk.Orientation.HORIZONTAL, spacing=4)
        self._on_pick = on_pick
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
        words = _("{prompt}, strength {strength:.2f}, seed {seed} ({kind})")
        button = Gtk.ToggleButton(
            image=Gtk.Image.new_from_pixbuf(small), tooltip_text=words.format(kind=kind, **candidate.settings)
        )
        button.connect("toggled", self._toggled, candidate)
        self.candidates.append(candidate)
        self._thumbnails.append(thumbnail)
        self._buttons.append(button)
        self.pack_start(button, False, False, 0)
        button.show_all()

    def thumbnail(self, candidate: Candidate | None) -> GdkPixbuf.Pixbuf | None:
        """What a candidate looks like, as found; None for none."""
        return None if candidate is None else self._thumbnails[self.candidates.index(candidate)]

    def mark(self, picked: Candidate | None) -> None:
        """Shows which one is picked."""
        self._picking = True
        for candidate, button in zip(self.candidates, self._buttons, strict=True):
            button.set_active(candidate is picked)
        self._picking = False

    def _toggled(self, _button: Gtk.ToggleButton, candidate: Candidate) -> None:
        if not self._picking:
            self._on_pick(candidate)
