"""The generator and its checkpoints, against a slow reference in double precision that shares nothing with it."""

from __future__ import annotations

import collections
import io
import os
import pickle
import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.func import functional_call

from c2p_core.errors import Message, ModelUnavailable
from c2p_core.priors import checkpoints
from c2p_core.priors.checkpoints import StoredTensor, load_encoder, load_generator
from c2p_core.priors.stylegan2 import FFHQ, Encoder, EncoderShape, Generator, GeneratorShape
from tests.error_assertions import raising

LAYOUTS = Path(__file__).parent / "layouts"
SMALL = {16: GeneratorShape((12, 10, 8), style=16, mapping=2), 32: GeneratorShape((8, 8, 6, 4), style=12, mapping=3)}
SMALL_ENCODERS = {
    16: EncoderShape(codes=6, style=16, size=64, channels=(16, 24, 32, 48), units=(1, 2, 1, 2), heads=12),
    32: EncoderShape(codes=8, style=12, size=32, channels=(16, 20, 24, 32), units=(1, 1, 1, 1), heads=8),
}
# What comes with the program.
MINI = GeneratorShape((192, 192, 192, 96, 48, 24), style=256, mapping=4)
MINI_ENCODER = EncoderShape(codes=12, style=256, size=64, channels=(32, 64, 128, 192), units=(2, 3, 4, 2), heads=96)


