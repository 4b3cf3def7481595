"""EXIF blocks and TIFF directories, edited as bytes: what is not touched keeps its bytes, its type and its place.

An EXIF block is a small TIFF file. Its values lie at offsets from its start, and maker notes refer to such offsets in
ways that only their makers know; so blocks are edited in place and never written anew. Only TIFF files, whose
directories have to be written anew, are rebuilt (``tiff_file``).

Second copies of the picture are removed (thumbnails, previews in maker notes): they would show the unprotected face.
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
# Personal data besides places: owner, serial numbers, names, comments and everything that makers note.
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
    *(33550, 33922, 34264, 34735, 34736, 34737),  # places on the earth, as GeoTIFF has them
}
# XMP, IPTC and Photoshop's settings inside of an EXIF block, where they don't belong. In a TIFF they are cleaned.
_FOREIGN = {700, 33723, 34377}


class Damaged(Exception):
    """A directory leads outside of its data or into itself."""


@dataclass(frozen=True)
class Form:
    """How the numbers of a TIFF structure are written: byte order "<" or ">", and whether it is a BigTIFF."""

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
    """One tag: where its entry and its value lie, and the value's bytes in the byte order of its file."""

    tag: int
    kind: int
    count: int
    at: int
    value_at: int
    value: bytes

    def numbers(self, form: Form) -> tuple[int, ...]:
        """The values of whole numbers; empty for other types."""
        code = {1: "B", SHORT: "H", LONG: "L", 13: "L", 16: "Q", 18: "Q"}.get(self.kind)
        return struct.unpack(f"{form.order}{self.count}{code}", self.value) if code else ()


@dataclass(frozen=True)
class Directory:
    """A directory at its place, and where the next one is (0: nowhere)."""

    at: int
    entries: tuple[Entry, ...]
    next: int

    def find(self, tag: int) -> Entry | None:
        return next((entry for entry in self.entries if entry.tag == tag), None)


