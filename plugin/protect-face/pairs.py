"""Pairs of pictures to compare: the unprotected photo and what the image looks like now, in rectangles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from typing import Any

from gi.repository import Gegl, Gimp
from worker_client import Picture
from worker_client.errors import Refused
from worker_client.faces import get_chosen_faces, keep_faces_inside
from worker_client.results import scale_rect
from worker_client.settings import LAYER

import run
from layers import Source, as_shown
from originals import Original
from pixels import Format, Rect, extent, travel_format


@dataclass(frozen=True)
class Pair:
    """Original and current picture.

    Attributes:
        original: the unprotected one.
        before: its pixels.
        form: in which the pixels to be judged travel.
        now: the pixels to be judged.
        area: where ``now`` has pixels.
        scale: horizontal and vertical, from pixels of the original to those of ``now``.
        shift: the same, after scaling.
    """

    original: Source
    before: Gegl.Buffer
    form: Format
    now: Gegl.Buffer
    area: Rect
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[int, int] = (0, 0)

    @property
    def full(self) -> tuple[int, int]:
        """Size of the original in pixels of what is judged."""
        return self._place(self.original.area).size

    def common(self, rects: list[Rect]) -> list[Rect]:
        """The parts of rectangles of the original that what is judged covers.

        Raises:
            Refused: there are none.
        """
        # A picture of its own shows all of it.
        covered = self.original.area
        if self.scale == (1.0, 1.0):
            covered = self.area.moved(-self.shift[0], -self.shift[1]).within(covered)
        parts = [part for rect in rects if not (part := rect.within(covered)).empty]
        if not parts:
            raise Refused("faces-outside-canvas")
        return parts

    def pictures(self, rects: list[Rect], original: str, current: str) -> list[Picture]:
        """Both pictures of rectangles of the original, under these names."""
        taken = []
        for rect in rects:
            taken.append(run.read_photo(self.before, self.original.form, rect, original))
            if self.scale == (1.0, 1.0):
                taken.append(run.read_photo(self.now, self.form, rect, current, self.shift))
            else:
                taken.append(run.read_photo(self.now, self.form, self._place(rect), current))
        return taken

    def _place(self, rect: Rect) -> Rect:
        """Where a rectangle of the original lies in what is judged."""
        return Rect(*scale_rect(astuple(rect), self.scale)).moved(*self.shift)


@contextmanager
def opened(original: Original, selected: Source, what: str) -> Iterator[Pair]:
    """What is compared, for as long as it is sent: GIMP's Cancel kills the plug-in, and would leave the copies in GIMP.

    Args:
        original: the unprotected photo.
        selected: the selected layer.
        what: ``LAYER`` to judge that layer, else the visible image is judged.

    Raises:
        Refused: one of the layers is gone, or they can't be compared.
    """
    if what == LAYER and selected.still_there() is None:
        raise Refused("layer-deleted")
    with ExitStack() as at_the_end:
        source = at_the_end.enter_context(original.opened())
        if what == LAYER:
            current, (x, y) = selected.layer, selected.offset
        else:
            current, (x, y) = Gimp.Layer.new_from_visible(selected.image, selected.image, "visible"), (0, 0)
            at_the_end.callback(current.delete)
        before, now = (at_the_end.enter_context(as_shown(layer)) for layer in (source.layer, current))
        form, area = travel_format(current), extent(current)
        if original.layer is not None:
            yield Pair(source, before, form, now, area, shift=(source.offset[0] - x, source.offset[1] - y))
        else:
            scale = (area.width / source.area.width, area.height / source.area.height)
            yield Pair(source, before, form, now, area, scale)


def keep_inside(detection: dict[str, Any], rects: list[Rect]) -> list[dict[str, Any]]:
    """The chosen faces that are left in what "find" wanted and ``Pair.common`` cut."""
    return keep_faces_inside(get_chosen_faces(detection), [astuple(rect) for rect in rects])
