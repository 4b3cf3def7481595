"""EXIF, XMP and ICC blocks: read from a file, made upright, written into a file.

Second copies of the picture are dropped on purpose (EXIF thumbnails, previews in maker notes, thumbnails and other
pictures in XMP, Photoshop blocks): they would still show the unprotected face.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import ImageFileDirectory_v2

ORIENTATION = int(Base.Orientation)
TIFF_XMP = 700
TIFF_ICC = 34675
_EXIF_HEADER = b"Exif\x00\x00"
# Tags of the main directory that describe the picture rather than the layout of its bytes.
_DESCRIPTIVE = {
    int(tag)
    for tag in (
        Base.ImageDescription,
        Base.Make,
        Base.Model,
        Base.Orientation,
        Base.XResolution,
        Base.YResolution,
        Base.ResolutionUnit,
        Base.Software,
        Base.DateTime,
        Base.Artist,
        Base.HostComputer,
        Base.YCbCrPositioning,
        Base.Copyright,
        Base.Rating,
        Base.RatingPercent,
        Base.XPTitle,
        Base.XPComment,
        Base.XPAuthor,
        Base.XPKeywords,
        Base.XPSubject,
    )
}
_SUB_DIRECTORIES = (int(IFD.Exif), int(IFD.GPSInfo))
# A TIFF file has these among the image's own tags.
_OWN_TIFF_TAGS = {ORIENTATION, int(Base.XResolution), int(Base.YResolution), int(Base.ResolutionUnit)}
# The start of a JPEG. Minolta and Sony write previews with a wrong first byte; for these the start of the segment must
# match too, or small negative numbers in harmless maker notes would look like a JPEG.
_JPEG_START = re.compile(rb"\xff\xd8\xff|\xd8\xff(?:\xdb[\x00\x01]|\xe0\x00|\xe1..Exif)", re.DOTALL)
# The prefix is the writer's choice: older ones write "xap" for what newer ones call "xmp".
_XMP_THUMBNAILS = re.compile(rb"<((?:[\w.-]+:)?Thumbnails)\b[^>]*>.*?</\1\s*>", re.DOTALL)
# JPEG, PNG or WebP in base64, as an attribute or as text, as phones store depth maps and the photo before their blur;
# any format where a data URI declares a picture.
_XMP_PICTURE = re.compile(rb"""(["'>])\s*(?:data:image/|/9j/|iVBORw0KGgo|UklGR)[^"'<]*""")
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|>\s*))([0-9])""")
# What Pillow raises on damaged EXIF.
DAMAGED = (SyntaxError, struct.error, ValueError, TypeError, KeyError, IndexError, OSError, AttributeError)


def parse_exif(block: bytes) -> dict[int, Any] | None:
    """Tag -> value of an EXIF block, with dicts for the EXIF and GPS directories; None when it is damaged."""
    exif = Image.Exif()
    try:
        exif.load(block)
        return _select_descriptive(dict(exif), {tag: dict(exif.get_ifd(tag)) for tag in _SUB_DIRECTORIES})
    except DAMAGED:
        return None


def parse_tiff_exif(data: bytes, page: ImageFileDirectory_v2) -> dict[int, Any] | None:
    """The same from one page of a TIFF file; None when it is damaged."""
    directories = {}
    try:
        for tag in _SUB_DIRECTORIES:
            if tag in page:
                directory = ImageFileDirectory_v2(_tiff_header(data), group=tag)
                stream = io.BytesIO(data)
                stream.seek(int(page[tag]))
                directory.load(stream)
                directories[tag] = dict(directory)
        return _select_descriptive(dict(page), directories)
    except DAMAGED:
        return None


def upright_exif(tags: dict[int, Any], turned: bool) -> bytes | None:
    """The block for a picture whose orientation has been applied to the pixels.

    Args:
        tags: from ``parse_exif`` or ``parse_tiff_exif``.
        turned: True when the orientation swapped width and height.

    Returns:
        Bytes with the "Exif" header and orientation 1; None without tags, or when they can't be encoded.
    """
    if not tags:
        return None
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    if ORIENTATION in tags:
        exif[ORIENTATION] = 1
    details = dict(tags.get(int(IFD.Exif), {}))
    width, height = int(Base.ExifImageWidth), int(Base.ExifImageHeight)
    if turned and width in details and height in details:
        exif[int(IFD.Exif)] = details | {width: details[height], height: details[width]}
    try:
        return exif.tobytes()
    except DAMAGED:
        return None


def _select_descriptive(main: dict[int, Any], directories: dict[int, dict[int, Any]]) -> dict[int, Any]:
    """Keep the tags that describe the picture, without embedded copies of it."""
    tags = {tag: value for tag, value in main.items() if tag in _DESCRIPTIVE}
    for pointer, directory in directories.items():
        kept = {tag: value for tag, value in directory.items() if tag != int(IFD.Interop)}
        note = kept.get(int(Base.MakerNote), b"")
        # Types other than bytes violate the standard and can't be searched for pictures.
        if not isinstance(note, bytes) or _JPEG_START.search(note):
            del kept[int(Base.MakerNote)]
        if kept:
            tags[pointer] = kept
    return tags


def xmp_orientation(packet: bytes | None) -> int:
    """The orientation in an XMP packet, as attribute or element; 1 where there is none."""
    match = _XMP_ORIENTATION.search(packet or b"")
    return int(match[2]) if match else 1


def upright_xmp(packet: bytes | None) -> bytes | None:
    """The XMP packet with orientation 1 and without pictures; None without a packet, or for one that is not UTF-8."""
    if not packet or not _is_utf8(packet):
        return None
    packet = _XMP_ORIENTATION.sub(rb"\g<1>1", packet)
    return _XMP_PICTURE.sub(rb"\1", _XMP_THUMBNAILS.sub(b"", packet))


def _is_utf8(packet: bytes) -> bool:
    """Whether a packet is UTF-8 and not UTF-16, whose ASCII is UTF-8 with zero bytes and matches no pattern above."""
    try:
        packet.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in packet.rstrip(b"\0")


def tiff_pages(data: bytes) -> dict[int, ImageFileDirectory_v2]:
    """The directories of a TIFF file's pages by their index in the file, from 0; previews are left out.

    Raises:
        SyntaxError, struct.error, OSError: the file is damaged.
    """
    header = _tiff_header(data)
    stream = io.BytesIO(data)
    pages: dict[int, ImageFileDirectory_v2] = {}
    offset = ImageFileDirectory_v2(header).next
    seen: set[int] = set()
    while offset and offset not in seen:
        seen.add(offset)
        page = ImageFileDirectory_v2(header)
        stream.seek(offset)
        page.load(stream)
        reduced = int(page.get(int(Base.NewSubfileType), 0)) & 1
        if not reduced:
            pages[len(seen) - 1] = page
        offset = page.next
    return pages


def into_tiff(tiff: bytes, exif: bytes | None, xmp: bytes | None, icc: bytes | None) -> bytes:
    """A little-endian one-page TIFF file with metadata added to its directory; pixels stay where they are."""
    extra = ImageFileDirectory_v2(tiff[:8])
    for tag, value in ((parse_exif(exif) if exif else None) or {}).items():
        if tag not in _OWN_TIFF_TAGS:
            extra[tag] = value
    if xmp:
        extra.tagtype[TIFF_XMP] = 1  # BYTE
        extra[TIFF_XMP] = xmp
    if icc:
        extra.tagtype[TIFF_ICC] = 7  # UNDEFINED
        extra[TIFF_ICC] = icc
    if not len(extra):
        return tiff
    tiff += b"\x00" * (len(tiff) % 2)
    block = extra.tobytes(len(tiff))
    block += b"\x00" * (len(block) % 2)
    # Entries of both directories hold absolute offsets, so they can be merged into a third one.
    (first,) = struct.unpack_from("<L", tiff, 4)
    entries = _read_entries(block, 0) | _read_entries(tiff, first)
    merged = b"".join(entry for _, entry in sorted(entries.items()))
    directory_at = len(tiff) + len(block)
    header = tiff[:4] + struct.pack("<L", directory_at)
    return header + tiff[8:] + block + struct.pack("<H", len(entries)) + merged + struct.pack("<L", 0)


def into_png(png: bytes, exif: bytes | None, xmp: bytes | None, icc: bytes | None) -> bytes:
    """A PNG file with metadata chunks added behind its header."""
    chunks = b""
    if icc:
        chunks += _make_chunk(b"iCCP", b"ICC profile\x00\x00" + zlib.compress(icc))
    if exif:
        chunks += _make_chunk(b"eXIf", exif.removeprefix(_EXIF_HEADER))
    if xmp:
        chunks += _make_chunk(b"iTXt", b"XML:com.adobe.xmp" + b"\x00" * 5 + xmp)
    header_end = 8 + 4 + 4 + 13 + 4
    return png[:header_end] + chunks + png[header_end:]


def _tiff_header(data: bytes) -> bytes:
    return data[:16] if b"+" in data[2:4] else data[:8]  # 43, "+", marks a BigTIFF file


def _read_entries(data: bytes, offset: int) -> dict[int, bytes]:
    """Raw 12-byte entries of a little-endian TIFF directory, by tag."""
    (count,) = struct.unpack_from("<H", data, offset)
    raw = [data[offset + 2 + 12 * i : offset + 14 + 12 * i] for i in range(count)]
    return {int(struct.unpack_from("<H", entry)[0]): entry for entry in raw}


def _make_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))
