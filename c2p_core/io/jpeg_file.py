"""JPEG files as segments: which of them a protected copy keeps, byte for byte."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from c2p_core.io import exif, photoshop, xmp

SOI, EOI, SOS, COM, DQT = 0xD8, 0xD9, 0xDA, 0xFE, 0xDB
_APP0, _APP1, _APP2, _APP11, _APP13, _APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
# Starts of frames: with 8 or 12 bits; of the lossless JPEG, JPEG-LS; of a picture in several sizes.
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_LOSSLESS, _HIERARCHICAL = (0xC3, 0xCB, 0xF7), (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
_XMP = b"http://ns.adobe.com/xap/1.0/\x00"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\x00"
_PHOTOSHOP = b"Photoshop 3.0\x00"
_ICC = b"ICC_PROFILE\x00"
# Bytes that fit into one segment behind its length.
LONGEST = 65_533
LONGEST_XMP = LONGEST - len(_XMP)
"""Bytes of an XMP packet that fit into one."""
# A marker in coded pixels: neither a stuffed byte nor a restart nor a filler.
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
# What programs append to the picture: the start of a video, Samsung's trailer.
_VIDEO = re.compile(rb"....ftyp|MotionPhoto_Data", re.DOTALL)


@dataclass(frozen=True)
class Segment:
    """A marker with its content, without the length."""

    marker: int
    body: bytes

    def written(self) -> bytes:
        return struct.pack(">BBH", 0xFF, self.marker, len(self.body) + 2) + self.body


@dataclass(frozen=True)
class JpegFile:
    """The first picture of a JPEG file.

    Attributes:
        segments: everything before the first scan.
        scans: from the first scan to before the end marker.
        complete: whether the end marker is there.
        rest: what follows the end marker.
    """

    segments: tuple[Segment, ...]
    scans: bytes
    complete: bool
    rest: bytes

    def picture(self) -> bytes:
        """The file without metadata: what a decoder of pixels needs."""
        needed = [s for s in self.segments if s.marker not in range(_APP0, 0xF0) or s.marker in (_APP0, _APP14)]
        return compose([s for s in needed if s.marker != COM], self.scans)


@dataclass(frozen=True)
class Kept:
    """What a protected copy keeps of a file's metadata.

    Attributes:
        segments: in the order of the file, without those that describe the pixels' coding.
        lost: names of the parts that are not kept; those that every camera writes and nobody misses (thumbnails) are
            not among them.
    """

    segments: tuple[Segment, ...]
    lost: frozenset[str]


def parse(data: bytes) -> JpegFile:
    """Take a JPEG file apart. What some programs leave between segments is skipped, as decoders do.

    Raises:
        ValueError: it does not consist of segments.
    """
    at, segments = 2, []
    while True:
        match = _MARKER.search(data, at)
        at = match.end() - 2 if match else len(data)
        if at + 4 > len(data) or data[at + 1] in (SOI, EOI):
            raise ValueError("segments are damaged")
        marker, (size,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        if marker == SOS:
            break
        if size < 2 or at + 2 + size > len(data):
            raise ValueError("a segment is cut short")
        segments.append(Segment(marker, data[at + 4 : at + 2 + size]))
        at += 2 + size
    end = at
    while True:
        match = _MARKER.search(data, end)
        if match is None:
            return JpegFile(tuple(segments), data[at:], False, b"")
        end, marker = match.end(), data[match.end() - 1]
        if marker == EOI:
            return JpegFile(tuple(segments), data[at : end - 2], True, data[end:])
        # Tables and the heads of further scans contain anything.
        if end + 2 <= len(data):
            end += struct.unpack_from(">H", data, end)[0]


def compose(segments: list[Segment], scans: bytes) -> bytes:
    """The bytes of a JPEG file."""
    return b"\xff\xd8" + b"".join(segment.written() for segment in segments) + scans + b"\xff\xd9"


def is_metadata(segment: Segment) -> bool:
    """Whether a segment belongs to the file rather than to the coding of its pixels."""
    return segment.marker == COM or segment.marker in range(_APP0, 0xF0)


def read_exif(file: JpegFile) -> bytes | None:
    """The EXIF block as it is in the file, with its header."""
    bodies = [s.body for s in file.segments if s.marker == _APP1 and s.body.startswith(exif.HEADER)]
    return bodies[0] if bodies else None


def read_xmp(file: JpegFile) -> bytes | None:
    """The XMP packet, with its extension where it has one."""
    packets = [s.body[len(_XMP) :] for s in file.segments if s.marker == _APP1 and s.body.startswith(_XMP)]
    if not packets:
        return None
    extended, _ = _read_extended(file, packets[0])
    return xmp.merge_extended(packets[0], extended) if extended else packets[0]


def read_icc(file: JpegFile) -> bytes | None:
    """The colour profile, joined of its parts; None where a part is missing."""
    parts = {s.body[12]: s for s in file.segments if s.marker == _APP2 and s.body.startswith(_ICC) and len(s.body) > 13}
    if not parts or sorted(parts) != list(range(1, next(iter(parts.values())).body[13] + 1)):
        return None
    return b"".join(parts[number].body[14:] for number in sorted(parts))


def read_resources(file: JpegFile) -> bytes:
    """Photoshop's image resources, joined of their segments."""
    return b"".join(s.body[len(_PHOTOSHOP) :] for s in file.segments if _is_photoshop(s))


