"""Text guidance by a CLIP: the embedded ``clip-mini``, or a model that open_clip knows by name.

Weights are read from safetensors, or by torch with ``weights_only=True``: files that could run code are refused.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from c2p_core import torchvision_ops
from c2p_core.accelerated import accelerate, move_network
from c2p_core.errors import ModelUnavailable, first_line
from c2p_core.faces.align import CANVAS
from c2p_core.faces.canonical import load_mean_face, warp_between_meshes
from c2p_core.guidance import clip_mini
from c2p_core.guidance.clip_name import MINI
from c2p_core.guidance.clip_weights import find_weights, read_torchscript
from c2p_core.guidance.vocabulary import NO_MAKEUP, TEMPLATES, parse
from c2p_core.losses import clip_loss

if TYPE_CHECKING:
    from c2p_core.models.store import ModelStore

# Left, top and side, in canvas pixels, of the square that the models see: the face without most of the background.
FACE = 32, 48, 192
# Side in pixels of the embedded model's input, on which every face is warped to the mean face.
MINI_SIDE = 96
# Prompt templates whose embeddings are averaged, the bare prompt among them.
_AVERAGED = TEMPLATES[:6]


def mean_face_grid(mesh: NDArray[np.float32], mean: NDArray[np.float32], margin: int = 0) -> Tensor:
    """Sampling grid that warps the square ``FACE`` of a face to the mean face: the embedded model's alignment.

    The model then only has to distinguish makeup, not the positions of mouths and eyes.

    Args:
        mesh: (468, 2) canvas pixels.
        mean: (468, 2) of the mean face.
        margin: additional pixels on every side.

    Returns:
        (MINI_SIDE + 2 * margin, MINI_SIDE + 2 * margin, 2) for ``grid_sample``.
    """
    points = _face_square(MINI_SIDE, margin)
    return _to_grid(
        torch.from_numpy(warp_between_meshes(mean, mesh, points.reshape(-1, 2).numpy())).reshape(points.shape)
    )


def _face_square(side: int, margin: int = 0) -> Tensor:
    """(S, S, 2) float64 canvas coordinates of the pixels of ``FACE``, S being side + 2 * margin."""
    left, top, extent = FACE
    centres = (torch.arange(-margin, side + margin, dtype=torch.float64) + 0.5) * (extent / side)
    y, x = torch.meshgrid(centres + top, centres + left, indexing="ij")
    return torch.stack([x, y], dim=-1)


def _to_grid(points: Tensor) -> Tensor:
    return (2.0 * points / CANVAS - 1.0).float()


class TextGuidance:
    """Rates pictures of faces, and changes of them, by a prompt.

    Pictures are (B, 3, 256, 256) float sRGB in 0..1 on the face canvas; gradients flow to them. Embeddings are (B, D).
    The model's input is sampled from the canvas by a grid; see ``sampling_grid``.

    Attributes:
        network: ``clip_mini.MiniClip`` or open_clip's model, on the device.
        pixel_mean: (3, 1, 1), subtracted from its input.
    """

    def __init__(
        self,
        store: ModelStore,
        device: torch.device,
        model: str = MINI,
        pretrained: str | None = None,
        *,
        recorded: bool = False,
    ) -> None:
        """Load a model.

        Args:
            store: has the embedded model's files.
            device: to compute on.
            model: "clip-mini" or an open_clip model name.
            pretrained: for other models, open_clip's tag or a file of weights.
            recorded: see ``accelerated.accelerate``.

        Raises:
            BadRequest: open_clip does not know the model, the tag or the kind of file.
            ModelUnavailable: the weights are missing, damaged or do not fit the model.
        """
        network, self._tokenize, self._size, (mean, std) = _load_network(store, model, pretrained)
        self._mean_face = load_mean_face(store.obtain("complexion")) if model == MINI else None
        self._device = device
        self.network = move_network(network, device)
        self._embed_prepared = accelerate(lambda x: self.network.encode_image(x, normalize=True), device, recorded)
        self.pixel_mean = torch.tensor(mean, device=device)[:, None, None]
        self._std = torch.tensor(std, device=device)[:, None, None]

    def sampling_grid(self, mesh: Tensor) -> Tensor:
        """(S, S, 2) grid for ``grid_sample`` that crops the model's input from the canvas, for a (468, 2) mesh.

        The embedded model's grid warps every face to the mean face; for other models it is a plain crop.
        """
        if self._mean_face is None:
            return _to_grid(_face_square(FACE[2])).to(self._device)
        return mean_face_grid(mesh.cpu().numpy(), self._mean_face).to(self._device)

    def embed(self, images: Tensor, grid: Tensor) -> Tensor:
        """Embed pictures, sampled by a grid of the face or by one for each, as unit vectors (B, D)."""
        grids = grid.expand(len(images), -1, -1, -1)
        face = F.grid_sample(images, grids, padding_mode="border", align_corners=False)
        if self._size[0] < face.shape[-2]:
            face = F.interpolate(face, self._size, mode="area")
        else:
            face = F.interpolate(face, self._size, mode="bicubic", align_corners=False).clamp(0, 1)
        return self._embed_prepared((face - self.pixel_mean) / self._std)

    def embed_text(self, prompt: str) -> Tensor:
        """Embed a prompt as a unit vector (D,), averaged over templates."""
        return F.normalize(self._embed_texts([template.format(prompt) for template in _AVERAGED]).mean(0), dim=0)

    def direction(self, prompt: str) -> Tensor:
        """Unit vector (D,) of the change of text from "no makeup" (from "heavy makeup" for no makeup) to the prompt."""
        start = "heavy makeup" if parse(prompt, random.Random(0)) == () else NO_MAKEUP
        return F.normalize(self.embed_text(prompt) - self.embed_text(start), dim=0)

    def loss(self, before: Tensor, after: Tensor, direction: Tensor, grid: Tensor) -> Tensor:
        """The directional loss, see ``losses.clip_loss``.

        Args:
            before: (B, D) embeddings of the unchanged pictures.
            after: (B, 3, 256, 256) the changed pictures.
            direction: (D,) unit vector of the change of text, see ``direction``.
            grid: of the face, see ``sampling_grid``.

        Returns:
            scalar.
        """
        return clip_loss(before, self.embed(after, grid), direction)

    def score(self, images: Tensor, prompt: str, grid: Tensor) -> Tensor:
        """Cosine similarity (B,) of each picture to the prompt."""
        return self.embed(images, grid) @ self.embed_text(prompt)

    @torch.no_grad()
    def _embed_texts(self, texts: Sequence[str]) -> Tensor:
        tokens = self._tokenize([text.lower() for text in texts]).to(self._device)
        embeddings: Tensor = self.network.encode_text(tokens, normalize=True)
        return embeddings


_Rgb = tuple[float, float, float]
_LoadedNetwork = tuple[Any, Any, tuple[int, int], tuple[_Rgb, _Rgb]]
"""A network, its tokenizer, height and width of its pictures in pixels, and their mean and standard deviation."""


def _load_network(store: ModelStore, model: str, pretrained: str | None) -> _LoadedNetwork:
    if model == MINI:
        return _load_mini(store)
    if pretrained is None:
        raise ModelUnavailable("text-model-without-weights", model=model)
    return _load_from_open_clip(store, model, pretrained)


def _load_mini(store: ModelStore) -> _LoadedNetwork:
    folder = store.obtain(MINI)
    weights = folder / f"{MINI}.safetensors"
    try:
        network, tokenize, side = clip_mini.load_mini_clip(folder / f"{MINI}.json", weights)
    except (ModelUnavailable, OSError, ValueError, KeyError) as error:
        raise _make_unreadable_error(MINI, weights, error) from error
    return network, tokenize, (side, side), (clip_mini.MEAN, clip_mini.STD)


def _load_from_open_clip(store: ModelStore, model: str, pretrained: str) -> _LoadedNetwork:
    torchvision_ops.define_missing_operators()
    import open_clip

    # For models of the manifest, licence and size were shown before fetching, and the hash is verified.
    serving = store.list_clip_models(f"{model}:{pretrained}")
    fetched = store.obtain(serving[0]) if serving else None
    weights = find_weights(model, pretrained, store.offline, fetched)
    try:
        # Only the hash of a fetched file is known.
        tensors = read_torchscript(weights.file) if weights.file == fetched else None
        network = open_clip.create_model(
            model,
            pretrained=None if tensors else str(weights.file),
            force_quick_gelu=weights.quick_gelu,
            force_preprocess_cfg=weights.preprocessing,
            weights_only=True,
        )
        if tensors:
            network.load_state_dict(tensors)
        tokenize = open_clip.get_tokenizer(model)
    except Exception as error:
        # For a malformed file open_clip and torch raise errors of many types: a missing key, another shape, a bad zip.
        raise _make_unreadable_error(model, weights.file, error) from error
    preprocess, size = network.visual.preprocess_cfg, network.visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return network, tokenize, (height, width), (tuple(preprocess["mean"]), tuple(preprocess["std"]))


def _make_unreadable_error(model: str, weights: Path, error: Exception) -> ModelUnavailable:
    return ModelUnavailable("text-model-unreadable", model=model, path=str(weights), reason=first_line(error))
