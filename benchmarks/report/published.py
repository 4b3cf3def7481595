"""Published figures of other methods: impersonation, black box, threshold at FAR 1 %, images of CelebA-HQ.

The two older papers' figures are those that Salar et al. repeat in their comparison of black-box protection success
rates. All come from a public summary of that comparison, since the papers themselves were not available:
https://en.papernotes.org/CVPR2025/image_generation/enhancing_facial_privacy_protection_via_weakening_diffusion_purification/.
Figures missing there, such as rank-1 and dodging, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

RECOGNISERS = ("IRSE50", "IR152", "FaceNet", "MobileFace")


@dataclass(frozen=True)
class Published:
    """One method.

    Attributes:
        paper: authors, venue and year.
        rates: per cent of images that the recogniser, which took no part in the search, takes for the target.
    """

    method: str
    paper: str
    rates: Mapping[str, float]

    @property
    def mean(self) -> float:
        return fmean(self.rates.values())


def _make_published(method: str, paper: str, *rates: float) -> Published:
    return Published(method, paper, dict(zip(RECOGNISERS, rates, strict=True)))


PUBLISHED = (
    _make_published("CLIP2Protect", "Shamshad et al., CVPR 2023", 81.10, 48.42, 41.72, 75.26),
    _make_published("DiffAM", "Sun et al., CVPR 2024", 92.00, 63.13, 64.67, 83.35),
    _make_published("weakened diffusion purification", "Salar et al., CVPR 2025", 88.87, 67.25, 59.53, 91.57),
)
