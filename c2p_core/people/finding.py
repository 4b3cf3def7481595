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

GROUPED_BY = "mobilefacenet"
"""The recogniser that tells people apart best by itself, and no combination does better (``benchmarks``)."""
# Where the threshold lies between those of FAR 1 % and FAR 0.1 %. Groups of one person are easier to merge by hand
# than a group of two is to part.
_BETWEEN = 0.75
_SIDE, _QUALITY = 112, 80  # of the small pictures of faces


@dataclass(frozen=True)
class SeenFace:
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
    """Who was found.

    Attributes:
        faces: with their groups, in the order of photos.
        pictures: small JPEGs of the faces.
        typical: how near each face is to the mean of its group, -1..1.
        photos: names of the photos that were read.
        unmatched: labels of the looks file that name no face.
    """

    faces: tuple[ListedFace, ...]
    pictures: tuple[bytes, ...]
    typical: tuple[float, ...]
    photos: tuple[str, ...]
    unmatched: tuple[FaceLabel, ...]


def load_recogniser(store: ModelStore, device: torch.device) -> Recogniser:
    """The recogniser that people are told apart by.

    Raises:
        ModelUnavailable: it can't be had.
    """
    (recogniser,) = load_recognisers((GROUPED_BY,), store, device)
    return recogniser


def see_faces(
    photos: Iterable[Path],
    folder: Path,
    store: ModelStore,
    recogniser: Recogniser,
    device: torch.device,
    warnings: list[Message],
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[list[SeenFace], list[str]]:
    """Read photos and embed the faces that can be protected.

    Args:
        photos: files; those that can't be read are left out.
        folder: of the list of faces, which their names are relative to.
        store: has the models.
        recogniser: see ``load_recogniser``.
        device: of the recogniser.
        warnings: receives a message on each photo that can't be read.
        tell: called before each photo with the number of those that are done; may raise to end it.

    Returns:
        the faces, and the names of the photos that could be read.

    Raises:
        ModelUnavailable: a detector's model is missing.
    """
    seen: list[SeenFace] = []
    names: list[str] = []
    for done, path in enumerate(photos):
        tell(done)
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
            seen.append(SeenFace(listed, vector, _draw(tensor_as_bytes(canvas.pixels))))
    return seen, names


def group_people(
    seen: Sequence[SeenFace], threshold: float, looks: Looks, before: Sequence[ListedFace], photos: Sequence[str]
) -> People:
    """Group faces into people, as the looks file corrects it, with the numbers that they had before.

    Args:
        seen: of ``see_faces``.
        threshold: of similarity, see ``similarity_threshold``.
        looks: the corrections.
        before: the list of faces of an earlier run.
        photos: names of the photos that were read.
    """
    faces = [one.face for one in seen]
    nobody, unmatched = find_labelled(looks.nobody, faces)
    said = [0] * len(faces)
    for number, labels in looks.said.items():
        found, missing = find_labelled(labels, faces)
        unmatched += missing
        for at in found - nobody:
            said[at] = number
    somebody = [at for at in range(len(faces)) if at not in nobody]
    vectors = np.stack([one.vector for one in seen]) if seen else np.zeros((0, 1), np.float32)
    names = {name: at for at, name in enumerate(dict.fromkeys(face.photo for face in faces))}
    labels_found = group_faces(
        vectors[somebody], [names[faces[at].photo] for at in somebody], [said[at] for at in somebody], threshold
    )
    earlier = carry_groups(faces, before)
    numbers = number_groups(
        labels_found.tolist(),
        [earlier[at] for at in somebody],
        [said[at] for at in somebody],
        {*looks.numbers, *(face.group for face in before)},
    )
    groups = [0] * len(faces)
    for at, number in zip(somebody, numbers, strict=True):
        groups[at] = number
    return People(
        tuple(ListedFace(f.photo, f.number, f.box, group) for f, group in zip(faces, groups, strict=True)),
        tuple(one.picture for one in seen),
        tuple(_typicality(vectors, [looks.person(group) if group else 0 for group in groups]).tolist()),
        tuple(photos),
        tuple(unmatched),
    )


def similarity_threshold(recogniser: Recogniser) -> float:
    """Mean similarity from which on two groups of faces are one person."""
    return recogniser.far1 + _BETWEEN * (recogniser.far01 - recogniser.far1)


def _typicality(vectors: NDArray[np.float32], people: Sequence[int]) -> NDArray[np.float32]:
    """(N,) cosine of each face to the mean of its person's."""
    typical = np.ones(len(vectors), np.float32)
    numbers = np.asarray(people)
    for number in set(people) - {0}:
        own = vectors[numbers == number]
        mean = own.mean(0)
        typical[numbers == number] = own @ (mean / max(float(np.linalg.norm(mean)), 1e-9))
    return typical


def _draw(pixels: NDArray[np.uint8]) -> bytes:
    small = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
