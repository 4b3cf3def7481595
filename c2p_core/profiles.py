"""Profiles: which models a run takes where its request names none, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import torch

from c2p_core.api import DEFAULT_CLIP, PRIORS, Profile, ProtectRequest
from c2p_core.device import device_name
from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.full_profile import FullModels, find_full_models
from c2p_core.models.store import ModelStore


@dataclass(frozen=True)
class ChosenProfile:
    """The models of a run.

    Attributes:
        name: "embedded" or "full".
        why: for the user.
        request: with every model named that it left to the profile.
    """

    name: Profile
    why: Message
    request: ProtectRequest


def choose_profile(request: ProtectRequest, store: ModelStore, device: torch.device) -> ChosenProfile:
    """Name the models of a request.

    What the request names itself is taken in any profile: the full text model with the prior makeup, or makeup with
    the recognisers of the full profile.

    Raises:
        BadRequest: there is no such profile.
        ModelUnavailable: the request asks for "full" and one of its models is not here.
    """
    if request.profile not in get_args(Profile):
        raise BadRequest("profile-unknown", profile=str(request.profile)[:40], known=list(get_args(Profile)))
    if request.profile == "embedded":
        return ChosenProfile("embedded", Message("profile-embedded"), _name_models(request, PRIORS[0], DEFAULT_CLIP))
    full = find_full_models(store)
    missing = _missing(request, full)
    if request.profile == "full":
        if missing:
            raise ModelUnavailable("profile-incomplete", missing=missing)
        return ChosenProfile("full", Message("profile-full"), _take_full(request, full))
    if missing:
        why = Message("profile-auto-incomplete", missing=missing)
    elif device.type == "cpu":
        why = Message("profile-auto-without-gpu")
    else:
        why = Message("profile-auto-full", device=device_name(device) or device.type)
        return ChosenProfile("full", why, _take_full(request, full))
    return ChosenProfile("embedded", why, _name_models(request, PRIORS[0], DEFAULT_CLIP))
