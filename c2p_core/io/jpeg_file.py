"""Splits JPEG files into segments, and decides which of them a protected copy keeps byte for byte."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from c2p_core.errors import Malformed
from c2p_core.io import exif, photoshop, xmp

SOI, EOI, SOS, COM, DQT = 0xD8, 0xD9, 0xDA, 0xFE, 0xDB
_APP0, _APP1, _APP2, _APP11, _APP13, _APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
# Start-of-frame markers: of 8 or 12 bits; of lossless JPEG and JPEG-LS; of hierarchical JPEG.
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_LOSSLESS, _HIERARCHICAL = (0xC3, 0xCB, 0xF7), (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
_XMP = b"http://ns.adobe.com/xap/1.0/\x00"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\x00"
_PHOTOSHOP = b"Photoshop 3.0\x00"
_ICC = b"ICC_PROFILE\x00"
# Bytes that fit into one segment after its length.
LONGEST = 65_533
LONGEST_XMP = LONGEST - len(_XMP)
"""Bytes of an XMP packet that fit into one segment."""
# A marker within entropy-coded data: neither a stuffed byte nor a restart nor a fill byte.
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
# Data appended after the picture: the start of a video, Samsung's trailer.
_VIDEO = re.compile(rb"....ftyp|MotionPhoto_Data", re.DOTALL)


@dataclass(frozen=True)
class Segment:
    """A marker with its content, without the length."""

    marker: int
    body: bytes

    def to_bytes(self) -> bytes:
        return struct.pack(">BBH", 0xFF, self.marker, len(self.body) + 2) + self.body


@dataclass(frozen=True)
class JpegFile:
    """The first picture of a JPEG file.

    Attributes:
        segments: everything before the first scan.
        scans: from the first scan to before the end marker.
        complete: whether there is an end marker.
        trailer: what follows the end marker.
    """

    segments: tuple[Segment, ...]
    scans: bytes
    complete: bool
    trailer: bytes

    def strip_metadata(self) -> bytes:
        """The bytes of the file without metadata, for decoders."""
        needed = [s for s in self.segments if s.marker not in range(_APP0, 0xF0) or s.marker in (_APP0, _APP14)]
        return compose([s for s in needed if s.marker != COM], self.scans)


@dataclass(frozen=True)
class Kept:
    """What a protected copy keeps of a file's metadata.

    Attributes:
        segments: in the order of the file, without those that describe the pixels' coding.
        lost: names of the parts that are not kept, except those that nobody misses (thumbnails).
    """

    segments: tuple[Segment, ...]
    lost: frozenset[str]


def parse(data: bytes) -> JpegFile:
    """Split a JPEG file into segments; bytes between segments are skipped, as decoders do.

    Raises:
        Malformed: it does not consist of segments.
    """
    offset, segments = 2, []
    while True:
        match = _MARKER.search(data, offset)
        offset = match.end() - 2 if match else len(data)
        if offset + 4 > len(data) or data[offset + 1] in (SOI, EOI):
            raise Malformed("jpeg-segments-damaged")
        marker, (size,) = data[offset + 1], struct.unpack_from(">H", data, offset + 2)
        if marker == SOS:
            break
        if size < 2 or offset + 2 + size > len(data):
            raise Malformed("file-cut-short")
        segments.append(Segment(marker, data[offset + 4 : offset + 2 + size]))
        offset += 2 + size
    end = offset
    while True:
        match = _MARKER.search(data, end)
        if match is None:
            return JpegFile(tuple(segments), data[offset:], False, b"")
        end, marker = match.end(), data[match.end() - 1]
        if marker == EOI:
            return JpegFile(tuple(segments), data[offset : end - 2], True, data[end:])
        # Tables and headers of further scans may contain any bytes.
        if end + 2 <= len(data):
            end += struct.unpack_from(">H", data, end)[0]


def compose(segments: list[Segment], scans: bytes) -> bytes:
    """The bytes of a JPEG file."""
    return b"\xff\xd8" + b"".join(segment.to_bytes() for segment in segments) + scans + b"\xff\xd9"


def is_metadata(segment: Segment) -> bool:
    """Whether a segment belongs to the file rather than to the coding of its pixels."""
    return segment.marker == COM or segment.marker in range(_APP0, 0xF0)


def read_exif(file: JpegFile) -> bytes | None:
    """The unchanged EXIF block, with its header."""
    bodies = [s.body for s in file.segments if s.marker == _APP1 and s.body.startswith(exif.HEADER)]
    return bodies[0] if bodies else None


def read_xmp(file: JpegFile) -> bytes | None:
    """The XMP packet, merged with its extension where it has one."""
    packets = [s.body[len(_XMP) :] for s in file.segments if s.marker == _APP1 and s.body.startswith(_XMP)]
    if not packets:
        return None
    extended, _ = _read_extended(file, packets[0])
    return xmp.merge_extended(packets[0], extended) if extended else packets[0]


def read_icc(file: JpegFile) -> bytes | None:
    """The colour profile, joined from its parts; None where a part is missing."""
    parts = {s.body[12]: s for s in file.segments if s.marker == _APP2 and s.body.startswith(_ICC) and len(s.body) > 13}
    if not parts or sorted(parts) != list(range(1, next(iter(parts.values())).body[13] + 1)):
        return None
    return b"".join(parts[number].body[14:] for number in sorted(parts))


def read_resources(file: JpegFile) -> bytes:
    """Photoshop's image resources, joined from their segments."""
    return b"".join(s.body[len(_PHOTOSHOP) :] for s in file.segments if _is_photoshop(s))


