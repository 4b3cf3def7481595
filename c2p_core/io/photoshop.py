"""Photoshop's image resources in JPEG and TIFF files, and the IPTC data sets in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from c2p_core.io.exif import holds_picture
from c2p_core.io.xmp import clean_xmp

IPTC = 1028
_XMP = 1060
# Thumbnails in two formats, and copies of the EXIF block, which can contain one.
_PICTURES = {1033, 1036, 1058, 1059}
# A checksum of the IPTC data; programs interpret a wrong one as changes by another program, but accept a missing one.
_IPTC_DIGEST = 1061
# Record 2: previews, as their format, its version, and the picture.
_PREVIEWS = {200, 201, 202}
# Record 2: keywords, authors, places, contacts and writers.
_PERSONAL = {25, 26, 27, 80, 85, 90, 92, 95, 100, 101, 118, 122}


def clean_resources(block: bytes, personal: bool = True) -> tuple[bytes, set[str]]:
    """Remove embedded copies of the picture; also returns the names of other lost parts.

    Args:
        block: resources without the identifier that precedes them in a JPEG.
        personal: whether personal data stay.
    """
    kept: list[bytes] = []
    lost: set[str] = set()
    end = 0
    for kind, head, body in _split_resources(block):
        content, end = body, min(len(block), end + len(head) + _pad_to_even(len(body)))
        if kind in _PICTURES:
            continue
        if kind == IPTC:
            content = clean_iptc(body, personal)
        elif kind == _XMP:
            packet, removed = clean_xmp(body)
            content = (packet or b"") if personal else b""
            lost |= removed
        elif holds_picture(body):
            lost.add("pictures")
            continue
        elif kind == _IPTC_DIGEST and not personal:
            continue
        if content:
            kept.append(head[:-4] + struct.pack(">L", len(content)) + content + b"\0" * (len(content) % 2))
    rest = block[end:]
    if rest.strip(b"\0"):
        lost.add("photoshop")
    return b"".join(kept), lost


def find_iptc(block: bytes) -> bytes | None:
    """The IPTC data among resources."""
    return next((body for kind, _, body in _split_resources(block) if kind == IPTC), None)


def wrap_iptc(iptc: bytes) -> bytes:
    """Make a block with IPTC data as its only resource."""
    return b"8BIM" + struct.pack(">H", IPTC) + b"\0\0" + struct.pack(">L", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def clean_iptc(data: bytes, personal: bool = True) -> bytes:
    """Remove previews and, unless ``personal``, personal data; everything after damaged data is lost."""
    kept = []
    for record, number, raw in _split_data_sets(data):
        unwanted = record == 2 and (number in _PREVIEWS or (not personal and number in _PERSONAL))
        if not unwanted and not holds_picture(raw):
            kept.append(raw)
    return b"".join(kept)


def _split_resources(block: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Kind, head and body of each resource."""
    offset = 0
    while offset + 12 <= len(block) and block[offset : offset + 4] in (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR"):
        (kind,) = struct.unpack_from(">H", block, offset + 4)
        head = 6 + _pad_to_even(1 + block[offset + 6]) + 4
        if offset + head > len(block):
            return
        (size,) = struct.unpack_from(">L", block, offset + head - 4)
        body = block[offset + head : offset + head + size]
        if len(body) < size:
            return
        yield kind, block[offset : offset + head], body
        offset += head + _pad_to_even(size)


def _split_data_sets(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Record, number and all bytes of each data set."""
    offset = 0
    while offset + 5 <= len(data) and data[offset] == 0x1C:
        record, number, size = struct.unpack_from(">BBH", data, offset + 1)
        head = 5
        if size & 0x8000:
            width = size & 0x7FFF
            size = int.from_bytes(data[offset + 5 : offset + 5 + width], "big")
            head += width
        stop = offset + head + size
        if stop > len(data):
            return
        yield record, number, data[offset:stop]
        offset = stop


def _pad_to_even(size: int) -> int:
    return size + size % 2
