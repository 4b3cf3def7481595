# -*- coding: utf-8 -*-
"""Pictures to and from the worker: selections, masks and results; and the names of makeup products."""

from __future__ import unicode_literals

import hashlib

from worker_client.errors import Refused
from worker_client.protocol import Picture
from worker_client.texts import _

# From levels of a selection to what is sent, and from a mask that came back to 255 and 0.
_AT_LEAST_1 = bytes(bytearray([1]) + bytearray(range(1, 256)))
_ALL_OR_NOTHING = b"\0" + b"\xff" * 255

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Iterable, Sequence

    Bounds = tuple[int, int, int, int]


def get_bounds(picture):
    # type: (Picture) -> Bounds
    """x, y, width and height."""
    return (picture.x, picture.y, picture.width, picture.height)


def scale_rect(rect, scale):
    # type: (Bounds, tuple[float, float]) -> Bounds
    """A rectangle in the pixels of a picture scaled by ``scale`` (x, y); at least one pixel large."""
    x, y, width, height = rect
    left, top = int(round(x * scale[0])), int(round(y * scale[1]))
    right, bottom = int(round((x + width) * scale[0])), int(round((y + height) * scale[1]))
    return (left, top, max(1, right - left), max(1, bottom - top))


def pack_selection(rect, strips):
    # type: (Bounds, Iterable[bytes]) -> Picture
    """How far each pixel of a photo is selected, one byte each: the worker measures the visible part of its changes.

    Unselected pixels are sent as 1 of 255; otherwise the returned mask would not show their changes.
    """
    x, y, width, height = rect
    return Picture("selection", x, y, width, height, 1, "u8", strips=(strip.translate(_AT_LEAST_1) for strip in strips))


def binarise_mask(mask):
    # type: (bytes) -> bytes
    """255 where a returned mask shows any change, however faint; 0 elsewhere."""
    return mask.translate(_ALL_OR_NOTHING)


class PixelDigest(object):
    """SHA-256 over pixels and their position: the same in both GIMPs as long as the pixels are."""

    def __init__(self):
        # type: () -> None
        self._hash = hashlib.sha256()

    @property
    def value(self):
        # type: () -> str
        return self._hash.hexdigest()

    def begin(self, picture):
        # type: (Picture) -> None
        header = "{} {} {} {} {} {}".format(picture.name, *get_bounds(picture) + (picture.depth,))
        self._hash.update(header.encode("utf-8"))

    def add(self, strip):
        # type: (bytes) -> None
        self._hash.update(strip)


def digest_pictures(pictures):
    # type: (Iterable[Picture]) -> str
    """The ``PixelDigest`` of pictures, whose strips are used up."""
    digest = PixelDigest()
    for picture in pictures:
        digest.begin(picture)
        for strip in picture.strips:
            digest.add(strip)
    return digest.value


def read_masks(pictures):
    # type: (Iterable[Picture]) -> dict[Bounds, bytes]
    """Where pixels changed: one byte per pixel, 255 or 0, for each returned rectangle.

    Raises:
        Refused: nothing changed.
    """
    masks = {get_bounds(picture): b"".join(picture.strips) for picture in pictures if picture.name == "mask"}
    if not masks:
        raise Refused("nothing-changed")
    return {rect: binarise_mask(mask) for rect, mask in masks.items()}


def pair_with_masks(pictures):
    # type: (Sequence[Picture]) -> list[tuple[Picture, bytes]]
    """The returned rectangles, each with its mask.

    Raises:
        Refused: nothing changed.
    """
    masks = read_masks(pictures)
    return [(picture, masks[get_bounds(picture)]) for picture in pictures if picture.name == "protected"]


def get_product_pictures(pictures):
    # type: (Iterable[Picture]) -> list[Picture]
    """The layers of one layer per product, from the bottom to the top."""
    return [picture for picture in pictures if picture.name in ("skin", "product")]


def translate_product(picture):
    # type: (Picture) -> str
    """The name of a product's layer, in the user's language if that has it; the worker names products in English."""
    return _("%s" % (picture.about["product"],))
