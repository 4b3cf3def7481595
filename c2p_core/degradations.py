"""What happens to published pictures: networks, screenshots and clean-up filters change pixels.

Protection that does not outlive these was none. ``c2p check --survival``, the worker's check and the benchmarks share
what stands here. (What the search itself practises against is in ``eot``: that has to be differentiable.)
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from c2p_core.imageio import to_srgb
from c2p_core.photo import Photo

Rgb8 = NDArray[np.uint8]

# What social networks typically make of a photo.
UPLOAD_QUALITY = 75
UPLOAD_WIDTH = 1080
_SHARPEN = ImageFilter.UnsharpMask(radius=1.0, percent=50, threshold=0)

_CUT = 0.025  # of each side: what is left is 5 % smaller, and enlarged again
_TV_WEIGHT = 0.05
_NLM_SIGMA = 0.03  # what a purifier would take for noise: the strength of usual adversarial noise


@dataclass(frozen=True)
class Degradation:
    """One thing that happens to a picture.

    Attributes:
        name: for tables and files.
        apply: (height, width, 3) uint8 sRGB, and by how much an upload would resize it (0..1), to the picture that
            arrives, possibly smaller.
        cut: share of the width and height that is cut off at each side.
    """

    name: str
    apply: Callable[[Rgb8, float], Rgb8]
    cut: float = 0.0


def through_file(picture: Rgb8, kind: str, quality: int) -> Rgb8:
    """The picture written as a lossy file ("JPEG" or "WEBP") and read again."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def uploaded(picture: Rgb8, scale: float) -> Rgb8:
    """As a network shows it: resized by ``scale`` (0..1), a JPEG of ``UPLOAD_QUALITY``, sharpened."""
    small = _resized(picture, (round(picture.shape[1] * scale), round(picture.shape[0] * scale)))
    return np.asarray(Image.fromarray(through_file(small, "JPEG", UPLOAD_QUALITY)).filter(_SHARPEN))


def typical_upload(photo: Photo, scale: float) -> Photo:
    """A whole photo ``uploaded``, in sRGB."""
    return Photo(uploaded(_as_bytes(to_srgb(photo)), scale))


def as_floats(picture: Rgb8) -> NDArray[np.float32]:
    """The same in 0..1."""
    return np.asarray(picture, np.float32) / np.float32(255)


def _as_bytes(values: NDArray[np.floating[Any]]) -> Rgb8:
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8)


def _resized(picture: Rgb8, size: tuple[int, int]) -> Rgb8:
    width, height = (max(1, side) for side in size)
    if (height, width) == picture.shape[:2]:
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _there_and_back(picture: Rgb8, share: float) -> Rgb8:
    height, width = picture.shape[:2]
    return _resized(_resized(picture, (round(width * share), round(height * share))), (width, height))


def _mean(picture: Rgb8, side: int) -> Rgb8:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.BoxBlur((side - 1) / 2)))


def _noisy(picture: Rgb8, sigma: float) -> Rgb8:
    noise = np.random.default_rng(0).standard_normal(picture.shape, dtype=np.float32)
    return _as_bytes(as_floats(picture) + np.float32(sigma) * noise)


def _gamma(picture: Rgb8, exponent: float) -> Rgb8:
    return _as_bytes((np.arange(256) / 255) ** exponent)[picture]


def _cropped(picture: Rgb8) -> Rgb8:
    height, width = picture.shape[:2]
    box = (width * _CUT, height * _CUT, width * (1 - _CUT), height * (1 - _CUT))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS, box))


def _total_variation(picture: Rgb8) -> Rgb8:
    from skimage.restoration import denoise_tv_chambolle

    return _as_bytes(denoise_tv_chambolle(as_floats(picture), weight=_TV_WEIGHT, channel_axis=-1))


def _non_local_means(picture: Rgb8) -> Rgb8:
    from skimage.restoration import denoise_nl_means

    values = as_floats(picture)
    return _as_bytes(
        denoise_nl_means(values, patch_size=5, patch_distance=6, h=0.8 * _NLM_SIGMA, sigma=_NLM_SIGMA, channel_axis=-1)
    )


DEGRADATIONS = (
    Degradation("JPEG 95", lambda picture, _: through_file(picture, "JPEG", 95)),
    Degradation("JPEG 85", lambda picture, _: through_file(picture, "JPEG", 85)),
    Degradation("JPEG 70", lambda picture, _: through_file(picture, "JPEG", 70)),
    Degradation("JPEG 50", lambda picture, _: through_file(picture, "JPEG", 50)),
    Degradation("WebP 80", lambda picture, _: through_file(picture, "WEBP", 80)),
    Degradation("resize 50 %", lambda picture, _: _there_and_back(picture, 0.5)),
    Degradation("resize 25 %", lambda picture, _: _there_and_back(picture, 0.25)),
    Degradation("mean 3x3", lambda picture, _: _mean(picture, 3)),
    Degradation("mean 5x5", lambda picture, _: _mean(picture, 5)),
    Degradation("noise 0.02", lambda picture, _: _noisy(picture, 0.02)),
    Degradation("gamma 0.8", lambda picture, _: _gamma(picture, 0.8)),
    Degradation("gamma 1.2", lambda picture, _: _gamma(picture, 1.2)),
    Degradation("crop 5 %", lambda picture, _: _cropped(picture), cut=_CUT),
    Degradation("social network", uploaded),
    Degradation("total variation", lambda picture, _: _total_variation(picture)),
    Degradation("non-local means", lambda picture, _: _non_local_means(picture)),
)
"""From the mildest of each kind to the hardest; sizes in pixels are those of the picture that is given."""
