"""What strength means: the limits of a change, for every prior; ``docs/strength.md`` explains it to users."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from torch import Tensor

from c2p_core.colour import lab
from c2p_core.priors.complexion import Limits

# How far control points go, in eye distances. Where the expression is not kept, the same limit would make a caricature.
_SHAPE, _SHAPE_FREED = 0.12, 0.07
_DARK_SKIN_GRAIN = 1.3  # dark skin shows grain almost as well as light skin, so that its share grows no further
_USUAL_LIGHTNESS = 65.0  # CIE L* of light skin in a portrait, for which the limits of tone are given


@dataclass(frozen=True)
class StrengthLimits:
    """The limits at one strength.

    Attributes:
        shape: the farthest that a control point goes, in eye distances.
        complexion: how much of one learned standard deviation a code of length one shows.
        mahalanobis: the longest code per dimension, in standard deviations.
        relief: the most that the face's own light and shade are softened, as a factor minus one; deepened less.
        grain: the strongest grain on a face of usual roughness, in optical density.
        opacity: added to the logit of every product's opacity, so that a light touch stays light.
        limits: one-sided limits of skin tone.
        moved: how far landmarks may move on average, in eye distances; the visibility penalty sets in here
            and at the next two limits.
        shifted: how far skin's colour may shift on average, moved edges included, as CIE94 difference.
        patchy: how strong the change may be between 4 and 32 cells across the face, root mean square in CIE L*a*b*.
    """

    shape: float
    complexion: float
    mahalanobis: float
    relief: float
    grain: float
    opacity: float
    limits: Limits
    moved: float
    shifted: float
    patchy: float


def strength_scale(strength: float) -> float:
    """How wide the limits are at a strength 0..1, as a factor of those at 0.5, where everything is measured.

    They grow half as fast above 0.5, because 1 is the most that a photographer could still use.
    """
    strength = max(strength, 0.02)
    return min(2 * strength, 0.5 + strength)


def strength_limits(strength: float, keep_expression: bool = True) -> StrengthLimits:
    """Limits that grow with strength; at 0 next to nothing is left of them."""
    s = strength_scale(strength)
    return StrengthLimits(
        shape=(_SHAPE if keep_expression else _SHAPE_FREED) * s,
        complexion=1.2 * s,
        mahalanobis=1.5,
        relief=0.85 * s,
        grain=0.032 * s,
        opacity=1.5 * math.log(min(1.0, 1.4 * max(strength, 0.02))),
        limits=Limits(0.18 * s, 0.33 * s),
        moved=0.018 * s,
        shifted=5.9 * s,
        patchy=2.2 * s,
    )


def adapt_to_skin(limits: StrengthLimits, tone: Tensor, skin: Tensor) -> StrengthLimits:
    """The limits of skin tone such that they are equally visible on every skin.

    In CIE L* a change of density shows in proportion to L* + 16: plain on pale skin, hardly seen on dark skin.
    """
    bright = lab(tone)[0][skin[0] > 0.5]
    lightness = float(bright.median()) if len(bright) else _USUAL_LIGHTNESS
    share = min(2.0, max(1.0, (_USUAL_LIGHTNESS + 16) / (lightness + 16)))
    wider = Limits(*(share * getattr(limits.limits, f.name) for f in fields(Limits)))
    grain = min(share, _DARK_SKIN_GRAIN) * limits.grain
    return replace(limits, complexion=share * limits.complexion, grain=grain, limits=wider)