def read_comments(file: JpegFile) -> tuple[bytes, ...]:
    return tuple(segment.body for segment in file.segments if segment.marker == COM)


def read_density(file: JpegFile) -> tuple[float, float] | None:
    """Dots per inch by the JFIF segment; None where that gives proportions only."""
    for segment in file.segments:
        if segment.marker == _APP0 and segment.body.startswith(b"JFIF\0") and len(segment.body) >= 12:
            unit, across, down = struct.unpack_from(">BHH", segment.body, 7)
            if unit in (1, 2) and across and down:
                return (across, down) if unit == 1 else (across * 2.54, down * 2.54)
    return None


def keep_metadata(file: JpegFile, personal: bool = True) -> Kept:
    """What a protected copy of a file keeps, in its order.

    Args:
        file: the original.
        personal: whether personal data stay.
    """
    lost: set[str] = set()
    kept: list[Segment] = []
    packet = next((s.body[len(_XMP) :] for s in file.segments if s.marker == _APP1 and s.body.startswith(_XMP)), b"")
    extension, announced = _keep_extended(file, packet, personal, lost)
    resources = [s for s in file.segments if _is_photoshop(s)]
    for segment in filter(is_metadata, file.segments):
        marker, body = segment.marker, segment.body
        if marker == _APP0:
            kept += [_without_thumbnail(segment)] if body.startswith(b"JFIF\0") else []
        elif marker == _APP1 and body.startswith(exif.HEADER):
            cleaned = exif.clean_exif(body)
            lost |= exif.lost_with_pictures(body, cleaned)
            if cleaned and not personal:
                cleaned = exif.strip_personal(cleaned)
            kept += [replace(segment, body=cleaned)] if cleaned else []
        elif marker == _APP1 and body.startswith(_XMP):
            cleaned, gone = xmp.clean_xmp(_announce(body[len(_XMP) :], announced))
            lost |= gone
            if cleaned and not personal:
                cleaned = xmp.strip_personal(cleaned)
            if cleaned:
                kept += [replace(segment, body=_XMP + cleaned), *extension]
        elif marker == _APP1 and body.startswith(_EXTENDED):
            continue  # behind the packet that announces it
        elif marker == _APP2 and body.startswith(b"MPF\0"):
            continue  # the list of the pictures behind this one
        elif marker == _APP2 and body.startswith(b"urn:iso:std:iso:ts:21496"):
            lost.add("gain-map")
        elif marker == _APP11 and body.startswith(b"JP"):
            lost.add("credentials" if b"c2pa" in body else "further-data")
        elif _is_photoshop(segment):
            if segment is resources[0]:
                kept += _keep_resources(resources, personal, lost)
        elif not personal and not _is_harmless(segment):
            continue  # a comment, or what nobody here can read, such as the place and camera in a GoPro's
        elif exif.holds_picture(body) and not (marker == _APP2 and body.startswith(_ICC)):
            lost.add("pictures")
        else:
            kept.append(segment)
    return Kept(tuple(kept), frozenset(lost | _lost_behind(file, lost)))


