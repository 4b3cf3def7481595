"""The mean face, and the warp between it and a face on its canvas.

Learned models are defined on the mean face, which has a canvas of its own (same size and coordinates as in
``faces.align``). A thin-plate spline through the 468 mesh points maps each face to it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from c2p_core.faces.align import CANVAS

# Neighbouring mesh points have errors of about a pixel; a spline forced through all of them would ripple.
_SMOOTHING = 20.0
# Every second point describes the shape well enough; the spline's cost grows with the cube of their number.
_EVERY = 2


def load_mean_face(path: Path) -> NDArray[np.float32]:
    """Load the (468, 2) mesh of ``complexion.safetensors``, in canvas pixels, without the large patterns."""
    with safe_open(path, "pt") as file:
        mesh: Tensor = file.get_tensor("mesh")
    return mesh.float().numpy()


def cell_centres(cells: int) -> NDArray[np.float64]:
    """(cells * cells, 2) canvas coordinates of the cell centres of a square grid over the canvas, row by row."""
    centres = (np.arange(cells) + 0.5) * (CANVAS / cells)
    gx, gy = np.meshgrid(centres, centres)
    return np.stack([gx.ravel(), gy.ravel()], axis=1)


def warp_between_meshes(
    source: NDArray[np.float32], target: NDArray[np.float32], points: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Map points by the smooth deformation that takes one mesh to another.

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
