"""What an earlier protection has bent: it is not bent again, and the whole goes no farther from the original.

Landmarks of the protected photo and of its original, each found anew, tell how far a face was moved and where.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.faces.align import CANVAS_EYE_DISTANCE
from c2p_core.faces.canonical import cell_centres, warp_between_meshes
from c2p_core.faces.canvas import warp_points

# Canvas px: landmarks found anew move by up to the first when only light and colour change; from the second on a place
# counts as bent.
_NOISE, _BENT = 0.3, 0.9
_NO_ROOM = 1e-6  # canvas px


@dataclass(frozen=True)
class Room:
    """What is left of the limit of a face's movement.

    Attributes:
        mesh: (468, 2) canvas pixels.
        left: mean movement of the landmarks, in canvas pixels; more than 0.
    """

    mesh: Tensor
    left: float

    def to(self, device: torch.device) -> Room:
        return Room(self.mesh.to(device), self.left)

    def confine(self, displacement: Tensor) -> Tensor:
        """Scale a (2, n, n) displacement down to what is left."""
        moved = (warp_points(displacement, self.mesh) - self.mesh).norm(dim=1).mean()
        return displacement * (self.left / moved.clamp(min=self.left))


def measure_room(mesh: NDArray[np.float32], origin: NDArray[np.float32], limit: float) -> Room:
    """Measure what is left of a limit; what was moved and what will be never add up to more than it.

    Args:
        mesh: (468, 2) canvas pixels, landmarks now.
        origin: the same in the original.
        limit: of the mean distance of the landmarks from the original, in eye distances.
    """
    moved = float(np.linalg.norm(mesh - origin, axis=1).mean())
    return Room(torch.from_numpy(mesh), max(_NO_ROOM, limit * CANVAS_EYE_DISTANCE - moved))


def find_bent(mesh: NDArray[np.float32], origin: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """(cells * cells,) map of where a face is bent already, from 0 to 1; arguments as ``measure_room``."""
    centres = cell_centres(cells)
    moved = np.linalg.norm(warp_between_meshes(mesh, origin, centres) - centres, axis=1)
    return np.asarray(np.clip((moved - _NOISE) / (_BENT - _NOISE), 0.0, 1.0), dtype=np.float32)
