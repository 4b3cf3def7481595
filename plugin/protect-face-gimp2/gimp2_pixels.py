"""Pixels out of GIMP 2.10 and back; Python 2.7.

On request GIMP passes pixels to a plug-in in the image's own precision, so that 16 bits stay 16 bits. A copy is sent,
which GIMP itself converts to the same depth and curve as in GIMP 3.
"""

from gimpfu import (
    PRECISION_DOUBLE_GAMMA,
    PRECISION_DOUBLE_LINEAR,
    PRECISION_FLOAT_GAMMA,
    PRECISION_FLOAT_LINEAR,
    PRECISION_HALF_GAMMA,
    PRECISION_HALF_LINEAR,
    PRECISION_U8_GAMMA,
    PRECISION_U8_LINEAR,
    PRECISION_U16_GAMMA,
    PRECISION_U16_LINEAR,
    PRECISION_U32_GAMMA,
    PRECISION_U32_LINEAR,
    pdb,
)

STRIP_BYTES = 1 << 22
_U8 = ("u8", PRECISION_U8_GAMMA)
_U16 = ("u16", PRECISION_U16_GAMMA)
_FLOAT = ("float", PRECISION_FLOAT_GAMMA)
# An image's precision to the one in which its pixels are sent: 16 linear bits are too few for dark skin.
TRAVEL = {
    PRECISION_U8_GAMMA: _U8,
    PRECISION_U8_LINEAR: _U16,
    PRECISION_U16_GAMMA: _U16,
    PRECISION_U16_LINEAR: _U16,
    PRECISION_U32_GAMMA: _FLOAT,
    PRECISION_U32_LINEAR: _FLOAT,
    PRECISION_HALF_GAMMA: _FLOAT,
    PRECISION_HALF_LINEAR: _FLOAT,
    PRECISION_FLOAT_GAMMA: _FLOAT,
    PRECISION_FLOAT_LINEAR: _FLOAT,
    PRECISION_DOUBLE_GAMMA: _FLOAT,
    PRECISION_DOUBLE_LINEAR: _FLOAT,
}
# Precisions whose pixels Python can write without GIMP's help.
OWN_DEPTHS = {
    PRECISION_U8_GAMMA: "u8",
    PRECISION_U8_LINEAR: "u8",
    PRECISION_U16_GAMMA: "u16",
    PRECISION_U16_LINEAR: "u16",
    PRECISION_FLOAT_GAMMA: "float",
    PRECISION_FLOAT_LINEAR: "float",
}

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Iterable, Iterator

    from gimpfu import Drawable, Image

    Rect = tuple[int, int, int, int]  # x, y, width, height


def get_icc_profile(image):
    # type: (Image) -> bytes
    """The profile that describes the image's bytes."""
    _count, values = pdb.gimp_image_get_effective_color_profile(image)
    return bytes(bytearray(values))


def intersect(first, second):
    # type: (Rect, Rect) -> Rect
    """Where two rectangles overlap, which they do."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right = min(first[0] + first[2], second[0] + second[2])
    bottom = min(first[1] + first[3], second[1] + second[3])
    return (left, top, right - left, bottom - top)


def read(drawable, rect):
    # type: (Drawable, Rect) -> Iterator[bytes]
    """Whole rows of a rectangle that lies in the drawable, about ``STRIP_BYTES`` at a time."""
    x, y, width, height = rect
    pixels = drawable.get_pixel_rgn(x, y, width, height, False, False)
    rows = max(1, STRIP_BYTES // (width * drawable.bpp))
    for top in range(y, y + height, rows):
        yield pixels[x : x + width, top : min(top + rows, y + height)]


def write(drawable, rect, strips):
    # type: (Drawable, Rect, Iterable[bytes]) -> None
    """Sets a rectangle from bytes of whole rows."""
    x, y, width, height = rect
    pixels = drawable.get_pixel_rgn(x, y, width, height, True, False)
    top = y
    for strip in strips:
        bottom = top + len(strip) // (width * drawable.bpp)
        pixels[x : x + width, top:bottom] = strip
        top = bottom
    drawable.flush()
    drawable.update(x, y, width, height)


def read_padded(drawable, rect):
    # type: (Drawable, Rect) -> bytes
    """A rectangle of a drawable with one byte per pixel; 0 outside of it."""
    x, y, width, height = rect
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, drawable.width), min(y + height, drawable.height)
    if right <= left or bottom <= top:
        return b"\0" * (width * height)
    data = b"".join(read(drawable, (left, top, right - left, bottom - top)))
    wide = right - left
    before, after = b"\0" * (left - x), b"\0" * (x + width - right)
    rows = [before + data[start : start + wide] + after for start in range(0, len(data), wide)]
    return b"\0" * (width * (top - y)) + b"".join(rows) + b"\0" * (width * (y + height - bottom))
