"""Every makeup product, one record each: what it may do to a face."""

from __future__ import annotations

from dataclasses import dataclass

Rgb = tuple[float, float, float]

PRODUCTS = ("contour", "blush", "highlight", "eyeshadow", "brow", "eyeliner", "lashes", "lips", "lip_liner")


@dataclass(frozen=True)
class Range:
    """What a product may do.

    ``palette`` is None for free colour, three sRGB colours to mix, or (``relative``) three densities added to the
    skin's own. ``limit`` bounds the density change.
    ``extent`` and ``softness`` are in the units of the product's level map.
    """

    opacity: float
    extent: tuple[float, float]
    softness: tuple[float, float]
    limit: float
    palette: tuple[Rgb, Rgb, Rgb] | None = None
    relative: bool = False


_BROWN_TO_BLACK = ((0.06, 0.05, 0.05), (0.27, 0.18, 0.12), (0.50, 0.38, 0.26))
_CHEEK = ((0.90, 0.42, 0.50), (0.95, 0.50, 0.36), (0.52, 0.16, 0.28))
_SHADE = ((0.62, 0.80, 0.86), (0.50, 0.80, 1.02), (0.70, 0.78, 0.78))
_GLOW = ((-0.42, -0.42, -0.42), (-0.46, -0.42, -0.30), (-0.42, -0.36, -0.36))

RANGES: dict[str, Range] = {
    "contour": Range(0.60, (0.30, 1.30), (0.40, 0.80), 0.8, _SHADE, relative=True),
    "blush": Range(0.75, (0.20, 1.10), (0.50, 0.90), 0.9, _CHEEK),
    "highlight": Range(0.90, (0.20, 1.10), (0.40, 0.80), 0.6, _GLOW, relative=True),
    "eyeshadow": Range(0.95, (0.25, 0.85), (0.07, 0.22), 2.6),
    "brow": Range(0.80, (-0.012, 0.012), (0.008, 0.022), 2.0, _BROWN_TO_BLACK),
    "eyeliner": Range(0.97, (0.010, 0.040), (0.004, 0.014), 3.5),
    "lashes": Range(0.90, (0.003, 0.014), (0.003, 0.006), 3.0, _BROWN_TO_BLACK),
    # No lipstick goes beyond the lips' edge: what is softer starts farther in.
    "lips": Range(0.95, (-0.016, -0.006), (0.004, 0.009), 3.0),
    "lip_liner": Range(0.85, (0.006, 0.014), (0.003, 0.006), 2.2),
}
