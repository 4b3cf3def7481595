"""Encodes photos as JPEG, PNG, TIFF, WebP and AVIF files.

A photo that was read from a file of the same format is written the way that file was: in its orientation, with its
segments, chunks or tags, and in a JPEG with the coefficients of every unchanged block. In any other format, the pixels
are written upright, with the metadata that the format can hold.

Pillow encodes JPEG, WebP and AVIF, libvips encodes PNG and TIFF.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from c2p_core.errors import Message
from c2p_core.io import exif, jpeg_blocks, jpeg_file, photoshop, png_file, riff_file, tiff_file, xmp
from c2p_core.io.decode import decode_jpeg_pixels
from c2p_core.io.orientation import turn_back
from c2p_core.io.source_type import mark_packet
from c2p_core.io.vips import to_vips
from c2p_core.photo import Format, Photo

# Visually lossless; for pictures that were not read from a JPEG.
_JPEG_QUALITY = 95
_JPEG_LOCK = threading.Lock()
_WEBP_QUALITY = 95
_AVIF_QUALITY = 90
_AVIF_SPEED = 8
# Parts of the source file that a result may lack.
_PARTS = {
    "gain-map": Message("part-gain-map"),
    "video": Message("part-video"),
    "audio": Message("part-audio"),
    "depth": Message("part-depth"),
    "pictures": Message("part-pictures"),
    "layers": Message("part-layers"),
    "credentials": Message("part-credentials"),
    "maker-notes": Message("part-maker-notes"),
    "exif": Message("part-exif"),
    "xmp": Message("part-xmp"),
    "iptc": Message("part-iptc"),
    "comments": Message("part-comments"),
    "photoshop": Message("part-photoshop"),
    "damaged": Message("part-damaged"),
    "further-data": Message("part-further-data"),
}


@dataclass(frozen=True)
class Encoded:
    """The bytes of a file, and messages about them.

    Attributes:
        source_type: the term in its metadata, where one was requested.
    """

    data: bytes
    warnings: tuple[Message, ...] = ()
    source_type: str | None = None


class _Mark:
    """Marks XMP packets with a term, and remembers the one that was applied; None leaves packets unchanged."""

    def __init__(self, term: str | None) -> None:
        self._term = term
        self.applied: str | None = None

    @property
    def wanted(self) -> bool:
        return self._term is not None

    def __call__(self, packet: bytes | None, longest: int | None = None) -> bytes | None:
        result = mark_packet(packet, self._term, longest) if self._term else None
        if result is None:
            return packet
        packet, self.applied = result
        return packet


def encode(photo: Photo, kind: Format, personal: bool = True, source_type: str | None = None) -> Encoded:
    """Encode a photo with its metadata; the format must be able to hold it (``photo_files.check_target``).

    Args:
        photo: what to write.
        kind: the file format.
        personal: whether places, names, serial numbers, comments and face regions stay.
        source_type: the term of ``io.source_type`` to set in XMP; None leaves XMP unchanged.

    Raises:
        OSError, ValueError, pyvips.Error: the encoder failed.
    """
    mark = _Mark(source_type)
    if photo.source is not None and photo.format == kind and kind != "AVIF":
        source_encoders = {
            "JPEG": _encode_jpeg_like_source,
            "PNG": _encode_png_like_source,
            "TIFF": _encode_tiff_like_source,
            "WEBP": _encode_webp_like_source,
        }
        data, lost, warnings = source_encoders[kind](photo, personal, mark)
    else:
        encoders = {
            "JPEG": _encode_jpeg,
            "PNG": _encode_png,
            "TIFF": _encode_tiff,
            "WEBP": _encode_webp,
            "AVIF": _encode_avif,
        }
        lost = _list_lost_parts(photo, kind) if photo.source is not None else set()
        cleaned = photo if personal else _strip_personal(photo)
        cleaned = replace(cleaned, xmp=mark(cleaned.xmp, jpeg_file.LONGEST_XMP if kind == "JPEG" else None))
        data, warnings = encoders[kind](cleaned), []
    if mark.wanted and mark.applied is None:
        warnings.append(Message("edit-not-marked"))
    if not personal:
        lost -= {"maker-notes"}  # removed on request
    lost_parts = [message for name, message in _PARTS.items() if name in lost]
    if lost_parts:
        warnings.append(Message("parts-not-kept", parts=lost_parts))
    lossless = photo.encoding.get("lossless", True)
    if photo.format == kind and (kind == "AVIF" or (kind == "WEBP" and not lossless)):
        warnings.append(Message("lossy-encoded-anew", format="AVIF" if kind == "AVIF" else "WebP"))
    return Encoded(data, tuple(warnings), mark.applied)


def _strip_personal(photo: Photo) -> Photo:
    return replace(
        photo,
        exif=exif.strip_personal(photo.exif) if photo.exif else None,
        xmp=xmp.strip_personal(photo.xmp) if photo.xmp else None,
        iptc=photoshop.clean_iptc(photo.iptc, personal=False) if photo.iptc else None,
        comments=(),
    )


def _list_lost_parts(photo: Photo, kind: Format) -> set[str]:
    """Names of the parts of a photo's file that another format can't hold."""
    assert photo.source is not None
    data = photo.source.data
    lost: set[str] = set()
    if photo.format == "JPEG":
        lost |= jpeg_file.keep_metadata(jpeg_file.parse(data)).lost
    elif photo.format == "PNG":
        lost |= png_file.keep_metadata(png_file.parse(data), 2).lost
    elif photo.format == "TIFF":
        lost |= tiff_file.keep_tags(data, tiff_file.read_pages(data)[0])[1]
    elif photo.format == "WEBP":
        lost |= riff_file.keep_metadata(riff_file.parse(data))[1]
    elif photo.format in ("AVIF", "HEIF"):
        lost |= photo.encoding["further"]
    if photo.iptc and kind in ("WEBP", "AVIF"):
        lost.add("iptc")
    if photo.comments and kind in ("WEBP", "AVIF", "TIFF"):
        lost.add("comments")
    return lost


def _turn_to_stored(photo: Photo) -> Photo:
    """Turn a photo's pixels back to the orientation of its file."""
    assert photo.source is not None
    return replace(photo, pixels=turn_back(photo.pixels, photo.source.orientation))


