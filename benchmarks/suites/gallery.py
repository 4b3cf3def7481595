"""Galleries: embeddings of people among whom a protected face is searched, computed once and stored."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import SHARED_FACES
from benchmarks.recognisers import load_named_recognisers, open_store
from c2p_core import faces, verify
from c2p_core.device import pick_device
from c2p_core.faces.view import View
from c2p_core.io import photo_files
from c2p_core.io.atomic_files import write_whole
from c2p_core.recognition import list_recognisers

Embeddings = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Gallery:
    """People by name, with (people, D) unit embeddings by recogniser, in the order of ``names``.

    Attributes:
        near_duplicates: names of near duplicates of a face, which are not other people.
    """

    names: tuple[str, ...]
    embeddings: Embeddings
    near_duplicates: Mapping[str, frozenset[str]]

    def mask_others(self, face: str) -> NDArray[np.bool_]:
        """(people,) mask of those who are somebody else."""
        same = {face, *self.near_duplicates.get(face, frozenset())}
        return np.array([name not in same for name in self.names], dtype=np.bool_)

    def rank(self, face: str, recogniser: str, probe: NDArray[np.float32], own_similarity: float) -> int:
        """Rank of the person's own picture, of similarity ``own_similarity``, in a search for ``probe``, from 1."""
        closer = self.embeddings[recogniser][self.mask_others(face)] @ probe > own_similarity
        return 1 + int(closer.sum())


def list_candidates(photos: Sequence[Path]) -> tuple[Path, ...]:
    """List people to search: the measured ones and the shared validation faces, if available."""
    listing = SHARED_FACES / "faces.csv"
    folder = SHARED_FACES / "photos"
    if not listing.is_file() or any(photo.parent != folder for photo in photos):
        return tuple(photos)
    with listing.open(encoding="utf-8", newline="") as file:
        validation_names = {line["id"] for line in csv.DictReader(file) if line["split"] == "val"}
    return tuple(sorted({*photos, *(p for p in folder.iterdir() if p.stem in validation_names)}))


@lru_cache(maxsize=2)  # the people and the strangers of a run
def load(path: Path) -> Gallery:
    """Load a stored gallery, once per process: a changed gallery has another file name."""
    with np.load(path, allow_pickle=False) as stored:
        names = tuple(str(name) for name in stored["names"])
        people = {name: stored[name] for name in stored.files if name != "names"}
    return Gallery(names, people, _read_near_duplicates())


def build(
    photos: Mapping[str, Path],
    folder: Path,
    code: str,
    executor: Executor,
    log: Callable[[str], None],
    recognisers: tuple[str, ...] | None = None,
) -> Path:
    """Embed photos, unless a file in ``folder`` has them, and return the file; photos without a face are left out.

    Args:
        photos: by name in the gallery.
        code: fingerprint of the code that finds and embeds faces; faces are embedded again when it changes.
        recognisers: names; all of the product's when None.
    """
    sources = [*(recognisers or ()), *(f"{name} {path}" for name, path in photos.items())]
    key = hashlib.sha256("\n".join([code, *sources]).encode()).hexdigest()[:12]
    path = folder / f"gallery-{key}.npz"
    if path.exists():
        return path
    log(f"Embedding a gallery of {len(photos)} photos, once.")
    embedded_photos = dict(
        zip(photos, executor.map(partial(embed, recognisers=recognisers), photos.values(), chunksize=4), strict=True)
    )
    with_face = {name: embedded for name, embedded in embedded_photos.items() if embedded is not None}
    names = next(iter(with_face.values()), {})
    arrays = {name: np.stack([embedded[name] for embedded in with_face.values()]) for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    np.savez(encoded, names=np.array(list(with_face)), **arrays)  # type: ignore[arg-type]
    write_whole(path, encoded.getvalue())
    return path


def embed(photo: Path, recognisers: tuple[str, ...] | None = None) -> Embeddings | None:
    """Unit embeddings of the largest face of a photo, by recogniser; None when it shows none."""
    store, device = open_store(), pick_device("auto")
    view = View(photo_files.read(photo))
    face = next((f for f in faces.find_faces_in(view, store) if not f.skipped), None)
    if face is None:
        return None
    loaded = load_named_recognisers(recognisers or list_recognisers(store), store)
    embeddings = verify.embed_face(verify.crop_face(view, face), loaded, device)
    return {name: vector.cpu().numpy() for name, vector in embeddings.items()}


def _read_near_duplicates() -> dict[str, frozenset[str]]:
    listing = SHARED_FACES / "faces.csv"
    if not listing.is_file():
        return {}
    members: dict[str, set[str]] = {}
    with listing.open(encoding="utf-8", newline="") as file:
        groups = {line["id"]: line["dup_group"] for line in csv.DictReader(file) if line["dup_group"]}
    for name, group in groups.items():
        members.setdefault(group, set()).add(name)
    return {name: frozenset(members[group] - {name}) for name, group in groups.items()}
