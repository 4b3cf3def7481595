"""Lines and folds of a face. A change that adds some makes it older, tired or stern; one that softens them does not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.colour import LUMINANCE
from c2p_core.faces.canvas import gaussian

# Lines of three widths, each found in a picture of half the size of the one before.
_WIDTH = 1.5  # pixels of that picture
_LEVELS = 3
_LIGHT_LINES = 0.5  # how much light lines count beside dark ones, which are the folds


class Lines:
    """The lines of one face; never changed once it is made."""

    def __init__(self, linear: Tensor, counted: Tensor) -> None:
        """Args:
        linear: (3, 256, 256) linear light of the face.
        counted: (256, 256) 0..1, where new lines count.
        """
        self._luminance = LUMINANCE.to(linear)[:, None, None]
        self._depth = -torch.log((linear * self._luminance).sum(0).clamp(min=2e-3))
        self._weights = [level / level.sum().clamp(min=1.0) for level in _pyramid(counted)]

    def strengths(self, density: Tensor) -> list[Tensor]:
        """Per width, (2, n, n): how strong dark and light lines are under a (3, 256, 256) density."""
        return [_line_strength(level) for level in _pyramid(self._depth + (density * self._luminance).sum(0))]

    def excess(self, density: Tensor, allowed: Sequence[Tensor]) -> Tensor:
        """Scalar: by how much a density makes lines stronger than ``allowed``, root mean square of their density."""
        squares = [
            (torch.relu(strength - limit).square().sum(0) * weight).sum()
            for strength, limit, weight in zip(self.strengths(density), allowed, self._weights, strict=True)
        ]
        return (torch.stack(squares).sum() + 1e-8).sqrt()


def _pyramid(picture: Tensor) -> list[Tensor]:
    """A (n, n) picture in full, half and quarter size."""
    levels = [picture]
    while len(levels) < _LEVELS:
        levels.append(F.avg_pool2d(levels[-1][None], 2)[0])
    return levels


def _line_strength(depth: Tensor) -> Tensor:
    """(2, n, n) strength of dark and of light lines in a (n, n) optical density.

    The principal curvatures of the blurred density (Lindeberg 1998): a dark line is a ridge of density, a light one a
    valley.
    """
    blurred = F.pad(gaussian(depth[None], _WIDTH)[None], (1, 1, 1, 1), mode="replicate")[0, 0]
    centre = blurred[1:-1, 1:-1]
    xx = blurred[1:-1, 2:] + blurred[1:-1, :-2] - 2 * centre
    yy = blurred[2:, 1:-1] + blurred[:-2, 1:-1] - 2 * centre
    xy = (blurred[2:, 2:] + blurred[:-2, :-2] - blurred[2:, :-2] - blurred[:-2, 2:]) / 4
    mean = (xx + yy) / 2
    # The small number keeps the root's gradient finite where nothing is curved.
    deviation = (((xx - yy) / 2).square() + xy.square() + 1e-12).sqrt()
    dark, light = torch.relu(deviation - mean), torch.relu(mean + deviation)
    return _WIDTH**2 * torch.stack([dark, _LIGHT_LINES * light])
