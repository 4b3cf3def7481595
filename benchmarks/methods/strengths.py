"""At which strengths each method is measured to draw its curve of protection over visibility."""

from __future__ import annotations

from c2p_core.api import DEFAULT_STRENGTH

PRODUCT_METHOD = "c2p"
DECOY_METHOD = "decoy"

CURVES: dict[str, tuple[float, ...]] = {
    PRODUCT_METHOD: (0.15, 0.3, DEFAULT_STRENGTH, 0.7, 1.0),
    "pgd": (0.25, 0.5, 0.75),
    "mi-fgsm": (0.25, 0.5, 0.75),
    "masked-noise": (0.25, 0.5, 0.75),
    "smooth-noise": (0.25, 0.5, 0.75),
    "look": (0.3, DEFAULT_STRENGTH, 0.7, 1.0),
    "blur": (0.06, 0.1, 0.2, 0.4),
    "pixelate": (0.06, 0.12, 0.2, 0.4),
}

# Not part of the comparison: towards a decoy, and the two whose outcome is known.
OUTSIDE_COMPARISON: dict[str, tuple[float, ...]] = dict.fromkeys(
    (DECOY_METHOD, "nothing", "blackout"), (DEFAULT_STRENGTH,)
)

# Robustness is measured of all methods that run on every face, and of these curves at one strength.
ROBUSTNESS_STRENGTHS: dict[str, float] = {
    "pgd": 0.5,
    "mi-fgsm": 0.5,
    "masked-noise": 0.5,
    "smooth-noise": 0.5,
    "blur": 0.2,
    "pixelate": 0.2,
}
