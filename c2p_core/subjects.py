"""The faces of a photo that a run protects, paired with the same faces in the original."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from c2p_core.api import Face, ProtectRequest
from c2p_core.errors import Message
from c2p_core.faces import find_faces_in, find_visible, refine_face, skip_covered
from c2p_core.faces.align import align, crop_canvas, transform_points
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
        face, canvas: in the photo to protect.
        original_face, original_canvas: in the original, to which recognisers compare; the same as above unless the
            request has an original of its own.
    """

    face: Face
    canvas: CanvasFace
    original_face: Face
    original_canvas: CanvasFace


@dataclass(frozen=True)
class DetectedFaces:
    """The faces of a photo, found before the run that protects them; attributes as returned by ``find_subjects``.

    Attributes:
        warnings: messages for the user.
    """

    faces: tuple[Face, ...]
    subjects: tuple[Subject, ...]
    warnings: tuple[Message, ...] = ()


def find_subjects(
    request: ProtectRequest, store: ModelStore, warnings: list[Message]
) -> tuple[tuple[Face, ...], list[Subject]]:
    """Find the faces of the photo, and those that the request selects, both in number order.

    Raises:
        BadRequest: a selected number does not exist, or its face can't be protected.
        NoFace: there is no face that can be protected.
        ModelUnavailable: a detector's model is missing.
    """
    photo = View(request.photo)
    faces = find_faces_in(photo, store)
    if any(isinstance(choice, tuple) for choice in request.faces):
        faces = tolerate_small(faces)
    visible = find_visible(photo, faces, store)
    faces = skip_covered(faces, visible)
    chosen = choose_faces(faces, request.faces, warnings)
    canvases = [replace(crop_face(photo, face), visible=visible.get(face.number)) for face in chosen]
    if request.original is None:
        return faces, [Subject(face, canvas, face, canvas) for face, canvas in zip(chosen, canvases, strict=True)]
    original = View(request.original)
    original_faces = find_faces_in(original, store)
    original_chosen = [match_face(face.box, original_faces) or refine_face(original, face, store) for face in chosen]
    original_canvases = [crop_face(original, face) for face in original_chosen]
    canvases = [
        replace(canvas, original=_crop_like(face, original, before))
        for face, canvas, before in zip(chosen, canvases, original_chosen, strict=True)
    ]
    return faces, [
        Subject(*fields) for fields in zip(chosen, canvases, original_chosen, original_canvases, strict=True)
    ]


def _crop_like(face: Face, original: View, before: Face) -> CanvasFace:
    """The same face in the original, on the canvas of ``face``."""
    alignment = align(face.mesh, face.eye_distance)
    mesh = torch.from_numpy(transform_points(alignment.to_canvas, before.mesh))
    return CanvasFace(crop_canvas(original, alignment), mesh)
