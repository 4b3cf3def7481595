"""Maps of a face that say where what may change, computed once from the unchanged picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, maximum_filter, sobel
from torch import Tensor

from c2p_core.colour import LUMINANCE
from c2p_core.faces import regions as face_regions
from c2p_core.faces.align import CANVAS
from c2p_core.faces.canvas import gaussian_blur
from c2p_core.faces.glasses import glasses_mask

CELLS = 64  # side of the grid on which shape and complexion live; 4 canvas pixels a cell
# Where a bulge is seen at once: the nose and the outline of the face, brows and lips. What of them must not move at all
# is a condition on the field (``expression``).
_STIFF_NOSE, _STIFF_LINES = 2.0, 3.0
# Canvas px from a brow up to which nothing moves, and from which on all may: brows are thicker than landmarks say.
_BROW_STILL = (6.0, 16.0)
_BROW_FADE = 7.0  # canvas px from a brow within which tone fades out: a brow that gets paler changes the mood
_TONE_ON_NOSE = 0.4  # light makes a nose bulbous before anything else does
GRAIN_SIDE = 128  # of the grid that carries grain
_ROUGH_WITHIN = 3.0  # canvas px within which roughness hides grain
# How much of its limit grain shows on skin without any texture, per optical density of roughness, and at most.
_SMOOTH_HIDES, _ROUGH, _ROUGHEST_HIDES = 0.10, 0.05, 2.5
_GREY = 0.02  # most sRGB that red, green and blue differ by on a black-and-white face
_SUNGLASSES = 0.57  # share of what lies around the eyes, beyond the lids, that is no skin
_GLASS, _FRAME = 26.0, 8  # canvas px: how far from an eye dark glass reaches, how wide its frame is
_OPEN_MOUTH = 4.0  # canvas px between the inner lips, from which on teeth may show


def tone_mask(pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """(256, 256) where and how much tone may change: on skin, less on the nose, fading out at brows."""
    brows = face_regions.brows_distance(mesh)
    nose = face_regions.signed_distance(mesh, face_regions.NOSE)
    allowed = (
        face_regions.skin_mask(pixels, mesh)
        * face_regions.ramp(-brows, -_BROW_FADE, -1.0)
        * (1.0 - (1.0 - _TONE_ON_NOSE) * face_regions.ramp(nose, -2.0, 12.0))
    )
    return np.asarray(allowed, dtype=np.float32)


def shape_mask(pixels: np.ndarray, mesh: np.ndarray, keep_expression: bool) -> np.ndarray:
    """(256, 256) 1 where shape may move the face, 0 where it must not."""
    oval = face_regions.signed_distance(mesh, face_regions.OVAL)
    eyes = face_regions.eyes_distance(mesh)
    free = face_regions.ramp(oval, -8.0, 9.0) * face_regions.ramp(-eyes, -16.0, -4.0)
    if keep_expression:
        free = free * face_regions.ramp(-face_regions.brows_distance(mesh), -_BROW_STILL[1], -_BROW_STILL[0])
    elif np.linalg.norm(mesh[13] - mesh[14]) > _OPEN_MOUTH:
        teeth = face_regions.signed_distance(mesh, face_regions.INNER_LIPS)
        free = free * face_regions.ramp(-teeth, -9.0, -1.0)
    return np.asarray(free * _movable(pixels, mesh))


def grain_mask(mesh: np.ndarray) -> np.ndarray:
    """(256, 256) 0 on eyeballs, in the mouth, and beside the face; 1 elsewhere on it."""
    oval = face_regions.signed_distance(mesh, face_regions.OVAL)
    inside = face_regions.ramp(oval, -14.0, -2.0) * face_regions.ramp(-face_regions.eyes_distance(mesh), -5.0, 0.0)
    inside *= face_regions.ramp(-face_regions.signed_distance(mesh, face_regions.INNER_LIPS), -2.0, 0.5)
    return inside


def face_mask(mesh: np.ndarray) -> np.ndarray:
    """(cells, cells) 1 on the face."""
    return downsample(face_regions.ramp(face_regions.signed_distance(mesh, face_regions.OVAL), -1.0, 1.0))


def is_black_and_white(pixels: np.ndarray, mesh: np.ndarray) -> bool:
    """Whether a face is black and white; a few coloured pixels, as JPEG makes them, are none."""
    face = pixels[face_regions.signed_distance(mesh, face_regions.OVAL) < 0]
    return bool(np.percentile(np.ptp(face, axis=-1), 99) < _GREY)


def grain_amplitude(linear: Tensor, inside: Tensor) -> Tensor:
    """(1, side, side) how much grain the face hides here: little on smooth skin, more where it is rough already.

    Args:
        linear: (3, 256, 256) linear light of the face.
        inside: (256, 256) 0 on eyeballs, in the mouth, and beside the face.
    """
    luminance = (linear * LUMINANCE.to(linear)[:, None, None]).sum(0, keepdim=True).clamp(min=2e-3)
    depth = -torch.log(luminance)
    rough = gaussian_blur((depth - gaussian_blur(depth, _ROUGH_WITHIN)).square(), _ROUGH_WITHIN).clamp(min=0.0).sqrt()
    hides = (_SMOOTH_HIDES + rough / _ROUGH).clamp(max=_ROUGHEST_HIDES)
    return F.interpolate((hides * inside)[None], (GRAIN_SIDE, GRAIN_SIDE), mode="area")[0]


def stiffness_map(mesh: np.ndarray) -> np.ndarray:
    """(256, 256) weight of the elastic energy: 1 on skin, more where a face keeps its form."""
    nose = np.minimum(
        face_regions.signed_distance(mesh, face_regions.NOSE),
        np.abs(face_regions.signed_distance(mesh, face_regions.OVAL)) - 6.0,
    )
    lines = np.minimum(face_regions.brows_distance(mesh), face_regions.signed_distance(mesh, face_regions.OUTER_LIPS))
    stiff = np.maximum(
        _STIFF_NOSE * face_regions.ramp(nose, 0.0, 12.0), _STIFF_LINES * face_regions.ramp(lines, 2.0, 14.0)
    )
    return np.asarray(1.0 + stiff, dtype=np.float32)


def _movable(pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """(256, 256) 1 where the face may move, 0 on hats, glasses and hair: their lines would show every wave.

    From the upper lip downwards everything may move: beards have no straight lines, and without them nothing would.
    """
    other = 1.0 - face_regions.skin_likeness(pixels, mesh)
    eyes, brows = face_regions.eyes_distance(mesh), face_regions.brows_distance(mesh)
    around = (eyes > 5) & (eyes < 14) & (brows > 3)
    if float(other[around].mean()) < _SUNGLASSES:
        # Eyes and brows are no skin either; behind dark glasses they can't be told apart from them.
        other = other * face_regions.ramp(-np.minimum(eyes, brows), -6.0, -3.0)
    else:
        # Frames and reflections pass for skin in part, but hold together with the glass.
        glass = np.where(eyes < _GLASS, other, 0.0)
        other = np.maximum(other, maximum_filter(glass, 2 * _FRAME + 1))
    other = other * face_regions.ramp(-face_regions.signed_distance(mesh, face_regions.NOSE), -6.0, -3.0)
    other = gaussian_filter(maximum_filter(other, 5), 4.0)
    nose, lip = float(mesh[4, 1]), float(mesh[0, 1])
    below = np.clip((np.arange(CANVAS)[:, None] + 0.5 - nose) / max(1.0, lip - nose), 0.0, 1.0)
    movable = np.maximum(below, np.clip(1.0 - 1.3 * other, 0.0, 1.0))
    return np.asarray(np.minimum(movable, 1.0 - glasses_mask(pixels, mesh)), dtype=np.float32)


def find_straight_lines(pixels: np.ndarray) -> np.ndarray:
    """(3, cells, cells): strength 0..1 of straight edges (glasses, hats, brows), and their direction.

    From the structure tensor: an edge is straight where gradients around it agree.
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
    step = CANVAS // CELLS
    return np.asarray(canvas.reshape(CELLS, step, CELLS, step).mean((1, 3)), dtype=np.float32)
