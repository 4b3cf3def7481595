"""A changed face as a stack of layers: the reshaped skin, the foundation, and every makeup product on its own.

For hosts such as GIMP, where a photographer turns the lipstick down and keeps the rest. All layers together show what
``paste`` shows. Blending happens in the photo's own encoded numbers, and not in linear light: there a multiplication
is a multiplication of light too (exactly so for a power curve, nearly for sRGB's), half the opacity looks like half
the makeup, and 8 bits are enough.

Why hard light: a product changes each channel's density up or down (red lips get darker in green and lighter in red).
*Multiply* can't brighten, *divide* can't darken, *grain merge* adds: makeup above a layer that was turned down would
then have the wrong depth, and a normal layer would cover what is retouched beneath it. *Hard light* multiplies below
the middle of its scale and screens above, so that one layer holds both. (On a real face in four looks, with one
product off, the others were within a mean Delta E of 0.7 of what the prior itself would have painted; 1.2 with grain
merge.) Its alpha is the least that the change needs, which makes it a map of the product, and spends all codes of an
8-bit channel on what is really painted there.

What a layer rounds away, the next one above corrects: it is computed from what the layers below really show.
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
from c2p_core.imageio import own_gamma
from c2p_core.photo import Layer, Photo

SKIN = "Reshaped skin"
FOUNDATION = "Foundation"
# Where a product's own name is not what it is called at the counter.
_CALLED = {"lips": "Lipstick", "brow": "Brows"}
# Less alpha than this is rounding and no change.
_NOTHING = 1e-6


def build_layers(photo: Photo, changes: list[tuple[Alignment, Change]]) -> list[Layer]:
    """The changed faces as layers, face by face, each from the bottom to the top; products that paint nothing are
    left out.

    Laid over the photo they show what ``paste`` returns, to within the last bit of an integer type. A face that
    overlaps an earlier one covers the earlier one's layers there, because it moves what they painted.

    Args:
        photo: upright picture.
        changes: one alignment and change per face.
    """
    below = photo.pixels
    found: list[Layer] = []
    for face, (alignment, change) in enumerate(changes):
        stack, below = _stack(below, alignment, change, own_gamma(photo))
        found += [replace(layer, face=face) for layer in stack]
    return found


def _stack(
    below: NDArray[Any], alignment: Alignment, change: Change, gamma: float | None
) -> tuple[list[Layer], NDArray[Any]]:
    """The layers of one face over the photo's pixels ``below``, and the pixels that they show there."""
    painting = _painting(change)
    names = [SKIN, FOUNDATION, *(_title(change.products[number]) for number in painting)]
    channels = below.shape[2]
    colours = channels if channels in (1, 3) else channels - 1
    x0, y0, x1, y1 = canvas_box(below, alignment)
    sheets = [np.zeros((max(0, y1 - y0), max(0, x1 - x0), colours + 1), below.dtype) for _ in names]
    shown = below.copy()
    for strip in compute_strips(below, alignment, change, painting):
        here = shown[strip.rows, strip.columns]
        write_strip(shown, strip, strip.painted(gamma))
        skin = from_unit(strip.fetched.T.numpy(), below.dtype)
        alpha = here[strip.touched][:, colours:]
        if not alpha.shape[1]:
            alpha = np.full((len(skin), 1), full_scale(below.dtype), below.dtype)
        target = here[strip.touched][:, :colours]
        stacked = [np.concatenate([skin, alpha], 1), *_coats(strip, skin, target, gamma)]
        for sheet, values in zip(sheets, stacked, strict=True):
            sheet[strip.rows.start - y0 : strip.rows.stop - y0][strip.touched] = values
    cropped = (_cropped(sheet, name, x0, y0) for name, sheet in zip(names, sheets, strict=True))
    return [layer for layer in cropped if layer], shown


