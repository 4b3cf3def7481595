"""Text guidance by any open_clip model: the embedded ``clip-mini`` or a name that open_clip knows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core import torchvision_ops
from c2p_core.errors import ModelUnavailable
from c2p_core.guidance.vocabulary import NO_MAKEUP, TEMPLATES, PromptReading, parse, read_prompt

if TYPE_CHECKING:
    from c2p_core.models.store import ModelStore

MINI = "clip-mini"
# Rows and columns of the 256 px canvas that a model sees: the face without most of the background.
FACE = slice(48, 240), slice(32, 224)
# Templates whose embeddings are averaged; "{}" alone counts as one.
_AVERAGED = TEMPLATES[:6]
# Changes of the embedding below this length have no direction worth following yet.
_SMALLEST_CHANGE = 0.03


class TextGuidance:
    """Scores pictures of faces, and changes to them, against a prompt.

    Pictures are (B, 3, 256, 256) float sRGB in 0..1 on the face canvas; gradients flow to them. Embeddings are (B, D).
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
        self._device = device
        self._model = network.eval().requires_grad_(False).to(device)
        preprocess = self._model.visual.preprocess_cfg
        size = self._model.visual.image_size
        self._size = (size, size) if isinstance(size, int) else tuple(size)
        self._mean = torch.tensor(preprocess["mean"], device=device)[:, None, None]
        self._std = torch.tensor(preprocess["std"], device=device)[:, None, None]

    def read_prompt(self, prompt: str) -> PromptReading:
        """Known and unknown words of a prompt (``vocabulary.read_prompt``)."""
        return read_prompt(prompt)

    def embed(self, images: Tensor) -> Tensor:
        """Unit image embeddings (B, D)."""
        rows, columns = FACE
        face = images[..., rows, columns]
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

    def loss(self, before: Tensor, after: Tensor, direction: Tensor) -> Tensor:
        """Directional loss (StyleGAN-NADA, CLIP2Protect): 1 - cosine of the picture's change and the words', averaged.

        Args:
            before: (B, D) embeddings of the unchanged pictures.
            after: (B, 3, 256, 256) the changed pictures.
            direction: (D,) of the words, see ``direction``.

        Returns:
            scalar: 1 without any change, 0 when the picture changes exactly as the words say, at most 2.
        """
        change = self.embed(after) - before
        length = torch.sqrt((change * change).sum(1) + _SMALLEST_CHANGE**2)
        return (1.0 - change @ direction / length).mean()

    def score(self, images: Tensor, prompt: str) -> Tensor:
        """Cosine (B,) of each picture and the prompt."""
        return self.embed(images) @ self.text(prompt)

    @torch.no_grad()
    def _texts(self, texts: Sequence[str]) -> Tensor:
        tokens = self._tokenize([text.lower() for text in texts]).to(self._device)
        made: Tensor = self._model.encode_text(tokens, normalize=True)
        return made


def _load(store: ModelStore, model: str, pretrained: str | None) -> tuple[Any, Any]:
    torchvision_ops.ensure()
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
