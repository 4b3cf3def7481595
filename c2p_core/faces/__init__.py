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
def _detector(mtcnn: Path, mesh: Path) -> Detector:
    from c2p_core.faces.detect import Detector
    from c2p_core.faces.landmarks import FaceMesh
    from c2p_core.faces.mtcnn import Mtcnn
    from c2p_core.models.weights import load_weights

    return Detector(load_weights(Mtcnn(), mtcnn), FaceMesh(mesh))


def _checked(store: ModelStore) -> Detector:
    return _detector(store.path("mtcnn"), store.path("face-mesh"))


def find_faces(photo: Photo, store: ModelStore) -> tuple[Face, ...]:
    """All faces of a photo, largest first, numbered from 1; too small ones are listed with the reason.

    Raises:
        ModelUnavailable: a model is not there or damaged.
    """
    from c2p_core.faces.view import View

    return find_faces_in(View(photo), store)


def find_faces_in(photo: Tensor | View, store: ModelStore) -> tuple[Face, ...]:
    """The same for a (3, H, W) sRGB picture or the view of a photo."""
    return _checked(store)(photo)


def find_again(photo: Tensor | View, face: Face, store: ModelStore) -> Face | None:
    """A known face, in pixels of this picture, searched anew around its place; None when nothing there is a face."""
    return _checked(store).find_again(photo, face)


def refine_face(photo: Tensor | View, face: Face, store: ModelStore) -> Face:
    """The same face with its mesh found anew in a picture in which it may have changed."""
    return _checked(store).refine(photo, face)


def refine_landmarks(picture: Tensor, mesh: Tensor, store: ModelStore) -> Tensor:
    """(468, 2) landmarks found anew in a (3, H, W) sRGB picture in which they went to about ``mesh``, on its device."""
    found = _checked(store).refine_landmarks(picture.cpu(), mesh.cpu().numpy())
    return mesh.new_tensor(found)
