"""Names of text models in requests: ``clip-mini``, or MODEL:PRETRAINED of open_clip. Does not import torch."""

from __future__ import annotations

from c2p_core.errors import BadRequest

MINI = "clip-mini"
"""The model that ships."""
_LONGEST = 1000


def parse_clip(text: str) -> tuple[str, str | None]:
    """Split the name into a model and a tag or file of weights, which is None for the shipped model.

    Raises:
        BadRequest: the name is neither ``clip-mini`` nor MODEL:PRETRAINED.
    """
    if text == MINI:
        return MINI, None
    # Only at the first colon: the path of a file may begin with a Windows drive.
    model, _, pretrained = text.partition(":")
    if not model or not pretrained or model == MINI or len(text) > _LONGEST:
        raise BadRequest("text-model-unknown", name=text[:80], shipped=MINI)
    return model, pretrained
