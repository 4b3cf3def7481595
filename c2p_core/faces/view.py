"""A photo as float sRGB for the models, converted on demand: only the area and at the resolution that is read.

A large photo is never converted to float as a whole: detection reads a downscaled copy, landmarks and recognisers read
the areas around faces.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.io.colour_profiles import to_srgb
from c2p_core.photo import Photo
from c2p_core.recent import digest

_VIPS_FORMATS = {np.dtype(np.uint8): "uchar", np.dtype(np.uint16): "ushort", np.dtype(np.float32): "float"}


class View:
    """Stands in for the (3, H, W) float sRGB picture of a photo: has its ``shape``, and reads parts of it."""

    def __init__(self, photo: Photo) -> None:
        self._photo = photo
        self.shape = (3, photo.height, photo.width)

    def digest(self) -> bytes:
        """A digest of everything that is read here."""
        return digest(self._photo.pixels, self._photo.icc)

    def read(self, x0: int, y0: int, x1: int, y1: int, shrink: int = 1) -> Tensor:
        """Read a rectangle, downscaled by an integer factor.

        Args:
            x0, y0, x1, y1: the rectangle in photo pixels.
            shrink: every result pixel is the mean of shrink x shrink photo pixels, in the photo's own encoding; border
                pixels repeat in incomplete blocks.

        Returns:
            (3, ceil(h / shrink), ceil(w / shrink)) in 0..1.
        """
        part = self._photo.pixels[y0:y1, x0:x1]
        if shrink > 1:
            part = _average_blocks(part, shrink)
        converted = to_srgb(replace(self._photo, pixels=part))
        return torch.from_numpy(np.require(converted, requirements="W")).permute(2, 0, 1)


def _average_blocks(pixels: NDArray[Any], shrink: int) -> NDArray[Any]:
    height, width, channels = pixels.shape
    image = pyvips.Image.new_from_memory(
        np.ascontiguousarray(pixels), width, height, channels, _VIPS_FORMATS[pixels.dtype]
    )
    bands = 1 if channels < 3 else 3
    # With integers vips would round down once per axis.
    averaged = image.extract_band(0, n=bands).cast("float").shrink(shrink, shrink, ceil=True)
    if pixels.dtype != np.float32:
        averaged = averaged.rint().cast(_VIPS_FORMATS[pixels.dtype])
    return np.ndarray(
        buffer=averaged.write_to_memory(), dtype=pixels.dtype, shape=(averaged.height, averaged.width, bands)
    )
