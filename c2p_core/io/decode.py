"""Decodes JPEG, PNG, TIFF and WebP files to upright photos.

JPEG and WebP go through Pillow, PNG and TIFF (which may have 16 bits or floats) through libvips.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from c2p_core.io import metadata
from c2p_core.io.vips import NUMBER_TYPES
from c2p_core.photo import Format, Photo

# More than any current camera has; must equal Pillow's own limit, which Pillow checks before it decodes.
MAX_PIXELS = 178_956_970
_MEGAPIXELS = MAX_PIXELS // 10**6
# A smaller picture can't hold a face.
MIN_SIDE = 16
# Bytes; the most that a JPEG can hold.
_LARGEST_PROFILE = 16 << 20
# TIFF: the tag with the kinds of the channels after the colours, and the kinds of alpha (premultiplied, straight).
_EXTRA_SAMPLES = 338
_ALPHA = (1, 2)
# TIFF: colour models that are recognised but not supported.
_OTHER_COLOURS = {5: "CMYK", 8: "LAB"}
# PNG's cICP chunk begins with primaries and transfer function (ITU-T H.273).
_SRGB = b"\x01\x0d"
_PQ, _HLG = 16, 18
# Smaller differences between two curves are invisible, according to libpng.
_SAME_GAMMA = 0.05


class Unusable(Exception):
    """A picture that can't be used; code and fields are those of ``UnreadableImage``, without ``path``."""

    def __init__(self, code: str, /, **fields: Any) -> None:
        super().__init__(code)
        self.code = code
        self.fields = fields


