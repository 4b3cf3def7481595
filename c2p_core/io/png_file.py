"""Splits PNG files into chunks, and decides which of them a protected copy keeps byte for byte."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from c2p_core.errors import Malformed
from c2p_core.io import exif, photoshop, xmp

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type "
_EXIF_PROFILES, _XMP_PROFILES, _RESOURCES = (b"exif", b"APP1"), (b"xmp",), (b"iptc", b"8bim")
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Chunks about colours, which the protected copy shares.
_COLOURS = (b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"mDCv", b"cLLi")
_KEPT = (*_COLOURS, b"pHYs", b"sPLT", b"tIME", b"oFFs", b"sCAL", b"pCAL", b"sTER", b"gIFg", b"vpAg", b"caNv", b"orNT")
_PERSONAL_KEYWORDS = (b"Author", b"Artist", b"Comment", b"Source", b"Creator", b"Owner", b"Location")
# The most bytes that a chunk may decompress to.
_LARGEST = 16 << 20


@dataclass(frozen=True)
class Chunk:
    """A chunk, and whether its checksum is right."""

    kind: bytes
    body: bytes
    intact: bool = True

    def to_bytes(self) -> bytes:
        checksum = zlib.crc32(self.kind + self.body)
        return struct.pack(">L", len(self.body)) + self.kind + self.body + struct.pack(">L", checksum)

    @property
    def critical(self) -> bool:
        return not self.kind[0] & 32

    @property
    def safe_to_copy(self) -> bool:
        """Whether programs that don't know the chunk may copy it to a file whose pixels they have changed."""
        return bool(self.kind[3] & 32)


@dataclass(frozen=True)
class Kept:
    """The metadata that a protected copy keeps: chunks before and after the pixels; and names of the lost parts."""

    before: tuple[Chunk, ...]
    after: tuple[Chunk, ...]
    lost: frozenset[str]


def parse(data: bytes) -> list[Chunk]:
    """The chunks of a PNG file, up to its end.

    Raises:
        Malformed: a chunk is cut short.
    """
    chunks, offset = [], len(SIGNATURE)
    while offset < len(data):
        if offset + 12 > len(data):
            raise Malformed("file-cut-short")
        size, kind = struct.unpack_from(">L4s", data, offset)
        body = data[offset + 8 : offset + 8 + size]
        if offset + 12 + size > len(data):
            raise Malformed("file-cut-short")
        (checksum,) = struct.unpack_from(">L", data, offset + 8 + size)
        chunks.append(Chunk(kind, body, checksum == zlib.crc32(kind + body)))
        offset += 12 + size
        if kind == b"IEND":
            break
    return chunks


def compose(chunks: list[Chunk]) -> bytes:
    """The bytes of a PNG file."""
    return SIGNATURE + b"".join(chunk.to_bytes() for chunk in chunks)


def strip_metadata(chunks: list[Chunk]) -> bytes:
    """The bytes of the file without metadata, for decoders; a missing end chunk is added.

    Raises:
        Malformed: the pixels' checksum is wrong.
    """
    needed = [chunk for chunk in chunks if chunk.kind in _PIXEL_CHUNKS]
    damaged = next((chunk for chunk in needed if not chunk.intact), None)
    if damaged is not None:
        raise Malformed("checksum-wrong", part=damaged.kind.decode("ascii", "replace"))
    return compose(needed if needed and needed[-1].kind == b"IEND" else [*needed, Chunk(b"IEND", b"")])


def find(chunks: list[Chunk], kind: bytes) -> bytes | None:
    """The content of the first intact chunk of a kind."""
    return next((chunk.body for chunk in chunks if chunk.kind == kind and chunk.intact), None)


def read_exif(chunks: list[Chunk]) -> bytes | None:
    """The EXIF block, with its header; old programs store it in a text chunk."""
    block = find(chunks, b"eXIf")
    if block is None:
        block = next((profile for name, profile in _read_raw_profiles(chunks) if name in _EXIF_PROFILES), None)
    return None if block is None else exif.HEADER + block.removeprefix(exif.HEADER)


def read_xmp(chunks: list[Chunk]) -> bytes | None:
    for chunk in chunks:
        if chunk.kind == b"iTXt" and chunk.intact and (text := _read_text(chunk)) and text[0] == _XMP:
            return text[1]
    return next((profile for name, profile in _read_raw_profiles(chunks) if name in _XMP_PROFILES), None)


def read_icc(chunks: list[Chunk]) -> bytes | None:
    body = find(chunks, b"iCCP")
    return _inflate(body.partition(b"\0")[2][1:]) if body else None


def read_iptc(chunks: list[Chunk]) -> bytes | None:
    for name, profile in _read_raw_profiles(chunks):
        if name in _RESOURCES:
            return profile if profile.startswith(b"\x1c") else photoshop.find_iptc(profile)
    return None


