"""Reads TIFF directories, and decides which tags a protected copy keeps with their types and bytes.

A TIFF's directory has to be rebuilt, because the offsets of all values change; of the values, only the byte order does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from PIL.ExifTags import IFD, Base

from c2p_core.errors import Malformed
from c2p_core.io import exif, photoshop, xmp
from c2p_core.io.exif import SIZES, Damaged, Directory, Entry, Form, read_directory, read_form

XMP, ICC, IPTC, PHOTOSHOP = 700, 34675, 33723, 34377
COMPRESSION = int(Base.Compression)
RESOLUTION = (int(Base.XResolution), int(Base.YResolution), int(Base.ResolutionUnit))
_LAYERS = 37724
_BYTE, _UNDEFINED = 1, 7
# BigTIFF's types of 64 bits, and the type of 32 bits that replaces each where the numbers fit.
_LONG8 = {16: 4, 17: 9, 18: 13}
# Tags that describe how pixels are stored; the copy has its own.
_LAYOUT_TAGS = {
    *range(254, 260),  # kind of page, size, bits, compression
    *(262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291, 292, 293, 317),
    *(320, 321, 322, 323, 324, 325, 330, 332, 334, 336, 338, 339, 340, 341, 347),
    *range(512, 522),  # JPEG in TIFF
    *(529, 530, 531, 532),  # YCbCr
    *(559, 34016, 34017),
}
_RAW_TAGS = range(50706, 50980)  # DNG: how a camera's raw pixels become colours
# Tags of the main directory that go into the EXIF block of another format.
DESCRIPTIVE = {
    *(int(tag) for tag in (Base.ImageDescription, Base.Make, Base.Model, Base.Orientation, Base.Software)),
    *(int(tag) for tag in (Base.DateTime, Base.Artist, Base.HostComputer, Base.Copyright, Base.Rating)),
    *(int(tag) for tag in (Base.RatingPercent, Base.XPTitle, Base.XPComment, Base.XPAuthor, Base.XPKeywords)),
    *(int(tag) for tag in (Base.XPSubject, IFD.Exif, IFD.GPSInfo)),
    *(int(tag) for tag in (Base.WhitePoint, Base.PrimaryChromaticities, Base.TransferFunction)),
    *RESOLUTION,
}
# Tags of an EXIF block that describe the coding of its JPEG or PNG.
_OF_OTHER_FORMATS = {int(Base.YCbCrPositioning), int(Base.YCbCrCoefficients), int(Base.ReferenceBlackWhite)}


@dataclass(frozen=True)
class Tag:
    """A tag with its value in little-endian order, or with the tags of the directory that it points to."""

    tag: int
    kind: int
    count: int
    value: bytes
    children: tuple[Tag, ...] = ()


@dataclass(frozen=True)
class Page:
    """One picture of a TIFF file: the index of its directory, and the tags as stored in the file."""

    index: int
    directory: Directory
    form: Form

    def numbers(self, tag: int) -> tuple[int, ...]:
        """The values of an integer tag; empty where there is none."""
        entry = self.directory.find(tag)
        return entry.numbers(self.form) if entry else ()

    def number(self, tag: int, default: int) -> int:
        return next(iter(self.numbers(tag)), default)

    def value(self, tag: int) -> bytes | None:
        entry = self.directory.find(tag)
        return entry.value if entry else None


def read_pages(data: bytes) -> list[Page]:
    """The pictures of a TIFF file, without previews.

    Raises:
        Malformed: the file is damaged.
    """
    try:
        form, offset = read_form(data)
        pages, seen = [], []
        while offset and offset not in seen:
            seen.append(offset)
            page = Page(len(seen) - 1, read_directory(data, offset, form), form)
            if not page.number(int(Base.NewSubfileType), 0) & 1:
                pages.append(page)
            offset = page.directory.next
    except (Damaged, struct.error):
        raise Malformed("tiff-directories-damaged") from None
    return pages


def read_density(page: Page) -> tuple[float, float] | None:
    """Dots per inch; None where the file has no resolution, or an aspect ratio only."""
    unit = {2: 1.0, 3: 2.54}.get(page.number(int(Base.ResolutionUnit), 2))
    density = []
    for tag in RESOLUTION[:2]:
        entry = page.directory.find(tag)
        if unit is None or entry is None or entry.kind != 5 or entry.count != 1:
            return None
        numerator, denominator = struct.unpack(page.form.order + "LL", entry.value)
        if not numerator or not denominator:
            return None
        density.append(numerator / denominator * unit)
    return density[0], density[1]


def read_tags(data: bytes, directory: Directory, form: Form) -> list[Tag]:
    """The tags of a directory, with those of its EXIF, GPS and interoperability directories."""
    sub_directories = exif.read_sub_directories(data, directory, form)
    tags = []
    for entry in directory.entries:
        if entry.tag in exif.SUB_DIRECTORIES:
            if entry.tag in sub_directories and (children := read_tags(data, sub_directories[entry.tag], form)):
                tags.append(Tag(entry.tag, 4, 1, b"", tuple(children)))
        elif tag := _to_little_endian(entry, form):
            tags.append(tag)
    return tags


def keep_tags(data: bytes, page: Page, personal: bool = True) -> tuple[list[Tag], set[str]]:
    """The tags of a TIFF file that a protected copy keeps, and the names of the lost parts."""
    lost: set[str] = set()
    kept = []
    for tag in _drop_pictures(read_tags(data, page.directory, page.form), lost):
        if tag.tag in _LAYOUT_TAGS:
            continue
        if tag.tag == _LAYERS:
            lost.add("layers")
        elif tag.tag in _RAW_TAGS:
            lost.add("further-data")
        elif tag.tag == XMP:
            packet, removed = xmp.clean_xmp(tag.value)
            lost |= removed
            if packet:
                kept.append(_make_tag(XMP, packet if personal else xmp.strip_personal(packet), tag.kind))
        elif tag.tag == PHOTOSHOP:
            block, removed = photoshop.clean_resources(tag.value, personal)
            lost |= removed
            kept += [_make_tag(PHOTOSHOP, block, tag.kind)] if block else []
        elif tag.tag == IPTC:
            cleaned = photoshop.clean_iptc(tag.value, personal)
            if cleaned:
                kept.append(tag if tag.value.rstrip(b"\0") == cleaned else _make_tag(IPTC, cleaned, _UNDEFINED))
        else:
            kept.append(tag)
    return kept if personal else strip_personal(kept), lost


def change_xmp(tags: list[Tag], change: Callable[[bytes | None], bytes | None]) -> list[Tag]:
    """Change the XMP packet, or add one where there is none; ``change`` returns the new packet."""
    current = next((tag for tag in tags if tag.tag == XMP), None)
    packet = change(current.value if current else None)
    others = [tag for tag in tags if tag.tag != XMP]
    return [*others, _make_tag(XMP, packet, current.kind if current else _BYTE)] if packet else others


def make_tags(
    exif_block: bytes | None,
    packet: bytes | None,
    icc: bytes | None,
    iptc: bytes | None,
    density: tuple[float, float] | None,
) -> list[Tag]:
    """Make tags for metadata from another format."""
    tags: dict[int, Tag] = {}
    if density:
        for tag, value in zip(RESOLUTION, density, strict=False):
            tags[tag] = Tag(tag, 5, 1, struct.pack("<LL", round(value * 1000), 1000))
        tags[RESOLUTION[2]] = Tag(RESOLUTION[2], 3, 1, struct.pack("<H", 2))
    if exif_block:
        data = exif_block.removeprefix(exif.HEADER)
        form, offset = read_form(data)
        for other in read_tags(data, read_directory(data, offset, form), form):
            if other.tag not in _LAYOUT_TAGS and other.tag not in _OF_OTHER_FORMATS:
                tags[other.tag] = other
    tags |= {XMP: _make_tag(XMP, packet, _BYTE)} if packet else {}
    tags |= {ICC: _make_tag(ICC, icc, _UNDEFINED)} if icc else {}
    tags |= {IPTC: _make_tag(IPTC, iptc, _UNDEFINED)} if iptc else {}
    return list(tags.values())


def make_exif(tags: Iterable[Tag]) -> bytes | None:
    """Make the EXIF block for other formats from a TIFF's tags."""
    descriptive = [tag for tag in tags if tag.tag in DESCRIPTIVE]
    return exif.HEADER + b"II*\0" + struct.pack("<L", 8) + _write_directory(descriptive, 8) if descriptive else None


