"""Colour profiles: the sRGB view that models look at, and what a profile says of its photo's encoding."""

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

_MIDDLE = 128


def to_srgb(photo: Photo) -> NDArray[np.float32]:
    """The working view that models look at: (height, width, 3) float32 in 0..1, sRGB, alpha left out.

    A photo with a profile is converted through 8 bits when it has no more, else through 16: in linear light, 8 bits
    leave few steps in the dark. Pixels that go back to a file never pass here. A profile that can't be used is taken
    for sRGB (``profile_warnings`` says so).
    """
    colour = photo.pixels[..., :1] if photo.pixels.shape[2] < 3 else photo.pixels[..., :3]
    through = _through_profile if colour.dtype == np.uint8 else _through_profile_in_16_bits
    if photo.icc and (converted := through(colour, photo.icc)) is not None:
        return _unit(converted)
    return np.repeat(_unit(colour), 3, axis=2) if colour.shape[2] == 1 else _unit(colour)


def own_gamma(photo: Photo) -> float | None:
    """Exponent of the photo's own encoding curve, read off its profile at middle grey; None for sRGB's."""
    if not photo.icc:
        return None
    grey = np.full((1, 1, 1 if photo.pixels.shape[2] < 3 else 3), _MIDDLE, np.uint8)
    converted = _through_profile(grey, photo.icc)
    if converted is None or abs(int(converted.ravel()[0]) - _MIDDLE) <= 1:
        return None
    linear = ((float(converted.ravel()[0]) / 255 + 0.055) / 1.055) ** 2.4
    return math.log(linear) / math.log(_MIDDLE / 255)


def profile_warnings(photo: Photo) -> list[Message]:
    """A message for the user when the photo's colour profile can't be used, else nothing."""
    if not photo.icc:
        return []
    grey = photo.pixels.shape[2] < 3
    if _through_profile(np.zeros((1, 1, 1 if grey else 3), np.uint8), photo.icc) is not None:
        return []
    return [Message("profile-ignored")]


def _through_profile_in_16_bits(colour: NDArray[Any], icc: bytes) -> NDArray[np.uint16] | None:
    # libvips takes a profile that does not fit for sRGB and says nothing.
    if _through_profile(np.zeros((1, 1, colour.shape[2]), np.uint8), icc) is None:
        return None
    deep = colour if colour.dtype == np.uint16 else np.rint(_unit(colour) * 65535).astype(np.uint16)
    picture = to_vips(Photo(deep))
    picture.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    try:
        converted = picture.icc_transform("srgb", embedded=True, depth=16, intent="relative")
        data = converted.write_to_memory()
    except pyvips.Error:
        return None
    return np.ndarray(buffer=data, dtype=np.uint16, shape=(converted.height, converted.width, converted.bands))


def _through_profile(colour: NDArray[np.uint8], icc: bytes) -> NDArray[np.uint8] | None:
    picture = Image.fromarray(colour[..., 0] if colour.shape[2] == 1 else colour)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, source, target, renderingIntent=intent, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return None if converted is None else np.asarray(converted)


def _unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    if pixels.dtype == np.float32:
        return pixels
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
