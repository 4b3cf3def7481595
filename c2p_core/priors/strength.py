"""The limits of a change at a given strength, for every prior; ``docs/strength.md`` explains them to users."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from torch import Tensor

from c2p_core.colour import lab
from c2p_core.priors.complexion import Limits

# How far control points go, in eye distances. Where the expression is not kept, the same limit would make a caricature.
_SHAPE, _SHAPE_FREED = 0.12, 0.07
_LIGHT_SLOPE = 0.4  # light and shade stop looking like those of a photo before shape stops looking like a face
_DARK_SKIN_GRAIN = 1.3  # dark skin shows grain almost as well as light skin, so that its limit is raised no further
# Typical strength of the lines of a face (``Lines.measure_typical_strength``) from which on they hide new ones, and the
# share of the limit of lines that remains on skin without any.
_HIDING_LINES, _LEAST_LINES = 0.19, 0.25
_USUAL_LIGHTNESS = 65.0  # CIE L* of light skin in a portrait, for which the limits of tone are given


@dataclass(frozen=True)
class StrengthLimits:
    """The limits at one strength.

    Attributes:
        shape: maximum movement of a control point, in eye distances.
        complexion: scale of the complexion patterns, relative to one learned standard deviation.
        mahalanobis: maximum length of the complexion code per dimension, in standard deviations.
        relief: maximum gain of the face's own light and shade, as a factor minus one; deepening is limited further.
        grain: maximum grain on a face of typical roughness, in optical density.
        opacity: offset of the logit of every product's opacity, which keeps light makeup light.
        limits: limits of skin tone in both directions.
        displacement: mean landmark displacement in eye distances above which there is a visibility penalty.
        colour_shift: likewise, mean colour shift of skin, moved edges included, as CIE94 difference.
        patchiness: likewise, root mean square change between 4 and 32 cells across the face, in CIE L*a*b*.
        new_lines: likewise, new and deeper lines and folds, root mean square in optical density, see
            ``Lines.measure_excess``.
    """

    shape: float
    complexion: float
    mahalanobis: float
    relief: float
    grain: float
    opacity: float
    limits: Limits
    displacement: float
    colour_shift: float
    patchiness: float
    new_lines: float


def compute_strength_scale(strength: float, slope: float = 1.0) -> float:
    """The scale of limits at a strength 0..1, relative to 0.5, where everything is measured.

    Args:
        strength: 0..1; 1 is the most that a photographer could still use.
        slope: of the scale above a strength of 0.5; below, it is 2.
    """
    strength = max(strength, 0.02)
    return min(2 * strength, 1 + slope * (strength - 0.5))


def compute_strength_limits(strength: float, keep_expression: bool = True) -> StrengthLimits:
    """The limits at a strength 0..1; at 0 hardly any change is possible."""
    scale, light_scale = compute_strength_scale(strength), compute_strength_scale(strength, _LIGHT_SLOPE)
    return StrengthLimits(
        shape=(_SHAPE if keep_expression else _SHAPE_FREED) * scale,
        complexion=1.8 * light_scale,
        mahalanobis=1.5,
        relief=min(1.0, 0.95 * light_scale),
        grain=0.036 * light_scale,
        opacity=1.5 * math.log(min(1.0, 1.4 * max(strength, 0.02))),
        limits=Limits(0.25 * light_scale, 0.45 * light_scale),
        displacement=0.017 * scale,
        colour_shift=6.3 * light_scale,
        patchiness=2.3 * light_scale,
        new_lines=0.016 * light_scale,
    )


def adapt_to_skin(limits: StrengthLimits, tone: Tensor, skin: Tensor) -> StrengthLimits:
    """Adapt the limits of tone to the lightness of the skin, so that they are equally visible on every skin.

    The change of CIE L* caused by a change of density is proportional to L* + 16: obvious on pale skin, hardly visible
    on dark skin.
    """
    bright = lab(tone)[0][skin[0] > 0.5]
    lightness = float(bright.median()) if len(bright) else _USUAL_LIGHTNESS
    factor = min(2.0, max(1.0, (_USUAL_LIGHTNESS + 16) / (lightness + 16)))
    wider = Limits(*(factor * getattr(limits.limits, f.name) for f in fields(Limits)))
    grain = min(factor, _DARK_SKIN_GRAIN) * limits.grain
    return replace(limits, complexion=factor * limits.complexion, grain=grain, limits=wider)


def adapt_to_lines(limits: StrengthLimits, typical_strength: float) -> StrengthLimits:
    """Adapt the limit of new lines to the strength of existing ones, see ``Lines.measure_typical_strength``.

    On the smooth skin of a soft or blurred photo every new line is seen (contrast masking, Legge and Foley 1980).
    """
    return replace(limits, new_lines=min(1.0, max(_LEAST_LINES, typical_strength / _HIDING_LINES)) * limits.new_lines)
