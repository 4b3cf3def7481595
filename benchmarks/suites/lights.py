"""Colour photos of one person; the shared photos of people are all black and white."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from c2p_core.colour import linear_to_srgb, srgb_to_linear
from c2p_core.io.rgb8 import Rgb8

# Gains of red, green and blue, whether the portrait is mirrored, and the share cropped off: daylight, a lamp, the
# shade, a flash.
_LIGHTS = {
    "daylight": ((1.0, 1.0, 1.0), False, 0.0),
    "lamp": ((0.85, 0.62, 0.42), True, 0.0),
    "shade": ((0.5, 0.56, 0.64), False, 0.06),
    "flash": ((1.2, 1.2, 1.25), True, 0.06),
}


def photograph_in_lights(portrait: Path, folder: Path) -> list[Path]:
    """Write a portrait as several photos, in different light and with different crops; returns their files."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.open(portrait).convert("RGB")
    paths = []
    for name, (light, mirrored, cropped) in _LIGHTS.items():
        margin = round(cropped * min(picture.size))
        section = ImageOps.crop(ImageOps.mirror(picture) if mirrored else picture, margin)
        path = folder / f"{name}.png"
        Image.fromarray(_apply_light(np.asarray(section), light)).save(path)
        paths.append(path)
    return paths


def _apply_light(picture: Rgb8, light: tuple[float, float, float]) -> Rgb8:
    """In linear light."""
    linear = srgb_to_linear(torch.from_numpy(picture.astype(np.float32) / 255)) * torch.tensor(light)
    return np.asarray((linear_to_srgb(linear.clamp(max=1.0)) * 255).round().to(torch.uint8).numpy())
