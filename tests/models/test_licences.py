"""What is said of the licences of the models that a result was made with."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2p_core.errors import Message
from c2p_core.models.licences import list_generator_warnings, list_licence_warnings, list_used_generators
from c2p_core.models.store import ModelStore


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


def test_models_for_research_only_are_named_and_no_others(models: ModelStore) -> None:
    used = ["mobileface", "irse50", "onnx:file.onnx", "e4e-ffhq", "facenet"]
    assert list_licence_warnings(models, used) == [Message("research-models-used", names=["e4e-ffhq", "irse50"])]
    assert list_licence_warnings(models, ["mobileface", "facenet", "onnx:file.onnx"]) == []


def test_the_manifest_says_which_model_serves_a_value_of_clip(models: ModelStore) -> None:
    assert models.list_clip_models("ViT-B-32:openai") == ("clip-openai",)
    assert models.list_clip_models("clip-mini") == models.list_clip_models("ViT-L-14:openai") == ()


def test_the_licence_of_the_users_own_generator_is_left_to_the_user(models: ModelStore, tmp_path: Path) -> None:
    assert list_generator_warnings(models) == []
    (tmp_path / "stylegan2").mkdir()
    for name in ("generator.pt", "encoder.pt"):
        (tmp_path / "stylegan2" / name).touch()
    assert list_generator_warnings(models) == [Message("own-generator-used", files=["encoder.pt", "generator.pt"])]
    assert list_used_generators(models, "e4e-ffhq") == ()


def test_a_generator_that_was_fetched_keeps_its_licence_beside_an_encoder_of_the_users(
    models: ModelStore, tmp_path: Path
) -> None:
    assert list_used_generators(models, None) == ("stylegan2-mini",)
    assert list_used_generators(models, "e4e-ffhq") == ("e4e-ffhq",)
    for folder, name in (("stylegan2-ffhq-nvidia", "ffhq.pkl"), ("stylegan2", "encoder.pt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    assert list_used_generators(models, None) == ("stylegan2-ffhq-nvidia",)
