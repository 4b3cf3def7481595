"""Messages between plug-in and worker: one frame each, a JSON header and raw pixels.

``docs/worker-protocol.md`` describes the bytes. ``c2p_core/worker/protocol.py`` adds pictures as NumPy arrays to this.
"""

import hashlib
import hmac
import json

from worker_client.constants import (
    DEPTHS,
    HEADER_LIMIT,
    ICC_LIMIT,
    MAGIC,
    PAYLOAD_LIMIT,
    PICTURES_LIMIT,
    PIXELS_LIMIT,
    PREFIX,
    PROTOCOL,
    SIDE_LIMIT,
)
from worker_client.errors import Malformed

# Bytes of pixels that are read at once.
STRIP_BYTES = 1 << 20
# What JSON gives for text: unicode in Python 2, str in Python 3.
TEXT = type(b"".decode("ascii"))

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Iterable, Iterator
    from typing import Any, Protocol

    class Stream(Protocol):
        """A byte stream that carries messages (``transport``)."""

        def read(self, count):
            # type: (int) -> bytearray
            """Exactly ``count`` bytes; raises ``StreamClosed``."""
            raise NotImplementedError

        def write(self, data):
            # type: (bytes | bytearray | memoryview) -> None
            """All of ``data``; raises ``StreamClosed``."""


class StreamClosed(Exception):
    """The other side has gone, or stalls in the middle of a message."""


class ProtocolError(Malformed):
    """The other side broke the protocol; nothing more can be read from it."""


class OtherVersion(ProtocolError):
    """The other side speaks another version of the protocol."""

    @property
    def version(self):
        # type: () -> int
        return int(self.message.fields["version"])


