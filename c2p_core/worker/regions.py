"""Faces between the whole layer and the parts of it that travel to the worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2p_core.api import Box, Face, FaceChoice, FaceReport
from c2p_core.errors import BadRequest
from c2p_core.faces.align import CANVAS, align, transform_points
from c2p_core.faces.boxes import face_at, match_face
from c2p_core.faces.detect import TOLERANCE, why_skipped
from c2p_core.worker.fields import Asked, Known
from c2p_core.worker.protocol import Picture

# Around the canvas of a face, in eye distances: what the search for faces and moved pixels need besides.
_AROUND = 0.5
# A face belongs to the selection when this much of it does.
_SELECTED = 0.5


@dataclass(frozen=True)
class Task:
    """What to do with one part of a layer.

    Attributes:
        index: of the part.
        choice: the faces, in the part's own coordinates.
        numbers: what the client calls them, one per box of ``choice``; empty where it did not name them so.
    """

    index: int
    choice: FaceChoice
    numbers: tuple[int, ...] = ()


def enlarged(face: Face, scale: NDArray[np.float64]) -> Face:
    """A face found in a reduced picture, in pixels of the layer; ``scale`` is (2,), layer pixels per picture pixel."""
    distance, tolerance = face.eye_distance * float(scale.mean()), TOLERANCE if scale.max() > 1 else 0.0
    x0, y0, x1, y1 = face.box
    box = (x0 * float(scale[0]), y0 * float(scale[1]), x1 * float(scale[0]), y1 * float(scale[1]))
    mesh = (face.mesh * scale).astype(np.float32)
    return replace(face, box=box, mesh=mesh, eye_distance=distance, skipped=why_skipped(distance, tolerance))


def selected(face: Face, selection: NDArray[Any]) -> float:
    """The share 0..1 of a face's box that a (H, W, 1) uint8 selection of the same picture holds."""
    height, width = selection.shape[:2]
    x0, y0 = max(0, int(face.box[0])), max(0, int(face.box[1]))
    x1, y1 = min(width, round(face.box[2])), min(height, round(face.box[3]))
    return float(selection[y0:y1, x0:x1].mean()) / 255 if x1 > x0 and y1 > y0 else 0.0


def described(face: Face, share: float) -> dict[str, Any]:
    """A face as the protocol has it."""
    return {
        "number": face.number,
        "box": list(face.box),
        "score": face.score,
        "eye_distance": face.eye_distance,
        "skipped": face.skipped,
        "selected": round(share, 3),
    }


def choose(choice: str | tuple[int, ...], faces: Sequence[Face], shares: Sequence[float]) -> list[Face]:
    """The faces that can be protected and are asked for."""
    usable = [face for face in faces if not face.skipped]
    share_of = {face.number: share for face, share in zip(faces, shares, strict=True)}
    if choice == "all":
        return usable
    if choice == "largest":
        return [face for face in usable if share_of[face.number] > 0][:1]
    if choice == "selected":
        return [face for face in usable if share_of[face.number] >= _SELECTED]
    return [face for face in usable if face.number in choice]


def regions_of(faces: Sequence[Face], full: tuple[int, int]) -> list[dict[str, Any]]:
    """Disjoint rectangles of a layer of size ``full`` that hold all that protecting the faces needs."""
    parts = [(_around(face, full), [face.number]) for face in faces]
    joined = True
    while joined:
        joined = False
        for first in range(len(parts)):
            for second in range(first + 1, len(parts)):
                if _touch(parts[first][0], parts[second][0]):
                    (a, numbers), (b, more) = parts[first], parts.pop(second)
                    both = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
                    parts[first] = (both, sorted(numbers + more))
                    joined = True
                    break
            if joined:
                break
    return [
        {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "faces": numbers} for (x0, y0, x1, y1), numbers in parts
    ]


