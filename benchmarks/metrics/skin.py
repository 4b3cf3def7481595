"""Colour of skin in a picture, and how far protection shifts it."""

# mypy: allow-untyped-calls
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from benchmarks.metrics.face_masks import make_skin_mask
from c2p_core.api import Face
from c2p_core.io.rgb8 import Rgb8


@dataclass(frozen=True)
class ColourShift:
    """Delta E 2000 in skin: mean, and the 95th percentile; 0 where a face shows no skin."""

    mean: float
    p95: float


def measure_skin_shift(before: Rgb8, after: Rgb8, face: Face) -> ColourShift:
    """Delta E 2000 between the pictures over the skin visible in the original (`face_masks.make_skin_mask`)."""
    lab = rgb2lab(before)
    mask = make_skin_mask(lab, face.mesh, face.eye_distance)
    if not mask.any():
        return ColourShift(mean=0.0, p95=0.0)
    shift = deltaE_ciede2000(lab[mask], rgb2lab(after[mask]))
    return ColourShift(mean=float(shift.mean()), p95=float(np.percentile(shift, 95)))


def measure_skin_tone(picture: Rgb8, face: Face) -> float | None:
    """Individual typology angle of the visible skin (Chardon et al. 1991): atan2(L* - 50, b*) of the medians, degrees.

    55 and more is very light, 41 light, 28 intermediate, 10 tan, -30 brown, less is dark. None when no skin is seen.
    It measures the picture, light and camera included, not the person.
    """
    lab = rgb2lab(picture)
    mask = make_skin_mask(lab, face.mesh, face.eye_distance)
    if not mask.any():
        return None
    lightness, _, yellow = np.median(lab[mask], axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))
