"""Matches boxes to detected faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from c2p_core.api import Box
from c2p_core.errors import NoFace

# Intersection over union: well above it for the same face detected twice, well below for neighbouring faces.
_SAME_FACE_IOU = 0.3


class _NumberedBox(Protocol):
    @property
    def number(self) -> int: ...
    @property
    def box(self) -> Box: ...


_Boxed = TypeVar("_Boxed", bound=_NumberedBox)


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    return intersection / (_measure_box(first) + _measure_box(second) - intersection)


def match_face(box: Box, faces: Sequence[_Boxed]) -> _Boxed | None:
    """The face whose box overlaps ``box`` most; None when none overlaps it enough to be the same face."""
    best = max(faces, key=lambda face: box_iou(face.box, box), default=None)
    return None if best is None or box_iou(best.box, box) < _SAME_FACE_IOU else best


def find_face_number(box: Box, faces: Sequence[_NumberedBox]) -> int:
    """The number of the face that ``match_face`` finds for ``box``.

    Raises:
        NoFace: there is none.
    """
    best = match_face(box, faces)
    if best is None:
        raise NoFace("face-gone")
    return best.number


def _measure_box(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
