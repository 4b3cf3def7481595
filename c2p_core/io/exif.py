"""EXIF blocks and TIFF directories, edited as bytes, so that all other tags keep their bytes, types and offsets.

An EXIF block is a small TIFF file. Its values lie at offsets from its start, and maker notes refer to such offsets in
ways that only their makers know; so blocks are edited in place and never rebuilt. Only the directories of TIFF files
have to be rebuilt (``tiff_file``).

Embedded copies of the picture (thumbnails, previews in maker notes) are removed: they would show the unprotected face.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL.ExifTags import IFD, Base

HEADER = b"Exif\x00\x00"
ORIENTATION = int(Base.Orientation)
MAKER_NOTE = int(Base.MakerNote)
SUB_DIRECTORIES = (int(IFD.Exif), int(IFD.GPSInfo), int(IFD.Interop))
Data = bytes | bytearray
SHORT, LONG = 3, 4
_UNDEFINED = 7
# Bytes of one value, by type; 16 to 18 are those of BigTIFF.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
# Where a directory keeps pictures: start and length.
_PICTURES = ((0x201, 0x202), (int(Base.StripOffsets), int(Base.StripByteCounts)))
_PREVIEW_DIRECTORIES = int(Base.SubIFDs)
# The start of a JPEG. Minolta and Sony write previews with a wrong first byte; for these the start of the segment must
# match too, or small negative numbers in harmless maker notes would look like a JPEG.
_JPEG_START = re.compile(rb"\xff\xd8\xff|\xd8\xff(?:\xdb[\x00\x01]|\xe0\x00|\xe1..Exif)", re.DOTALL)
# Personal data: places, owner, serial numbers, names, comments and maker notes.
PERSONAL = {
    *(int(tag) for tag in (Base.Artist, Base.HostComputer, Base.XPAuthor, Base.XPComment, Base.XPKeywords)),
    *(int(tag) for tag in (Base.CameraOwnerName, Base.BodySerialNumber, Base.LensSerialNumber, Base.UserComment)),
    *(int(tag) for tag in (Base.ImageUniqueID, Base.MakerNote, IFD.GPSInfo)),
    0xA436,  # ImageTitle
    0xA437,  # Photographer
    0xA438,  # ImageEditor
    0xC62F,  # CameraSerialNumber
    0xC634,  # DNGPrivateData
    0xFDE8,  # OwnerName, as Adobe's raw converters write it
    0xFDE9,  # SerialNumber
    *(33550, 33922, 34264, 34735, 34736, 34737),  # GeoTIFF's coordinates
}
# XMP, IPTC and Photoshop's settings in an EXIF block, where they don't belong. In a TIFF they are cleaned.
_FOREIGN = {700, 33723, 34377}


class Damaged(Exception):
    """A directory points outside its data or to itself."""


@dataclass(frozen=True)
class Form:
    """The number format of a TIFF structure: byte order "<" or ">", and whether it is a BigTIFF."""

    order: str
    big: bool = False

    @property
    def entry_size(self) -> int:
        return 20 if self.big else 12

    @property
    def word(self) -> str:
        """Format of an offset or count."""
        return self.order + ("Q" if self.big else "L")


@dataclass(frozen=True)
class Entry:
    """One tag: the offsets of its entry and its value, and the value's bytes in the byte order of its file."""

    tag: int
    kind: int
    count: int
    offset: int
    value_offset: int
    value: bytes

    def numbers(self, form: Form) -> tuple[int, ...]:
        """The values of whole numbers; empty for other types."""
        code = {1: "B", SHORT: "H", LONG: "L", 13: "L", 16: "Q", 18: "Q"}.get(self.kind)
        return struct.unpack(f"{form.order}{self.count}{code}", self.value) if code else ()


@dataclass(frozen=True)
class Directory:
    """A directory with its offset, and that of the next one (0: none)."""

    offset: int
    entries: tuple[Entry, ...]
    next: int

    def find(self, tag: int) -> Entry | None:
        return next((entry for entry in self.entries if entry.tag == tag), None)


