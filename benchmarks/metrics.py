"""How natural a protected photo looks, in numbers. All pictures are uint8 sRGB, (height, width, 3).

Two families of figures: those that everybody quotes and that punish shifts nobody sees (PSNR, SSIM), and those that
say what an eye objects to (features moved, skin of another colour, spots).
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from dataclasses import dataclass

import flip_evaluator
import numpy as np
import pytorch_msssim
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.registration import optical_flow_ilk

from benchmarks.regions import Mask, Mesh, eye_mask, face_mask, skin_mask
from c2p_core.api import Face
from c2p_core.faces.align import (
    CANVAS,
    CANVAS_EYE_DISTANCE,
    LEFT_EYE,
    RIGHT_EYE,
    align,
    crop_canvas,
    transform_points,
)
from c2p_core.imageio import to_srgb
from c2p_core.photo import Photo

Rgb8 = NDArray[np.uint8]
Floats = NDArray[np.float64]

# PSNR of identical pictures is infinite; this stands for it, so that means and JSON stay finite.
PSNR_OF_IDENTICAL = 100.0

# A face is about 2.2 eye distances wide from ear to ear; in canvas pixels.
FACE_WIDTH = 2.2 * CANVAS_EYE_DISTANCE
COARSE_CELLS = 4
FINE_CELLS = 32
# A grid of n cells carries up to n / 2 cycles; a Gaussian of this many cell widths halves the amplitude just there:
# exp(-2 (pi s f)^2) = 1/2 at f = 1/2 gives s = sqrt(ln 2 / 2) / (pi / 2).
SIGMA_PER_CELL = float(np.sqrt(np.log(2.0) / 2.0) / (np.pi / 2.0))

# Registration: lightness is normalised over this many canvas pixels first, so that a change of tone is no motion.
FLOW_NORMALISE = 4.0
FLOW_RADIUS = 9
# Nothing that we measure moves features further than this share of the eye distance; more is a flow gone astray.
FLOW_LIMIT = 0.12


@dataclass(frozen=True)
class Displacement:
    """How far features moved, in per cent of the original's eye distance.

    Attributes:
        mesh: mean over the 468 points, or over the face oval.
        eyes: mean over the points of both lid contours, or over the eye openings.
    """

    mesh: float
    eyes: float


@dataclass(frozen=True)
class FormShift:
    """What moved in a face, as somebody sees who knows it, whatever its place, size and tilt in the picture.

    Both meshes are laid on their own eye line first (the middle between the eyes is the origin, the line from eye to
    eye is horizontal and 100 long), so that everything is in per cent of the eye distance.

    Attributes:
        expression: how much each of the `EXPRESSION_MEASURES` changed, in their order, without signs.
        landmarks: mean distance over all points of the mesh.
        nose_width: change of the width between the wings of the nose, in per cent of that width, without its sign.
    """

    expression: tuple[float, ...]
    landmarks: float
    nose_width: float


@dataclass(frozen=True)
class ColourShift:
    """Delta E 2000 in skin: mean, and the 95th percentile; 0 where a face shows no skin."""

    mean: float
    p95: float


@dataclass(frozen=True)
class Patchiness:
    """Spots and blotches that the change puts on a face.

    Both faces are brought upright to 256 px with the original's mesh (`face_canvas`) and to CIE Lab. Their difference
    is band-passed with a difference of two Gaussians whose half-amplitude frequencies are those that grids of 4 and of
    32 cells across the face can just carry (2 and 16 cycles across 2.2 eye distances); blurring sees nothing outside
    the mask. The figure is the band's root mean square in Lab units: tan, light and shade are coarser than the band,
    pores and grain are finer, blotches lie in it.

    A moved edge differs too, but is no spot. So the protected face is first registered to the original by optical
    flow; the figures without registration are given beside.

    Attributes:
        face, skin: over the whole face oval, and over skin alone (without eyes, brows and lips, where makeup belongs);
            the protected face registered to the original first.
        face_raw, skin_raw: the same without registration, so moved edges count too.
    """

    face: float
    skin: float
    face_raw: float
    skin_raw: float


def rgb8(photo: Photo) -> Rgb8:
    """What of a photo is compared: (height, width, 3) uint8 sRGB, alpha dropped."""
    return np.rint(np.clip(to_srgb(photo), 0, 1) * 255).astype(np.uint8)


def psnr(before: Rgb8, after: Rgb8) -> float:
    """Peak signal to noise ratio in dB over all pixels and channels; `PSNR_OF_IDENTICAL` when nothing changed."""
    if np.array_equal(before, after):
        return PSNR_OF_IDENTICAL
    return float(peak_signal_noise_ratio(before, after, data_range=255))


def ssim(before: Rgb8, after: Rgb8) -> float:
    """Structural similarity, mean over the channels, with the Gaussian window of Wang et al. 2004."""
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(before, after, data_range=255, channel_axis=-1, **wang))


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


def displacement(before: Mesh, after: Mesh, eye_distance: float) -> Displacement:
    """How far the landmarks moved, detected afresh.

    Args:
        before, after: (468, 2) in pixels of the same frame, each detected afresh in its own picture.
        eye_distance: of the original, in the same pixels.
    """
    away = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    moved = np.hypot(away[:, 0], away[:, 1]) * 100 / eye_distance
    return Displacement(mesh=float(moved.mean()), eyes=float(moved[list(LEFT_EYE + RIGHT_EYE)].mean()))


# Corners of each eye, outer and inner (left eye of the picture) and inner and outer (right).
_LEFT_CORNERS, _RIGHT_CORNERS = [33, 133], [362, 263]
# Points of the mesh that height is measured between: a brow and the lid or corner below it.
_BROWS = ((107, 133), (105, 159), (70, 33), (336, 362), (334, 386), (300, 263))
_LIDS = ((145, 159), (374, 386))
_MOUTH_CORNERS = (61, 291)
# Middle of the mouth from above to below: upper edge of the upper lip, its lower edge, and the same of the lower lip.
_UPPER, _UPPER_INNER, _LOWER_INNER, _LOWER = 0, 13, 14, 17
_NOSE_WINGS = (129, 358)

EXPRESSION_MEASURES = (
    *(f"{side} brow, {part}" for side in ("left", "right") for part in ("inner", "middle", "outer")),
    "left mouth corner",
    "right mouth corner",
    "lip opening",
    "upper lip",
    "lower lip",
    "mouth width",
    "left eye opening",
    "right eye opening",
)
"""What makes a mood: heights of the brows over the eyes and of the mouth's corners, lips and lids."""


