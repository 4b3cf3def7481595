# -*- coding: utf-8 -*-
"""Which faces a run protects, and why there are none."""

from __future__ import unicode_literals

from worker_client.errors import Refused
from worker_client.settings import ALL, LARGEST, SELECTED

# Intersection over union from which two boxes are of the same face, as in ``c2p_core.faces.boxes``.
_SAME_FACE_IOU = 0.3

# A face counts as selected if at least this share of it is, as in ``c2p_core.worker.areas``.
_MIN_SELECTED = 0.5

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Callable, Sequence
    from typing import Any

    from worker_client.client import Event, Job


def detect_faces(submit_find, full, faces, selecting, on_event, known=()):
    # type: (Callable[[dict[str, Any]], Job], tuple[int, int], str | list[int], bool, Callable[[Event], object], Sequence[dict[str, Any]]) -> dict[str, Any]
    """Detects faces; returns the result of "find" as the worker's protocol describes it, with at least one face chosen.

    Faces of which nothing is selected are not chosen: a change of them would be invisible.

    Args:
        submit_find: submits "find" with this header and its pictures, which it may drop afterwards.
        full: width and height of the layer.
        faces: the user's choice, or numbers from an earlier detection.
        selecting: whether anything is selected.
        on_event: called with the events.
        known: the faces of the earlier detection; those with these numbers must not have moved.

    Raises:
        WorkerProblem: there is no face, or none where the user wants one; or the job failed.
    """
    if faces == SELECTED and not selecting:
        raise Refused("nothing-selected")
    header = {"full": list(full), "choose": "selected" if faces == SELECTED else faces}
    detection = submit_find(header).result(on_event).header
    if known and isinstance(faces, list):
        _check_positions(faces, known, detection["faces"])
    if not detection["chosen"]:
        raise _explain_no_face(detection["faces"], faces)
    numbers = [face["number"] for face in get_chosen_faces(detection) if face["selected"] > 0]
    if not numbers:
        raise Refused("selection-beside-faces")
    areas = [area for area in detection["regions"] if set(area["faces"]) & set(numbers)]
    return dict(detection, chosen=numbers, regions=areas)


def get_chosen_faces(detection):
    # type: (dict[str, Any]) -> list[dict[str, Any]]
    """The faces that "find" chose."""
    return [face for face in detection["faces"] if face["number"] in detection["chosen"]]


def list_left_out(detection, choice):
    # type: (dict[str, Any], str | list[int]) -> list[dict[str, Any]]
    """The faces that the user wanted but that can't be protected.

    Args:
        detection: result of "find".
        choice: the user's choice, or numbers of faces.
    """
    skipped = [face for face in detection["faces"] if face["skipped"] and face["selected"] > 0]
    if choice == SELECTED:
        return [face for face in skipped if face["selected"] >= _MIN_SELECTED]
    if choice == LARGEST:
        # Faces are numbered from the largest on; smaller ones were not wanted.
        largest_chosen = min(detection["chosen"] or [0])
        return [face for face in skipped if face["number"] < largest_chosen]
    return skipped if choice == ALL else [face for face in skipped if face["number"] in choice]


def get_face_rects(detection):
    # type: (dict[str, Any]) -> list[tuple[int, int, int, int]]
    """The rectangles (x, y, width, height) that have to be sent, from the result of "find"."""
    return [(r["x"], r["y"], r["width"], r["height"]) for r in detection["regions"]]


def keep_faces_inside(faces, rects):
    # type: (list[dict[str, Any]], Sequence[tuple[int, int, int, int]]) -> list[dict[str, Any]]
    """The faces whose middle lies in one of the rectangles (x, y, width, height): the worker accepts no others.

    Raises:
        Refused: there are none.
    """
    inside = [face for face in faces if any(_contains(rect, face["box"]) for rect in rects)]
    if not inside:
        raise Refused("faces-outside-canvas")
    return inside


def _check_positions(numbers, known, detected):
    # type: (Sequence[int], Sequence[dict[str, Any]], Sequence[dict[str, Any]]) -> None
    """Checks that numbers still mean the same faces: in a layer that was cropped or turned they may mean others.

    Raises:
        Refused: one of the faces is not where it was.
    """
    before, now = ({face["number"]: face["box"] for face in faces} for faces in (known, detected))
    if not all(number in now and _box_iou(before[number], now[number]) >= _SAME_FACE_IOU for number in numbers):
        raise Refused("chosen-faces-moved")


def _box_iou(first, second):
    # type: (Sequence[float], Sequence[float]) -> float
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    intersection = max(0.0, width) * max(0.0, height)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return intersection / (both - intersection)


def _contains(rect, box):
    # type: (tuple[int, int, int, int], list[float]) -> bool
    x, y = (box[0] + box[2]) / 2.0 - rect[0], (box[1] + box[3]) / 2.0 - rect[1]
    return 0 <= x < rect[2] and 0 <= y < rect[3]


def _explain_no_face(faces, choice):
    # type: (list[dict[str, Any]], str | list[int]) -> Refused
    if not faces:
        return Refused("no-face")
    if all(face["skipped"] for face in faces):
        return Refused("no-face-usable", why=faces[0]["skipped"])
    if choice == SELECTED:
        return Refused("no-face-selected")
    if choice == LARGEST:
        return Refused("selection-beside-faces")
    return Refused("protected-faces-gone")
