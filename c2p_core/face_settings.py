"""The settings of each face: from the request, and from earlier photos of the same person."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from c2p_core.api import Face, FaceLook, Part, ProtectRequest, Trace
from c2p_core.faces.boxes import match_face
from c2p_core.priors.prior import Code
from c2p_core.search import SearchSettings

# A search that continues from an earlier photo starts at this weight of that photo's code, the rest being the face's
# own, and takes this share of the steps. At a weight of 1 the protected photos would resemble each other; at 0 the
# steps would not suffice.
_START_WEIGHT, _STEP_SHARE = 0.5, 0.5


@dataclass(frozen=True)
class FaceSettings:
    """The settings of one face.

    Attributes:
        literal: whether the prompt's look is taken literally; see `c2p_core.api.FaceLook`, also for the others.
    """

    prompt: str
    strength: float
    seed: int
    locks: tuple[Part, ...]
    literal: bool
    earlier: tuple[Trace, ...]


def find_look(face: Face, request: ProtectRequest) -> FaceLook | None:
    """The first of the request's looks that names the face."""
    return next((look for look in request.looks if _names_face(look, face)), None)


def choose_face_settings(face: Face, request: ProtectRequest) -> FaceSettings:
    """Choose the settings of a face: those of its look, completed by those for all faces."""
    face_look = find_look(face, request)
    look = face_look or FaceLook(face.number)
    return FaceSettings(
        request.prompt if look.prompt is None else look.prompt,
        request.strength if look.strength is None else look.strength,
        request.seed if look.seed is None else look.seed,
        request.locks if look.locks is None else look.locks,
        face_look is not None,
        look.earlier,
    )


def shorten_search(settings: SearchSettings, earlier: tuple[Trace, ...]) -> SearchSettings:
    """Fewer steps for a search that starts from the code of an earlier photo."""
    if not earlier or not earlier[-1].code:
        return settings
    return replace(settings, steps=max(1, round(_STEP_SHARE * settings.steps)))


def interpolate_start(earlier: tuple[Trace, ...], start: Code) -> Code:
    """Interpolate between this face's own initial code and that of the last trace, in the parts that both have."""
    if not earlier:
        return start
    earlier_code = earlier[-1].code
    return {
        name: torch.lerp(part, torch.from_numpy(earlier_code[name].copy()).to(part), _START_WEIGHT)
        if name in earlier_code and earlier_code[name].shape == part.shape
        else part
        for name, part in start.items()
    }


def stack_protected(earlier: tuple[Trace, ...], device: torch.device) -> dict[str, Tensor]:
    """Stack the (N, D) unit embeddings of earlier photos' protected faces, by recognisers that embedded all of them."""
    if not earlier:
        return {}
    names = set.intersection(*(set(trace.protected) for trace in earlier))
    return {
        name: torch.stack([torch.from_numpy(trace.protected[name].copy()) for trace in earlier]).to(device)
        for name in sorted(names)
    }


def _names_face(look: FaceLook, face: Face) -> bool:
    if isinstance(look.face, int):
        return look.face == face.number
    return match_face(look.face, (face,)) is not None
