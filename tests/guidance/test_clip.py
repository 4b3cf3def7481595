"""Text guidance through open_clip, on a model with random weights: what holds for any model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from c2p_core import torchvision_ops
from c2p_core.errors import ModelUnavailable
from c2p_core.faces.canonical import load_mean_face
from c2p_core.guidance.clip import FACE, TextGuidance
from c2p_core.models.store import ModelStore
from tests.error_assertions import raising

torchvision_ops.define_missing_operators()
import open_clip  # noqa: E402
from open_clip.model import CLIP  # noqa: E402

COMPLEXION = Path(__file__).parents[2] / "bundle" / "mini" / "complexion.safetensors"
MEAN_FACE = torch.from_numpy(load_mean_face(COMPLEXION))
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 48,
        "patch_size": 24,
        "width": 32,
        "layers": 1,
        "head_width": 16,
        "pool_type": "avg",
        "no_ln_pre": True,
    },
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


class Store:
    """Stands for a model store that has the embedded model in a folder; the mean face is the real one."""

    offline = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def obtain(self, name: str) -> Path:
        return COMPLEXION if name == "complexion" else self.folder

    def list_clip_models(self, clip: str) -> tuple[str, ...]:
        return ()


def store_with(folder: Path) -> ModelStore:
    return cast(ModelStore, Store(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_folder = tmp_path_factory.mktemp("mini")
    torch.manual_seed(0)
    arguments: dict[str, Any] = CONFIG
    (model_folder / "clip-mini.json").write_text(json.dumps(CONFIG))
    save_file(CLIP(**arguments).state_dict(), model_folder / "clip-mini.safetensors")
    return model_folder


@pytest.fixture(scope="module")
def guidance(folder: Path) -> TextGuidance:
    return TextGuidance(store_with(folder), torch.device("cpu"))


@pytest.fixture(scope="module")
def grid(guidance: TextGuidance) -> Tensor:
    return guidance.sampling_grid(MEAN_FACE)


def pictures(count: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 256, 256, generator=torch.Generator().manual_seed(seed))


def test_embeddings_are_those_of_open_clips_own_preprocessing(
    guidance: TextGuidance, grid: Tensor, folder: Path
) -> None:
    # Even colours: resizing methods agree on them, so that only range and normalisation are compared.
    colour = (200, 40, 90)
    open_clip.add_model_config(folder / "clip-mini.json")
    model, _, preprocess = open_clip.create_model_and_transforms(
        "clip-mini", pretrained=str(folder / "clip-mini.safetensors")
    )
    with torch.no_grad():
        expected = model.eval().encode_image(preprocess(Image.new("RGB", (192, 192), colour))[None], normalize=True)
    actual = guidance.embed((torch.tensor(colour) / 255)[None, :, None, None].expand(1, 3, 256, 256), grid)
    assert torch.allclose(actual, expected, atol=1e-5)


def test_pixels_outside_the_face_do_not_matter(guidance: TextGuidance, grid: Tensor) -> None:
    image = pictures()
    changed = image.clone()
    left, top, side = FACE
    changed[:, :, : top - 4] = 0
    changed[:, :, :, left + side + 4 :] = 0
    assert torch.equal(guidance.embed(image, grid), guidance.embed(changed, grid))


def test_the_embedded_model_sees_the_face_warped_to_the_mean_face(guidance: TextGuidance, grid: Tensor) -> None:
    image = pictures()
    elsewhere = guidance.sampling_grid(MEAN_FACE + torch.tensor([6.0, 4.0]))
    embedding = guidance.embed(torch.roll(image, (4, 6), dims=(2, 3)), elsewhere)
    assert torch.allclose(embedding, guidance.embed(image, grid), atol=1e-4)


def test_other_models_see_the_face_unwarped(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path)
    weights = str(folder / "clip-mini.safetensors")
    guidance = TextGuidance(store_with(folder), torch.device("cpu"), "other-clip", weights)
    image = pictures()
    left, top, side = FACE
    sampled = F.grid_sample(image, guidance.sampling_grid(MEAN_FACE)[None], align_corners=False)
    assert torch.allclose(sampled, image[..., top : top + side, left : left + side], atol=1e-4)


def test_a_direction_is_a_unit_vector(guidance: TextGuidance) -> None:
    assert float(guidance.direction("red lipstick").norm()) == pytest.approx(1.0, abs=1e-5)


def test_no_makeup_has_a_direction_too(guidance: TextGuidance) -> None:
    assert float(guidance.direction("no makeup").norm()) == pytest.approx(1.0, abs=1e-5)


def test_capitals_do_not_matter(guidance: TextGuidance) -> None:
    assert torch.equal(guidance.embed_text("Red Lipstick"), guidance.embed_text("red lipstick"))


def test_the_loss_of_an_unchanged_picture_is_one(guidance: TextGuidance, grid: Tensor) -> None:
    image, direction = pictures(2), guidance.direction("red lipstick")
    assert float(guidance.loss(guidance.embed(image, grid), image, direction, grid)) == pytest.approx(1.0)


def test_the_loss_falls_along_its_gradient(guidance: TextGuidance, grid: Tensor) -> None:
    picture, direction = pictures(), guidance.direction("red lipstick")
    before = guidance.embed(picture, grid)
    change = torch.zeros_like(picture).requires_grad_()
    for _ in range(10):
        loss = guidance.loss(before, picture + change, direction, grid)
        (gradient,) = torch.autograd.grad(loss, change)
        change = (change - 0.02 * gradient.sign()).detach().requires_grad_()
    assert float(guidance.loss(before, picture + change.detach(), direction, grid)) < 0.9


def test_the_score_is_the_cosine_of_picture_and_text(guidance: TextGuidance, grid: Tensor) -> None:
    images = pictures(3)
    scores = guidance.score(images, "gothic", grid)
    assert torch.allclose(scores, guidance.embed(images, grid) @ guidance.embed_text("gothic"))
    assert scores.shape == (3,)


def test_a_damaged_file_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "clip-mini.json").write_text((folder / "clip-mini.json").read_text())
    (tmp_path / "clip-mini.safetensors").write_bytes((folder / "clip-mini.safetensors").read_bytes()[:1000])
    with raising(ModelUnavailable, "text-model-unreadable", model="clip-mini"):
        TextGuidance(store_with(tmp_path), torch.device("cpu"))


def test_another_model_without_weights_is_refused(folder: Path) -> None:
    with raising(ModelUnavailable, "text-model-without-weights", model="ViT-B-32"):
        TextGuidance(store_with(folder), torch.device("cpu"), model="ViT-B-32")
