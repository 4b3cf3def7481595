from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import pytest
import skimage.data
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.faces import find_faces
from c2p_core.faces.align import align, crop_canvas, transform_points
from c2p_core.faces.landmarks import to_tensor
from c2p_core.io.colour_profiles import to_srgb
from c2p_core.models.store import ModelStore, bundle_dir
from c2p_core.photo import Photo
from c2p_core.recognition import Recogniser, list_known_recognisers, list_recognisers, load_recognisers
from c2p_core.recognition.decoys import list_decoy_warnings, load_decoys, nearest_decoy
from c2p_core.recognition.thresholds import read_thresholds
from tests.error_assertions import raising

CPU = torch.device("cpu")
RECOGNISERS = list_recognisers(ModelStore(offline=True))


@cache
def astronaut() -> tuple[torch.Tensor, torch.Tensor]:
    """Canvas (1, 3, 256, 256) and mesh (1, 468, 2) of scikit-image's astronaut."""
    photo = Photo(skimage.data.astronaut())
    face = find_faces(photo, ModelStore(offline=True))[0]
    alignment = align(face.mesh, face.eye_distance)
    mesh = transform_points(alignment.to_canvas, face.mesh)
    return crop_canvas(to_tensor(to_srgb(photo)), alignment)[None], torch.from_numpy(mesh)[None]


@cache
def recogniser(name: str) -> Recogniser:
    return load_recognisers([name], ModelStore(offline=True), CPU)[0]


@pytest.fixture
def bare(tmp_path: Path) -> ModelStore:
    """A store as the installation leaves it: nothing was ever fetched."""
    return ModelStore(tmp_path, offline=True)


@pytest.fixture
def incomplete(tmp_path: Path) -> ModelStore:
    """A store that lacks the files of two recognisers."""
    bundle = tmp_path / "bundle"
    shutil.copytree(bundle_dir() / "mini", bundle / "mini", ignore=shutil.ignore_patterns("*mini.*", "complexion.*"))
    lacking = shutil.ignore_patterns("faceres-deep.safetensors", "mobileface.safetensors")
    shutil.copytree(bundle_dir() / "models", bundle / "models", ignore=lacking)
    shutil.copy(bundle_dir() / "manifest.toml", bundle)
    return ModelStore(tmp_path / "fetched", offline=True, bundle=bundle)


