"""Text guidance by any open_clip model: the embedded ``clip-mini`` or a name that open_clip knows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from c2p_core import torchvision_ops
from c2p_core.errors import ModelUnavailable
from c2p_core.faces.align import CANVAS
from c2p_core.faces.canonical import load_mean_face, warp_between_meshes
from c2p_core.guidance.vocabulary import NO_MAKEUP, TEMPLATES, parse
from c2p_core.losses import clip_loss

if TYPE_CHECKING:
    from c2p_core.models.store import ModelStore

MINI = "clip-mini"
# Left, top and side, in canvas pixels, of what a model sees: the face without most of the background.
FACE = 32, 48, 192
# Side, in pixels, of the picture of the mean face to which the embedded model has every face carried.
MINI_SIDE = 96
# Templates whose embeddings are averaged; "{}" alone counts as one.
_AVERAGED = TEMPLATES[:6]


def mean_face_grid(mesh: NDArray[np.float32], mean: NDArray[np.float32], margin: int = 0) -> Tensor:
    """Where on its canvas a face has what the mean face has in ``FACE``: the embedded model's own alignment.

    Only makeup is left for the model to tell apart, not where this face's mouth lies.

    Args:
        mesh: (468, 2) canvas pixels.
        mean: (468, 2) of the mean face.
        margin: pixels more on every side.

    Returns:
        (MINI_SIDE + 2 * margin, the same, 2) as ``grid_sample`` takes it.
    """
    places = _square(MINI_SIDE, margin)
    return _as_grid(
        torch.from_numpy(warp_between_meshes(mean, mesh, places.reshape(-1, 2).numpy())).reshape(places.shape)
    )


def _square(side: int, margin: int = 0) -> Tensor:
    """(side + 2 * margin, the same, 2) float64 canvas coordinates of the pixels of ``FACE`` and of a margin."""
    left, top, extent = FACE
    centres = (torch.arange(-margin, side + margin, dtype=torch.float64) + 0.5) * (extent / side)
    y, x = torch.meshgrid(centres + top, centres + left, indexing="ij")
    return torch.stack([x, y], dim=-1)


def _as_grid(places: Tensor) -> Tensor:
    return (2.0 * places / CANVAS - 1.0).float()


class TextGuidance:
    """Scores pictures of faces, and changes to them, against a prompt.

    Pictures are (B, 3, 256, 256) float sRGB in 0..1 on the face canvas; gradients flow to them. Embeddings are (B, D).
    A frame says where on the canvas the model looks; see ``frame``.
    """

    def __init__(
        self, store: ModelStore, device: torch.device, model: str = MINI, pretrained: str | None = None
    ) -> None:
        """Load a model.

        Args:
            store: gives the embedded model's files.
            device: where to compute.
            model: "clip-mini" or an open_clip model name.
            pretrained: for other models open_clip's tag or a file of weights.

        Raises:
            ModelUnavailable: the weights are not there or do not fit the model.
        """
        network, self._tokenize = _load(store, model, pretrained)
        self._mean_face = load_mean_face(store.path("complexion")) if model == MINI else None
        self._device = device
        self._model = network.eval().requires_grad_(False).to(device)
        preprocess = self._model.visual.preprocess_cfg
        size = self._model.visual.image_size
        self._size = (size, size) if isinstance(size, int) else tuple(size)
        self._mean = torch.tensor(preprocess["mean"], device=device)[:, None, None]
        self._std = torch.tensor(preprocess["std"], device=device)[:, None, None]

    def frame(self, mesh: Tensor) -> Tensor:
        """(S, S, 2), as ``grid_sample`` takes it: what the model sees of a face with this (468, 2) mesh on its canvas.

        The embedded model sees every face carried to the mean face, others see the canvas as it is.
        """
        if self._mean_face is None:
            return _as_grid(_square(FACE[2])).to(self._device)
        return mean_face_grid(mesh.cpu().numpy(), self._mean_face).to(self._device)

    def embed(self, images: Tensor, frame: Tensor) -> Tensor:
        """Unit image embeddings (B, D)."""
        grid = frame.expand(len(images), -1, -1, -1)
        face = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        if self._size[0] < face.shape[-2]:
            face = F.interpolate(face, self._size, mode="area")
        else:
            face = F.interpolate(face, self._size, mode="bicubic", align_corners=False).clamp(0, 1)
        made: Tensor = self._model.encode_image((face - self._mean) / self._std, normalize=True)
        return made

    def text(self, prompt: str) -> Tensor:
        """Unit text embedding (D,), templates averaged."""
        return F.normalize(self._texts([template.format(prompt) for template in _AVERAGED]).mean(0), dim=0)

    def direction(self, prompt: str) -> Tensor:
        """Unit direction (D,) from "no makeup" to the prompt; from heavy makeup when the prompt asks for none."""
        start = "heavy makeup" if parse(prompt, random.Random(0)) == () else NO_MAKEUP
        return F.normalize(self.text(prompt) - self.text(start), dim=0)

    def loss(self, before: Tensor, after: Tensor, direction: Tensor, frame: Tensor) -> Tensor:
        """The directional loss, see ``losses.clip_loss``.

        Args:
            before: (B, D) embeddings of the unchanged pictures.
            after: (B, 3, 256, 256) the changed pictures.
            direction: (D,) of the words, see ``direction``.
            frame: of the face.

        Returns:
            scalar.
        """
        return clip_loss(before, self.embed(after, frame), direction)

    def score(self, images: Tensor, prompt: str, frame: Tensor) -> Tensor:
        """Cosine (B,) of each picture and the prompt."""
        return self.embed(images, frame) @ self.text(prompt)

    @torch.no_grad()
    def _texts(self, texts: Sequence[str]) -> Tensor:
        tokens = self._tokenize([text.lower() for text in texts]).to(self._device)
        made: Tensor = self._model.encode_text(tokens, normalize=True)
        return made


def _load(store: ModelStore, model: str, pretrained: str | None) -> tuple[Any, Any]:
    torchvision_ops.define_missing_operators()
    import open_clip
    from safetensors import SafetensorError

    if model == MINI:
        folder = store.path(MINI)
        open_clip.add_model_config(folder / f"{MINI}.json")
        pretrained = str(folder / f"{MINI}.safetensors")
    elif pretrained is None:
        raise ModelUnavailable(f"The text model {model} needs a set of weights; name an open_clip tag or a file.")
    try:
        network = open_clip.create_model(model, pretrained=pretrained, weights_only=True)
    except (RuntimeError, OSError, ValueError, SafetensorError) as error:
        raise ModelUnavailable(f"The text model {model} could not be loaded ({error}); fetch it again.") from error
    return network, open_clip.get_tokenizer(model)
