"""Between a face on its canvas and the mean face, so that what was learned on many faces lands in the right place.

The mean face lives on a canvas of its own (the same size and coordinates as ``faces.align``); a thin-plate spline
through the 468 mesh points carries each face there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from c2p_core.faces.align import CANVAS

# Neighbouring mesh points disagree by about a pixel; a spline forced through all of them would ripple.
_SMOOTHING = 20.0
# Half of the points carry the shape; the spline's cost grows with their cube.
_EVERY = 2


def load_mean_face(path: Path) -> NDArray[np.float32]:
    """(468, 2) canvas pixels: the mesh of ``complexion.safetensors`` without its patterns, which take memory."""
    with safe_open(path, "pt") as file:
        mesh: Tensor = file.get_tensor("mesh")
    return mesh.float().numpy()


def cell_centres(cells: int) -> NDArray[np.float64]:
    """(cells * cells, 2) canvas coordinates of the centres of a square grid laid over the canvas, row by row."""
    centres = (np.arange(cells) + 0.5) * (CANVAS / cells)
    gx, gy = np.meshgrid(centres, centres)
    return np.stack([gx.ravel(), gy.ravel()], axis=1)


def warp_between_meshes(
    source: NDArray[np.float32], target: NDArray[np.float32], points: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Where ``points`` lie after the smooth deformation that takes one mesh to another.

    Args:
        source: (468, 2) mesh.
        target: (468, 2) mesh.
        points: (N, 2).

    Returns:
        (N, 2) float32.
    """
    spline = RBFInterpolator(
        source[::_EVERY].astype(np.float64),
        target[::_EVERY].astype(np.float64),
        kernel="thin_plate_spline",
        smoothing=_SMOOTHING,
    )
    return np.asarray(spline(points), dtype=np.float32)