@dataclass(frozen=True)
class Line:
    """One tensor of a layout file."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def layout(name: str) -> list[Line]:
    lines = (LAYOUTS / name).read_text(encoding="utf-8").splitlines()[1:]
    split = [line.split(" ") for line in lines]
    return [Line(n, () if s == "-" else tuple(int(part) for part in s.split(",")), d) for n, s, d in split]


def kind_of(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def lines_of(tensors: dict[str, Tensor]) -> set[Line]:
    return {Line(name, tuple(value.shape), kind_of(value)) for name, value in tensors.items()}


# The reference: one sample at a time, filters by inserting zeros, padding and multiplying out.


@dataclass(frozen=True)
class Part:
    """A convolution of the reference; float64."""

    weight: Tensor
    affine: tuple[Tensor, Tensor]
    bias: Tensor
    strength: Tensor | None = None
    noise: Tensor | None = None


def filtered(x: Tensor, up: int, before: int, after: int) -> Tensor:
    """(C, h, w) upsampled by zeros, padded, multiplied with [1, 3, 3, 1] squared."""
    channels, height, width = x.shape
    wide = torch.zeros(channels, height * up, width * up, dtype=torch.float64)
    wide[:, ::up, ::up] = x
    padded = torch.zeros(channels, height * up + before + after, width * up + before + after, dtype=torch.float64)
    padded[:, before : before + height * up, before : before + width * up] = wide
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
    kernel = taps[:, None] * taps / 64 * 4
    out = torch.zeros(channels, padded.shape[1] - 3, padded.shape[2] - 3, dtype=torch.float64)
    for i in range(4):
        for j in range(4):
            out += kernel[i, j] * padded[:, i : i + out.shape[1], j : j + out.shape[2]]
    return out


def modulated(x: Tensor, part: Part, w: Tensor, up: bool, demodulate: bool) -> Tensor:
    matrix, offset = part.affine
    style = matrix @ w / matrix.shape[1] ** 0.5 + offset
    weight = part.weight * style[None, :, None, None] / part.weight[0].numel() ** 0.5
    if demodulate:
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    side, outputs = x.shape[1], len(weight)
    if not up:
        reach = weight.shape[2] // 2
        padded = torch.zeros(len(x), side + 2 * reach, side + 2 * reach, dtype=torch.float64)
        padded[:, reach : reach + side, reach : reach + side] = x
        out = torch.zeros(outputs, side, side, dtype=torch.float64)
        for i in range(weight.shape[2]):
            for j in range(weight.shape[3]):
                out += torch.einsum("oi,ihw->ohw", weight[:, :, i, j], padded[:, i : i + side, j : j + side])
        return out
    # Every pixel stamps the kernel on a grid twice as fine.
    out = torch.zeros(outputs, 2 * side + 1, 2 * side + 1, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            out[:, i : i + 2 * side : 2, j : j + 2 * side : 2] += torch.einsum("oi,ihw->ohw", weight[:, :, i, j], x)
    return filtered(out, 1, 1, 1)


def activated(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x) * 2**0.5


def reference(constant: Tensor, convolutions: list[Part], rgbs: list[Part], codes: Tensor) -> Tensor:
    x, picture = constant, torch.zeros(0)
    for index, part in enumerate(convolutions):
        x = modulated(x, part, codes[index], up=index % 2 == 1, demodulate=True)
        assert part.noise is not None and part.strength is not None
        x = activated(x + part.noise * part.strength + part.bias[:, None, None])
        if index % 2 == 0:
            rgb = modulated(x, rgbs[index // 2], codes[index + 1], up=False, demodulate=False)
            rgb = rgb + rgbs[index // 2].bias[:, None, None]
            picture = rgb if index == 0 else rgb + filtered(picture, 2, 2, 1)
    return picture


def mapped(layers: list[tuple[Tensor, Tensor]], z: Tensor) -> Tensor:
    x = z / (z.square().mean() + 1e-8).sqrt()
    for weight, bias in layers:
        x = activated((weight * 0.01 / weight.shape[1] ** 0.5) @ x + bias * 0.01)
    return x


def from_rosinality(d: dict[str, Tensor], count: int) -> tuple[Tensor, list[Part], list[Part]]:
    def part(name: str, noise: int | None) -> Part:
        affine = (d[f"{name}.conv.modulation.weight"], d[f"{name}.conv.modulation.bias"])
        if noise is None:
            return Part(d[f"{name}.conv.weight"][0], affine, d[f"{name}.bias"].flatten())
        stored, strength = d[f"noises.noise_{noise}"][0, 0], d[f"{name}.noise.weight"]
        return Part(d[f"{name}.conv.weight"][0], affine, d[f"{name}.activate.bias"], strength, stored)

    convolutions = [part("conv1", 0)] + [part(f"convs.{index}", index + 1) for index in range(count - 1)]
    rgbs = [part("to_rgb1", None)] + [part(f"to_rgbs.{index}", None) for index in range(count // 2)]
    return d["input.input"][0], convolutions, rgbs


def from_nvidia(d: dict[str, Tensor], size: int) -> tuple[Tensor, list[Part], list[Part]]:
    convolutions, rgbs, side = [], [], 4
    while side <= size:
        block = f"synthesis.b{side}"
        for name in [f"{block}.conv1"] if side == 4 else [f"{block}.conv0", f"{block}.conv1"]:
            affine = (d[f"{name}.affine.weight"], d[f"{name}.affine.bias"])
            noise = d[f"{name}.noise_const"]
            convolutions.append(
                Part(d[f"{name}.weight"], affine, d[f"{name}.bias"], d[f"{name}.noise_strength"], noise)
            )
        affine = (d[f"{block}.torgb.affine.weight"], d[f"{block}.torgb.affine.bias"])
        rgbs.append(Part(d[f"{block}.torgb.weight"], affine, d[f"{block}.torgb.bias"]))
        side *= 2
    return d["synthesis.b4.const"], convolutions, rgbs


def from_ours(d: dict[str, Tensor], count: int) -> tuple[Tensor, list[Part], list[Part]]:
    def part(name: str, *more: Tensor) -> Part:
        return Part(
            d[f"{name}.weight"], (d[f"{name}.affine.weight"], d[f"{name}.affine.bias"]), d[f"{name}.bias"], *more
        )

    convolutions = [
        part(f"layers.{index}", d[f"layers.{index}.noise_strength"], d[f"layers.{index}.noise"])
        for index in range(count)
    ]
    return d["constant"], convolutions, [part(f"rgbs.{index}") for index in range(count // 2 + 1)]


# The same for e4e's encoder, written from its names alone: units and heads are counted in the file.


def normed(d: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    scale = d[f"{name}.weight"] / (d[f"{name}.running_var"] + 1e-5).sqrt()
    return (x - d[f"{name}.running_mean"][:, None, None]) * scale[:, None, None] + d[f"{name}.bias"][:, None, None]


def convolved(x: Tensor, weight: Tensor, stride: int = 1, bias: Tensor | None = None) -> Tensor:
    reach, side = weight.shape[2] // 2, x.shape[1]
    padded = torch.zeros(len(x), side + 2 * reach, side + 2 * reach, dtype=torch.float64)
    padded[:, reach : reach + side, reach : reach + side] = x
    out = torch.zeros(len(weight), -(-side // stride), -(-side // stride), dtype=torch.float64)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            patch = padded[:, i : i + side : stride, j : j + side : stride]
            out += torch.einsum("oi,ihw->ohw", weight[:, :, i, j], patch)
    return out if bias is None else out + bias[:, None, None]


def leaking(x: Tensor, slope: Tensor | float) -> Tensor:
    return torch.where(x > 0, x, x * (slope[:, None, None] if isinstance(slope, Tensor) else slope))


def unit_of(d: dict[str, Tensor], name: str, x: Tensor, stride: int) -> Tensor:
    short = x[:, ::stride, ::stride]
    if f"{name}.shortcut_layer.0.weight" in d:
        short = convolved(x, d[f"{name}.shortcut_layer.0.weight"], stride)
        short = normed(d, f"{name}.shortcut_layer.1", short)
    y = convolved(normed(d, f"{name}.res_layer.0", x), d[f"{name}.res_layer.1.weight"])
    y = convolved(leaking(y, d[f"{name}.res_layer.2.weight"]), d[f"{name}.res_layer.3.weight"], stride)
    y = normed(d, f"{name}.res_layer.4", y)
    squeezed = d[f"{name}.res_layer.5.fc1.weight"][:, :, 0, 0] @ y.mean((1, 2))
    weights = 1 / (1 + torch.exp(-(d[f"{name}.res_layer.5.fc2.weight"][:, :, 0, 0] @ squeezed.clamp(min=0))))
    return short + y * weights[:, None, None]


def stretched(x: Tensor, side: int) -> Tensor:
    """(C, n, n) to (C, side, side), the corners' centres on each other."""
    positions = torch.arange(side, dtype=torch.float64) * (x.shape[1] - 1) / (side - 1)
    low = positions.long().clamp(max=x.shape[1] - 2)
    part = positions - low
    x = x[:, low] * (1 - part)[:, None] + x[:, low + 1] * part[:, None]
    return x[:, :, low] * (1 - part) + x[:, :, low + 1] * part


