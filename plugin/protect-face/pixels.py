"""Pixels out of GIMP and back, strip by strip, and the format in which they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import gi

gi.require_version("Babl", "0.1")
gi.require_version("Gegl", "0.4")
gi.require_version("Gimp", "3.0")
from gi.repository import Babl, Gegl, Gimp  # noqa: E402
from worker_client.constants import DEPTHS  # noqa: E402
from worker_client.pixel_ops import mask_to_depth, merge  # noqa: E402

Sample = tuple[tuple[bytes, ...], ...]  # rows of pixels

STRIP_BYTES = 1 << 20
MASK_FORMAT = "Y u8"

_MASKS = {"u8": MASK_FORMAT, "u16": "Y u16", "float": "Y float"}
_U8 = (Gimp.Precision.U8_NON_LINEAR, Gimp.Precision.U8_PERCEPTUAL)
_U16 = (
    Gimp.Precision.U8_LINEAR,
    Gimp.Precision.U16_LINEAR,
    Gimp.Precision.U16_NON_LINEAR,
    Gimp.Precision.U16_PERCEPTUAL,
)


@dataclass(frozen=True)
class Rect:
    """A rectangle of whole pixels; x and y may be negative, width and height are at least 1 when it is not empty."""

    x: int
    y: int
    width: int
    height: int

    @property
    def empty(self) -> bool:
        return self.width <= 0 or self.height <= 0

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def translate(self, dx: int, dy: int) -> Rect:
        return Rect(self.x + dx, self.y + dy, self.width, self.height)

    def intersect(self, other: Rect) -> Rect:
        """The part that also lies in ``other``; empty if there is none."""
        x0, y0 = max(self.x, other.x), max(self.y, other.y)
        x1 = min(self.x + self.width, other.x + other.width)
        y1 = min(self.y + self.height, other.y + other.height)
        return Rect(x0, y0, max(0, x1 - x0), max(0, y1 - y0))

    def to_gegl(self) -> Gegl.Rectangle:
        return Gegl.Rectangle.new(self.x, self.y, self.width, self.height)


@dataclass(frozen=True)
class Format:
    """The format in which a layer's pixels are sent: encoded as ``icc`` says, straight alpha last if there is any.

    Attributes:
        name: of the babl format, in the image's own space, so that wide gamuts are not clipped.
        plain, with_alpha: the same format's names without and with alpha.
        channels: 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha.
        depth: "u8", "u16" or "float".
        icc: profile that describes the bytes.
    """

    name: str
    plain: str
    with_alpha: str
    channels: int
    depth: str
    icc: bytes

    @property
    def opaque(self) -> Format:
        """The same without alpha."""
        return replace(self, name=self.plain, channels=1 if self.channels < 3 else 3)

    @property
    def pixel_bytes(self) -> int:
        return self.channels * DEPTHS[self.depth]


def limit_tile_cache() -> None:
    """Keeps GEGL from caching every pixel that was read; GIMP allows it half of the computer's memory."""
    Gegl.config().set_property("tile-cache-size", 16 << 20)


def get_travel_format(drawable: Gimp.Drawable) -> Format:
    """The format in which a drawable's pixels go to the worker and come back.

    It is the drawable's own if possible, because babl takes 350 MB for a moment to find a conversion. The pixels of a
    linear image are sent with sRGB's curve: 16 linear bits are too few for dark skin.
    """
    image = drawable.get_image()
    precision = image.get_precision()
    depth = "u8" if precision in _U8 else "u16" if precision in _U16 else "float"
    profile = image.get_effective_color_profile()
    curved = profile.is_linear()
    if curved:
        profile = profile.new_srgb_trc_from_color_profile()
    grey = image.get_base_type() == Gimp.ImageBaseType.GRAY
    letters = {(False, False): "R'G'B'", (False, True): "R~G~B~", (True, False): "Y'", (True, True): "Y~"}[grey, curved]
    space = Babl.format_get_space(drawable.get_format())
    plain, with_alpha = (
        Babl.get_name(Babl.format_with_space(f"{letters}{alpha} {depth}", space)) for alpha in ("", "A")
    )
    alpha = drawable.has_alpha()
    channels = (1 if grey else 3) + alpha
    return Format(with_alpha if alpha else plain, plain, with_alpha, channels, depth, bytes(profile.get_icc_profile()))


