"""Checks requests before any work begins."""

from __future__ import annotations

from typing import get_args

from c2p_core.api import AUTO, Mode, Part, ProtectRequest
from c2p_core.errors import BadRequest
from c2p_core.guidance.clip_name import parse_clip
from c2p_core.prior_registry import REGISTRY

# The largest that the worker's protocol can carry.
LARGEST_SEED = 2**31 - 1
_MOST_STEPS = 10_000
LONGEST_PROMPT = 300
_MOST_REFERENCES = 10  # they are held in memory


def check_request(request: ProtectRequest) -> None:
    """Check everything about a request that does not depend on the photo's content.

    Raises:
        BadRequest: an option is out of range or unknown, the device that it names is not available, or ``original``
            differs in size from ``photo``.
    """
    if request.device not in ("auto", "cpu"):
        from c2p_core.device import pick_device  # imports torch

        pick_device(request.device)
    for strength in (request.strength, *(look.strength for look in request.looks)):
        if strength is not None and not 0.0 <= strength <= 1.0:
            raise BadRequest("strength-out-of-range", value=strength, low=0, high=1)
    if request.mode not in get_args(Mode):
        raise BadRequest("mode-unknown", mode=request.mode, known=list(get_args(Mode)))
    if request.prior not in (AUTO, *REGISTRY):
        raise BadRequest("prior-unknown", prior=request.prior, known=list(REGISTRY))
    if request.clip != AUTO:
        parse_clip(request.clip)
    for part in (*request.locks, *(part for look in request.looks for part in look.locks or ())):
        if part not in get_args(Part):
            raise BadRequest("lock-unknown", part=part, known=list(get_args(Part)))
    if request.free_noise and not (request.prior in REGISTRY and REGISTRY[request.prior].free_noise):
        raise BadRequest("prior-without-noise")
    if request.steps is not None and not 1 <= request.steps <= _MOST_STEPS:
        raise BadRequest("steps-out-of-range", value=request.steps, low=1, high=_MOST_STEPS)
    for seed in (request.seed, *(look.seed for look in request.looks)):
        if seed is not None and not 0 <= seed <= LARGEST_SEED:
            raise BadRequest("seed-out-of-range", value=seed, low=0, high=LARGEST_SEED)
    if any(len(prompt or "") > LONGEST_PROMPT for prompt in (request.prompt, *(look.prompt for look in request.looks))):
        raise BadRequest("prompt-too-long", limit=LONGEST_PROMPT)
    if len(request.references) > _MOST_REFERENCES:
        raise BadRequest("references-too-many", count=len(request.references), limit=_MOST_REFERENCES)
    original, photo = request.original, request.photo
    if original is not None and (original.width, original.height) != (photo.width, photo.height):
        raise BadRequest("original-size-differs")
