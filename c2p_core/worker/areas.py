"""Assigns faces to areas, the rectangles of a layer that are sent to the worker; the protocol calls them regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2p_core.api import Box, Face, FaceChoice, FaceReport
from c2p_core.errors import BadRequest
from c2p_core.faces.align import CANVAS, align, transform_points
from c2p_core.faces.boxes import find_face_number, match_face
from c2p_core.faces.size import TOLERANCE, explain_too_small
from c2p_core.worker.job_header import FaceRequest, KnownFace
from c2p_core.worker.protocol import Picture

# Margin around the canvas of a face, in eye distances, for detection and for displaced pixels.
_MARGIN = 0.5
# A face is selected when at least this fraction of it is.
_MIN_SELECTED = 0.5


@dataclass(frozen=True)
class Task:
    """The work on one area of a layer.

    Attributes:
        index: of the area.
        choice: the faces to work on, in the area's coordinates.
        numbers: the client's numbers of the faces, one per box of ``choice``; () where it did not send boxes.
    """

    index: int
    choice: FaceChoice
    numbers: tuple[int, ...] = ()


def scale_face(face: Face, scale: NDArray[np.float64]) -> Face:
    """Convert a face from a reduced picture to layer pixels; ``scale`` is (2,), layer pixels per picture pixel.

    Whether a face is too small is decided in the layer; other reasons to skip it are kept.
    """
    distance, tolerance = face.eye_distance * float(scale.mean()), TOLERANCE if scale.max() > 1 else 0.0
    skipped = explain_too_small(distance, tolerance)
    if skipped is None and face.skipped is not None and face.skipped.code != "eyes-too-close":
        skipped = face.skipped
    x0, y0, x1, y1 = face.box
    box = (x0 * float(scale[0]), y0 * float(scale[1]), x1 * float(scale[0]), y1 * float(scale[1]))
    mesh = (face.mesh * scale).astype(np.float32)
    return replace(face, box=box, mesh=mesh, eye_distance=distance, skipped=skipped)


def get_selected_fraction(face: Face, selection: NDArray[Any]) -> float:
    """Fraction 0..1 of a face's box in a selection, (H, W, 1) uint8, of the same picture."""
    height, width = selection.shape[:2]
    x0, y0 = max(0, int(face.box[0])), max(0, int(face.box[1]))
    x1, y1 = min(width, round(face.box[2])), min(height, round(face.box[3]))
    return float(selection[y0:y1, x0:x1].mean()) / 255 if x1 > x0 and y1 > y0 else 0.0


def describe_face(face: Face, fraction: float) -> dict[str, Any]:
    """Describe a face as the protocol does."""
    return {
        "number": face.number,
        "box": list(face.box),
        "score": face.score,
        "eye_distance": face.eye_distance,
        "skipped": face.skipped.described() if face.skipped else None,
        "selected": round(fraction, 3),
    }


def choose_faces(choice: str | tuple[int, ...], faces: Sequence[Face], fractions: Sequence[float]) -> list[Face]:
    """Select the requested faces among those that can be protected."""
    usable = [face for face in faces if not face.skipped]
    fraction_of = {face.number: fraction for face, fraction in zip(faces, fractions, strict=True)}
    if choice == "all":
        return usable
    if choice == "largest":
        return [face for face in usable if fraction_of[face.number] > 0][:1]
    if choice == "selected":
        return [face for face in usable if fraction_of[face.number] >= _MIN_SELECTED]
    return [face for face in usable if face.number in choice]


def plan_areas(faces: Sequence[Face], layer_size: tuple[int, int]) -> list[dict[str, Any]]:
    """Plan disjoint rectangles of a layer of size ``full`` that hold all pixels needed to protect the faces."""
    rects = [(_get_needed_rect(face, layer_size), [face.number]) for face in faces]
    merged = True
    while merged:
        merged = False
        for first in range(len(rects)):
            for second in range(first + 1, len(rects)):
                if _overlap(rects[first][0], rects[second][0]):
                    (a, numbers), (b, more_numbers) = rects[first], rects.pop(second)
                    union = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
                    rects[first] = (union, sorted(numbers + more_numbers))
                    merged = True
                    break
            if merged:
                break
    return [
        {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "faces": numbers} for (x0, y0, x1, y1), numbers in rects
    ]


