"""Messages between plug-in and worker: one frame each, a JSON header and raw pixels.

``docs/worker-protocol.md`` describes the bytes. ``c2p_core/worker/protocol.py`` is the worker's own reading of them.
"""

import hashlib
import hmac
import json
import struct

PROTOCOL = 1

MAGIC = b"C2PW"
PREFIX = struct.Struct(">4sHHIQ")  # magic, protocol, 0, header bytes, payload bytes
HEADER_LIMIT = 1 << 20
PAYLOAD_LIMIT = 1 << 32
PICTURES_LIMIT = 2048
SIDE_LIMIT = 262144
PIXELS_LIMIT = 178956970
ICC_LIMIT = 1 << 24
STRIP_BYTES = 1 << 22
# What JSON gives for text: unicode in Python 2, str in Python 3.
TEXT = type(b"".decode("ascii"))
DEPTHS = {"u8": 1, "u16": 2, "float": 4}

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Iterable
    from typing import Any, Protocol

    class Stream(Protocol):
        """What messages travel on (``transport``)."""

        def read(self, count):
            # type: (int) -> bytes
            """Exactly ``count`` bytes."""
            raise NotImplementedError

        def write(self, data):
            # type: (bytes) -> None
            """All of ``data``."""


class ProtocolError(Exception):
    """The other side sent what no worker of this protocol sends."""


class OtherVersion(ProtocolError):
    """The other side speaks another version of the protocol."""

    def __init__(self, version):
        # type: (int) -> None
        ProtocolError.__init__(self, "protocol %d" % version)
        self.version = version


class Picture(object):
    """A rectangle of raw pixels, rows from the top, little-endian, alpha straight.

    Attributes:
        name: what it is for; the jobs say which names they take and give.
        x, y: of its top left pixel, in the coordinates of the layer that it was cut from.
        width, height: in pixels.
        channels: 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA.
        depth: "u8", "u16" or "float" (32 bits, 0..1).
        icc: bytes of the ICC profile that the pixels are encoded in; empty for sRGB.
        strips: bytes objects of whole rows, which together are the picture; may be a generator when sending.
        about: a dict with more about a picture that came from the worker.
    """

    def __init__(self, name, x, y, width, height, channels, depth, icc=b"", strips=(), about=None):
        # type: (str, int, int, int, int, int, str, bytes, Iterable[bytes], dict[str, Any] | None) -> None
        self.name = name
        self.x = x
        self.y = y
        self.width = width
        self.height = height
        self.channels = channels
        self.depth = depth
        self.icc = icc
        self.strips = strips
        self.about = about or {}

    @property
    def row_bytes(self):
        # type: () -> int
        """Bytes of one row."""
        return self.width * self.channels * DEPTHS[self.depth]

    @property
    def size(self):
        # type: () -> int
        """Bytes of the pixels."""
        return self.height * self.row_bytes

    def described(self):
        # type: () -> dict[str, Any]
        """Its entry in the header of a message."""
        return {
            "name": self.name,
            "x": self.x,
            "y": self.y,
            "width": self.width,
            "height": self.height,
            "channels": self.channels,
            "depth": self.depth,
            "icc": len(self.icc),
            "about": self.about,
        }


def proof(token, who, first, second):
    # type: (str, str, str, str) -> str
    """What only someone who knows the token can say; ``who`` is "client" or "worker"."""
    text = ":".join((who, first, second)).encode("ascii", "replace")
    return hmac.new(token.encode("ascii", "replace"), text, hashlib.sha256).hexdigest()


def same(first, second):
    # type: (str, str) -> bool
    """Compares secrets in a time that tells nothing."""
    # What JSON lets through need not be text that can be encoded.
    return hmac.compare_digest(first.encode("ascii", "replace"), second.encode("ascii", "replace"))


