"""Operations of the plug-ins on pixels and masks, without NumPy, which the hosts' Pythons lack.

A whole strip is treated as one big integer: ``&``, ``|`` and ``^`` on these run about as fast as memory. Masks have one
byte per pixel; pixels are little-endian, with straight alpha last if there is any.
"""

import struct
import sys
from binascii import hexlify, unhexlify

from worker_client.constants import DEPTHS

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    Rect = tuple[int, int, int, int]  # x, y, width, height

_OPAQUE = {"u8": b"\xff", "u16": b"\xff\xff", "float": struct.pack("<f", 1.0)}
_SCALES = {"u8": ("<B", 1), "u16": ("<H", 257), "float": ("<f", 1 / 255.0)}
# For each depth and byte of a value: from a mask's byte to that byte.
_LEVELS = {
    depth: [
        bytes(bytearray(bytearray(struct.pack(form, v * scale))[index] for v in range(256))) for index in range(size)
    ]
    for depth, size in DEPTHS.items()
    for form, scale in [_SCALES[depth]]
}


def mask_with_alpha(pixels, changed, channels, depth):
    # type: (bytes, bytes, int, str) -> bytes
    """Pixels with alpha that are zero where a mask is 0.

    Args:
        pixels: with or without alpha.
        changed: 255 or 0 per pixel.
        channels: of ``pixels``.
        depth: "u8", "u16" or "float".
    """
    cut = cut_out(pixels, changed, channels * DEPTHS[depth])
    return cut if channels in (2, 4) else _add_alpha(cut, changed, channels * DEPTHS[depth], depth)


def cut_out(pixels, mask, pixel_bytes):
    # type: (bytes, bytes, int) -> bytes
    """The pixels where ``mask`` is 255 and zeros where it is 0."""
    return _to_bytes(_to_integer(pixels) & _to_integer(_repeat_for_bytes(mask, pixel_bytes)), len(pixels))


def merge(below, above, mask, pixel_bytes):
    # type: (bytes, bytes, bytes, int) -> bytes
    """``above`` where ``mask`` is 255, ``below`` where it is 0."""
    base = _to_integer(below)
    chosen = (base ^ _to_integer(above)) & _to_integer(_repeat_for_bytes(mask, pixel_bytes))
    return _to_bytes(base ^ chosen, len(below))


def multiply_masks(first, second):
    # type: (bytes, bytes) -> bytes
    """The product of two masks, 255 standing for 1."""
    # Usually one mask has only 0 and 255, which is quick; two feathered ones are rare.
    if not first.translate(None, b"\0\xff"):
        return _to_bytes(_to_integer(first) & _to_integer(second), len(first))
    return bytes(bytearray([(a * b + 127) // 255 for a, b in zip(bytearray(first), bytearray(second))]))


def mask_to_depth(mask, depth):
    # type: (bytes, str) -> bytes
    """A mask as values of another depth, 255 standing for 1."""
    return _interleave([mask.translate(table) for table in _LEVELS[depth]])


def crop_mask(mask, rect, inner):
    # type: (bytes, Rect, Rect) -> bytes
    """The part of a mask over ``rect`` that lies over ``inner``, which lies within it."""
    left = inner[0] - rect[0]
    starts = [(inner[1] - rect[1] + row) * rect[2] + left for row in range(inner[3])]
    return b"".join([mask[start : start + inner[2]] for start in starts])


def _add_alpha(pixels, mask, pixel_bytes, depth):
    # type: (bytes, bytes, int, str) -> bytes
    opaque = [mask.translate(b"\0" * 255 + _OPAQUE[depth][index : index + 1]) for index in range(DEPTHS[depth])]
    return _interleave([pixels[index::pixel_bytes] for index in range(pixel_bytes)] + opaque)


def _interleave(planes):
    # type: (list[bytes]) -> bytes
    out = bytearray(len(planes) * len(planes[0]))
    for index, plane in enumerate(planes):
        out[index :: len(planes)] = plane
    return bytes(out)


def _repeat_for_bytes(mask, pixel_bytes):
    # type: (bytes, int) -> bytes
    return _interleave([mask] * pixel_bytes)


def _to_integer(data):
    # type: (bytes) -> int
    if sys.version_info[0] == 2:
        return int(hexlify(data) or b"0", 16)
    return int.from_bytes(data, "big")  # novm


def _to_bytes(number, size):
    # type: (int, int) -> bytes
    if sys.version_info[0] == 2:
        return unhexlify(b"%0*x" % (2 * size, number))  # novm
    return number.to_bytes(size, "big")  # novm
