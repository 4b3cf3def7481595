"""The networks whose files a user brings or fetches: the tensors that these files have, and what is computed of them.

The files themselves can't be here, so the layouts are written down by rule, from the published code, and the networks
are compared with references in double precision that share no code with them, on random weights of the real sizes.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2p_core.errors import Message, ModelUnavailable
from c2p_core.models.weights import load_weights
from c2p_core.recognition import facenet, ir152, irse50, mobileface_amt
from c2p_core.recognition.arcface_resnet import ArcFaceResnet
from tests.error_assertions import raising

Layout = dict[str, tuple[int, ...]]
State = dict[str, Tensor]


def norm(name: str, channels: int) -> Layout:
    vectors = {f"{name}.{key}": (channels,) for key in ("weight", "bias", "running_mean", "running_var")}
    return vectors | {f"{name}.num_batches_tracked": ()}


def resnet_layout(units: tuple[int, ...], attention: bool) -> Layout:
    """face.evoLVe and InsightFace_Pytorch: input_layer, body.N of one unit after the other, output_layer."""
    layout: Layout = {"input_layer.0.weight": (64, 3, 3, 3), **norm("input_layer.1", 64), "input_layer.2.weight": (64,)}
    number, before = 0, 64
    for count, width in zip(units, (64, 128, 256, 512), strict=True):
        for _ in range(count):
            body = f"body.{number}"
            if before != width:
                layout[f"{body}.shortcut_layer.0.weight"] = (width, before, 1, 1)
                layout |= norm(f"{body}.shortcut_layer.1", width)
            layout |= norm(f"{body}.res_layer.0", before) | norm(f"{body}.res_layer.4", width)
            layout[f"{body}.res_layer.1.weight"] = (width, before, 3, 3)
            layout[f"{body}.res_layer.2.weight"] = (width,)
            layout[f"{body}.res_layer.3.weight"] = (width, width, 3, 3)
            if attention:
                layout[f"{body}.res_layer.5.fc1.weight"] = (width // 16, width, 1, 1)
                layout[f"{body}.res_layer.5.fc2.weight"] = (width, width // 16, 1, 1)
            number, before = number + 1, width
    layout |= norm("output_layer.0", 512) | norm("output_layer.4", 512)
    return layout | {"output_layer.3.weight": (512, 512 * 7 * 7), "output_layer.3.bias": (512,)}


def mobile_layout() -> Layout:
    """InsightFace_Pytorch's MobileFaceNet with 512 values."""

    def layer(name: str, outputs: int, inputs: int, kernel: int = 1, slopes: bool = True) -> Layout:
        layout = {f"{name}.conv.weight": (outputs, inputs, kernel, kernel), **norm(f"{name}.bn", outputs)}
        return layout | ({f"{name}.prelu.weight": (outputs,)} if slopes else {})

    def block(name: str, inputs: int, inside: int, outputs: int) -> Layout:
        wide = layer(f"{name}.conv", inside, inputs) | layer(f"{name}.conv_dw", inside, 1, 3)
        return wide | layer(f"{name}.project", outputs, inside, slopes=False)

    layout = layer("conv1", 64, 3, 3) | layer("conv2_dw", 64, 1, 3)
    layout |= block("conv_23", 64, 128, 64) | block("conv_34", 64, 256, 128) | block("conv_45", 128, 512, 128)
    for name, channels, inside, count in (("conv_3", 64, 128, 4), ("conv_4", 128, 256, 6), ("conv_5", 128, 256, 2)):
        for number in range(count):
            layout |= block(f"{name}.model.{number}", channels, inside, channels)
    layout |= layer("conv_6_sep", 512, 128) | layer("conv_6_dw", 512, 1, 7, slopes=False)
    return layout | {"linear.weight": (512, 512)} | norm("bn", 512)


