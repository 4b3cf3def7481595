"""Selects the faces that a request names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from c2p_core.api import Face, FaceChoice
from c2p_core.errors import BadRequest, Message, NoFace
from c2p_core.faces.boxes import match_face
from c2p_core.faces.size import TOLERANCE, explain_too_small


def tolerate_small(faces: Sequence[Face]) -> tuple[Face, ...]:
    """Accept faces slightly below the minimum size.

    They may have been selected in a downscaled picture, in which they measured slightly larger.
    """
    return tuple(replace(face, skipped=explain_too_small(face.eye_distance, 2 * TOLERANCE)) for face in faces)


def choose_faces(faces: Sequence[Face], choice: FaceChoice, warnings: list[Message]) -> tuple[Face, ...]:
    """Select the faces that a request names, in number order; appends to ``warnings`` if a face is no longer there.

    Raises:
        BadRequest: a number does not exist, or its face can't be protected.
        NoFace: none of the selected faces can be protected.
    """
    usable = [face for face in faces if not face.skipped]
    if not usable:
        raise make_no_face_error(faces)
    if choice == "all":
        return tuple(usable)
    if choice == "largest":
        return (usable[0],)
    by_number = {face.number: face for face in faces}
    numbers = {item for item in choice if isinstance(item, int)}
    for number in sorted(numbers):
        if number not in by_number:
            raise BadRequest("face-number-unknown", number=number, count=len(faces))
        if by_number[number].skipped:
            raise BadRequest("face-unusable", number=number, why=by_number[number].skipped)
    # Faces named by their boxes may be gone, or be skipped for a reason that the report gives.
    matches = [match_face(item, faces) for item in choice if isinstance(item, tuple)]
    numbers |= {face.number for face in matches if face is not None and not face.skipped}
    if not numbers:
        matched = [face for face in matches if face is not None]
        raise make_no_face_error(matched) if matched else NoFace("face-gone")
    if None in matches:
        warnings.append(Message("not-every-face", why=Message("face-gone")))
    return tuple(by_number[number] for number in sorted(numbers))


def make_no_face_error(faces: Sequence[Face]) -> NoFace:
    """Make the error that says why none of the faces can be protected."""
    return NoFace("no-face-usable", why=faces[0].skipped) if faces else NoFace("no-face")
