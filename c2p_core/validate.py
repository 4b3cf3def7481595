"""What a request may say."""

from __future__ import annotations

from c2p_core.api import ProtectRequest
from c2p_core.device import pick_device
from c2p_core.errors import BadRequest
from c2p_core.guidance.clip_name import parse_clip
from c2p_core.priors.registry import MODULES

# As the worker's protocol allows.
_LARGEST_SEED = 2**31 - 1


def check_request(request: ProtectRequest) -> None:
    """Says early what ``protect`` would refuse whatever the photo shows.

    Raises:
        BadRequest: an option has no meaning, "cuda" is not there, or ``original`` has another size than ``photo``.
    """
    pick_device(request.device)
    if not 0.0 <= request.strength <= 1.0:
        raise BadRequest(f"Strength {request.strength:g} has no meaning; it goes from 0 to 1.")
    if request.mode not in ("dodge", "decoy"):
        raise BadRequest(f"There is no mode {request.mode!r}; use dodge or decoy.")
    if request.prior not in MODULES:
        raise BadRequest(f"There is no prior {request.prior!r}; the priors are {', '.join(MODULES)}.")
    parse_clip(request.clip)
    if request.free_noise and request.prior != "stylegan2":
        raise BadRequest("Only a generator has noise maps to search; use --free-noise with --prior stylegan2.")
    if request.steps is not None and not 1 <= request.steps <= 10_000:
        raise BadRequest(f"{request.steps} steps have no meaning; use 1 to 10000.")
    if not 0 <= request.seed <= _LARGEST_SEED:
        raise BadRequest(f"Seed {request.seed} has no meaning; use 0 to {_LARGEST_SEED}.")
    if len(request.prompt) > 300:
        raise BadRequest("The prompt is longer than 300 characters; a few words are enough.")
    original, photo = request.original, request.photo
    if original is not None and (original.width, original.height) != (photo.width, photo.height):
        raise BadRequest("The original and the edited picture have different sizes; they must cover each other.")
