"""Profiles: which models a run uses if its request leaves that open, and why.

Models named in a request are used in any profile: the full profile's text model with the prior makeup, for example, or
makeup with the full profile's recognisers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from c2p_core.api import AUTO, DEFAULT_CLIP, Profile, ProtectRequest
from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.models.manifest import ModelEntry, Role
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.prior_registry import REGISTRY
from c2p_core.priors.checkpoint_files import find_checkpoints

if TYPE_CHECKING:
    import torch

PROFILE_VARIABLE = "C2P_PROFILE"
"""Environment variable with the profile of requests that name none, such as those from GIMP."""
_DEFAULT_PRIORS = {entry.default_of: name for name, entry in REGISTRY.items() if entry.default_of}


@dataclass(frozen=True)
class ChosenProfile:
    """The models of a run.

    Attributes:
        request: with its profile, "embedded" or "full", and with the prior and the text model named.
        why: why that profile, for the user.
    """

    request: ProtectRequest
    why: Message


def read_default_profile() -> Profile:
    """Read the profile from ``C2P_PROFILE``, else "embedded".

    Raises:
        BadRequest: there is no such profile.
    """
    return _check_profile(os.environ.get(PROFILE_VARIABLE) or "embedded")


def choose_default(store: ModelStore, device: torch.device) -> ChosenProfile:
    """Choose the models of a job with the initial settings of GIMP's dialog.

    Args:
        store: has the models' files.
        device: that jobs compute on.

    Raises:
        BadRequest, ModelUnavailable: as ``choose_profile``.
    """
    placeholder = Photo(np.zeros((1, 1, 3), np.uint8))
    return choose_profile(
        ProtectRequest(placeholder, prior=_DEFAULT_PRIORS["embedded"], profile=read_default_profile()), store, device
    )


def choose_profile(request: ProtectRequest, store: ModelStore, device: torch.device | None) -> ChosenProfile:
    """Choose the models of a request.

    Args:
        request: whose profile, prior and text model may be "auto".
        store: has the models' files.
        device: that the run computes on; may be None unless the profile is "auto".

    Raises:
        BadRequest: there is no such profile.
        ModelUnavailable: the request asks for "full" and one of its models is missing.
    """
    profile = _check_profile(request.profile)
    if profile == "embedded":
        return _choose_embedded(request, Message("profile-embedded"))
    missing = _find_missing(request, store)
    if profile == "full" and missing:
        raise ModelUnavailable("profile-incomplete", missing=missing)
    if profile == "full":
        return _choose_full(request, store, Message("profile-full"))
    if missing:
        return _choose_embedded(request, Message("profile-auto-incomplete", missing=missing))
    if device is None or device.type == "cpu":
        return _choose_embedded(request, Message("profile-auto-without-gpu"))
    from c2p_core.device import name_device  # imports torch

    name = name_device(device) or device.type
    return _choose_full(request, store, Message("profile-auto-full", device=name))


def find_generator(store: ModelStore) -> str | None:
    """The name of the full profile's fetched generator; None without one."""
    return next((entry.name for entry in _list_full_models(store, "prior") if store.is_present(entry.name)), None)


def list_full_recognisers(store: ModelStore) -> tuple[str, ...]:
    """List the full profile's fetched recognisers, beyond those that ship."""
    return tuple(entry.name for entry in _list_full_models(store, "recogniser") if store.is_present(entry.name))


def _check_profile(name: str) -> Profile:
    known: tuple[Profile, ...] = get_args(Profile)
    for profile in known:
        if name == profile:
            return profile
    raise BadRequest("profile-unknown", profile=name[:40], known=list(known))


def _list_full_models(store: ModelStore, role: Role) -> tuple[ModelEntry, ...]:
    return tuple(entry for entry in store.catalogue() if entry.profile == "full" and entry.role == role)


def _find_missing(request: ProtectRequest, store: ModelStore) -> list[str]:
    """Names of missing models of the full profile, among those that the request leaves open."""
    missing = []
    if request.prior == AUTO and find_generator(store) is None and find_checkpoints(store.root) is None:
        missing += [entry.name for entry in _list_full_models(store, "prior")]
    if request.clip == AUTO and _find_clip(store) is None:
        missing += [entry.name for entry in _list_full_models(store, "guidance")]
    all_named = AUTO not in (request.prior, request.clip)
    if all_named and request.recognisers == AUTO and not list_full_recognisers(store):
        missing += [entry.name for entry in _list_full_models(store, "recogniser")]
    return missing


def _find_clip(store: ModelStore) -> str | None:
    """Find a fetched text model, named as in requests: the full profile's, else another one."""
    entries = [entry for entry in store.catalogue() if entry.role == "guidance" and entry.clip]
    entries.sort(key=lambda entry: entry.profile != "full")
    return next((entry.clip for entry in entries if store.is_present(entry.name)), None)


def _choose_embedded(request: ProtectRequest, why: Message) -> ChosenProfile:
    return ChosenProfile(_name_models(request, "embedded", _DEFAULT_PRIORS["embedded"], DEFAULT_CLIP), why)


def _choose_full(request: ProtectRequest, store: ModelStore, why: Message) -> ChosenProfile:
    return ChosenProfile(_name_models(request, "full", _DEFAULT_PRIORS["full"], _find_clip(store) or DEFAULT_CLIP), why)


def _name_models(request: ProtectRequest, profile: Profile, prior: str, clip: str) -> ProtectRequest:
    return replace(
        request,
        profile=profile,
        prior=prior if request.prior == AUTO else request.prior,
        clip=clip if request.clip == AUTO else request.clip,
    )
