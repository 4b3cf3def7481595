"""Face detection: MTCNN proposes, the face mesh confirms.

MTCNN detects roughly upright faces only, so it also runs on the picture turned by 90, 180 and 270 degrees.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from skimage.draw import polygon2mask
from torch import Tensor

from c2p_core.api import Face
from c2p_core.faces.landmarks import FaceMesh, eye_distance
from c2p_core.faces.mtcnn import Mtcnn
from c2p_core.faces.regions import OVAL
from c2p_core.faces.size import explain_too_small
from c2p_core.faces.view import View
from c2p_core.recent import Recent, digest

Points = NDArray[np.float32]

# px, longest side of the picture to detect upright and turned faces in; larger where MIN_EYE_DISTANCE requires it.
UPRIGHT_SIDE, _TURNED_SIDE = 1024, 640
# A face with MIN_EYE_DISTANCE is about 100 px wide and must stay well above SMALLEST_FACE. The three searches in turned
# pictures are downscaled further to save time: 1 % of the faces of 40 px are lost, whether at 3.5 or 4.5.
SHRINK_LIMIT, _TURNED_SHRINK_LIMIT = 3.5, 4.2
_PAD = 0.12  # share of the picture's side (at most UPRIGHT_SIDE): MTCNN misses faces that touch the border
_MIN_PROBABILITY = 0.9
_MIN_PRESENCE = 0.5
# A known face is detected again in a square that extends this many eye distances from its centre, scaled to this eye
# distance in px.
_SEARCH_RADIUS = 3.0
_SEARCH_EYE_DISTANCE = 44.0
_MAX_OFFSET = 0.5  # eye distances between the centres of detections that count as the same face
_MAX_OVERLAP = 1 / 3  # share of the smaller face: detections that overlap by more are the same face
_OVERLAP_GRID = np.array([96, 96])  # pixels of the masks from which overlaps are measured
_RECENT_CAPACITY = 8  # photos whose faces are kept: one is protected several times, or its parts are
_FIVE = [33, 263, 1, 61, 291]  # mesh indices used for eyes, nose and mouth corners


class Detector:
    """Detects faces and their meshes; built once, used for many photos."""

    def __init__(self, mtcnn: Mtcnn, mesh: FaceMesh) -> None:
        self._mtcnn = mtcnn
        self._mesh = mesh
        self._recent: Recent[tuple[Face, ...]] = Recent(_RECENT_CAPACITY)

    def __call__(self, photo: Tensor | View, reduced: float = 1.0) -> tuple[Face, ...]:
        """Detect the faces of a photo, largest first, numbered from 1.

        Args:
            photo: (3, H, W) float sRGB 0..1 on the CPU, or the view of a photo.
            reduced: factor by which this is a reduced copy; faces that have ``MIN_EYE_DISTANCE`` in the full photo are
                found.
        """
        if isinstance(photo, Tensor):
            return self._detect(photo, reduced)
        return self._recent.get(digest(photo.digest(), reduced), lambda: self._detect(photo, reduced))

    def _detect(self, photo: Tensor | View, reduced: float) -> tuple[Face, ...]:
        longest = max(photo.shape[-2:]) * reduced
        # Downscaled from the large photo only once: that costs more than detection.
        upright = _downscale(photo, max(UPRIGHT_SIDE, longest / SHRINK_LIMIT))
        turned = _downscale(upright, max(_TURNED_SIDE, longest / _TURNED_SHRINK_LIMIT))
        candidates = self._propose(upright, 0)
        for quarter_turns in (1, 2, 3):
            candidates += self._propose(turned, quarter_turns)
        to_photo = np.array(photo.shape[:0:-1], np.float32)
        meshes = remove_overlaps(
            self._confirm(photo, [(share * to_photo, probability) for share, probability in candidates])
        )
        meshes.sort(key=lambda f: -eye_distance(f[0]))
        return tuple(_build_face(i + 1, mesh, score) for i, (mesh, score) in enumerate(meshes))

    def find_again(self, photo: Tensor | View, face: Face) -> Face | None:
        """Detect a face that is known from another version of the photo.

        Args:
            photo: (3, H, W) float sRGB 0..1 on the CPU, or the view of a photo.
            face: expected position, in pixels of this photo.

        Returns:
            the face, with the same number; None when no detection is near enough.
        """
        height, width = photo.shape[-2:]
        centre, reach = face.mesh.mean(0), _SEARCH_RADIUS * face.eye_distance
        x0, y0 = (int(v) for v in np.clip(np.floor(centre - reach), 0, [width - 1, height - 1]))
        x1, y1 = (int(v) for v in np.clip(np.ceil(centre + reach), [x0 + 1, y0 + 1], [width, height]))
        step = max(1, int(face.eye_distance / _SEARCH_EYE_DISTANCE))
        area = photo[:, y0:y1, x0:x1] if isinstance(photo, Tensor) else photo.read(x0, y0, x1, y1, step)
        small = _downscale(area, max(x1 - x0, y1 - y0) * min(1.0, _SEARCH_EYE_DISTANCE / face.eye_distance))
        to_photo = np.array([x1 - x0, y1 - y0], np.float32)
        eyes = face.mesh[_FIVE[1]] - face.mesh[_FIVE[0]]
        upright = round(math.atan2(eyes[1], eyes[0]) / (math.pi / 2))
        # First in the orientation in which it was detected, then in the other three.
        for quarter_turns in (upright, upright + 1, upright + 2, upright + 3):
            candidates = self._propose(small, quarter_turns % 4)
            in_photo = [(share * to_photo + np.array([x0, y0], np.float32), p) for share, p in candidates]
            detected = [_build_face(face.number, mesh, score) for mesh, score in self._confirm(photo, in_photo)]
            near = [
                other
                for other in detected
                if np.linalg.norm(other.mesh.mean(0) - centre) < _MAX_OFFSET * face.eye_distance
            ]
            if near:
                return min(near, key=lambda other: float(np.linalg.norm(other.mesh.mean(0) - centre)))
        return None

    def refine(self, photo: Tensor | View, face: Face) -> Face:
        """Fit the mesh of a known face to this photo, without proposals."""
        mesh, presence = self._mesh.settle(photo, face.mesh)
        return _build_face(face.number, mesh, presence)

    def refine_landmarks(self, picture: Tensor, mesh: Points) -> Points:
        """Fit (468, 2) landmarks to a (3, H, W) picture, starting from the estimate ``mesh``."""
        return self._mesh.settle(picture, mesh)[0][:, :2]

    def _confirm(
        self, photo: Tensor | View, candidates: list[tuple[Points, float]]
    ) -> list[tuple[NDArray[np.float32], float]]:
        """Fit meshes to the proposals: (468, 3) mesh and score of every face, without duplicates."""
        confirmed: list[tuple[NDArray[np.float32], float]] = []
        for five, probability in sorted(candidates, key=lambda c: -c[1]):
            if any(_is_on_face(five, mesh) for mesh, _ in confirmed):
                continue
            mesh, presence = self._mesh(photo, five)
            if presence < _MIN_PRESENCE or any(_is_on_face(mesh[_FIVE, :2], m) for m, _ in confirmed):
                continue
            mesh, presence = self._mesh.settle(photo, mesh)
            confirmed.append((mesh, probability * presence))
        return confirmed

    def _propose(self, small: Tensor, quarter_turns: int) -> list[tuple[Points, float]]:
        """Propose faces: (5, 2) points as shares of the picture's width and height, and a probability each."""
        height, width = small.shape[-2:]
        pad = math.ceil(_PAD * min(max(height, width), UPRIGHT_SIDE)) + 1
        padded = F.pad(small[None], (pad, pad, pad, pad), mode="replicate")[0]
        rows, columns = padded.shape[1:]
        turned = torch.rot90(padded, quarter_turns, (1, 2))
        del padded  # to save memory, like the in-place operations below: the picture may be large
        points, probabilities = self._mtcnn(turned.clamp_(0, 1).mul_(255).round_())
        proposals: list[tuple[Points, float]] = []
        for five, probability in zip(points.numpy(), probabilities.tolist(), strict=True):
            if probability >= _MIN_PROBABILITY:
                back = _turn_back(five, quarter_turns, rows, columns)
                share = ((back - pad) / np.array([width, height])).astype(np.float32)
                proposals.append((share, probability))
        return proposals


