"""Properties of AVIF and HEIF files that decide how they are read."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from c2p_core.errors import Malformed
from c2p_core.io.boxes import read_boxes, read_items
from c2p_core.io.unusable import Unusable

UNSPECIFIED = 2
_BRANDS = (b"avif", b"avis")
# Brands of files with H.265 in the same boxes, and of those that only declare a picture.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"heif")
_SEQUENCES = (b"avis", b"hevc", b"hevx", b"msf1")
# The box of content credentials (C2PA) begins with this.
_CREDENTIALS = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
# Further pictures, by a part of their type's name.
_FURTHER = {b"hdrgainmap": "gain-map", b"depth": "depth", b"auxid:2": "depth", b"matte": "pictures"}
# Codecs by item type; the libraries here read AV1 and H.265 only.
_CODINGS = {
    b"av01": "AV1",
    b"hvc1": "H.265",
    b"avc1": "H.264",
    b"vvc1": "H.266",
    b"evc1": "EVC",
    b"j2k1": "JPEG 2000",
    b"jpeg": "JPEG",
}
_UNCOMPRESSED, _TILED, _LAYERED_H265 = b"unci", b"tili", b"lhv1"
# Boxes of a video beside the picture; phones write the second one.
_VIDEO_BOXES = (b"moov", b"mpvd")
# An item that says how the picture and a gain map become an HDR picture.
_TONE_MAPPED = b"tmap"
# Properties of a picture with several layers or operating points, of which one is shown.
_LAYERED = (b"a1op", b"a1lx", b"lsel")
# The layers of H.265 that belong to any picture of a file.
_LAYERS_OF_H265 = b"oinf"
_CROP = b"clap"
# Messages of libheif and libavif, which have no error codes, on unsupported and on many damaged files.
_UNSUPPORTED = re.compile(r"not implemented|unsupported|been built in|double references", re.IGNORECASE)


@dataclass(frozen=True)
class Properties:
    """Properties of a file.

    Attributes:
        size: (width, height) of the largest picture; zeros for a sequence without a still picture.
        bits: per channel.
        colours: primaries and transfer function by H.273's numbers; None where the file gives none.
        limited_grey: whether it is grey in limited range: 16 to 235 of 255, or the same with more bits.
        animated: whether the file is a sequence.
        further: names of the recognised parts beside the picture: "gain-map", "depth", "pictures", "video" or
            "credentials".
    """

    size: tuple[int, int]
    bits: int
    colours: tuple[int, int] | None
    limited_grey: bool
    animated: bool
    further: frozenset[str] = frozenset()


def is_avif(data: bytes) -> bool:
    """Whether a file's major or compatible brands include AVIF's."""
    return any(brand in _BRANDS for brand in _read_brands(data))


def is_heif(data: bytes) -> bool:
    """Whether a file's brands are those of HEIF and not of AVIF, which uses the same boxes."""
    return not is_avif(data) and any(brand in _HEIF_BRANDS for brand in _read_brands(data))


def _read_brands(data: bytes) -> list[bytes]:
    if len(data) < 12 or data[4:8] != b"ftyp":
        return []
    (size,) = struct.unpack_from(">L", data, 0)
    return [data[8:12], *(data[offset : offset + 4] for offset in range(16, min(size, len(data), 256), 4))]


def read_properties(data: bytes) -> Properties:
    """Read the boxes of an AVIF or HEIF file.

    Raises:
        ValueError: it has no size.
    """
    boxes = list(read_boxes(data, 0, len(data)))
    sizes, bits, further = [], 8, set()
    for kind, body in boxes:
        if kind == b"ispe" and len(body) >= 12:
            sizes.append(struct.unpack_from(">LL", body, 4))
        elif kind == b"av1C" and len(body) >= 3:
            high_bit_depth, twelve_bit = body[2] & 0x40, body[2] & 0x20
            bits = max(bits, (12 if twelve_bit else 10) if high_bit_depth else 8)
        elif kind == b"hvcC" and len(body) >= 18:
            bits = max(bits, 8 + (body[17] & 7))
        elif kind == b"auxC":
            further |= {part for name, part in _FURTHER.items() if name in body}
        elif kind == b"uuid" and body.startswith(_CREDENTIALS):
            further.add("credentials")
    has_video = any(kind in _VIDEO_BOXES for kind, _ in boxes)
    animated = data[8:12] in _SEQUENCES or (has_video and not sizes)
    if has_video and not animated:
        further.add("video")
    if not sizes and not animated:
        raise Malformed("file-without-picture")
    largest = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    items = read_items(data)
    if items and _TONE_MAPPED in items.kinds.values():
        further.add("gain-map")
    shown_properties = (items.list_shown_properties() if items else []) or boxes
    colour_boxes = [
        body for kind, body in shown_properties if kind == b"colr" and body[:4] == b"nclx" and len(body) >= 8
    ]
    colours = struct.unpack_from(">HH", colour_boxes[0], 4) if colour_boxes else None
    grey = any(kind == b"av1C" and len(body) >= 3 and body[2] & 0x10 for kind, body in shown_properties)
    limited = bool(colour_boxes) and len(colour_boxes[0]) > 10 and not colour_boxes[0][10] & 0x80
    return Properties(largest, bits, colours, grey and limited, animated, frozenset(further))


def explain_unreadable(data: bytes, error: Exception) -> Unusable | None:
    """The unsupported feature of an intact file that caused a library's ``error``; None for a damaged file."""
    items = read_items(data)
    if items is None:
        return None
    supported = b"av01" if is_avif(data) else b"hvc1"
    item_types = [items.kinds.get(item, b"") for item in items.list_shown()]
    properties = {kind for kind, _ in items.list_shown_properties()}
    if coding := next((_CODINGS[kind] for kind in item_types if kind in _CODINGS and kind != supported), None):
        return Unusable("image-compression-unsupported", compression=coding)
    if _UNCOMPRESSED in item_types:
        return Unusable("image-uncompressed-unsupported")
    if (
        _LAYERED_H265 in item_types
        or not properties.isdisjoint(_LAYERED)
        or any(kind == _LAYERS_OF_H265 for kind, _ in items.properties)
    ):
        return Unusable("image-layers-unsupported")
    if _CROP in properties and "ecurity limit" in str(error):
        return Unusable("image-crop-unsupported")
    return Unusable("image-kind-unsupported") if _TILED in item_types or _UNSUPPORTED.search(str(error)) else None


def is_layered(data: bytes) -> bool:
    """Whether a file is complete and its picture is uncropped and one of several layers or operating points."""
    items = read_items(data)
    properties = {kind for kind, _ in items.list_shown_properties()} if items else set()
    return _CROP not in properties and not properties.isdisjoint(_LAYERED)
