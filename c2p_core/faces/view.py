"""A photo as models see it, in sRGB and float, converted only where and as finely as it is looked at.

A large photo never exists as floats in full: faces are searched in a reduced copy, landmarks and recognisers get the
neighbourhoods of faces.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.imageio import to_srgb
from c2p_core.photo import Photo

_VIPS_FORMATS = {np.dtype(np.uint8): "uchar", np.dtype(np.uint16): "ushort", np.dtype(np.float32): "float"}


class View:
    """Stands for the (3, H, W) float sRGB picture of a photo; has its ``shape``, and gives parts of it."""

    def __init__(self, photo: Photo) -> None:
        self._photo = photo
        self.shape = (3, photo.height, photo.width)

    def read(self, x0: int, y0: int, x1: int, y1: int, shrink: int = 1) -> Tensor:
        """(3, ceil(h / shrink), ceil(w / shrink)) in 0..1: every pixel the mean of ``shrink`` squared photo pixels.

        The mean is taken in the photo's own encoding. The border repeats in squares that reach over it.
        """
        part = self._photo.pixels[y0:y1, x0:x1]
        if shrink > 1:
            part = _averaged(part, shrink)
        converted = to_srgb(replace(self._photo, pixels=part))
        return torch.from_numpy(np.require(converted, requirements="W")).permute(2, 0, 1)


def _averaged(pixels: NDArray[Any], shrink: int) -> NDArray[Any]:
    height, width, channels = pixels.shape
    whole = pyvips.Image.new_from_memory(
        np.ascontiguousarray(pixels), width, height, channels, _VIPS_FORMATS[pixels.dtype]
    )
    bands = 1 if channels < 3 else 3
    # Integers would be rounded down once a direction.
    small = whole.extract_band(0, n=bands).cast("float").shrink(shrink, shrink, ceil=True)
    if pixels.dtype != np.float32:
        small = small.rint().cast(_VIPS_FORMATS[pixels.dtype])
    return np.ndarray(buffer=small.write_to_memory(), dtype=pixels.dtype, shape=(small.height, small.width, bands))
