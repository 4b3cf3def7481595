"""The byte operations of the plug-in for GIMP 2.10, compared with NumPy; GIMP itself is not needed."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def pixels(gimpfu: ModuleType) -> Any:
    """The plug-in's module."""
    import gimp2_pixels

    return gimp2_pixels


class FakeDrawable:
    """One byte a pixel, read as GIMP reads: never outside."""

    bpp = 1

    def __init__(self, content: NDArray[np.uint8]) -> None:
        self.content = content
        self.height, self.width = content.shape

    def get_pixel_rgn(self, *_: object) -> FakeDrawable:
        return self

    def __getitem__(self, area: tuple[slice, slice]) -> bytes:
        columns, rows = area
        assert min(columns.start, rows.start) >= 0 and columns.stop <= self.width and rows.stop <= self.height
        return self.content[rows, columns].tobytes()


@pytest.mark.parametrize(
    "rect", [(0, 0, 7, 5), (2, 1, 3, 2), (-3, -2, 20, 20), (5, 4, 9, 9), (-4, 1, 6, 3), (30, 0, 4, 4), (0, -9, 4, 4)]
)
def test_pixels_outside_a_drawable_are_zero(pixels: Any, rect: tuple[int, int, int, int]) -> None:
    content = np.arange(1, 36, dtype=np.uint8).reshape(5, 7)
    x, y, width, height = rect
    wide = np.pad(content, 40)
    expected = wide[40 + y : 40 + y + height, 40 + x : 40 + x + width]
    assert pixels.read_padded(FakeDrawable(content), rect) == expected.tobytes()