def read_comments(chunks: list[Chunk]) -> tuple[bytes, ...]:
    """The texts, each with its keyword unless that is Comment, as UTF-8."""
    comments = []
    for chunk in chunks:
        if chunk.kind in _TEXT_CHUNKS and chunk.intact and (text := _read_text(chunk)):
            keyword, content = text
            if keyword != _XMP and not keyword.startswith(_RAW_PROFILE):
                content = content if chunk.kind == b"iTXt" else content.decode("latin-1").encode()
                comments.append(content if keyword == b"Comment" else keyword + b": " + content)
    return tuple(comments)


def read_density(chunks: list[Chunk]) -> tuple[float, float] | None:
    """Dots per inch; None where the file gives an aspect ratio only."""
    body = find(chunks, b"pHYs")
    if body is None or len(body) != 9 or body[8] != 1:
        return None
    across, down = struct.unpack_from(">LL", body)
    return (across * 0.0254, down * 0.0254) if across and down else None


def keep_metadata(chunks: list[Chunk], colour_type: int, personal: bool = True) -> Kept:
    """Choose the metadata that a protected copy of a file keeps, in its order.

    Args:
        chunks: of the original.
        colour_type: of the copy; chunks with colour values are valid for the original's type only.
        personal: whether personal data stay.
    """
    header = find(chunks, b"IHDR") or b""
    same_colour_type = len(header) > 9 and header[9] == colour_type
    before: list[Chunk] = []
    after: list[Chunk] = []
    lost: set[str] = set()
    kept = before
    for chunk in chunks:
        if chunk.kind == b"IDAT":
            kept = after
        if chunk.critical or chunk.kind == b"tRNS":
            continue
        if not chunk.intact:
            lost.add("damaged")
        elif chunk.kind in _KEPT or (chunk.kind in (b"bKGD", b"sBIT") and same_colour_type):
            kept.append(chunk)
        elif chunk.kind == b"eXIf":
            cleaned = exif.clean_exif(chunk.body)
            lost |= exif.list_lost_parts(chunk.body, cleaned)
            if cleaned and not personal:
                cleaned = exif.strip_personal(cleaned)
            if cleaned:
                kept.append(Chunk(b"eXIf", cleaned.removeprefix(exif.HEADER)))
        elif chunk.kind in _TEXT_CHUNKS:
            text_chunks, removed = _keep_text(chunk, personal)
            kept += text_chunks
            lost |= removed
        elif chunk.kind == b"caBX":
            lost.add("credentials")
        elif chunk.kind in (b"bKGD", b"sBIT", b"hIST", b"iDOT"):
            continue  # about the storage of the original's pixels
        elif not personal:
            continue  # an unknown chunk, which may have personal data
        elif chunk.safe_to_copy and not exif.holds_picture(chunk.body):
            kept.append(chunk)
        else:
            lost.add("further-data")
    return Kept(tuple(before), tuple(after), frozenset(lost))


