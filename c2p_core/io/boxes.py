"""Boxes and items of the ISO base media file format, which AVIF and HEIF files use.

A file holds items (pictures, metadata) and properties, and associates properties with items.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from c2p_core.errors import Malformed

# Boxes that hold others, with the number of bytes (version and flags) that precede these.
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}
_MAX_DEPTH = 8  # of nested boxes; no real file comes near
# A picture derived from others, such as a grid of tiles, names them by references of this type.
_DERIVED_FROM = b"dimg"


@dataclass
class Items:
    """The items of a file.

    Attributes:
        primary: the item to show; -1 where the file doesn't say.
        kinds: each item's type, such as ``b"av01"`` or ``b"grid"``.
        properties: type and content of all properties.
        property_indices: the properties of each item, as indices into ``properties``.
        components: the items that an item is derived from.
        end: offset in the file at which the last extent of any item ends.
    """

    primary: int = -1
    kinds: dict[int, bytes] = field(default_factory=dict)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    property_indices: dict[int, list[int]] = field(default_factory=dict)
    components: dict[int, list[int]] = field(default_factory=dict)
    end: int = 0

    def list_shown(self) -> list[int]:
        """The primary item and those that it is derived from."""
        return list(dict.fromkeys([self.primary, *self.components.get(self.primary, [])]))

    def list_shown_properties(self) -> list[tuple[bytes, bytes]]:
        """The properties of the items of ``list_shown``, those of the primary item first."""
        indices = dict.fromkeys(index for item in self.list_shown() for index in self.property_indices.get(item, []))
        return [self.properties[index] for index in indices if 0 <= index < len(self.properties)]


def read_boxes(data: bytes, offset: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes in a range; those in boxes that lead to properties take their container's place.

    Stops at a box that exceeds the range.

    Raises:
        Malformed: boxes are nested deeper than in any real file.
    """
    if depth > _MAX_DEPTH:
        raise Malformed("boxes-too-deep")
    for kind, start, stop in _split_boxes(data, offset, end):
        if kind in _CONTAINERS:
            yield from read_boxes(data, start + _CONTAINERS[kind], stop, depth + 1)
        else:
            yield kind, data[start:stop]


def read_items(data: bytes) -> Items | None:
    """The items of a file; None where it has none to show, is truncated, or its boxes are inconsistent."""
    items = Items()
    boxes = {kind: (start, stop) for kind, start, stop in _split_boxes(data, 0, len(data))}
    if b"meta" not in boxes:
        return None
    start, stop = boxes[b"meta"]
    try:
        _read_meta(items, data, start + 4, stop)
    except struct.error:
        return None
    return items if items.primary in items.kinds and items.end <= len(data) else None


def _read_meta(items: Items, data: bytes, offset: int, end: int, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise struct.error("boxes are nested too deep")
    for kind, start, stop in _split_boxes(data, offset, end):
        if kind == b"iprp":
            _read_meta(items, data, start, stop, depth + 1)
        elif kind == b"ipco":
            items.properties += [(name, data[first:last]) for name, first, last in _split_boxes(data, start, stop)]
        elif kind in _READERS:
            _READERS[kind](items, _BoxReader(data[start:stop]))


def _split_boxes(data: bytes, offset: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box in a range, and where its content starts and stops."""
    while offset + 8 <= end:
        size, kind = struct.unpack_from(">L4s", data, offset)
        head = 8
        if size == 1 and offset + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, offset + 8)
            head = 16
        stop = end if size == 0 else offset + size
        if stop < offset + head or stop > end:
            return
        yield kind, offset + head, stop
        offset = stop


class _BoxReader:
    """Reads the content of a box with version and flags from start to end."""

    def __init__(self, body: bytes) -> None:
        self.version, self.flags = body[:1], int.from_bytes(body[1:4], "big")
        self._body, self._offset = body, 4

    def read_bytes(self, size: int) -> bytes:
        """The next ``size`` bytes.

        Raises:
            struct.error: there are no more.
        """
        if self._offset + size > len(self._body):
            raise struct.error("a box ends too early")
        self._offset += size
        return self._body[self._offset - size : self._offset]

    def read_rest(self) -> bytes:
        """All remaining bytes."""
        return self._body[self._offset :]

    def read_number(self, size: int) -> int:
        """The next number of ``size`` bytes.

        Raises:
            struct.error: there are no more bytes.
        """
        return int.from_bytes(self.read_bytes(size), "big")


def _read_primary(items: Items, box: _BoxReader) -> None:
    items.primary = box.read_number(4 if box.version > b"\0" else 2)


def _read_item_types(items: Items, box: _BoxReader) -> None:
    box.read_number(4 if box.version > b"\0" else 2)
    rest = box.read_rest()
    for kind, start, stop in _split_boxes(rest, 0, len(rest)):
        entry = _BoxReader(rest[start:stop])
        # Older versions have no types.
        if kind == b"infe" and entry.version >= b"\2":
            item = entry.read_number(4 if entry.version > b"\2" else 2)
            entry.read_number(2)
            items.kinds[item] = entry.read_bytes(4)


def _read_associations(items: Items, box: _BoxReader) -> None:
    for _ in range(box.read_number(4)):
        item = box.read_number(4 if box.version > b"\0" else 2)
        # The first bit says whether a reader must support the property; indices count from 1.
        wide_indices = box.flags & 1
        indices = [
            box.read_number(2) & 0x7FFF if wide_indices else box.read_number(1) & 0x7F
            for _ in range(box.read_number(1))
        ]
        items.property_indices.setdefault(item, []).extend(index - 1 for index in indices)


def _read_references(items: Items, box: _BoxReader) -> None:
    size = 4 if box.version > b"\0" else 2
    rest = box.read_rest()
    for kind, start, stop in _split_boxes(rest, 0, len(rest)):
        # These boxes have no version and flags.
        entry = _BoxReader(bytes(4) + rest[start:stop])
        item = entry.read_number(size)
        others = [entry.read_number(size) for _ in range(entry.read_number(2))]
        if kind == _DERIVED_FROM:
            items.components.setdefault(item, []).extend(others)


def _read_locations(items: Items, box: _BoxReader) -> None:
    sizes = box.read_number(2)
    indexed = box.version > b"\0"
    offset, length, base, index = ((sizes >> shift) & 15 for shift in (12, 8, 4, 0))
    index *= indexed
    for _ in range(box.read_number(4 if box.version > b"\1" else 2)):
        box.read_number(4 if box.version > b"\1" else 2)
        # 0: offsets are in the file; 1: in the box idat; 2: in another item.
        construction_method = box.read_number(2) & 15 if indexed else 0
        box.read_number(2)
        start = box.read_number(base)
        extent_count = box.read_number(2)
        # An extent without offset and length is the whole file; more of them would only cost time.
        for _ in range(extent_count if offset + length + index else min(extent_count, 1)):
            box.read_number(index)
            end = start + box.read_number(offset) + box.read_number(length)
            if construction_method == 0:
                items.end = max(items.end, end)


_READERS = {
    b"pitm": _read_primary,
    b"iinf": _read_item_types,
    b"ipma": _read_associations,
    b"iref": _read_references,
    b"iloc": _read_locations,
}
