"""The faces of a photo that a run protects, and what recognisers know of them."""

from __future__ import annotations

from dataclasses import dataclass

from c2p_core.api import Face, ProtectRequest
from c2p_core.faces import find_faces_in, refine_face
from c2p_core.faces.boxes import match_face
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.select import choose_faces, tolerate_small
from c2p_core.faces.view import View
from c2p_core.models.store import ModelStore
from c2p_core.verify import crop_face


@dataclass(frozen=True)
class Subject:
    """A face to protect.

    Attributes:
        face, seen: in the photo.
        before, seen_before: in the original, which recognisers know; the same as above where the photo is the original.
    """

    face: Face
    seen: CanvasFace
    before: Face
    seen_before: CanvasFace


def find_subjects(
    request: ProtectRequest, store: ModelStore, warnings: list[str]
) -> tuple[tuple[Face, ...], list[Subject]]:
    """All faces of the photo, and those of them that the request means, in number order.

    Raises:
        BadRequest: a number that no face has, or one that can't be protected.
        NoFace: there is no face that can be protected.
        ModelUnavailable: a detector's model is missing.
    """
    photo = View(request.photo)
    faces = find_faces_in(photo, store)
    if any(isinstance(wanted, tuple) for wanted in request.faces):
        faces = tolerate_small(faces)
    chosen = choose_faces(faces, request.faces, warnings)
    seen = [crop_face(photo, face) for face in chosen]
    if request.original is None:
        return faces, [Subject(face, canvas, face, canvas) for face, canvas in zip(chosen, seen, strict=True)]
    original = View(request.original)
    there = find_faces_in(original, store)
    before = [match_face(face.box, there) or refine_face(original, face, store) for face in chosen]
    seen_before = [crop_face(original, face) for face in before]
    return faces, [Subject(*parts) for parts in zip(chosen, seen, before, seen_before, strict=True)]
