"""The embedded text model is the one that open_clip makes of its configuration and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from c2p_core import torchvision_ops
from c2p_core.guidance.clip_mini import MEAN, STD, MiniClip, Tokenize, load_mini_clip

MINI = Path(__file__).resolve().parents[2] / "bundle" / "mini"
TEXTS = ["a photo of red lipstick", "Smoky EYES & “wing” … " * 20, ""]


@pytest.fixture(scope="module")
def ours() -> tuple[MiniClip, Tokenize, int]:
    return load_mini_clip(MINI / "clip-mini.json", MINI / "clip-mini.safetensors")


@pytest.fixture(scope="module")
def theirs() -> Any:
    torchvision_ops.define_missing_operators()
    import open_clip

    open_clip.add_model_config(MINI / "clip-mini.json")
    weights = str(MINI / "clip-mini.safetensors")
    return open_clip.create_model("clip-mini", pretrained=weights, weights_only=True).eval().requires_grad_(False)


def test_tokens_and_embeddings_of_texts_are_the_same(ours: tuple[MiniClip, Tokenize, int], theirs: Any) -> None:
    import open_clip

    network, tokenize, _ = ours
    tokens = tokenize(TEXTS)
    assert torch.equal(tokens, open_clip.get_tokenizer("clip-mini")(TEXTS))
    assert torch.equal(network.encode_text(tokens, normalize=True), theirs.encode_text(tokens, normalize=True))


@pytest.mark.parametrize("count", [1, 3])
def test_embeddings_of_pictures_and_their_gradients_are_the_same(
    ours: tuple[MiniClip, Tokenize, int], theirs: Any, count: int
) -> None:
    network, _, side = ours
    pictures = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    embeddings, gradients = [], []
    for model in (network, theirs):
        leaf = pictures.clone().requires_grad_()
        embedding = model.encode_image(leaf, normalize=True)
        embeddings.append(embedding)
        gradients += torch.autograd.grad(embedding.square()[:, ::3].sum(), [leaf])
    assert torch.equal(*embeddings) and torch.equal(*gradients)


def test_pictures_are_prepared_as_by_open_clip(ours: tuple[MiniClip, Tokenize, int], theirs: Any) -> None:
    assert theirs.visual.preprocess_cfg.items() >= {"mean": MEAN, "std": STD}.items()
    assert theirs.visual.image_size == (ours[2], ours[2])