def read_form(data: Data) -> tuple[Form, int]:
    """Form of a TIFF structure, and the offset of its first directory.

    Raises:
        Damaged: it does not begin like one.
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


def read_directory(data: Data, at: int, form: Form) -> Directory:
    """The directory at an offset, without entries whose type is unknown or whose value lies outside of the data.

    Raises:
        Damaged: the directory itself lies outside of the data.
    """
    head = 8 if form.big else 2
    if at < 8 or at + head > len(data):
        raise Damaged
    (count,) = struct.unpack_from(form.order + ("Q" if form.big else "H"), data, at)
    end = at + head + count * form.entry_size
    if end > len(data):
        raise Damaged
    entries = []
    for entry_at in range(at + head, end, form.entry_size):
        tag, kind = struct.unpack_from(form.order + "HH", data, entry_at)
        (values,) = struct.unpack_from(form.word, data, entry_at + 4)
        size = SIZES.get(kind, 0) * values
        value_at = entry_at + (12 if form.big else 8)
        if size > (8 if form.big else 4):
            (value_at,) = struct.unpack_from(form.word, data, value_at)
        if kind in SIZES and value_at + size <= len(data):
            entries.append(Entry(tag, kind, values, entry_at, value_at, bytes(data[value_at : value_at + size])))
    # Some writers leave out the offset of the next directory at the end of the data.
    width = 8 if form.big else 4
    following = struct.unpack_from(form.word, data, end)[0] if end + width <= len(data) else 0
    return Directory(at, tuple(entries), following)


def sub_directories(data: Data, directory: Directory, form: Form) -> dict[int, Directory]:
    """The EXIF, GPS and interoperability directories below a directory, by the tag that leads to them."""
    found = {}
    for entry in directory.entries:
        if entry.tag in SUB_DIRECTORIES and (numbers := entry.numbers(form)):
            try:
                found[entry.tag] = read_directory(data, numbers[0], form)
            except Damaged:
                continue
    return found


def all_directories(data: Data) -> dict[int, Directory]:
    """The main directory of a block (as 0), EXIF, GPS and interoperability directories by the tags that lead to them.

    Raises:
        Damaged: there is no main directory.
    """
    form, first = read_form(data)
    main = read_directory(data, first, form)
    below = sub_directories(data, main, form)
    if int(IFD.Exif) in below:
        below |= sub_directories(data, below[int(IFD.Exif)], form)
    return {0: main, **below}


def find(block: bytes | None, directory: int, tag: int) -> Entry | None:
    """One tag of an EXIF block: in the main directory (0), or in the one that a tag leads to."""
    if not block:
        return None
    try:
        found = all_directories(block.removeprefix(HEADER)).get(directory)
    except Damaged:
        return None
    return found.find(tag) if found else None


def read_orientation(block: bytes | None) -> int | None:
    """Orientation 1 to 8 of an EXIF block; None where it has none."""
    entry = find(block, 0, ORIENTATION)
    if block is None or entry is None:
        return None
    form, _ = read_form(block.removeprefix(HEADER))
    numbers = entry.numbers(form)
    return numbers[0] if numbers and 1 <= numbers[0] <= 8 else None


def make_block(orientation: int) -> bytes:
    """A block that says an orientation and nothing else."""
    return HEADER + b"II*\0" + struct.pack("<LHHHLHHL", 8, 1, ORIENTATION, SHORT, 1, orientation, 0, 0)


def holds_picture(value: bytes) -> bool:
    """Whether there is a JPEG inside of a value."""
    return _JPEG_START.search(value) is not None


def clean_exif(block: bytes) -> bytes | None:
    """The block without second copies of the picture; None where it is damaged or they can't be separated from it.

    Thumbnail directories, tags that hold a picture, and maker notes with a preview are removed; all other tags keep
    their bytes and places.
    """
    data = bytearray(block.removeprefix(HEADER))
    try:
        form, _ = read_form(data)
        before = set(_values(data))
        _cut_further_directories(data, form)
        for pointer in (0, *SUB_DIRECTORIES):
            for entry in _entries_with_pictures(data, pointer):
                _remove(data, pointer, entry, form)
        for start, end in _gaps(0, len(data), _used(data)):
            if holds_picture(bytes(data[start:end])):
                data[start:end] = bytes(end - start)
        if not before.issuperset(_values(data)) or holds_picture(bytes(data)):
            return None
        end = max(end for _, end in _used(data))
    except (Damaged, struct.error):
        return None
    if not any(data[end:]):
        del data[end:]
    return HEADER + bytes(data)


def lost_with_pictures(block: bytes, cleaned: bytes | None) -> set[str]:
    """Names of the parts of a block that ``clean_exif`` removed and that somebody may miss: not thumbnails."""
    if cleaned is None:
        return {"exif"}
    before, after = (find(data, int(IFD.Exif), MAKER_NOTE) for data in (block, cleaned))
    return {"maker-notes"} if before is not None and after is None else set()


def strip_personal(block: bytes) -> bytes | None:
    """The block without places, names, serial numbers, comments and maker notes; None where it is damaged."""
    data = bytearray(block.removeprefix(HEADER))
    try:
        form, _ = read_form(data)
        for pointer in (0, *SUB_DIRECTORIES):
            for tag in PERSONAL | _FOREIGN:
                directory = all_directories(data).get(pointer)
                if directory and (entry := directory.find(tag)):
                    _erase_below(data, entry, form)
                    _remove(data, pointer, entry, form)
    except (Damaged, struct.error):
        return None
    return HEADER + bytes(data)


def without_orientation(block: bytes) -> bytes:
    """The block without its orientation, for encoders that would write it anew to move that into a box of theirs."""
    data = bytearray(block.removeprefix(HEADER))
    form, _ = read_form(data)
    if entry := all_directories(data)[0].find(ORIENTATION):
        _remove(data, 0, entry, form)
    return HEADER + bytes(data)


def turn_exif(block: bytes, orientation: int, width: int, height: int) -> bytes:
    """The block for pixels that were turned upright: orientation 1; sizes, resolutions and subject turned with them.

    Args:
        block: a block that ``clean_exif`` returned.
        orientation: 1 to 8, as it was applied to the pixels.
        width, height: of the picture before.
    """
    data = bytearray(block.removeprefix(HEADER))
    form, _ = read_form(data)
    directories = all_directories(data)
    main, details = directories[0], directories.get(int(IFD.Exif))
    if entry := main.find(ORIENTATION):
        _put_numbers(data, entry, form, (1,))
    if orientation >= 5:
        _swap(data, main, int(Base.XResolution), int(Base.YResolution))
        if details:
            _swap(data, details, int(Base.ExifImageWidth), int(Base.ExifImageHeight))
            _swap(data, details, int(Base.FocalPlaneXResolution), int(Base.FocalPlaneYResolution))
    for tag in (0x9214, 0xA214):  # SubjectArea, SubjectLocation
        entry = details.find(tag) if details else None
        numbers = entry.numbers(form) if entry else ()
        if entry and len(numbers) >= 2:
            x, y = turn_point(numbers[0], numbers[1], orientation, width, height)
            extent = numbers[2:]
            turned = extent[::-1] if orientation >= 5 else extent
            _put_numbers(data, entry, form, (max(0, round(x)), max(0, round(y)), *turned))
    return HEADER + bytes(data)


def turn_point(x: float, y: float, orientation: int, width: float, height: float) -> tuple[float, float]:
    """Where a point of a stored picture of this size lies once the orientation is applied."""
    if orientation in (2, 3, 7, 8):
        x = width - x
    if orientation in (3, 4, 6, 7):
        y = height - y
    return (y, x) if orientation >= 5 else (x, y)


def _cut_further_directories(data: bytearray, form: Form) -> None:
    """Remove what follows the main directory: thumbnails, with their bytes."""
    main = all_directories(data)[0]
    at, seen = main.next, {main.at}
    while at and at not in seen:
        seen.add(at)
        try:
            directory = read_directory(data, at, form)
        except Damaged:
            break
        for start, length in _pictures(directory, form):
            data[start : start + length] = bytes(max(0, min(length, len(data) - start)))
        _blank(data, at, 2 + len(directory.entries) * form.entry_size + 4)
        at = directory.next
    _put_next(data, main, form, 0)


def _pictures(directory: Directory, form: Form) -> Iterator[tuple[int, int]]:
    for start, length in _PICTURES:
        starts, lengths = directory.find(start), directory.find(length)
        if starts and lengths:
            yield from zip(starts.numbers(form), lengths.numbers(form), strict=False)


def _entries_with_pictures(data: bytearray, pointer: int) -> list[Entry]:
    directory = all_directories(data).get(pointer)
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
    """Take one tag out of a directory, and its value out of the block unless another tag shares it."""
    directory = all_directories(data)[pointer]
    found = directory.find(entry.tag)
    if found is None:
        return
    head = 8 if form.big else 2
    (count,) = struct.unpack_from(form.order + ("Q" if form.big else "H"), data, directory.at)
    end = directory.at + head + count * form.entry_size
    tail = min(len(data), end + (8 if form.big else 4))
    data[found.at : tail] = data[found.at + form.entry_size : tail] + bytes(form.entry_size)
    struct.pack_into(form.order + ("Q" if form.big else "H"), data, directory.at, count - 1)
    for start, stop in _gaps(found.value_at, found.value_at + len(found.value), _used(data)):
        data[start:stop] = bytes(stop - start)


def _erase_below(data: bytearray, entry: Entry, form: Form) -> None:
    """Blank the values and entries of a directory that is going to be removed."""
    if entry.tag not in SUB_DIRECTORIES or not (numbers := entry.numbers(form)):
        return
    directory = read_directory(data, numbers[0], form)
    for below in directory.entries:
        data[below.value_at : below.value_at + len(below.value)] = bytes(len(below.value))
        data[below.at : below.at + form.entry_size] = bytes(form.entry_size)


def _values(data: bytearray) -> list[tuple[int, int, int, bytes]]:
    return [
        (pointer, entry.tag, entry.kind, entry.value)
        for pointer, directory in all_directories(data).items()
        for entry in directory.entries
    ]


def _used(data: bytearray) -> list[tuple[int, int]]:
    """Ranges of the header, of directories and of the values of their tags, in order."""
    form, _ = read_form(data)
    ranges = [(0, 16 if form.big else 8)]
    for directory in all_directories(data).values():
        head, tail = (8, 8) if form.big else (2, 4)
        (count,) = struct.unpack_from(form.order + ("Q" if form.big else "H"), data, directory.at)
        ranges.append((directory.at, min(len(data), directory.at + head + count * form.entry_size + tail)))
        ranges += [(entry.value_at, entry.value_at + len(entry.value)) for entry in directory.entries]
    return sorted(ranges)


def _gaps(start: int, end: int, ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for begin, stop in ranges:
        if begin >= end:
            break
        if begin > start:
            yield start, begin
        start = max(start, stop)
    if start < end:
        yield start, end


def _blank(data: bytearray, at: int, size: int) -> None:
    """Zero a range as far as nothing that is kept lies in it."""
    form, _ = read_form(data)
    main = all_directories(data)[0]
    _put_next(data, main, form, 0)
    for start, end in _gaps(at, min(len(data), at + size), _used(data)):
        data[start:end] = bytes(end - start)


def _put_next(data: bytearray, directory: Directory, form: Form, value: int) -> None:
    head = 8 if form.big else 2
    (count,) = struct.unpack_from(form.order + ("Q" if form.big else "H"), data, directory.at)
    at = directory.at + head + count * form.entry_size
    if at + (8 if form.big else 4) <= len(data):
        struct.pack_into(form.word, data, at, value)


def _put_numbers(data: bytearray, entry: Entry, form: Form, values: tuple[int, ...]) -> None:
    code = {1: "B", SHORT: "H", LONG: "L"}.get(entry.kind)
    if code and len(values) == entry.count:
        struct.pack_into(f"{form.order}{entry.count}{code}", data, entry.value_at, *values)


def _swap(data: bytearray, directory: Directory, one: int, other: int) -> None:
    """Exchange two tags: their types too, as a width may be short where the height is long."""
    first, second = directory.find(one), directory.find(other)
    if first is None or second is None:
        return
    # Both entries keep their tag and exchange all that follows it: type, count, and value or its offset.
    one_body, other_body = (slice(entry.at + 2, entry.at + 12) for entry in (first, second))
    data[one_body], data[other_body] = data[other_body], data[one_body]