def assign_faces(request: FaceRequest, areas: Sequence[Picture]) -> list[Task]:
    """Assign the requested faces to ``areas``.

    Raises:
        BadRequest: a face has no box although there are several areas, or lies in none of them.
    """
    if request == "all":
        return [Task(index, "all") for index in range(len(areas))]
    known_faces = [face for face in request if isinstance(face, KnownFace)]
    if not known_faces:
        if len(areas) > 1:
            raise BadRequest("faces-without-places")
        return [Task(0, request)]  # type: ignore[arg-type]
    faces_by_area: dict[int, list[KnownFace]] = {}
    for face in known_faces:
        x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
        index = next((i for i, p in enumerate(areas) if contains(p, x, y)), None)
        if index is None:
            raise BadRequest("face-outside-regions", number=face.number)
        faces_by_area.setdefault(index, []).append(face)
    return [
        Task(
            index,
            tuple(_shift_box(face.box, -areas[index].x, -areas[index].y) for face in faces),
            tuple(face.number for face in faces),
        )
        for index, faces in faces_by_area.items()
    ]


def drop_missing_faces(task: Task, reports: Sequence[Face] | Sequence[FaceReport]) -> Task:
    """Drop faces that were requested by box and have no report."""
    if not task.numbers:
        return task
    pairs = zip(task.choice, task.numbers, strict=True)
    kept = [(box, number) for box, number in pairs if isinstance(box, tuple) and match_face(box, reports)]
    return replace(task, choice=tuple(box for box, _ in kept), numbers=tuple(number for _, number in kept))


def map_client_numbers(reports: Sequence[FaceReport], task: Task) -> dict[int, int]:
    """Map a face's number in its area to the client's number; {} where the client sent no boxes."""
    boxes = [box for box in task.choice if isinstance(box, tuple)] if task.numbers else []
    return {find_face_number(box, reports): number for box, number in zip(boxes, task.numbers, strict=True)}


def move_to_layer(reports: Sequence[FaceReport], task: Task, area: Picture) -> list[FaceReport]:
    """Convert an area's reports to layer pixels and the client's numbers; drops faces that were not requested."""
    if task.numbers:
        number_of = map_client_numbers(reports, task)
        reports = [replace(report, number=number_of[report.number]) for report in reports if report.number in number_of]
    return [replace(report, box=_shift_box(report.box, area.x, area.y)) for report in reports]


def filter_reports(reports: Sequence[FaceReport], choice: FaceChoice) -> Sequence[FaceReport]:
    """Keep the reports on faces chosen by size or number."""
    if choice == "largest":
        return [report for report in reports if not report.skipped][:1]
    if choice == "all" or any(isinstance(face, tuple) for face in choice):
        return reports
    return [report for report in reports if report.number in choice]


def renumber(reports: list[FaceReport], tasks: Sequence[Task]) -> list[FaceReport]:
    """Number the faces of several areas by size, largest first, unless the client has numbered them."""
    if len(tasks) == 1 or any(task.numbers for task in tasks):
        return sorted(reports, key=lambda report: report.number)
    ordered = sorted(reports, key=lambda report: -report.eye_distance)
    return [replace(report, number=index + 1) for index, report in enumerate(ordered)]


def _get_needed_rect(face: Face, layer_size: tuple[int, int]) -> tuple[int, int, int, int]:
    corners = np.array([[0, 0], [CANVAS, 0], [0, CANVAS], [CANVAS, CANVAS]], np.float64)
    photo_corners = transform_points(align(face.mesh, face.eye_distance).to_photo, corners)
    low = np.floor(photo_corners.min(0) - _MARGIN * face.eye_distance).clip(0, [layer_size[0] - 1, layer_size[1] - 1])
    high = np.ceil(photo_corners.max(0) + _MARGIN * face.eye_distance).clip(low + 1, layer_size)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def contains(area: Picture, x: float, y: float) -> bool:
    """Whether a point of the layer lies in an area."""
    return 0 <= x - area.x < area.bounds[2] and 0 <= y - area.y < area.bounds[3]


def _shift_box(box: Box, x: float, y: float) -> Box:
    return (box[0] + x, box[1] + y, box[2] + x, box[3] + y)
