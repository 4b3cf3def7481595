"""468-point face mesh by MediaPipe's face_landmark model (tflite, run by ai-edge-litert).

Source: Kartynnik et al., Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs, CVPRW 2019.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.faces.align import LEFT_EYE, RIGHT_EYE, crop, transform_points

if TYPE_CHECKING:
    from c2p_core.faces.view import View

POINTS = 468
_INPUT = 192
# The model was trained on crops 1.5 times the size of the face.
_MARGIN = 1.5
# Height of a face mesh in eye-to-mouth distances, for a first estimate from the five points.
_HEIGHT_IN_EYE_TO_MOUTH = 2.6
_PASSES = 3
# The crop follows the mesh, and the mesh depends on the crop: undamped, the iteration oscillates forever. Damped by
# half it converges in about ten passes, to within a hundredth of a pixel from any starting point.
_DAMPING = 0.5
_SETTLING_PASSES = 12
_CONVERGED = 1e-4  # movement per pass, as a share of the crop's side


class FaceMesh:
    """Fits the mesh of a face, given a rough estimate of five points or of the mesh."""

    def __init__(self, model: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(str(model), num_threads=1)
        self._interpreter.allocate_tensors()
        # The interpreter is not thread-safe, and a batch detects the faces of the next photo during a search.
        self._lock = threading.Lock()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._mesh, self._presence = (d["index"] for d in self._interpreter.get_output_details())

    def __call__(self, photo: Tensor | View, five: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Fit the mesh, starting from five approximate points.

        Args:
            photo: (3, H, W) float sRGB 0..1, or the view of a photo.
            five: (5, 2) eyes, nose, mouth corners in photo pixels, image left before right.

        Returns:
            (468, 3) points in photo pixels (z grows away from the viewer, same scale), and the model's confidence 0..1
            that there is a face.
        """
        eyes, mouth = five[:2].mean(0), five[3:5].mean(0)
        # Yaw foreshortens the eye line, pitch the distance to the mouth: the longer one is closer to the true size.
        size = max(float(np.linalg.norm(eyes - mouth)), 1.05 * float(np.linalg.norm(five[1] - five[0])))
        to_photo = _square((eyes + mouth) / 2, size * _HEIGHT_IN_EYE_TO_MOUTH * _MARGIN, five[0], five[1])
        for _ in range(_PASSES):
            mesh, presence = self._run(photo, to_photo)
            to_photo = _square_around(mesh)
        return mesh, presence

    def settle(self, photo: Tensor | View, mesh: NDArray[np.floating]) -> tuple[NDArray[np.float32], float]:
        """Fit the mesh until it converges; the result hardly depends on the estimate.

        Args:
            photo: (3, H, W) float sRGB 0..1, or the view of a photo.
            mesh: the estimate, (468, 2) or (468, 3) points in photo pixels.

        Returns:
            (468, 3) points and confidence, as from ``__call__``.
        """
        to_photo = _square_around(mesh)
        for _ in range(_SETTLING_PASSES):
            settled, presence = self._run(photo, to_photo)
            step = _DAMPING * (_square_around(settled) - to_photo)
            to_photo = to_photo + step
            # Upper bound of the movement of any point of the crop, in photo pixels.
            moved = np.abs(step[:, :2]).sum() * _INPUT + np.abs(step[:, 2]).sum()
            if moved < _CONVERGED * _INPUT * math.hypot(to_photo[0, 0], to_photo[1, 0]):
                break
        return settled, presence

    def _run(self, photo: Tensor | View, to_photo: NDArray[np.float64]) -> tuple[NDArray[np.float32], float]:
        square = crop(photo, to_photo, _INPUT).clamp(0, 1).permute(1, 2, 0)[None].contiguous()
        with self._lock:
            self._interpreter.set_tensor(self._input, square.cpu().numpy().astype(np.float32))
            self._interpreter.invoke()
            raw = self._interpreter.get_tensor(self._mesh).reshape(POINTS, 3)
            flag = float(self._interpreter.get_tensor(self._presence).ravel()[0])
        scale = math.hypot(to_photo[0, 0], to_photo[1, 0])
        mesh = np.concatenate([transform_points(to_photo, raw[:, :2]), raw[:, 2:] * scale], axis=1).astype(np.float32)
        return mesh, 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, flag))))


def _rotation(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.float64]:
    angle = math.atan2(right[1] - left[1], right[0] - left[0])
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _square_around(mesh: NDArray[np.floating]) -> NDArray[np.float64]:
    """(2, 3) map from the model's input to the photo: an upright square around the face."""
    left, right = mesh[list(LEFT_EYE), :2].mean(0), mesh[list(RIGHT_EYE), :2].mean(0)
    rotation = _rotation(left, right)
    level = mesh[:, :2] @ rotation
    low, high = level.min(0), level.max(0)
    return _square(rotation @ ((low + high) / 2), float((high - low).max()) * _MARGIN, left, right)


def _square(
    centre: NDArray[np.floating], side: float, left: NDArray[np.floating], right: NDArray[np.floating]
) -> NDArray[np.float64]:
    linear = _rotation(left, right) * (side / _INPUT)
    shift = centre - linear @ np.array([_INPUT / 2, _INPUT / 2])
    return np.concatenate([linear, shift[:, None]], axis=1)


def eye_distance(mesh: NDArray[np.float32]) -> float:
    """Distance of the eye centres of a (468, 3) mesh in 3D, which does not change when the head turns."""
    return float(np.linalg.norm(mesh[list(RIGHT_EYE)].mean(0) - mesh[list(LEFT_EYE)].mean(0)))


def to_tensor(rgb: NDArray[np.float32]) -> Tensor:
    """Turn a (H, W, 3) float32 array into a (3, H, W) tensor that shares its memory."""
    return torch.from_numpy(rgb).permute(2, 0, 1)
