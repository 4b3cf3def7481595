"""Loads generators and encoders from checkpoints of our own, rosinality's, NVIDIA's and e4e's format.

Each layout is declared once, as the name and shape of each of our tensors in the file. Unpickling never executes code.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from c2p_core.errors import Message, ModelUnavailable, first_line
from c2p_core.models.weights import abbreviate_names, check_stored_size, check_tensors, read_checkpoint
from c2p_core.priors.nvidia_pickle import read_nvidia
from c2p_core.priors.stylegan2 import Encoder, EncoderShape, Generator, GeneratorShape

Tensors = dict[str, Tensor]
_LARGEST_FILE = 4 << 30  # bytes
_WIDEST = 2048  # channels; no known network comes near
_NETWORKS = ("generator.", "encoder.", "decoder.")  # prefixes of tensor names in a file with several networks
_MEAN_DRAWS = 4096  # draws whose mean replaces a missing mean code


@dataclass(frozen=True)
class StoredTensor:
    """Name and shape of one of our tensors in a file.

    Attributes:
        name: in the file.
        shape: in the file; it has the same number of elements as ours.
        ours: our name; empty for a blur filter, which is the same in all networks.
        optional: some files lack it.
    """

    name: str
    shape: tuple[int, ...]
    ours: str
    optional: bool = False


@dataclass(frozen=True)
class _Layout:
    """The layout of generators in one file format.

    Attributes:
        tensors: the stored tensors of a generator of a given shape.
        mapping: pattern of names with the number of a mapping layer.
        levels: counts the resolutions.
        style: name of a tensor whose second axis has the length of a style vector.
        channels: names of tensors whose first axis has the number of channels at a level.
    """

    tensors: Callable[[GeneratorShape], list[StoredTensor]]
    mapping: str
    levels: Callable[[Tensors], int]
    style: str
    channels: Callable[[int], tuple[str, ...]]


def rosinality_layout(shape: GeneratorShape) -> list[StoredTensor]:
    """The layout of rosinality/stylegan2-pytorch's ``g_ema`` and of e4e's ``decoder``."""
    style = shape.style
    layout_tensors = [StoredTensor("input.input", (1, shape.channels[0], 4, 4), "constant")]
    layout_tensors.append(StoredTensor("latent_avg", (style,), "mean_w", optional=True))
    for index in range(shape.mapping):
        layout_tensors.append(
            StoredTensor(f"style.{index + 1}.weight", (style, style), f"mapping.layers.{index}.weight")
        )
        layout_tensors.append(StoredTensor(f"style.{index + 1}.bias", (style,), f"mapping.layers.{index}.bias"))
    for index, (inputs, outputs, side) in enumerate(_list_convolutions(shape)):
        name, ours = "conv1" if index == 0 else f"convs.{index - 1}", f"layers.{index}"
        layout_tensors += [
            StoredTensor(f"{name}.conv.weight", (1, outputs, inputs, 3, 3), f"{ours}.weight"),
            StoredTensor(f"{name}.conv.modulation.weight", (inputs, style), f"{ours}.affine.weight"),
            StoredTensor(f"{name}.conv.modulation.bias", (inputs,), f"{ours}.affine.bias"),
            StoredTensor(f"{name}.noise.weight", (1,), f"{ours}.noise_strength"),
            StoredTensor(f"{name}.activate.bias", (outputs,), f"{ours}.bias"),
            StoredTensor(f"noises.noise_{index}", (1, 1, side, side), f"{ours}.noise"),
        ]
        if index % 2:
            layout_tensors.append(StoredTensor(f"{name}.conv.blur.kernel", (4, 4), "", optional=True))
    for level, channels in enumerate(shape.channels):
        name, ours = "to_rgb1" if level == 0 else f"to_rgbs.{level - 1}", f"rgbs.{level}"
        layout_tensors += [
            StoredTensor(f"{name}.conv.weight", (1, 3, channels, 1, 1), f"{ours}.weight"),
            StoredTensor(f"{name}.conv.modulation.weight", (channels, style), f"{ours}.affine.weight"),
            StoredTensor(f"{name}.conv.modulation.bias", (channels,), f"{ours}.affine.bias"),
            StoredTensor(f"{name}.bias", (1, 3, 1, 1), f"{ours}.bias"),
        ]
        if level:
            layout_tensors.append(StoredTensor(f"{name}.upsample.kernel", (4, 4), "", optional=True))
    return layout_tensors


def nvidia_layout(shape: GeneratorShape) -> list[StoredTensor]:
    """The layout of NVlabs/stylegan2-ada-pytorch's ``G_ema``."""
    style = shape.style
    layout_tensors = [StoredTensor("synthesis.b4.const", (shape.channels[0], 4, 4), "constant")]
    layout_tensors.append(StoredTensor("mapping.w_avg", (style,), "mean_w"))
    for index in range(shape.mapping):
        layout_tensors.append(
            StoredTensor(f"mapping.fc{index}.weight", (style, style), f"mapping.layers.{index}.weight")
        )
        layout_tensors.append(StoredTensor(f"mapping.fc{index}.bias", (style,), f"mapping.layers.{index}.bias"))
    for index, (inputs, outputs, side) in enumerate(_list_convolutions(shape)):
        name, ours = f"synthesis.b{side}.conv{1 - index % 2}", f"layers.{index}"
        layout_tensors += [
            StoredTensor(f"{name}.weight", (outputs, inputs, 3, 3), f"{ours}.weight"),
            StoredTensor(f"{name}.affine.weight", (inputs, style), f"{ours}.affine.weight"),
            StoredTensor(f"{name}.affine.bias", (inputs,), f"{ours}.affine.bias"),
            StoredTensor(f"{name}.noise_strength", (), f"{ours}.noise_strength"),
            StoredTensor(f"{name}.noise_const", (side, side), f"{ours}.noise"),
            StoredTensor(f"{name}.bias", (outputs,), f"{ours}.bias"),
            StoredTensor(f"{name}.resample_filter", (4, 4), "", optional=True),
        ]
    for level, channels in enumerate(shape.channels):
        block, ours = f"synthesis.b{4 << level}", f"rgbs.{level}"
        layout_tensors += [
            StoredTensor(f"{block}.torgb.weight", (3, channels, 1, 1), f"{ours}.weight"),
            StoredTensor(f"{block}.torgb.affine.weight", (channels, style), f"{ours}.affine.weight"),
            StoredTensor(f"{block}.torgb.affine.bias", (channels,), f"{ours}.affine.bias"),
            StoredTensor(f"{block}.torgb.bias", (3,), f"{ours}.bias"),
            StoredTensor(f"{block}.resample_filter", (4, 4), "", optional=True),
        ]
    return layout_tensors