def inception_layout() -> Layout:
    """facenet-pytorch's file of VGGFace2, with its classifier of 8631 people."""

    def basic(name: str, outputs: int, inputs: int, *kernel: int) -> Layout:
        rows, columns = kernel if len(kernel) == 2 else kernel * 2
        return {f"{name}.conv.weight": (outputs, inputs, rows, columns), **norm(f"{name}.bn", outputs)}

    def mix(name: str, outputs: int, inputs: int) -> Layout:
        return {f"{name}.conv2d.weight": (outputs, inputs, 1, 1), f"{name}.conv2d.bias": (outputs,)}

    layout = basic("conv2d_1a", 32, 3, 3) | basic("conv2d_2a", 32, 32, 3) | basic("conv2d_2b", 64, 32, 3)
    layout |= basic("conv2d_3b", 80, 64, 1) | basic("conv2d_4a", 192, 80, 3) | basic("conv2d_4b", 256, 192, 3)
    for number in range(5):
        block = f"repeat_1.{number}"
        layout |= basic(f"{block}.branch0", 32, 256, 1) | basic(f"{block}.branch1.0", 32, 256, 1)
        layout |= basic(f"{block}.branch1.1", 32, 32, 3) | basic(f"{block}.branch2.0", 32, 256, 1)
        layout |= basic(f"{block}.branch2.1", 32, 32, 3) | basic(f"{block}.branch2.2", 32, 32, 3) | mix(block, 256, 96)
    layout |= basic("mixed_6a.branch0", 384, 256, 3) | basic("mixed_6a.branch1.0", 192, 256, 1)
    layout |= basic("mixed_6a.branch1.1", 192, 192, 3) | basic("mixed_6a.branch1.2", 256, 192, 3)
    for number in range(10):
        block = f"repeat_2.{number}"
        layout |= basic(f"{block}.branch0", 128, 896, 1) | basic(f"{block}.branch1.0", 128, 896, 1)
        layout |= (
            basic(f"{block}.branch1.1", 128, 128, 1, 7)
            | basic(f"{block}.branch1.2", 128, 128, 7, 1)
            | mix(block, 896, 256)
        )
    for branch, widths in (("branch0", (256, 384)), ("branch1", (256, 256)), ("branch2", (256, 256, 256))):
        before = 896
        for block, width in enumerate(widths):
            layout |= basic(f"mixed_7a.{branch}.{block}", width, before, 1 if block == 0 else 3)
            before = width
    for block in (*(f"repeat_3.{number}" for number in range(5)), "block8"):
        layout |= basic(f"{block}.branch0", 192, 1792, 1) | basic(f"{block}.branch1.0", 192, 1792, 1)
        layout |= (
            basic(f"{block}.branch1.1", 192, 192, 1, 3)
            | basic(f"{block}.branch1.2", 192, 192, 3, 1)
            | mix(block, 1792, 384)
        )
    layout |= {"last_linear.weight": (512, 1792), **norm("last_bn", 512)}
    return layout | {"logits.weight": (8631, 512), "logits.bias": (8631,)}


LAYOUTS: dict[str, tuple[Callable[[], nn.Module], Layout]] = {
    "ir152": (ir152.NETWORK, resnet_layout((3, 8, 36, 3), False)),
    "irse50": (irse50.NETWORK, resnet_layout((3, 4, 14, 3), True)),
    "mobileface-amt": (mobileface_amt.NETWORK, mobile_layout()),
    "facenet": (facenet.make_network, inception_layout()),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_tensors_are_those_of_the_published_file(name: str) -> None:
    make, layout = LAYOUTS[name]
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in make().state_dict().items()}
    assert shapes == layout


