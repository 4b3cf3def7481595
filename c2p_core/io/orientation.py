"""Applies and reverts the orientation of a picture, which EXIF numbers from 1 to 8."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# 6 and 8 are turns by 90 degrees, each the other's inverse; all others are their own.
_INVERSE = {6: 8, 8: 6}


def turn_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored pixels upright."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def turn_back(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn upright pixels back to the stored orientation."""
    return turn_upright(pixels, _INVERSE.get(orientation, orientation))
