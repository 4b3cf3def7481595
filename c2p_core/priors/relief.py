"""Relief and texture: deepens or softens the face's own light and shade in frequency bands."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from c2p_core.colour import LUMINANCE
from c2p_core.faces import regions as face_regions
from c2p_core.faces.canvas import gaussian_blur, upsample
from c2p_core.priors.face_maps import CELLS
from c2p_core.priors.prior import Code
from c2p_core.priors.shape import SIZE

# Share of relief's limit up to which shade may be deepened: broad shade, and folds or lines.
_DEEPEN, _DEEPEN_FOLDS = 0.5, 0.15
_FOLD_BANDS = 3  # bands of relief, from the finest, in which dark lines are folds
# Gains are blurred by this many cells, or strong codes would make plateaus with sharp edges.
_GAIN_BLUR = 3.0
RELIEF_BANDS = (1.0, 2.0, 4.0, 8.0, 16.0)  # canvas px, Gaussian widths between which the face's own relief is split
# The number of bands, from the finest, that are texture: too fine to make spots, its gain may vary from cell to cell,
# up to this multiple of relief's limit.
TEXTURE_BANDS = 2
_TEXTURE = 1.5
_TEXTURE_BLUR = 1.0  # cells
# Amplitude in optical density, per band, below which light and shade are hardly deepened, only softened: noise, JPEG
# blocks and stains are this faint, and invisible until deepened. The amplitude is averaged over this multiple of a
# band's width.
_FAINT = (0.03, 0.08, 0.12, 0.0)
_FAINT_WITHIN = 1.2
# Optical density from which on fine relief is a line, a fold or a hair rather than texture; it is not deepened further.
_LINE = 0.12


class Relief:
    """The relief of one face; immutable."""

    def __init__(self, linear: Tensor, skin: np.ndarray, mesh: np.ndarray, controls: Tensor, limit: float) -> None:
        """Args:
        linear: (3, 256, 256) linear light of the face.
        skin: (256, 256) mask of skin.
        mesh: (468, 2) canvas pixels.
        controls: (cells * cells, SIZE) weights of the control points, see ``shape.control_weights``.
        limit: maximum gain, as a factor minus one.
        """
        self._controls = controls
        self._limit = limit
        self._bands = _split_bands(linear, skin)
        self._visibility = _measure_visibility(self._bands)
        folds = (self._bands > 0) & (torch.arange(len(self._bands), device=linear.device) < _FOLD_BANDS)[:, None, None]
        self._deepen = torch.where(folds, _DEEPEN_FOLDS, _DEEPEN)
        not_brows = torch.from_numpy(face_regions.ramp(-face_regions.brows_distance(mesh), -8.0, -3.0)).to(self._bands)
        self.texture = not_brows * _LINE * torch.tanh(self._bands[:TEXTURE_BANDS] / _LINE)
        """(TEXTURE_BANDS, 256, 256) density of the face's texture, as far as it may be changed."""

    def start(self) -> Code:
        """The code that does not change relief and texture."""
        zeros = self._controls.new_zeros
        return {"relief": zeros(len(RELIEF_BANDS) - 1, SIZE), "texture": zeros(TEXTURE_BANDS, CELLS, CELLS)}

    def light(self, code: Code) -> Tensor:
        """Compute the (256, 256) change of light, as density, of a code's relief and texture.

        Texture scales what relief leaves, so that both together never invert light and shade.
        """
        deeper, deepening = self._relief_gain(code["relief"]), self._visibility * self._deepen
        remaining = 1.0 + deeper[:TEXTURE_BANDS].clamp(-1.0, 0.0)
        rougher = upsample(self._texture_gain(code["texture"])) * remaining
        return _apply_gain(deeper, self._bands, deepening) + _apply_gain(
            rougher, self.texture, deepening[:TEXTURE_BANDS]
        )

    def _relief_gain(self, code: Tensor) -> Tensor:
        """(bands, 256, 256) gain of relief: deepens above 0, softens below."""
        gain = torch.tanh(code @ self._controls.T).reshape(-1, CELLS, CELLS)
        return upsample(self._limit * gaussian_blur(gain, _GAIN_BLUR))

    def _texture_gain(self, code: Tensor) -> Tensor:
        """(TEXTURE_BANDS, cells, cells) gain of texture: roughens above 0, smooths below."""
        rougher = _TEXTURE * self._limit
        gain = torch.tanh(code)
        return gaussian_blur(gain.clamp(min=0.0) * rougher + gain.clamp(max=0.0) * min(1.0, rougher), _TEXTURE_BLUR)


def _split_bands(linear: Tensor, skin: np.ndarray) -> Tensor:
    """Split the face's density into (bands, 256, 256) between neighbouring Gaussian widths.

    Blurring is weighted by the skin mask: dark hair beside the skin is not relief of the face.
    """
    luminance = (linear * LUMINANCE.to(linear)[:, None, None]).sum(0).clamp(min=2e-3)
    depth = -torch.log(luminance).cpu().numpy()
    weight = np.maximum(skin, 1e-3)
    blurred = [gaussian_filter(depth * weight, w) / gaussian_filter(weight, w) for w in RELIEF_BANDS]
    bands = [fine - coarse for fine, coarse in pairwise(blurred)]
    return torch.from_numpy(np.stack(bands).astype(np.float32)).to(linear)


def _measure_visibility(bands: Tensor) -> Tensor:
    """(bands, 256, 256) visibility 0..1 of the relief: 0.5 where its amplitude nearby equals ``_FAINT``."""
    squared, widths = bands.square().cpu().numpy(), RELIEF_BANDS[1:]
    energy = [gaussian_filter(band, _FAINT_WITHIN * width) for band, width in zip(squared, widths, strict=True)]
    local_energy = torch.from_numpy(np.stack(energy)).to(bands) + 1e-9
    return local_energy / (local_energy + bands.new_tensor(_FAINT)[:, None, None].square())


def _apply_gain(gain: Tensor, relief: Tensor, deepening: Tensor) -> Tensor:
    """Apply (bands, 256, 256) gains: negative ones soften relief, positive ones deepen it where it is visible."""
    return ((gain.clamp(min=0.0) * deepening + gain.clamp(max=0.0)) * relief).sum(0)
