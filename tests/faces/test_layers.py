"""Layers: together they show what paste shows, and each can be turned down on its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ImageCms

from c2p_core.faces.align import CANVAS, Alignment
from c2p_core.faces.canvas import Change
from c2p_core.faces.layers import build_layers, hard_light
from c2p_core.faces.paste import full_scale, paste, to_unit
from c2p_core.photo import Layer, Photo

SIZE = 200
ALIGNMENT = Alignment(np.array([[0.5, -0.05, 40.0], [0.05, 0.5, 30.0]]))
# Density per channel of one full coat: lips lighten red and darken green, a highlight only lightens.
COATS = {
    "contour": (0.5, 0.4, 0.4),
    "highlight": (-0.4, -0.4, -0.3),
    "lips": (-0.15, 1.6, 1.1),
    "lip_liner": (2.5, 2.5, 2.4),
    "lashes": (0.0, 0.0, 0.0),
}
AT = {"contour": 100, "highlight": 130, "lips": 120, "lip_liner": 150, "lashes": 128}


def make_bump(centre: float, reach: float, cells: int = CANVAS) -> torch.Tensor:
    """(cells, cells): 1 at a place on the canvas' middle line, exactly 0 from ``reach`` canvas pixels on."""
    centres = (torch.arange(cells) + 0.5) * (CANVAS / cells)
    return (1 - ((centres[:, None] - 128) ** 2 + (centres - centre) ** 2) / reach**2).clamp(min=0) ** 2


def change(strength: Mapping[str, float] | None = None, tone: float = 0.2, shift: float = 4.0) -> Change:
    """A shift, a tone that darkens on one side and lightens on the other, and every product of ``COATS``."""
    shares = [(strength or {}).get(name, 1.0) for name in COATS]
    coats = torch.tensor(list(COATS.values())) * torch.tensor(shares)[:, None]
    side = make_bump(100, 60, 64) - make_bump(150, 60, 64)
    return Change(
        torch.stack([shift * make_bump(128, 70, 64), torch.zeros(64, 64)]),
        tone * torch.stack([side, 0.8 * side, -side]),
        torch.stack([make_bump(AT[name], 30) for name in COATS]),
        lambda maps: coats[:, :, None, None] * maps[:, None],
        tuple(COATS),
    )


def photo(dtype: Any = np.uint8, channels: int = 3, icc: bytes | None = None) -> Photo:
    noise = np.random.default_rng(0).random((SIZE, SIZE, channels))
    if channels in (2, 4):
        noise[..., -1] = 1
    # Black and white to their ends, where factors have no meaning and rounding has no room.
    noise = (1.2 * noise - 0.1).clip(0, 1)
    return Photo((noise * full_scale(np.dtype(dtype))).astype(dtype), icc)


def blend_layers(
    below: NDArray[Any], stack: list[Layer], opacity: Mapping[str, float] | None = None
) -> NDArray[np.float32]:
    """Colours in 0..1 that GIMP shows: layers hold the photo's own numbers, blending is in float."""
    colours = below.shape[2] if below.shape[2] in (1, 3) else below.shape[2] - 1
    canvas = to_unit(below)[..., :colours].copy()
    for layer in stack:
        height, width = layer.pixels.shape[:2]
        part = canvas[layer.y : layer.y + height, layer.x : layer.x + width]
        values = to_unit(layer.pixels)
        alpha = values[..., -1:] * np.float32((opacity or {}).get(layer.name, 1.0))
        if layer.mode == "normal":
            part[:] = values[..., :-1] * alpha + part * (1 - alpha)
        else:
            part[:] = hard_light(part, values[..., :-1], alpha)
    return canvas


def measure_difference(original: Photo, changes: list[tuple[Alignment, Change]]) -> NDArray[np.floating]:
    """Codes of the photo's type between what the layers show and what paste returns."""
    full = full_scale(original.pixels.dtype)
    stack = blend_layers(original.pixels, build_layers(original, changes)) * np.float64(full)
    if original.pixels.dtype != np.float32:
        stack = np.rint(stack)
    return np.abs(stack - paste(original, changes).pixels[..., : stack.shape[2]])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("dtype", "codes"), [(np.uint8, 1), (np.uint16, 1), (np.float32, 1e-6)])
def test_all_layers_together_show_what_paste_shows(dtype: Any, codes: float, channels: int) -> None:
    assert measure_difference(photo(dtype, channels), [(ALIGNMENT, change())]).max() <= codes


def test_8_bit_layers_reproduce_nearly_every_code_exactly() -> None:
    assert (measure_difference(photo(), [(ALIGNMENT, change())]) > 0).mean() < 0.02


@settings(max_examples=15, deadline=None)
@given(st.floats(-3, 3), st.floats(-1, 1), st.sampled_from([np.uint8, np.uint16]))
def test_layers_reproduce_makeup_at_any_bit_depth(depth: float, tone: float, dtype: Any) -> None:
    worn = dict.fromkeys(COATS, depth)
    assert measure_difference(photo(dtype), [(ALIGNMENT, change(worn, tone))]).max() <= 1


