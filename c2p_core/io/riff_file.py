"""Splits WebP files into RIFF chunks, and decides which of them a protected copy keeps byte for byte."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from c2p_core.io import exif, xmp

_PIXEL_CHUNKS = (b"VP8 ", b"VP8L", b"ALPH")
# Bits of the first byte of VP8X.
_ICC, _ALPHA, _EXIF, _XMP = 0x20, 0x10, 0x08, 0x04


@dataclass(frozen=True)
class Chunk:
    kind: bytes
    body: bytes

    def to_bytes(self) -> bytes:
        return self.kind + struct.pack("<L", len(self.body)) + self.body + b"\0" * (len(self.body) % 2)


def parse(data: bytes) -> list[Chunk]:
    """The chunks of a RIFF file, up to the first truncated one."""
    chunks, offset = [], 12
    while offset + 8 <= len(data):
        kind, size = struct.unpack_from("<4sL", data, offset)
        if offset + 8 + size > len(data):
            break
        chunks.append(Chunk(kind, data[offset + 8 : offset + 8 + size]))
        offset += 8 + size + size % 2
    return chunks


def find(chunks: list[Chunk], kind: bytes) -> bytes | None:
    return next((chunk.body for chunk in chunks if chunk.kind == kind), None)


def compose(pixels: bytes, width: int, height: int, alpha: bool, metadata: list[Chunk]) -> bytes:
    """Make a WebP file from the pixel chunks of another one and from metadata."""
    flags = _ALPHA if alpha else 0
    for kind, flag in ((b"ICCP", _ICC), (b"EXIF", _EXIF), (b"XMP ", _XMP)):
        flags |= flag if find(metadata, kind) else 0
    head = Chunk(
        b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    profile = [chunk for chunk in metadata if chunk.kind == b"ICCP"]
    others = [chunk for chunk in metadata if chunk.kind != b"ICCP"]
    chunks = [head, *profile, *(chunk for chunk in parse(pixels) if chunk.kind in _PIXEL_CHUNKS), *others]
    body = b"WEBP" + b"".join(chunk.to_bytes() for chunk in chunks)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def keep_metadata(chunks: list[Chunk], personal: bool = True) -> tuple[list[Chunk], set[str]]:
    """The chunks that a protected copy keeps, and the names of the lost parts."""
    kept: list[Chunk] = []
    lost: set[str] = set()
    for chunk in chunks:
        if chunk.kind == b"EXIF":
            cleaned = exif.clean_exif(chunk.body)
            lost |= exif.list_lost_parts(chunk.body, cleaned)
            if cleaned and not personal:
                cleaned = exif.strip_personal(cleaned)
            if cleaned is not None:
                has_header = chunk.body.startswith(exif.HEADER)
                kept.append(Chunk(b"EXIF", cleaned if has_header else cleaned.removeprefix(exif.HEADER)))
        elif chunk.kind == b"XMP ":
            packet, removed = xmp.clean_xmp(chunk.body)
            lost |= removed
            if packet:
                kept.append(Chunk(b"XMP ", packet if personal else xmp.strip_personal(packet)))
        elif chunk.kind == b"ICCP":
            kept.append(chunk)
        elif chunk.kind == b"C2PA":
            lost.add("credentials")
        elif chunk.kind not in (*_PIXEL_CHUNKS, b"VP8X"):
            if exif.holds_picture(chunk.body):
                lost.add("pictures")
            elif personal:  # an unknown chunk may have personal data
                kept.append(chunk)
    return kept, lost


def change_xmp(chunks: list[Chunk], change: Callable[[bytes | None], bytes | None]) -> list[Chunk]:
    """Change the XMP packet, or add one where there is none; ``change`` returns the new packet."""
    packet = change(find(chunks, b"XMP "))
    others = [chunk for chunk in chunks if chunk.kind != b"XMP "]
    return [*others, Chunk(b"XMP ", packet)] if packet else others


def make_metadata(exif_block: bytes | None, packet: bytes | None, icc: bytes | None) -> list[Chunk]:
    """Make chunks for metadata from another format."""
    block = exif_block.removeprefix(exif.HEADER) if exif_block else None
    blocks = ((b"ICCP", icc), (b"EXIF", block), (b"XMP ", packet))
    return [Chunk(kind, body) for kind, body in blocks if body]
