"""AVIF and HEIF files as boxes: what decides how they are read."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

UNSPECIFIED = 2
_BRANDS = (b"avif", b"avis")
# Of files in the same boxes that are coded as H.265, and of those that say no more than that they are pictures.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"heif")
_SEQUENCES = (b"avis", b"hevc", b"hevx", b"msf1")
# What further pictures of a HEIF are, by words in the names that their kind has.
_FURTHER = {b"hdrgainmap": "gain-map", b"depth": "depth", b"auxid:2": "depth", b"matte": "pictures"}
_CONTAINERS = (b"meta", b"iprp", b"ipco")


@dataclass(frozen=True)
class Properties:
    """What the boxes of a file say.

    Attributes:
        size: (width, height) of the largest picture.
        bits: of a channel.
        colours: primaries and transfer function by H.273's numbers; None where the file gives none.
        animated: whether the file is a sequence.
        further: names of the parts beside the picture, "gain-map", "depth" or "pictures", as far as they are known.
    """

    size: tuple[int, int]
    bits: int
    colours: tuple[int, int] | None
    animated: bool
    further: frozenset[str] = frozenset()


def is_avif(data: bytes) -> bool:
    """Whether a file says that it is an AVIF, as its own or as a compatible brand."""
    return any(brand in _BRANDS for brand in _read_brands(data))


def is_heif(data: bytes) -> bool:
    """Whether a file says that it is a HEIF and not an AVIF, which has the same boxes."""
    return not is_avif(data) and any(brand in _HEIF_BRANDS for brand in _read_brands(data))


def _read_brands(data: bytes) -> list[bytes]:
    if len(data) < 12 or data[4:8] != b"ftyp":
        return []
    (size,) = struct.unpack_from(">L", data, 0)
    return [data[8:12], *(data[at : at + 4] for at in range(16, min(size, len(data), 256), 4))]


def read_properties(data: bytes) -> Properties:
    """Read the boxes of an AVIF or HEIF file.

    Raises:
        ValueError: it has no size.
    """
    sizes, colours, bits, further = [], None, 8, set()
    for kind, body in _boxes(data, 0, len(data)):
        if kind == b"ispe" and len(body) >= 12:
            sizes.append(struct.unpack_from(">LL", body, 4))
        elif kind == b"colr" and body[:4] == b"nclx" and len(body) >= 8 and colours is None:
            colours = struct.unpack_from(">HH", body, 4)
        elif kind == b"av1C" and len(body) >= 3:
            deep, twelve = body[2] & 0x40, body[2] & 0x20
            bits = max(bits, (12 if twelve else 10) if deep else 8)
        elif kind == b"hvcC" and len(body) >= 18:
            bits = max(bits, 8 + (body[17] & 7))
        elif kind == b"auxC":
            further |= {part for word, part in _FURTHER.items() if word in body}
    if not sizes:
        raise ValueError("it has no picture")
    largest = max(sizes, key=lambda size: size[0] * size[1])
    return Properties(largest, bits, colours, data[8:12] in _SEQUENCES, frozenset(further))


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