def make_metadata(
    exif_block: bytes | None, packet: bytes | None, icc: bytes | None, iptc: bytes | None, comments: tuple[bytes, ...]
) -> tuple[Segment, ...]:
    """Segments for metadata that come from another format."""
    segments = []
    if exif_block:
        segments.append(Segment(_APP1, exif_block))
    if packet:
        segments.append(Segment(_APP1, _XMP + packet))
    parts = [icc[at : at + LONGEST - 14] for at in range(0, len(icc), LONGEST - 14)] if icc else []
    for number, part in enumerate(parts, 1):
        segments.append(Segment(_APP2, _ICC + bytes([number, len(parts)]) + part))
    if iptc:
        segments += _split_resources(photoshop.wrap_iptc(iptc))
    return (*segments, *(Segment(COM, text[:LONGEST]) for text in comments))


def change_xmp(segments: list[Segment], change: Callable[[bytes | None, int], bytes | None]) -> list[Segment]:
    """Change the XMP packet, or add one behind what must come first.

    Args:
        segments: all metadata of a file.
        change: takes the packet, None where there is none, and the most bytes that fit; returns what is written.
    """
    changed, found = [], False
    for segment in segments:
        if segment.marker == _APP1 and segment.body.startswith(_XMP):
            found = True
            packet = change(segment.body[len(_XMP) :], LONGEST_XMP)
            changed += [replace(segment, body=_XMP + packet)] if packet else []
        else:
            changed.append(segment)
    if not found and (packet := change(None, LONGEST_XMP)):
        first = (s.marker == _APP0 or (s.marker == _APP1 and s.body.startswith(exif.HEADER)) for s in changed)
        at = max((number for number, early in enumerate(first, 1) if early), default=0)
        changed.insert(at, Segment(_APP1, _XMP + packet))
    return changed


def jfif(density: tuple[float, float] | None) -> Segment:
    """The first segment of a JPEG, with its resolution in dots per inch, or none."""
    across, down = (min(65_535, max(1, round(value))) for value in density or (1, 1))
    return Segment(_APP0, struct.pack(">5sHBHHBB", b"JFIF\0", 0x0101, 1 if density else 0, across, down, 0, 0))


def exif_segment(block: bytes) -> Segment:
    """The segment of an EXIF block with its header."""
    return Segment(_APP1, block)


def without_colour_transform(segments: list[Segment]) -> list[Segment]:
    """Segments without Adobe's, which says how the original's colours are coded."""
    return [segment for segment in segments if segment.marker != _APP14]


def unusual_coding(file: JpegFile) -> str | None:
    """How a file is coded, where that is none of the ways that photos are coded in; else None."""
    for segment in file.segments:
        if segment.marker in _LOSSLESS:
            return "lossless JPEG"
        if segment.marker in _HIERARCHICAL:
            return "hierarchical JPEG"
        if segment.marker in _FRAMES and segment.body[:1] not in (b"", b"\x08"):
            return f"JPEG of {segment.body[0]} bits"
    return None


def defined_tables(file: JpegFile) -> list[int]:
    """The numbers of the quantisation tables that a file defines, in rising order."""
    numbers = set()
    for segment in file.segments:
        at = 0
        while segment.marker == DQT and at < len(segment.body):
            numbers.add(segment.body[at] & 15)
            at += 1 + (128 if segment.body[at] >> 4 else 64)
    return sorted(numbers)


def _is_harmless(segment: Segment) -> bool:
    """Whether a segment is known to say nothing of persons: a profile, and how Adobe's programs code and save."""
    marker, body = segment.marker, segment.body
    return (marker == _APP2 and body.startswith(_ICC)) or marker == _APP14 or body.startswith(b"Ducky")


