"""Colour profiles: conversion to sRGB, which models take, and the encoding curve of a profile."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image, ImageCms

from c2p_core.errors import Message
from c2p_core.io.vips import to_vips
from c2p_core.photo import Photo

_MIDDLE_GREY = 128


def to_srgb(photo: Photo) -> NDArray[np.float32]:
    """Convert a photo to the input of models: (height, width, 3) float32 in 0..1, sRGB, without alpha.

    8-bit photos with a profile are converted in 8 bits, all others in 16, because 8 bits of linear light have too few
    steps in the shadows. Pixels that are written to a file are never converted. Where a profile can't be used, sRGB is
    assumed (see ``profile_warnings``).
    """
    colour = photo.pixels[..., :1] if photo.pixels.shape[2] < 3 else photo.pixels[..., :3]
    convert = _convert_in_8_bits if colour.dtype == np.uint8 else _convert_in_16_bits
    if photo.icc and (converted := convert(colour, photo.icc)) is not None:
        return _scale_to_unit(converted)
    return np.repeat(_scale_to_unit(colour), 3, axis=2) if colour.shape[2] == 1 else _scale_to_unit(colour)


def measure_gamma(photo: Photo) -> float | None:
    """Measure the exponent of the photo's encoding curve at middle grey with its profile; None for sRGB."""
    if not photo.icc:
        return None
    grey = np.full((1, 1, 1 if photo.pixels.shape[2] < 3 else 3), _MIDDLE_GREY, np.uint8)
    converted = _convert_in_8_bits(grey, photo.icc)
    if converted is None or abs(int(converted.ravel()[0]) - _MIDDLE_GREY) <= 1:
        return None
    linear = ((float(converted.ravel()[0]) / 255 + 0.055) / 1.055) ** 2.4
    return math.log(linear) / math.log(_MIDDLE_GREY / 255)


def profile_warnings(photo: Photo) -> list[Message]:
    """A message for the user where the photo's colour profile can't be used, else an empty list."""
    if not photo.icc:
        return []
    grey = photo.pixels.shape[2] < 3
    if _convert_in_8_bits(np.zeros((1, 1, 1 if grey else 3), np.uint8), photo.icc) is not None:
        return []
    return [Message("profile-ignored")]


def _convert_in_16_bits(colour: NDArray[Any], icc: bytes) -> NDArray[np.uint16] | None:
    # libvips silently replaces an unsuitable profile with sRGB.
    if _convert_in_8_bits(np.zeros((1, 1, colour.shape[2]), np.uint8), icc) is None:
        return None
    pixels = colour if colour.dtype == np.uint16 else np.rint(_scale_to_unit(colour) * 65535).astype(np.uint16)
    picture = to_vips(Photo(pixels))
    picture.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    try:
        converted = picture.icc_transform("srgb", embedded=True, depth=16, intent="relative")
        data = converted.write_to_memory()
    except pyvips.Error:
        return None
    return np.ndarray(buffer=data, dtype=np.uint16, shape=(converted.height, converted.width, converted.bands))


def _convert_in_8_bits(colour: NDArray[np.uint8], icc: bytes) -> NDArray[np.uint8] | None:
    picture = Image.fromarray(colour[..., 0] if colour.shape[2] == 1 else colour)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, source, target, renderingIntent=intent, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return None if converted is None else np.asarray(converted)


def _scale_to_unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    if pixels.dtype == np.float32:
        return pixels
    unit = pixels.astype(np.float32)
    unit /= np.float32(np.iinfo(pixels.dtype).max)
    return unit
