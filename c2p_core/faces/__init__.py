"""Faces in photos: detection, landmarks, alignment, paste-back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from c2p_core.api import Face
from c2p_core.errors import Message
from c2p_core.photo import Photo

if TYPE_CHECKING:
    from torch import Tensor

    from c2p_core.faces.detect import Detector
    from c2p_core.faces.view import View
    from c2p_core.faces.visibility import CoverDetector
    from c2p_core.models.store import ModelStore


@lru_cache(maxsize=1)
def _build_detector(mtcnn: Path, mesh: Path) -> Detector:
    from c2p_core.faces.detect import Detector
    from c2p_core.faces.landmarks import FaceMesh
    from c2p_core.faces.mtcnn import Mtcnn
    from c2p_core.models.weights import load_weights

    return Detector(load_weights(Mtcnn(), mtcnn), FaceMesh(mesh))


def _load_detector(store: ModelStore) -> Detector:
    return _build_detector(store.obtain("mtcnn"), store.obtain("face-mesh"))


@lru_cache(maxsize=1)
def _build_cover_detector(weights: Path) -> CoverDetector:
    from c2p_core.faces.visibility import CoverDetector, CoverNet
    from c2p_core.models.weights import load_weights

    return CoverDetector(load_weights(CoverNet(), weights))


def find_faces(photo: Photo, store: ModelStore, reduced: float = 1.0) -> tuple[Face, ...]:
    """Detect all faces of a photo, largest first, numbered from 1.

    Those too small or too covered to be protected have ``Face.skipped`` set.

    Args:
        photo: upright, or turned by any multiple of 90 degrees.
        store: has the models.
        reduced: factor by which this is a reduced copy; faces that are large enough in the full photo are looked for,
            and ``Face.skipped`` says which are too small here.

    Raises:
        ModelUnavailable: a model is missing or damaged.
    """
    from c2p_core.faces.size import TOLERANCE, explain_too_small
    from c2p_core.faces.view import View

    view = View(photo)
    faces = _load_detector(store)(view, reduced)
    # Covers are found just as well in a reduced copy, in which the face may be too small to be protected.
    tolerance = TOLERANCE if reduced > 1 else 0.0
    large_enough = [replace(face, skipped=explain_too_small(reduced * face.eye_distance, tolerance)) for face in faces]
    return skip_covered(faces, find_visible(view, large_enough, store))


def find_faces_in(photo: Tensor | View, store: ModelStore) -> tuple[Face, ...]:
    """``find_faces`` for a (3, H, W) sRGB picture in 0..1 or the view of a photo; ignores what covers the faces."""
    return _load_detector(store)(photo)


def find_visible(photo: Tensor | View, faces: Sequence[Face], store: ModelStore) -> dict[int, Tensor]:
    """Find the visible parts of covered faces.

    Args:
        photo: as in ``find_faces_in``.
        faces: skipped ones are left out.
        store: has the network.

    Returns:
        (256, 256) masks on the canvases of covered faces, by face number; see ``visibility.CoverDetector``.

    Raises:
        ModelUnavailable: the network is missing or damaged.
    """
    from c2p_core.faces.align import align, crop_canvas, transform_points

    masks = {}
    for face in faces:
        if face.skipped:
            continue
        alignment = align(face.mesh, face.eye_distance)
        mesh = transform_points(alignment.to_canvas, face.mesh)
        visible = _build_cover_detector(store.obtain("visibility"))(crop_canvas(photo, alignment).clamp(0, 1), mesh)
        if visible is not None:
            masks[face.number] = visible
    return masks


def skip_covered(faces: Sequence[Face], visible: Mapping[int, Tensor]) -> tuple[Face, ...]:
    """Set ``Face.skipped`` of faces of which too little is visible; ``visible`` is from ``find_visible``."""
    from c2p_core.faces.align import align, transform_points
    from c2p_core.faces.visibility import LEAST_VISIBLE, visible_share

    def skip(face: Face) -> Face:
        mask = visible.get(face.number)
        if mask is None:
            return face
        mesh = transform_points(align(face.mesh, face.eye_distance).to_canvas, face.mesh)
        share = visible_share(mask, mesh)
        if share >= LEAST_VISIBLE:
            return face
        reason = Message("face-covered", covered=round(100 * (1 - share)), most=round(100 * (1 - LEAST_VISIBLE)))
        return replace(face, skipped=reason)

    return tuple(skip(face) for face in faces)


def find_again(photo: Tensor | View, face: Face, store: ModelStore) -> Face | None:
    """Detect a known face again near its position, in pixels of this picture; None when there is no face."""
    return _load_detector(store).find_again(photo, face)


def refine_face(photo: Tensor | View, face: Face, store: ModelStore) -> Face:
    """Fit the mesh of a known face to this picture, without detection."""
    return _load_detector(store).refine(photo, face)


def refine_landmarks(picture: Tensor, mesh: Tensor, store: ModelStore) -> Tensor:
    """Fit (468, 2) landmarks to a (3, H, W) sRGB picture from the estimate ``mesh``, on the device of ``mesh``."""
    landmarks = _load_detector(store).refine_landmarks(picture.cpu(), mesh.cpu().numpy())
    return mesh.new_tensor(landmarks)
