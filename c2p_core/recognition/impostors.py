"""Measures thresholds on a folder of faces: recognisers' similarities of different people.

Used by ``c2p thresholds`` on a user's own folder, and by ``bundle/train/thresholds.py`` for the shipped thresholds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from c2p_core import verify
from c2p_core.errors import BadRequest, Message, NoFace, UnreadableImage
from c2p_core.faces import find_faces_in
from c2p_core.faces.view import View
from c2p_core.io import photo_files
from c2p_core.io.atomic_files import make_folder, write_whole
from c2p_core.models.store import ModelStore
from c2p_core.models.user_recognisers import expand_names
from c2p_core.recognition import embed_with, list_recognisers, load_network
from c2p_core.recognition.thresholds import OWN_THRESHOLDS, read_own_thresholds, read_thresholds

ENOUGH = 5
"""False accepts that a set of pairs must contain to measure a rate; 0.1 % of a few hundred pairs would be too few."""


@dataclass(frozen=True)
class Impostors:
    """Similarities of one recogniser over impostor pairs, each of two different people.

    Attributes:
        pairs: their number.
        far1, far01: the cosine similarity that 1 % and 0.1 % of them exceed; None if there are too few pairs.
        mean, std: of their similarities.
    """

    pairs: int
    far1: float | None
    far01: float | None
    mean: float
    std: float


@dataclass(frozen=True)
class Faces:
    """Embeddings of the faces in a folder.

    Attributes:
        vectors: (N, D) unit vectors by recogniser.
        people: the N people, as labels.
        known: whether folders or names identify the people; else every face has a label of its own.
        keys: under which thresholds are stored, by recogniser.
    """

    vectors: dict[str, Tensor]
    people: tuple[str, ...]
    known: bool
    keys: dict[str, str]


def group_photos_by_person(folder: Path) -> dict[str, list[Path]]:
    """Group photos by person: by subfolder, or by file name without the number at its end (``anna1.png``).

    Raises:
        BadRequest: there is no such folder, or no photo in it.
    """
    people: dict[str, list[Path]] = {}
    for photo in sorted(p for p in folder.glob("*") if p.suffix.lower() in photo_files.FORMATS):
        # A name that consists of digits only is a person too.
        people.setdefault(photo.stem.rstrip("0123456789").rstrip(" -_") or photo.stem, []).append(photo)
    for photo in sorted(p for p in folder.glob("*/*") if p.suffix.lower() in photo_files.FORMATS):
        people.setdefault(photo.parent.name, []).append(photo)
    if not people:
        raise BadRequest("folder-without-photos", path=str(folder))
    return people


def embed_folder(
    folder: Path,
    names: Sequence[str],
    store: ModelStore,
    device: torch.device,
    warnings: list[Message],
    on_photo: Callable[[int, int], None] = lambda done, count: None,
) -> Faces:
    """Embed the faces of a folder; nothing else of the photos is kept.

    Args:
        folder: see ``group_photos_by_person``. If people are identified, only the largest face of each photo is used;
            else all faces are, each as a different person.
        names: of recognisers; "auto" stands for the usual ones.
        store: the store of models.
        device: the device of the recognisers.
        warnings: receives a message for each photo that can't be read.
        on_photo: called before each photo with its index and the number of photos.

    Raises:
        BadRequest: see ``group_photos_by_person``; or a recogniser is unknown.
        NoFace: no photo shows a face.
        ModelUnavailable: a model is missing or damaged.
    """
    people = group_photos_by_person(folder)
    identified = len(people) > 1 and any(len(photos) > 1 for photos in people.values())
    wanted_names = expand_names(names, list_recognisers(store))
    loaded = {network.name: network for network in (load_network(name, store, device) for name in wanted_names)}
    embeds = {name: embed_with(network.network, network.template) for name, network in loaded.items()}
    vectors: dict[str, list[Tensor]] = {name: [] for name in loaded}
    labels: list[str] = []
    photo_list = [(person, photo) for person, photos in people.items() for photo in photos]
    for number, (person, photo) in enumerate(photo_list):
        on_photo(number, len(photo_list))
        try:
            view = View(photo_files.read(photo))
        except UnreadableImage as error:
            warnings.append(error.message)
            continue
        faces = [face for face in find_faces_in(view, store) if not face.skipped]
        for face in faces[:1] if identified else faces:
            labels.append(person if identified else str(len(labels)))
            crop = verify.crop_face(view, face)
            with torch.no_grad():
                for name, embed in embeds.items():
                    vectors[name].append(embed(crop.pixels[None].to(device), crop.mesh[None].to(device))[0].cpu())
    if not labels:
        raise NoFace("no-face-in-folder", path=str(folder))
    keys = {name: network.key for name, network in loaded.items()}
    return Faces({name: torch.stack(rows) for name, rows in vectors.items()}, tuple(labels), identified, keys)


def compute_impostor_similarities(vectors: Tensor, groups: Sequence[str]) -> Tensor:
    """Cosines of all impostor pairs.

    Args:
        vectors: (N, D) unit vectors.
        groups: the group of each, or "": photos of one person, or near duplicates.

    Returns:
        (pairs,) in ascending order.
    """
    first, second = torch.triu_indices(len(vectors), len(vectors), 1)
    numbers = {group: number for number, group in enumerate(sorted(set(groups) - {""}))}
    # A face without a group gets a number of its own.
    ids = torch.tensor([numbers.get(group, len(numbers) + index) for index, group in enumerate(groups)])
    different = ids[first] != ids[second]
    return (vectors @ vectors.T)[first[different], second[different]].sort().values


def find_threshold(similarities: Tensor, rate: float) -> float | None:
    """The similarity that the given fraction of ascending values exceeds; None if there are too few values."""
    if len(similarities) * rate < ENOUGH:
        return None
    return float(similarities[min(len(similarities) - 1, int(len(similarities) * (1 - rate)))])


def measure(similarities: Tensor) -> Impostors:
    """Thresholds, mean and standard deviation, to four digits; takes at least one similarity, in ascending order."""
    far1, far01 = (find_threshold(similarities, rate) for rate in (0.01, 0.001))
    return Impostors(
        len(similarities),
        None if far1 is None else round(far1, 4),
        None if far01 is None else round(far01, 4),
        round(float(similarities.mean()), 4),
        round(float(similarities.std(correction=min(1, len(similarities) - 1))), 4),
    )


def measure_folder(faces: Faces) -> dict[str, Impostors]:
    """Measure each recogniser on the impostor pairs of a folder.

    Raises:
        BadRequest: all faces are of one person.
    """
    if len(set(faces.people)) < 2:
        raise BadRequest("faces-of-one-person")
    return {name: measure(compute_impostor_similarities(rows, faces.people)) for name, rows in faces.vectors.items()}


def save_own_thresholds(measured: Mapping[str, Impostors], store: ModelStore, keys: Mapping[str, str]) -> Path:
    """Save the thresholds of the user's own recognisers for later runs; returns the file.

    Args:
        measured: see ``measure_folder``.
        store: the store of models, in whose folder they are kept.
        keys: see ``Faces``.

    Raises:
        BadRequest: too few pairs for a false accept rate of 1 %, or a recogniser whose thresholds ship.
        CannotWrite: the file can't be written.
    """
    shipped = read_thresholds(store.obtain("thresholds"))
    tables: dict[str, dict[str, float]] = {
        name: {
            "far1": thresholds.far1,
            "far01": thresholds.far01,
            "impostor_mean": thresholds.impostor_mean,
            "impostor_std": thresholds.impostor_std,
        }
        for name, thresholds in read_own_thresholds(store.root).items()
    }
    for name, impostors in measured.items():
        if name in shipped:
            raise BadRequest("thresholds-ship", name=name)
        if impostors.far1 is None:
            raise BadRequest("pairs-too-few", count=impostors.pairs, least=100 * ENOUGH)
        # With too few pairs for the higher threshold, the lower one is used, which never overstates protection.
        far01 = impostors.far1 if impostors.far01 is None else impostors.far01
        tables[keys[name]] = {
            "far1": impostors.far1,
            "far01": far01,
            "impostor_mean": impostors.mean,
            "impostor_std": impostors.std,
        }
    path = store.root / OWN_THRESHOLDS
    make_folder(store.root)
    write_whole(path, (json.dumps({"recognisers": tables}, indent=2) + "\n").encode())
    return path