def _coats(strip: Strip, skin: NDArray[Any], target: NDArray[Any], gamma: float | None) -> list[NDArray[Any]]:
    """(N, C + 1) stored values of the foundation and of each product, for a strip's N pixels.

    Args:
        skin: (N, C) what lies beneath, as stored.
        target: (N, C) what all layers shall show together, as stored.
    """
    worn = strip.increments.abs().amax(1) > INVISIBLE_DENSITY
    increments = strip.increments * worn[:, None]
    # The products' faintest rims go with the foundation, so that no layer reaches over the whole face for them.
    foundation = strip.density * strip.toned - increments.sum(0)
    top = (worn * torch.arange(1, len(worn) + 1)[:, None]).amax(0) if len(worn) else torch.zeros(len(skin))
    skin_light = decode(torch.from_numpy(to_unit(skin)).T, gamma)
    added = torch.zeros_like(foundation)
    shown = to_unit(skin)
    coats = []
    for number, increment in enumerate([foundation, *increments]):
        added = added + increment
        wanted = encode(skin_light * torch.exp(-added), gamma).T.numpy()
        wanted = np.where((top == number).numpy()[:, None], to_unit(target), wanted)
        here = np.ones(len(skin), bool) if number == 0 else worn[number - 1].numpy()
        coat, blended = _coat(shown[here], wanted[here], skin.dtype)
        values = np.zeros((len(skin), skin.shape[1] + 1), skin.dtype)
        values[here], shown[here] = coat, blended
        coats.append(values)
    return coats


def _coat(
    below: NDArray[np.float32], wanted: NDArray[np.float32], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The hard-light pixels that turn ``below`` into ``wanted``, (N, C) in 0..1 each, as stored, and what they show."""
    falls = wanted < below
    room = np.where(falls, below, 1 - below)
    change = np.divide(wanted - below, room, out=np.zeros_like(below), where=room > 0)
    full = full_scale(dtype)
    alpha = np.abs(change).max(1, keepdims=True)
    if dtype != np.float32:
        alpha = np.ceil(alpha * full - np.float32(1e-3)) / full
    alpha = np.where(alpha < _NOTHING, 0, alpha).astype(np.float32)
    layer = 0.5 + 0.5 * np.divide(change, alpha, out=np.zeros_like(below), where=alpha > 0).clip(-1, 1)
    # Of the two codes next to it, the one that comes out nearer: around the middle they are not alike.
    low, high = (np.clip(f(layer * full) / full, 0, 1) if dtype != np.float32 else layer for f in (np.floor, np.ceil))
    shows_low, shows_high = hard_light(below, low, alpha), hard_light(below, high, alpha)
    lower = np.abs(shows_low - wanted) <= np.abs(shows_high - wanted)
    values = np.concatenate([np.where(lower, low, high), alpha], 1) * (alpha > 0)
    return from_unit(values.astype(np.float32), dtype), np.where(lower, shows_low, shows_high)


def hard_light(
    below: NDArray[np.float32], layer: NDArray[np.float32], alpha: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What a hard-light layer with straight alpha shows over opaque colours; all in 0..1 (GIMP 2.10 and 3)."""
    blended = np.where(layer > 0.5, 1 - (1 - below) * (1 - (layer - 0.5) * 2), below * (layer * 2))
    return np.asarray(blended * alpha + below * (1 - alpha), np.float32)


def _painting(change: Change) -> list[int]:
    """Numbers of the products of which anything can be seen."""
    strongest = change.paint(change.maps).abs().flatten(1).amax(1)
    return [number for number, most in enumerate(strongest.tolist()) if most > INVISIBLE_DENSITY]


def _title(product: str) -> str:
    return _CALLED.get(product, product.replace("_", " ").capitalize())


def _cropped(sheet: NDArray[Any], name: str, x0: int, y0: int) -> Layer | None:
    """A layer of no more than what is painted on a sheet that lies at x0, y0; None when there is nothing."""
    painted = sheet[..., -1] > 0
    rows, columns = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
    if not len(rows):
        return None
    left, top = int(columns[0]), int(rows[0])
    pixels = sheet[top : rows[-1] + 1, left : columns[-1] + 1].copy()
    return Layer(name, 0, "normal" if name == SKIN else "hard-light", x0 + left, y0 + top, pixels)
