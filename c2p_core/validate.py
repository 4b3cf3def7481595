"""Checks requests before any work begins."""

from __future__ import annotations

from c2p_core.api import PRIORS, ProtectRequest
from c2p_core.device import pick_device
from c2p_core.errors import BadRequest

# The largest that the worker's protocol can carry.
_LARGEST_SEED = 2**31 - 1


def check_request(request: ProtectRequest) -> None:
    """Check everything about a request that does not depend on the photo's content.

    Raises:
        BadRequest: an option is out of range or unknown, "cuda" is not available, or ``original`` differs in size from
            ``photo``.
    """
    pick_device(request.device)
    if not 0.0 <= request.strength <= 1.0:
        raise BadRequest(f"Strength {request.strength:g} has no meaning; it goes from 0 to 1.")
    if request.mode not in ("dodge", "decoy"):
        raise BadRequest(f"There is no mode {request.mode!r}; use dodge or decoy.")
    if request.prior not in PRIORS:
        raise BadRequest(f"There is no prior {request.prior!r}; the priors are {', '.join(PRIORS)}.")
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
