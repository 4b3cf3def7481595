"""The generator and the text model of a run, which may differ from those that ship."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from benchmarks.rows import Models
from c2p_core.api import AUTO, DEFAULT_CLIP, Profile, ProtectRequest
from c2p_core.device import pick_device
from c2p_core.errors import BadRequest, Message
from c2p_core.guidance.clip_name import parse_clip
from c2p_core.models.files import compute_hash
from c2p_core.models.licences import list_licence_warnings, list_used_generators
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.prior_registry import REGISTRY
from c2p_core.priors.checkpoint_files import GENERATORS, SHIPPED_GENERATOR, find_checkpoints
from c2p_core.profiles import choose_profile, find_generator


def choose_models(
    store: ModelStore, profile: Profile, prior: str, clip: str | None, recognisers: tuple[str, ...] | None = None
) -> Models:
    """Choose the models that a request of this profile uses.

    Args:
        store: of the models' files.
        profile: "auto" is resolved here, so that rows name the profile measured.
        prior: its name.
        clip: the text model; None for the profile's.
        recognisers: None for the profile's.

    Raises:
        BadRequest: the name of the text model is invalid.
        ModelUnavailable: a model of the profile is missing, or a generator lacks its encoder.
    """
    empty_photo = Photo(np.zeros((1, 1, 3), np.uint8))
    request = ProtectRequest(
        empty_photo, profile=profile, prior=prior, clip=clip or AUTO, recognisers=recognisers or AUTO
    )
    resolved = choose_profile(request, store, pick_device("auto")).request
    parse_clip(resolved.clip)
    return Models(resolved.profile, _name_generator(store, resolved), resolved.clip)


def _name_generator(store: ModelStore, request: ProtectRequest) -> tuple[str, ...]:
    if not REGISTRY[request.prior].loads_generator:
        return ()
    checkpoints = find_checkpoints(store.root)
    if checkpoints is None:
        return list_used_generators(store, find_generator(store) if request.profile == "full" else None)
    return tuple(sorted({path.parent.name if path.parent.name in GENERATORS else path.name for path in checkpoints}))


def list_own_models(store: ModelStore, models: Models) -> tuple[str, ...]:
    """The generator unless it ships, and the text model unless the manifest has its hash."""
    generators = tuple(name for name in models.generator if name != SHIPPED_GENERATOR)
    if models.clip == DEFAULT_CLIP:
        return generators
    serving = [store.entry(name) for name in store.list_clip_models(models.clip)]
    is_vouched = any(all(file.sha256 for file in entry.files) for entry in serving)
    return generators if is_vouched else (*generators, models.clip)


def fingerprint_models(store: ModelStore, models: Models, recognisers: str) -> str:
    """Twelve hex digits over the recognisers' fingerprint and the files that do not ship; without any, the fingerprint.

    Shipped files are part of the fingerprint of the code.

    Raises:
        ModelUnavailable: a file can't be read.
    """
    files = _list_files(store, models)
    if not files:
        return recognisers
    digest = hashlib.sha256(recognisers.encode())
    for file in files:
        digest.update(compute_hash(file).encode())
    return digest.hexdigest()[:12]


def _list_files(store: ModelStore, models: Models) -> list[Path]:
    files: list[Path] = []
    if models.generator not in ((), (SHIPPED_GENERATOR,)):
        files += find_checkpoints(store.root) or map(store.obtain, models.generator)
    if models.clip != DEFAULT_CLIP:
        files += _list_text_files(store, models.clip)
    return list(dict.fromkeys(files))


def _list_text_files(store: ModelStore, clip: str) -> list[Path]:
    if serving := store.list_clip_models(clip):
        return [store.obtain(serving[0])]
    from c2p_core.guidance.clip_weights import find_weights

    model, pretrained = parse_clip(clip)
    if pretrained is None:
        raise BadRequest("text-model-unknown", name=clip, shipped=DEFAULT_CLIP)
    return [find_weights(model, pretrained, store.offline).file]


def describe_licences(store: ModelStore, models: Models, recognisers: tuple[str, ...]) -> list[Message]:
    """Licence warnings for all models that took part in a finished run."""
    catalogue_names = {entry.name for entry in store.catalogue()}
    own_generators = [name for name in models.generator if name not in catalogue_names]
    messages = [Message("own-generator-used", files=own_generators)] if own_generators else []
    return messages + list_licence_warnings(
        store, [*recognisers, *store.list_clip_models(models.clip), *models.generator]
    )
