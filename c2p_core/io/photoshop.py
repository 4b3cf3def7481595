"""Photoshop's image resources and the IPTC data sets in them, as JPEG and TIFF files carry them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from c2p_core.io.exif import holds_picture
from c2p_core.io.xmp import clean_xmp

IPTC = 1028
_XMP = 1060
# Thumbnails in two formats, and copies of the EXIF block, which can hold one.
_PICTURES = {1033, 1036, 1058, 1059}
# A checksum of the IPTC data; programs take a wrong one for changes by another program, and none for no statement.
_IPTC_DIGEST = 1061
# Record 2: previews, as their format, its version, and the picture.
_PREVIEWS = {200, 201, 202}
# Record 2: keywords, authors, places, contacts and writers.
_PERSONAL = {25, 26, 27, 80, 85, 90, 92, 95, 100, 101, 118, 122}


def clean_resources(block: bytes, personal: bool = True) -> tuple[bytes, set[str]]:
    """The resources without second copies of the picture, and the names of what else was lost.

    Args:
        block: resources without the identifier that a JPEG writes before them.
        personal: whether personal data stay.
    """
    kept: list[bytes] = []
    lost: set[str] = set()
    end = 0
    for kind, head, body in _resources(block):
        wanted, end = body, min(len(block), end + len(head) + _padded(len(body)))
        if kind in _PICTURES:
            continue
        if kind == IPTC:
            wanted = clean_iptc(body, personal)
        elif kind == _XMP:
            packet, gone = clean_xmp(body)
            wanted = (packet or b"") if personal else b""
            lost |= gone
        elif holds_picture(body):
            lost.add("pictures")
            continue
        elif kind == _IPTC_DIGEST and not personal:
            continue
        if wanted:
            kept.append(head[:-4] + struct.pack(">L", len(wanted)) + wanted + b"\0" * (len(wanted) % 2))
    rest = block[end:]
    if rest.strip(b"\0"):
        lost.add("photoshop")
    return b"".join(kept), lost


def find_iptc(block: bytes) -> bytes | None:
    """The IPTC data among resources."""
    return next((body for kind, _, body in _resources(block) if kind == IPTC), None)


def wrap_iptc(iptc: bytes) -> bytes:
    """Resources that hold IPTC data alone."""
    return b"8BIM" + struct.pack(">H", IPTC) + b"\0\0" + struct.pack(">L", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def clean_iptc(data: bytes, personal: bool = True) -> bytes:
    """The data sets without previews and, where asked for, without personal data; damaged data stop where they do."""
    kept = []
    for record, number, raw in _data_sets(data):
        dropped = record == 2 and (number in _PREVIEWS or (not personal and number in _PERSONAL))
        if not dropped and not holds_picture(raw):
            kept.append(raw)
    return b"".join(kept)


def _resources(block: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Kind, head and body of each resource."""
    at = 0
    while at + 12 <= len(block) and block[at : at + 4] in (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR"):
        (kind,) = struct.unpack_from(">H", block, at + 4)
        head = 6 + _padded(1 + block[at + 6]) + 4
        if at + head > len(block):
            return
        (size,) = struct.unpack_from(">L", block, at + head - 4)
        body = block[at + head : at + head + size]
        if len(body) < size:
            return
        yield kind, block[at : at + head], body
        at += head + _padded(size)


def _data_sets(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Record and number of each data set, and all of its bytes."""
    at = 0
    while at + 5 <= len(data) and data[at] == 0x1C:
        record, number, size = struct.unpack_from(">BBH", data, at + 1)
        head = 5
        if size & 0x8000:
            width = size & 0x7FFF
            size = int.from_bytes(data[at + 5 : at + 5 + width], "big")
            head += width
        stop = at + head + size
        if stop > len(data):
            return
        yield record, number, data[at:stop]
        at = stop


def _padded(size: int) -> int:
    return size + size % 2