def split(asked: Asked, parts: Sequence[Picture]) -> list[Task]:
    """Which faces to work on in which of the ``parts``.

    Raises:
        BadRequest: they are not named in a way that tells the parts apart.
    """
    if asked == "all":
        return [Task(index, "all") for index in range(len(parts))]
    known = [face for face in asked if isinstance(face, Known)]
    if not known:
        if len(parts) > 1:
            raise BadRequest("Faces of several regions are named by where they are; send the faces that were found.")
        return [Task(0, asked)]  # type: ignore[arg-type]
    inside: dict[int, list[Known]] = {}
    for face in known:
        x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
        index = next((i for i, p in enumerate(parts) if _holds(p, x, y)), None)
        if index is None:
            raise BadRequest(f"Face {face.number} lies in none of the regions that were sent; look for faces again.")
        inside.setdefault(index, []).append(face)
    return [
        Task(
            index,
            tuple(_moved(face.box, -parts[index].x, -parts[index].y) for face in faces),
            tuple(face.number for face in faces),
        )
        for index, faces in inside.items()
    ]


def largest(work: Sequence[Task], parts: Sequence[Picture]) -> Task:
    """The task of only the largest face."""
    named = [
        (box[3] - box[1], Task(task.index, (box,), (number,)))
        for task in work
        for box, number in zip(task.choice, task.numbers, strict=False)
        if isinstance(box, tuple)
    ]
    if named:
        return max(named, key=lambda pair: pair[0])[1]
    task = max(work, key=lambda t: parts[t.index].bounds[3])
    numbers = [face for face in task.choice if isinstance(face, int)]
    return Task(task.index, (min(numbers),) if numbers else "largest")


def still_there(task: Task, reports: Sequence[FaceReport]) -> Task:
    """The task without the faces that are named by where they were and of which there is no report."""
    if not task.numbers:
        return task
    named = zip(task.choice, task.numbers, strict=True)
    kept = [(box, number) for box, number in named if isinstance(box, tuple) and match_face(box, reports)]
    return replace(task, choice=tuple(box for box, _ in kept), numbers=tuple(number for _, number in kept))


def names(reports: Sequence[FaceReport], task: Task) -> dict[int, int]:
    """From a face's number in its part to what the client calls it; empty where the client did not name faces."""
    boxes = [box for box in task.choice if isinstance(box, tuple)] if task.numbers else []
    return {face_at(box, reports): number for box, number in zip(boxes, task.numbers, strict=True)}


def on_layer(reports: Sequence[FaceReport], task: Task, part: Picture) -> list[FaceReport]:
    """What was found in a part, in layer pixels and with the client's numbers; without faces that nobody named."""
    if task.numbers:
        called = names(reports, task)
        reports = [replace(report, number=called[report.number]) for report in reports if report.number in called]
    return [replace(report, box=_moved(report.box, part.x, part.y)) for report in reports]


def only(reports: Sequence[FaceReport], choice: FaceChoice) -> Sequence[FaceReport]:
    """The reports on faces that are chosen by size or number."""
    if choice == "largest":
        return [report for report in reports if not report.skipped][:1]
    if choice == "all" or any(isinstance(face, tuple) for face in choice):
        return reports
    return [report for report in reports if report.number in choice]


def numbered(reports: list[FaceReport], work: Sequence[Task]) -> list[FaceReport]:
    """Counts through the faces of several parts, largest first, unless the client has numbered them."""
    if len(work) == 1 or any(task.numbers for task in work):
        return sorted(reports, key=lambda report: report.number)
    ordered = sorted(reports, key=lambda report: -report.eye_distance)
    return [replace(report, number=index + 1) for index, report in enumerate(ordered)]


def _around(face: Face, full: tuple[int, int]) -> tuple[int, int, int, int]:
    corners = np.array([[0, 0], [CANVAS, 0], [0, CANVAS], [CANVAS, CANVAS]], np.float64)
    on_photo = transform_points(align(face.mesh, face.eye_distance).to_photo, corners)
    low = np.floor(on_photo.min(0) - _AROUND * face.eye_distance).clip(0, [full[0] - 1, full[1] - 1])
    high = np.ceil(on_photo.max(0) + _AROUND * face.eye_distance).clip(low + 1, full)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _touch(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _holds(part: Picture, x: float, y: float) -> bool:
    return 0 <= x - part.x < part.bounds[2] and 0 <= y - part.y < part.bounds[3]


def _moved(box: Box, x: float, y: float) -> Box:
    return (box[0] + x, box[1] + y, box[2] + x, box[3] + y)
