"""The recognisers of the manifest that a user adds: used by name alone, with the thresholds that were published."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import ModelProto, NodeProto, helper

from c2p_core.errors import Message, ModelUnavailable
from c2p_core.models.store import ModelStore
from c2p_core.recognition import (
    facenet,
    list_known_recognisers,
    list_recognisers,
    list_unmeasured_warnings,
    load_architecture,
    load_recognisers,
    mobileface_amt,
    sface,
)
from tests.error_assertions import raising
from tests.recognition.onnx_models import model, run, save, weights

CPU = torch.device("cpu")
# FAR 1 % and 0.1 % as AMT-GAN's test.py has them, and OpenCV's documentation of SFace.
PUBLISHED = {
    "ir152": (0.166788, 0.227922),
    "irse50": (0.241045, 0.312703),
    "facenet": (0.409131, 0.591191),
    "facenet-amt": (0.409131, 0.591191),
    "mobileface-amt": (0.301611, 0.380878),
    "sface": (0.363, None),
}
SIDES = {"facenet": 160, "facenet-amt": 160}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store with random weights for one of them."""
    folder = tmp_path / "mobileface-amt"
    folder.mkdir()
    torch.manual_seed(0)
    torch.save(mobileface_amt.NETWORK().state_dict(), folder / "mobile_face.pth")
    return ModelStore(tmp_path, offline=True)


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_added_recogniser_has_its_published_thresholds(name: str, store: ModelStore) -> None:
    default = store.entry(name).default
    assert default is not None and (default.threshold, default.far01) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_module_of_an_added_recogniser_makes_its_network(name: str, store: ModelStore) -> None:
    architecture = load_architecture(store.entry(name))
    assert (architecture.make is None) != (architecture.load is None)
    assert architecture.template.size == SIDES.get(name, 112)


def test_an_added_recogniser_is_used_only_by_name(store: ModelStore) -> None:
    assert store.is_present("mobileface-amt")
    assert not set(PUBLISHED) & set(list_recognisers(store))
    assert set(PUBLISHED) <= set(list_known_recognisers(store))
    assert not set(PUBLISHED) & {r.name for r in load_recognisers("auto", store, CPU)}


def test_a_named_recogniser_has_the_published_thresholds_and_a_warning(store: ModelStore) -> None:
    (recogniser,) = load_recognisers(["mobileface-amt"], store, CPU)
    assert (recogniser.far1, recogniser.far01, recogniser.measured_by) == (0.301611, 0.380878, "vendor")
    assert list_unmeasured_warnings([recogniser]) == [Message("recogniser-measured-by-vendor", name="mobileface-amt")]


def test_without_facenet_pytorch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    with raising(ModelUnavailable, "extra-missing", package="facenet-pytorch", extra="full"):
        facenet.LOAD(tmp_path / "vggface2.pt")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_onnx_packages_the_extra_is_named(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(mobilenet_of_mxnet(), tmp_path / "sface.onnx")
    monkeypatch.setitem(sys.modules, package, None)
    with raising(ModelUnavailable, "extra-missing", package=package, extra="onnx"):
        sface.LOAD(path)


def mobilenet_of_mxnet() -> ModelProto:
    """A small model as MXNet exports SFace: scaled inside, weights among the inputs, old operators, one picture."""
    shapes: dict[str, tuple[int, ...]] = {"w0": (8, 3, 3, 3), "w1": (8, 1, 3, 3), "w2": (16, 8, 1, 1)}
    for name, channels in (("n0", 8), ("n1", 8), ("n2", 16), ("n3", 16)):
        shapes |= {f"{name}_{part}": (channels,) for part in ("gamma", "beta", "mean")}
    shapes |= {"s0": (8, 1, 1), "s1": (8, 1, 1), "s2": (16, 1, 1), "fc": (128, 16 * 14 * 14), "fc_bias": (128,)}
    stored = weights(7, **shapes) | {"middle": np.float32([127.5]), "scale": np.float32([0.0078125])}
    for name, channels in (("n0", 8), ("n1", 8), ("n2", 16), ("n3", 16)):
        stored[f"{name}_var"] = np.linspace(0.5, 2, channels, dtype=np.float32)

    def normalise(before: str, name: str, after: str) -> NodeProto:
        return helper.make_node(
            "BatchNormalization", [before, *(f"{name}_{part}" for part in ("gamma", "beta", "mean", "var"))], [after]
        )

    nodes = [
        helper.make_node("Sub", ["x", "middle"], ["a"]),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("Conv", ["b", "w0"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        normalise("c", "n0", "d"),
        helper.make_node("PRelu", ["d", "s0"], ["e"]),
        helper.make_node("Conv", ["e", "w1"], ["f"], strides=[4, 4], pads=[1, 1, 1, 1], kernel_shape=[3, 3], group=8),
        normalise("f", "n1", "g"),
        helper.make_node("PRelu", ["g", "s1"], ["h"]),
        helper.make_node("Conv", ["h", "w2"], ["i"], kernel_shape=[1, 1]),
        normalise("i", "n2", "j"),
        helper.make_node("PRelu", ["j", "s2"], ["k"]),
        normalise("k", "n3", "l"),
        helper.make_node("Dropout", ["l"], ["m"], ratio=0.4),
        helper.make_node("Flatten", ["m"], ["n"]),
        helper.make_node("Gemm", ["n", "fc", "fc_bias"], ["y"], transB=1),
    ]
    return model(nodes, stored, (1, 3, 112, 112), opset=8, stored_as_inputs=True)


def test_sface_gets_red_green_blue_from_0_to_255_and_has_gradients(tmp_path: Path) -> None:
    onnx_model = mobilenet_of_mxnet()
    network = sface.LOAD(save(onnx_model, tmp_path / "sface.onnx"))
    chips = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1), requires_grad=True)
    expected = np.concatenate([run(onnx_model, (chip[None].detach() * 255).numpy()) for chip in chips])
    described = network(chips)
    np.testing.assert_allclose(described.detach().numpy(), expected, atol=1e-3, rtol=1e-4)
    assert described.shape == (2, sface.VALUES) and getattr(network, "judges_only", "") is None
    (gradient,) = torch.autograd.grad(described[0] @ described[0], chips)
    assert float(gradient[0].abs().sum()) > 0 and float(gradient[1].abs().sum()) == 0
