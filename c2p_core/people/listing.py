"""The list of the faces of a shoot, beside the looks file: the group of each. It holds no embeddings."""

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
        photo: its file, relative to the folder of the list where possible, with forward slashes.
        number: of the face in its photo, 1 for the largest.
        box: (x0, y0, x1, y1) in photo pixels.
        group: number of its group, before people are merged by hand; 0 for none.
    """

    photo: str
    number: int
    box: Box
    group: int

    @property
    def label(self) -> FaceLabel:
        """Its name in the looks file."""
        x0, y0, x1, y1 = self.box
        return FaceLabel(self.photo, float(round((x0 + x1) / 2)), float(round((y0 + y1) / 2)))


@dataclass(frozen=True)
class Listing:
    """The result of ``c2p people``.

    Attributes:
        photos: names of all photos that were read, as in ``ListedFace``.
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
        UnreadableImage: it can't be read, or is no list of faces.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        faces = tuple(
            ListedFace(str(face["photo"]), int(face["number"]), _parse_box(face["box"]), int(face["group"]))
            for face in table["faces"]
        )
        return Listing(tuple(map(str, table["photos"])), faces)
    except FileNotFoundError:
        return Listing()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableImage("faces-not-read", path=str(path), reason=str(error)) from error


def write_listing(path: Path, listing: Listing) -> None:
    """Write a list of faces that only its owner can read.

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
        # A file that is replaced keeps its permissions, so that the content is private from the first byte on.
        write_whole(path, b"")
        path.chmod(0o600)
    write_whole(path, data)


def find_labelled(labels: Iterable[FaceLabel], faces: Sequence[ListedFace]) -> tuple[set[int], list[FaceLabel]]:
    """Find the faces that labels name: their indices in ``faces``, and the labels that match none of them."""
    by_photo: dict[str, list[int]] = {}
    for index, face in enumerate(faces):
        by_photo.setdefault(face.photo, []).append(index)
    indices, missing = set(), []
    for label in labels:
        candidates = [index for index in by_photo.get(label.photo, ()) if _contains(faces[index].box, label)]
        if candidates:
            indices.add(min(candidates, key=lambda index: _distance(faces[index].label, label)))
        else:
            missing.append(label)
    return indices, missing


def carry_groups(faces: Sequence[ListedFace], before: Sequence[ListedFace]) -> list[int]:
    """The earlier group of each face, matched by photo and box; 0 for a new face."""
    earlier_faces: dict[str, list[ListedFace]] = {}
    for face in before:
        earlier_faces.setdefault(face.photo, []).append(face)
    matches = [match_face(face.box, earlier_faces.get(face.photo, ())) for face in faces]
    return [0 if match is None else match.group for match in matches]


def number_groups(
    labels: Sequence[int], before: Sequence[int], assigned: Sequence[int], reserved: Iterable[int]
) -> list[int]:
    """Number groups as before; new ones by size, largest first.

    Args:
        labels: the group of each face, from 0.
        before: the number of each face's earlier group, 0 for none.
        assigned: the number of the person that somebody named for each face, 0 for none; it takes precedence.
        reserved: further numbers that no new group may get.

    Returns:
        the number of each face's group; 0 for a new group of a single face.
    """
    groups = sorted(set(labels))
    sizes = dict.fromkeys(groups, 0)
    numbers: dict[int, int] = {}
    for label, number in zip(labels, assigned, strict=True):
        sizes[label] += 1
        if number:
            numbers[label] = number
    unnumbered = [group for group in groups if group not in numbers]
    known_numbers = sorted({number for number in before if number} - set(numbers.values()))
    overlap = np.zeros((len(unnumbered), len(known_numbers)))
    rows, columns = ({item: index for index, item in enumerate(items)} for items in (unnumbered, known_numbers))
    for label, number in zip(labels, before, strict=True):
        if label in rows and number in columns:
            overlap[rows[label], columns[number]] += 1
    for row, column in zip(*linear_sum_assignment(-overlap), strict=True):
        if overlap[row, column]:
            numbers[unnumbered[row]] = known_numbers[column]
    next_number = max([0, *before, *assigned, *reserved]) + 1
    for group in sorted(unnumbered, key=lambda group: (-sizes[group], group)):
        if group not in numbers:
            numbers[group] = next_number if sizes[group] > 1 else 0
            next_number += sizes[group] > 1
    return [numbers[label] for label in labels]


def _parse_box(values: Sequence[float]) -> Box:
    x0, y0, x1, y1 = map(float, values)
    return x0, y0, x1, y1


def _contains(box: Box, label: FaceLabel) -> bool:
    return box[0] <= label.x <= box[2] and box[1] <= label.y <= box[3]


def _distance(one: FaceLabel, other: FaceLabel) -> float:
    return (one.x - other.x) ** 2 + (one.y - other.y) ** 2


def count_photos(faces: Iterable[ListedFace], merged: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """The number of photos and of faces of each person; ``merged`` maps groups to the person they belong to."""
    photos_by_person: dict[int, list[str]] = {}
    for face in faces:
        if face.group:
            photos_by_person.setdefault(merged.get(face.group, face.group), []).append(face.photo)
    return {number: (len(set(photos)), len(photos)) for number, photos in photos_by_person.items()}