def on_eye_line(mesh: Mesh) -> Floats:
    """The mesh with the middle between the eyes at the origin, the eye line horizontal and 100 long: (468, 2)."""
    points = np.asarray(mesh, np.float64)
    left, right = points[_LEFT_CORNERS].mean(axis=0), points[_RIGHT_CORNERS].mean(axis=0)
    line = right - left
    length = float(np.hypot(*line))
    cos, sin = line / length
    turned = (points - (left + right) / 2) @ np.array([[cos, -sin], [sin, cos]])
    return np.asarray(turned * 100 / length)


def expression(mesh: Mesh) -> Floats:
    """The `EXPRESSION_MEASURES` of one mesh, signed, in per cent of its eye distance: (14,)."""
    placed = on_eye_line(mesh)
    x, y = placed[:, 0], placed[:, 1]
    middle = (y[_UPPER_INNER] + y[_LOWER_INNER]) / 2
    left, right = _MOUTH_CORNERS
    return np.array(
        [
            *(y[brow] - y[eye] for brow, eye in _BROWS),
            y[left] - middle,
            y[right] - middle,
            y[_LOWER_INNER] - y[_UPPER_INNER],
            y[_UPPER_INNER] - y[_UPPER],
            y[_LOWER] - y[_LOWER_INNER],
            x[right] - x[left],
            *(y[below] - y[above] for below, above in _LIDS),
        ]
    )


def form_shift(before: Mesh, after: Mesh) -> FormShift:
    """How far expression, landmarks and nose moved.

    Args:
        before, after: (468, 2), each detected afresh in its own picture, in pixels of any frame.
    """
    first, second = on_eye_line(before), on_eye_line(after)
    left, right = _NOSE_WINGS
    widths = [placed[right, 0] - placed[left, 0] for placed in (first, second)]
    return FormShift(
        expression=tuple(np.abs(expression(after) - expression(before)).tolist()),
        landmarks=float(np.linalg.norm(second - first, axis=1).mean()),
        nose_width=float(abs(widths[1] / widths[0] - 1) * 100),
    )


def skin_colour_shift(before: Rgb8, after: Rgb8, face: Face) -> ColourShift:
    """Delta E 2000 between the pictures over the skin that the original shows (`regions.skin_mask`)."""
    lab = rgb2lab(before)
    mask = skin_mask(lab, face.mesh, face.eye_distance)
    if not mask.any():
        return ColourShift(mean=0.0, p95=0.0)
    shift = deltaE_ciede2000(lab[mask], rgb2lab(after[mask]))
    return ColourShift(mean=float(shift.mean()), p95=float(np.percentile(shift, 95)))


