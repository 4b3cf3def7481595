"""The colours of makeup products on the photos of one person: whether the look is the same."""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from c2p_core.faces.layers import hard_light
from c2p_core.faces.paste import to_unit
from c2p_core.photo import Layer
from c2p_core.products.catalogue import CATALOGUE

Colours = Mapping[str, NDArray[np.float64]]
"""(3,) CIE L*a*b* by the product's title."""

# The reference skin on which products are compared, in sRGB 0..1; the photos differ in their light and skin.
_SKIN = np.array([0.78, 0.60, 0.50], np.float32)
_TITLES = frozenset(product.title for product in CATALOGUE.values())


@dataclass(frozen=True)
class Differences:
    """How the products of a person's photos differ, over all pairs of photos.

    Attributes:
        colours: Delta E 2000 of each product that both photos of a pair have.
        unshared: number of products that only one photo of a pair has.
    """

    colours: tuple[float, ...]
    unshared: int


def measure_product_colours(layers: Iterable[Layer]) -> Colours:
    """The colour that each product's layer gives to the same reference skin, over the more opaque half of its area.

    Args:
        layers: of one face.
    """
    return {layer.name: _tint_skin(layer) for layer in layers if layer.name in _TITLES}


def _tint_skin(layer: Layer) -> NDArray[np.float64]:
    values = to_unit(layer.pixels).reshape(-1, layer.pixels.shape[2])
    alpha = values[:, -1:]
    densest = alpha[:, 0] >= np.median(alpha[alpha > 0])
    colours = np.broadcast_to(values[densest, :-1], (int(densest.sum()), 3))
    tinted = hard_light(np.broadcast_to(_SKIN, colours.shape), colours, alpha[densest])
    return np.asarray(rgb2lab(tinted).mean(0), dtype=np.float64)


def compare_product_colours(photos: Sequence[Colours]) -> Differences:
    """Compare the products of a person's photos pair by pair."""
    pairs = list(combinations(photos, 2))
    shared = [(first[name], second[name]) for first, second in pairs for name in first.keys() & second.keys()]
    unshared = sum(len(first.keys() ^ second.keys()) for first, second in pairs)
    return Differences(tuple(float(deltaE_ciede2000(a, b)) for a, b in shared), unshared)