class Picture(object):
    """A rectangle of raw pixels, rows from the top, little-endian, alpha straight.

    Attributes:
        name: what it is for; the jobs define which names they take and return.
        x, y: of its top left pixel, in the coordinates of the layer that it was cut from.
        width, height: in pixels.
        channels: 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA.
        depth: "u8", "u16" or "float" (32 bits, 0..1).
        icc: bytes of the ICC profile that the pixels are encoded in; empty for sRGB.
        strips: bytes objects of whole rows, which together are the picture; may be a generator.
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

    def to_entry(self):
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


def compute_proof(token, who, first, second):
    # type: (str, str, str, str) -> str
    """What only someone who knows the token can compute; ``who`` is "client" or "worker"."""
    text = ":".join((who, first, second)).encode("ascii", "replace")
    return hmac.new(token.encode("ascii", "replace"), text, hashlib.sha256).hexdigest()


def same_secret(first, second):
    # type: (str, str) -> bool
    """Whether two secrets are the same, compared in constant time."""
    # Text from JSON may have surrogates, which can't be encoded.
    return hmac.compare_digest(first.encode("ascii", "replace"), second.encode("ascii", "replace"))


def write_message(stream, header, pictures=()):
    # type: (Stream, dict[str, Any], Iterable[Picture]) -> None
    """Sends one message; the pictures' strips are sent as they are generated.

    Raises:
        ProtocolError: a picture has more or fewer bytes than it declares, or is too large; the stream is then unusable.
    """
    pictures = list(pictures)
    write_header(stream, header, [p.to_entry() for p in pictures], sum(len(p.icc) + p.size for p in pictures))
    for picture in pictures:
        if picture.icc:
            stream.write(picture.icc)
        remaining = picture.size
        for strip in picture.strips:
            remaining -= len(strip)
            if remaining < 0:
                break
            stream.write(strip)
        if remaining:
            raise ProtocolError("picture-size-differs", name=picture.name)


def write_header(stream, header, entries, payload_bytes):
    # type: (Stream, dict[str, Any], list[dict[str, Any]], int) -> None
    """Sends the first part of a message; ``payload_bytes`` of pictures have to follow.

    Args:
        stream: to write to.
        header: its fields.
        entries: one for each picture.
        payload_bytes: bytes of all pictures with their ICC profiles.

    Raises:
        ProtocolError: the message is larger than allowed, or JSON has no such values.
    """
    try:
        text = json.dumps(dict(header, pictures=entries), allow_nan=False).encode("utf-8")
    except ValueError:
        raise ProtocolError("header-not-json")
    if len(text) > HEADER_LIMIT or payload_bytes > PAYLOAD_LIMIT:
        raise ProtocolError("message-too-large")
    stream.write(PREFIX.pack(MAGIC, PROTOCOL, 0, len(text), payload_bytes) + text)


def read_message(stream, payload_limit=PAYLOAD_LIMIT, lazily=False):
    # type: (Stream, int, bool) -> tuple[dict[str, Any], list[Picture]]
    """Receives one message.

    Args:
        stream: to read from.
        payload_limit: bytes of pictures; 0 until the other side has proved its identity.
        lazily: read the pictures' strips while they are used, once and in this order, before anything else is read.

    Raises:
        ProtocolError: it is malformed, or larger than allowed.
        OtherVersion: it comes from another protocol.
    """
    header, entries, _ = read_header(stream, payload_limit=payload_limit)
    pictures = [_make_picture(entry) for entry in entries]
    for picture, entry in zip(pictures, entries):
        strips = _read_strips(stream, picture, entry["icc"])
        picture.strips = strips if lazily else list(strips)
    return header, pictures


def read_header(stream, header_limit=HEADER_LIMIT, payload_limit=PAYLOAD_LIMIT):
    # type: (Stream, int, int) -> tuple[dict[str, Any], list[dict[str, Any]], int]
    """Receives the first part of a message, up to its pixels.

    Args:
        stream: to read from.
        header_limit: bytes of JSON.
        payload_limit: bytes of pictures.

    Returns:
        The header without "pictures", an entry for each picture with all values checked, and the size of the payload.

    Raises:
        ProtocolError: it is malformed, or larger than allowed.
        OtherVersion: it comes from another protocol.
    """
    magic, version, _, header_bytes, payload_bytes = PREFIX.unpack(bytes(stream.read(PREFIX.size)))
    if magic != MAGIC:
        raise ProtocolError("message-start-unknown")
    if version != PROTOCOL:
        raise OtherVersion("message-of-other-protocol", version=version)
    if header_bytes > header_limit or payload_bytes > payload_limit:
        raise ProtocolError("message-too-large")
    header = _parse_header(stream.read(header_bytes))
    entries = header.pop("pictures", [])
    if not isinstance(entries, list) or len(entries) > PICTURES_LIMIT:
        raise ProtocolError("header-value-wrong", key="pictures")
    if payload_bytes != sum([_check_entry(entry) for entry in entries]):
        raise ProtocolError("payload-size-differs")
    return header, entries, payload_bytes


def _read_strips(stream, picture, icc_bytes):
    # type: (Stream, Picture, int) -> Iterator[bytes]
    picture.icc = bytes(stream.read(icc_bytes))
    rows = max(1, STRIP_BYTES // picture.row_bytes)
    for top in range(0, picture.height, rows):
        yield bytes(stream.read(min(rows, picture.height - top) * picture.row_bytes))


def _parse_header(text):
    # type: (bytearray) -> dict[str, Any]
    try:
        header = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RuntimeError):  # RuntimeError: nested too deeply (RecursionError in Python 3)
        raise ProtocolError("header-not-json")
    if not isinstance(header, dict):
        raise ProtocolError("header-not-json")
    return header


def _refuse_constant(word):
    # type: (str) -> None
    """Refuses NaN and the infinities, which Python reads although they are not JSON."""
    raise ValueError(word)


def _make_picture(entry):
    # type: (dict[str, Any]) -> Picture
    return Picture(
        str(entry["name"]),
        entry["x"],
        entry["y"],
        entry["width"],
        entry["height"],
        entry["channels"],
        str(entry["depth"]),
        about=entry["about"],
    )


def _check_entry(entry):
    # type: (Any) -> int
    """Checks a picture's entry in a header, and adds "about" if it is missing; returns the picture's size in bytes."""
    if not isinstance(entry, dict):
        raise ProtocolError("header-value-wrong", key="pictures")
    for key, low, high in (
        ("x", -SIDE_LIMIT, SIDE_LIMIT),
        ("y", -SIDE_LIMIT, SIDE_LIMIT),
        ("width", 1, SIDE_LIMIT),
        ("height", 1, SIDE_LIMIT),
        ("channels", 1, 4),
        ("icc", 0, ICC_LIMIT),
    ):
        value = entry.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ProtocolError("header-value-wrong", key="pictures." + key)
    if not isinstance(entry.get("name"), TEXT):
        raise ProtocolError("header-value-wrong", key="pictures.name")
    depth = entry.get("depth")
    if not isinstance(depth, TEXT) or depth not in DEPTHS:
        raise ProtocolError("header-value-wrong", key="pictures.depth")
    if not isinstance(entry.setdefault("about", {}), dict):
        raise ProtocolError("header-value-wrong", key="pictures.about")
    pixels = entry["width"] * entry["height"]  # type: int
    if pixels > PIXELS_LIMIT:
        raise ProtocolError("picture-too-large")
    return int(entry["icc"]) + pixels * int(entry["channels"]) * DEPTHS[str(depth)]
