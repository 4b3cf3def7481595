"""The list of the faces of a shoot, beside the looks file: which group each was put in. It holds no embedding."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from c2p_core.api import Box
from c2p_core.errors import UnreadableImage
from c2p_core.faces.boxes import match_face
from c2p_core.io.atomic_files import write_whole
from c2p_core.people.looks_file import FaceLabel

NAME = "faces.json"
_VERSION = 1


@dataclass(frozen=True)
class ListedFace:
    """A face of a shoot.

    Attributes:
        photo: its file, relative to the folder of the list where possible, with "/" between folders.
        number: of the face in its photo, 1 for the largest.
        box: (x0, y0, x1, y1) in photo pixels.
        group: number of the group that it was put in, before people are merged by hand; 0 for none.
    """

    photo: str
    number: int
    box: Box
    group: int

    @property
    def label(self) -> FaceLabel:
        """What it is called in the looks file."""
        x0, y0, x1, y1 = self.box
        return FaceLabel(self.photo, float(round((x0 + x1) / 2)), float(round((y0 + y1) / 2)))


@dataclass(frozen=True)
class Listing:
    """What ``c2p people`` found.

    Attributes:
        photos: names of all photos that it read, as in ``ListedFace``.
        faces: in the order of photos.
    """

    photos: tuple[str, ...] = ()
    faces: tuple[ListedFace, ...] = ()


def name_photo(photo: Path, folder: Path) -> str:
    """A photo's name in the list of a folder."""
    try:
        return Path(os.path.relpath(photo.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return photo.resolve().as_posix()


def read_listing(path: Path) -> Listing:
    """Read a list of faces; one that does not exist is empty.

    Raises:
        UnreadableImage: it can't be read, or is none of ours.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        faces = tuple(
            ListedFace(str(face["photo"]), int(face["number"]), _box(face["box"]), int(face["group"]))
            for face in table["faces"]
        )
        return Listing(tuple(map(str, table["photos"])), faces)
    except FileNotFoundError:
        return Listing()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableImage("faces-not-read", path=str(path), reason=str(error)) from error


def write_listing(path: Path, listing: Listing) -> None:
    """Write a list of faces, readable by its owner alone.

    Raises:
        CannotWrite: it can't be written.
    """
    rows = [
        json.dumps({"photo": face.photo, "number": face.number, "box": face.box, "group": face.group})
        for face in listing.faces
    ]
    photos = ",\n".join(map(json.dumps, listing.photos))
    text = f'{{"version": {_VERSION}, "photos": [\n{photos}\n], "faces": [\n' + ",\n".join(rows) + "\n]}\n"
    write_private(path, text.encode())


def write_private(path: Path, data: bytes) -> None:
    """Write a file atomically that only its owner can read.

    Raises:
        CannotWrite: see ``write_whole``.
    """
    if not path.exists():
        # What is replaced keeps its permissions, so that the content is private from the first byte on.
        write_whole(path, b"")
        path.chmod(0o600)
    write_whole(path, data)


def find_labelled(labels: Iterable[FaceLabel], faces: Sequence[ListedFace]) -> tuple[set[int], list[FaceLabel]]:
    """Find the faces that labels name: their places among ``faces``, and the labels that name none of them."""
    by_photo: dict[str, list[int]] = {}
    for at, face in enumerate(faces):
        by_photo.setdefault(face.photo, []).append(at)
    found, missing = set(), []
    for label in labels:
        inside = [at for at in by_photo.get(label.photo, ()) if _holds(faces[at].box, label)]
        if inside:
            found.add(min(inside, key=lambda at: _distance(faces[at].label, label)))
        else:
            missing.append(label)
    return found, missing


def carry_groups(faces: Sequence[ListedFace], before: Sequence[ListedFace]) -> list[int]:
    """The group that each face was in before, by its photo and box; 0 where it is new."""
    known: dict[str, list[ListedFace]] = {}
    for face in before:
        known.setdefault(face.photo, []).append(face)
    matched = [match_face(face.box, known.get(face.photo, ())) for face in faces]
    return [0 if match is None else match.group for match in matched]


def number_groups(labels: Sequence[int], before: Sequence[int], said: Sequence[int], taken: Iterable[int]) -> list[int]:
    """Number groups as they were numbered before, largest first where they are new.

    Args:
        labels: the group of each face, from 0.
        before: the number of the group that each was in before, 0 for none.
        said: the number of the person that somebody said it is, 0 for none; it decides.
        taken: further numbers that no new group may get.

    Returns:
        the number of each face's group; 0 for a new group of one face, who is nobody.
    """
    groups = sorted(set(labels))
    sizes = dict.fromkeys(groups, 0)
    numbers: dict[int, int] = {}
    for label, number in zip(labels, said, strict=True):
        sizes[label] += 1
        if number:
            numbers[label] = number
    open_groups = [group for group in groups if group not in numbers]
    known = sorted({number for number in before if number} - set(numbers.values()))
    shared = np.zeros((len(open_groups), len(known)))
    rows, columns = ({name: at for at, name in enumerate(names)} for names in (open_groups, known))
    for label, number in zip(labels, before, strict=True):
        if label in rows and number in columns:
            shared[rows[label], columns[number]] += 1
    for row, column in zip(*linear_sum_assignment(-shared), strict=True):
        if shared[row, column]:
            numbers[open_groups[row]] = known[column]
    free = max([0, *before, *said, *taken]) + 1
    for group in sorted(open_groups, key=lambda group: (-sizes[group], group)):
        if group not in numbers:
            numbers[group] = free if sizes[group] > 1 else 0
            free += sizes[group] > 1
    return [numbers[label] for label in labels]


def _box(values: Sequence[float]) -> Box:
    x0, y0, x1, y1 = map(float, values)
    return x0, y0, x1, y1


def _holds(box: Box, label: FaceLabel) -> bool:
    return box[0] <= label.x <= box[2] and box[1] <= label.y <= box[3]


def _distance(one: FaceLabel, other: FaceLabel) -> float:
    return (one.x - other.x) ** 2 + (one.y - other.y) ** 2


def count_photos(faces: Iterable[ListedFace], person: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """The number of photos and of faces of each person; ``person`` maps groups that are merged."""
    seen: dict[int, list[str]] = {}
    for face in faces:
        if face.group:
            seen.setdefault(person.get(face.group, face.group), []).append(face.photo)
    return {number: (len(set(photos)), len(photos)) for number, photos in seen.items()}