def read_comments(file: JpegFile) -> tuple[bytes, ...]:
    return tuple(segment.body for segment in file.segments if segment.marker == COM)


def read_density(file: JpegFile) -> tuple[float, float] | None:
    """Dots per inch from the JFIF segment; None where it gives an aspect ratio only."""
    for segment in file.segments:
        if segment.marker == _APP0 and segment.body.startswith(b"JFIF\0") and len(segment.body) >= 12:
            unit, horizontal, vertical = struct.unpack_from(">BHH", segment.body, 7)
            if unit in (1, 2) and horizontal and vertical:
                return (horizontal, vertical) if unit == 1 else (horizontal * 2.54, vertical * 2.54)
    return None


def keep_metadata(file: JpegFile, personal: bool = True) -> Kept:
    """Choose the metadata that a protected copy of a file keeps, in its order.

    Args:
        file: the original.
        personal: whether personal data stay.
    """
    lost: set[str] = set()
    kept: list[Segment] = []
    packet = next((s.body[len(_XMP) :] for s in file.segments if s.marker == _APP1 and s.body.startswith(_XMP)), b"")
    extension, names = _keep_extended(file, packet, personal, lost)
    resources = [s for s in file.segments if _is_photoshop(s)]
    for segment in filter(is_metadata, file.segments):
        marker, body = segment.marker, segment.body
        if marker == _APP0:
            kept += [_drop_thumbnail(segment)] if body.startswith(b"JFIF\0") else []
        elif marker == _APP1 and body.startswith(exif.HEADER):
            cleaned = exif.clean_exif(body)
            lost |= exif.list_lost_parts(body, cleaned)
            if cleaned and not personal:
                cleaned = exif.strip_personal(cleaned)
            kept += [replace(segment, body=cleaned)] if cleaned else []
        elif marker == _APP1 and body.startswith(_XMP):
            cleaned, removed = xmp.clean_xmp(_announce_extension(body[len(_XMP) :], names))
            lost |= removed
            if cleaned and not personal:
                cleaned = xmp.strip_personal(cleaned)
            if cleaned:
                kept += [replace(segment, body=_XMP + cleaned), *extension]
        elif marker == _APP1 and body.startswith(_EXTENDED):
            continue  # written after the packet that announces it
        elif marker == _APP2 and body.startswith(b"MPF\0"):
            continue  # the index of the pictures after this one
        elif marker == _APP2 and body.startswith(b"urn:iso:std:iso:ts:21496"):
            lost.add("gain-map")
        elif marker == _APP11 and body.startswith(b"JP"):
            lost.add("credentials" if b"c2pa" in body else "further-data")
        elif _is_photoshop(segment):
            if segment is resources[0]:
                kept += _keep_resources(resources, personal, lost)
        elif not personal and not _is_harmless(segment):
            continue  # a comment, or an unknown format, such as a GoPro's with place and camera
        elif exif.holds_picture(body) and not (marker == _APP2 and body.startswith(_ICC)):
            lost.add("pictures")
        else:
            kept.append(segment)
    return Kept(tuple(kept), frozenset(lost | _list_lost_trailing_parts(file, lost)))


