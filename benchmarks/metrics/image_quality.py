"""How similar two pictures are, by the usual figures. All pictures are uint8 sRGB, (height, width, 3)."""

# mypy: allow-untyped-calls
from __future__ import annotations

import flip_evaluator
import numpy as np
import pytorch_msssim
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from c2p_core.io.colour_profiles import to_srgb
from c2p_core.io.rgb8 import Rgb8, as_bytes
from c2p_core.photo import Photo

Floats = NDArray[np.float64]


# PSNR of identical pictures is infinite; this stands for it, so that means and JSON stay finite.
PSNR_OF_IDENTICAL = 100.0


def to_rgb8(photo: Photo) -> Rgb8:
    """Convert a photo for comparison: (height, width, 3) uint8 sRGB, alpha dropped."""
    return as_bytes(to_srgb(photo))


def psnr(before: Rgb8, after: Rgb8) -> float:
    """Peak signal to noise ratio in dB over all pixels and channels; `PSNR_OF_IDENTICAL` when nothing changed."""
    if np.array_equal(before, after):
        return PSNR_OF_IDENTICAL
    return float(peak_signal_noise_ratio(before, after, data_range=255))


def ssim(before: Rgb8, after: Rgb8) -> float:
    """Structural similarity, mean over the channels, with the Gaussian window of Wang et al. 2004."""
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(before, after, data_range=255, channel_axis=-1, **window))


def ms_ssim(before: Rgb8, after: Rgb8) -> float | None:
    """Multi-scale SSIM (Wang, Simoncelli and Bovik 2003) by pytorch-msssim; None below 161 pixels, too few for it."""
    if min(before.shape[:2]) <= 160:
        return None
    planes = [torch.tensor(picture).permute(2, 0, 1)[None].float() for picture in (before, after)]
    return float(pytorch_msssim.ms_ssim(*planes, data_range=255))


def flip(before: Rgb8, after: Rgb8) -> float:
    """NVIDIA's FLIP (Andersson et al. 2020), mean over the picture: 0 where an eye that flips between the two pictures,
    67 pixels a degree (a desktop screen at arm's length), sees no difference; 1 at most."""
    pictures = [picture.astype(np.float32) / 255 for picture in (before, after)]
    return float(flip_evaluator.evaluate(*pictures, "LDR", computeMeanError=True)[1])
