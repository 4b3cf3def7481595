"""Masks of large rectangles, one byte per pixel, compressed in memory, because most of their bytes are 0 or 255."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple

from worker_client import Picture
from worker_client.pixel_ops import crop_mask, multiply_masks
from worker_client.results import binarise_mask, get_bounds

from pixels import Rect


class Mask:
    """A mask over a rectangle of a layer.

    Attributes:
        rect: in pixels of the layer.
    """

    def __init__(self, rect: Rect, strips: Iterable[bytes]) -> None:
        """``strips``: whole rows from the top, which together are the mask."""
        self.rect = rect
        self._packed: list[tuple[Rect, bytes]] = []
        self._unpacked: tuple[Rect, bytes] | None = None
        top = rect.y
        for strip in strips:
            rows = len(strip) // rect.width
            self._packed.append((Rect(rect.x, top, rect.width, rows), zlib.compress(strip, 1)))
            top += rows

    def iterate_bands(self) -> Iterator[tuple[Rect, bytes]]:
        """The mask from top to bottom: each part with its rectangle."""
        for rect, packed in self._packed:
            yield rect, self._unpack(rect, packed)

    def crop(self, rect: Rect) -> bytes:
        """The mask over a rectangle that lies within."""
        parts = []
        for strip_rect, packed in self._packed:
            part = rect.intersect(strip_rect)
            if part.empty:
                continue
            strip = self._unpack(strip_rect, packed)
            if part.width == strip_rect.width:
                start = (part.y - strip_rect.y) * strip_rect.width
                parts.append(strip[start : start + part.width * part.height])
            else:
                parts.append(crop_mask(strip, astuple(strip_rect), astuple(part)))
        return b"".join(parts)

    def _unpack(self, rect: Rect, packed: bytes) -> bytes:
        # Neighbouring bands ask for the same strip.
        if self._unpacked is None or self._unpacked[0] != rect:
            self._unpacked = rect, zlib.decompress(packed)
        return self._unpacked[1]


def take_masks(pictures: Iterable[Picture], masks: list[Mask]) -> Iterator[Picture]:
    """The pictures that are not masks; masks precede them and are appended to ``masks``.

    Masks have 255 where something changed, and 0 elsewhere.
    """
    for picture in pictures:
        if picture.name == "mask":
            masks.append(Mask(Rect(*get_bounds(picture)), map(binarise_mask, picture.strips)))
        else:
            yield picture


def find_limit(rect: Rect, limits: Sequence[Mask | None]) -> Mask | None:
    """The mask that covers a rectangle; None if none does."""
    return next((limit for limit in limits if limit is not None and rect.intersect(limit.rect) == rect), None)


def apply_limit(rect: Rect, mask: bytes, limit: Mask | None) -> bytes:
    """A mask multiplied by its limit over the same rectangle; the mask itself if there is no limit."""
    return mask if limit is None else multiply_masks(mask, limit.crop(rect))
