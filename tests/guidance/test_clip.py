"""Text guidance through open_clip, on a model with random weights: what holds for any model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from c2p_core import torchvision_ops
from c2p_core.errors import ModelUnavailable
from c2p_core.guidance.clip import FACE, TextGuidance
from c2p_core.models.store import ModelStore

torchvision_ops.ensure()
import open_clip  # noqa: E402
from open_clip.model import CLIP  # noqa: E402

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 48, "patch_size": 24, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


class Store:
    """Stands for a model store that has the embedded model in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder


def store_with(folder: Path) -> ModelStore:
    return cast(ModelStore, Store(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mini")
    torch.manual_seed(0)
    arguments: dict[str, Any] = CONFIG
    (made / "clip-mini.json").write_text(json.dumps(CONFIG))
    save_file(CLIP(**arguments).state_dict(), made / "clip-mini.safetensors")
    return made


@pytest.fixture(scope="module")
def guidance(folder: Path) -> TextGuidance:
    return TextGuidance(store_with(folder), torch.device("cpu"))


def pictures(count: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 256, 256, generator=torch.Generator().manual_seed(seed))


def test_embeddings_are_those_of_open_clips_own_preprocessing(guidance: TextGuidance, folder: Path) -> None:
    # Even colours: resizing methods agree on them, so that only range and normalisation are compared.
    colour = (200, 40, 90)
    model, _, preprocess = open_clip.create_model_and_transforms(
        "clip-mini", pretrained=str(folder / "clip-mini.safetensors")
    )
    with torch.no_grad():
        theirs = model.eval().encode_image(preprocess(Image.new("RGB", (192, 192), colour))[None], normalize=True)
    ours = guidance.embed((torch.tensor(colour) / 255)[None, :, None, None].expand(1, 3, 256, 256))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_only_the_face_is_looked_at(guidance: TextGuidance) -> None:
    image = pictures()
    other = image.clone()
    rows, columns = FACE
    other[:, :, : rows.start] = 0
    other[:, :, :, columns.stop :] = 0
    assert torch.equal(guidance.embed(image), guidance.embed(other))


def test_a_direction_is_a_unit_vector(guidance: TextGuidance) -> None:
    assert float(guidance.direction("red lipstick").norm()) == pytest.approx(1.0, abs=1e-5)


def test_no_makeup_has_a_direction_too(guidance: TextGuidance) -> None:
    assert float(guidance.direction("no makeup").norm()) == pytest.approx(1.0, abs=1e-5)


def test_capitals_do_not_matter(guidance: TextGuidance) -> None:
    assert torch.equal(guidance.text("Red Lipstick"), guidance.text("red lipstick"))


def test_an_unchanged_picture_has_the_loss_of_no_direction(guidance: TextGuidance) -> None:
    image = pictures(2)
    assert float(guidance.loss(guidance.embed(image), image, guidance.direction("red lipstick"))) == pytest.approx(1.0)


def test_the_loss_falls_along_its_gradient(guidance: TextGuidance) -> None:
    picture, direction = pictures(), guidance.direction("red lipstick")
    before = guidance.embed(picture)
    change = torch.zeros_like(picture).requires_grad_()
    for _ in range(10):
        loss = guidance.loss(before, picture + change, direction)
        (gradient,) = torch.autograd.grad(loss, change)
        change = (change - 0.02 * gradient.sign()).detach().requires_grad_()
    assert float(guidance.loss(before, picture + change.detach(), direction)) < 0.9


def test_a_score_is_the_cosine_of_picture_and_words(guidance: TextGuidance) -> None:
    images = pictures(3)
    scores = guidance.score(images, "gothic")
    assert torch.allclose(scores, guidance.embed(images) @ guidance.text("gothic"))
    assert scores.shape == (3,)


def test_a_broken_file_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "clip-mini.json").write_text((folder / "clip-mini.json").read_text())
    (tmp_path / "clip-mini.safetensors").write_bytes((folder / "clip-mini.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        TextGuidance(store_with(tmp_path), torch.device("cpu"))


def test_another_model_needs_named_weights(folder: Path) -> None:
    with pytest.raises(ModelUnavailable, match="ViT-B-32"):
        TextGuidance(store_with(folder), torch.device("cpu"), model="ViT-B-32")