def _list_convolutions(shape: GeneratorShape) -> list[tuple[int, int, int]]:
    """Input channels, output channels and side of each convolution."""
    convolutions = [(shape.channels[0], shape.channels[0], 4)]
    for level in range(1, len(shape.channels)):
        before, after = shape.channels[level - 1 : level + 1]
        convolutions += [(before, after, 4 << level), (after, after, 4 << level)]
    return convolutions


def _own_layout(shape: GeneratorShape) -> list[StoredTensor]:
    with torch.device("meta"):
        return _identity_layout(Generator(shape))


def _identity_layout(network: nn.Module) -> list[StoredTensor]:
    return [
        StoredTensor(name, tuple(value.shape), name, optional=name.endswith("num_batches_tracked"))
        for name, value in network.state_dict().items()
    ]


_ROSINALITY = _Layout(
    rosinality_layout,
    r"style\.(\d+)\.weight",
    lambda tensors: _largest_number(tensors, r"to_rgbs\.(\d+)\.") + 2,
    "conv1.conv.modulation.weight",
    lambda level: (
        ("to_rgb1.conv.modulation.bias", "conv1.activate.bias")
        if level == 0
        else (f"to_rgbs.{level - 1}.conv.modulation.bias", f"convs.{2 * level - 1}.activate.bias")
    ),
)
_NVIDIA = _Layout(
    nvidia_layout,
    r"mapping\.fc(\d+)\.weight",
    lambda tensors: int(math.log2(max(4, _largest_number(tensors, r"synthesis\.b(\d+)\.")))) - 1,
    "synthesis.b4.conv1.affine.weight",
    lambda level: (f"synthesis.b{4 << level}.torgb.affine.bias", f"synthesis.b{4 << level}.conv1.bias"),
)
_OURS = _Layout(
    _own_layout,
    r"mapping\.layers\.(\d+)\.weight",
    lambda tensors: _largest_number(tensors, r"rgbs\.(\d+)\.") + 1,
    "layers.0.affine.weight",
    lambda level: (f"rgbs.{level}.affine.bias", f"layers.{2 * level}.bias"),
)