def _encode_jpeg_like_source(photo: Photo, personal: bool, mark: _Mark) -> tuple[bytes, set[str], list[Message]]:
    assert photo.source is not None
    file, stored = jpeg_file.parse(photo.source.data), _turn_to_stored(photo)
    kept = jpeg_file.keep_metadata(file, personal)
    segments = list(kept.segments)
    if photo.source.orientation != 1 and not any(_has_orientation(segment.body) for segment in segments):
        segments.insert(1, jpeg_file.make_exif_segment(exif.make_block(photo.source.orientation)))
    segments = jpeg_file.change_xmp(segments, mark) if mark.wanted else segments
    warnings = []
    before = decode_jpeg_pixels(file)
    try:
        result = jpeg_blocks.change_blocks(file, before, stored.pixels)
    except jpeg_blocks.Unsuitable as error:
        warnings.append(Message("jpeg-encoded-anew", why=error.why))
        result = jpeg_file.parse(_encode_jpeg_pixels(stored))
        segments = jpeg_file.drop_colour_transform(segments)
    coding = [segment for segment in result.segments if not jpeg_file.is_metadata(segment)]
    return jpeg_file.compose([*segments, *coding], result.scans), set(kept.lost), warnings


def _has_orientation(body: bytes) -> bool:
    return exif.read_orientation(body) is not None if body.startswith(exif.HEADER) else b"tiff:Orientation" in body


