"""How far landmarks and the expression moved, in per cent of the eye distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.metrics.face_masks import Mesh
from benchmarks.metrics.image_quality import Floats
from c2p_core.faces.align import LEFT_EYE, RIGHT_EYE


@dataclass(frozen=True)
class Displacement:
    """How far features moved, in per cent of the original's eye distance.

    Attributes:
        mesh: mean over the 468 points, or over the face oval.
        eyes: mean over the points of both lid contours, or over the eye openings.
    """

    mesh: float
    eyes: float


@dataclass(frozen=True)
class FormShift:
    """Movement within a face, independent of its position, size and tilt in the picture.

    Both meshes are aligned by their own eye line first (the middle between the eyes is the origin, the line from eye to
    eye is horizontal and 100 long), so that everything is in per cent of the eye distance.

    Attributes:
        expression: how much each of the `EXPRESSION_MEASURES` changed, in their order, without signs.
        landmarks: mean distance over all points of the mesh.
        nose_width: change of the width between the wings of the nose, in per cent of that width, without its sign.
    """

    expression: tuple[float, ...]
    landmarks: float
    nose_width: float


def measure_displacement(before: Mesh, after: Mesh, eye_distance: float) -> Displacement:
    """Measure how far the landmarks moved.

    Args:
        before, after: (468, 2) in pixels of the same frame, each detected in its own picture.
        eye_distance: of the original, in the same pixels.
    """
    offsets = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    distances = np.hypot(offsets[:, 0], offsets[:, 1]) * 100 / eye_distance
    return Displacement(mesh=float(distances.mean()), eyes=float(distances[list(LEFT_EYE + RIGHT_EYE)].mean()))


# Corners of each eye, outer and inner (left eye of the picture) and inner and outer (right).
_LEFT_CORNERS, _RIGHT_CORNERS = [33, 133], [362, 263]


# Points of the mesh that height is measured between: a brow and the lid or corner below it.
_BROWS = ((107, 133), (105, 159), (70, 33), (336, 362), (334, 386), (300, 263))


_LIDS = ((145, 159), (374, 386))


_MOUTH_CORNERS = (61, 291)


# Middle of the mouth from above to below: upper edge of the upper lip, its lower edge, and the same of the lower lip.
_UPPER, _UPPER_INNER, _LOWER_INNER, _LOWER = 0, 13, 14, 17


_NOSE_WINGS = (129, 358)


EXPRESSION_MEASURES = (
    *(f"{side} brow, {part}" for side in ("left", "right") for part in ("inner", "middle", "outer")),
    "left mouth corner",
    "right mouth corner",
    "lip opening",
    "upper lip",
    "lower lip",
    "mouth width",
    "left eye opening",
    "right eye opening",
)


"""The measures that show a mood: heights of brows over the eyes, of mouth corners, lips and lids."""


def align_to_eye_line(mesh: Mesh) -> Floats:
    """Move the middle between the eyes to the origin, and make the eye line horizontal and 100 long: (468, 2)."""
    points = np.asarray(mesh, np.float64)
    left, right = points[_LEFT_CORNERS].mean(axis=0), points[_RIGHT_CORNERS].mean(axis=0)
    line = right - left
    length = float(np.hypot(*line))
    cos, sin = line / length
    rotated = (points - (left + right) / 2) @ np.array([[cos, -sin], [sin, cos]])
    return np.asarray(rotated * 100 / length)


def measure_expression(mesh: Mesh) -> Floats:
    """Measure the `EXPRESSION_MEASURES` of one mesh, signed, in per cent of its eye distance: (14,)."""
    aligned = align_to_eye_line(mesh)
    x, y = aligned[:, 0], aligned[:, 1]
    middle = (y[_UPPER_INNER] + y[_LOWER_INNER]) / 2
    left, right = _MOUTH_CORNERS
    return np.array(
        [
            *(y[brow] - y[eye] for brow, eye in _BROWS),
            y[left] - middle,
            y[right] - middle,
            y[_LOWER_INNER] - y[_UPPER_INNER],
            y[_UPPER_INNER] - y[_UPPER],
            y[_LOWER] - y[_LOWER_INNER],
            x[right] - x[left],
            *(y[below] - y[above] for below, above in _LIDS),
        ]
    )


def measure_form_shift(before: Mesh, after: Mesh) -> FormShift:
    """Measure how far expression, landmarks and nose moved.

    Args:
        before, after: (468, 2), each detected in its own picture, in pixels of any frame.
    """
    aligned_before, aligned_after = align_to_eye_line(before), align_to_eye_line(after)
    left, right = _NOSE_WINGS
    widths = [aligned[right, 0] - aligned[left, 0] for aligned in (aligned_before, aligned_after)]
    return FormShift(
        expression=tuple(np.abs(measure_expression(after) - measure_expression(before)).tolist()),
        landmarks=float(np.linalg.norm(aligned_after - aligned_before, axis=1).mean()),
        nose_width=float(abs(widths[1] / widths[0] - 1) * 100),
    )
