"""Encodes photos as JPEG, PNG, TIFF and WebP files.

JPEG and WebP go through Pillow, PNG and TIFF (which may have 16 bits or floats) through libvips.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from c2p_core.io import metadata
from c2p_core.io.vips import to_vips
from c2p_core.photo import Format, Photo

# For pictures that were not read from a JPEG; visually lossless.
_JPEG_QUALITY = 95
_WRITING_JPEG = threading.Lock()
_WEBP_QUALITY = 95


def encode(photo: Photo, kind: Format) -> bytes:
    """Encode a photo with its metadata; the format must be able to hold it (``photo_files.check_target``).

    Raises:
        OSError, ValueError, pyvips.Error: the encoder failed.
    """
    return {"JPEG": _jpeg, "PNG": _png, "TIFF": _tiff, "WEBP": _webp}[kind](photo)


def _jpeg(photo: Photo) -> bytes:
    options: dict[str, Any] = {"quality": _JPEG_QUALITY, "subsampling": 0}
    if photo.format == "JPEG" and photo.encoding.get("qtables"):
        tables = {index: [min(step, 255) for step in table] for index, table in photo.encoding["qtables"].items()}
        sampling = photo.encoding.get("subsampling", -1)
        options = {"qtables": tables, "progressive": photo.encoding.get("progressive", False)}
        if photo.pixels.shape[2] == 3:
            options["subsampling"] = sampling if sampling >= 0 else 0
    with _enlarge_jpeg_buffer(photo):
        return _pillow(photo, "JPEG", options | {"optimize": True})


@contextmanager
def _enlarge_jpeg_buffer(photo: Photo) -> Iterator[None]:
    """Enlarge Pillow's buffer for optimised JPEGs, two bytes a pixel: too little for fine noise at the best quality.

    No coefficient takes more than two bytes on average, whatever the picture. Other
    threads that see the larger buffer meanwhile get more room than they need; without the lock, one writer could
    restore the size while another still needs it.
    """
    size = 2 * photo.pixels.size + sum(len(block or b"") for block in (photo.icc, photo.exif, photo.xmp))
    with _WRITING_JPEG:
        previous = ImageFile.MAXBLOCK
        ImageFile.MAXBLOCK += size
        try:
            yield
        finally:
            ImageFile.MAXBLOCK = previous


def _webp(photo: Photo) -> bytes:
    if photo.format == "WEBP" and not photo.encoding.get("lossless", True):
        return _pillow(photo, "WEBP", {"quality": _WEBP_QUALITY})
    # Effort 0 takes a second for 24 megapixels, the highest a minute; "exact" keeps colour under transparency.
    return _pillow(photo, "WEBP", {"lossless": True, "quality": 0, "method": 0, "exact": True})


def _pillow(photo: Photo, kind: Format, options: dict[str, Any]) -> bytes:
    blocks = {"icc_profile": photo.icc, "exif": photo.exif, "xmp": photo.xmp}
    if kind == "JPEG":
        blocks["dpi"] = photo.encoding.get("dpi")
    pixels = np.ascontiguousarray(photo.pixels)
    if pixels.shape[2] == 2:
        picture = Image.fromarray(pixels, "LA")
    else:
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if kind == "WEBP" and pixels.shape[2] < 3:
        picture = picture.convert("RGB" if pixels.shape[2] == 1 else "RGBA")
    stream = io.BytesIO()
    picture.save(stream, kind, **options, **{name: block for name, block in blocks.items() if block})
    return stream.getvalue()


def _png(photo: Photo) -> bytes:
    depth = photo.pixels.dtype.itemsize * 8
    # This filter and level are three times faster than the defaults for 3 % more bytes.
    data: bytes = to_vips(photo).pngsave_buffer(bitdepth=depth, compression=3, filter="sub", keep="none")
    return metadata.into_png(data, photo.exif, photo.xmp, photo.icc)


def _tiff(photo: Photo) -> bytes:
    predictor = "float" if photo.pixels.dtype == np.float32 else "horizontal"
    data: bytes = to_vips(photo).tiffsave_buffer(compression="deflate", predictor=predictor, level=3, keep="none")
    return metadata.into_tiff(data, photo.exif, photo.xmp, photo.icc)