def _encode_jpeg(photo: Photo) -> bytes:
    file = jpeg_file.parse(_encode_jpeg_pixels(photo))
    coding = [segment for segment in file.segments if not jpeg_file.is_metadata(segment)]
    metadata = jpeg_file.make_metadata(photo.exif, photo.xmp, photo.icc, photo.iptc, photo.comments)
    return jpeg_file.compose([jpeg_file.make_jfif(photo.encoding.get("dpi")), *metadata, *coding], file.scans)


def _encode_jpeg_pixels(photo: Photo) -> bytes:
    options: dict[str, Any] = {"quality": _JPEG_QUALITY, "subsampling": 0}
    if photo.format == "JPEG" and photo.encoding.get("qtables"):
        tables = {index: [min(step, 255) for step in table] for index, table in photo.encoding["qtables"].items()}
        sampling = photo.encoding.get("subsampling", -1)
        options = {"qtables": tables, "progressive": photo.encoding.get("progressive", False)}
        if photo.pixels.shape[2] == 3:
            options["subsampling"] = sampling if sampling >= 0 else 0
    with _enlarge_jpeg_buffer(photo.pixels):
        return _encode_with_pillow(photo.pixels, "JPEG", options | {"optimize": True})


@contextmanager
def _enlarge_jpeg_buffer(pixels: NDArray[Any]) -> Iterator[None]:
    """Enlarge Pillow's buffer for optimised JPEGs, which is too small for fine noise at the best quality.

    Coefficients take at most two bytes on average, whatever the picture. Other threads that see the larger buffer
    only get more room than they need; without the lock, one writer could restore the size while another needs it.
    """
    with _JPEG_LOCK:
        previous = ImageFile.MAXBLOCK
        ImageFile.MAXBLOCK += 2 * pixels.size
        try:
            yield
        finally:
            ImageFile.MAXBLOCK = previous


def _encode_webp_like_source(photo: Photo, personal: bool, mark: _Mark) -> tuple[bytes, set[str], list[Message]]:
    assert photo.source is not None
    metadata, lost = riff_file.keep_metadata(riff_file.parse(photo.source.data), personal)
    has_orientation = any(
        _has_orientation(_add_exif_header(chunk)) for chunk in metadata if chunk.kind in (b"EXIF", b"XMP ")
    )
    if photo.source.orientation != 1 and not has_orientation:
        metadata += riff_file.make_metadata(exif.make_block(photo.source.orientation), None, None)
    metadata = riff_file.change_xmp(metadata, mark) if mark.wanted else metadata
    return _compose_webp(_turn_to_stored(photo), metadata), lost, []


def _add_exif_header(chunk: riff_file.Chunk) -> bytes:
    return exif.HEADER + chunk.body.removeprefix(exif.HEADER) if chunk.kind == b"EXIF" else chunk.body


def _encode_webp(photo: Photo) -> bytes:
    return _compose_webp(photo, riff_file.make_metadata(photo.exif, photo.xmp, photo.icc))


def _compose_webp(photo: Photo, metadata: list[riff_file.Chunk]) -> bytes:
    # For 24 megapixels, effort 0 takes a second and the highest a minute; "exact" keeps colours under transparency.
    options: dict[str, Any] = {"lossless": True, "quality": 0, "method": 0, "exact": True}
    if photo.format == "WEBP" and not photo.encoding.get("lossless", True):
        options = {"quality": _WEBP_QUALITY}
    pixels = photo.pixels
    if pixels.shape[2] < 3:
        pixels = np.concatenate([pixels[..., :1]] * 3 + ([pixels[..., 1:]] if pixels.shape[2] == 2 else []), axis=2)
    return riff_file.compose(
        _encode_with_pillow(pixels, "WEBP", options), photo.width, photo.height, pixels.shape[2] == 4, metadata
    )


def _encode_with_pillow(pixels: NDArray[Any], kind: Format, options: dict[str, Any]) -> bytes:
    pixels = np.ascontiguousarray(pixels)
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, kind, **options)
    return stream.getvalue()