@pytest.mark.parametrize("channels", [3, 4])
def test_layers_reproduce_makeup_along_a_tone_curve(channels: int) -> None:
    assert measure_difference(photo(channels=channels), [(ALIGNMENT, replace(change(), toned=True))]).max() <= 1


def test_layers_reproduce_a_photo_in_another_colour_space() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    assert measure_difference(photo(np.uint16, icc=profile), [(ALIGNMENT, change())]).max() <= 1


def test_layers_reproduce_overlapping_faces() -> None:
    beside = Alignment(ALIGNMENT.to_photo + np.array([[0, 0, 30.0], [0, 0, 10.0]]))
    changes = [(ALIGNMENT, change()), (beside, change())]
    assert measure_difference(photo(), changes).max() <= 1
    assert {layer.face for layer in build_layers(photo(), changes)} == {0, 1}


def test_every_product_that_paints_has_a_layer_with_a_plain_name() -> None:
    stack = build_layers(photo(), [(ALIGNMENT, change())])
    names = ["Reshaped skin", "Foundation", "Contour", "Highlight", "Lipstick", "Lip liner"]
    assert [layer.name for layer in stack] == names
    assert [layer.mode for layer in stack] == ["normal", *["hard-light"] * 5]


def test_a_layer_is_no_larger_than_its_product() -> None:
    lips = next(layer for layer in build_layers(photo(), [(ALIGNMENT, change())]) if layer.name == "Lipstick")
    centre = ALIGNMENT.to_photo @ np.array([AT["lips"], 128, 1])
    height, width = lips.pixels.shape[:2]
    assert max(height, width) <= 2 * 30 * 0.5 + 8
    assert lips.x < centre[0] < lips.x + width and lips.y < centre[1] < lips.y + height


def test_nothing_is_opaque_outside_the_change() -> None:
    original = photo()
    untouched = (paste(original, [(ALIGNMENT, change())]).pixels == original.pixels).all(2)
    for layer in build_layers(original, [(ALIGNMENT, change())]):
        height, width = layer.pixels.shape[:2]
        alpha = layer.pixels[..., -1] > 0
        untouched_part = untouched[layer.y : layer.y + height, layer.x : layer.x + width]
        # Noise may come out unchanged where it was toned, but never a whole region.
        assert (untouched_part & alpha).mean() < 0.2


def test_without_a_product_the_others_stay_as_they_were() -> None:
    original = Photo(np.full((SIZE, SIZE, 3), (0.75, 0.6, 0.5), np.float32))
    stack = build_layers(original, [(ALIGNMENT, change(shift=0.0))])
    for product, name in (("contour", "Contour"), ("lips", "Lipstick"), ("highlight", "Highlight")):
        without = paste(original, [(ALIGNMENT, change({product: 0.0}, shift=0.0))]).pixels
        off = np.abs(blend_layers(original.pixels, stack, {name: 0.0}) - without).mean()
        assert off < 0.2 * np.abs(blend_layers(original.pixels, stack) - without).mean()


def test_half_the_opacity_is_half_the_visible_change() -> None:
    original = Photo(np.full((SIZE, SIZE, 3), (0.75, 0.6, 0.5), np.float32))
    only = {name: float(name == "lips") for name in COATS}
    stack = build_layers(original, [(ALIGNMENT, change(only, 0.0, 0.0))])
    full, half = blend_layers(original.pixels, stack), blend_layers(original.pixels, stack, {"Lipstick": 0.5})
    assert np.allclose(half, (full + original.pixels) / 2, atol=1e-6)
    # What the prior itself would paint with half the density is near.
    reference = paste(original, [(ALIGNMENT, change({name: share / 2 for name, share in only.items()}, 0.0, 0.0))])
    assert np.abs(half - reference.pixels).max() < 0.06


def test_a_spot_retouched_in_the_layer_below_stays_retouched_under_dark_makeup() -> None:
    spotted = Photo(np.full((SIZE, SIZE, 3), 0.7, np.float32))
    clean = spotted.pixels.copy()
    x, y = (int(v) for v in ALIGNMENT.to_photo @ np.array([AT["contour"], 128, 1]))
    spotted.pixels[y, x] = 0.3
    only = {name: float(name == "contour") for name in COATS}
    made_up = [(ALIGNMENT, change(only, 0.0, 0.0))]
    makeup = [layer for layer in build_layers(spotted, made_up) if layer.mode != "normal"]
    assert np.abs(blend_layers(clean, makeup) - paste(Photo(clean), made_up).pixels).max() < 0.02


def test_an_empty_change_has_no_layers() -> None:
    assert build_layers(photo(), [(ALIGNMENT, change(dict.fromkeys(COATS, 0.0), 0.0, 0.0))]) == []


def test_the_original_is_not_touched() -> None:
    original = photo()
    before = original.pixels.copy()
    build_layers(original, [(ALIGNMENT, change())])
    assert np.array_equal(original.pixels, before)
