"""The makeup prior: products, learned complexion, relief, texture, grain and shape in one latent code.

It is anchored to the dense landmarks and independent of resolution: a change moves and multiplies the photo's own
pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.api import Part
from c2p_core.faces.align import CANVAS
from c2p_core.faces.canvas import CanvasFace, Change, gaussian_blur, upsample
from c2p_core.losses import latent_loss
from c2p_core.priors.complexion import Basis, load_basis
from c2p_core.priors.face_maps import CELLS
from c2p_core.priors.prior import Code, Rendered, Resources
from c2p_core.priors.renderer import LEARNING_RATES, FaceRenderer
from c2p_core.priors.strength import compute_strength_limits
from c2p_core.recent import Recent, digest

# Inverted faces that are kept for the next prompt, preview or search; each takes 26 MB.
_RECENT_CAPACITY = 2
_PATTERN_BLUR = 2.5  # cells; on smooth skin the edges of tone are visible rather than its depth


def load(resources: Resources) -> MakeupPrior:
    """The prior, kept between runs.

    Raises:
        ModelUnavailable: the learned complexion can't be had.
    """
    device = resources.device
    return resources.keep(
        ("makeup", device), lambda: MakeupPrior(load_basis(resources.store.obtain("complexion")), device)
    )


class MakeupPrior:
    """Builds the latent space of a face from the learned complexion."""

    name = "makeup"
    learning_rates: Mapping[str, float] = {**LEARNING_RATES, "complexion": 0.35}

    def __init__(self, basis: Basis, device: torch.device) -> None:
        self.basis = basis
        self.device = device
        self._recent: Recent[MakeupFace] = Recent(_RECENT_CAPACITY)

    def invert(
        self, face: CanvasFace, strength: float, keep_expression: bool = True, locks: Sequence[Part] = ()
    ) -> MakeupFace:
        """See ``Prior.invert``; the code of the unchanged face is 0 except for absent products."""
        key = digest(face.digest(), strength, keep_expression, tuple(locks))
        return self._recent.get(key, lambda: self._invert(face, strength, keep_expression, locks))

    def _invert(self, face: CanvasFace, strength: float, keep_expression: bool, locks: Sequence[Part]) -> MakeupFace:
        limits = compute_strength_limits(strength, keep_expression)
        renderer = FaceRenderer(face, self.basis.mesh.numpy(), limits, self.device, keep_expression, locks)
        return MakeupFace(renderer, _warp_patterns(self.basis, renderer.canonical).to(self.device))


class MakeupFace:
    """One face in the makeup prior's latent space (``priors.prior.InvertedFace``)."""

    learning_rates = MakeupPrior.learning_rates

    def __init__(self, renderer: FaceRenderer, patterns: Tensor) -> None:
        """Args:
        renderer: of the face.
        patterns: (K, cells, cells) learned patterns of light, warped to this face.
        """
        self.renderer = renderer
        self._patterns = patterns

    def preview(self, look: Tensor) -> Tensor:
        return self.renderer.preview(look)

    def with_look(self, look: Tensor) -> MakeupFace:
        return MakeupFace(self.renderer.with_look(look), self._patterns)

    def start(self) -> Code:
        code = self.renderer.start()
        return {"products": code.pop("products"), "complexion": self._patterns.new_zeros(len(self._patterns)), **code}

    def render(self, code: Code) -> Rendered:
        return self.renderer.render(self.renderer.displacement(code), self._compute_light(code), code)

    def latent_loss(self, code: Code, rendered: Rendered) -> Tensor:
        whitened = code["complexion"] / self.renderer.limits.mahalanobis
        return latent_loss([whitened], self.renderer.bending_energy(rendered.displacement))

    def visibility_penalty(self, rendered: Rendered) -> Tensor:
        return self.renderer.visibility_penalty(rendered)

    @torch.no_grad()
    def change(self, code: Code) -> Change:
        return self.renderer.change(self.renderer.displacement(code), self._compute_light(code), code)

    def _compute_light(self, code: Code) -> Tensor:
        """(256, 256) change of light, as density, by complexion, relief and texture."""
        return upsample(self._compute_complexion(code)[None])[0] + self.renderer.relief.light(code)

    def _compute_complexion(self, code: Code) -> Tensor:
        """(cells, cells) change of light, as density, by complexion."""
        limits = self.renderer.limits
        whitened = code["complexion"]
        length = whitened.norm() / len(whitened) ** 0.5
        whitened = whitened * (limits.mahalanobis / torch.clamp(length, min=limits.mahalanobis))
        light = torch.einsum("k,khw->hw", whitened, self._patterns) * limits.complexion
        return self.renderer.smooth(light)


def _warp_patterns(basis: Basis, canonical: np.ndarray) -> Tensor:
    """Warp the learned patterns to a face: (K, cells, cells) change of light.

    Their hues and edges are removed: on a single face both look like blotches rather than light.
    """
    grid = torch.from_numpy(2 * canonical / CANVAS - 1).reshape(1, CELLS, CELLS, 2)
    light = basis.components.mean(1)[None]
    warped = F.grid_sample(light, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    return gaussian_blur(warped, _PATTERN_BLUR)
