"""Pictures of 8 bits: conversion to and from floating point, and lossy compression."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Rgb8 = NDArray[np.uint8]
"""(height, width, 3) sRGB."""


def as_floats(picture: Rgb8) -> NDArray[np.float32]:
    """The picture in 0..1."""
    return np.asarray(picture, np.float32) / np.float32(255)


def as_bytes(values: NDArray[np.floating[Any]]) -> Rgb8:
    """Values in 0..1 as bytes."""
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8)


def tensor_as_bytes(pixels: Tensor) -> Rgb8:
    """(3, H, W) sRGB 0..1 as (H, W, 3) bytes."""
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def recompress(picture: Rgb8, kind: str, quality: int) -> Rgb8:
    """The picture after lossy compression as "JPEG" or "WEBP"."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))