def row_of(d: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    for index in range(0, 20, 2):
        if f"{name}.convs.{index}.weight" in d:
            x = leaking(convolved(x, d[f"{name}.convs.{index}.weight"], 2, d[f"{name}.convs.{index}.bias"]), 0.01)
    weight = d[f"{name}.linear.weight"]
    return weight @ x[:, 0, 0] / weight.shape[1] ** 0.5 + d[f"{name}.linear.bias"]


def encoded(d: dict[str, Tensor], counts: tuple[int, ...], codes: int, picture: Tensor) -> Tensor:
    x = convolved(picture, d["input_layer.0.weight"])
    x = leaking(normed(d, "input_layer.1", x), d["input_layer.2.weight"])
    levels, index = [], 0
    for count in counts:
        for number in range(count):
            x = unit_of(d, f"body.{index}", x, 2 if number == 0 else 1)
            index += 1
        levels.append(x)
    _, fine, middle, coarse = levels
    middle = stretched(coarse, middle.shape[1]) + convolved(middle, d["latlayer1.weight"], bias=d["latlayer1.bias"])
    fine = stretched(middle, fine.shape[1]) + convolved(fine, d["latlayer2.weight"], bias=d["latlayer2.bias"])
    base = row_of(d, "styles.0", coarse)
    rows = [base]
    for row in range(1, codes):
        rows.append(base + row_of(d, f"styles.{row}", coarse if row < 3 else middle if row < 7 else fine))
    return torch.stack(rows)


def random_checkpoint(places: list[StoredTensor]) -> dict[str, Tensor]:
    """Random weights in a layout, with the filters that real files have."""
    draw = torch.Generator().manual_seed(0)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = taps[:, None] * taps / 64
    return {
        place.name: torch.randn(place.shape, generator=draw)
        if place.ours
        else kernel * (1 if "res" in place.name else 4)
        for place in places
    }


def random_encoder(shape: EncoderShape) -> dict[str, Tensor]:
    """Random weights of an encoder; its variances are positive."""
    draw, state = torch.Generator().manual_seed(0), Encoder(shape).state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            values = 0.3 * torch.randn(value.shape, generator=draw)
            state[name] = values.abs() + 0.5 if name.endswith("running_var") else values
    return state


def close(output: Tensor, expected: Tensor) -> bool:
    """Whether what a network made in single precision is what the reference makes."""
    return float((output.double() - expected).abs().max()) < 1e-4 * max(1.0, float(expected.abs().max()))


def double(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.double() for name, value in tensors.items()}


# NVIDIA's files hold objects of classes that only its own code defines.


class _Persistent:
    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        function = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
        meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": "G", "state": self.state}
        return function, (meta,)


class EasyDict(dict[str, Any]):
    """In NVIDIA's code its keys are attributes too."""


def _reconstruct_persistent_obj(meta: object) -> None:
    raise AssertionError("only for writing")


@contextmanager
def nvidia_modules() -> Iterator[None]:
    """The names that NVIDIA's pickles refer to, for writing one."""
    homes: dict[str, Any] = {"torch_utils.persistence": _reconstruct_persistent_obj, "dnnlib.util": EasyDict}
    modules = {}
    for name, member in homes.items():
        member.__module__, package = name, name.split(".")[0]
        modules |= {package: types.ModuleType(package), name: types.ModuleType(name)}
        setattr(modules[name], member.__qualname__, member)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


def nested(tensors: dict[str, Tensor]) -> _Persistent:
    """A tree of objects as torch modules are, from dotted names, each with what NVIDIA's layers keep beside tensors."""
    direct: dict[str, Any] = {n: v for n, v in tensors.items() if "." not in n}
    state: dict[str, Any] = dict(vars(torch.nn.Module()))
    state |= {
        "_parameters": collections.OrderedDict((n, torch.nn.Parameter(v)) for n, v in direct.items() if n != "w_avg"),
        "_buffers": collections.OrderedDict((n, v) for n, v in direct.items() if n == "w_avg"),
        "_modules": collections.OrderedDict(),
        "activation": "lrelu",
        "weight_gain": 1 / np.sqrt(16),
        "act_gain": np.sqrt(2),
        "_init_args": (),
        "_init_kwargs": EasyDict(synthesis_kwargs=EasyDict(channel_max=512)),
    }
    for child in dict.fromkeys(name.split(".")[0] for name in tensors if "." in name):
        below = {n[len(child) + 1 :]: v for n, v in tensors.items() if n.startswith(f"{child}.")}
        state["_modules"][child] = nested(below)
    return _Persistent(state)


def write_nvidia(path: Path, tensors: dict[str, Tensor], protocol: int | None = None, **more: object) -> None:
    with nvidia_modules(), path.open("wb") as file:
        pickle.dump({"G": None, "D": None, "G_ema": nested(tensors), **more}, file, protocol)


class Hostile:
    """Runs a command when it is unpickled carelessly."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch '{self.trace}'",)


# Layouts.


def test_the_official_layouts_are_the_ones_written_down() -> None:
    with torch.device("meta"):
        dtypes = {name: kind_of(value) for name, value in Generator(FFHQ).state_dict().items()}

    def lines(places: list[StoredTensor]) -> set[Line]:
        return {Line(place.name, place.shape, dtypes.get(place.ours, "float32")) for place in places}

    beside = Line("latent_avg", (512,), "float32")
    assert lines(checkpoints.rosinality_layout(FFHQ)) == {*layout("rosinality-1024.txt"), beside}
    assert lines(checkpoints.nvidia_layout(FFHQ)) == set(layout("nvidia-1024.txt"))


def test_the_official_encoder_has_the_layout_written_down() -> None:
    with torch.device("meta"):
        state = Encoder(EncoderShape()).state_dict()
    assert tuple(state.pop("latent_avg").shape) == (18, 512)
    assert lines_of(state) == set(layout("e4e-encoder.txt"))


def test_our_own_files_have_the_layout_written_down(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "mini.safetensors", Generator(MINI), Encoder(MINI_ENCODER))
    assert lines_of(load_file(tmp_path / "mini.safetensors")) == set(layout("ours-128.txt"))


@pytest.mark.parametrize("size", [16, 32])
def test_a_rosinality_file_gives_the_picture_of_the_reference(size: int, tmp_path: Path) -> None:
    shape = SMALL[size]
    tensors = random_checkpoint(checkpoints.rosinality_layout(shape))
    average = tensors.pop("latent_avg")
    torch.save({"g_ema": tensors, "latent_avg": average}, tmp_path / "generator.pt")
    generator = load_generator(tmp_path / "generator.pt")
    z = torch.randn(2, shape.style, generator=torch.Generator().manual_seed(1))
    codes = generator.map(z)
    exact = double(tensors)
    layers = [(exact[f"style.{index}.weight"], exact[f"style.{index}.bias"]) for index in range(1, shape.mapping + 1)]
    assert torch.equal(generator.mean_w, average)
    for sample, picture in enumerate(generator(codes)):
        w = mapped(layers, z[sample].double())
        assert close(picture, reference(*from_rosinality(exact, shape.codes - 1), w.expand(shape.codes, -1)))


# The official files are of protocol 3, Python 3.7's own.
@pytest.mark.parametrize(("size", "protocol"), [(16, 3), (32, 3), (32, 4)])
def test_an_nvidia_file_gives_the_picture_of_the_reference(size: int, protocol: int, tmp_path: Path) -> None:
    shape = SMALL[size]
    tensors = random_checkpoint(checkpoints.nvidia_layout(shape))
    write_nvidia(tmp_path / "generator.pkl", tensors, protocol)
    generator = load_generator(tmp_path / "generator.pkl")
    codes = torch.randn(shape.codes, shape.style, generator=torch.Generator().manual_seed(1))
    assert close(generator(codes[None])[0], reference(*from_nvidia(double(tensors), size), codes.double()))
    assert torch.equal(generator.mean_w, tensors["mapping.w_avg"])


def e4e_file(path: Path, size: int = 32) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A file as e4e writes it; what it holds of the encoder and of the decoder."""
    encoder_state = random_encoder(SMALL_ENCODERS[size])
    decoder = random_checkpoint(checkpoints.rosinality_layout(SMALL[size]))
    del decoder["latent_avg"]
    state = {f"encoder.{name}": value for name, value in encoder_state.items() if name != "latent_avg"}
    state |= {f"decoder.{name}": value for name, value in decoder.items()}
    torch.save({"state_dict": state, "latent_avg": encoder_state["latent_avg"], "opts": {"device": "cuda:0"}}, path)
    return encoder_state, decoder


@pytest.mark.parametrize("size", [16, 32])
def test_an_e4e_file_gives_the_codes_and_the_picture_of_the_references(size: int, tmp_path: Path) -> None:
    shape, (encoder_state, decoder) = SMALL_ENCODERS[size], e4e_file(tmp_path / "e4e.pt", size)
    encoder, generator = load_encoder(tmp_path / "e4e.pt"), load_generator(tmp_path / "e4e.pt")
    assert encoder.shape == shape
    pictures = torch.randn(2, 3, shape.size, shape.size, generator=torch.Generator().manual_seed(1))
    codes = encoder(pictures)
    for picture, code in zip(pictures, codes, strict=True):
        assert close(
            code,
            encoded(double(encoder_state), shape.units, shape.codes, picture.double()) + encoder_state["latent_avg"],
        )
    expected = reference(*from_rosinality(double(decoder), shape.codes - 1), codes[0].double())
    assert close(generator(codes[:1])[0], expected)
    assert torch.equal(generator.mean_w, encoder_state["latent_avg"][0])


@pytest.mark.parametrize("size", [16, 32])
def test_our_own_file_gives_the_codes_and_the_picture_of_the_references(size: int, tmp_path: Path) -> None:
    shape, encoder_shape, file = SMALL[size], SMALL_ENCODERS[size], tmp_path / "mini.safetensors"
    saved, encoder = Generator(shape), Encoder(encoder_shape)
    draw = torch.Generator().manual_seed(0)
    saved.load_state_dict({n: torch.randn(v.shape, generator=draw) for n, v in saved.state_dict().items()})
    encoder.load_state_dict(random_encoder(encoder_shape))
    checkpoints.save(file, saved, encoder)
    stored, generator = double(load_file(file)), load_generator(file)
    exact = {name.removeprefix("generator."): value for name, value in stored.items()}
    layers = [
        (exact[f"mapping.layers.{index}.weight"], exact[f"mapping.layers.{index}.bias"])
        for index in range(shape.mapping)
    ]
    z = torch.randn(1, shape.style, generator=draw)
    w = mapped(layers, z[0].double()).expand(shape.codes, -1)
    assert close(generator(generator.map(z))[0], reference(*from_ours(exact, shape.codes - 1), w))
    assert torch.equal(generator.mean_w.double(), exact["mean_w"])
    exact = {name.removeprefix("encoder."): value for name, value in stored.items()}
    picture = torch.randn(3, encoder_shape.size, encoder_shape.size, generator=draw)
    codes = encoded(exact, encoder_shape.units, encoder_shape.codes, picture.double()) + exact["latent_avg"]
    assert close(load_encoder(file)(picture[None])[0], codes)


def test_a_missing_mean_code_is_replaced_by_the_mean_of_draws(tmp_path: Path) -> None:
    tensors = random_checkpoint(checkpoints.rosinality_layout(SMALL[16]))
    del tensors["latent_avg"]
    torch.save({"g_ema": tensors}, tmp_path / "generator.pt")
    generator = load_generator(tmp_path / "generator.pt")
    draws = generator.mapping(torch.randn(500, 16, generator=torch.Generator().manual_seed(5)))
    assert float((draws.mean(0) - generator.mean_w).norm() / draws.std(0).norm()) < 0.2


# What does not fit is named.


@pytest.mark.parametrize("kind", ["rosinality", "nvidia"])
def test_every_key_that_does_not_fit_is_named(kind: str, tmp_path: Path) -> None:
    tensors = random_checkpoint(getattr(checkpoints, f"{kind}_layout")(SMALL[16]))
    missing = [name for name in tensors if name.endswith(("noise_strength", "noise.weight"))]
    misshaped = [name for name in tensors if "noise_const" in name or name.startswith("noises.")]
    strangers = [f"{name}er" for name in misshaped]
    assert min(len(missing), len(misshaped)) == 5
    for name in missing:
        del tensors[name]
    tensors |= dict.fromkeys(misshaped, torch.zeros(1, 2))
    tensors |= dict.fromkeys(strangers, torch.zeros(2))
    path = tmp_path / ("generator.pt" if kind == "rosinality" else "generator.pkl")
    if kind == "rosinality":
        torch.save({"g_ema": tensors}, path)
    else:
        write_nvidia(path, tensors)
    with pytest.raises(ModelUnavailable) as caught:
        load_generator(path)
    faults = {fault.code: fault.fields["names"] for fault in caught.value.fields["why"]}
    assert list(faults) == ["tensors-missing", "tensors-unknown", "tensors-misshaped"]
    for listed, names in zip(faults.values(), (missing, strangers, misshaped), strict=True):
        assert [entry.split(" ")[0] for entry in listed] == names


@pytest.mark.parametrize("load", [load_generator, load_encoder])
def test_a_key_beside_both_networks_is_named(load: Callable[[Path], object], tmp_path: Path) -> None:
    e4e_file(tmp_path / "e4e.pt")
    content = torch.load(tmp_path / "e4e.pt", weights_only=True)
    content["state_dict"]["stranger.weight"] = torch.zeros(2)
    torch.save(content, tmp_path / "e4e.pt")
    with raising(
        ModelUnavailable, "checkpoint-wrong-tensors", why=[Message("tensors-unknown", names=["stranger.weight"])]
    ):
        load(tmp_path / "e4e.pt")


def test_every_key_of_an_encoder_that_does_not_fit_is_named(tmp_path: Path) -> None:
    e4e_file(tmp_path / "e4e.pt")
    content = torch.load(tmp_path / "e4e.pt", weights_only=True)
    del content["state_dict"]["encoder.latlayer1.bias"]
    content["state_dict"]["encoder.latlayer3.bias"] = torch.zeros(2)
    content["state_dict"]["encoder.input_layer.0.weight"] = torch.zeros(1, 2)
    torch.save(content, tmp_path / "e4e.pt")
    with pytest.raises(ModelUnavailable) as caught:
        load_encoder(tmp_path / "e4e.pt")
    missing, unknown, misshaped = caught.value.fields["why"]
    assert missing == Message("tensors-missing", names=["latlayer1.bias"])
    assert unknown == Message("tensors-unknown", names=["latlayer3.bias"])
    (shape,) = misshaped.fields["names"]
    assert misshaped.code == "tensors-misshaped" and shape.startswith("input_layer.0.weight (1, 2) instead of ")


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    tensors = random_checkpoint(checkpoints.rosinality_layout(SMALL[16]))
    tensors["convs.0.conv.weight"][0, 0, 0] = float("nan")
    torch.save({"g_ema": tensors}, tmp_path / "generator.pt")
    with raising(ModelUnavailable, "checkpoint-not-finite", names=["convs.0.conv.weight"]):
        load_generator(tmp_path / "generator.pt")


def test_another_filter_is_refused(tmp_path: Path) -> None:
    tensors = random_checkpoint(checkpoints.rosinality_layout(SMALL[16]))
    tensors["to_rgbs.0.upsample.kernel"] = torch.ones(4, 4) / 4
    torch.save({"g_ema": tensors}, tmp_path / "generator.pt")
    with raising(ModelUnavailable, "checkpoint-wrong-filters"):
        load_generator(tmp_path / "generator.pt")


@pytest.mark.parametrize(
    ("load", "code"), [(load_generator, "checkpoint-no-generator"), (load_encoder, "checkpoint-no-encoder")]
)
def test_a_file_of_something_else_is_refused(load: Callable[[Path], object], code: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {"visual.weight": torch.zeros(3)}}, tmp_path / "clip.pt")
    with raising(ModelUnavailable, code, file="clip.pt"):
        load(tmp_path / "clip.pt")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("generator.pt", "checkpoint-unreadable"),
        ("generator.pkl", "pickle-unsafe"),
        ("generator.safetensors", "checkpoint-unreadable"),
    ],
)
def test_a_damaged_file_is_refused(name: str, code: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04 nothing of the kind")
    with raising(ModelUnavailable, code, file=name):
        load_generator(tmp_path / name)


def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    write_nvidia(tmp_path / "generator.pkl", {"synthesis.b4.const": torch.zeros(4, 4, 4)}, extra=Hostile(trace))
    with raising(ModelUnavailable, "pickle-unsafe", reason=re.compile(r"(posix|nt)\.system")):
        load_generator(tmp_path / "generator.pkl")
    torch.save({"g_ema": {}, "extra": Hostile(trace)}, tmp_path / "generator.pt")
    with raising(ModelUnavailable, "checkpoint-unreadable"):
        load_generator(tmp_path / "generator.pt")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (b"ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__Ns\x86b.", "pickle-unsafe"),
        (b"cdnnlib.util\nEasyDict\nN}X\x05\x00\x00\x00stateNs\x86b.", "pickle-unsafe"),
        (b"}r\xff\xff\xff\x7f.", "pickle-without-generator"),
    ],
    ids=["function", "class", "a table of 2^31 entries"],
)
def test_a_pickle_cant_change_its_reader_or_make_it_reserve_memory(program: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "generator.pkl").write_bytes(b"\x80\x02" + program)
    with raising(ModelUnavailable, code, file="generator.pkl"):
        load_generator(tmp_path / "generator.pkl")


