"""Finds the people of a shoot: reads its photos, embeds their faces, and groups these."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from c2p_core.errors import Message, UnreadableImage
from c2p_core.faces import find_faces
from c2p_core.faces.view import View
from c2p_core.io import photo_files
from c2p_core.io.rgb8 import tensor_as_bytes
from c2p_core.models.store import ModelStore
from c2p_core.people.grouping import group_faces
from c2p_core.people.listing import ListedFace, carry_groups, find_labelled, name_photo, number_groups
from c2p_core.people.looks_file import FaceLabel, Looks
from c2p_core.recognition import Recogniser, load_recognisers
from c2p_core.verify import crop_face, embed_face

GROUPING_RECOGNISER = "mobilefacenet"
"""The recogniser that tells people apart best; no combination does better (see ``benchmarks``)."""
# Where the threshold lies between those of FAR 1 % and FAR 0.1 %. Two groups of one person are easier to merge by hand
# than a group of two people is to split.
_THRESHOLD_FRACTION = 0.75
_PICTURE_SIDE, _JPEG_QUALITY = 112, 80  # of the small pictures of faces


@dataclass(frozen=True)
class EmbeddedFace:
    """A face of a shoot that can be protected; its group is not known yet.

    Attributes:
        face: where it is.
        vector: (D,) unit embedding; kept in memory only.
        picture: small JPEG of the face.
    """

    face: ListedFace
    vector: NDArray[np.float32]
    picture: bytes


@dataclass(frozen=True)
class People:
    """The people of a shoot.

    Attributes:
        faces: with their groups, in the order of photos.
        pictures: small JPEGs of the faces.
        typicality: how near each face is to the mean of its group, -1..1.
        photos: names of the photos that were read.
        unmatched: labels of the looks file that name no face.
    """

    faces: tuple[ListedFace, ...]
    pictures: tuple[bytes, ...]
    typicality: tuple[float, ...]
    photos: tuple[str, ...]
    unmatched: tuple[FaceLabel, ...]


def load_recogniser(store: ModelStore, device: torch.device) -> Recogniser:
    """The recogniser by which people are told apart.

    Raises:
        ModelUnavailable: it can't be loaded.
    """
    (recogniser,) = load_recognisers((GROUPING_RECOGNISER,), store, device)
    return recogniser


def embed_faces(
    photos: Iterable[Path],
    folder: Path,
    store: ModelStore,
    recogniser: Recogniser,
    device: torch.device,
    warnings: list[Message],
    report_progress: Callable[[int], None] = lambda done: None,
) -> tuple[list[EmbeddedFace], list[str]]:
    """Read photos and embed the faces that can be protected.

    Args:
        photos: files; those that can't be read are left out.
        folder: of the list of faces, which their names are relative to.
        store: has the models.
        recogniser: see ``load_recogniser``.
        device: of the recogniser.
        warnings: receives a message on each photo that can't be read.
        report_progress: called before each photo with the number of photos done; may raise to stop.

    Returns:
        the faces, and the names of the photos that could be read.

    Raises:
        ModelUnavailable: a detector's model is missing.
    """
    embedded: list[EmbeddedFace] = []
    names: list[str] = []
    for done, path in enumerate(photos):
        report_progress(done)
        try:
            photo = photo_files.read(path)
        except UnreadableImage as error:
            warnings.append(error.message)
            continue
        name, view = name_photo(path, folder), View(photo)
        names.append(name)
        for face in find_faces(photo, store):
            if face.skipped:
                continue
            canvas = crop_face(view, face)
            vector = embed_face(canvas, (recogniser,), device)[recogniser.name].cpu().numpy()
            x0, y0, x1, y1 = (round(edge, 1) for edge in face.box)
            listed = ListedFace(name, face.number, (x0, y0, x1, y1), 0)
            embedded.append(EmbeddedFace(listed, vector, _encode_picture(tensor_as_bytes(canvas.pixels))))
    return embedded, names


def group_people(
    embedded: Sequence[EmbeddedFace],
    threshold: float,
    looks: Looks,
    before: Sequence[ListedFace],
    photos: Sequence[str],
) -> People:
    """Group faces into people, with the corrections of the looks file and the numbers of an earlier run.

    Args:
        embedded: from ``embed_faces``.
        threshold: see ``similarity_threshold``.
        looks: the corrections.
        before: the list of faces of an earlier run.
        photos: names of the photos that were read.
    """
    faces = [face.face for face in embedded]
    nobody, unmatched = find_labelled(looks.nobody, faces)
    assigned = [0] * len(faces)
    for number, labels in looks.assigned.items():
        indices, missing = find_labelled(labels, faces)
        unmatched += missing
        for index in indices - nobody:
            assigned[index] = number
    somebody = [index for index in range(len(faces)) if index not in nobody]
    vectors = np.stack([face.vector for face in embedded]) if embedded else np.zeros((0, 1), np.float32)
    photo_numbers = {photo: index for index, photo in enumerate(dict.fromkeys(face.photo for face in faces))}
    group_labels = group_faces(
        vectors[somebody],
        [photo_numbers[faces[index].photo] for index in somebody],
        [assigned[index] for index in somebody],
        threshold,
    )
    earlier = carry_groups(faces, before)
    numbers = number_groups(
        group_labels.tolist(),
        [earlier[index] for index in somebody],
        [assigned[index] for index in somebody],
        {*looks.numbers, *(face.group for face in before)},
    )
    groups = [0] * len(faces)
    for index, number in zip(somebody, numbers, strict=True):
        groups[index] = number
    return People(
        tuple(ListedFace(f.photo, f.number, f.box, group) for f, group in zip(faces, groups, strict=True)),
        tuple(face.picture for face in embedded),
        tuple(_measure_typicality(vectors, [looks.resolve_person(group) if group else 0 for group in groups]).tolist()),
        tuple(photos),
        tuple(unmatched),
    )


def similarity_threshold(recogniser: Recogniser) -> float:
    """The mean similarity at which two groups of faces count as one person."""
    return recogniser.far1 + _THRESHOLD_FRACTION * (recogniser.far01 - recogniser.far1)


def _measure_typicality(vectors: NDArray[np.float32], people: Sequence[int]) -> NDArray[np.float32]:
    """(N,) cosine similarity of each face to the mean of its person."""
    typicality = np.ones(len(vectors), np.float32)
    numbers = np.asarray(people)
    for number in set(people) - {0}:
        members = vectors[numbers == number]
        mean = members.mean(0)
        typicality[numbers == number] = members @ (mean / max(float(np.linalg.norm(mean)), 1e-9))
    return typicality


def _encode_picture(pixels: NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(pixels).resize((_PICTURE_SIDE, _PICTURE_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()
