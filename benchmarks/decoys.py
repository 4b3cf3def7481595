"""Embeddings of the synthetic identities that impersonation aims at, for any recogniser.

Unlike in the papers, targets are never real people. The product ships embeddings of its decoys by its own recognisers
only, without pictures; for other recognisers, the project's generator makes people who do not exist.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save

from benchmarks.recognisers import load_named_recognisers, open_store
from c2p_core import faces, verify
from c2p_core.device import pick_device
from c2p_core.faces.view import View
from c2p_core.io.atomic_files import write_whole
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.priors.checkpoints import load_generator

COUNT = 16  # the number that the product ships
_MAX_DRAWS = 200
_TRUNCATION = 0.7
_SIDE = 320  # pixels of a face: the generator's own are too few for the detector


class StoreWithDecoys(ModelStore):
    """The usual store with another file of decoys."""

    def __init__(self, decoys: Path) -> None:
        super().__init__()
        self._decoys = decoys

    def obtain(self, name: str) -> Path:
        return self._decoys if name == "decoys" else super().obtain(name)


@lru_cache(maxsize=1)
def open_store_with(decoys: Path) -> ModelStore:
    """Open the store once per process, as `benchmarks.recognisers.open_store` does."""
    return StoreWithDecoys(decoys)


def find_decoys(recognisers: tuple[str, ...], folder: Path, code: str) -> Path:
    """The file of decoys for these recognisers: the product's if it has all of them, else one in ``folder``.

    Args:
        recognisers: names.
        folder: where newly made decoys are stored.
        code: fingerprint of the code that finds and embeds faces; decoys are made again when it changes.

    Raises:
        ModelUnavailable: a recogniser or the generator is not available.
    """
    shipped = open_store().obtain("decoys")
    with safe_open(shipped, "pt") as decoys:
        if set(recognisers) <= set(decoys.keys()):
            return shipped
    key = hashlib.sha256("\n".join([code, *recognisers]).encode()).hexdigest()[:12]
    path = folder / f"decoys-{key}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, save(_make_decoys(recognisers)))
    return path


def _make_decoys(names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """(COUNT, D) unit embeddings, by recogniser, of the first generated people with a detected face."""
    store, device = open_store(), pick_device("auto")
    recognisers = load_named_recognisers(names, store)
    generator = load_generator(store.obtain("stylegan2-mini")).eval()
    people: list[verify.Embeddings] = []
    for seed in range(_MAX_DRAWS):
        latent = torch.randn(1, generator.shape.style, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            picture = generator(generator.map(latent, _TRUNCATION))[0].clamp(-1, 1).add(1).mul(127.5).byte()
        image = Image.fromarray(picture.permute(1, 2, 0).numpy()).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        view = View(Photo(np.asarray(image)))
        face = next((face for face in faces.find_faces_in(view, store) if not face.skipped), None)
        if face is not None:
            people.append(verify.embed_face(verify.crop_face(view, face), recognisers, device))
        if len(people) == COUNT:
            break
    return {r.name: torch.stack([embedded[r.name] for embedded in people]).cpu().contiguous() for r in recognisers}
