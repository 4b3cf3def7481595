"""Which face is meant when somebody says where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from c2p_core.api import Box
from c2p_core.errors import NoFace

# Of the union of two boxes: the same face found again lies far above, a neighbour far below.
SAME = 0.3


class _Numbered(Protocol):
    @property
    def number(self) -> int: ...
    @property
    def box(self) -> Box: ...


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (_area(first) + _area(second) - both)


def face_at(box: Box, faces: Sequence[_Numbered]) -> int:
    """The number of the face that lies in ``box``.

    Raises:
        NoFace: none does.
    """
    best = max(faces, key=lambda face: overlap(face.box, box), default=None)
    if best is None or overlap(best.box, box) < SAME:
        raise NoFace("A face that was there before is not found any more; look for the faces again.")
    return best.number


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