def write_message(stream, header, pictures=()):
    # type: (Stream, dict[str, Any], Iterable[Picture]) -> None
    """Sends one message; the pictures' strips go out as they come.

    Raises:
        ProtocolError: a picture has not as many bytes as its size says, or is too large; the stream is spoilt then.
    """
    pictures = list(pictures)
    text = json.dumps(dict(header, pictures=[p.described() for p in pictures])).encode("utf-8")
    payload = sum(len(p.icc) + p.size for p in pictures)
    if len(text) > HEADER_LIMIT or payload > PAYLOAD_LIMIT:
        raise ProtocolError("a message of %d bytes is larger than the worker takes" % (len(text) + payload))
    stream.write(PREFIX.pack(MAGIC, PROTOCOL, 0, len(text), payload) + text)
    for picture in pictures:
        if picture.icc:
            stream.write(picture.icc)
        left = picture.size
        for strip in picture.strips:
            left -= len(strip)
            if left < 0:
                break
            stream.write(strip)
        if left:
            raise ProtocolError("the picture %s has %d bytes too few or too many" % (picture.name, abs(left)))


def read_message(stream, payload_limit=PAYLOAD_LIMIT):
    # type: (Stream, int) -> tuple[dict[str, Any], list[Picture]]
    """Receives one message.

    Args:
        stream: where from.
        payload_limit: bytes of pictures; 0 until the other side has proved who it is.

    Raises:
        ProtocolError: it is none, or larger than allowed.
        OtherVersion: it comes from another protocol.
    """
    magic, version, _, header_bytes, payload = PREFIX.unpack(stream.read(PREFIX.size))
    if magic != MAGIC:
        raise ProtocolError("it does not begin as a message does")
    if version != PROTOCOL:
        raise OtherVersion(version)
    if header_bytes > HEADER_LIMIT or payload > payload_limit:
        raise ProtocolError("it is larger than a message may be")
    header = _parsed(stream.read(header_bytes))
    described = header.pop("pictures", [])
    if not isinstance(described, list) or len(described) > PICTURES_LIMIT:
        raise ProtocolError("its list of pictures is none")
    pictures = [_picture(entry) for entry in described]
    if payload != sum(icc + picture.size for picture, icc in pictures):
        raise ProtocolError("its pictures have another size than it says")
    for picture, icc in pictures:
        picture.icc = stream.read(icc)
        picture.strips = _strips(stream, picture)
    return header, [picture for picture, _ in pictures]


def _strips(stream, picture):
    # type: (Stream, Picture) -> list[bytes]
    rows = max(1, STRIP_BYTES // picture.row_bytes)
    return [stream.read(min(rows, picture.height - top) * picture.row_bytes) for top in range(0, picture.height, rows)]


def _parsed(text):
    # type: (bytes) -> dict[str, Any]
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RuntimeError):  # RuntimeError: nested too deeply (RecursionError in Python 3)
        raise ProtocolError("its header is not JSON")
    if not isinstance(header, dict):
        raise ProtocolError("its header is not an object")
    return header


def _picture(entry):
    # type: (Any) -> tuple[Picture, int]
    if not isinstance(entry, dict):
        raise ProtocolError("a picture is described by something else than an object")
    x, y = (_whole(entry, key, -SIDE_LIMIT, SIDE_LIMIT) for key in ("x", "y"))
    width, height = (_whole(entry, key, 1, SIDE_LIMIT) for key in ("width", "height"))
    channels, icc = _whole(entry, "channels", 1, 4), _whole(entry, "icc", 0, ICC_LIMIT)
    name, depth, about = entry.get("name"), entry.get("depth"), entry.get("about", {})
    if not isinstance(name, TEXT) or not isinstance(depth, TEXT) or depth not in DEPTHS:
        raise ProtocolError("a picture has no name or no depth")
    if width * height > PIXELS_LIMIT or not isinstance(about, dict):
        raise ProtocolError("a picture is larger than a picture may be")
    return Picture(str(name), x, y, width, height, channels, str(depth), about=about), icc


def _whole(entry, key, low, high):
    # type: (dict[str, Any], str, int, int) -> int
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ProtocolError("the %s of a picture is not between %d and %d" % (key, low, high))
    return value
