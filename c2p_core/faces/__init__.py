"""Faces in photos: detection, landmarks, alignment, paste-back."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from c2p_core.api import Face
from c2p_core.photo import Photo

if TYPE_CHECKING:
    from torch import Tensor

    from c2p_core.faces.detect import Detector
    from c2p_core.faces.view import View
    from c2p_core.models.store import ModelStore


@lru_cache(maxsize=1)
def _build_detector(mtcnn: Path, mesh: Path) -> Detector:
    from c2p_core.faces.detect import Detector
    from c2p_core.faces.landmarks import FaceMesh
    from c2p_core.faces.mtcnn import Mtcnn
    from c2p_core.models.weights import load_weights

    return Detector(load_weights(Mtcnn(), mtcnn), FaceMesh(mesh))


def _load_detector(store: ModelStore) -> Detector:
    return _build_detector(store.path("mtcnn"), store.path("face-mesh"))


def find_faces(photo: Photo, store: ModelStore, reduced: float = 1.0) -> tuple[Face, ...]:
    """Detect all faces of a photo, largest first, numbered from 1; those too small have ``Face.skipped`` set.

    Args:
        photo: upright, or lying on any of its sides.
        store: has the models.
        reduced: how many times larger the photo is that this one is a reduced copy of; faces are looked for that are
            large enough there, and ``Face.skipped`` says which are too small here.

    Raises:
        ModelUnavailable: a model is missing or damaged.
    """
    from c2p_core.faces.view import View

    return _load_detector(store)(View(photo), reduced)


def find_faces_in(photo: Tensor | View, store: ModelStore) -> tuple[Face, ...]:
    """``find_faces`` for a (3, H, W) sRGB picture in 0..1 or the view of a photo."""
    return _load_detector(store)(photo)


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