def random_state(network: nn.Module, seed: int) -> State:
    """Weights with which every layer says something: no mean is 0, no variance and no slope is 1."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            noise = noise.abs() * 0.5 + 0.5
        elif tensor.ndim > 1:
            noise *= 1 / math.sqrt(tensor[0].numel())
        elif name.endswith("weight"):
            noise = noise * 0.1 + 0.6
        else:
            noise *= 0.1
        state[name] = noise
    return state


class Reference:
    """Layers by name, in double precision."""

    def __init__(self, state: State) -> None:
        self.state = {name: value.double() for name, value in state.items()}

    def norm(self, x: Tensor, name: str, epsilon: float = 1e-5) -> Tensor:
        weight, bias, mean, variance = (
            self.state[f"{name}.{key}"].reshape(1, -1, *[1] * (x.ndim - 2))
            for key in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (variance + epsilon).sqrt() * weight + bias

    def conv(self, x: Tensor, name: str, stride: int = 1, pad: int | tuple[int, int] = 0, groups: int = 1) -> Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), stride, pad, 1, groups)

    def prelu(self, x: Tensor, name: str) -> Tensor:
        return x.clamp(min=0) + self.state[f"{name}.weight"].reshape(1, -1, 1, 1) * x.clamp(max=0)

    def resnet(self, chips: Tensor, units: tuple[int, ...], attention: bool) -> Tensor:
        x = self.prelu(self.norm(self.conv(chips * 2 - 1, "input_layer.0", 1, 1), "input_layer.1"), "input_layer.2")
        number = 0
        for stage, count in enumerate(units):
            for unit in range(count):
                at, stride = f"body.{number}", 2 if unit == 0 else 1
                short = x[:, :, ::stride, ::stride]
                if unit == 0 and stage > 0:
                    short = self.norm(self.conv(short, f"{at}.shortcut_layer.0"), f"{at}.shortcut_layer.1")
                y = self.conv(self.norm(x, f"{at}.res_layer.0"), f"{at}.res_layer.1", 1, 1)
                y = self.conv(self.prelu(y, f"{at}.res_layer.2"), f"{at}.res_layer.3", stride, 1)
                y = self.norm(y, f"{at}.res_layer.4")
                if attention:
                    means = y.mean((2, 3), keepdim=True)
                    squeezed = self.conv(means, f"{at}.res_layer.5.fc1").clamp(min=0)
                    y = y * torch.sigmoid(self.conv(squeezed, f"{at}.res_layer.5.fc2"))
                x, number = short + y, number + 1
        flat = self.norm(x, "output_layer.0").flatten(1)
        return self.norm(
            flat @ self.state["output_layer.3.weight"].T + self.state["output_layer.3.bias"], "output_layer.4"
        )

    def mobile(self, chips: Tensor) -> Tensor:
        def layer(x: Tensor, name: str, *options: int, slopes: bool = True) -> Tensor:
            x = self.norm(self.conv(x, f"{name}.conv", *options), f"{name}.bn")
            return self.prelu(x, f"{name}.prelu") if slopes else x

        def block(x: Tensor, name: str, stride: int) -> Tensor:
            wide = layer(x, f"{name}.conv")
            wide = layer(wide, f"{name}.conv_dw", stride, 1, wide.shape[1])
            return layer(wide, f"{name}.project", slopes=False)

        x = layer(layer(chips * 2 - 1, "conv1", 2, 1), "conv2_dw", 1, 1, 64)
        for halving, residual, count in (("conv_23", "conv_3", 4), ("conv_34", "conv_4", 6), ("conv_45", "conv_5", 2)):
            x = block(x, halving, 2)
            for number in range(count):
                x = x + block(x, f"{residual}.model.{number}", 1)
        x = layer(layer(x, "conv_6_sep"), "conv_6_dw", 1, 0, 512, slopes=False)
        return self.norm(x.flatten(1) @ self.state["linear.weight"].T, "bn")

    def inception(self, chips: Tensor) -> Tensor:
        def basic(x: Tensor, name: str, stride: int = 1, pad: int | tuple[int, int] = 0) -> Tensor:
            return self.norm(self.conv(x, f"{name}.conv", stride, pad), f"{name}.bn", 1e-3).clamp(min=0)

        def residual(x: Tensor, at: str, branches: list[Tensor], scale: float, ends: bool = False) -> Tensor:
            x = x + scale * self.conv(torch.cat(branches, 1), f"{at}.conv2d")
            return x if ends else x.clamp(min=0)

        x = basic(basic((chips * 255 - 127.5) / 128, "conv2d_1a", 2), "conv2d_2a")
        x = F.max_pool2d(basic(x, "conv2d_2b", 1, 1), 3, 2)
        x = basic(basic(basic(x, "conv2d_3b"), "conv2d_4a"), "conv2d_4b", 2)
        for at in (f"repeat_1.{number}" for number in range(5)):
            second = basic(basic(x, f"{at}.branch1.0"), f"{at}.branch1.1", 1, 1)
            third = basic(basic(basic(x, f"{at}.branch2.0"), f"{at}.branch2.1", 1, 1), f"{at}.branch2.2", 1, 1)
            x = residual(x, at, [basic(x, f"{at}.branch0"), second, third], 0.17)
        second = basic(basic(basic(x, "mixed_6a.branch1.0"), "mixed_6a.branch1.1", 1, 1), "mixed_6a.branch1.2", 2)
        x = torch.cat([basic(x, "mixed_6a.branch0", 2), second, F.max_pool2d(x, 3, 2)], 1)
        for at in (f"repeat_2.{number}" for number in range(10)):
            second = basic(basic(x, f"{at}.branch1.0"), f"{at}.branch1.1", 1, (0, 3))
            x = residual(x, at, [basic(x, f"{at}.branch0"), basic(second, f"{at}.branch1.2", 1, (3, 0))], 0.1)
        branches = [basic(basic(x, f"mixed_7a.branch{at}.0"), f"mixed_7a.branch{at}.1", 2) for at in (0, 1)]
        third = basic(basic(x, "mixed_7a.branch2.0"), "mixed_7a.branch2.1", 1, 1)
        x = torch.cat([*branches, basic(third, "mixed_7a.branch2.2", 2), F.max_pool2d(x, 3, 2)], 1)
        for at in (*(f"repeat_3.{number}" for number in range(5)), "block8"):
            second = basic(basic(x, f"{at}.branch1.0"), f"{at}.branch1.1", 1, (0, 1))
            branches = [basic(x, f"{at}.branch0"), basic(second, f"{at}.branch1.2", 1, (1, 0))]
            x = residual(x, at, branches, 1.0 if at == "block8" else 0.2, at == "block8")
        made = self.norm(x.mean((2, 3)) @ self.state["last_linear.weight"].T, "last_bn", 1e-3)
        return made / made.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(
    "name",
    ["irse50", "mobileface-amt", "facenet", "fewer units of ir152", pytest.param("ir152", marks=pytest.mark.slow)],
)
def test_a_network_computes_the_same_as_its_reference(name: str, tmp_path: Path) -> None:
    network = ArcFaceResnet((1, 2, 1, 1), False) if name not in LAYOUTS else LAYOUTS[name][0]()
    state = random_state(network, seed=len(name))
    if name == "facenet":
        torch.save(state, tmp_path / "vggface2.pt")
        network = facenet.LOAD(tmp_path / "vggface2.pt")
    else:
        network.load_state_dict(state)
    side = 160 if name == "facenet" else 112
    chips = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    reference, exact = Reference(state), chips.double()
    expected = {
        "ir152": lambda: reference.resnet(exact, (3, 8, 36, 3), False),
        "fewer units of ir152": lambda: reference.resnet(exact, (1, 2, 1, 1), False),
        "irse50": lambda: reference.resnet(exact, (3, 4, 14, 3), True),
        "mobileface-amt": lambda: reference.mobile(exact),
        "facenet": lambda: reference.inception(exact),
    }[name]()
    with torch.no_grad():
        descriptor = network.eval()(chips)
    assert descriptor.shape == (1, 512) and float(expected.std()) > 0.01
    error = float((descriptor.double() - expected).norm() / expected.norm())
    assert error < 1e-4


@pytest.fixture
def state() -> State:
    return random_state(mobileface_amt.NETWORK(), seed=0)


def load(state: object, path: Path) -> nn.Module:
    torch.save(state, path)
    return load_weights(mobileface_amt.NETWORK(), path)


def test_a_published_checkpoint_is_read_frozen_and_for_use(state: State, tmp_path: Path) -> None:
    network = load(state, tmp_path / "mobile_face.pth")
    assert torch.equal(network.state_dict()["linear.weight"], state["linear.weight"])
    assert not network.training and not any(weight.requires_grad for weight in network.parameters())


def test_a_checkpoint_of_an_old_torch_lacks_the_counters_of_batches(state: State, tmp_path: Path) -> None:
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    network = load(old, tmp_path / "old.pth")
    assert torch.equal(network.state_dict()["bn.running_var"], state["bn.running_var"])


@pytest.mark.parametrize("wrong", ["missing", "unknown", "misshaped"])
def test_a_checkpoint_of_another_network_is_refused_with_the_tensor_that_differs(
    wrong: str, state: State, tmp_path: Path
) -> None:
    if wrong == "missing":
        del state["linear.weight"]
    elif wrong == "unknown":
        state["linear.bias"] = torch.zeros(512)
    else:
        state["linear.weight"] = torch.zeros(512, 128)
    with pytest.raises(ModelUnavailable) as caught:
        load(state, tmp_path / "other.pth")
    shapes = "(512, 128) instead of (512, 512)"
    differing = {"missing": "linear.weight", "unknown": "linear.bias", "misshaped": f"linear.weight {shapes}"}
    assert caught.value.code == "checkpoint-wrong-tensors"
    assert caught.value.fields["why"] == [Message(f"tensors-{wrong}", names=[differing[wrong]])]


class Harmful:
    """What would run code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("harmed"),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"linear.weight": Harmful()}, 2))
    for name, content in (("zip.pth", {"linear.weight": Harmful()}), ("plain.pth", None)):
        if content is not None:
            torch.save(content, tmp_path / name)
        with raising(ModelUnavailable, "checkpoint-unreadable", file=name):
            load_weights(mobileface_amt.NETWORK(), tmp_path / name)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "content", [{"state_dict": {}}, [1, 2], {"a": 3}, {"a": torch.zeros(1, dtype=torch.complex64)}]
)
def test_a_file_without_a_table_of_tensors_is_refused(content: object, tmp_path: Path) -> None:
    with raising(ModelUnavailable, "checkpoint-no-network", file="other.pth"):
        load(content, tmp_path / "other.pth")


