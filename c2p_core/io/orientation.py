"""The orientation of a picture, as EXIF numbers it from 1 to 8, applied to pixels and taken back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# 6 and 8 are turns by 90 degrees, each the other's inverse; all others are their own.
_INVERSE = {6: 8, 8: 6}


def turn_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels as they are shown, of pixels as they are stored."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def turn_back(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels as they are stored, of pixels as they are shown."""
    return turn_upright(pixels, _INVERSE.get(orientation, orientation))
