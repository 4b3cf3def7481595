"""The plain loop computes the same as the product's, and both are timed with the product's networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.suites import fullsize
from benchmarks.suites.fullsize import Networks, build_networks, measure, synthesise_plainly
from c2p_core import torchvision_ops
from c2p_core.accelerated import Forward
from c2p_core.faces.canvas import CanvasFace
from c2p_core.models.store import ModelStore
from c2p_core.priors.stylegan2 import Encoder, EncoderShape, Generator, GeneratorShape
from c2p_core.recognition.ir152 import TEMPLATE
from c2p_core.recognition.mobileface_amt import MobileFaceNet

CPU = torch.device("cpu")


class Clip(nn.Module):
    """A text model with only an image encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3, 512)

    def encode_image(self, pictures: torch.Tensor, normalize: bool) -> torch.Tensor:
        features: torch.Tensor = self.dense(pictures.mean((2, 3)))
        return nn.functional.normalize(features) if normalize else features


def freeze(network: Any) -> Any:
    return network.eval().requires_grad_(False)


def test_the_plain_loop_synthesises_the_same_picture() -> None:
    torch.manual_seed(0)
    generator = Generator(GeneratorShape((8, 8, 6), style=8, mapping=1))
    for layer in generator.styled_layers():
        layer.noise_strength.data.fill_(0.2)
    codes = torch.randn(2, 6, 8)
    with torch.no_grad():
        assert torch.allclose(synthesise_plainly(generator, codes), generator(codes), atol=1e-4)


def test_networks_run_as_in_the_product_and_memory_is_measured_for_each_loop(
    astronaut_canvas: CanvasFace, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = GeneratorShape((16, 16, 8, 8), style=16, mapping=1)
    networks = Networks(
        freeze(Generator(shape)),
        freeze(Encoder(EncoderShape(shape.codes, 16, 32, (16, 20, 24, 32), (1, 1, 1, 1), 8))),
        ((freeze(MobileFaceNet()), TEMPLATE),),
        freeze(Clip()),
    )
    calls: list[str] = []

    def record(forward: Forward, device: torch.device, recorded: bool) -> Forward:
        calls.append("accelerate")
        return forward

    monkeypatch.setattr(fullsize, "accelerate", record)
    monkeypatch.setattr(fullsize, "begin_measuring", lambda device: calls.append("begin"))
    monkeypatch.setattr(fullsize, "measure_peak_memory", lambda device: calls.append("most") or 2**20 * len(calls))
    speed = measure(astronaut_canvas, store, 1, networks, CPU)
    # The plain loop accelerates nothing, and its measurement begins anew.
    assert calls == ["begin", "accelerate", "accelerate", "most", "begin", "most"]
    assert (speed.gpu_mib, speed.plain_gpu_mib) == (4.0, 6.0)
    assert speed.plain_host_mib >= speed.host_mib > 0 and min(speed.tuning, speed.search, speed.plain_search) > 0


def test_calibrated_random_networks_have_outputs_as_large_as_trained_ones() -> None:
    torch.manual_seed(0)
    network = MobileFaceNet()
    chips = torch.rand(2, 3, 112, 112)
    with torch.no_grad():
        assert float(freeze(network)(chips).std()) < 1e-3
        fullsize.calibrate_batch_norms(network, 112)
        assert 0.1 < float(freeze(network)(chips).std()) < 10


def test_the_networks_are_the_papers_recognisers_with_random_weights(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, network in (("Generator", nn.Identity), ("Encoder", nn.Identity)):
        monkeypatch.setattr(fullsize, name, lambda shape, network=network: network())
    torchvision_ops.define_missing_operators()
    monkeypatch.setattr("open_clip.create_model", lambda name, pretrained: nn.Identity())
    with torch.device("meta"):
        networks = build_networks(store, torch.device("meta"))
    kinds = [type(network).__name__ for network, _ in networks.recognisers]
    assert kinds == ["ArcFaceResnet", "ArcFaceResnet", "FaceNet", "MobileFaceNet"]
    sizes = [sum(p.numel() for p in network.parameters()) // 10**6 for network, _ in networks.recognisers]
    assert sizes[1] > sizes[0] > 30 and [template.size for _, template in networks.recognisers] == [112, 112, 160, 112]
