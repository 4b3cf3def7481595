"""Makeup painted on a face, differentiable, at any resolution.

Products change the optical density, coat by coat, towards the pigment's density under the local light. The photo's
own pixels are multiplied by the exponential of the change, which keeps pores, hairs and gloss. The mask of a product is
the smooth function ``sigmoid((extent - level) / softness)`` of its level map (``geometry``), so that the same maps
serve any resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.colour import DARKEST, LUMINANCE, density
from c2p_core.products.catalogue import CATALOGUE, PRODUCTS
from c2p_core.products.codes import ABSENT, Decoded, decode, make_bare_code
from c2p_core.products.geometry import ProductMaps

_LEAST_VISIBLE = 0.4  # a product is hidden if a smaller share of its place is visible
_INDEX = {name: index for index, name in enumerate(PRODUCTS)}


@dataclass(frozen=True)
class PaintInputs:
    """Everything that painting needs from the photo, independent of the code.

    Attributes:
        maps: (22, H, W), smooth, to be resampled to any grid: 9 levels, 9 masks of paintable surface (0..1), 3 optical
            densities and 1 log luminance of the low-passed photo.
        light: (9,) mean log luminance around each product, the same for every part and grid of one face.
    """

    maps: Tensor
    light: Tensor

    def to(self, device: torch.device) -> PaintInputs:
        return PaintInputs(self.maps.to(device), self.light.to(device))

    def with_maps(self, maps: Tensor) -> PaintInputs:
        """The same face with its maps resampled."""
        return PaintInputs(maps, self.light)


def prepare_paint(maps: ProductMaps, skin: Tensor) -> PaintInputs:
    """Prepare a whole face for ``paint_prepared``; arguments as in ``paint``."""
    weights = LUMINANCE.to(skin)[:, None, None]
    brightness = (skin * weights).sum(0).clamp(min=DARKEST).log()
    surfaces = maps.gate * _find_surfaces(maps, skin)
    bare = decode(make_bare_code().to(skin))
    light = _weighted_mean(brightness, maps.gate * _make_mask(bare, maps.level))
    return PaintInputs(torch.cat([maps.level, surfaces, density(skin), brightness[None]]), light)


def paint(code: Tensor, maps: ProductMaps, skin: Tensor) -> Tensor:
    """Density increments of every product, on the regions' grid: ``prepare_paint`` followed by ``paint_prepared``.

    Args:
        code: (9, 6).
        maps: from ``build_product_maps``, of the whole face.
        skin: (3, H, W) linear light, low-passed (``skin_map``), on the same grid.

    Returns:
        As ``paint_prepared``.
    """
    return paint_prepared(code, prepare_paint(maps, skin))


def paint_prepared(code: Tensor, inputs: PaintInputs) -> Tensor:
    """Density increments (9, 3, H, W) of every product: the painted photo is ``linear * exp(-increments.sum(0))``.

    Exactly 0 where a product is absent. Each stays within its product's limit of density, and the sum nearly so,
    because a later coat is painted over the earlier ones.
    """
    count = len(PRODUCTS)
    level, surfaces = inputs.maps[:count], inputs.maps[count : 2 * count].clamp(0.0, 1.0)
    coated, brightness = inputs.maps[2 * count : 2 * count + 3], inputs.maps[-1]
    decoded = decode(code)
    alpha = decoded.opacity[:, None, None] * surfaces * _make_mask(decoded, level)
    pigment = density(decoded.pigment)
    # An absent product has a gradient, by which a search can bring it back.
    painted = [True] * count if decoded.opacity.requires_grad else (decoded.opacity > 0.0).cpu().tolist()
    increments = []
    for index, product in enumerate(CATALOGUE.values()):
        if not painted[index]:
            increments.append(torch.zeros_like(coated))
            continue
        if product.relative:
            step = decoded.pigment[index]
            increment = alpha[index] * (product.limit * torch.tanh(step / product.limit))[:, None, None]
        else:
            shading = _estimate_shading(brightness, inputs.light[index])
            difference = pigment[index][:, None, None] - shading - coated
            increment = alpha[index] * product.limit * torch.tanh(difference / product.limit)
        coated = coated + increment
        increments.append(increment)
    return torch.stack(increments)


def find_hidden(code: Tensor, maps: ProductMaps, visible: Tensor) -> tuple[str, ...]:
    """Find the products of a code that hardly show, because something covers that part of the face.

    Args:
        code: (9, 6).
        maps: of the whole face, ignoring covers.
        visible: (H, W) 0..1, 1 where nothing covers the face, on the same grid.

    Returns:
        their names, in the order of coats.
    """
    masks = maps.gate * _make_mask(decode(code), maps.level)
    visible_shares = _weighted_mean(visible, masks)
    return tuple(
        name
        for name, row, share in zip(PRODUCTS, code, visible_shares, strict=True)
        if row[3] > ABSENT and share < _LEAST_VISIBLE
    )


def _make_mask(decoded: Decoded, level: Tensor) -> Tensor:
    return torch.sigmoid((decoded.extent[:, None, None] - level) / decoded.softness[:, None, None])


def _estimate_shading(brightness: Tensor, light: Tensor) -> Tensor:
    """Logarithm (H, W) of the light on a pigment: the face's exposure, and the shading within the product.

    A face's brightness is its skin's reflectance times the light; about half (in logarithm) is attributed to light.
    """
    exposure = 0.45 * (light - math.log(0.36)).clamp(-2.3, 1.1)
    return exposure + 0.85 * (brightness - light).clamp(-2.3, 1.4)


def _find_surfaces(maps: ProductMaps, skin: Tensor) -> Tensor:
    """Find the surface of each product, (9, H, W) in 0..1: skin without glasses or hair; hairs of the brow.

    Skin is neither much darker nor lighter than the cheeks and similar in hue. Eyes behind sunglasses get no liner.
    """
    tone = density(skin)
    darkness = tone.mean(0)
    hue = tone - darkness
    cheeks = maps.gate[_INDEX["blush"]] * torch.sigmoid((0.8 - maps.level[_INDEX["blush"]]) / 0.3)
    cheek_darkness, cheek_hue = _weighted_mean(darkness, cheeks), _weighted_mean(hue, cheeks)
    foreign_hue = ((hue - cheek_hue[:, None, None]).square().sum(0).sqrt() - 0.35).clamp(min=0.0) / 0.3
    dark_difference = (darkness - cheek_darkness).abs()
    skin_like = torch.exp(-((dark_difference - 1.1).clamp(min=0.0) / 0.5).square() - foreign_hue.square())
    # Deep-set eyes lie in shadow; only glasses are darker still.
    lid_like = torch.exp(-((dark_difference - 1.9).clamp(min=0.0) / 0.4).square() - foreign_hue.square())

    lid = maps.gate[_INDEX["eyeshadow"]] * torch.sigmoid((0.6 - maps.level[_INDEX["eyeshadow"]]) / 0.1)
    # Lenses in a face that lies in shadow are no darker than deep-set eyes, but eyes have lashes, whites and light.
    lid_darkness = _weighted_mean(darkness, lid)
    spread = _weighted_mean((darkness - lid_darkness).square(), lid).sqrt()
    lens = ((lid_darkness - cheek_darkness - 0.8) / 0.3).clamp(0.0, 1.0) * ((0.3 - spread) / 0.1).clamp(0.0, 1.0)
    lid_like = lid_like * (1.0 - lens)
    eyes_show = ((_weighted_mean(lid_like, lid) - 0.35) / 0.3).clamp(0.0, 1.0)
    brow = maps.gate[_INDEX["brow"]] * torch.sigmoid(-maps.level[_INDEX["brow"]] / 0.01)
    hairy = torch.sigmoid((darkness - _weighted_mean(darkness, brow)) / 0.12 + 0.8)
    everywhere = torch.ones_like(darkness)
    surfaces = {
        "skin": skin_like,
        "lids": lid_like,
        "hairs": hairy,
        "eyes": eyes_show * everywhere,
        "anything": everywhere,
    }
    return torch.stack([surfaces[product.sticks_to] for product in CATALOGUE.values()])


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over the last two dimensions; 0 where there is no weight at all."""
    return (values * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp(min=1e-6)


def skin_map(linear: Tensor, eye_distance: float) -> Tensor:
    """Low-passed linear photo (3, H, W): colour and shading without texture; ``eye_distance`` in its pixels."""
    sigma = 0.035 * eye_distance
    radius = max(1, int(2.5 * sigma + 0.5))
    offsets = torch.arange(-radius, radius + 1, dtype=linear.dtype, device=linear.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    tone = density(linear)[:, None]
    tone = F.conv2d(F.pad(tone, (radius, radius, 0, 0), mode="replicate"), kernel[None, None, None, :])
    tone = F.conv2d(F.pad(tone, (0, 0, radius, radius), mode="replicate"), kernel[None, None, :, None])
    return torch.exp(-tone[:, 0])