def read_form(data: Data) -> tuple[Form, int]:
    """The form of a TIFF structure, and the offset of its first directory.

    Raises:
        Damaged: the header is not a TIFF's.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        raise Damaged
    (version,) = struct.unpack_from(order + "H", data, 2)
    if version == 43 and len(data) >= 16:
        return Form(order, big=True), struct.unpack_from(order + "Q", data, 8)[0]
    if version != 42:
        raise Damaged
    return Form(order), struct.unpack_from(order + "L", data, 4)[0]


def read_directory(data: Data, offset: int, form: Form) -> Directory:
    """The directory at an offset, without entries whose type is unknown or whose value lies outside the data.

    Raises:
        Damaged: the directory itself lies outside the data.
    """
    head = 8 if form.big else 2
    if offset < 8 or offset + head > len(data):
        raise Damaged
    (count,) = struct.unpack_from(form.order + ("Q" if form.big else "H"), data, offset)
    end = offset + head + count * form.entry_size
    if end > len(data):
        raise Damaged
    entries = []
    for entry_offset in range(offset + head, end, form.entry_size):
        tag, kind = struct.unpack_from(form.order + "HH", data, entry_offset)
        (values,) = struct.unpack_from(form.word, data, entry_offset + 4)
        size = SIZES.get(kind, 0) * values
        value_offset = entry_offset + (12 if form.big else 8)
        if size > (8 if form.big else 4):
            (value_offset,) = struct.unpack_from(form.word, data, value_offset)
        if kind in SIZES and value_offset + size <= len(data):
            entries.append(
                Entry(tag, kind, values, entry_offset, value_offset, bytes(data[value_offset : value_offset + size]))
            )
    # Some writers omit the offset of the next directory at the end of the data.
    width = 8 if form.big else 4
    following = struct.unpack_from(form.word, data, end)[0] if end + width <= len(data) else 0
    return Directory(offset, tuple(entries), following)


def read_sub_directories(data: Data, directory: Directory, form: Form) -> dict[int, Directory]:
    """The EXIF, GPS and interoperability directories below a directory, by the tag that leads to them."""
    directories = {}
    for entry in directory.entries:
        if entry.tag in SUB_DIRECTORIES and (numbers := entry.numbers(form)):
            try:
                directories[entry.tag] = read_directory(data, numbers[0], form)
            except Damaged:
                continue
    return directories


def read_all_directories(data: Data) -> dict[int, Directory]:
    """The main directory of a block (as 0), EXIF, GPS and interoperability directories by the tags that lead to them.

    Raises:
        Damaged: there is no main directory.
    """
    form, first = read_form(data)
    main = read_directory(data, first, form)
    sub_directories = read_sub_directories(data, main, form)
    if int(IFD.Exif) in sub_directories:
        sub_directories |= read_sub_directories(data, sub_directories[int(IFD.Exif)], form)
    return {0: main, **sub_directories}


def find(block: bytes | None, directory: int, tag: int) -> Entry | None:
    """Find a tag of an EXIF block: in the main directory (0), or in the one that the tag ``directory`` points to."""
    if not block:
        return None
    try:
        searched = read_all_directories(block.removeprefix(HEADER)).get(directory)
    except Damaged:
        return None
    return searched.find(tag) if searched else None


def read_orientation(block: bytes | None) -> int | None:
    """Orientation 1 to 8 of an EXIF block; None where it has none."""
    entry = find(block, 0, ORIENTATION)
    if block is None or entry is None:
        return None
    form, _ = read_form(block.removeprefix(HEADER))
    numbers = entry.numbers(form)
    return numbers[0] if numbers and 1 <= numbers[0] <= 8 else None


def make_block(orientation: int) -> bytes:
    """A block with an orientation and nothing else."""
    return HEADER + b"II*\0" + struct.pack("<LHHHLHHL", 8, 1, ORIENTATION, SHORT, 1, orientation, 0, 0)


def holds_picture(value: bytes) -> bool:
    """Whether a value contains a JPEG."""
    return _JPEG_START.search(value) is not None


def clean_exif(block: bytes) -> bytes | None:
    """Remove embedded copies of the picture from a block; None where it is damaged or they can't be removed.

    Thumbnail directories, tags that contain a picture, and maker notes with a preview are removed; all other tags keep
    their bytes and offsets.
    """
    data = bytearray(block.removeprefix(HEADER))
    try:
        form, _ = read_form(data)
        before = set(_list_values(data))
        _cut_further_directories(data, form)
        for pointer in (0, *SUB_DIRECTORIES):
            for entry in _find_entries_with_pictures(data, pointer):
                _remove(data, pointer, entry, form)
        for start, end in _find_gaps(0, len(data), _list_used_ranges(data)):
            if holds_picture(bytes(data[start:end])):
                data[start:end] = bytes(end - start)
        if not before.issuperset(_list_values(data)) or holds_picture(bytes(data)):
            return None
        end = max(end for _, end in _list_used_ranges(data))
    except (Damaged, struct.error):
        return None
    if not any(data[end:]):
        del data[end:]
    return HEADER + bytes(data)


def list_lost_parts(block: bytes, cleaned: bytes | None) -> set[str]:
    """Names of the parts that ``clean_exif`` removed from a block, except those that nobody misses (thumbnails)."""
    if cleaned is None:
        return {"exif"}
    before, after = (find(data, int(IFD.Exif), MAKER_NOTE) for data in (block, cleaned))
    return {"maker-notes"} if before is not None and after is None else set()


def strip_personal(block: bytes) -> bytes | None:
    """Remove places, names, serial numbers, comments and maker notes from a block; None where it is damaged."""
    data = bytearray(block.removeprefix(HEADER))
    try:
        form, _ = read_form(data)
        for pointer in (0, *SUB_DIRECTORIES):
            for tag in PERSONAL | _FOREIGN:
                directory = read_all_directories(data).get(pointer)
                if directory and (entry := directory.find(tag)):
                    _erase_below(data, entry, form)
                    _remove(data, pointer, entry, form)
    except (Damaged, struct.error):
        return None
    return HEADER + bytes(data)


def strip_orientation(block: bytes) -> bytes:
    """Remove the orientation from a block, for encoders that would otherwise rewrite the block to move it elsewhere."""
    data = bytearray(block.removeprefix(HEADER))
    form, _ = read_form(data)
    if entry := read_all_directories(data)[0].find(ORIENTATION):
        _remove(data, 0, entry, form)
    return HEADER + bytes(data)


def turn_exif(block: bytes, orientation: int, width: int, height: int) -> bytes:
    """Adapt a block to pixels that were turned upright: orientation 1; sizes, resolutions and subject turned too.

    Args:
        block: a block that ``clean_exif`` returned.
        orientation: 1 to 8, as it was applied to the pixels.
        width, height: of the picture before it was turned.
    """
    data = bytearray(block.removeprefix(HEADER))
    form, _ = read_form(data)
    directories = read_all_directories(data)
    main, exif_directory = directories[0], directories.get(int(IFD.Exif))
    if entry := main.find(ORIENTATION):
        _put_numbers(data, entry, form, (1,))
    if orientation >= 5:
        _swap(data, main, int(Base.XResolution), int(Base.YResolution))
        if exif_directory:
            _swap(data, exif_directory, int(Base.ExifImageWidth), int(Base.ExifImageHeight))
            _swap(data, exif_directory, int(Base.FocalPlaneXResolution), int(Base.FocalPlaneYResolution))
    for tag in (0x9214, 0xA214):  # SubjectArea, SubjectLocation
        entry = exif_directory.find(tag) if exif_directory else None
        numbers = entry.numbers(form) if entry else ()
        if entry and len(numbers) >= 2:
            x, y = turn_point(numbers[0], numbers[1], orientation, width, height)
            extent = numbers[2:]
            turned = extent[::-1] if orientation >= 5 else extent
            _put_numbers(data, entry, form, (max(0, round(x)), max(0, round(y)), *turned))
    return HEADER + bytes(data)


def turn_point(x: float, y: float, orientation: int, width: float, height: float) -> tuple[float, float]:
    """Map a point of a stored picture of this size to the upright picture."""
    if orientation in (2, 3, 7, 8):
        x = width - x
    if orientation in (3, 4, 6, 7):
        y = height - y
    return (y, x) if orientation >= 5 else (x, y)


def _cut_further_directories(data: bytearray, form: Form) -> None:
    """Remove the directories after the main one, which are thumbnails, with their bytes."""
    main = read_all_directories(data)[0]
    offset, seen = main.next, {main.offset}
    while offset and offset not in seen:
        seen.add(offset)
        try:
            directory = read_directory(data, offset, form)
        except Damaged:
            break
        for start, length in _list_picture_ranges(directory, form):
            data[start : start + length] = bytes(max(0, min(length, len(data) - start)))
        _blank_unused(data, offset, 2 + len(directory.entries) * form.entry_size + 4)
        offset = directory.next
    _put_next(data, main, form, 0)


def _list_picture_ranges(directory: Directory, form: Form) -> Iterator[tuple[int, int]]:
    for start, length in _PICTURES:
        starts, lengths = directory.find(start), directory.find(length)
        if starts and lengths:
            yield from zip(starts.numbers(form), lengths.numbers(form), strict=False)


def _find_entries_with_pictures(data: bytearray, pointer: int) -> list[Entry]:
    directory = read_all_directories(data).get(pointer)
    entries = directory.entries if directory else ()
    return [
        entry
        for entry in entries
        if holds_picture(entry.value)
        or entry.tag == _PREVIEW_DIRECTORIES
        # Types other than bytes violate the standard and can't be searched for pictures.
        or (entry.tag == MAKER_NOTE and entry.kind not in (1, _UNDEFINED))
    ]


def _remove(data: bytearray, pointer: int, entry: Entry, form: Form) -> None:
    """Remove a tag from a directory, and blank its value unless another tag shares it."""
    directory = read_all_directories(data)[pointer]
    match = directory.find(entry.tag)
    if match is None:
        return
    head = 8 if form.big else 2
    (count,) = struct.unpack_from(form.order + ("Q" if form.big else "H"), data, directory.offset)
    end = directory.offset + head + count * form.entry_size
    tail = min(len(data), end + (8 if form.big else 4))
    data[match.offset : tail] = data[match.offset + form.entry_size : tail] + bytes(form.entry_size)
    struct.pack_into(form.order + ("Q" if form.big else "H"), data, directory.offset, count - 1)
    for start, stop in _find_gaps(match.value_offset, match.value_offset + len(match.value), _list_used_ranges(data)):
        data[start:stop] = bytes(stop - start)


def _erase_below(data: bytearray, entry: Entry, form: Form) -> None:
    """Blank the values and entries of the directory that a tag points to."""
    if entry.tag not in SUB_DIRECTORIES or not (numbers := entry.numbers(form)):
        return
    directory = read_directory(data, numbers[0], form)
    for child in directory.entries:
        data[child.value_offset : child.value_offset + len(child.value)] = bytes(len(child.value))
        data[child.offset : child.offset + form.entry_size] = bytes(form.entry_size)


def _list_values(data: bytearray) -> list[tuple[int, int, int, bytes]]:
    return [
        (pointer, entry.tag, entry.kind, entry.value)
        for pointer, directory in read_all_directories(data).items()
        for entry in directory.entries
    ]


def _list_used_ranges(data: bytearray) -> list[tuple[int, int]]:
    """Ranges of the header, of directories and of the values of their tags, sorted."""
    form, _ = read_form(data)
    ranges = [(0, 16 if form.big else 8)]
    for directory in read_all_directories(data).values():
        head, tail = (8, 8) if form.big else (2, 4)
        (count,) = struct.unpack_from(form.order + ("Q" if form.big else "H"), data, directory.offset)
        ranges.append((directory.offset, min(len(data), directory.offset + head + count * form.entry_size + tail)))
        ranges += [(entry.value_offset, entry.value_offset + len(entry.value)) for entry in directory.entries]
    return sorted(ranges)


def _find_gaps(start: int, end: int, ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for begin, stop in ranges:
        if begin >= end:
            break
        if begin > start:
            yield start, begin
        start = max(start, stop)
    if start < end:
        yield start, end


def _blank_unused(data: bytearray, offset: int, size: int) -> None:
    """Blank the bytes of a range that nothing else uses."""
    form, _ = read_form(data)
    main = read_all_directories(data)[0]
    _put_next(data, main, form, 0)
    for start, end in _find_gaps(offset, min(len(data), offset + size), _list_used_ranges(data)):
        data[start:end] = bytes(end - start)


def _put_next(data: bytearray, directory: Directory, form: Form, value: int) -> None:
    head = 8 if form.big else 2
    (count,) = struct.unpack_from(form.order + ("Q" if form.big else "H"), data, directory.offset)
    offset = directory.offset + head + count * form.entry_size
    if offset + (8 if form.big else 4) <= len(data):
        struct.pack_into(form.word, data, offset, value)


def _put_numbers(data: bytearray, entry: Entry, form: Form, values: tuple[int, ...]) -> None:
    code = {1: "B", SHORT: "H", LONG: "L"}.get(entry.kind)
    if code and len(values) == entry.count:
        struct.pack_into(f"{form.order}{entry.count}{code}", data, entry.value_offset, *values)


def _swap(data: bytearray, directory: Directory, first_tag: int, second_tag: int) -> None:
    """Swap two tags with their types, since a width may be SHORT where the height is LONG."""
    first, second = directory.find(first_tag), directory.find(second_tag)
    if first is None or second is None:
        return
    # Both entries keep their tag and swap everything after it: type, count, and value or offset.
    first_body, second_body = (slice(entry.offset + 2, entry.offset + 12) for entry in (first, second))
    data[first_body], data[second_body] = data[second_body], data[first_body]
