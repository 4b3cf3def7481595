"""Pixels out of GIMP 2.10 and back; Python 2.7.

GIMP hands a plug-in the pixels in the image's own precision once it has been asked to, so that 16 bits stay 16 bits.
32-bit integer, 16-bit float and 64-bit float travel as 32-bit float: GIMP itself converts a copy.
"""

import struct
from binascii import hexlify, unhexlify

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
SIZES = {"u8": 1, "u16": 2, "float": 4}
# An image's precision to the one in which its pixels travel.
TRAVEL = {
    PRECISION_U8_GAMMA: ("u8", PRECISION_U8_GAMMA),
    PRECISION_U8_LINEAR: ("u8", PRECISION_U8_LINEAR),
    PRECISION_U16_GAMMA: ("u16", PRECISION_U16_GAMMA),
    PRECISION_U16_LINEAR: ("u16", PRECISION_U16_LINEAR),
    PRECISION_U32_GAMMA: ("float", PRECISION_FLOAT_GAMMA),
    PRECISION_U32_LINEAR: ("float", PRECISION_FLOAT_LINEAR),
    PRECISION_HALF_GAMMA: ("float", PRECISION_FLOAT_GAMMA),
    PRECISION_HALF_LINEAR: ("float", PRECISION_FLOAT_LINEAR),
    PRECISION_FLOAT_GAMMA: ("float", PRECISION_FLOAT_GAMMA),
    PRECISION_FLOAT_LINEAR: ("float", PRECISION_FLOAT_LINEAR),
    PRECISION_DOUBLE_GAMMA: ("float", PRECISION_FLOAT_GAMMA),
    PRECISION_DOUBLE_LINEAR: ("float", PRECISION_FLOAT_LINEAR),
}

# A mask's byte in each depth; masks are linear whatever the image is.
_LEVELS = {
    "u16": [struct.pack("<H", value * 257) for value in range(256)],
    "float": [struct.pack("<f", value / 255.0) for value in range(256)],
}
_OPAQUE = {"u8": b"\xff", "u16": b"\xff\xff", "float": struct.pack("<f", 1.0)}

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Iterable, Iterator

    from gimpfu import Drawable, Image

    Rect = tuple[int, int, int, int]  # x, y, width, height


def icc_profile(image):
    # type: (Image) -> bytes
    """The profile that describes the image's bytes, of a linear image a linear one."""
    _count, values = pdb.gimp_image_get_effective_color_profile(image)
    return bytes(bytearray(values))


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


def levels(mask, depth):
    # type: (bytes, str) -> bytes
    """A mask of one byte a pixel as an image of ``depth`` stores it."""
    if depth == "u8":
        return mask
    table = _LEVELS[depth]
    return b"".join([table[value] for value in bytearray(mask)])


def times(first, second):
    # type: (bytes, bytes) -> bytes
    """The product of two masks of one byte a pixel, 255 standing for 1."""
    if not first.translate(None, b"\0\xff"):
        return _both(first, second)
    return bytes(bytearray([(a * b + 127) // 255 for a, b in zip(bytearray(first), bytearray(second))]))


def padded(drawable, rect):
    # type: (Drawable, Rect) -> bytes
    """A rectangle of a drawable of one byte a pixel; 0 outside of it."""
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


def with_alpha(pixels, channels, depth, shown=None):
    # type: (bytes, int, str, bytes | None) -> bytes
    """Grey or RGB pixels with an alpha channel, which is kept where there is one.

    Args:
        pixels: bytes of whole pixels.
        channels: 1 or 3 without alpha, 2 or 4 with it.
        depth: "u8", "u16" or "float".
        shown: one byte a pixel; where it is 0 the result is transparent.
    """
    size = SIZES[depth]
    colours = channels - 1 + channels % 2  # without alpha
    given, made = channels * size, (colours + 1) * size
    source = bytearray(pixels)
    count = len(source) // given
    result = bytearray(count * made)
    for place in range(colours * size):
        result[place::made] = source[place::given]
    for place in range(size):
        if channels % 2:
            alpha = _OPAQUE[depth][place : place + 1] * count
        else:
            alpha = bytes(source[colours * size + place :: given])
        if shown is not None:
            alpha = _both(alpha, shown.translate(b"\0" + b"\xff" * 255))
        result[colours * size + place :: made] = alpha
    return bytes(result)


def _both(first, second):
    # type: (bytes, bytes) -> bytes
    """Bitwise "and" of two strings: as one number each, since Python 2.7 takes a second for some million bytes."""
    number = int(hexlify(first), 16) & int(hexlify(second), 16)
    return unhexlify(b"%0*x" % (2 * len(first), number))
