"""Frames: a JSON header and raw pixels each (``docs/worker-protocol.md``); every size from outside is bounded here."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

PROTOCOL = 1

_MAGIC = b"C2PW"
_PREFIX = struct.Struct(">4sHHIQ")  # magic, protocol, 0, header bytes, payload bytes
_HEADER_LIMIT = 1 << 20
PAYLOAD_LIMIT = 1 << 32
# Before the handshake nobody needs more.
_FIRST_LIMIT = 4096
# Of a large group each face has a picture per makeup product.
PICTURES_LIMIT = 2048
_SIDE_LIMIT = 262_144
# As ``decode.MAX_PIXELS``, whose libraries the process that listens does not need.
PIXELS_LIMIT = 178_956_970
_ICC_LIMIT = 1 << 24
_DTYPES: dict[str, np.dtype[Any]] = {"u8": np.dtype("u1"), "u16": np.dtype("<u2"), "float": np.dtype("<f4")}

Header = dict[str, Any]


class Stream(Protocol):
    """A two-way stream of bytes."""

    def read(self, count: int) -> bytearray:
        """Exactly ``count`` bytes; raises ``StreamClosed``."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """All of ``data``; raises ``StreamClosed``."""


class StreamClosed(Exception):
    """The other side has gone, or pauses in the middle of a message."""


class ProtocolError(Exception):
    """The other side sent what breaks the protocol; nothing more can be read from it."""


class OtherVersion(ProtocolError):
    """The other side speaks another version of the protocol."""


@dataclass(frozen=True)
class Message:
    """A header, without ``pictures``; what it described there; and the bytes of all pictures."""

    header: Header
    described: list[dict[str, Any]] = field(default_factory=list)
    payload: bytes | bytearray = b""


Tell = Callable[[Message], None]
"""Sends a message to whoever gave the job."""


@dataclass(frozen=True)
class Picture:
    """Pixels of a part of a layer.

    Attributes:
        name: what it is for.
        x, y: of its top left pixel, in layer pixels.
        pixels: (height, width, channels) uint8, uint16 or float32.
        icc: the profile that they are encoded in, None for sRGB.
        about: more about it.
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


def message(header: Header, pictures: Sequence[Picture] = ()) -> Message:
    """Packs pictures."""
    described: list[dict[str, Any]] = []
    parts: list[Any] = []
    for picture in pictures:
        height, width, channels = picture.pixels.shape
        depth = next(name for name, dtype in _DTYPES.items() if dtype == picture.pixels.dtype)
        icc = picture.icc or b""
        size = {"width": width, "height": height, "channels": channels, "depth": depth, "icc": len(icc)}
        described.append({"name": picture.name, "x": picture.x, "y": picture.y, **size, "about": picture.about})
        parts += [icc, np.ascontiguousarray(picture.pixels).data]
    return Message(header, described, b"".join(parts))


def pictures(received: Message) -> list[Picture]:
    """Unpacks pictures; their pixels share the message's memory."""
    made, at = [], 0
    for entry in received.described:
        icc = bytes(received.payload[at : at + entry["icc"]])
        at += entry["icc"]
        shape = (entry["height"], entry["width"], entry["channels"])
        pixels = np.frombuffer(received.payload, _DTYPES[entry["depth"]], int(np.prod(shape)), at).reshape(shape)
        at += pixels.nbytes
        made.append(Picture(entry["name"], entry["x"], entry["y"], pixels, icc or None, entry["about"]))
    return made


def write(stream: Stream, sent: Message) -> None:
    """Sends one message."""
    text = json.dumps({**sent.header, "pictures": sent.described}, allow_nan=False).encode()
    stream.write(_PREFIX.pack(_MAGIC, PROTOCOL, 0, len(text), len(sent.payload)) + text)
    if sent.payload:
        stream.write(sent.payload)


def read(stream: Stream, reserve: Callable[[int], None] = lambda size: None, first: bool = False) -> Message:
    """Receives one message.

    Args:
        stream: where from.
        reserve: asked before a payload of so many bytes is read; may raise.
        first: whether the other side has not proved yet who it is.

    Raises:
        ProtocolError: it is no message, or larger than allowed.
        StreamClosed: there is no more.
    """
    magic, version, _, header_size, payload_size = _PREFIX.unpack(stream.read(_PREFIX.size))
    if magic != _MAGIC:
        raise ProtocolError("it does not begin as a message does")
    if version != PROTOCOL:
        raise OtherVersion(f"it is of protocol {version}, not {PROTOCOL}")
    if header_size > (_FIRST_LIMIT if first else _HEADER_LIMIT) or payload_size > (0 if first else PAYLOAD_LIMIT):
        raise ProtocolError("it is larger than a message may be")
    header = _parsed(stream.read(header_size))
    described = header.pop("pictures", [])
    if not isinstance(described, list) or len(described) > PICTURES_LIMIT:
        raise ProtocolError("its list of pictures is none")
    if payload_size != sum(_picture_size(entry) for entry in described):
        raise ProtocolError("its pictures have another size than it says")
    reserve(payload_size)
    return Message(header, described, stream.read(payload_size))


def proof(token: str, who: str, first: str, second: str) -> str:
    """What only someone who knows the token can say; ``who`` is "client" or "worker"."""
    text = ":".join((who, first, second)).encode("ascii", "replace")
    return hmac.new(token.encode("ascii"), text, hashlib.sha256).hexdigest()


def same(first: str, second: str) -> bool:
    """Compares secrets in a time that tells nothing."""
    return hmac.compare_digest(first.encode("utf-8", "replace"), second.encode("utf-8", "replace"))


def _parsed(text: bytearray) -> Header:
    try:
        header = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ProtocolError("its header is not JSON") from None
    if not isinstance(header, dict):
        raise ProtocolError("its header is not an object")
    return header


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)


def _picture_size(entry: Any) -> int:
    """Checks a picture's entry; gives its bytes."""
    if not isinstance(entry, dict):
        raise ProtocolError("a picture is described by something else than an object")
    for key, low, high in (
        ("x", -_SIDE_LIMIT, _SIDE_LIMIT),
        ("y", -_SIDE_LIMIT, _SIDE_LIMIT),
        ("width", 1, _SIDE_LIMIT),
        ("height", 1, _SIDE_LIMIT),
        ("channels", 1, 4),
        ("icc", 0, _ICC_LIMIT),
    ):
        value = entry.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ProtocolError(f"the {key} of a picture is not between {low} and {high}")
    depth = entry.get("depth")
    if not isinstance(entry.get("name"), str) or not isinstance(depth, str) or depth not in _DTYPES:
        raise ProtocolError("a picture has no name or no depth")
    if not isinstance(entry.setdefault("about", {}), dict):
        raise ProtocolError("what is said about a picture is not an object")
    pixels: int = entry["width"] * entry["height"]
    if pixels > PIXELS_LIMIT:
        raise ProtocolError("a picture is larger than a picture may be")
    return int(entry["icc"]) + pixels * int(entry["channels"]) * _DTYPES[depth].itemsize