def load_generator(path: Path) -> Generator:
    """Load the generator of a file, frozen and in eval mode.

    Args:
        path: our .safetensors, rosinality's or e4e's .pt, NVIDIA's .pkl.

    Raises:
        ModelUnavailable: the file can't be read safely or holds something else, or a tensor is missing, unknown, of
            the wrong shape or not finite; the message names it.
    """
    tensors = _read(path)
    if any(name.startswith("generator.") for name in tensors):
        tensors, layout = _select_network(tensors, "generator.", path), _OURS
    elif any(name.startswith("synthesis.") for name in tensors):
        layout = _NVIDIA
    else:
        average = tensors.get("latent_avg")
        if any(name.startswith("decoder.") for name in tensors):
            tensors = _select_network(tensors, "decoder.", path)
        if average is not None:
            tensors["latent_avg"] = average[0] if average.ndim == 2 else average
        layout = _ROSINALITY
    shape = _read_generator_shape(tensors, layout, path)
    translated = _translate(tensors, layout.tensors(shape), path)
    generator = Generator(shape)
    mean_known = "mean_w" in translated
    _load_into(generator, translated, path)
    if not mean_known:
        with torch.no_grad():
            draws = torch.randn(_MEAN_DRAWS, shape.style, generator=torch.Generator().manual_seed(0))
            generator.mean_w.copy_(generator.mapping(draws).mean(0))
    return generator.eval().requires_grad_(False)


def load_encoder(path: Path) -> Encoder:
    """Load the encoder of a file (ours or e4e's), frozen and in eval mode.

    Raises:
        ModelUnavailable: as ``load_generator``.
    """
    tensors = _read(path)
    average = tensors.get("latent_avg")
    tensors = _select_network(tensors, "encoder.", path)
    if average is not None:
        tensors["latent_avg"] = average
    shape = _read_encoder_shape(tensors, path)
    with torch.device("meta"):
        layout_tensors = _identity_layout(Encoder(shape))
    # Before the encoder is built: the file must really hold tensors as large as it claims.
    translated = _translate(tensors, layout_tensors, path)
    encoder = Encoder(shape)
    _load_into(encoder, translated, path)
    return encoder.eval().requires_grad_(False)


