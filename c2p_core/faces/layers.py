"""Builds a changed face as a stack of layers: the reshaped skin, the foundation, and one layer per makeup product.

In hosts such as GIMP a photographer can then turn the lipstick down and keep the rest. All layers together show the
same as ``paste``. Blending happens in the photo's encoded values rather than in linear light: multiplying encoded
values multiplies light too (exactly for a power curve, nearly for sRGB), half the opacity looks like half the makeup,
and 8 bits suffice.

Why hard light: a product raises or lowers the density of each channel (red lips get darker in green, lighter in red).
*Multiply* can't brighten, *divide* can't darken, and *grain merge* adds, so makeup above a layer with reduced opacity
would get the wrong depth; a normal layer would hide retouching beneath it. *Hard light* multiplies below the middle of
its range and screens above, so one layer does both. (On a real face with four looks and one product switched off, the
others were within a mean Delta E of 0.7 of what the prior itself would paint; 1.2 with grain merge.) Each layer has the
least alpha that the change needs: it is then a map of the product and uses the full range of an 8-bit channel.

Each layer is computed from the actual result of the layers below it, and thus corrects their rounding errors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from c2p_core.colour import decode, encode
from c2p_core.faces.align import Alignment
from c2p_core.faces.canvas import Change
from c2p_core.faces.paste import (
    INVISIBLE_DENSITY,
    Strip,
    canvas_box,
    compute_strips,
    from_unit,
    full_scale,
    to_unit,
    write_strip,
)
from c2p_core.io.colour_profiles import measure_gamma
from c2p_core.photo import Layer, Photo
from c2p_core.products.catalogue import CATALOGUE

SKIN = "Reshaped skin"
FOUNDATION = "Foundation"
# Alpha below this is a rounding error.
_MIN_ALPHA = 1e-6


def build_layers(photo: Photo, changes: list[tuple[Alignment, Change]]) -> list[Layer]:
    """Build the layers of the changed faces, from bottom to top; products that paint nothing are left out.

    Over the photo they show what ``paste`` returns, to within the last bit of an integer type. Where a face overlaps an
    earlier one, it covers the earlier one's layers, because it moves their painted pixels.

    Args:
        photo: upright picture.
        changes: one alignment and change per face.
    """
    below = photo.pixels
    built: list[Layer] = []
    for face, (alignment, change) in enumerate(changes):
        stack, below = _build_face_layers(below, alignment, change, measure_gamma(photo))
        built += [replace(layer, face=face) for layer in stack]
    return built


def _build_face_layers(
    below: NDArray[Any], alignment: Alignment, change: Change, gamma: float | None
) -> tuple[list[Layer], NDArray[Any]]:
    """Build the layers of one face over the pixels ``below``; returns them and the pixels that they show."""
    products = _find_visible_products(change)
    names = [SKIN, FOUNDATION, *(CATALOGUE[change.products[number]].title for number in products)]
    channels = below.shape[2]
    colours = channels if channels in (1, 3) else channels - 1
    x0, y0, x1, y1 = canvas_box(below, alignment)
    sheets = [np.zeros((max(0, y1 - y0), max(0, x1 - x0), colours + 1), below.dtype) for _ in names]
    composite = below.copy()
    for strip in compute_strips(below, alignment, change, gamma, products):
        covered = composite[strip.rows, strip.columns]
        write_strip(composite, strip, strip.painted(gamma))
        skin = from_unit(strip.warped.T.numpy(), below.dtype)
        alpha = covered[strip.touched][:, colours:]
        if not alpha.shape[1]:
            alpha = np.full((len(skin), 1), full_scale(below.dtype), below.dtype)
        target = covered[strip.touched][:, :colours]
        stacked = [np.concatenate([skin, alpha], 1), *_compute_coats(strip, skin, target, gamma)]
        for sheet, values in zip(sheets, stacked, strict=True):
            sheet[strip.rows.start - y0 : strip.rows.stop - y0][strip.touched] = values
    cropped = (_crop_to_paint(sheet, name, x0, y0) for name, sheet in zip(names, sheets, strict=True))
    return [layer for layer in cropped if layer], composite


def _compute_coats(strip: Strip, skin: NDArray[Any], target: NDArray[Any], gamma: float | None) -> list[NDArray[Any]]:
    """Compute (N, C + 1) values of the foundation's and each product's layer, for a strip's N pixels.

    Args:
        strip: the strip.
        skin: (N, C) pixels beneath, in the photo's type.
        target: (N, C) result of all layers together, in the photo's type.
        gamma: see ``colour.decode``.
    """
    visible = strip.increments.abs().amax(1) > INVISIBLE_DENSITY
    increments = strip.increments * visible[:, None]
    # The products' faintest rims belong to the foundation, or their layers would extend over the whole face.
    foundation = strip.density * strip.toned - increments.sum(0)
    top = (visible * torch.arange(1, len(visible) + 1)[:, None]).amax(0) if len(visible) else torch.zeros(len(skin))
    skin_light = decode(torch.from_numpy(to_unit(skin)).T, gamma)
    density = torch.zeros_like(foundation)
    composite = to_unit(skin)
    coats = []
    for number, increment in enumerate([foundation, *increments]):
        density = density + increment
        coat_target = encode(skin_light * torch.exp(-density), gamma).T.numpy()
        coat_target = np.where((top == number).numpy()[:, None], to_unit(target), coat_target)
        covered = np.ones(len(skin), bool) if number == 0 else visible[number - 1].numpy()
        coat, blended = _compute_hard_light(composite[covered], coat_target[covered], skin.dtype)
        values = np.zeros((len(skin), skin.shape[1] + 1), skin.dtype)
        values[covered], composite[covered] = coat, blended
        coats.append(values)
    return coats


def _compute_hard_light(
    below: NDArray[np.float32], target: NDArray[np.float32], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Compute the hard-light pixels that turn ``below`` into ``target``, (N, C) in 0..1, and their actual result."""
    darker = target < below
    range_left = np.where(darker, below, 1 - below)
    change = np.divide(target - below, range_left, out=np.zeros_like(below), where=range_left > 0)
    full = full_scale(dtype)
    alpha = np.abs(change).max(1, keepdims=True)
    if dtype != np.float32:
        alpha = np.ceil(alpha * full - np.float32(1e-3)) / full
    alpha = np.where(alpha < _MIN_ALPHA, 0, alpha).astype(np.float32)
    layer = 0.5 + 0.5 * np.divide(change, alpha, out=np.zeros_like(below), where=alpha > 0).clip(-1, 1)
    # Round to the neighbouring code with the nearer result: around the middle that is not always the nearest code.
    low, high = (np.clip(f(layer * full) / full, 0, 1) if dtype != np.float32 else layer for f in (np.floor, np.ceil))
    shows_low, shows_high = hard_light(below, low, alpha), hard_light(below, high, alpha)
    lower = np.abs(shows_low - target) <= np.abs(shows_high - target)
    values = np.concatenate([np.where(lower, low, high), alpha], 1) * (alpha > 0)
    return from_unit(values.astype(np.float32), dtype), np.where(lower, shows_low, shows_high)


def hard_light(
    below: NDArray[np.float32], layer: NDArray[np.float32], alpha: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Blend a hard-light layer with straight alpha over opaque colours, as GIMP 2.10 and 3 do; all in 0..1."""
    blended = np.where(layer > 0.5, 1 - (1 - below) * (1 - (layer - 0.5) * 2), below * (layer * 2))
    return np.asarray(blended * alpha + below * (1 - alpha), np.float32)


def _find_visible_products(change: Change) -> list[int]:
    """Indices of the products that paint anything visible."""
    strongest = change.paint(change.maps).abs().flatten(1).amax(1)
    return [number for number, density in enumerate(strongest.tolist()) if density > INVISIBLE_DENSITY]


def _crop_to_paint(sheet: NDArray[Any], name: str, x0: int, y0: int) -> Layer | None:
    """Crop a sheet, whose corner is at x0, y0, to its painted pixels; None when there are none."""
    painted = sheet[..., -1] > 0
    rows, columns = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
    if not len(rows):
        return None
    left, top = int(columns[0]), int(rows[0])
    pixels = sheet[top : rows[-1] + 1, left : columns[-1] + 1].copy()
    return Layer(name, 0, "normal" if name == SKIN else "hard-light", x0 + left, y0 + top, pixels)