def test_a_hostile_pickle_inside_a_tensor_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    torch.save(Hostile(trace), tmp_path / "inner.pt", _use_new_zipfile_serialization=False)
    inner = (tmp_path / "inner.pt").read_bytes()

    class Storage:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch.storage._load_from_bytes, (inner,)

    with (tmp_path / "generator.pkl").open("wb") as file:
        pickle.dump({"G_ema": Storage()}, file)
    with raising(ModelUnavailable, "pickle-unsafe"):
        load_generator(tmp_path / "generator.pkl")
    assert not trace.exists()


def test_numbers_that_are_loaded_again_and_again_are_refused(tmp_path: Path) -> None:
    numbers = io.BytesIO()
    torch.save(torch.zeros(1 << 18), numbers, _use_new_zipfile_serialization=False)
    loads = b"ctorch.storage\n_load_from_bytes\nh\x05\x85R"
    data = b"B" + len(numbers.getvalue()).to_bytes(4, "little") + numbers.getvalue() + b"q\x05"
    (tmp_path / "generator.pkl").write_bytes(b"\x80\x03" + data + loads * 3 + b".")
    with raising(ModelUnavailable, "pickle-unsafe", reason=Message("pickle-larger-than-file")):
        load_generator(tmp_path / "generator.pkl")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    class Reaching:
        def __reduce__(self) -> tuple[Any, ...]:
            storage = torch.zeros(1).storage()
            return torch._utils._rebuild_tensor_v2, (storage, 0, (1000, 1000), (1000, 1), False, None)

    write_nvidia(tmp_path / "generator.pkl", {"mapping.w_avg": Reaching()})  # type: ignore[dict-item]
    with raising(ModelUnavailable, "pickle-unsafe", reason=re.compile("out of bounds")):
        load_generator(tmp_path / "generator.pkl")


