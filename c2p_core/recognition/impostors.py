"""From a folder of faces to thresholds: how similar a recogniser finds two different people.

``c2p thresholds`` measures a user's own folder with it, ``bundle/train/thresholds.py`` what ships.
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
from c2p_core.recognition import load_embed
from c2p_core.recognition.thresholds import OWN_THRESHOLDS, read_own_thresholds, read_thresholds

ENOUGH = 5
"""False accepts that pairs must hold for a rate to be told: 0.1 % of some hundred pairs says nothing."""


@dataclass(frozen=True)
class Impostors:
    """What impostor pairs, two different people each, say of one recogniser.

    Attributes:
        pairs: how many there are.
        far1, far01: the cosine similarity that 1 % and 0.1 % of them exceed; None of too few pairs.
        mean, std: of all of them.
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
        people: N labels, whose face each is.
        known: whether folders or names tell people apart; else every face has a label of its own.
    """

    vectors: dict[str, Tensor]
    people: tuple[str, ...]
    known: bool


def people_in(folder: Path) -> dict[str, list[Path]]:
    """The photos of each person, who is called as a subfolder or as the files are before their numbers (``amy1.png``).

    Raises:
        BadRequest: there is no such folder, or no photo in it.
    """
    people: dict[str, list[Path]] = {}
    for photo in sorted(p for p in folder.glob("*") if p.suffix.lower() in photo_files.FORMATS):
        # Who is called by a number alone is somebody too.
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
    tell: Callable[[int, int], None] = lambda done, count: None,
) -> Faces:
    """The faces of a folder as recognisers see them; nothing of the photos is kept.

    Args:
        folder: see ``people_in``. Of people who are told apart, the largest face of each photo counts; of others every
            face, as another person.
        names: recognisers.
        store: where models are.
        device: where the recognisers compute.
        warnings: gets a message on each photo that can't be read.
        tell: called before each photo with its number from 0 and their count.

    Raises:
        BadRequest: as ``people_in``, or there is no recogniser of a name.
        NoFace: there is no face in any photo.
        ModelUnavailable: a model can't be had.
    """
    people = people_in(folder)
    known = len(people) > 1 and any(len(photos) > 1 for photos in people.values())
    embeds = {name: load_embed(name, store, device) for name in names}
    vectors: dict[str, list[Tensor]] = {name: [] for name in names}
    labels: list[str] = []
    listed = [(person, photo) for person, photos in people.items() for photo in photos]
    for number, (person, photo) in enumerate(listed):
        tell(number, len(listed))
        try:
            view = View(photo_files.read(photo))
        except UnreadableImage as error:
            warnings.append(error.message)
            continue
        found = [face for face in find_faces_in(view, store) if not face.skipped]
        for face in found[:1] if known else found:
            labels.append(person if known else str(len(labels)))
            seen = verify.crop_face(view, face)
            with torch.no_grad():
                for name, embed in embeds.items():
                    vectors[name].append(embed(seen.pixels[None].to(device), seen.mesh[None].to(device))[0].cpu())
    if not labels:
        raise NoFace("no-face-in-folder", path=str(folder))
    return Faces({name: torch.stack(rows) for name, rows in vectors.items()}, tuple(labels), known)


def impostor_similarities(vectors: Tensor, groups: Sequence[str]) -> Tensor:
    """Cosines of all impostor pairs.

    Args:
        vectors: (N, D) unit vectors.
        groups: for each, the group that it is in, or nothing: near duplicates, or photos of one person.

    Returns:
        (pairs,) in ascending order.
    """
    first, second = torch.triu_indices(len(vectors), len(vectors), 1)
    numbers = {group: number for number, group in enumerate(sorted(set(groups) - {""}))}
    # Faces without a group get a number of their own.
    ids = torch.tensor([numbers.get(group, len(numbers) + at) for at, group in enumerate(groups)])
    different = ids[first] != ids[second]
    return (vectors @ vectors.T)[first[different], second[different]].sort().values


def threshold_at(similarities: Tensor, rate: float) -> float | None:
    """The similarity that the given share of ascending values exceeds; None of too few of them."""
    if len(similarities) * rate < ENOUGH:
        return None
    return float(similarities[min(len(similarities) - 1, int(len(similarities) * (1 - rate)))])


def measure(similarities: Tensor) -> Impostors:
    """Thresholds, mean and standard deviation, to four digits, of at least one pair in ascending order."""
    far1, far01 = (threshold_at(similarities, rate) for rate in (0.01, 0.001))
    return Impostors(
        len(similarities),
        None if far1 is None else round(far1, 4),
        None if far01 is None else round(far01, 4),
        round(float(similarities.mean()), 4),
        round(float(similarities.std(correction=min(1, len(similarities) - 1))), 4),
    )


def measure_folder(faces: Faces) -> dict[str, Impostors]:
    """Impostor pairs of a folder by recogniser.

    Raises:
        BadRequest: its faces make no pair.
    """
    if len(set(faces.people)) < 2:
        raise BadRequest("faces-of-one-person")
    return {name: measure(impostor_similarities(rows, faces.people)) for name, rows in faces.vectors.items()}


def save_own_thresholds(measured: Mapping[str, Impostors], store: ModelStore) -> Path:
    """Keeps the thresholds of the user's own recognisers for the runs to come; returns the file.

    Raises:
        BadRequest: too few pairs for a false accept rate of 1 %, or a recogniser that ships with thresholds.
        CannotWrite: the file can't be written.
    """
    shipped = read_thresholds(store.path("thresholds"))
    tables: dict[str, dict[str, float]] = {
        name: {"far1": own.far1, "far01": own.far01, "mean": own.impostor_mean, "spread": own.impostor_std}
        for name, own in read_own_thresholds(store.root).items()
    }
    for name, found in measured.items():
        if name in shipped:
            raise BadRequest("thresholds-ship", name=name)
        if found.far1 is None:
            raise BadRequest("pairs-too-few", count=found.pairs, least=100 * ENOUGH)
        # Of too few pairs for the higher one, the lower one counts: it flatters nobody.
        far01 = found.far1 if found.far01 is None else found.far01
        tables[name] = {"far1": found.far1, "far01": far01, "mean": found.mean, "spread": found.std}
    path = store.root / OWN_THRESHOLDS
    make_folder(store.root)
    write_whole(path, (json.dumps({"recognisers": tables}, indent=2) + "\n").encode())
    return path