def _without_thumbnail(segment: Segment) -> Segment:
    body = segment.body
    return replace(segment, body=body[:12] + b"\0\0") if len(body) > 14 else segment


def _is_photoshop(segment: Segment) -> bool:
    return segment.marker == _APP13 and segment.body.startswith(_PHOTOSHOP)


def _keep_resources(segments: list[Segment], personal: bool, lost: set[str]) -> list[Segment]:
    joined = b"".join(segment.body[len(_PHOTOSHOP) :] for segment in segments)
    cleaned, gone = photoshop.clean_resources(joined, personal)
    lost |= gone
    return segments if cleaned == joined else _split_resources(cleaned)


def _split_resources(block: bytes) -> list[Segment]:
    size = LONGEST - len(_PHOTOSHOP)
    return [Segment(_APP13, _PHOTOSHOP + block[at : at + size]) for at in range(0, len(block), size)]


def _read_extended(file: JpegFile, packet: bytes) -> tuple[bytes | None, bytes | None]:
    """The extension that a packet announces, None unless it is complete; and the name that it is announced by."""
    match = re.search(rb"""xmpNote:HasExtendedXMP(?:\s*=\s*["']|\s*>\s*)([0-9A-Fa-f]{32})""", packet)
    if match is None:
        return None, None
    start, parts, full = len(_EXTENDED), {}, 0
    for segment in file.segments:
        if segment.marker == _APP1 and segment.body.startswith(_EXTENDED + match[1]) and len(segment.body) > start + 40:
            full, at = struct.unpack_from(">LL", segment.body, start + 32)
            parts[at] = segment.body[start + 40 :]
    joined = b"".join(parts[at] for at in sorted(parts))
    return (joined if joined and len(joined) == full else None), match[1]


def _keep_extended(
    file: JpegFile, packet: bytes, personal: bool, lost: set[str]
) -> tuple[list[Segment], tuple[bytes, bytes] | None]:
    """The segments of the extension, and by which name it was and is announced; without one, the name is empty."""
    joined, name = _read_extended(file, packet)
    if name is None:
        return [], None
    if joined is None:
        lost.add("xmp")
        return [], (name, b"")
    cleaned, gone = xmp.clean_xmp(joined)
    lost |= gone
    if cleaned and not personal:
        cleaned = xmp.strip_personal(cleaned)
    if not cleaned:
        return [], (name, b"")
    if cleaned == joined:
        head = _EXTENDED + name
        return [s for s in file.segments if s.marker == _APP1 and s.body.startswith(head)], (name, name)
    new = hashlib.md5(cleaned, usedforsecurity=False).hexdigest().upper().encode()
    size = LONGEST - len(_EXTENDED) - 40
    return [
        Segment(_APP1, _EXTENDED + new + struct.pack(">LL", len(cleaned), at) + cleaned[at : at + size])
        for at in range(0, len(cleaned), size)
    ], (name, new)


def _announce(packet: bytes, names: tuple[bytes, bytes] | None) -> bytes:
    """The main packet with the name of the extension that is written."""
    if names is None:
        return packet
    old, new = names
    if new:
        return packet.replace(old, new)
    packet = re.sub(rb"""\sxmpNote:HasExtendedXMP\s*=\s*["']%s["']""" % old, b"", packet)
    return re.sub(rb"<xmpNote:HasExtendedXMP>\s*%s\s*</xmpNote:HasExtendedXMP>" % old, b"", packet)


def _lost_behind(file: JpegFile, lost: set[str]) -> set[str]:
    """What the pictures and other data behind the end marker were."""
    if not file.rest.strip(b"\0"):
        return set()
    found = set()
    if _VIDEO.search(file.rest):
        found.add("video")
    if b"\xff\xd8\xff" in file.rest and not lost & {"gain-map", "depth"}:
        found.add("pictures")
    return found or (set() if lost & {"gain-map", "depth", "video", "audio"} else {"further-data"})
