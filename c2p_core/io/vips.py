"""Converts photos to images of libvips, which supports 16 bits and floats where Pillow does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]

from c2p_core.photo import Photo

NUMBER_TYPES: dict[str, Any] = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}
"""Number types of a photo's pixels by libvips' names."""


def to_vips(photo: Photo) -> Any:
    """A ``pyvips.Image`` with the photo's pixels and resolution, without its metadata."""
    pixels = np.ascontiguousarray(photo.pixels)
    names = {np.dtype(kind): name for name, kind in NUMBER_TYPES.items()}
    image = pyvips.Image.new_from_memory(pixels.data, photo.width, photo.height, pixels.shape[2], names[pixels.dtype])
    grey, deep = pixels.shape[2] < 3, pixels.dtype == np.uint16
    labels = {(True, False): "b-w", (True, True): "grey16", (False, False): "srgb", (False, True): "rgb16"}
    dpi = photo.encoding.get("dpi") or (72.0, 72.0)
    return image.copy(interpretation=labels[grey, deep], xres=float(dpi[0]) / 25.4, yres=float(dpi[1]) / 25.4)