def strip_personal(tags: list[Tag]) -> list[Tag]:
    """Remove the tags that ``exif.strip_personal`` removes."""
    return [
        replace(tag, children=tuple(strip_personal(list(tag.children)))) for tag in tags if tag.tag not in exif.PERSONAL
    ]


def add_tags(tiff: bytes, tags: list[Tag]) -> bytes:
    """Add tags to a little-endian one-page TIFF file, in place of the resolution and orientation that libvips adds."""
    (first,) = struct.unpack_from("<L", tiff, 4)
    form = Form("<")
    directory = read_directory(tiff, first, form)
    dropped = {*RESOLUTION, exif.ORIENTATION, *(tag.tag for tag in tags)}
    kept = {
        entry.tag: tiff[entry.offset : entry.offset + 12] for entry in directory.entries if entry.tag not in dropped
    }
    tiff += b"\0" * (len(tiff) % 2)
    added, values = _lay_out(tags, len(tiff) + 2 + 12 * (len(kept) + len(tags)) + 4)
    entries = dict(sorted({**kept, **added}.items()))
    head = struct.pack("<H", len(entries)) + b"".join(entries.values()) + bytes(4)
    return tiff[:4] + struct.pack("<L", len(tiff)) + tiff[8:] + head + values


def _write_directory(tags: Iterable[Tag], offset: int) -> bytes:
    tags = list(tags)
    entries, values = _lay_out(tags, offset + 2 + 12 * len(tags) + 4)
    ordered = dict(sorted(entries.items()))
    return struct.pack("<H", len(ordered)) + b"".join(ordered.values()) + bytes(4) + values


