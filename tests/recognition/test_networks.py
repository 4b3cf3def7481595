"""The recognisers' networks: what they take, what their gradients are, which files they refuse."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from c2p_core.errors import ModelUnavailable
from c2p_core.models.store import ModelStore
from c2p_core.models.weights import load_weights
from c2p_core.recognition import list_recognisers, load_architecture
from c2p_core.recognition.mobilenet import MobileNet
from c2p_core.recognition.tf_layers import Convolution, Prelu, same_padding
from tests.error_assertions import raising

VALUES = {
    **{"dlib-resnet": 128, "faceres-deep": 1024, "faceres": 1024},
    **{"mobileface": 256, "mobilefacenet": 192, "mobilenet": 128},
}
STORE = ModelStore(offline=True)
EACH = pytest.mark.parametrize("name", list_recognisers(STORE))


def weights(name: str) -> Path:
    return STORE.obtain(name)


def load(name: str, path: Path | None = None) -> nn.Module:
    return load_weights(load_architecture(STORE.entry(name)).make(), path or weights(name))


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def noisy_chips(name: str, count: int) -> Tensor:
    size = load_architecture(STORE.entry(name)).template.size
    return noise(count, 3, size, size)


@EACH
def test_a_batch_gives_the_same_as_single_chips(name: str) -> None:
    network, chips = load(name), noisy_chips(name, 2)
    descriptors = network(chips)
    assert descriptors.shape == (2, VALUES[name])
    torch.testing.assert_close(descriptors, torch.cat([network(chip[None]) for chip in chips]), atol=1e-4, rtol=1e-4)


@EACH
def test_the_input_is_not_modified(name: str) -> None:
    chips = noisy_chips(name, 1)
    before = chips.clone()
    load(name)(chips)
    assert torch.equal(chips, before)


@EACH
def test_gradients_with_respect_to_the_picture_are_correct(name: str) -> None:
    network = load(name)
    assert not network.training and not any(weight.requires_grad for weight in network.parameters())
    exact = copy.deepcopy(network).double()
    chips = noisy_chips(name, 1).double().requires_grad_()
    weighting = torch.linspace(-1, 1, VALUES[name]).double()
    (gradient,) = torch.autograd.grad(exact(chips)[0] @ weighting, chips)
    direction = torch.randn(chips.shape, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        up, down = (exact(chips + sign * 1e-8 * direction)[0] @ weighting for sign in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx(float(up - down) / 2e-8, rel=1e-3)
    single = chips.detach().float().requires_grad_()
    (rounded,) = torch.autograd.grad(network(single)[0] @ weighting.float(), single)
    assert float(F.cosine_similarity(rounded.flatten(), gradient.float().flatten(), dim=0)) > 0.999


@EACH
@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.5, 0.999999])
def test_a_truncated_file_is_refused(name: str, share: float, tmp_path: Path) -> None:
    data = weights(name).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: int(len(data) * share)])
    with raising(ModelUnavailable, "network-unreadable", path=str(tmp_path / "cut.safetensors")):
        load(name, tmp_path / "cut.safetensors")


@EACH
def test_a_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    with raising(ModelUnavailable, "network-unreadable", path=str(tmp_path / "none.safetensors")):
        load(name, tmp_path / "none.safetensors")


@EACH
@pytest.mark.parametrize("wrong", ["one less", "one more", "another shape", "another type"])
def test_other_tensors_are_refused(name: str, wrong: str, tmp_path: Path) -> None:
    tensors = load_file(weights(name))
    one = min(tensors)
    if wrong == "one less":
        del tensors[one]
    elif wrong == "one more":
        tensors["more"] = torch.zeros(3)
    elif wrong == "another shape":
        tensors[one] = tensors[one][1:].clone()
    else:
        tensors[one] = tensors[one].double()
    save_file(tensors, tmp_path / "other.safetensors")
    with raising(ModelUnavailable, "network-wrong"):
        load(name, tmp_path / "other.safetensors")


def test_another_network_is_refused() -> None:
    with raising(ModelUnavailable, "network-wrong"):
        load_weights(MobileNet(), weights("mobilefacenet"))


@given(st.integers(1, 300), st.integers(1, 7), st.integers(1, 4))
def test_same_padding_gives_one_output_per_stride(size: int, kernel: int, stride: int) -> None:
    before, after = same_padding(size, kernel, stride)
    assert (size + before + after - kernel) // stride + 1 == -(-size // stride)
    assert 0 <= after - before <= 1


@pytest.mark.parametrize("shape", [(5, 7), (2, 7, 4, 3)], ids=["channel last", "channel second"])
def test_prelu_is_that_of_torch_for_slopes_of_any_sign(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    slopes = torch.tensor([-9.0, -1.0, -0.2, 0.0, 0.3, 1.0, 8.0])
    own_input, torch_input = x.clone().requires_grad_(), x.clone().requires_grad_()
    broadcast = slopes if len(shape) == 2 else slopes[:, None, None]
    # Activations overwrite their input, which a leaf does not allow.
    result = Prelu.apply(own_input * 1, broadcast, 1 - broadcast)  # type: ignore[no-untyped-call]
    expected = F.prelu(torch_input, slopes)
    torch.testing.assert_close(result, expected)
    weighting = noise(*shape)
    torch.testing.assert_close(
        torch.autograd.grad((result * weighting).sum(), own_input),
        torch.autograd.grad((expected * weighting).sum(), torch_input),
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "depthwise", "pads"),
    [(1, 1, False, (0, 0)), (3, 1, True, (1, 1)), (3, 2, True, (0, 1)), (3, 2, False, (0, 1)), (3, 2, True, (0, 0))],
)
def test_convolutions_are_those_of_torch(kernel: int, stride: int, depthwise: bool, pads: tuple[int, int]) -> None:
    layer = Convolution(6, 6, kernel, stride, depthwise=depthwise, pads=pads, activation="relu6")
    layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(0)) * 3)
    layer.bias.copy_(torch.linspace(-1, 7, 6))
    x = torch.randn((2, 6, 8, 8), generator=torch.Generator().manual_seed(1))
    padded = F.pad(x, pads * 2)
    weight = layer.weight.view(6, -1, kernel, kernel)
    expected = F.conv2d(padded, weight, layer.bias, stride, groups=layer.groups).clamp(0, 6)
    torch.testing.assert_close(layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("side", "pads"), [(8, (0, 1)), (7, (1, 1))])
def test_same_pads_by_the_size_of_the_picture(side: int, pads: tuple[int, int]) -> None:
    """Networks also get pictures of other sizes than those that they were trained on."""
    x = torch.randn((1, side, side, 4), generator=torch.Generator().manual_seed(0))
    weight = torch.randn((4, 1, 3, 3), generator=torch.Generator().manual_seed(1))
    layers = [Convolution(4, 4, 3, 2, depthwise=True, pads=p) for p in ("same", pads)]
    for layer in layers:
        layer.weight.copy_(weight)
    assert torch.equal(layers[0](x), layers[1](x)) and layers[0](x).shape == (1, 4, 4, 4)