def _encode_png_like_source(photo: Photo, personal: bool, mark: _Mark) -> tuple[bytes, set[str], list[Message]]:
    assert photo.source is not None
    pixels = _encode_png_pixels(_turn_to_stored(photo))
    colour_type = pixels[0].body[9]
    kept = png_file.keep_metadata(png_file.parse(photo.source.data), colour_type, personal)
    before = list(kept.before)
    has_orientation = any(
        chunk.kind == b"eXIf" or b"tiff:Orientation" in chunk.body for chunk in (*before, *kept.after)
    )
    has_orientation = has_orientation or png_file.read_exif([*before, *kept.after]) is not None
    if photo.source.orientation != 1 and not has_orientation:
        before.append(png_file.Chunk(b"eXIf", exif.make_block(photo.source.orientation).removeprefix(exif.HEADER)))
    after = list(kept.after)
    if mark.wanted:
        before, after = png_file.change_xmp(before, after, mark)
    return _compose_png(pixels, before, after), set(kept.lost), []


def _encode_png(photo: Photo) -> bytes:
    density = photo.encoding.get("dpi")
    metadata = png_file.make_metadata(photo.exif, photo.xmp, photo.icc, photo.iptc, photo.comments, density)
    return _compose_png(_encode_png_pixels(photo), metadata, ())


def _encode_png_pixels(photo: Photo) -> list[png_file.Chunk]:
    """The chunks of a PNG without metadata: header, pixels, end."""
    depth = photo.pixels.dtype.itemsize * 8
    # Three times faster than the default filter and level, for 3 % more bytes.
    data: bytes = to_vips(photo).pngsave_buffer(bitdepth=depth, compression=3, filter="sub", keep="none")
    return [chunk for chunk in png_file.parse(data) if chunk.critical]


def _compose_png(
    pixels: list[png_file.Chunk], before: tuple[png_file.Chunk, ...] | list[png_file.Chunk], after: Any
) -> bytes:
    return png_file.compose([pixels[0], *before, *pixels[1:-1], *after, pixels[-1]])


def _encode_tiff_like_source(photo: Photo, personal: bool, mark: _Mark) -> tuple[bytes, set[str], list[Message]]:
    assert photo.source is not None
    data = photo.source.data
    tags, lost = tiff_file.keep_tags(data, tiff_file.read_pages(data)[0], personal)
    tags = tiff_file.change_xmp(tags, mark) if mark.wanted else tags
    return tiff_file.add_tags(_encode_tiff_pixels(_turn_to_stored(photo)), tags), lost, []


def _encode_tiff(photo: Photo) -> bytes:
    density = photo.encoding.get("dpi")
    tags = tiff_file.make_tags(photo.exif, photo.xmp, photo.icc, photo.iptc, density)
    return tiff_file.add_tags(_encode_tiff_pixels(photo), tags)


def _encode_tiff_pixels(photo: Photo) -> bytes:
    predictor = "float" if photo.pixels.dtype == np.float32 else "horizontal"
    data: bytes = to_vips(photo).tiffsave_buffer(compression="deflate", predictor=predictor, level=3, keep="none")
    return data


def _encode_avif(photo: Photo) -> bytes:
    block = exif.strip_orientation(photo.exif) if photo.exif else None
    blocks = {"icc_profile": photo.icc, "exif": block, "xmp": photo.xmp}
    pixels = photo.pixels
    if pixels.shape[2] < 3:
        pixels = np.concatenate([pixels[..., :1]] * 3 + ([pixels[..., 1:]] if pixels.shape[2] == 2 else []), axis=2)
    options = {"quality": _AVIF_QUALITY, "subsampling": "4:4:4", "speed": _AVIF_SPEED}
    return _encode_with_pillow(pixels, "AVIF", options | {name: block for name, block in blocks.items() if block})