def _lay_out(tags: Iterable[Tag], offset: int) -> tuple[dict[int, bytes], bytes]:
    """Entries by tag, and the values that go to ``offset``."""
    entries, values = {}, b""
    for tag in tags:
        value_offset = offset + len(values)
        value = tag.value
        if tag.children:
            values += _write_directory(tag.children, value_offset)
            value = struct.pack("<L", value_offset)
        elif len(value) > 4:
            values += value + b"\0" * (len(value) % 2)
            value = struct.pack("<L", value_offset)
        values += b"\0" * (len(values) % 2)
        entries[tag.tag] = struct.pack("<HHL", tag.tag, tag.kind, tag.count) + value.ljust(4, b"\0")
    return entries, values


def _drop_pictures(tags: Iterable[Tag], lost: set[str]) -> list[Tag]:
    kept = []
    for tag in tags:
        unsearchable = tag.tag == exif.MAKER_NOTE and tag.kind not in (_BYTE, _UNDEFINED)
        is_cleaned_elsewhere = tag.tag in (XMP, PHOTOSHOP, IPTC, ICC, _LAYERS) or tag.tag in _LAYOUT_TAGS
        if unsearchable or (not is_cleaned_elsewhere and exif.holds_picture(tag.value)):
            lost.add("maker-notes" if tag.tag == exif.MAKER_NOTE else "pictures")
        elif tag.children:
            kept.append(replace(tag, children=tuple(_drop_pictures(tag.children, lost))))
        else:
            kept.append(tag)
    return kept


def _to_little_endian(entry: Entry, form: Form) -> Tag | None:
    kind, value = entry.kind, entry.value
    if entry.tag == IPTC and form.order == ">":
        # Bytes, which some programs declare as numbers, and some of these also swap.
        return Tag(IPTC, _UNDEFINED, len(value), value if value[:1] == b"\x1c" else _swap(value, 4))
    if form.order == ">":
        value = _swap(value, {5: 4, 10: 4}.get(kind, SIZES[kind]))
    if kind in _LONG8:
        numbers = np.frombuffer(value, "<i8")
        if numbers.size and (numbers.min() < 0 or numbers.max() >= 1 << 32):
            return None
        kind, value = _LONG8[kind], numbers.astype("<u4").tobytes()
    return Tag(entry.tag, kind, entry.count, value)


def _swap(value: bytes, size: int) -> bytes:
    return value if size == 1 or len(value) % size else np.frombuffer(value, f">u{size}").astype(f"<u{size}").tobytes()


def _make_tag(tag: int, value: bytes, kind: int) -> Tag:
    kind = kind if SIZES.get(kind) == 1 else _UNDEFINED
    return Tag(tag, kind, len(value), value)
