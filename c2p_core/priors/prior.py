"""What every generative prior offers the optimiser, which knows none of them by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from c2p_core.faces.canvas import CanvasFace, Change

Code = dict[str, Tensor]
"""A latent code in named parts, each free to move without bounds; the prior's own limits make it a face."""


@dataclass(frozen=True)
class Rendered:
    """A code's picture, and what was done to the face to get it; differentiable.

    Attributes:
        pixels: (3, 256, 256) sRGB 0..1.
        displacement: (2, h, w) canvas pixels, over the whole canvas, as in ``Change``.
        density: (3, 256, 256) optical density added before the pixels moved, products included.
    """

    pixels: Tensor
    displacement: Tensor
    density: Tensor


class InvertedFace(Protocol):
    """One face as the prior sees it; never changed once it is made."""

    @property
    def learning_rates(self) -> Mapping[str, float]:
        """The parts that a code of this prior may have, and Adam's learning rate for each."""

    def preview(self, look: Tensor) -> Tensor:
        """(3, 256, 256) sRGB of the face in a look, a product code (``products``), with nothing else changed."""

    def with_look(self, look: Tensor) -> InvertedFace:
        """The same face in a look: the search starts from it, and its visibility costs nothing."""

    def start(self) -> Code:
        """The code of the face as it is, but for its look: the search starts here."""

    def render(self, code: Code) -> Rendered:
        """The code's picture, differentiable."""

    def latent_loss(self, code: Code, rendered: Rendered) -> Tensor:
        """Scalar: how unlikely the code is under the prior (``losses.latent_loss``)."""

    def visibility_penalty(self, rendered: Rendered) -> Tensor:
        """Scalar: by how much the change is more visible than the strength allows (``losses.visibility_penalty``)."""

    def change(self, code: Code) -> Change:
        """The same as ``render``, but for a photo of any size."""


class Prior(Protocol):
    """A generative model of what may be done to a face."""

    @property
    def name(self) -> str:
        """As in a request."""

    @property
    def label(self) -> str:
        """For people, in plain English."""

    @property
    def learning_rates(self) -> Mapping[str, float]:
        """See ``InvertedFace.learning_rates``."""

    def invert(self, face: CanvasFace, strength: float, keep_expression: bool = True) -> InvertedFace:
        """The face's own place in the latent space, with limits that follow ``strength`` 0..1.

        ``keep_expression`` says whether brows, lips, nose and jaw are held to their form (``priors.expression``); the
        eyes keep still either way.
        """
