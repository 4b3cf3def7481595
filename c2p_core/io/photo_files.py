"""Reads and writes photos as JPEG, PNG, TIFF, WebP and AVIF, reads HEIF; keeps metadata, colours, alpha and bit depth.

A picture is upright after reading. ``docs/files.md`` says what each format keeps.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]

from c2p_core.errors import BadRequest, CannotWrite, Message, UnreadableImage, first_line
from c2p_core.io.atomic_files import write_whole
from c2p_core.io.decode import decode, format_of
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
# Endings of files whose result has another one. Of a phone's JPEG with several pictures, the first is protected. HEIF
# is not written; what cameras call .hif has more bits than JPEG takes.
_ENDINGS = {".mpo": ".jpg", ".heic": ".jpg", ".heif": ".jpg", ".hif": ".png"}
# Pixels; the longest side that libjpeg and libwebp can write.
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 16_384}
# Bytes of EXIF and of XMP that fit into one segment of a JPEG, after its identifier.
_JPEG_EXIF, _JPEG_XMP = 65_533, 65_504
# What Pillow and libvips raise on damaged pictures, and on pictures that they can't encode.
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
        UnreadableImage: missing, not a file, empty, damaged, camera raw, not of the six formats, too large, too small,
            CMYK, HDR, in colours that nothing describes, animated or of several pages, of a compression that no library
            here reads, or of a number type that a photo doesn't have.
    """
    return parse(path, read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """The whole file of a photo.

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
    """The photo in the bytes of a file; ``path``, or its URL, is its name in errors, which are those of ``read``."""
    kind = format_of(data)
    if is_raw(data) or (kind in (None, "TIFF") and has_raw_ending(str(path))):
        raise UnreadableImage("image-raw", path=str(path))
    if kind is None:
        raise UnreadableImage("image-format-unknown", path=str(path))
    try:
        return decode(data, kind)
    except Unusable as error:
        raise UnreadableImage(error.code, path=str(path), **error.fields) from None
    except _LIBRARY_ERRORS as error:
        raise UnreadableImage("image-damaged", path=str(path), reason=first_line(error)) from error


def write(path: Path, photo: Photo, *, personal: bool = True, source_type: str | None = None) -> tuple[Message, ...]:
    """Write a photo atomically, in the format given by the file's extension.

    Lossless formats give the same pixels back. A JPEG that was read from a JPEG keeps the coefficients of all blocks in
    which no pixel changed.

    Args:
        path: the file; an older one is replaced.
        photo: what to write.
        personal: whether places, names, serial numbers, comments and face regions stay in the metadata.
        source_type: the term of ``io.source_type`` that the metadata say of the picture; None leaves them as they are.

    Returns:
        What the file lacks of the one that the photo was read from, as messages for the user.

    Raises:
        BadRequest: the extension is unknown, or its format can't hold the photo (see ``check_target``).
        CannotWrite: no permission, no folder, no space, or the encoder failed.
    """
    encoded = encode_as(path, photo, personal=personal, source_type=source_type)
    write_whole(path, encoded.data)
    return encoded.warnings


def encode_as(path: Path, photo: Photo, *, personal: bool = True, source_type: str | None = None) -> Encoded:
    """The file that ``write``, which takes the same arguments, would write.

    Raises:
        BadRequest: see ``write``.
        CannotWrite: the encoder failed.
    """
    check_target(path, photo)
    kind = FORMATS[path.suffix.lower()]
    try:
        return encode(photo, kind, personal, source_type)
    except _LIBRARY_ERRORS as error:
        raise CannotWrite("not-encoded", path=str(path), format=kind, reason=first_line(error)) from error


def ending_for(source: Path) -> str:
    """The ending of a result that has the format of a photo's name; PNG's where that names none."""
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
    if (longest := max(photo.width, photo.height)) > (most := _LONGEST_SIDE.get(kind, longest)):
        raise BadRequest("format-too-small", format=kind, most=most, count=longest, instead=f"{path.stem}.png")
    for name, block, most in (("EXIF", photo.exif, _JPEG_EXIF), ("XMP", photo.xmp, _JPEG_XMP)):
        # A result of the same format takes the segments of its source, which fit.
        own = photo.source is not None and photo.format == "JPEG"
        if kind == "JPEG" and block and len(block) > most and not own:
            instead = f"{path.stem}.png"
            raise BadRequest("jpeg-metadata-too-long", block=name, most=most, count=len(block), instead=instead)
