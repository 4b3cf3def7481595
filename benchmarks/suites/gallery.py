"""The other people among whom a protected face is searched: their embeddings, measured once and kept."""

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
    """People by name: per recogniser (people, D) unit embeddings, in the order of ``names``.

    Attributes:
        alike: names of near duplicates of a face, which are not other people.
    """

    names: tuple[str, ...]
    people: Embeddings
    alike: Mapping[str, frozenset[str]]

    def others(self, face: str) -> NDArray[np.bool_]:
        """(people,) which of them are somebody else."""
        same = {face, *self.alike.get(face, frozenset())}
        return np.array([name not in same for name in self.names], dtype=np.bool_)

    def rank(self, face: str, recogniser: str, probe: NDArray[np.float32], own: float) -> int:
        """Place of the person's own picture, which scores ``own``, when all are searched for ``probe``; 1 is first."""
        closer = self.people[recogniser][self.others(face)] @ probe > own
        return 1 + int(closer.sum())


def list_candidates(photos: Sequence[Path]) -> tuple[Path, ...]:
    """Who is searched: the shared validation faces with those that are measured, else these alone."""
    listing = SHARED_FACES / "faces.csv"
    folder = SHARED_FACES / "photos"
    if not listing.is_file() or any(photo.parent != folder for photo in photos):
        return tuple(photos)
    with listing.open(encoding="utf-8", newline="") as file:
        wanted = {line["id"] for line in csv.DictReader(file) if line["split"] == "val"}
    return tuple(sorted({*photos, *(p for p in folder.iterdir() if p.stem in wanted)}))


@lru_cache(maxsize=2)  # the people and the strangers of a run
def load(path: Path) -> Gallery:
    """A kept gallery, read once per process: another one has another name."""
    with np.load(path, allow_pickle=False) as kept:
        names = tuple(str(name) for name in kept["names"])
        people = {name: kept[name] for name in kept.files if name != "names"}
    return Gallery(names, people, _near_duplicates())


def build(
    photos: Mapping[str, Path],
    folder: Path,
    code: str,
    executor: Executor,
    say: Callable[[str], None],
    recognisers: tuple[str, ...] | None = None,
) -> Path:
    """Embed photos, unless a file in ``folder`` holds them, and return the file; those without a face are left out.

    Args:
        photos: by the name that they have in the gallery.
        code: fingerprint of what finds and embeds faces; another one embeds anew.
        recognisers: names; all of the product's when None.
    """
    listed = [*(recognisers or ()), *(f"{name} {path}" for name, path in photos.items())]
    key = hashlib.sha256("\n".join([code, *listed]).encode()).hexdigest()[:12]
    path = folder / f"gallery-{key}.npz"
    if path.exists():
        return path
    say(f"Embedding a gallery of {len(photos)} photos, once.")
    found = dict(
        zip(photos, executor.map(partial(embed, recognisers=recognisers), photos.values(), chunksize=4), strict=True)
    )
    seen = {name: embedded for name, embedded in found.items() if embedded is not None}
    names = next(iter(seen.values()), {})
    arrays = {name: np.stack([embedded[name] for embedded in seen.values()]) for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    np.savez(encoded, names=np.array(list(seen)), **arrays)  # type: ignore[arg-type]
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


def _near_duplicates() -> dict[str, frozenset[str]]:
    listing = SHARED_FACES / "faces.csv"
    if not listing.is_file():
        return {}
    twins: dict[str, set[str]] = {}
    with listing.open(encoding="utf-8", newline="") as file:
        group = {line["id"]: line["dup_group"] for line in csv.DictReader(file) if line["dup_group"]}
    for name, of in group.items():
        twins.setdefault(of, set()).add(name)
    return {name: frozenset(twins[of] - {name}) for name, of in group.items()}
