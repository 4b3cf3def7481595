"""Which face is meant when somebody says where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from c2p_core.api import Box
from c2p_core.errors import NoFace

# Of the union of two boxes: the same face found again lies far above, a neighbour far below.
_SAME = 0.3

GONE = "A face that was there before is not found any more; look for the faces again."


class _Numbered(Protocol):
    @property
    def number(self) -> int: ...
    @property
    def box(self) -> Box: ...


_Boxed = TypeVar("_Boxed", bound=_Numbered)


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (_area(first) + _area(second) - both)


def match_face(box: Box, faces: Sequence[_Boxed]) -> _Boxed | None:
    """The face that lies in ``box`` best, neighbours being there too; None when none does."""
    best = max(faces, key=lambda face: box_iou(face.box, box), default=None)
    return None if best is None or box_iou(best.box, box) < _SAME else best


def face_at(box: Box, faces: Sequence[_Numbered]) -> int:
    """The number of the face that lies in ``box``.

    Raises:
        NoFace: none does.
    """
    best = match_face(box, faces)
    if best is None:
        raise NoFace(GONE)
    return best.number


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
