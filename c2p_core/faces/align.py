"""Alignment of a face: the transform between the photo and the upright canvas on which the search works.

The canvas is a square of ``CANVAS`` pixels in which the eyes are level and ``CANVAS_EYE_DISTANCE`` pixels apart; their
midpoint lies at ``CANVAS_EYES``. It shows nearly every face from the hairline to the chin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from c2p_core.faces.view import View

CANVAS = 256
CANVAS_EYE_DISTANCE = 72.0
CANVAS_EYES = (128.0, 104.0)

# Eye outlines as closed polygons: face-mesh indices, MediaPipe numbering; "left" is the image's left.
LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)


@dataclass(frozen=True)
class Alignment:
    """The transform between a face's canvas and the photo.

    Attributes:
        to_photo: (2, 3) float64, maps canvas coordinates to photo coordinates.
    """

    to_photo: NDArray[np.float64]

    @property
    def scale(self) -> float:
        """Photo pixels per canvas pixel."""
        return float(math.hypot(self.to_photo[0, 0], self.to_photo[1, 0]))

    @property
    def to_canvas(self) -> NDArray[np.float64]:
        """(2, 3), maps photo coordinates to canvas coordinates."""
        linear = np.linalg.inv(self.to_photo[:, :2])
        return np.concatenate([linear, -linear @ self.to_photo[:, 2:]], axis=1)


def transform_points(matrix: NDArray[np.float64], points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Apply a (2, 3) affine map to (N, 2) points."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def align(mesh: NDArray[np.float32], eye_distance: float) -> Alignment:
    """Compute the alignment of a face from its (468, 2) mesh and its eye distance, both in photo pixels.

    The eye distance is an argument because a turned head foreshortens it in the picture.
    """
    left, right = mesh[list(LEFT_EYE)].mean(0), mesh[list(RIGHT_EYE)].mean(0)
    centre = (left + right) / 2
    angle = math.atan2(right[1] - left[1], right[0] - left[0])
    scale = eye_distance / CANVAS_EYE_DISTANCE
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shift = centre - linear @ np.array(CANVAS_EYES)
    return Alignment(np.concatenate([linear, shift[:, None]], axis=1))


def fit_similarity(source: Tensor, target: Tensor) -> Tensor:
    """Fit a similarity transform by least squares (Umeyama 1991, in the plane); differentiable.

    Args:
        source: (..., N, 2) points.
        target: (..., N, 2) points; broadcast against ``source``.

    Returns:
        (..., 2, 3) matrices that map ``source`` to ``target``.
    """
    source_mean, target_mean = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    s, t = source - source_mean, target - target_mean
    # In the plane a similarity transform multiplies by one complex number, which makes the fit linear.
    source_norm = (s * s).sum((-2, -1))
    a = (s * t).sum((-2, -1)) / source_norm
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(-1) / source_norm
    linear = torch.stack([torch.stack([a, -b], -1), torch.stack([b, a], -1)], -2)
    shift = target_mean.transpose(-1, -2) - linear @ source_mean.transpose(-1, -2)
    return torch.cat([linear, shift], -1)


def crop(photo: Tensor | View, to_photo: NDArray[np.float64], size: int) -> Tensor:
    """Sample a square out of a picture through a similarity transform, antialiased; border pixels repeat outside.

    Args:
        photo: (C, H, W) float, or the view of a photo, of which only the area needed is converted.
        to_photo: (2, 3), maps coordinates of the square to coordinates of the picture.
        size: side of the square in pixels.

    Returns:
        (C, size, size).
    """
    height, width = photo.shape[-2:]
    scale = math.hypot(to_photo[0, 0], to_photo[1, 0])
    corners = transform_points(to_photo, np.array([[0, 0], [size, 0], [0, size], [size, size]], dtype=np.float64))
    margin = 2 + 2 * scale
    x0, y0 = (int(v) for v in np.clip(np.floor(corners.min(0) - margin), 0, [width - 1, height - 1]))
    x1, y1 = (int(v) for v in np.clip(np.ceil(corners.max(0) + margin), [x0 + 1, y0 + 1], [width, height]))
    ratio_x = ratio_y = 1.0
    if isinstance(photo, Tensor):
        area = photo[None, :, y0:y1, x0:x1]
    else:
        # The first part of the downscaling averages blocks of whole pixels, which avoids converting all of them to
        # float.
        step = max(1, int(scale / 2))
        area = photo.read(x0, y0, x1, y1, step)[None]
        x1, y1 = x0 + step * area.shape[-1], y0 + step * area.shape[-2]
    if scale > 1:
        shrunk = (max(1, round((y1 - y0) / scale)), max(1, round((x1 - x0) / scale)))
        ratio_x, ratio_y = shrunk[1] / (x1 - x0), shrunk[0] / (y1 - y0)
        area = F.interpolate(area, shrunk, mode="bilinear", antialias=True, align_corners=False)
    centres = torch.arange(size, dtype=torch.float64) + 0.5
    gy, gx = torch.meshgrid(centres, centres, indexing="ij")
    m = torch.as_tensor(to_photo, dtype=torch.float64)
    px = (m[0, 0] * gx + m[0, 1] * gy + m[0, 2] - x0) * ratio_x
    py = (m[1, 0] * gx + m[1, 1] * gy + m[1, 2] - y0) * ratio_y
    grid = torch.stack([2 * px / area.shape[-1] - 1, 2 * py / area.shape[-2] - 1], -1).to(area)[None]
    sampled = F.grid_sample(area, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[0]


def crop_canvas(photo: Tensor | View, alignment: Alignment) -> Tensor:
    """Sample the (3, CANVAS, CANVAS) canvas of a face from a (3, H, W) picture or the view of a photo."""
    return crop(photo, alignment.to_photo, CANVAS)