def skin_tone(picture: Rgb8, face: Face) -> float | None:
    """Individual typology angle of the visible skin (Chardon et al. 1991): atan2(L* - 50, b*) of the medians, degrees.

    55 and more is very light, 41 light, 28 intermediate, 10 tan, -30 brown, less is dark. None when no skin is seen.
    It measures the picture, light and camera included, not the person.
    """
    lab = rgb2lab(picture)
    mask = skin_mask(lab, face.mesh, face.eye_distance)
    if not mask.any():
        return None
    lightness, _, yellow = np.median(lab[mask], axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def face_canvas(picture: Rgb8, face: Face) -> Floats:
    """The face upright on the product's own canvas (`c2p_core.faces.align`): (256, 256, 3) RGB in 0..1."""
    pixels = torch.tensor(picture).permute(2, 0, 1).float() / 255.0
    canvas = crop_canvas(pixels, align(face.mesh, face.eye_distance))
    return np.asarray(canvas.permute(1, 2, 0).numpy(), np.float64)


def _blur_inside(field: Floats, mask: Mask, sigma: float) -> Floats:
    """Gaussian blur of (H, W, C) that sees nothing outside the mask (normalised convolution)."""
    weight = ndimage.gaussian_filter(mask.astype(np.float64), sigma, mode="constant")
    blurred = ndimage.gaussian_filter(field * mask[..., None], (sigma, sigma, 0.0), mode="constant")
    return np.asarray(blurred / np.maximum(weight, 1e-9)[..., None])


def band_energy(change: Floats, mask: Mask) -> float:
    """Root mean square over a mask of what a change holds between 4 and 32 cells across the face.

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


def _local_contrast(lightness: Floats) -> Floats:
    detail = lightness - ndimage.gaussian_filter(lightness, FLOW_NORMALISE)
    spread = np.sqrt(ndimage.gaussian_filter(detail**2, FLOW_NORMALISE))
    return np.asarray(detail / (spread + 1.0))


def flow(before_lab: Floats, after_lab: Floats) -> Floats:
    """Where the first face canvas's pixels lie in the second.

    Iterative Lucas-Kanade flow on locally normalised lightness, held to `FLOW_LIMIT` eye distances.

    Args:
        before_lab, after_lab: (256, 256, 3) CIE Lab.

    Returns:
        (2, 256, 256), rows and columns to add, in pixels.
    """
    limit = FLOW_LIMIT * CANVAS_EYE_DISTANCE
    moved = optical_flow_ilk(
        _local_contrast(before_lab[..., 0]), _local_contrast(after_lab[..., 0]), radius=FLOW_RADIUS, gaussian=True
    )
    return np.clip(np.asarray(moved, np.float64), -limit, limit)


def registered(after_lab: Floats, moved: Floats) -> Floats:
    """The second face canvas (256, 256, 3) with its features moved back by a `flow` to where the first has them."""
    at = np.mgrid[:CANVAS, :CANVAS] + moved
    channels = [ndimage.map_coordinates(after_lab[..., c], at, order=1, mode="nearest") for c in range(3)]
    return np.stack(channels, axis=-1)


@dataclass(frozen=True)
class Likeness:
    """The classic figures of the face alone, upright on its canvas; FLIP after registration."""

    psnr: float
    ssim: float
    ms_ssim: float | None
    flip: float


def on_canvas(before: Rgb8, after: Rgb8, face: Face) -> tuple[Patchiness, Displacement, Likeness]:
    """Spots, movement as optical flow sees it, and likeness, from one registration of the aligned faces.

    The flow's displacement, unlike a detector's, hardly minds painted eyes: mean length over the face oval, and over
    the eye openings, in per cent of the eye distance.

    Args:
        before, after: the whole photos.
        face: as found in the original.
    """
    first, second = face_canvas(before, face), face_canvas(after, face)
    before_lab, after_lab = (np.asarray(rgb2lab(canvas), np.float64) for canvas in (first, second))
    mesh = transform_points(align(face.mesh, face.eye_distance).to_canvas, face.mesh)
    oval = face_mask((CANVAS, CANVAS), mesh)
    skin = skin_mask(before_lab, mesh, CANVAS_EYE_DISTANCE)
    eyes = eye_mask((CANVAS, CANVAS), mesh)
    moved = flow(before_lab, after_lab)
    raw = after_lab - before_lab
    back = registered(after_lab, moved)
    still = back - before_lab
    length = np.hypot(moved[0], moved[1]) * 100 / CANVAS_EYE_DISTANCE
    spots = Patchiness(
        face=band_energy(still, oval),
        skin=band_energy(still, skin),
        face_raw=band_energy(raw, oval),
        skin_raw=band_energy(raw, skin),
    )
    displaced = Displacement(mesh=_mean_in(length, oval), eyes=_mean_in(length, eyes))
    faces8 = [np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8) for canvas in (first, second, lab2rgb(back))]
    likeness = Likeness(
        psnr(faces8[0], faces8[1]),
        ssim(faces8[0], faces8[1]),
        ms_ssim(faces8[0], faces8[1]),
        flip(faces8[0], faces8[2]),
    )
    return spots, displaced, likeness


def _mean_in(values: Floats, mask: Mask) -> float:
    return float(values[mask].mean()) if mask.any() else 0.0
