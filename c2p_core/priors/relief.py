"""Relief and texture: the face's own light and shade, deepened or softened, band by band."""

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

# How much of relief's limit may deepen shade: half of it where it is broad, little where it is a fold or a line.
_DEEPEN, _DEEPEN_FOLDS = 0.5, 0.15
_FOLD_BANDS = 3  # bands of relief, from the finest, in which dark lines are folds
# Gains are blurred by this many cells, or a strong code would make plateaus with edges between them.
_GAIN_BLUR = 3.0
RELIEF_BANDS = (1.0, 2.0, 4.0, 8.0, 16.0)  # canvas px, Gaussian widths between which the face's own relief is split
# How many of these bands, from the finest, are texture: too fine to make spots, it may change from cell to cell, and by
# so many times the limit of relief.
TEXTURE_BANDS = 2
_TEXTURE = 1.5
_TEXTURE_BLUR = 1.0  # cells
# Optical density, per band of relief, below which the face's own light and shade are hardly deepened, only softened: so
# faint are noise, blocks of JPEG and stains, which nobody sees until they are deepened. And over how many widths of a
# band they are judged.
_FAINT = (0.03, 0.08, 0.12, 0.0)
_FAINT_WITHIN = 1.2
# Optical density from which on fine relief is a line, a fold or a hair, and no texture: it is not deepened further.
_LINE = 0.12


class Relief:
    """The relief of one face; never changed once it is made."""

    def __init__(self, linear: Tensor, skin: np.ndarray, mesh: np.ndarray, controls: Tensor, limit: float) -> None:
        """Args:
        linear: (3, 256, 256) linear light of the face.
        skin: (256, 256) 1 on skin.
        mesh: (468, 2) canvas pixels.
        controls: (cells * cells, SIZE) weights of the control points, see ``shape.control_weights``.
        limit: the most that relief is softened, as a factor minus one.
        """
        self._controls = controls
        self._limit = limit
        self._bands = _bands(linear, skin)
        self._plain = _plain(self._bands)
        folds = (self._bands > 0) & (torch.arange(len(self._bands), device=linear.device) < _FOLD_BANDS)[:, None, None]
        self._deepen = torch.where(folds, _DEEPEN_FOLDS, _DEEPEN)
        bare = torch.from_numpy(face_regions.ramp(-face_regions.brows_distance(mesh), -8.0, -3.0)).to(self._bands)
        self.texture = bare * _LINE * torch.tanh(self._bands[:TEXTURE_BANDS] / _LINE)
        """(TEXTURE_BANDS, 256, 256) density of the face's own texture, as far as it may be changed."""

    def start(self) -> Code:
        """The code that leaves relief and texture as they are."""
        zeros = self._controls.new_zeros
        return {"relief": zeros(len(RELIEF_BANDS) - 1, SIZE), "texture": zeros(TEXTURE_BANDS, CELLS, CELLS)}

    def light(self, code: Code) -> Tensor:
        """(256, 256) change of light that deepens or softens the face's own, by the code's relief and texture.

        Texture changes what relief leaves, so that the two together never turn light into shade.
        """
        deeper, plain = self._relief_gain(code["relief"]), self._plain * self._deepen
        left = 1.0 + deeper[:TEXTURE_BANDS].clamp(-1.0, 0.0)
        rougher = upsample(self._texture_gain(code["texture"])) * left
        return _deepened(deeper, self._bands, plain) + _deepened(rougher, self.texture, plain[:TEXTURE_BANDS])

    def _relief_gain(self, code: Tensor) -> Tensor:
        """(bands, 256, 256) how much the face's own light and shade are deepened, or softened below 0."""
        gain = torch.tanh(code @ self._controls.T).reshape(-1, CELLS, CELLS)
        return upsample(self._limit * gaussian_blur(gain, _GAIN_BLUR))

    def _texture_gain(self, code: Tensor) -> Tensor:
        """(TEXTURE_BANDS, cells, cells) how much the face's own texture is roughened, or smoothed below 0."""
        rougher = _TEXTURE * self._limit
        gain = torch.tanh(code)
        return gaussian_blur(gain.clamp(min=0.0) * rougher + gain.clamp(max=0.0) * min(1.0, rougher), _TEXTURE_BLUR)


def _bands(linear: Tensor, skin: np.ndarray) -> Tensor:
    """(bands, 256, 256) the face's own relief: its density between neighbouring Gaussian widths.

    Blurring sees skin only: what lies beside it, such as dark hair, is no relief of the face.
    """
    luminance = (linear * LUMINANCE.to(linear)[:, None, None]).sum(0).clamp(min=2e-3)
    depth = -torch.log(luminance).cpu().numpy()
    weight = np.maximum(skin, 1e-3)
    blurred = [gaussian_filter(depth * weight, w) / gaussian_filter(weight, w) for w in RELIEF_BANDS]
    bands = [fine - coarse for fine, coarse in pairwise(blurred)]
    return torch.from_numpy(np.stack(bands).astype(np.float32)).to(linear)


def _plain(bands: Tensor) -> Tensor:
    """(bands, 256, 256) how plain to see the relief is, 0..1, half where it is as strong nearby as ``_FAINT``."""
    squared, widths = bands.square().cpu().numpy(), RELIEF_BANDS[1:]
    energy = [gaussian_filter(band, _FAINT_WITHIN * width) for band, width in zip(squared, widths, strict=True)]
    near = torch.from_numpy(np.stack(energy)).to(bands) + 1e-9
    return near / (near + bands.new_tensor(_FAINT)[:, None, None].square())


def _deepened(gain: Tensor, relief: Tensor, plain: Tensor) -> Tensor:
    """(256, 256) change of light by (bands, 256, 256) gains: below 0 all relief is softened, above what is plain."""
    return ((gain.clamp(min=0.0) * plain + gain.clamp(max=0.0)) * relief).sum(0)
