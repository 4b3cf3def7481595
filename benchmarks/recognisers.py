"""The recognisers that pictures are compared with: all of the product's, and an external one.

Each process loads them once.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch

from benchmarks.errors import BadRecogniser
from c2p_core.device import pick_device
from c2p_core.faces.align import CANVAS
from c2p_core.models.manifest import read_manifest
from c2p_core.models.store import ModelStore, bundle_dir
from c2p_core.recognition import Recogniser, list_recognisers, load_recognisers


@lru_cache(maxsize=1)
def open_store() -> ModelStore:
    """Open the store once per process, since it remembers which files it has verified."""
    return ModelStore()


def load_every_recogniser(models: ModelStore) -> tuple[Recogniser, ...]:
    """Load all of the product's recognisers, by name instead of "auto", so that a missing one fails the run.

    Raises:
        ModelUnavailable: a recogniser is missing or damaged.
    """
    return load_named_recognisers(list_recognisers(models), models)


@lru_cache(maxsize=1)
def load_named_recognisers(names: tuple[str, ...], models: ModelStore) -> tuple[Recogniser, ...]:
    """Load recognisers by their names, in this order.

    Raises:
        BadRequest: a name is unknown.
        ModelUnavailable: a recogniser is missing or damaged.
    """
    return load_recognisers(names, models, pick_device("auto"))


def list_own_recognisers(names: Iterable[str]) -> tuple[str, ...]:
    """Recognisers whose weights have no hash in the project's manifest: a user's own, or random ones."""
    entries = read_manifest(bundle_dir() / "manifest.toml")
    vouched = {entry.name for entry in entries if entry.files and all(file.sha256 for file in entry.files)}
    return tuple(name for name in names if name not in vouched)


def fingerprint_recognisers(recognisers: Iterable[Recogniser]) -> str:
    """Twelve hex digits over the recognisers' embeddings of noise, which reveal other weights under the same name."""
    draw = np.random.default_rng(0)
    noise = torch.from_numpy(draw.random((1, 3, CANVAS, CANVAS), np.float32)).to(pick_device("auto"))
    mesh = torch.from_numpy(draw.uniform(60, 200, (1, 468, 2)).astype(np.float32)).to(noise)
    digest = hashlib.sha256()
    with torch.no_grad():
        for recogniser in recognisers:
            digest.update(recogniser.name.encode())
            digest.update(recogniser.embed(noise, mesh).cpu().numpy().round(3).astype(np.float32).tobytes())
    return digest.hexdigest()[:12]


def list_families() -> tuple[str, ...]:
    """Families of the product's recognisers, as the manifest names them: each can be held out of a search."""
    store = open_store()
    return tuple(dict.fromkeys(store.entry(name).family for name in list_recognisers(store)))


@lru_cache(maxsize=4)
def load_extra_recogniser(source: str) -> Recogniser:
    """Load the recogniser that ``module:function`` makes; the search never uses it.

    Args:
        source: a module that Python can import, and a function in it that takes nothing and returns a
            `c2p_core.recognition.Recogniser` on the device of this run.

    Raises:
        BadRecogniser: there is no such module or function, or it returns something else.
    """
    module, _, function = source.partition(":")
    try:
        recogniser = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise BadRecogniser("recogniser-not-made", source=source, reason=str(error)) from error
    if not isinstance(recogniser, Recogniser):
        raise BadRecogniser("recogniser-wrong-type", source=source, type=type(recogniser).__name__)
    if recogniser.name in list_recognisers(open_store()):
        raise BadRecogniser("recogniser-name-taken", source=source, name=recogniser.name)
    grey = torch.full((2, 3, CANVAS, CANVAS), 0.5)
    mesh = torch.from_numpy(np.random.default_rng(0).uniform(60, 200, (2, 468, 2)).astype(np.float32))
    with torch.no_grad():
        vectors = recogniser.embed(grey, mesh)
    if vectors.ndim != 2 or vectors.shape[0] != 2 or not torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-3):
        raise BadRecogniser("recogniser-not-unit-vectors", source=source, shape=tuple(vectors.shape))
    return recogniser
