"""The embedded text model: open_clip's CLIP in its size, and nothing else of open_clip.

Importing open_clip takes longer than importing torch: it brings torchvision, torch's compiler and timm. Modules and
their order are those of open_clip, so that embeddings are the same to the last bit.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2p_core.models.weights import load_weights

Tokenize = Callable[[Sequence[str]], Tensor]
"""Texts to (B, context length) int64 tokens."""

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that CLIP models are trained on, in RGB."""


class _Block(nn.Module):
    """A residual block: attention and a perceptron, each after a normalisation."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        layers = {"c_fc": nn.Linear(width, 4 * width), "gelu": nn.GELU(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential()
        for name, layer in layers.items():
            self.mlp.add_module(name, layer)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        normalised = self.ln_1(x)
        x = x + self.attn(normalised, normalised, normalised, need_weights=False, attn_mask=mask)[0]
        result: Tensor = x + self.mlp(self.ln_2(x))
        return result


class _Transformer(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class _Vision(nn.Module):
    """(B, 3, side, side) to (B, D): a vision transformer whose patches are averaged."""

    def __init__(self, settings: dict[str, Any], dimensions: int) -> None:
        super().__init__()
        side, patch, width = settings["image_size"], settings["patch_size"], settings["width"]
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty((side // patch) ** 2 + 1, width))
        self.transformer = _Transformer(width, width // settings["head_width"], settings["layers"])
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, dimensions))

    def forward(self, pictures: Tensor) -> Tensor:
        patches = self.conv1(pictures)
        patches = patches.reshape(*patches.shape[:2], -1).permute(0, 2, 1)
        whole = self.class_embedding.view(1, 1, -1).expand(len(patches), -1, -1).to(patches.dtype)
        x = torch.cat([whole, patches], dim=1) + self.positional_embedding.to(patches.dtype)
        x = self.ln_post(self.transformer(x))
        features: Tensor = x[:, 1:].mean(dim=1) @ self.proj
        return features


class MiniClip(nn.Module):
    """The network; its methods are those of open_clip's models."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """``settings``: content of ``clip-mini.json``, in the form of open_clip's model configurations."""
        super().__init__()
        dimensions, text = settings["embed_dim"], settings["text_cfg"]
        length, width = text["context_length"], text["width"]
        self.visual = _Vision(settings["vision_cfg"], dimensions)
        self.transformer = _Transformer(width, text["heads"], text["layers"])
        self.token_embedding = nn.Embedding(text["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.empty(length, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, dimensions))
        self.logit_scale = nn.Parameter(torch.empty(()))  # of the training
        self.register_buffer("_mask", torch.full((length, length), float("-inf")).triu_(1), persistent=False)

    def encode_image(self, pictures: Tensor, normalize: bool = False) -> Tensor:
        """(B, 3, side, side) pictures, normalised by ``MEAN`` and ``STD``, to (B, D)."""
        features: Tensor = self.visual(pictures)
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """(B, context length) tokens to (B, D)."""
        x = self.token_embedding(tokens) + self.positional_embedding
        x = self.ln_final(self.transformer(x, self._mask))
        # The end of a text has the highest number of all tokens.
        features = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)] @ self.text_projection
        return F.normalize(features, dim=-1) if normalize else features


def load_mini_clip(configuration: Path, weights: Path) -> tuple[MiniClip, Tokenize, int]:
    """Load the network, its tokenizer and the side in pixels of its pictures.

    Raises:
        ModelUnavailable: the weights are missing or damaged.
        OSError, ValueError, KeyError: the configuration is.
    """
    settings = json.loads(configuration.read_text(encoding="utf-8"))
    network = load_weights(MiniClip(settings), weights)
    return network, _load_tokenizer(settings["text_cfg"]["context_length"]), settings["vision_cfg"]["image_size"]


def _load_tokenizer(length: int) -> Tokenize:
    """open_clip's tokenizer, from its file alone."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0], "tokenizer.py")
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda texts: cast(Tensor, module.tokenize(list(texts), length))