def get_extent(drawable: Gimp.Drawable) -> Rect:
    return Rect(0, 0, drawable.get_width(), drawable.get_height())


def split_into_strips(rect: Rect, pixel_bytes: int) -> Iterator[Rect]:
    """Bands of a rectangle from top to bottom, each of about ``STRIP_BYTES``."""
    rows = max(1, STRIP_BYTES // (rect.width * pixel_bytes))
    for top in range(0, rect.height, rows):
        yield Rect(rect.x, rect.y + top, rect.width, min(rows, rect.height - top))


def read(buffer: Gegl.Buffer, rect: Rect, name: str) -> bytes:
    """Bytes of a rectangle; outside the buffer they are 0."""
    return bytes(buffer.get(rect.to_gegl(), 1.0, name, Gegl.AbyssPolicy.NONE))


def sample(drawable: Gimp.Drawable) -> Sample:
    """A few of a drawable's pixels, in a grid that is mapped onto itself when the drawable is flipped or rotated."""
    buffer, name = drawable.get_buffer(), Babl.get_name(drawable.get_format())
    columns, rows = _spread_positions(drawable.get_width()), _spread_positions(drawable.get_height())
    return tuple(tuple(read(buffer, Rect(x, y, 1, 1), name) for x in columns) for y in rows)


def is_turned(before: Sample, now: Sample) -> bool:
    """Whether one sample is the other flipped or rotated by right angles."""
    turns = []
    for grid in (before, before[::-1]):
        for _quarter in range(4):
            turns.append(grid)
            grid = tuple(zip(*grid[::-1], strict=True))
    return now != before and now in turns


def _spread_positions(length: int) -> list[int]:
    half = [(2 * number + 1) * length // 16 for number in range(4)]
    return half + [length - 1 - position for position in reversed(half)]


def write(buffer: Gegl.Buffer, rect: Rect, name: str, pixels: bytes, pixel_bytes: int) -> None:
    """Sets a rectangle. The size is checked here, because GEGL does not report a wrong one."""
    if len(pixels) != rect.width * rect.height * pixel_bytes:
        raise ValueError(f"{len(pixels)} bytes for {rect.width} x {rect.height} pixels of {pixel_bytes} bytes")
    buffer.set(rect.to_gegl(), name, pixels)


def read_reduced(buffer: Gegl.Buffer, rect: Rect, scale: float, name: str, pixel_bytes: int) -> Iterator[bytes]:
    """A buffer shrunk by ``scale``, in strips; 0 outside of it.

    Args:
        buffer: to read from.
        rect: in pixels of the shrunk buffer.
        scale: 0..1.
        name: of the babl format.
        pixel_bytes: of the format.
    """
    Gegl.init(None)  # otherwise GEGL returns zeros for every scale but 1
    for strip in split_into_strips(rect, pixel_bytes):
        yield bytes(buffer.get(strip.to_gegl(), scale, name, Gegl.AbyssPolicy.NONE))


def write_mask(buffer: Gegl.Buffer, rect: Rect, mask: bytes, depth: str) -> None:
    """Sets a rectangle of a layer mask from one byte per pixel.

    It is written in the depth of the sent pixels: babl takes 350 MB for a moment to find a conversion from 8 bits to
    floats.
    """
    write(buffer, rect, _MASKS[depth], mask_to_depth(mask, depth), DEPTHS[depth])


def merge_mask(buffer: Gegl.Buffer, rect: Rect, mask: bytes, changed: bytes, depth: str) -> None:
    """The same, but only where ``changed`` is 255."""
    name, size = _MASKS[depth], DEPTHS[depth]
    write(buffer, rect, name, merge(read(buffer, rect, name), mask_to_depth(mask, depth), changed, size), size)
