"""Reads and writes JPEG, PNG, TIFF, WebP and AVIF, reads HEIF; keeps metadata, colours, alpha and bit depth.

Pictures are turned upright when read. ``docs/files.md`` lists what each format keeps.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]

from c2p_core.errors import BadRequest, CannotWrite, Message, UnreadableImage, first_line, get_reason
from c2p_core.io.atomic_files import write_whole
from c2p_core.io.decode import decode, detect_format
from c2p_core.io.encode import Encoded, encode
from c2p_core.io.raw_file import has_raw_ending, is_raw
from c2p_core.io.unusable import Unusable
from c2p_core.photo import Format, Photo

FORMATS: dict[str, Format] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".avif": "AVIF",
}
# Extensions that results replace. In a phone's JPEG with several pictures, the first is protected. HEIF is not
# written; cameras' .hif files have more bits than JPEG can store.
_ENDINGS = {".mpo": ".jpg", ".heic": ".jpg", ".heif": ".jpg", ".hif": ".png"}
# Pixels; the longest side that libjpeg and libwebp can write.
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 16_384}
# Bytes of EXIF and of XMP that fit into one segment of a JPEG, after its identifier.
_JPEG_EXIF, _JPEG_XMP = 65_533, 65_504
# Raised by Pillow and libvips for damaged pictures, and for pictures that they can't encode.
_LIBRARY_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
    EOFError,
    KeyError,
    TypeError,
    pyvips.Error,
)


def read(path: Path) -> Photo:
    """Read one picture, upright, with the profile and metadata that must be kept.

    Raises:
        UnreadableImage: missing, not a file, empty, damaged, camera raw, not one of the six formats, too large, too
            small, CMYK, HDR, without a known colour space, animated or multi-page, or with an unsupported compression
            or number type.
    """
    return parse(path, read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Read a photo's file.

    Raises:
        UnreadableImage: missing, not a file, not readable, or empty.
    """
    try:
        if path.is_dir():
            raise UnreadableImage("image-is-folder", path=str(path))
        if path.exists() and not path.is_file():
            raise UnreadableImage("image-is-no-file", path=str(path))
        data = path.read_bytes()
    except FileNotFoundError:
        raise UnreadableImage("image-missing", path=str(path)) from None
    except PermissionError:
        raise UnreadableImage("image-not-readable", path=str(path)) from None
    except (OSError, ValueError) as error:
        raise UnreadableImage("image-read-failed", path=str(path), reason=first_line(error)) from error
    if not data:
        raise UnreadableImage("image-empty", path=str(path))
    return data


def parse(path: Path | str, data: bytes) -> Photo:
    """Decode the bytes of a file; errors are those of ``read`` and name the file by ``path``, or its URL."""
    kind = detect_format(data)
    if is_raw(data) or (kind in (None, "TIFF") and has_raw_ending(str(path))):
        raise UnreadableImage("image-raw", path=str(path))
    if kind is None:
        raise UnreadableImage("image-format-unknown", path=str(path))
    try:
        return decode(data, kind)
    except Unusable as error:
        raise UnreadableImage(error.code, path=str(path), **error.fields) from None
    except _LIBRARY_ERRORS as error:
        raise UnreadableImage("image-damaged", path=str(path), reason=get_reason(error)) from error


def write(path: Path, photo: Photo, *, personal: bool = True, source_type: str | None = None) -> tuple[Message, ...]:
    """Write a photo atomically, in the format given by the file's extension.

    Lossless formats preserve all pixels. A JPEG that was read from a JPEG keeps the coefficients of all blocks in which
    no pixel changed.

    Args:
        path: the file; an existing one is replaced.
        photo: what to write.
        personal: whether places, names, serial numbers, comments and face regions stay in the metadata.
        source_type: the term of ``io.source_type`` to set in the metadata; None leaves them unchanged.

    Returns:
        Messages for the user on what the file lacks compared with the one that the photo was read from.

    Raises:
        BadRequest: the extension is unknown, or its format can't hold the photo (see ``check_target``).
        CannotWrite: no permission, no folder, no space, or the encoder failed.
    """
    encoded = encode_as(path, photo, personal=personal, source_type=source_type)
    write_whole(path, encoded.data)
    return encoded.warnings


def encode_as(path: Path, photo: Photo, *, personal: bool = True, source_type: str | None = None) -> Encoded:
    """Encode a photo as ``write`` would, with the same arguments.

    Raises:
        BadRequest: see ``write``.
        CannotWrite: the encoder failed.
    """
    check_target(path, photo)
    kind = FORMATS[path.suffix.lower()]
    try:
        return encode(photo, kind, personal, source_type)
    except _LIBRARY_ERRORS as error:
        raise CannotWrite("not-encoded", path=str(path), format=kind, reason=get_reason(error)) from error


def ending_for(source: Path) -> str:
    """The extension of a result in the format that a photo's name indicates; PNG's where it indicates none."""
    ending = source.suffix
    return ending if ending.lower() in FORMATS else _ENDINGS.get(ending.lower(), ".png")


def check_target(path: Path, photo: Photo | None = None) -> None:
    """Check early that ``path`` can name an output file and, where given, hold the photo.

    Raises:
        BadRequest: the extension is unknown, or its format can't hold the photo's alpha, bit depth, profile, size, EXIF
            or XMP.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise BadRequest("ending-unknown", name=path.name, known=list(FORMATS))
    if photo is None:
        return
    channels, over_8_bits = photo.pixels.shape[2], photo.pixels.dtype != np.uint8
    if kind == "JPEG" and channels in (2, 4):
        raise BadRequest("jpeg-without-transparency", instead=f"{path.stem}.png")
    if kind in ("JPEG", "WEBP") and over_8_bits:
        raise BadRequest("format-of-8-bits", format=kind, instead=f"{path.stem}.tif")
    if kind == "AVIF" and over_8_bits:
        raise BadRequest("avif-of-8-bits", instead=f"{path.stem}.tif")
    if kind == "PNG" and photo.pixels.dtype == np.float32:
        raise BadRequest("png-without-floats", instead=f"{path.stem}.tif")
    if kind == "WEBP" and channels < 3 and photo.icc:
        raise BadRequest("webp-without-grey-profile", instead=f"{path.stem}.png")
    if (longest := max(photo.width, photo.height)) > (limit := _LONGEST_SIDE.get(kind, longest)):
        raise BadRequest("format-too-small", format=kind, most=limit, count=longest, instead=f"{path.stem}.png")
    # A result of the same format takes the segments of its source, which fit.
    from_jpeg = photo.source is not None and photo.format == "JPEG"
    for name, block, limit in (("EXIF", photo.exif, _JPEG_EXIF), ("XMP", photo.xmp, _JPEG_XMP)):
        if kind == "JPEG" and block and len(block) > limit and not from_jpeg:
            instead = f"{path.stem}.png"
            raise BadRequest("jpeg-metadata-too-long", block=name, most=limit, count=len(block), instead=instead)