def remove_overlaps(
    faces: list[tuple[NDArray[np.float32], float]],
) -> list[tuple[NDArray[np.float32], float]]:
    """Remove faces that overlap one of a higher score by more than a third, at any angle.

    Upside down, a forehead with its brows can be detected as a second face.

    Args:
        faces: (468, 3) mesh in photo pixels and score of each face.
    """
    kept: list[tuple[NDArray[np.float32], float]] = []
    for mesh, score in sorted(faces, key=lambda face: -face[1]):
        if all(face_overlap(mesh, other) <= _MAX_OVERLAP for other, _ in kept):
            kept.append((mesh, score))
    return kept


def face_overlap(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Share 0..1 of the smaller of two faces, (468, 2 or 3) meshes in the same pixels, that is covered by the other."""
    outlines = np.stack([mesh[list(OVAL), :2] for mesh in (first, second)])
    low, high = outlines.min((0, 1)), outlines.max((0, 1))
    masks = [polygon2mask(_OVERLAP_GRID, (o - low) / (high - low) * _OVERLAP_GRID) for o in outlines]
    smaller = min(mask.sum() for mask in masks)
    return float((masks[0] & masks[1]).sum() / max(1, smaller))


def _downscale(picture: Tensor | View, side: float) -> Tensor:
    """Downscale a picture to a longest side of at most ``side`` pixels."""
    height, width = picture.shape[-2:]
    scale = side / max(height, width)
    if not isinstance(picture, Tensor):
        # Averaging blocks of whole pixels first avoids converting all of them to float; the rest is interpolated.
        picture = picture.read(0, 0, width, height, max(1, int(1 / scale)))
    if scale >= 1:
        return picture
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return F.interpolate(picture[None], size, mode="bilinear", antialias=True, align_corners=False)[0]


def _turn_back(points: NDArray[np.float32], quarter_turns: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Map points of a picture turned by ``torch.rot90`` back to the original picture of rows x columns."""
    x, y = points[:, 0], points[:, 1]
    original = {0: (x, y), 1: (columns - y, x), 2: (columns - x, rows - y), 3: (y, rows - x)}[quarter_turns]
    return np.stack(original, axis=1).astype(np.float32)


def _is_on_face(five: NDArray[np.float32], mesh: NDArray[np.float32]) -> bool:
    """Whether five points lie on a face that is already known."""
    distance = np.linalg.norm(five.mean(0) - mesh[_FIVE, :2].mean(0))
    return bool(distance < 0.6 * max(eye_distance(mesh), float(np.linalg.norm(five[1] - five[0]))))


def _build_face(number: int, mesh: NDArray[np.float32], score: float) -> Face:
    distance = eye_distance(mesh)
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Face(number, box, score, mesh[:, :2].copy(), distance, explain_too_small(distance))