def make_metadata(
    exif_block: bytes | None, packet: bytes | None, icc: bytes | None, iptc: bytes | None, comments: tuple[bytes, ...]
) -> tuple[Segment, ...]:
    """Make segments for metadata from another format."""
    segments = []
    if exif_block:
        segments.append(Segment(_APP1, exif_block))
    if packet:
        segments.append(Segment(_APP1, _XMP + packet))
    parts = [icc[start : start + LONGEST - 14] for start in range(0, len(icc), LONGEST - 14)] if icc else []
    for number, part in enumerate(parts, 1):
        segments.append(Segment(_APP2, _ICC + bytes([number, len(parts)]) + part))
    if iptc:
        segments += _split_resources(photoshop.wrap_iptc(iptc))
    return (*segments, *(Segment(COM, text[:LONGEST]) for text in comments))


def change_xmp(segments: list[Segment], change: Callable[[bytes | None, int], bytes | None]) -> list[Segment]:
    """Change the XMP packet, or add one after the segments that must come first.

    Args:
        segments: all metadata of a file.
        change: takes the packet, None where there is none, and the number of bytes that fit; returns the new packet.
    """
    result, has_packet = [], False
    for segment in segments:
        if segment.marker == _APP1 and segment.body.startswith(_XMP):
            has_packet = True
            packet = change(segment.body[len(_XMP) :], LONGEST_XMP)
            result += [replace(segment, body=_XMP + packet)] if packet else []
        else:
            result.append(segment)
    if not has_packet and (packet := change(None, LONGEST_XMP)):
        comes_first = (s.marker == _APP0 or (s.marker == _APP1 and s.body.startswith(exif.HEADER)) for s in result)
        position = max((number for number, is_first in enumerate(comes_first, 1) if is_first), default=0)
        result.insert(position, Segment(_APP1, _XMP + packet))
    return result


def make_jfif(density: tuple[float, float] | None) -> Segment:
    """Make the first segment of a JPEG, with its resolution in dots per inch if known."""
    horizontal, vertical = (min(65_535, max(1, round(value))) for value in density or (1, 1))
    return Segment(_APP0, struct.pack(">5sHBHHBB", b"JFIF\0", 0x0101, 1 if density else 0, horizontal, vertical, 0, 0))


def make_exif_segment(block: bytes) -> Segment:
    """Make the segment of an EXIF block that includes its header."""
    return Segment(_APP1, block)


def drop_colour_transform(segments: list[Segment]) -> list[Segment]:
    """Remove Adobe's segment, which describes the colour coding of the original."""
    return [segment for segment in segments if segment.marker != _APP14]


def name_unsupported_coding(file: JpegFile) -> str | None:
    """A name for the coding of a file that decoders here don't support; None for the usual codings."""
    for segment in file.segments:
        if segment.marker in _LOSSLESS:
            return "lossless JPEG"
        if segment.marker in _HIERARCHICAL:
            return "hierarchical JPEG"
        if segment.marker in _FRAMES and segment.body[:1] not in (b"", b"\x08"):
            return f"JPEG of {segment.body[0]} bits"
    return None


def list_quantisation_tables(file: JpegFile) -> list[int]:
    """The numbers of the quantisation tables that a file defines, in ascending order."""
    numbers = set()
    for segment in file.segments:
        offset = 0
        while segment.marker == DQT and offset < len(segment.body):
            numbers.add(segment.body[offset] & 15)
            offset += 1 + (128 if segment.body[offset] >> 4 else 64)
    return sorted(numbers)


def _is_harmless(segment: Segment) -> bool:
    """Whether a segment is known to have no personal data: a profile, or settings of Adobe's encoders."""
    marker, body = segment.marker, segment.body
    return (marker == _APP2 and body.startswith(_ICC)) or marker == _APP14 or body.startswith(b"Ducky")


