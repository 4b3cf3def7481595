"""The byte operations of both plug-ins, compared with NumPy, on this Python and on Python 2.7."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_client_alone import find_python2
from worker_client import pixel_ops

TYPES = {"u8": ("u1", 255), "u16": ("<u2", 65535), "float": ("<f4", 1.0)}
DEPTHS = pytest.mark.parametrize("depth", TYPES)
CHANNELS = pytest.mark.parametrize("channels", [1, 2, 3, 4])


def pixels(depth: str, channels: int, seed: int = 0) -> np.ndarray:
    dtype, one = TYPES[depth]
    return (np.random.default_rng(seed).random((6, channels)) * one).astype(dtype)


CHANGED = np.array([0, 255, 255, 0, 255, 0], np.uint8)


@DEPTHS
@CHANNELS
def test_selected_pixels_stay_with_full_alpha_and_the_others_are_zero(depth: str, channels: int) -> None:
    dtype, one = TYPES[depth]
    source = pixels(depth, channels)
    result = np.frombuffer(pixel_ops.mask_with_alpha(source.tobytes(), CHANGED.tobytes(), channels, depth), dtype)
    opaque = source if channels % 2 == 0 else np.concatenate([source, np.full((6, 1), one, dtype)], 1)
    assert np.array_equal(result.reshape(6, -1), np.where(CHANGED[:, None] > 0, opaque, 0).astype(dtype))


@DEPTHS
@CHANNELS
def test_merging_takes_each_pixel_from_one_side(depth: str, channels: int) -> None:
    below, above = pixels(depth, channels), pixels(depth, channels, 1)
    result = pixel_ops.merge(below.tobytes(), above.tobytes(), CHANGED.tobytes(), below.strides[0])
    assert result == np.where(CHANGED[:, None] > 0, above, below).tobytes()


@DEPTHS
def test_a_mask_means_the_same_in_every_depth(depth: str) -> None:
    dtype, one = TYPES[depth]
    mask = np.arange(256, dtype=np.uint8)
    stored = np.frombuffer(pixel_ops.mask_to_depth(mask.tobytes(), depth), dtype)
    assert np.allclose(stored / one, mask / 255, atol=1e-7) and stored[255] == one


def test_the_product_of_masks_is_rounded() -> None:
    first, second = (grid.astype(np.uint8) for grid in np.mgrid[0:256, 0:256])
    product = np.frombuffer(pixel_ops.multiply_masks(first.tobytes(), second.tobytes()), np.uint8).reshape(256, 256)
    assert np.array_equal(product, np.rint(first / 255.0 * second).astype(np.uint8))
    all_or_nothing = np.where(first > 99, 255, 0).astype(np.uint8)
    product = np.frombuffer(pixel_ops.multiply_masks(all_or_nothing.tobytes(), second.tobytes()), np.uint8)
    assert np.array_equal(product, np.where(first > 99, second, 0).ravel())


SAME = """
import sys
from binascii import hexlify
sys.path.insert(0, sys.argv[1])
from worker_client.pixel_ops import mask_to_depth, mask_with_alpha, merge, multiply_masks
data = bytes(bytearray(range(1, 25)))
mask = bytes(bytearray([0, 255]))
for depth, size in (("u8", 1), ("u16", 2), ("float", 4)):
    for channels in (1, 2, 3, 4):
        some = data[: 2 * channels * size] if channels * size <= 12 else data + data[: 2 * channels * size - 24]
        for made in (mask_with_alpha(some, mask, channels, depth), merge(some, some[::-1], mask, channels * size)):
            print(hexlify(made).decode())
    print(hexlify(mask_to_depth(data, depth)).decode())
print(hexlify(multiply_masks(data, data[::-1])).decode() + hexlify(multiply_masks(mask * 12, data)).decode())
"""


def test_python_2_7_makes_the_same_bytes(tmp_path: Path) -> None:
    old = find_python2()
    script = tmp_path / "same.py"
    script.write_text(SAME)
    folder = str(Path(pixel_ops.__file__).parents[1])
    result = [
        subprocess.run([python, str(script), folder], capture_output=True, text=True, check=True).stdout
        for python in (old, sys.executable)
    ]
    assert result[0] == result[1] and len(result[0].splitlines()) == 28
