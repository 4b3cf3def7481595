"""Spots, movement and likeness of the face on the product's canvas, from one registration by optical flow."""

# mypy: allow-untyped-calls
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from skimage.color import lab2rgb, rgb2lab
from skimage.registration import optical_flow_ilk

from benchmarks.metrics.expression import Displacement
from benchmarks.metrics.face_masks import Mask, make_eye_mask, make_face_mask, make_skin_mask
from benchmarks.metrics.image_quality import Floats, flip, ms_ssim, psnr, ssim
from c2p_core.api import Face
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE, align, crop_canvas, transform_points
from c2p_core.io.rgb8 import Rgb8, as_bytes

# A face is about 2.2 eye distances wide from ear to ear; in canvas pixels.
FACE_WIDTH = 2.2 * CANVAS_EYE_DISTANCE


COARSE_CELLS = 4


FINE_CELLS = 32


# A grid of n cells represents up to n / 2 cycles; a Gaussian of this many cell widths halves the amplitude there:
# exp(-2 (pi s f)^2) = 1/2 at f = 1/2 gives s = sqrt(ln 2 / 2) / (pi / 2).
SIGMA_PER_CELL = float(np.sqrt(np.log(2.0) / 2.0) / (np.pi / 2.0))


# Registration: lightness is normalised over this many canvas pixels first, so that a change of tone is no motion.
FLOW_NORMALISE = 4.0


FLOW_RADIUS = 9


# No measured method moves features further than this share of the eye distance; more is an error of the flow.
FLOW_LIMIT = 0.12


@dataclass(frozen=True)
class Patchiness:
    """Spots and blotches that the change puts on a face.

    Both faces are cropped upright to 256 px with the original's mesh (`crop_face_canvas`) and converted to CIE Lab.
    Their difference is band-passed with a difference of two Gaussians whose half-amplitude frequencies are the highest
    that grids of 4 and of 32 cells across the face can represent (2 and 16 cycles across 2.2 eye distances); the blur
    ignores everything outside the mask. The figure is the band's root mean square in Lab units: tan, light and shade
    are coarser than the band, pores and grain are finer, blotches lie in it.

    A moved edge differs too, but is no spot. So the protected face is first registered to the original by optical
    flow; the figures without registration are given as well.

    Attributes:
        face, skin: over the whole face oval, and over skin only (without eyes, brows and lips, where makeup belongs);
            the protected face registered to the original first.
        face_raw, skin_raw: the same without registration, so moved edges count too.
    """

    face: float
    skin: float
    face_raw: float
    skin_raw: float


def crop_face_canvas(picture: Rgb8, face: Face) -> Floats:
    """The face upright on the product's own canvas (`c2p_core.faces.align`): (256, 256, 3) RGB in 0..1."""
    pixels = torch.tensor(picture).permute(2, 0, 1).float() / 255.0
    canvas = crop_canvas(pixels, align(face.mesh, face.eye_distance))
    return np.asarray(canvas.permute(1, 2, 0).numpy(), np.float64)


def _blur_inside(field: Floats, mask: Mask, sigma: float) -> Floats:
    """Gaussian blur of (H, W, C) that ignores everything outside the mask (normalised convolution)."""
    weight = ndimage.gaussian_filter(mask.astype(np.float64), sigma, mode="constant")
    blurred = ndimage.gaussian_filter(field * mask[..., None], (sigma, sigma, 0.0), mode="constant")
    return np.asarray(blurred / np.maximum(weight, 1e-9)[..., None])


def band_energy(change: Floats, mask: Mask) -> float:
    """Root mean square over a mask of the part of a change between 4 and 32 cells across the face.

    Args:
        change: (256, 256, C) on the face canvas.
        mask: (256, 256).

    Returns:
        Root of the mean over the mask of the squared band, summed over channels; 0 for an empty mask.
    """
    if not mask.any():
        return 0.0
    fine = _blur_inside(change, mask, SIGMA_PER_CELL * FACE_WIDTH / FINE_CELLS)
    coarse = _blur_inside(change, mask, SIGMA_PER_CELL * FACE_WIDTH / COARSE_CELLS)
    return float(np.sqrt(((fine - coarse)[mask] ** 2).sum(axis=-1).mean()))


