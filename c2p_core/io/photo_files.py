"""Photos in and out: JPEG, PNG, TIFF and WebP with colour profile, EXIF, XMP, alpha and bit depth kept.

A picture is upright after reading: its EXIF orientation is applied to the pixels once and reset.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pyvips  # type: ignore[import-untyped]

from c2p_core.errors import BadRequest, CannotWrite, UnreadableImage
from c2p_core.io.atomic_files import write_whole
from c2p_core.io.decode import decode, format_of
from c2p_core.io.encode import encode
from c2p_core.photo import Format, Photo

FORMATS: dict[str, Format] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
# Pixels; what libjpeg and libwebp write at most.
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
# Bytes of EXIF and of XMP that one segment of a JPEG takes, behind their names.
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
    """Reads one picture, upright, with everything that has to survive.

    Raises:
        UnreadableImage: missing, not a file, empty, damaged, not of the four formats, too large, too small, CMYK,
            HDR, in other colours than sRGB without a profile, animated or of several pages, or of a number type that a
            photo doesn't have.
    """
    data = _bytes_of(path)
    kind = format_of(data)
    if kind is None:
        raise UnreadableImage(f"'{path}' is not a JPEG, PNG, TIFF or WebP picture; export it as one of these.")
    try:
        return decode(data, kind)
    except UnreadableImage as error:
        raise UnreadableImage(f"'{path}' {error}") from None
    except _LIBRARY_ERRORS as error:
        raise UnreadableImage(
            f"'{path}' is damaged or cut short and can't be read; copy or export it again ({_short(error)})."
        ) from error


def write(path: Path, photo: Photo) -> None:
    """Writes a photo in the format of the file name's ending, in full or not at all.

    Lossless formats give the same pixels back. JPEG uses the quantisation and subsampling that the photo came with.

    Raises:
        BadRequest: the ending is unknown, or its format can't hold the photo (see ``check_target``).
        CannotWrite: no permission, no folder, no space, or the encoder failed.
    """
    check_target(path, photo)
    kind = FORMATS[path.suffix.lower()]
    try:
        data = encode(photo, kind)
    except _LIBRARY_ERRORS as error:
        raise CannotWrite(f"Could not write '{path}' as {kind}; try .png or .tif ({_short(error)}).") from error
    write_whole(path, data)


def check_target(path: Path, photo: Photo | None = None) -> None:
    """Says early whether ``path`` can name an output file and, where given, hold the photo.

    Raises:
        BadRequest: the ending is unknown, or its format can't hold the photo's alpha, bit depth, profile, size, EXIF
            or XMP.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise BadRequest(f"'{path.name}' needs an ending that says the format: {', '.join(FORMATS)}.")
    if photo is None:
        return
    channels, deep = photo.pixels.shape[2], photo.pixels.dtype != np.uint8
    if kind == "JPEG" and channels in (2, 4):
        raise BadRequest(f"JPEG can't hold the transparency of this photo; write '{path.stem}.png' instead.")
    if kind in ("JPEG", "WEBP") and deep:
        raise BadRequest(f"{kind} holds 8 bits only and this photo has more; write '{path.stem}.tif' instead.")
    if kind == "PNG" and photo.pixels.dtype == np.float32:
        raise BadRequest(f"PNG can't hold floating-point pixels; write '{path.stem}.tif' instead.")
    if kind == "WEBP" and channels < 3 and photo.icc:
        raise BadRequest(f"WebP can't hold a grey photo's colour profile; write '{path.stem}.png' instead.")
    if (longest := max(photo.width, photo.height)) > _LONGEST_SIDE.get(kind, longest):
        raise BadRequest(
            f"{kind} holds {_LONGEST_SIDE[kind]} pixels a side and this photo has {longest}; "
            f"write '{path.stem}.png' instead."
        )
    for name, block, most in (("EXIF", photo.exif, _JPEG_EXIF), ("XMP", photo.xmp, _JPEG_XMP)):
        if kind == "JPEG" and block and len(block) > most:
            raise BadRequest(
                f"JPEG holds {most} bytes of {name} and this photo has {len(block)}; write '{path.stem}.png' instead."
            )


def _bytes_of(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UnreadableImage(f"'{path}' is a folder; name the picture files in it.")
        if path.exists() and not path.is_file():
            raise UnreadableImage(f"'{path}' is not a file; name a picture file.")
        data = path.read_bytes()
    except FileNotFoundError:
        raise UnreadableImage(f"'{path}' does not exist; check the name.") from None
    except PermissionError:
        raise UnreadableImage(f"'{path}' may not be read; check its permissions.") from None
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"'{path}' can't be read; check the name and the disk ({_short(error)}).") from error
    if not data:
        raise UnreadableImage(f"'{path}' is empty (0 bytes); copy or export it again.")
    return data


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:160] if lines else type(error).__name__
