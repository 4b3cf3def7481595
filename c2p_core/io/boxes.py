"""Boxes and items of the ISO base media format, in which AVIF and HEIF files are written.

A file holds items (pictures, metadata) and properties, and says which properties belong to which item.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

# Boxes that hold others, with the bytes of version and flags before these.
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}
_DEEPEST = 8  # of boxes in boxes; no file comes near
# A picture that is made of others, as a grid of its tiles, names them by references of this type.
_MADE_OF = b"dimg"


@dataclass
class Items:
    """The items of a file.

    Attributes:
        primary: the item that is to be shown; -1 where the file doesn't say.
        kinds: each item's type, such as ``b"av01"`` or ``b"grid"``.
        properties: type and content of all properties.
        owned: the properties of each item, as places in ``properties``.
        made_of: the items that an item is made of.
        end: where in the file the last part of any item ends.
    """

    primary: int = -1
    kinds: dict[int, bytes] = field(default_factory=dict)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    owned: dict[int, list[int]] = field(default_factory=dict)
    made_of: dict[int, list[int]] = field(default_factory=dict)
    end: int = 0

    def shown(self) -> list[int]:
        """The primary item and those that it is made of."""
        return list(dict.fromkeys([self.primary, *self.made_of.get(self.primary, [])]))

    def shown_properties(self) -> list[tuple[bytes, bytes]]:
        """The properties of the items in ``shown``, those of the primary item first."""
        places = dict.fromkeys(place for item in self.shown() for place in self.owned.get(item, []))
        return [self.properties[place] for place in places if 0 <= place < len(self.properties)]


def read_boxes(data: bytes, at: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes in a range, and of those in the ones that hold properties.

    Ends before a box that does not lie in the range.

    Raises:
        ValueError: boxes hold each other deeper than in any file.
    """
    if depth > _DEEPEST:
        raise ValueError("its boxes are nested too deep")
    for kind, start, stop in _lay_out(data, at, end):
        if kind in _CONTAINERS:
            yield from read_boxes(data, start + _CONTAINERS[kind], stop, depth + 1)
        else:
            yield kind, data[start:stop]


def read_items(data: bytes) -> Items | None:
    """The items of a file; None where it has none to show, was cut short, or its boxes contradict themselves."""
    items = Items()
    whole = {kind: (start, stop) for kind, start, stop in _lay_out(data, 0, len(data))}
    if b"meta" not in whole:
        return None
    start, stop = whole[b"meta"]
    try:
        _read_meta(items, data, start + 4, stop)
    except struct.error:
        return None
    return items if items.primary in items.kinds and items.end <= len(data) else None


def _read_meta(items: Items, data: bytes, at: int, end: int, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise struct.error("boxes are nested too deep")
    for kind, start, stop in _lay_out(data, at, end):
        if kind == b"iprp":
            _read_meta(items, data, start, stop, depth + 1)
        elif kind == b"ipco":
            items.properties += [(own, data[at:end]) for own, at, end in _lay_out(data, start, stop)]
        elif kind in _READERS:
            _READERS[kind](items, _Numbers(data[start:stop]))


def _lay_out(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box in a range, and where its content starts and stops."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">L4s", data, at)
        head = 8
        if size == 1 and at + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        stop = end if size == 0 else at + size
        if stop < at + head or stop > end:
            return
        yield kind, at + head, stop
        at = stop


class _Numbers:
    """Reads the numbers of a box with version and flags one after the other."""

    def __init__(self, body: bytes) -> None:
        self.version, self.flags = body[:1], int.from_bytes(body[1:4], "big")
        self._body, self._at = body, 4

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes.

        Raises:
            struct.error: there are no more.
        """
        if self._at + size > len(self._body):
            raise struct.error("a box ends too early")
        self._at += size
        return self._body[self._at - size : self._at]

    def rest(self) -> bytes:
        """All further bytes."""
        return self._body[self._at :]

    def number(self, size: int) -> int:
        """The next number of ``size`` bytes.

        Raises:
            struct.error: there are no more bytes.
        """
        return int.from_bytes(self.take(size), "big")


def _read_primary(items: Items, box: _Numbers) -> None:
    items.primary = box.number(4 if box.version > b"\0" else 2)


def _read_kinds(items: Items, box: _Numbers) -> None:
    box.number(4 if box.version > b"\0" else 2)
    rest = box.rest()
    for kind, start, stop in _lay_out(rest, 0, len(rest)):
        entry = _Numbers(rest[start:stop])
        # Older versions have no types.
        if kind == b"infe" and entry.version >= b"\2":
            item = entry.number(4 if entry.version > b"\2" else 2)
            entry.number(2)
            items.kinds[item] = entry.take(4)


def _read_owned(items: Items, box: _Numbers) -> None:
    for _ in range(box.number(4)):
        item = box.number(4 if box.version > b"\0" else 2)
        # The first bit says whether a reader has to know the property; places count from 1.
        wide = box.flags & 1
        places = [box.number(2) & 0x7FFF if wide else box.number(1) & 0x7F for _ in range(box.number(1))]
        items.owned.setdefault(item, []).extend(place - 1 for place in places)


def _read_references(items: Items, box: _Numbers) -> None:
    size = 4 if box.version > b"\0" else 2
    rest = box.rest()
    for kind, start, stop in _lay_out(rest, 0, len(rest)):
        # Without version and flags of its own.
        entry = _Numbers(bytes(4) + rest[start:stop])
        item = entry.number(size)
        others = [entry.number(size) for _ in range(entry.number(2))]
        if kind == _MADE_OF:
            items.made_of.setdefault(item, []).extend(others)


def _read_places(items: Items, box: _Numbers) -> None:
    sizes = box.number(2)
    indexed = box.version > b"\0"
    offset, length, base, index = ((sizes >> shift) & 15 for shift in (12, 8, 4, 0))
    index *= indexed
    for _ in range(box.number(4 if box.version > b"\1" else 2)):
        box.number(4 if box.version > b"\1" else 2)
        # Where the parts lie: 0 in the file, 1 in the box idat, 2 in another item.
        where = box.number(2) & 15 if indexed else 0
        box.number(2)
        start = box.number(base)
        parts = box.number(2)
        # A part without numbers is the whole file; more of them would only take time.
        for _ in range(parts if offset + length + index else min(parts, 1)):
            box.number(index)
            end = start + box.number(offset) + box.number(length)
            if where == 0:
                items.end = max(items.end, end)


_READERS = {
    b"pitm": _read_primary,
    b"iinf": _read_kinds,
    b"ipma": _read_owned,
    b"iref": _read_references,
    b"iloc": _read_places,
}