def _normalise_contrast(lightness: Floats) -> Floats:
    detail = lightness - ndimage.gaussian_filter(lightness, FLOW_NORMALISE)
    spread = np.sqrt(ndimage.gaussian_filter(detail**2, FLOW_NORMALISE))
    return np.asarray(detail / (spread + 1.0))


def estimate_flow(before_lab: Floats, after_lab: Floats) -> Floats:
    """Estimate where the first face canvas's pixels lie in the second.

    Iterative Lucas-Kanade flow on locally normalised lightness, clipped to `FLOW_LIMIT` eye distances.

    Args:
        before_lab, after_lab: (256, 256, 3) CIE Lab.

    Returns:
        (2, 256, 256), rows and columns to add, in pixels.
    """
    limit = FLOW_LIMIT * CANVAS_EYE_DISTANCE
    displacement = optical_flow_ilk(
        _normalise_contrast(before_lab[..., 0]),
        _normalise_contrast(after_lab[..., 0]),
        radius=FLOW_RADIUS,
        gaussian=True,
    )
    return np.clip(np.asarray(displacement, np.float64), -limit, limit)


def register(after_lab: Floats, displacement: Floats) -> Floats:
    """Warp the second face canvas (256, 256, 3) by the flow, so that its features lie where the first has them."""
    positions = np.mgrid[:CANVAS, :CANVAS] + displacement
    channels = [ndimage.map_coordinates(after_lab[..., c], positions, order=1, mode="nearest") for c in range(3)]
    return np.stack(channels, axis=-1)


@dataclass(frozen=True)
class Likeness:
    """The classic figures of the face alone, upright on its canvas; FLIP after registration."""

    psnr: float
    ssim: float
    ms_ssim: float | None
    flip: float


def measure_on_canvas(before: Rgb8, after: Rgb8, face: Face) -> tuple[Patchiness, Displacement, Likeness]:
    """Measure spots, movement by optical flow, and likeness, from one registration of the aligned faces.

    The flow's displacement, unlike a detector's, is hardly affected by painted eyes: mean length over the face oval,
    and over the eye openings, in per cent of the eye distance.

    Args:
        before, after: the whole photos.
        face: as found in the original.
    """
    canvas_before, canvas_after = crop_face_canvas(before, face), crop_face_canvas(after, face)
    before_lab, after_lab = (np.asarray(rgb2lab(canvas), np.float64) for canvas in (canvas_before, canvas_after))
    mesh = transform_points(align(face.mesh, face.eye_distance).to_canvas, face.mesh)
    oval = make_face_mask((CANVAS, CANVAS), mesh)
    skin = make_skin_mask(before_lab, mesh, CANVAS_EYE_DISTANCE)
    eyes = make_eye_mask((CANVAS, CANVAS), mesh)
    displacement = estimate_flow(before_lab, after_lab)
    raw_change = after_lab - before_lab
    registered_lab = register(after_lab, displacement)
    registered_change = registered_lab - before_lab
    distances = np.hypot(displacement[0], displacement[1]) * 100 / CANVAS_EYE_DISTANCE
    spots = Patchiness(
        face=band_energy(registered_change, oval),
        skin=band_energy(registered_change, skin),
        face_raw=band_energy(raw_change, oval),
        skin_raw=band_energy(raw_change, skin),
    )
    movement = Displacement(mesh=_compute_mean_inside(distances, oval), eyes=_compute_mean_inside(distances, eyes))
    canvases8 = [as_bytes(canvas) for canvas in (canvas_before, canvas_after, lab2rgb(registered_lab))]
    likeness = Likeness(
        psnr(canvases8[0], canvases8[1]),
        ssim(canvases8[0], canvases8[1]),
        ms_ssim(canvases8[0], canvases8[1]),
        flip(canvases8[0], canvases8[2]),
    )
    return spots, movement, likeness


def _compute_mean_inside(values: Floats, mask: Mask) -> float:
    return float(values[mask].mean()) if mask.any() else 0.0
