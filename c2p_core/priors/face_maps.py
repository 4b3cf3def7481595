"""Masks and maps of a face that limit where it may change; computed once, from the unchanged picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, maximum_filter, sobel
from torch import Tensor

from c2p_core import tone_curve
from c2p_core.colour import LUMINANCE
from c2p_core.faces import regions as face_regions
from c2p_core.faces.align import CANVAS
from c2p_core.faces.canvas import gaussian_blur
from c2p_core.faces.glasses import detect_glasses

CELLS = 64  # side of the grid of shape and complexion; 4 canvas pixels per cell
# Additional stiffness where bulges are most visible: nose and face outline; brows and lips. Movements that are
# forbidden altogether are conditions on the field (``expression``).
_STIFF_NOSE, _STIFF_LINES = 2.0, 3.0
# Distances from a brow in canvas px up to which nothing moves, and from which on everything may: brows are thicker than
# their landmarks indicate.
_BROW_STILL = (6.0, 16.0)
_BROW_FADE = 7.0  # canvas px from a brow over which tone fades out: paler brows change the expression
# Likewise for lighter tone, which outlines brows and lips if it is just beside them.
_LIGHT_BROW_FADE, _LIGHT_LIP_FADE = 14.0, 12.0
# Around eyes and lips the limit of darker tone is reduced to this share, fully up to the first distance in canvas px
# and not at all from the second: bags under the eyes and shade around the mouth make a face look older.
_SHADE_AT_FEATURES, _NEAR_EYES, _NEAR_LIPS = 0.7, (18.0, 34.0), (16.0, 28.0)
# Where skin is nearly white, darker tone looks like dirt: encoded values of its brightest channel, blurred by this many
# canvas px, from which on the limit is reduced, and at which it is reduced to the share.
_BRIGHT, _BRIGHT_WITHIN, _SHADE_ON_BRIGHT = (0.75, 0.95), 3.0, 0.3
_TONE_ON_NOSE = 0.4  # tone quickly makes a nose look bulbous
GRAIN_SIDE = 128  # of the grain's grid
_ROUGH_WITHIN = 3.0  # canvas px, Gaussian width over which roughness is averaged
# Amplitude of grain relative to its limit: on perfectly smooth skin; the roughness in optical density that adds 1; and
# at most.
_SMOOTH_AMPLITUDE, _ROUGHNESS_UNIT, _MAX_AMPLITUDE = 0.10, 0.05, 2.5
_GREY = 0.02  # largest difference between the sRGB channels of a black-and-white face
_SUNGLASSES = 0.57  # share of non-skin around the eyes, outside the lids, from which on there are sunglasses
_GLASS, _FRAME = 26.0, 8  # canvas px: extent of dark glass around an eye, width of its frame
_OPEN_MOUTH = 4.0  # canvas px between the inner lips from which on teeth may be visible


def tone_mask(pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """(256, 256) mask 0..1 of where tone may change: on skin, less on the nose, fading out at the brows."""
    brows = face_regions.brows_distance(mesh)
    nose = face_regions.signed_distance(mesh, face_regions.NOSE)
    mask = (
        face_regions.skin_mask(pixels, mesh)
        * face_regions.ramp(-brows, -_BROW_FADE, -1.0)
        * (1.0 - (1.0 - _TONE_ON_NOSE) * face_regions.ramp(nose, -2.0, 12.0))
    )
    return np.asarray(mask, dtype=np.float32)


def tone_scales(pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """(2, 256, 256) factors 0..1 of the limits of lighter and of darker tone."""
    brows = face_regions.brows_distance(mesh)
    lips = face_regions.signed_distance(mesh, face_regions.OUTER_LIPS)
    lighter = face_regions.ramp(-brows, -_LIGHT_BROW_FADE, -1.0) * face_regions.ramp(-lips, -_LIGHT_LIP_FADE, -1.0)
    near = np.maximum(
        face_regions.ramp(face_regions.eyes_distance(mesh), *_NEAR_EYES), face_regions.ramp(lips, *_NEAR_LIPS)
    )
    bright = 1.0 - face_regions.ramp(gaussian_filter(pixels.max(-1), _BRIGHT_WITHIN), *_BRIGHT)
    darker = (1.0 - (1.0 - _SHADE_AT_FEATURES) * near) * (1.0 - (1.0 - _SHADE_ON_BRIGHT) * bright)
    return np.stack([lighter, darker]).astype(np.float32)


def shape_mask(pixels: np.ndarray, mesh: np.ndarray, keep_expression: bool) -> np.ndarray:
    """(256, 256) mask 0..1 of where shape may move the face."""
    oval = face_regions.signed_distance(mesh, face_regions.OVAL)
    eyes = face_regions.eyes_distance(mesh)
    mask = face_regions.ramp(oval, -8.0, 9.0) * face_regions.ramp(-eyes, -16.0, -4.0)
    if keep_expression:
        mask = mask * face_regions.ramp(-face_regions.brows_distance(mesh), -_BROW_STILL[1], -_BROW_STILL[0])
    elif np.linalg.norm(mesh[13] - mesh[14]) > _OPEN_MOUTH:
        teeth = face_regions.signed_distance(mesh, face_regions.INNER_LIPS)
        mask = mask * face_regions.ramp(-teeth, -9.0, -1.0)
    return np.asarray(mask * _movable_mask(pixels, mesh))


def grain_mask(mesh: np.ndarray) -> np.ndarray:
    """(256, 256) mask 0..1 of where grain may be: on the face, but not on eyes and in the mouth."""
    oval = face_regions.signed_distance(mesh, face_regions.OVAL)
    inside = face_regions.ramp(oval, -14.0, -2.0) * face_regions.ramp(-face_regions.eyes_distance(mesh), -5.0, 0.0)
    inside *= face_regions.ramp(-face_regions.signed_distance(mesh, face_regions.INNER_LIPS), -2.0, 0.5)
    return inside


def line_mask(mesh: np.ndarray) -> np.ndarray:
    """(256, 256) mask 0..1 of where new lines count: not on brows and lips, which are lines themselves."""
    lips = face_regions.signed_distance(mesh, face_regions.OUTER_LIPS)
    features = face_regions.ramp(np.minimum(face_regions.brows_distance(mesh), lips), -1.0, 2.0)
    return np.asarray(1.0 - features, dtype=np.float32)


def face_mask(mesh: np.ndarray) -> np.ndarray:
    """(cells, cells) mask 0..1 of the face."""
    return downsample(face_regions.ramp(face_regions.signed_distance(mesh, face_regions.OVAL), -1.0, 1.0))


def is_black_and_white(pixels: np.ndarray, mesh: np.ndarray) -> bool:
    """Whether a face is black and white, apart from a few pixels coloured by JPEG compression."""
    face = pixels[face_regions.signed_distance(mesh, face_regions.OVAL) < 0]
    return bool(np.percentile(np.ptp(face, axis=-1), 99) < _GREY)


def is_toned(pixels: np.ndarray, mesh: np.ndarray) -> bool:
    """Whether a picture with a face is black and white in one ink or two, such as sepia or a cyanotype."""
    inside = face_regions.signed_distance(mesh, face_regions.OVAL) < 0
    # Averages of four pixels: JPEG stores colour at half the resolution.
    blocks = pixels.reshape(CANVAS // 2, 2, CANVAS // 2, 2, 3).mean((1, 3))
    return tone_curve.is_toned(blocks[inside[::2, ::2]], blocks.reshape(-1, 3))


def grain_amplitude(linear: Tensor, inside: Tensor) -> Tensor:
    """Relative amplitude of grain: low on smooth skin, higher where the face is rough and hides it.

    Args:
        linear: (3, 256, 256) linear light of the face.
        inside: (256, 256) see ``grain_mask``.

    Returns:
        (1, GRAIN_SIDE, GRAIN_SIDE).
    """
    luminance = (linear * LUMINANCE.to(linear)[:, None, None]).sum(0, keepdim=True).clamp(min=2e-3)
    depth = -torch.log(luminance)
    roughness = (
        gaussian_blur((depth - gaussian_blur(depth, _ROUGH_WITHIN)).square(), _ROUGH_WITHIN).clamp(min=0.0).sqrt()
    )
    amplitude = (_SMOOTH_AMPLITUDE + roughness / _ROUGHNESS_UNIT).clamp(max=_MAX_AMPLITUDE)
    return F.interpolate((amplitude * inside)[None], (GRAIN_SIDE, GRAIN_SIDE), mode="area")[0]


def stiffness_map(mesh: np.ndarray) -> np.ndarray:
    """(256, 256) weight of the elastic energy: 1 on skin, more on features that should keep their shape."""
    nose = np.minimum(
        face_regions.signed_distance(mesh, face_regions.NOSE),
        np.abs(face_regions.signed_distance(mesh, face_regions.OVAL)) - 6.0,
    )
    lines = np.minimum(face_regions.brows_distance(mesh), face_regions.signed_distance(mesh, face_regions.OUTER_LIPS))
    stiff = np.maximum(
        _STIFF_NOSE * face_regions.ramp(nose, 0.0, 12.0), _STIFF_LINES * face_regions.ramp(lines, 2.0, 14.0)
    )
    return np.asarray(1.0 + stiff, dtype=np.float32)


def _movable_mask(pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """(256, 256) mask 0..1 of where the face may move: not hats, glasses and hair, whose lines would show waves.

    Below the upper lip everything may move: beards have no straight lines, and would otherwise hold the whole lower
    face.
    """
    not_skin = 1.0 - face_regions.skin_likeness(pixels, mesh)
    eyes, brows = face_regions.eyes_distance(mesh), face_regions.brows_distance(mesh)
    eye_surroundings = (eyes > 5) & (eyes < 14) & (brows > 3)
    if float(not_skin[eye_surroundings].mean()) < _SUNGLASSES:
        # Eyes and brows do not look like skin either, but may move; behind dark glasses they can't be distinguished.
        not_skin = not_skin * face_regions.ramp(-np.minimum(eyes, brows), -6.0, -3.0)
    else:
        # Frames and reflections may look like skin, so they are held together with the glass.
        glass = np.where(eyes < _GLASS, not_skin, 0.0)
        not_skin = np.maximum(not_skin, maximum_filter(glass, 2 * _FRAME + 1))
    not_skin = not_skin * face_regions.ramp(-face_regions.signed_distance(mesh, face_regions.NOSE), -6.0, -3.0)
    not_skin = gaussian_filter(maximum_filter(not_skin, 5), 4.0)
    nose, lip = float(mesh[4, 1]), float(mesh[0, 1])
    below = np.clip((np.arange(CANVAS)[:, None] + 0.5 - nose) / max(1.0, lip - nose), 0.0, 1.0)
    movable = np.maximum(below, np.clip(1.0 - 1.3 * not_skin, 0.0, 1.0))
    return np.asarray(np.minimum(movable, 1.0 - detect_glasses(pixels, mesh)), dtype=np.float32)


def find_straight_lines(pixels: np.ndarray) -> np.ndarray:
    """Find straight edges (glasses, hats, brows) by the structure tensor: an edge is straight where gradients agree.

    Returns:
        (3, cells, cells): strength 0..1 and unit direction (x, y).
    """
    grey = gaussian_filter(pixels.mean(-1), 1.0)
    gx, gy = sobel(grey, 1) / 8, sobel(grey, 0) / 8
    xx, yy, xy = (downsample(gaussian_filter(v, 5.0)) for v in (gx * gx, gy * gy, gx * gy))
    root = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
    coherence = (root / (xx + yy + 1e-6)) ** 2
    edge = np.clip((xx + yy) / 0.002, 0.0, 1.0)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    return np.stack([coherence * edge, np.cos(angle), np.sin(angle)]).astype(np.float32)


def downsample(canvas: np.ndarray) -> np.ndarray:
    """Average a (CANVAS, CANVAS) map to (cells, cells)."""
    step = CANVAS // CELLS
    return np.asarray(canvas.reshape(CELLS, step, CELLS, step).mean((1, 3)), dtype=np.float32)
