"""Paste-back: only what changes is touched, at any depth, and in strips as in one piece."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ImageCms

from c2p_core.faces import paste as paste_module
from c2p_core.faces.align import CANVAS, Alignment
from c2p_core.faces.canvas import Change
from c2p_core.faces.paste import paste
from c2p_core.photo import Photo

SIZE = 200
# The canvas covers the photo's middle, turned a little.
ALIGNMENT = Alignment(np.array([[0.5, -0.05, 40.0], [0.05, 0.5, 30.0]]))


def make_bump(height: float) -> torch.Tensor:
    """(1, 64, 64), ``height`` in the middle and exactly 0 from a third of the way to the border."""
    positions = (torch.arange(64) - 31.5) / 20
    return height * (1 - positions[:, None] ** 2 - positions**2).clamp(min=0)[None] ** 2


def change(shift: float = 0.0, density: float = 0.0) -> Change:
    return Change(
        torch.cat([make_bump(shift), make_bump(0.0)]),
        make_bump(density).expand(3, -1, -1),
        torch.zeros(1, CANVAS, CANVAS),
        lambda maps: torch.zeros(1, 3, *maps.shape[1:]),
        ("nothing",),
    )


def photo(dtype: Any = np.uint8, channels: int = 3) -> Photo:
    noise = np.random.default_rng(0).random((SIZE, SIZE, channels))
    full = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    return Photo((noise * full).astype(dtype))


def find_changed(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((before != after).any(axis=2))


def test_an_empty_change_leaves_every_bit() -> None:
    original = photo()
    assert np.array_equal(paste(original, [(ALIGNMENT, change())]).pixels, original.pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pixels_outside_the_change_are_bit_identical(dtype: Any) -> None:
    original = photo(dtype)
    changed = find_changed(original.pixels, paste(original, [(ALIGNMENT, change(3.0, 0.3))]).pixels)
    rows, columns = np.nonzero(changed)
    centre = ALIGNMENT.to_photo @ np.array([CANVAS / 2, CANVAS / 2, 1])
    assert changed.any()
    assert np.hypot(columns + 0.5 - centre[0], rows + 0.5 - centre[1]).max() < 0.5 * CANVAS * 0.5


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_grey_and_alpha_are_kept(channels: int) -> None:
    original = photo(channels=channels)
    after = paste(original, [(ALIGNMENT, change(density=0.4))]).pixels
    assert after.shape == original.pixels.shape
    colours = channels if channels in (1, 3) else channels - 1
    assert find_changed(original.pixels[..., :colours], after[..., :colours]).any()
    assert np.array_equal(after[..., colours:], original.pixels[..., colours:])


def test_density_darkens_and_its_negative_brightens() -> None:
    grey = Photo(np.full((SIZE, SIZE, 3), 120, np.uint8))
    assert paste(grey, [(ALIGNMENT, change(density=0.3))]).pixels.min() < 120
    assert paste(grey, [(ALIGNMENT, change(density=-0.3))]).pixels.max() > 120


def test_strips_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    original = photo(np.uint16)
    expected = paste(original, [(ALIGNMENT, change(2.0, 0.2))]).pixels
    monkeypatch.setattr(paste_module, "STRIP_PIXELS", 1000)
    strips = paste(original, [(ALIGNMENT, change(2.0, 0.2))]).pixels
    # Sampling positions differ in their last float digit: a few 65,535ths on pure noise.
    assert np.abs(strips.astype(int) - expected).max() <= 16


def test_a_face_partly_outside_the_picture_is_pasted_as_far_as_it_is_inside() -> None:
    outside = Alignment(np.array([[0.5, 0.0, -64.0], [0.0, 0.5, -64.0]]))
    original = photo()
    assert find_changed(original.pixels, paste(original, [(outside, change(2.0, 0.4))]).pixels).any()


def test_a_shift_moves_the_photos_own_pixels() -> None:
    ramp = np.tile(np.arange(SIZE, dtype=np.float32) / SIZE, (SIZE, 1))[..., None].repeat(3, axis=2)
    straight = Alignment(np.array([[0.5, 0.0, 36.0], [0.0, 0.5, 36.0]]))
    after = paste(Photo(ramp), [(straight, change(shift=4.0))]).pixels
    # The middle shows what was 4 canvas pixels, 2 photo pixels, to its right.
    assert (after[100, 100] - ramp[100, 100]) * SIZE == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("hidden", [0, 255])
def test_colours_beneath_transparent_pixels_stay_invisible(hidden: int) -> None:
    cut_out = np.full((SIZE, SIZE, 4), 120, np.uint8)
    cut_out[:, :100, 3] = 255
    cut_out[:, 100:] = [hidden, hidden, hidden, 0]
    straight = Alignment(np.array([[0.5, 0.0, 36.0], [0.0, 0.5, 36.0]]))
    after = paste(Photo(cut_out), [(straight, change(shift=8.0))]).pixels
    assert np.array_equal(after, cut_out)


def test_an_srgb_profile_gives_the_same_result_as_no_profile() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    plain = Photo(np.full((SIZE, SIZE, 3), 120, np.uint8))
    srgb = Photo(plain.pixels, icc=profile.tobytes())
    assert np.array_equal(
        paste(srgb, [(ALIGNMENT, change(density=0.3))]).pixels, paste(plain, [(ALIGNMENT, change(density=0.3))]).pixels
    )
