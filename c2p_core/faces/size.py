"""Which faces are large enough to be protected; imports no torch."""

from __future__ import annotations

import math

from c2p_core.errors import Message

MIN_EYE_DISTANCE = 40.0
"""A face with a smaller eye distance, in pixels, is listed but skipped: it is too coarse to be protected well."""
TOLERANCE = 0.04
"""Relative error of an eye distance measured in a downscaled picture."""


def explain_too_small(distance: float, tolerance: float = 0.0) -> Message | None:
    """Explain why a face with this eye distance in photo pixels can't be protected; None if it can.

    ``tolerance``: accepted shortfall, as a share of ``MIN_EYE_DISTANCE``.
    """
    if distance >= MIN_EYE_DISTANCE * (1 - tolerance):
        return None
    return Message("eyes-too-close", distance=math.floor(distance), least=round(MIN_EYE_DISTANCE))
