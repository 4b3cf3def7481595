"""The worker's form of messages, with pictures as NumPy arrays.

Frames, limits and errors are those of ``worker_client``, which implements them for both sides and bounds all sizes in a
message. Its ``Picture`` holds strips of bytes, because plug-ins have no NumPy, and is read strip by strip; here a
payload is read in one piece, after memory was reserved for it, and written in pieces, without a copy of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from worker_client.constants import HANDSHAKE_HEADER_LIMIT, HEADER_LIMIT, PAYLOAD_LIMIT
from worker_client.protocol import read_header, write_header

if TYPE_CHECKING:
    from worker_client.protocol import Stream

_DTYPES: dict[str, np.dtype[Any]] = {"u8": np.dtype("u1"), "u16": np.dtype("<u2"), "float": np.dtype("<f4")}

Header = dict[str, Any]


# Bytes of a payload that are converted or forwarded at a time.
_PIECE = 1 << 22


class Arrays:
    """A payload that is assembled while it is sent."""

    def __init__(self, parts: Sequence[bytes | NDArray[Any]]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(len(part) if isinstance(part, bytes) else part.nbytes for part in self._parts)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            rows = max(1, _PIECE * len(part) // max(1, part.nbytes))
            for top in range(0, len(part), rows):
                yield np.ascontiguousarray(part[top : top + rows]).data.cast("B")


class Incoming:
    """A payload that still has to be read from a stream; nothing else can be read from it before ``drain``."""

    def __init__(self, read: Callable[[int], bytearray], size: int) -> None:
        """``read`` returns the requested number of bytes from the stream."""
        self._read = read
        self._size = self._left = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytearray]:
        while self._left:
            piece = self._read(min(self._left, _PIECE))
            self._left -= len(piece)
            yield piece

    def drain(self) -> None:
        """Read and discard the rest."""
        for _ in self:
            pass


@dataclass(frozen=True)
class Message:
    """A header without its "pictures"; these as entries, one per picture; and the bytes of all pictures."""

    header: Header
    entries: list[dict[str, Any]] = field(default_factory=list)
    payload: bytes | bytearray | Arrays | Incoming = b""


Send = Callable[[Message], None]
"""Sends a message to the client of a job."""


@dataclass(frozen=True)
class Picture:
    """Pixels of a part of a layer.

    Attributes:
        name: its role in the message.
        x, y: position of its top left pixel, in layer pixels.
        pixels: (height, width, channels) uint8, uint16 or float32.
        icc: colour profile of the pixels, None for sRGB.
        about: further properties.
    """

    name: str
    x: int
    y: int
    pixels: NDArray[Any]
    icc: bytes | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """x, y, width, height."""
        return (self.x, self.y, self.pixels.shape[1], self.pixels.shape[0])


def pack(header: Header, pictures: Sequence[Picture] = ()) -> Message:
    """Build a message with these pictures."""
    entries: list[dict[str, Any]] = []
    parts: list[bytes | NDArray[Any]] = []
    for picture in pictures:
        height, width, channels = picture.pixels.shape
        depth = next(name for name, dtype in _DTYPES.items() if dtype == picture.pixels.dtype)
        icc = picture.icc or b""
        size = {"width": width, "height": height, "channels": channels, "depth": depth, "icc": len(icc)}
        entries.append({"name": picture.name, "x": picture.x, "y": picture.y, **size, "about": picture.about})
        parts += [icc, picture.pixels]
    return Message(header, entries, Arrays(parts))


def unpack(message: Message) -> list[Picture]:
    """Extract the pictures of a message; their pixels share the memory of its payload."""
    payload = message.payload if isinstance(message.payload, bytes | bytearray) else b"".join(message.payload)
    pictures, start = [], 0
    for entry in message.entries:
        icc = bytes(payload[start : start + entry["icc"]])
        start += entry["icc"]
        shape = (entry["height"], entry["width"], entry["channels"])
        pixels = np.frombuffer(payload, _DTYPES[entry["depth"]], int(np.prod(shape)), start).reshape(shape)
        start += pixels.nbytes
        pictures.append(Picture(entry["name"], entry["x"], entry["y"], pixels, icc or None, entry["about"]))
    return pictures


def write(stream: Stream, message: Message) -> None:
    """Send one message.

    Raises:
        ProtocolError: it is larger than allowed, or has values that JSON can't represent.
        StreamClosed: the other side has closed the connection.
    """
    write_header(stream, message.header, message.entries, len(message.payload))
    for piece in [message.payload] if isinstance(message.payload, bytes | bytearray) else message.payload:
        stream.write(piece)


def read(stream: Stream, reserve: Callable[[int], None] = lambda size: None, handshake: bool = False) -> Message:
    """Receive one message.

    Args:
        stream: the stream to read from.
        reserve: called with the size of a payload in bytes before it is read; may raise.
        handshake: whether the other side still has to authenticate.

    Raises:
        ProtocolError: it is malformed, or larger than allowed.
        StreamClosed: the stream has ended.
    """
    limits = (HANDSHAKE_HEADER_LIMIT, 0) if handshake else (HEADER_LIMIT, PAYLOAD_LIMIT)
    header, entries, payload_bytes = read_header(stream, *limits)
    reserve(payload_bytes)
    return Message(header, entries, stream.read(payload_bytes))