def test_weights_that_are_larger_than_their_file_are_refused(tmp_path: Path) -> None:
    torch.save(
        {"g_ema": {"convs.0.conv.weight": torch.zeros(1).expand(1, 2048, 2048, 3, 3)}}, tmp_path / "generator.pt"
    )
    with raising(ModelUnavailable, "checkpoint-too-small"):
        load_generator(tmp_path / "generator.pt")


def test_an_encoder_is_not_built_at_a_size_that_its_file_merely_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(shape: EncoderShape) -> Encoder:
        encoder = Encoder(shape)
        assert encoder.latent_avg.is_meta
        return encoder

    e4e_file(tmp_path / "e4e.pt")
    content = torch.load(tmp_path / "e4e.pt", weights_only=True)
    content["state_dict"]["encoder.styles.0.linear.weight"] = torch.zeros(12, 16)
    torch.save(content, tmp_path / "e4e.pt")
    monkeypatch.setattr(checkpoints, "Encoder", built)
    with raising(ModelUnavailable, "checkpoint-wrong-tensors", why=re.compile("tensors-misshaped")):
        load_encoder(tmp_path / "e4e.pt")


@pytest.mark.parametrize("average", [[0.0] * 16, "mean", torch.zeros(0), torch.zeros(0, 16), torch.tensor(1.0)])
def test_a_malformed_mean_code_is_refused(average: object, tmp_path: Path) -> None:
    tensors = random_checkpoint(checkpoints.rosinality_layout(SMALL[16]))
    del tensors["latent_avg"]
    torch.save({"g_ema": tensors, "latent_avg": average}, tmp_path / "generator.pt")
    with raising(ModelUnavailable, "checkpoint-average-wrong", file="generator.pt"):
        load_generator(tmp_path / "generator.pt")


