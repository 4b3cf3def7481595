"""The interface between generative priors and the search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from c2p_core.api import Part
from c2p_core.errors import Message
from c2p_core.faces.canvas import CanvasFace, Change
from c2p_core.models.store import ModelStore
from c2p_core.priors.inversion_cache import Inversions

_Loaded = TypeVar("_Loaded")

Code = dict[str, Tensor]
"""A latent code in named, unconstrained parts; the prior applies its limits when it renders."""


@dataclass(frozen=True)
class Rendered:
    """The picture of a code, with the fields that produced it; differentiable.

    Attributes:
        pixels: (3, 256, 256) sRGB 0..1.
        displacement: (2, h, w) canvas pixels, over the whole canvas, as in ``Change``.
        density: (3, 256, 256) optical density added before the pixels moved, products included.
    """

    pixels: Tensor
    displacement: Tensor
    density: Tensor


class InvertedFace(Protocol):
    """One face in the prior's latent space; immutable."""

    @property
    def learning_rates(self) -> Mapping[str, float]:
        """Adam's learning rate for each part that a code of this prior may have."""

    def preview(self, look: Tensor) -> Tensor:
        """Render the face with a look (a product code, see ``products.codes``) and no other change.

        Returns:
            (3, 256, 256) sRGB.
        """

    def with_look(self, look: Tensor) -> InvertedFace:
        """The same face with a look: the search starts from it, and the visibility penalty ignores it."""

    def start(self) -> Code:
        """The initial code of the search: the unchanged face apart from its look."""

    def render(self, code: Code) -> Rendered:
        """Render a code; differentiable."""

    def latent_loss(self, code: Code, rendered: Rendered) -> Tensor:
        """Scalar: how unlikely the code is under the prior (``losses.latent_loss``)."""

    def visibility_penalty(self, rendered: Rendered) -> Tensor:
        """Scalar: by how much the change is more visible than the strength allows (``losses.visibility_penalty``)."""

    def change(self, code: Code) -> Change:
        """The change that ``render`` shows, for a photo of any size."""


class Prior(Protocol):
    """A generative model of changes of faces."""

    @property
    def name(self) -> str:
        """Its name in requests."""

    @property
    def learning_rates(self) -> Mapping[str, float]:
        """See ``InvertedFace.learning_rates``."""

    def invert(
        self, face: CanvasFace, strength: float, keep_expression: bool = True, locks: Sequence[Part] = ()
    ) -> InvertedFace:
        """Invert a face into the latent space.

        Args:
            face: unchanged, on its canvas.
            strength: 0..1, sets the limits of the change.
            keep_expression: whether brows, lips, nose and jaw keep their shape (``priors.expression``); the eyes do not
                move in either case.
            locks: parts that do not move at all (``priors.locks``).
        """


class Keep(Protocol):
    """Keeps loaded objects between runs."""

    def __call__(self, key: tuple[object, ...], load: Callable[[], _Loaded], source: object = None) -> _Loaded:
        """Return the object loaded before for ``key`` from the same ``source``, or call ``load``."""


@dataclass(frozen=True)
class Resources:
    """Argument of the ``load`` of a prior's module, which returns the ``Prior``.

    Attributes:
        store: has the models' files.
        device: to compute on.
        keep: keeps networks between runs.
        inversions: cache of inverted faces.
        free_noise: see `c2p_core.api.ProtectRequest`.
        warn: called with messages for the user.
        on_inversion_step: called before each step of an inversion with its number and their count; may raise to end it.
        generator: name of the model with the generator and its encoder; None for the user's own or the shipped one.
        recorded: whether the run records the work of networks on the graphics card, see ``accelerated.accelerate``.
    """

    store: ModelStore
    device: torch.device
    keep: Keep
    inversions: Inversions
    free_noise: bool
    warn: Callable[[Message], None]
    on_inversion_step: Callable[[int, int], None]
    generator: str | None = None
    recorded: bool = False
