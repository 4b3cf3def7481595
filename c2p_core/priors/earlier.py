"""Measures an earlier protection of a face, so that both together stay within the limits of the strength.

Landmarks of the protected photo and of its original, each found anew, show how far the face was moved; the rest of the
difference between the two is tone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.colour import LUMINANCE, srgb_to_linear
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE
from c2p_core.faces.canvas import CanvasFace, gaussian_blur, warp_points
from c2p_core.faces.regions import OVAL, ramp, signed_distance

# Canvas px of mean movement from which on a face counts as moved; less may come from light and colour.
_MOVED = 0.3
_LEAST = 1e-6  # canvas px
_DARKEST = 2e-3  # linear light below which there is only noise
_TONE_BLUR = 3.0  # canvas px: finer differences are noise, grain and edges that moved
# Optical density that differs by more than a protection changes skin: an edit of the user's, or a product.
_EDITED = (0.35, 0.6)
# Canvas px beyond the face's outline from which on no protection changes anything, and the mean difference there, in
# optical density, above which the whole photo was edited in a way that can't be followed.
_BEYOND, _STRANGE = 14.0, 0.1
_RIDGE = 1e-3


@dataclass(frozen=True)
class MovementBudget:
    """How far a face may still move.

    Attributes:
        mesh: (468, 2) canvas pixels.
        remaining: mean movement of the landmarks, in canvas pixels; more than 0.
    """

    mesh: Tensor
    remaining: float

    def to(self, device: torch.device) -> MovementBudget:
        return MovementBudget(self.mesh.to(device), self.remaining)

    def confine(self, displacement: Tensor) -> Tensor:
        """Scale a (2, n, n) displacement down to the remaining movement."""
        moved = (warp_points(displacement, self.mesh) - self.mesh).norm(dim=1).mean()
        confined: Tensor = displacement * (self.remaining / moved.clamp(min=self.remaining))
        return confined


@dataclass(frozen=True)
class EarlierChange:
    """The earlier change of a face.

    Attributes:
        budget: how far it may still move.
        reference: (3, 256, 256) linear light of the original, with the user's edits of the whole photo.
        tone: (256, 256) optical density that was added to it.
        edited: (256, 256) map 0..1 of larger changes.
    """

    budget: MovementBudget
    reference: Tensor
    tone: Tensor
    edited: Tensor

    def to(self, device: torch.device) -> EarlierChange:
        reference, tone, edited = (part.to(device) for part in (self.reference, self.tone, self.edited))
        return EarlierChange(self.budget, reference, tone, edited)


def find_earlier_change(face: CanvasFace, original: CanvasFace, limit: float) -> EarlierChange:
    """Measure the earlier change of a face.

    Args:
        face: on its canvas, as it is now.
        original: the same face on the same canvas, before.
        limit: of the mean distance of the landmarks from the original, in eye distances.
    """
    mesh, original_mesh = (part.mesh.cpu().numpy() for part in (face, original))
    before, now = (srgb_to_linear(part.pixels.cpu()).clamp(min=_DARKEST) for part in (original, face))
    reference = _follow_edits(before, now, torch.from_numpy(signed_distance(mesh, OVAL) > _BEYOND))
    difference = gaussian_blur(torch.log(reference / now), _TONE_BLUR)
    edited = 1.0 - torch.from_numpy(ramp(difference.abs().amax(0).numpy(), *_EDITED))
    tone = (difference * LUMINANCE[:, None, None]).sum(0) * (1 - edited)
    return EarlierChange(measure_movement_budget(mesh, original_mesh, limit), reference, tone, edited)


def measure_movement_budget(
    mesh: NDArray[np.float32], original_mesh: NDArray[np.float32], limit: float
) -> MovementBudget:
    """Measure how far a face may still move: not at all if it was moved before, or it would be bent twice in one place.

    Both movements together never exceed the limit.

    Args:
        mesh: (468, 2) canvas pixels, landmarks now.
        original_mesh: the same in the original.
        limit: of the mean distance of the landmarks from the original, in eye distances.
    """
    moved = float(np.linalg.norm(mesh - original_mesh, axis=1).mean())
    remaining = 0.0 if moved > _MOVED else limit * CANVAS_EYE_DISTANCE - moved
    return MovementBudget(torch.from_numpy(mesh), max(_LEAST, remaining))


def bound_tone(density: Tensor, earlier: Tensor, lighter: Tensor, darker: Tensor) -> Tensor:
    """Bound a change of light so that it and an earlier one together stay within the limits.

    Args:
        density: (3, 256, 256) optical density to add.
        earlier: (256, 256) that was added already.
        lighter, darker: (256, 256) limits of both together, at least 0.
    """
    light = (density * LUMINANCE.to(density)[:, None, None]).sum(0)
    low, high = torch.minimum(-lighter, earlier) - earlier, torch.maximum(darker, earlier) - earlier
    share = torch.where(light.abs() > 1e-5, light.clamp(low, high) / torch.where(light.abs() > 1e-5, light, 1.0), 1.0)
    return density * gaussian_blur(share[None], _TONE_BLUR)


def _follow_edits(before: Tensor, now: Tensor, outside: Tensor) -> Tensor:
    """Apply the user's edits of the whole photo to the original: a curve for each channel, fitted outside of the face.

    Returns the face as it is now if no such curve explains the difference.
    """
    if int(outside.sum()) < CANVAS:
        return before
    edited_channels = []
    for old, new in zip(torch.log(before), torch.log(now), strict=True):
        x, y = old[outside].double(), new[outside].double()
        spread = (x - x.mean()).square().mean() + _RIDGE
        gain = 1.0 + ((x - x.mean()) * (y - x - (y - x).mean())).mean() / spread
        curve = (old - x.mean()) * gain + y.mean()
        if float((curve[outside] - y).abs().mean()) > _STRANGE:
            return now
        edited_channels.append(curve)
    return torch.exp(torch.stack(edited_channels)).float().clamp(_DARKEST, 1.0)