def _drop_thumbnail(segment: Segment) -> Segment:
    body = segment.body
    return replace(segment, body=body[:12] + b"\0\0") if len(body) > 14 else segment


def _is_photoshop(segment: Segment) -> bool:
    return segment.marker == _APP13 and segment.body.startswith(_PHOTOSHOP)


def _keep_resources(segments: list[Segment], personal: bool, lost: set[str]) -> list[Segment]:
    joined = b"".join(segment.body[len(_PHOTOSHOP) :] for segment in segments)
    cleaned, removed = photoshop.clean_resources(joined, personal)
    lost |= removed
    return segments if cleaned == joined else _split_resources(cleaned)


def _split_resources(block: bytes) -> list[Segment]:
    size = LONGEST - len(_PHOTOSHOP)
    return [Segment(_APP13, _PHOTOSHOP + block[start : start + size]) for start in range(0, len(block), size)]


def _read_extended(file: JpegFile, packet: bytes) -> tuple[bytes | None, bytes | None]:
    """The extension that a packet announces, None unless it is complete; and the GUID by which it is announced."""
    match = re.search(rb"""xmpNote:HasExtendedXMP(?:\s*=\s*["']|\s*>\s*)([0-9A-Fa-f]{32})""", packet)
    if match is None:
        return None, None
    head, parts, total = len(_EXTENDED), {}, 0
    for segment in file.segments:
        if segment.marker == _APP1 and segment.body.startswith(_EXTENDED + match[1]) and len(segment.body) > head + 40:
            total, offset = struct.unpack_from(">LL", segment.body, head + 32)
            parts[offset] = segment.body[head + 40 :]
    joined = b"".join(parts[offset] for offset in sorted(parts))
    return (joined if joined and len(joined) == total else None), match[1]


def _keep_extended(
    file: JpegFile, packet: bytes, personal: bool, lost: set[str]
) -> tuple[list[Segment], tuple[bytes, bytes] | None]:
    """The segments of the extension, and its GUIDs before and after; the latter is empty where no extension is kept."""
    joined, name = _read_extended(file, packet)
    if name is None:
        return [], None
    if joined is None:
        lost.add("xmp")
        return [], (name, b"")
    cleaned, removed = xmp.clean_xmp(joined)
    lost |= removed
    if cleaned and not personal:
        cleaned = xmp.strip_personal(cleaned)
    if not cleaned:
        return [], (name, b"")
    if cleaned == joined:
        identifier = _EXTENDED + name
        return [s for s in file.segments if s.marker == _APP1 and s.body.startswith(identifier)], (name, name)
    new_name = hashlib.md5(cleaned, usedforsecurity=False).hexdigest().upper().encode()
    size = LONGEST - len(_EXTENDED) - 40
    return [
        Segment(
            _APP1, _EXTENDED + new_name + struct.pack(">LL", len(cleaned), offset) + cleaned[offset : offset + size]
        )
        for offset in range(0, len(cleaned), size)
    ], (name, new_name)


def _announce_extension(packet: bytes, names: tuple[bytes, bytes] | None) -> bytes:
    """Update the extension's GUID in the main packet, or remove the announcement where no extension is kept."""
    if names is None:
        return packet
    old, new = names
    if new:
        return packet.replace(old, new)
    packet = re.sub(rb"""\sxmpNote:HasExtendedXMP\s*=\s*["']%s["']""" % old, b"", packet)
    return re.sub(rb"<xmpNote:HasExtendedXMP>\s*%s\s*</xmpNote:HasExtendedXMP>" % old, b"", packet)


def _list_lost_trailing_parts(file: JpegFile, lost: set[str]) -> set[str]:
    """Names of the parts after the end marker that ``lost`` does not account for."""
    if not file.trailer.strip(b"\0"):
        return set()
    parts = set()
    if _VIDEO.search(file.trailer):
        parts.add("video")
    if b"\xff\xd8\xff" in file.trailer and not lost & {"gain-map", "depth"}:
        parts.add("pictures")
    return parts or (set() if lost & {"gain-map", "depth", "video", "audio"} else {"further-data"})
