"""Whether two pictures are one and the same, whatever their encoding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skimage import data

from c2p_core.compare import show_same_colours
from c2p_core.photo import Photo

ASTRONAUT = Photo(data.astronaut())


@pytest.mark.parametrize(
    "pixels",
    [
        ASTRONAUT.pixels.astype(np.uint16) * 257,
        ASTRONAUT.pixels.astype(np.float32) / 255,
        np.dstack([ASTRONAUT.pixels, np.full((512, 512), 255, np.uint8)]),
    ],
    ids=["16 bits", "floats", "alpha"],
)
def test_the_same_picture_in_another_encoding_counts_as_the_same(pixels: np.ndarray) -> None:
    assert show_same_colours(ASTRONAUT, Photo(pixels))


def test_a_picture_with_another_pixel_or_size_counts_as_different() -> None:
    pixels = ASTRONAUT.pixels.copy()
    pixels[100, 200, 1] ^= 4
    assert not show_same_colours(ASTRONAUT, replace(ASTRONAUT, pixels=pixels))
    assert not show_same_colours(ASTRONAUT, replace(ASTRONAUT, pixels=pixels[1:]))
