"""Lines and folds of a face: new ones make it look older, tired or stern, so only their growth is measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.colour import LUMINANCE
from c2p_core.faces.canvas import gaussian_blur

# Lines of several widths are measured in a pyramid, each level half the size of the one before.
_WIDTH = 1.5  # pixels of the level, standard deviation of the blur
_LEVELS = 3
_LIGHT_LINES = 0.5  # weight of light lines relative to dark ones, which folds are


class Lines:
    """Measures the lines of one face; immutable."""

    def __init__(self, linear: Tensor, mask: Tensor) -> None:
        """Args:
        linear: (3, 256, 256) linear light of the face.
        mask: (256, 256) mask 0..1 of where new lines count.
        """
        self._luminance = LUMINANCE.to(linear)[:, None, None]
        self._depth = -torch.log((linear * self._luminance).sum(0).clamp(min=2e-3))
        self._weights = [level / level.sum().clamp(min=1.0) for level in _build_pyramid(mask)]

    def measure_typical_strength(self, strengths: Sequence[Tensor]) -> float:
        """Typical strength of the lines that are on the face (see ``measure``), in optical density: 0.05 on the skin of
        a blurred face, 0.24 usually, 0.4 on wrinkled skin. Medians, so that the edges of features do not count."""
        medians = [
            level.sum(0)[weight > 0.5 * weight.max()].median()
            for level, weight in zip(strengths, self._weights, strict=True)
        ]
        return float(torch.stack(medians).norm())

    def measure(self, density: Tensor) -> list[Tensor]:
        """Strength of dark and of light lines with a (3, 256, 256) density on the face: (2, n, n) for each width."""
        return [_measure_lines(level) for level in _build_pyramid(self._depth + (density * self._luminance).sum(0))]

    def measure_excess(self, density: Tensor, reference: Sequence[Tensor]) -> Tensor:
        """Growth of lines over the ``reference`` (see ``measure``) as a scalar, root mean square in optical density."""
        squares = [
            (torch.relu(strength - before).square().sum(0) * weight).sum()
            for strength, before, weight in zip(self.measure(density), reference, self._weights, strict=True)
        ]
        return (torch.stack(squares).sum() + 1e-8).sqrt()


def _build_pyramid(full: Tensor) -> list[Tensor]:
    """Levels of a (n, n) map, in full, half and quarter size."""
    levels = [full]
    while len(levels) < _LEVELS:
        levels.append(F.avg_pool2d(levels[-1][None], 2)[0])
    return levels


def _measure_lines(depth: Tensor) -> Tensor:
    """(2, n, n) strength of dark and of light lines in a (n, n) optical density.

    The principal curvatures of the blurred density (Lindeberg 1998): a dark line is a ridge of density, a light one a
    valley.
    """
    blurred = F.pad(gaussian_blur(depth[None], _WIDTH)[None], (1, 1, 1, 1), mode="replicate")[0, 0]
    centre = blurred[1:-1, 1:-1]
    xx = blurred[1:-1, 2:] + blurred[1:-1, :-2] - 2 * centre
    yy = blurred[2:, 1:-1] + blurred[:-2, 1:-1] - 2 * centre
    xy = (blurred[2:, 2:] + blurred[:-2, :-2] - blurred[2:, :-2] - blurred[:-2, 2:]) / 4
    mean = (xx + yy) / 2
    # The small constant keeps the root's gradient finite where there is no curvature.
    deviation = (((xx - yy) / 2).square() + xy.square() + 1e-12).sqrt()
    dark, light = torch.relu(deviation - mean), torch.relu(mean + deviation)
    return _WIDTH**2 * torch.stack([dark, _LIGHT_LINES * light])
