"""All faces of a photo: MTCNN proposes, the face mesh confirms.

MTCNN (Zhang et al., 2016) comes from ``facenet-pytorch`` with its weights. It knows faces that are roughly upright, so
that the picture is also searched on its sides and upside down.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from c2p_core import torchvision_ops
from c2p_core.api import Face
from c2p_core.faces.landmarks import FaceMesh, eye_distance

Points = NDArray[np.float32]

MIN_EYE_DISTANCE = 40.0
"""Below this many pixels a face is listed, but too coarse to be protected well."""

_MIN_DETECT = 20  # px of face side in the search picture
_UPRIGHT_SIDE = 1024  # longest side of the search picture, unless faces of MIN_EYE_DISTANCE would get lost in it
_TURNED_SIDE = 640
_SHRINK_LIMIT = 3.5  # a face with MIN_EYE_DISTANCE is about 100 px wide and must keep _MIN_DETECT and some
_PAD = 0.12  # of the picture's side: MTCNN misses faces that touch the border
_MIN_PROBABILITY = 0.9
_MIN_PRESENCE = 0.5
_FIVE = [33, 263, 1, 61, 291]  # mesh points that stand for eyes, nose and mouth corners


class Detector:
    """Finds faces and their meshes; built once, used for many photos."""

    def __init__(self, mesh: FaceMesh) -> None:
        torchvision_ops.ensure()
        from facenet_pytorch import MTCNN

        self._mtcnn: Any = MTCNN(keep_all=True, min_face_size=_MIN_DETECT, device=torch.device("cpu"))
        self._mesh = mesh

    def __call__(self, photo: Tensor) -> tuple[Face, ...]:
        """Faces of a photo, largest first, numbered from 1.

        Args:
            photo: (3, H, W) float sRGB 0..1, on the CPU.
        """
        longest = max(photo.shape[-2:])
        # Shrunk once: resizing a large photo costs more than searching it.
        upright = _shrunk(photo, max(_UPRIGHT_SIDE, longest / _SHRINK_LIMIT))
        turned = _shrunk(upright, _TURNED_SIDE)
        candidates = self._propose(upright, 0)
        for quarter_turns in (1, 2, 3):
            candidates += self._propose(turned, quarter_turns)
        to_photo = np.array(photo.shape[:0:-1], np.float32)
        candidates = [(share * to_photo, probability) for share, probability in candidates]
        found: list[tuple[NDArray[np.float32], float]] = []
        for five, probability in sorted(candidates, key=lambda c: -c[1]):
            if any(_same(five, mesh) for mesh, _ in found):
                continue
            mesh, presence = self._mesh(photo, five)
            if presence < _MIN_PRESENCE or any(_same(mesh[_FIVE, :2], m) for m, _ in found):
                continue
            found.append((mesh, probability * presence))
        found.sort(key=lambda f: -eye_distance(f[0]))
        return tuple(_face(i + 1, mesh, score) for i, (mesh, score) in enumerate(found))

    def refine(self, photo: Tensor, face: Face) -> Face:
        """A known face with its mesh found anew; the proposal step is left out."""
        mesh, presence = self._mesh(photo, face.mesh[_FIVE])
        return _face(face.number, mesh, presence)

    def _propose(self, small: Tensor, quarter_turns: int) -> list[tuple[Points, float]]:
        """Five points, as shares of the picture's width and height, and the probability of each face."""
        height, width = small.shape[-2:]
        pad = math.ceil(_PAD * max(height, width)) + 1
        padded = F.pad(small[None], (pad, pad, pad, pad), mode="replicate")[0]
        turned = torch.rot90(padded, quarter_turns, (1, 2))
        pixels = (turned.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        _, probabilities, points = self._mtcnn.detect(np.ascontiguousarray(pixels), landmarks=True)
        if points is None:
            return []
        rows, columns = padded.shape[1:]
        found: list[tuple[Points, float]] = []
        for five, probability in zip(points, probabilities, strict=True):
            if probability >= _MIN_PROBABILITY:
                back = _turn_back(np.asarray(five, dtype=np.float32), quarter_turns, rows, columns)
                share = ((back - pad) / np.array([width, height])).astype(np.float32)
                found.append((share, float(probability)))
        return found


def _shrunk(photo: Tensor, side: float) -> Tensor:
    """The picture with its longest side at most ``side``."""
    height, width = photo.shape[-2:]
    scale = side / max(height, width)
    if scale >= 1:
        return photo
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return F.interpolate(photo[None], size, mode="bilinear", antialias=True, align_corners=False)[0]


def _turn_back(points: NDArray[np.float32], quarter_turns: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Points of a picture turned by ``torch.rot90`` back in the unturned picture of rows x columns."""
    x, y = points[:, 0], points[:, 1]
    turned = {0: (x, y), 1: (columns - y, x), 2: (columns - x, rows - y), 3: (y, rows - x)}[quarter_turns]
    return np.stack(turned, axis=1).astype(np.float32)


def _same(five: NDArray[np.float32], mesh: NDArray[np.float32]) -> bool:
    """Whether five points lie on a face that was found already."""
    distance = np.linalg.norm(five.mean(0) - mesh[_FIVE, :2].mean(0))
    return bool(distance < 0.6 * max(eye_distance(mesh), float(np.linalg.norm(five[1] - five[0]))))


def why_skipped(distance: float) -> str:
    """Why a face with this eye distance in photo pixels can't be protected, empty when it can."""
    if distance >= MIN_EYE_DISTANCE:
        return ""
    return f"the eyes are {distance:.0f} px apart and at least {MIN_EYE_DISTANCE:.0f} px are needed"


def _face(number: int, mesh: NDArray[np.float32], score: float) -> Face:
    distance = eye_distance(mesh)
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Face(number, box, score, mesh[:, :2].copy(), distance, why_skipped(distance))