def test_a_tensor_that_is_larger_than_its_file_is_refused(state: State, tmp_path: Path) -> None:
    # Saved as one number and strides of 0.
    state["linear.weight"] = torch.zeros(1).expand(100_000_000)
    with raising(ModelUnavailable, "checkpoint-too-small", file="few.pth"):
        load(state, tmp_path / "few.pth")


def test_an_archive_that_would_expand_too_much_is_refused_and_not_unpacked(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(dict.fromkeys(state, torch.zeros(1 << 18)), tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    monkeypatch.setattr(torch, "load", None)
    with raising(ModelUnavailable, "checkpoint-too-small", file="packed.pth"):
        load_weights(mobileface_amt.NETWORK(), tmp_path / "packed.pth")


def test_weights_that_are_not_finite_are_refused_by_name(state: State, tmp_path: Path) -> None:
    state["bn.running_mean"][3] = math.nan
    with raising(ModelUnavailable, "checkpoint-not-finite", names=["bn.running_mean"]):
        load(state, tmp_path / "nan.pth")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.999])
def test_a_truncated_checkpoint_is_refused(share: float, state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "whole.pth")
    data = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[: int(len(data) * share)])
    with raising(ModelUnavailable, "checkpoint-unreadable", file="cut.pth"):
        load_weights(mobileface_amt.NETWORK(), tmp_path / "cut.pth")