def format_of(data: bytes) -> Format | None:
    """The format by a file's first bytes, whatever its name: only these four parsers ever get a user's data."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def decode(data: bytes, kind: Format) -> Photo:
    """Decode one photo, upright, with the profile and metadata that must be kept.

    Raises:
        Unusable: too large, too small, CMYK, HDR, in other colours than sRGB without a profile, animated or of several
            pages, or of a number type that a photo doesn't have.
        OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError, KeyError, TypeError, pyvips.Error: the
            file is damaged.
    """
    reader = {"JPEG": _read_jpeg, "WEBP": _read_webp, "PNG": _read_png, "TIFF": _read_tiff}[kind]
    try:
        with warnings.catch_warnings(), _allow_large_profiles():
            # Pillow warns of pictures between half of its size limit and the limit, and of damaged metadata.
            warnings.simplefilter("ignore")
            photo, orientation = reader(data)
    except Image.DecompressionBombError:
        raise Unusable("image-too-large", megapixels=_MEGAPIXELS) from None
    return _upright(photo, orientation)


@contextmanager
def _allow_large_profiles() -> Iterator[None]:
    """Raise Pillow's limit for profiles in PNG, above which it calls the file damaged: printers' may exceed 1 MB."""
    previous = PngImagePlugin.MAX_TEXT_CHUNK
    PngImagePlugin.MAX_TEXT_CHUNK = _LARGEST_PROFILE
    try:
        yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK = previous


def _read_jpeg(data: bytes) -> tuple[Photo, int]:
    # Phones store several pictures in one JPEG ("MPO": depth, gain map); the first is the photo.
    picture = _open(data, "JPEG")
    _check_size(picture.width, picture.height)
    if picture.mode not in ("L", "RGB"):
        raise Unusable("image-colours-unsupported", colours=picture.mode)
    encoding: dict[str, Any] = {"progressive": bool(picture.info.get("progressive"))}
    if isinstance(picture, JpegImagePlugin.JpegImageFile):
        encoding["qtables"] = {index: list(table) for index, table in picture.quantization.items()}
        encoding["subsampling"] = JpegImagePlugin.get_sampling(picture)
    return _from_pillow(picture, "JPEG", encoding)


def _read_webp(data: bytes) -> tuple[Photo, int]:
    picture = _open(data, "WEBP")
    _check_size(picture.width, picture.height)
    if getattr(picture, "n_frames", 1) > 1:
        raise Unusable("image-animated")
    return _from_pillow(picture, "WEBP", {"lossless": b"VP8L" in _riff_chunks(data)})


def _read_png(data: bytes) -> tuple[Photo, int]:
    header = _open(data, "PNG")  # metadata only; the pixels come from libvips, which supports 16 bits
    _check_size(header.width, header.height)
    if getattr(header, "n_frames", 1) > 1:
        raise Unusable("image-animated")
    _check_png_colours(_png_chunks(data))
    tags, orientation = _pillow_exif(header)
    pixels = _vips_pixels(pyvips.Image.pngload_buffer(data, fail_on="error"))
    icc, xmp = header.info.get("icc_profile"), _bytes_or_none(header.info.get("xmp"))
    turned = orientation >= 5
    exif = metadata.upright_exif(tags, turned)
    encoding = {"dpi": header.info.get("dpi")}
    return Photo(pixels, icc, exif, metadata.upright_xmp(xmp), "PNG", encoding), orientation


def _check_png_colours(chunks: dict[bytes, bytes]) -> None:
    """Refuse colours that would be mistaken for sRGB; chunks are checked in their order of precedence."""
    coding = chunks.get(b"cICP", b"")[:2]
    if coding[1:] in (bytes([_PQ]), bytes([_HLG])):
        raise Unusable("image-hdr")
    if b"iCCP" in chunks or coding == _SRGB:
        return
    if coding:
        raise Unusable("image-without-profile", colours=f"cICP {', '.join(map(str, coding))}")
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4], "big") / 100_000
    if gamma and b"sRGB" not in chunks and abs(2.2 * gamma - 1) > _SAME_GAMMA:
        raise Unusable("image-without-profile", colours=f"gamma {gamma:.3g}")


def _read_tiff(data: bytes) -> tuple[Photo, int]:
    pages = metadata.tiff_pages(data)
    if not pages:
        raise Unusable("image-without-pages")
    if len(pages) > 1:
        raise Unusable("image-of-several-pages", count=len(pages))
    ((index, page),) = pages.items()
    _check_size(int(page[256]), int(page[257]))
    photometric = int(page.get(262, 2))
    if photometric in _OTHER_COLOURS:
        raise Unusable("image-colours-unsupported", colours=_OTHER_COLOURS[photometric])
    if photometric not in (0, 1, 2, 3, 6):
        raise Unusable("image-colour-model-unknown")
    # libvips converts premultiplied alpha to straight alpha.
    pixels = _vips_pixels(_drop_selections(pyvips.Image.tiffload_buffer(data, page=index, fail_on="error"), page))
    orientation = int(page.get(metadata.ORIENTATION, 1))
    tags = metadata.parse_tiff_exif(data, page) or {}
    exif = metadata.upright_exif(tags, orientation >= 5)
    icc = _bytes_or_none(page.get(metadata.TIFF_ICC))
    xmp = metadata.upright_xmp(_bytes_or_none(page.get(metadata.TIFF_XMP)))
    unit = {2: 1.0, 3: 2.54}.get(int(page.get(296, 2)))
    dpi = (float(page[282]) * unit, float(page[283]) * unit) if unit and 282 in page and 283 in page else None
    return Photo(pixels, icc, exif, xmp, "TIFF", {"dpi": dpi}), orientation


def _drop_selections(image: Any, page: Any) -> Any:
    """Keep the colours and, where the file declares the first extra channel as such, alpha.

    Image editors save selections as further channels; taken for alpha, they would make the photo transparent.
    """
    extra = page.get(_EXTRA_SAMPLES)
    if not extra:
        return image
    return image.extract_band(0, n=image.bands - len(extra) + (extra[0] in _ALPHA))


def _open(data: bytes, kind: Format) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data), formats=[kind])


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Unusable("image-too-large", megapixels=_MEGAPIXELS)
    if min(width, height) < MIN_SIDE:
        raise Unusable("image-too-small", width=width, height=height)


def _from_pillow(picture: ImageFile.ImageFile, kind: Format, encoding: dict[str, Any]) -> tuple[Photo, int]:
    tags, orientation = _pillow_exif(picture)
    pixels = np.asarray(picture)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    icc, xmp = picture.info.get("icc_profile"), _bytes_or_none(picture.info.get("xmp"))
    exif = metadata.upright_exif(tags, orientation >= 5)
    encoding["dpi"] = picture.info.get("dpi")
    return Photo(pixels, icc, exif, metadata.upright_xmp(xmp), kind, encoding), orientation


def _pillow_exif(picture: ImageFile.ImageFile) -> tuple[dict[int, Any], int]:
    """Tags and orientation, which may be in XMP only; Pillow also finds the EXIF that old programs put into PNG text.

    Damaged EXIF gives no tags and orientation 1, because the pixels may still be good.
    """
    try:
        exif = picture.getexif()
        in_xmp = metadata.xmp_orientation(_bytes_or_none(picture.info.get("xmp")))
        orientation = exif.get(metadata.ORIENTATION, in_xmp)
        block = exif.tobytes() if "exif" not in picture.info else picture.info["exif"]
    except metadata.DAMAGED:
        return {}, 1
    tags = metadata.parse_exif(block) or {}
    return tags, orientation if isinstance(orientation, int) else 1


def _vips_pixels(image: Any) -> NDArray[Any]:
    if image.interpretation == "cmyk":
        raise Unusable("image-colours-unsupported", colours="CMYK")
    if image.format not in NUMBER_TYPES:
        raise Unusable("image-numbers-unsupported", kind=image.format)
    if image.bands > 4:
        raise Unusable("image-channels-unsupported", count=image.bands)
    pixels = np.ndarray(
        buffer=image.write_to_memory(), dtype=NUMBER_TYPES[image.format], shape=(image.height, image.width, image.bands)
    )
    if pixels.dtype == np.float32 and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise Unusable("image-hdr")
    return pixels


def _upright(photo: Photo, orientation: int) -> Photo:
    pixels = photo.pixels
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    pixels = np.ascontiguousarray(pixels)
    return Photo(pixels, photo.icc, photo.exif, photo.xmp, photo.format, photo.encoding)


def _riff_chunks(data: bytes) -> set[bytes]:
    kinds, offset = set(), 12
    while offset + 8 <= len(data):
        kinds.add(data[offset : offset + 4])
        offset += 8 + (struct.unpack_from("<L", data, offset + 4)[0] + 1) // 2 * 2
    return kinds


def _png_chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks before the pixels, by kind."""
    chunks, offset = {}, 8
    while offset + 8 <= len(data):
        size, kind = struct.unpack_from(">L4s", data, offset)
        if kind == b"IDAT":
            break
        chunks[kind] = data[offset + 8 : offset + 8 + size]
        offset += 12 + size
    return chunks


def _bytes_or_none(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, (bytes, bytearray, tuple)) and value else None