def make_metadata(
    exif_block: bytes | None,
    packet: bytes | None,
    icc: bytes | None,
    iptc: bytes | None,
    comments: tuple[bytes, ...],
    density: tuple[float, float] | None,
) -> tuple[Chunk, ...]:
    """Make chunks for metadata from another format."""
    chunks = []
    if icc:
        chunks.append(Chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if density:
        across, down = (max(1, round(value / 0.0254)) for value in density)
        chunks.append(Chunk(b"pHYs", struct.pack(">LLB", across, down, 1)))
    if exif_block:
        chunks.append(Chunk(b"eXIf", exif_block.removeprefix(exif.HEADER)))
    if packet:
        chunks.append(Chunk(b"iTXt", _XMP + b"\0" * 5 + packet))
    if iptc:
        chunks.append(_make_raw_profile(b"iptc", photoshop.wrap_iptc(iptc)))
    for comment in comments:
        text = comment if xmp.is_utf8(comment) else comment.decode("latin-1").encode()
        chunks.append(Chunk(b"iTXt", b"Comment" + b"\0" * 5 + text.replace(b"\0", b"")))
    return tuple(chunks)


def change_xmp(
    before: list[Chunk], after: list[Chunk], change: Callable[[bytes | None], bytes | None]
) -> tuple[list[Chunk], list[Chunk]]:
    """Change the XMP packets, however they are stored, or add one before the pixels where there is none.

    ``change`` takes a packet, or None; it returns the new packet.
    """
    has_packet = False

    def change_chunk(chunk: Chunk) -> Chunk:
        nonlocal has_packet
        text = _read_text(chunk) if chunk.kind in _TEXT_CHUNKS else None
        if text is None:
            return chunk
        name = text[0].removeprefix(_RAW_PROFILE).strip() if text[0].startswith(_RAW_PROFILE) else b""
        packet = _unhex(text[1]) if name in _XMP_PROFILES else text[1] if text[0] == _XMP else None
        if packet is None:
            return chunk
        has_packet = True
        new_packet = change(packet) or packet
        return _make_raw_profile(name, new_packet) if name else Chunk(b"iTXt", _XMP + b"\0" * 5 + new_packet)

    before, after = [change_chunk(chunk) for chunk in before], [change_chunk(chunk) for chunk in after]
    if not has_packet and (packet := change(None)):
        before.append(Chunk(b"iTXt", _XMP + b"\0" * 5 + packet))
    return before, after


def _keep_text(chunk: Chunk, personal: bool) -> tuple[list[Chunk], set[str]]:
    text = _read_text(chunk)
    if text is None:
        return [], {"damaged"}
    keyword, content = text
    if keyword == _XMP:
        packet, lost = xmp.clean_xmp(content)
        if packet and not personal:
            packet = xmp.strip_personal(packet)
        if packet == content:
            return [chunk], lost
        return ([Chunk(b"iTXt", _XMP + b"\0" * 5 + packet)] if packet else []), lost
    if keyword.startswith(_RAW_PROFILE):
        return _keep_raw_profile(chunk, keyword.removeprefix(_RAW_PROFILE).strip(), content, personal)
    if not personal and keyword in _PERSONAL_KEYWORDS:
        return [], set()
    if xmp.PICTURE_START.search(content):
        return [], {"pictures"}
    return [chunk], set()


def _keep_raw_profile(chunk: Chunk, name: bytes, text: bytes, personal: bool) -> tuple[list[Chunk], set[str]]:
    profile = _unhex(text)
    if profile is None:
        return [], {"damaged"}
    cleaned: bytes | None = profile
    lost: set[str] = set()
    if name in _EXIF_PROFILES and not profile.startswith(b"http"):
        cleaned = exif.clean_exif(profile)
        lost = exif.list_lost_parts(profile, cleaned)
        if cleaned and not personal:
            cleaned = exif.strip_personal(cleaned)
        if cleaned and not profile.startswith(exif.HEADER):
            cleaned = cleaned.removeprefix(exif.HEADER)
    elif name in _XMP_PROFILES:
        cleaned, lost = xmp.clean_xmp(profile)
        if cleaned and not personal:
            cleaned = xmp.strip_personal(cleaned)
    elif name in _RESOURCES and profile.startswith(b"\x1c"):
        cleaned = photoshop.clean_iptc(profile, personal)
    elif name in _RESOURCES:
        cleaned, lost = photoshop.clean_resources(profile, personal)
    elif exif.holds_picture(profile):
        cleaned, lost = None, {"pictures"}
    elif not personal and name not in (b"icc", b"icm"):
        cleaned = None
    if cleaned == profile:
        return [chunk], lost
    return ([_make_raw_profile(name, cleaned)] if cleaned else []), lost


def _read_raw_profiles(chunks: list[Chunk]) -> list[tuple[bytes, bytes]]:
    profiles = []
    for chunk in chunks:
        if chunk.kind in _TEXT_CHUNKS and chunk.intact and chunk.body.startswith(_RAW_PROFILE):
            text = _read_text(chunk)
            profile = _unhex(text[1]) if text else None
            if text and profile is not None:
                profiles.append((text[0].removeprefix(_RAW_PROFILE).strip(), profile))
    return profiles


def _make_raw_profile(name: bytes, profile: bytes) -> Chunk:
    """Store a block in a text chunk as ImageMagick does: its name, its length, and its bytes in hexadecimal."""
    digits = profile.hex()
    lines = "\n".join(digits[offset : offset + 72] for offset in range(0, len(digits), 72))
    text = b"\n%s\n%8d\n%s\n" % (name, len(profile), lines.encode())
    return Chunk(b"zTXt", _RAW_PROFILE + name + b"\0\0" + zlib.compress(text))


def _unhex(text: bytes) -> bytes | None:
    # Lines: a name, which may have several words ("IPTC profile"), the length, and digits.
    parts = text.lstrip(b"\n").split(b"\n", 2)
    try:
        return bytes.fromhex(parts[2].decode("ascii")) if len(parts) == 3 else None
    except ValueError:
        return None


def _read_text(chunk: Chunk) -> tuple[bytes, bytes] | None:
    """Keyword and text of a text chunk; None where it is damaged or decompresses to too many bytes."""
    keyword, separator, rest = chunk.body.partition(b"\0")
    if not separator:
        return None
    if chunk.kind == b"tEXt":
        return keyword, rest
    if chunk.kind == b"zTXt":
        text = _inflate(rest[1:])
        return None if text is None else (keyword, text)
    if len(rest) < 2:
        return None
    compressed = rest[0] == 1
    parts = rest[2:].split(b"\0", 2)  # language, translated keyword, text
    if len(parts) < 3:
        return None
    text = _inflate(parts[2]) if compressed else parts[2]
    return None if text is None else (keyword, text)


def _inflate(data: bytes) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, _LARGEST)
    except zlib.error:
        return None
    return unpacked if unpacker.eof else None
