"""AVIF files as boxes: what decides how they are read, and metadata put into files that libvips wrote."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

UNSPECIFIED = 2
_BRANDS = (b"avif", b"avis")
_CONTAINERS = (b"meta", b"iprp", b"ipco")


@dataclass(frozen=True)
class Properties:
    """What the boxes of a file say.

    Attributes:
        size: (width, height) of the largest picture.
        bits: of a channel.
        colours: primaries and transfer function by H.273's numbers; None where the file gives none.
        animated: whether the file is a sequence.
    """

    size: tuple[int, int]
    bits: int
    colours: tuple[int, int] | None
    animated: bool


def is_avif(data: bytes) -> bool:
    """Whether a file says that it is an AVIF, as its own or as a compatible brand."""
    if data[4:8] != b"ftyp":
        return False
    (size,) = struct.unpack_from(">L", data, 0)
    brands = data[8:12], *(data[at : at + 4] for at in range(16, min(size, len(data), 256), 4))
    return any(brand in _BRANDS for brand in brands)


def read_properties(data: bytes) -> Properties:
    """Read the boxes of an AVIF file.

    Raises:
        ValueError: it has no size.
    """
    sizes, colours, bits = [], None, 8
    for kind, body in _boxes(data, 0, len(data)):
        if kind == b"ispe" and len(body) >= 12:
            sizes.append(struct.unpack_from(">LL", body, 4))
        elif kind == b"colr" and body[:4] == b"nclx" and len(body) >= 8 and colours is None:
            colours = struct.unpack_from(">HH", body, 4)
        elif kind == b"av1C" and len(body) >= 3:
            deep, twelve = body[2] & 0x40, body[2] & 0x20
            bits = max(bits, (12 if twelve else 10) if deep else 8)
    if not sizes:
        raise ValueError("it has no picture")
    largest = max(sizes, key=lambda size: size[0] * size[1])
    return Properties(largest, bits, colours, data[8:12] == b"avis")


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes in a range, and of those in the ones that hold properties."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">L4s", data, at)
        head = 8
        if size == 1 and at + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        stop = end if size == 0 else at + size
        if stop < at + head or stop > end:
            return
        if kind in _CONTAINERS:
            yield from _boxes(data, at + head + (4 if kind == b"meta" else 0), stop)
        else:
            yield kind, data[at + head : stop]
        at = stop