# The generator.


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    network = Generator(SMALL[16])
    for layer in network.styled_layers():
        torch.nn.init.constant_(layer.noise_strength, 0.3)
    return network.requires_grad_(False)


def test_a_picture_is_the_same_alone_and_in_a_batch(generator: Generator) -> None:
    codes = torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(generator(codes)[1], generator(codes[1:2])[0], atol=1e-4)


@pytest.mark.parametrize("part", ["codes", "noise", "layers.1.weight", "layers.2.weight"])
def test_gradients_agree_with_differences(generator: Generator, part: str) -> None:
    """Of codes, which the search moves, of noise, which it may move too, and of weights, which tuning moves."""
    exact = Generator(SMALL[16]).double().requires_grad_(False)
    exact.load_state_dict(generator.state_dict())
    draw = torch.Generator().manual_seed(3)
    maps = [layer.noise for layer in exact.styled_layers()]
    for count in (1, 2):
        codes = torch.randn(count, 6, 16, generator=draw).double()
        weights = torch.randn(count, 3, 16, 16, generator=draw).double()

        def seen(moved: Tensor, codes: Tensor = codes, weights: Tensor = weights) -> Tensor:
            if part == "codes":
                picture = exact(moved)
            elif part == "noise":
                picture = exact(codes, noise=[*maps[:3], moved, *maps[4:]])
            else:
                picture = functional_call(exact, {part: moved}, (codes,))
            return (picture * weights).sum()

        parameter = codes if part == "codes" else maps[3] if part == "noise" else exact.get_parameter(part)
        start = parameter.detach().clone().requires_grad_()
        way = torch.randn(start.shape, generator=draw).double()
        (slope,) = torch.autograd.grad(seen(start), start)
        step = 1e-6  # a larger one crosses kinks of the activation
        with torch.no_grad():
            ends = [seen(start + sign * step * way) for sign in (1, -1)]
        assert float((slope * way).sum()) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_stored_noise_is_the_same_each_time_and_other_noise_is_not(generator: Generator) -> None:
    codes = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(4))
    fresh = generator.draw_noise(1, torch.Generator().manual_seed(0))
    assert torch.equal(generator(codes), generator(codes))
    assert torch.equal(generator(codes, fresh), generator(codes, fresh))
    assert float((generator(codes, fresh) - generator(codes)).abs().mean()) > 1e-3


def test_a_smaller_picture_is_an_intermediate_result_of_the_large_one(generator: Generator) -> None:
    codes = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(4))
    assert generator(codes, size=8).shape == (1, 3, 8, 8)
    changed = codes.clone()
    changed[:, 4:] += 1.0  # only the layers above 8 px read these rows
    assert torch.equal(generator(codes, size=8), generator(changed, size=8))
    assert not torch.equal(generator(codes), generator(changed))


def test_full_truncation_gives_the_mean_code(generator: Generator) -> None:
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(generator.map(z, 0.0), generator.mean_w.expand(2, 6, -1))
    assert torch.allclose(generator.map(z, 0.5), (generator.map(z) + generator.map(z, 0.0)) / 2, atol=1e-6)


@pytest.mark.parametrize("layers", [0, 2, 4])
def test_a_partial_synthesis_is_completed_to_the_same_picture(generator: Generator, layers: int) -> None:
    codes = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(4))
    assert torch.equal(generator(codes, partial=generator.synthesise_layers(codes, layers)), generator(codes))
