"""Recognisers of the package frbench, from a cache like the one that it keeps, with random weights in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from c2p_core import torchvision_ops
from c2p_core.errors import BadRequest, ModelUnavailable
from c2p_core.models.files import compute_hash
from c2p_core.models.store import ModelStore
from c2p_core.recognition import load_network, load_recognisers, user_recogniser_loader
from c2p_core.recognition.alignment import five_point_template
from c2p_core.recognition.frbench_recogniser import Frbench
from tests.error_assertions import raising

MODEL = "mobilefacenet_arcface_ms1m"
CPU = torch.device("cpu")
SETTINGS = """
backbone: {name: mobilefacenet-plain, kwargs: {num_features: 64}}
input: {size: [112, 112], mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25], channel: bgr}
"""


def make_network() -> torch.nn.Module:
    """The network of the model, as the package makes it."""
    torchvision_ops.define_missing_operators()
    from frbench.backbones import build_backbone

    network: torch.nn.Module = build_backbone("mobilefacenet-plain", {"num_features": 64}, CPU)
    return network


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one model. The package reaches no network."""
    folder = tmp_path / "cache"
    (folder / MODEL).mkdir(parents=True)
    monkeypatch.setenv("FRBENCH_CACHE", str(folder))
    monkeypatch.setenv("FRBENCH_CONFIG", str(tmp_path / "config.json"))

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    contents = {"config": "config.yaml", "weight": "weight.pth"}
    entries = {
        name: {"asset_name": f"{name}.tar.gz", "target_name": name, "contents": contents}
        for name in (MODEL, "irse-50_arcface_ms1m", "retinaface_mobilenetv1")
    }
    (folder / "manifest.json").write_text(json.dumps(entries))
    (folder / MODEL / "config.yaml").write_text(SETTINGS)
    torch.manual_seed(0)
    torch.save(make_network().state_dict(), folder / MODEL / "weight.pth")
    return folder


def chips() -> torch.Tensor:
    return torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))


def test_descriptors_equal_those_of_the_network_on_the_preprocessed_picture(cache: Path) -> None:
    network = make_network()
    network.load_state_dict(torch.load(cache / MODEL / "weight.pth", weights_only=True))
    expected = network.eval()((chips().flip(1) - 0.5) / 0.25)
    torch.testing.assert_close(Frbench(MODEL, offline=True)(chips()), expected, atol=1e-4, rtol=1e-4)


def test_faces_are_aligned_as_the_package_aligns_them(cache: Path) -> None:
    template, expected = Frbench(MODEL, offline=True).template, five_point_template(112, 1.0)
    assert (template.size, template.mesh) == (expected.size, expected.mesh)
    torch.testing.assert_close(torch.tensor(template.points), torch.tensor(expected.points), atol=1e-3, rtol=0)


def test_gradients_reach_the_picture(cache: Path) -> None:
    loaded = load_network(f"frbench:{MODEL}", ModelStore(cache / "store", offline=True), CPU)
    pictures = chips().requires_grad_()
    (gradient,) = torch.autograd.grad(loaded.network(pictures).square().sum(), pictures)
    assert float(gradient.abs().sum()) > 0
    assert not any(weight.requires_grad for weight in loaded.network.parameters())


def test_it_is_one_more_recogniser_with_thresholds_of_its_weights(cache: Path) -> None:
    store = ModelStore(cache / "store", offline=True)
    with raising(ModelUnavailable, "brought-without-threshold", name=f"frbench:{MODEL}"):
        load_recognisers([f"frbench:{MODEL}"], store, CPU)
    (recogniser,) = load_recognisers([f"frbench:{MODEL}?threshold=0.3"], store, CPU)
    assert (recogniser.name, recogniser.family, recogniser.licence) == (f"frbench:{MODEL}", "mobilefacenet", "MIT")
    assert (recogniser.far1, recogniser.judges_only) == (0.3, None)
    key = load_network(f"frbench:{MODEL}", store, CPU).key
    assert key == f"frbench:{MODEL}@{compute_hash(cache / MODEL / 'weight.pth')}"


def test_an_unknown_model_is_refused_and_the_known_ones_are_listed(cache: Path) -> None:
    with raising(BadRequest, "frbench-unknown", known=["irse-50_arcface_ms1m", MODEL]):
        Frbench("irse-51_arcface_ms1m", offline=False)


@pytest.mark.parametrize("lacking", ["model", "list"])
def test_offline_nothing_is_fetched(cache: Path, lacking: str) -> None:
    if lacking == "list":
        (cache / "manifest.json").unlink()
    with raising(ModelUnavailable, "frbench-offline", model="irse-50_arcface_ms1m"):
        Frbench("irse-50_arcface_ms1m", offline=True)


def test_damaged_weights_are_refused_and_not_run(cache: Path) -> None:
    (cache / MODEL / "weight.pth").write_bytes(b"cos\nsystem\n(S'exit 3'\ntR.")
    with raising(ModelUnavailable, "frbench-unavailable", model=MODEL):
        Frbench(MODEL, offline=True)


def test_its_networks_keep_the_layout_that_their_code_takes_for_granted(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign_flags: list[bool] = []

    def note(network: Frbench, device: torch.device, *, foreign: bool = False) -> Frbench:
        foreign_flags.append(foreign)
        return network

    monkeypatch.setattr(user_recogniser_loader, "move_network", note)
    load_network(f"frbench:{MODEL}", ModelStore(tmp_path, offline=True), CPU)
    assert foreign_flags == [True]