def save(path: Path, generator: Generator, encoder: Encoder) -> None:
    """Save both in one .safetensors file in half precision, except variances, which may exceed its range."""
    tensors = {f"generator.{name}": value for name, value in generator.state_dict().items()}
    tensors |= {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    stored = {
        name: value if not value.is_floating_point() or name.endswith("running_var") else value.half()
        for name, value in tensors.items()
    }
    save_file({name: value.contiguous().cpu() for name, value in stored.items()}, path, {"licence": "MIT"})


def _read(path: Path) -> Tensors:
    """Read all tensors of a file of any format."""
    content = _read_content(path)
    average = content.get("latent_avg")
    if average is not None and not (isinstance(average, Tensor) and average.ndim in (1, 2) and len(average)):
        raise ModelUnavailable("checkpoint-average-wrong", file=path.name)
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    check_stored_size(tensors.values(), path)
    return tensors


def _read_content(path: Path) -> Mapping[Any, Any]:
    """Read the content of a file by name: tensors and other objects."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelUnavailable("model-unreadable", path=str(path), reason=error.strerror) from error
    if size > _LARGEST_FILE:
        raise ModelUnavailable("checkpoint-too-large", file=path.name)
    if path.suffix == ".pkl":
        return read_nvidia(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    # e4e stores its options beside its weights, as plain values in this class.
    content = read_checkpoint(path, [argparse.Namespace])
    average = content.get("latent_avg") if isinstance(content, dict) else None
    for key in ("g_ema", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise ModelUnavailable("checkpoint-without-weights", file=path.name)
    return content if average is None else {**content, "latent_avg": average}


def _read_safetensors(path: Path) -> Tensors:
    try:
        return load_file(path)
    except OSError as error:
        raise ModelUnavailable("model-unreadable", path=str(path), reason=error.strerror) from error
    except SafetensorError as error:
        raise ModelUnavailable("checkpoint-unreadable", file=path.name, reason=first_line(error)) from error


def _select_network(tensors: Tensors, prefix: str, path: Path) -> Tensors:
    """Select the tensors of one network in a file that may hold several."""
    selected = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    unknown_names = [name for name in tensors if not name.startswith(_NETWORKS) and name != "latent_avg"]
    if selected and unknown_names:
        unknown = Message("tensors-unknown", names=abbreviate_names(unknown_names))
        raise ModelUnavailable("checkpoint-wrong-tensors", file=path.name, why=[unknown])
    return selected


def _largest_number(tensors: Tensors, pattern: str) -> int:
    """The largest number that the pattern matches in the names; -1 when there is none."""
    return max(_find_numbers(tensors, pattern), default=-1)


def _find_numbers(tensors: Tensors, pattern: str) -> list[int]:
    """The numbers that the pattern matches; more than four digits can't be genuine."""
    numbers = [match[1] for name in tensors if (match := re.match(pattern, name))]
    return [int(digits) for digits in numbers if len(digits) <= 4]


def _read_generator_shape(tensors: Tensors, layout: _Layout, path: Path) -> GeneratorShape:
    levels = layout.levels(tensors)
    first = min(_find_numbers(tensors, layout.mapping), default=0)
    count = _largest_number(tensors, layout.mapping) - first + 1
    if not 1 <= levels <= 9 or not 1 <= count <= 32:
        raise ModelUnavailable("checkpoint-no-generator", file=path.name, side=1024)
    channels = tuple(_read_size(tensors, layout.channels(level), 0, path) for level in range(levels))
    return GeneratorShape(channels, _read_size(tensors, (layout.style,), 1, path), count)


def _read_encoder_shape(tensors: Tensors, path: Path) -> EncoderShape:
    codes, units = _largest_number(tensors, r"styles\.(\d+)\.") + 1, _largest_number(tensors, r"body\.(\d+)\.") + 1
    if not 1 <= codes <= 18 or not 4 <= units <= 64:
        raise ModelUnavailable("checkpoint-no-encoder", file=path.name)
    widths = [
        _read_size(tensors, (f"body.{unit}.res_layer.{layer}.weight" for layer in (3, 4)), 0, path)
        for unit in range(units)
    ]
    stages = [(width, len(list(group))) for width, group in groupby(widths)]
    halvings = _largest_number(tensors, r"styles\.0\.convs\.(\d+)\.") // 2 + 1
    if len(stages) != 4 or not 1 <= halvings <= 6:
        raise ModelUnavailable("checkpoint-no-encoder", file=path.name)
    channels, counts = tuple(width for width, _ in stages), tuple(count for _, count in stages)
    linear = ("styles.0.linear.weight",)
    return EncoderShape(
        codes=codes,
        style=_read_size(tensors, linear, 0, path),
        size=16 << halvings,
        channels=(channels[0], channels[1], channels[2], channels[3]),
        units=(counts[0], counts[1], counts[2], counts[3]),
        heads=_read_size(tensors, linear, 1, path),
    )


def _read_size(tensors: Tensors, names: Iterable[str], axis: int, path: Path) -> int:
    """The size along an axis of the first of these tensors that exists."""
    candidates = tuple(names)
    for name in candidates:
        if name in tensors and tensors[name].ndim > axis:
            extent = tensors[name].shape[axis]
            if not 1 <= extent <= _WIDEST:
                raise ModelUnavailable("checkpoint-too-wide", file=path.name, name=name, extent=extent)
            return extent
    raise ModelUnavailable("checkpoint-incomplete", file=path.name, missing=candidates[0])


def _translate(tensors: Tensors, layout_tensors: Sequence[StoredTensor], path: Path) -> Tensors:
    """Rename tensors from the file's names to ours.

    Raises:
        ModelUnavailable: tensors are missing, unknown or of the wrong shape; the message names them.
    """
    shapes = {stored.name: stored.shape for stored in layout_tensors}
    check_tensors(tensors, shapes, path, {stored.name for stored in layout_tensors if stored.optional})
    present = [stored for stored in layout_tensors if stored.name in tensors]
    filters = [stored.name for stored in present if not stored.ours and not _is_blur_filter(tensors[stored.name])]
    if filters:
        raise ModelUnavailable("checkpoint-wrong-filters", file=path.name, names=abbreviate_names(filters))
    return {stored.ours: tensors[stored.name] for stored in present if stored.ours}


def _is_blur_filter(kernel: Tensor) -> bool:
    """Whether a kernel is the filter [1, 3, 3, 1], at any scale."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    wanted = taps[:, None] * taps / 64
    return bool(torch.allclose(kernel.float() / kernel.float().sum(), wanted, atol=1e-4))


def _load_into(network: nn.Module, tensors: Tensors, path: Path) -> None:
    state = network.state_dict()
    for name, value in tensors.items():
        if state[name].numel() != value.numel():
            raise ModelUnavailable("checkpoint-wrong-shape", file=path.name, name=name)
        state[name] = value.reshape(state[name].shape).to(state[name].dtype)
    network.load_state_dict(state)