@pytest.mark.parametrize("name", RECOGNISERS)
def test_embeddings_are_unit_vectors_of_each_picture_alone(name: str) -> None:
    image, mesh = astronaut()
    embed = recogniser(name).embed
    embeddings = embed(torch.cat([image, image.flip(2)]), mesh.expand(2, -1, -1))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(embeddings[:1], embed(image, mesh), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", RECOGNISERS)
def test_the_same_face_in_a_worse_picture_is_recognised(name: str) -> None:
    image, mesh = astronaut()
    small = F.interpolate(image, (110, 110), mode="bilinear", antialias=True)
    worse = F.interpolate(small, (256, 256), mode="bilinear") ** 1.2
    loaded = recogniser(name)
    assert float((loaded.embed(image, mesh) * loaded.embed(worse, mesh + 0.5)).sum()) > loaded.far01


@pytest.mark.parametrize("name", RECOGNISERS)
def test_gradients_say_how_the_similarity_changes(name: str) -> None:
    image, mesh = astronaut()
    embed = recogniser(name).embed
    original = embed(image, mesh)
    darker = (image**1.5).requires_grad_()
    (gradient,) = torch.autograd.grad((embed(darker, mesh) * original).sum(), darker)
    step = 1e-4 * gradient / gradient.square().mean().sqrt()
    with torch.no_grad():
        up, down = ((embed(darker + sign * step, mesh) * original).sum() for sign in (1, -1))
    assert float((gradient * step).sum()) == pytest.approx(float(up - down) / 2, rel=0.1)


def test_every_recogniser_ships_with_the_program(bare: ModelStore) -> None:
    warnings: list[Message] = []
    assert tuple(loaded.name for loaded in load_recognisers("auto", bare, CPU, warnings)) == RECOGNISERS
    assert warnings == []


def test_auto_skips_unavailable_recognisers_with_a_warning(incomplete: ModelStore) -> None:
    warnings: list[Message] = []
    loaded = load_recognisers("auto", incomplete, CPU, warnings)
    assert [r.name for r in loaded] == ["dlib-resnet", "faceres", "mobilefacenet", "mobilenet"]
    reported = [(warning.code, warning.fields["name"], warning.fields["why"].code) for warning in warnings]
    assert reported == [("recogniser-left-out", name, "model-missing") for name in ("faceres-deep", "mobileface")]


def test_an_unavailable_named_recogniser_is_an_error(incomplete: ModelStore) -> None:
    with raising(ModelUnavailable, "model-missing", name="mobileface"):
        load_recognisers(["dlib-resnet", "mobileface"], incomplete, CPU)


def test_recognisers_with_the_same_loss_are_held_out_together(bare: ModelStore) -> None:
    assert {bare.entry(name).family for name in ("mobilefacenet", "mobilenet")} == {"arcface"}


def test_the_error_for_an_unknown_recogniser_names_the_known_ones(bare: ModelStore) -> None:
    with raising(BadRequest, "recogniser-unknown", name="arcface", known=list(list_known_recognisers(bare))):
        load_recognisers(["arcface"], bare, CPU)


def test_a_recogniser_named_twice_is_loaded_once(bare: ModelStore) -> None:
    assert len(load_recognisers(["dlib-resnet", "dlib-resnet"], bare, CPU)) == 1


def test_every_recogniser_has_ordered_thresholds_that_hold_on_other_faces(bare: ModelStore) -> None:
    path = bare.obtain("thresholds")
    for name, thresholds in read_thresholds(path).items():
        assert thresholds.impostor_mean < thresholds.far1 < thresholds.far01 < 1
        checked = json.loads(path.read_text())["recognisers"][name]["sources"]["synthetic"]
        assert 0.005 < checked["val_rate_at_far1"] < 0.02
    assert set(read_thresholds(path)) == set(RECOGNISERS)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recognisers": {"a": {"far1": "high"}}}'])
def test_damaged_thresholds_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "thresholds.json").write_text(text)
    with raising(ModelUnavailable, "thresholds-unreadable"):
        read_thresholds(tmp_path / "thresholds.json")


def test_decoys_are_different_people_for_every_recogniser(bare: ModelStore) -> None:
    recognisers = [recogniser(name) for name in RECOGNISERS]
    decoys = load_decoys(bare.obtain("decoys"), recognisers, CPU)
    assert len(decoys) == 16
    for r in recognisers:
        people = torch.stack([decoy[r.name] for decoy in decoys])
        assert float((people @ people.T).fill_diagonal_(-1).max()) < r.far1


def test_damaged_decoys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "decoys.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      short")
    with raising(ModelUnavailable, "decoys-unreadable"):
        load_decoys(tmp_path / "decoys.safetensors", [], CPU)


def test_a_recogniser_without_decoy_embeddings_is_named_and_ignored(tmp_path: Path) -> None:
    save_file({"mobileface": torch.eye(3)}, tmp_path / "decoys.safetensors")
    recognisers = [recogniser("mobileface"), recogniser("dlib-resnet")]
    decoys = load_decoys(tmp_path / "decoys.safetensors", recognisers, CPU)
    assert [list(decoy) for decoy in decoys] == [["mobileface"]] * 3
    assert list_decoy_warnings(recognisers, decoys) == [Message("recogniser-without-decoys", name="dlib-resnet")]
    embeddings = {"mobileface": torch.tensor([0.0, 1.0, 0.0]), "dlib-resnet": torch.ones(2)}
    assert torch.equal(nearest_decoy(embeddings, decoys)["mobileface"], embeddings["mobileface"])


def test_without_any_decoys_there_is_no_nearest_decoy(tmp_path: Path) -> None:
    save_file({"another": torch.eye(3)}, tmp_path / "decoys.safetensors")
    decoys = load_decoys(tmp_path / "decoys.safetensors", [recogniser("dlib-resnet")], CPU)
    assert nearest_decoy({"dlib-resnet": torch.ones(2)}, decoys) == {}
