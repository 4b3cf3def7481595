"""What a request calls a text model: ``clip-mini``, or MODEL:PRETRAINED of open_clip. Without torch."""

from __future__ import annotations

from c2p_core.errors import BadRequest

MINI = "clip-mini"
"""The model that ships."""
_LONGEST = 1000


def parse_clip(text: str) -> tuple[str, str | None]:
    """Model, and tag or file of its weights; None for the model that ships.

    Raises:
        BadRequest: neither ``clip-mini`` nor a model and its weights.
    """
    if text == MINI:
        return MINI, None
    # Only the first colon: a file of weights may lie on a drive of Windows.
    model, _, pretrained = text.partition(":")
    if not model or not pretrained or model == MINI or len(text) > _LONGEST:
        raise BadRequest("text-model-unknown", name=text[:80], shipped=MINI)
    return model, pretrained
