"""Pairs of pictures to compare: rectangles of the unprotected photo and of the image as it looks now."""

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
from pixels import Format, Rect, get_extent, get_travel_format


@dataclass(frozen=True)
class Pair:
    """Original and current picture.

    Attributes:
        original: the unprotected one.
        before: its pixels.
        form: in which the judged pixels are sent.
        current: the judged pixels.
        area: where ``current`` has pixels.
        scale: horizontal and vertical, from pixels of the original to those of ``current``.
        shift: likewise, after scaling.
    """

    original: Source
    before: Gegl.Buffer
    form: Format
    current: Gegl.Buffer
    area: Rect
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[int, int] = (0, 0)

    @property
    def full(self) -> tuple[int, int]:
        """The size of the original in pixels of the judged picture."""
        return self._to_judged(self.original.area).size

    def clip_rects(self, rects: list[Rect]) -> list[Rect]:
        """The parts of rectangles of the original that the judged picture covers.

        Raises:
            Refused: there are none.
        """
        # A separate picture shows all of the judged one.
        covered = self.original.area
        if self.scale == (1.0, 1.0):
            covered = self.area.translate(-self.shift[0], -self.shift[1]).intersect(covered)
        parts = [part for rect in rects if not (part := rect.intersect(covered)).empty]
        if not parts:
            raise Refused("faces-outside-canvas")
        return parts

    def read_pictures(self, rects: list[Rect], original_name: str, current_name: str) -> list[Picture]:
        """Both pictures of rectangles of the original, under these names."""
        pictures = []
        for rect in rects:
            pictures.append(run.read_photo(self.before, self.original.form, rect, original_name))
            if self.scale == (1.0, 1.0):
                pictures.append(run.read_photo(self.current, self.form, rect, current_name, self.shift))
            else:
                pictures.append(run.read_photo(self.current, self.form, self._to_judged(rect), current_name))
        return pictures

    def _to_judged(self, rect: Rect) -> Rect:
        """Where a rectangle of the original lies in the judged picture."""
        return Rect(*scale_rect(astuple(rect), self.scale)).translate(*self.shift)


@contextmanager
def opened(original: Original, selected: Source, what: str) -> Iterator[Pair]:
    """The pair, only while it is sent: GIMP's Cancel kills the plug-in, which would leave copies in GIMP.

    Args:
        original: the unprotected photo.
        selected: the selected layer.
        what: ``LAYER`` to judge that layer, otherwise the visible image.

    Raises:
        Refused: one of the layers is gone, or they can't be compared.
    """
    if what == LAYER and selected.find_layer() is None:
        raise Refused("layer-deleted")
    with ExitStack() as at_the_end:
        source = at_the_end.enter_context(original.opened())
        if what == LAYER:
            current, (x, y) = selected.layer, selected.offset
        else:
            current, (x, y) = Gimp.Layer.new_from_visible(selected.image, selected.image, "visible"), (0, 0)
            at_the_end.callback(current.delete)
        before, pixels = (at_the_end.enter_context(as_shown(layer)) for layer in (source.layer, current))
        form, area = get_travel_format(current), get_extent(current)
        if original.layer is not None:
            yield Pair(source, before, form, pixels, area, shift=(source.offset[0] - x, source.offset[1] - y))
        else:
            scale = (area.width / source.area.width, area.height / source.area.height)
            yield Pair(source, before, form, pixels, area, scale)


def keep_inside(detection: dict[str, Any], rects: list[Rect]) -> list[dict[str, Any]]:
    """The chosen faces whose middle is in the rectangles that ``Pair.clip_rects`` left."""
    return keep_faces_inside(get_chosen_faces(detection), [astuple(rect) for rect in rects])
