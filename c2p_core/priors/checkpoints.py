"""Generators and encoders from files: our own, rosinality's, NVIDIA's and e4e's.

Each layout is written down once, as the name and shape under which a file keeps each of our tensors. Nothing is
unpickled that could run code.
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
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from c2p_core.errors import ModelUnavailable
from c2p_core.priors.nvidia_pickle import read_nvidia
from c2p_core.priors.stylegan2 import Encoder, EncoderShape, Generator, GeneratorShape

Tensors = dict[str, Tensor]
_LARGEST_FILE = 4 << 30  # bytes
_WIDEST = 2048  # channels; no network that is known comes near
_NAMED = 20  # names that an error lists before it only counts
_NETWORKS = ("generator.", "encoder.", "decoder.")  # under which a file may keep each of its own
_MEAN_OF = 4096  # draws whose mean stands in for a mean code that the file lacks


@dataclass(frozen=True)
class StoredTensor:
    """Where a file keeps one of our tensors.

    Attributes:
        name: in the file.
        shape: in the file; as many numbers as ours has.
        ours: our name; empty for a filter, which is the same in all networks.
        optional: some files do without.
    """

    name: str
    shape: tuple[int, ...]
    ours: str
    optional: bool = False


@dataclass(frozen=True)
class _Layout:
    """How a kind of file names things.

    Attributes:
        places: for a generator of some shape.
        mapping: pattern whose number counts the mapping layers.
        levels: pattern whose number gives away the resolutions.
        style: tensor whose second axis is the length of a code.
        channels: tensors whose first axis is the width at a level.
    """

    places: Callable[[GeneratorShape], list[StoredTensor]]
    mapping: str
    levels: Callable[[Tensors], int]
    style: str
    channels: Callable[[int], tuple[str, ...]]


def rosinality_layout(shape: GeneratorShape) -> list[StoredTensor]:
    """rosinality/stylegan2-pytorch, ``g_ema``; e4e's ``decoder`` too."""
    style = shape.style
    places = [StoredTensor("input.input", (1, shape.channels[0], 4, 4), "constant")]
    places.append(StoredTensor("latent_avg", (style,), "mean_w", optional=True))
    for at in range(shape.mapping):
        places.append(StoredTensor(f"style.{at + 1}.weight", (style, style), f"mapping.layers.{at}.weight"))
        places.append(StoredTensor(f"style.{at + 1}.bias", (style,), f"mapping.layers.{at}.bias"))
    for at, (inputs, outputs, side) in enumerate(_layers(shape)):
        name, ours = "conv1" if at == 0 else f"convs.{at - 1}", f"layers.{at}"
        places += [
            StoredTensor(f"{name}.conv.weight", (1, outputs, inputs, 3, 3), f"{ours}.weight"),
            StoredTensor(f"{name}.conv.modulation.weight", (inputs, style), f"{ours}.affine.weight"),
            StoredTensor(f"{name}.conv.modulation.bias", (inputs,), f"{ours}.affine.bias"),
            StoredTensor(f"{name}.noise.weight", (1,), f"{ours}.noise_strength"),
            StoredTensor(f"{name}.activate.bias", (outputs,), f"{ours}.bias"),
            StoredTensor(f"noises.noise_{at}", (1, 1, side, side), f"{ours}.noise"),
        ]
        if at % 2:
            places.append(StoredTensor(f"{name}.conv.blur.kernel", (4, 4), "", optional=True))
    for level, channels in enumerate(shape.channels):
        name, ours = "to_rgb1" if level == 0 else f"to_rgbs.{level - 1}", f"rgbs.{level}"
        places += [
            StoredTensor(f"{name}.conv.weight", (1, 3, channels, 1, 1), f"{ours}.weight"),
            StoredTensor(f"{name}.conv.modulation.weight", (channels, style), f"{ours}.affine.weight"),
            StoredTensor(f"{name}.conv.modulation.bias", (channels,), f"{ours}.affine.bias"),
            StoredTensor(f"{name}.bias", (1, 3, 1, 1), f"{ours}.bias"),
        ]
        if level:
            places.append(StoredTensor(f"{name}.upsample.kernel", (4, 4), "", optional=True))
    return places


def nvidia_layout(shape: GeneratorShape) -> list[StoredTensor]:
    """NVlabs/stylegan2-ada-pytorch, ``G_ema``."""
    style = shape.style
    places = [StoredTensor("synthesis.b4.const", (shape.channels[0], 4, 4), "constant")]
    places.append(StoredTensor("mapping.w_avg", (style,), "mean_w"))
    for at in range(shape.mapping):
        places.append(StoredTensor(f"mapping.fc{at}.weight", (style, style), f"mapping.layers.{at}.weight"))
        places.append(StoredTensor(f"mapping.fc{at}.bias", (style,), f"mapping.layers.{at}.bias"))
    for at, (inputs, outputs, side) in enumerate(_layers(shape)):
        name, ours = f"synthesis.b{side}.conv{1 - at % 2}", f"layers.{at}"
        places += [
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
        places += [
            StoredTensor(f"{block}.torgb.weight", (3, channels, 1, 1), f"{ours}.weight"),
            StoredTensor(f"{block}.torgb.affine.weight", (channels, style), f"{ours}.affine.weight"),
            StoredTensor(f"{block}.torgb.affine.bias", (channels,), f"{ours}.affine.bias"),
            StoredTensor(f"{block}.torgb.bias", (3,), f"{ours}.bias"),
            StoredTensor(f"{block}.resample_filter", (4, 4), "", optional=True),
        ]
    return places


def _layers(shape: GeneratorShape) -> list[tuple[int, int, int]]:
    """Channels in, channels out and side of each convolution."""
    found = [(shape.channels[0], shape.channels[0], 4)]
    for level in range(1, len(shape.channels)):
        before, here = shape.channels[level - 1 : level + 1]
        found += [(before, here, 4 << level), (here, here, 4 << level)]
    return found


def _ours(shape: GeneratorShape) -> list[StoredTensor]:
    with torch.device("meta"):
        return _as_they_are(Generator(shape))


def _as_they_are(network: nn.Module) -> list[StoredTensor]:
    return [
        StoredTensor(name, tuple(value.shape), name, optional=name.endswith("num_batches_tracked"))
        for name, value in network.state_dict().items()
    ]


_ROSINALITY = _Layout(
    rosinality_layout,
    r"style\.(\d+)\.weight",
    lambda tensors: _last(tensors, r"to_rgbs\.(\d+)\.") + 2,
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
    lambda tensors: int(math.log2(max(4, _last(tensors, r"synthesis\.b(\d+)\.")))) - 1,
    "synthesis.b4.conv1.affine.weight",
    lambda level: (f"synthesis.b{4 << level}.torgb.affine.bias", f"synthesis.b{4 << level}.conv1.bias"),
)
_OURS = _Layout(
    _ours,
    r"mapping\.layers\.(\d+)\.weight",
    lambda tensors: _last(tensors, r"rgbs\.(\d+)\.") + 1,
    "layers.0.affine.weight",
    lambda level: (f"rgbs.{level}.affine.bias", f"layers.{2 * level}.bias"),
)


def load_generator(path: Path) -> Generator:
    """The generator of a file, frozen and in eval mode.

    Args:
        path: our .safetensors, rosinality's or e4e's .pt, NVIDIA's .pkl.

    Raises:
        ModelUnavailable: the file can't be read safely, holds something else, or a tensor is missing, unknown, of
            another shape or not finite; the message names it.
    """
    tensors = _read(path)
    if any(name.startswith("generator.") for name in tensors):
        tensors, layout = _under(tensors, "generator.", path), _OURS
    elif any(name.startswith("synthesis.") for name in tensors):
        layout = _NVIDIA
    else:
        average = tensors.get("latent_avg")
        if any(name.startswith("decoder.") for name in tensors):
            tensors = _under(tensors, "decoder.", path)
        if average is not None:
            tensors["latent_avg"] = average[0] if average.ndim == 2 else average
        layout = _ROSINALITY
    shape = _generator_shape(tensors, layout, path)
    own = _translated(tensors, layout.places(shape), path)
    generator = Generator(shape)
    mean_known = "mean_w" in own
    _fill(generator, own, path)
    if not mean_known:
        with torch.no_grad():
            draws = torch.randn(_MEAN_OF, shape.style, generator=torch.Generator().manual_seed(0))
            generator.mean_w.copy_(generator.mapping(draws).mean(0))
    return generator.eval().requires_grad_(False)


def load_encoder(path: Path) -> Encoder:
    """The encoder of a file (ours or e4e's), frozen and in eval mode.

    Raises:
        ModelUnavailable: as ``load_generator``.
    """
    tensors = _read(path)
    average = tensors.get("latent_avg")
    tensors = _under(tensors, "encoder.", path)
    if average is not None:
        tensors["latent_avg"] = average
    shape = _encoder_shape(tensors, path)
    with torch.device("meta"):
        places = _as_they_are(Encoder(shape))
    # Before it is built: as large as it says, the file would have to be.
    own = _translated(tensors, places, path)
    encoder = Encoder(shape)
    _fill(encoder, own, path)
    return encoder.eval().requires_grad_(False)


def save(path: Path, generator: Generator, encoder: Encoder) -> None:
    """Both in one .safetensors file, in half precision; variances that a half can't hold stay as they are."""
    named = {f"generator.{name}": value for name, value in generator.state_dict().items()}
    named |= {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    kept = {
        name: value if not value.is_floating_point() or name.endswith("running_var") else value.half()
        for name, value in named.items()
    }
    save_file({name: value.contiguous().cpu() for name, value in kept.items()}, path, {"licence": "MIT"})


def _read(path: Path) -> Tensors:
    """All tensors of a file, whatever its kind."""
    content = _content(path)
    average = content.get("latent_avg")
    if average is not None and not (isinstance(average, Tensor) and average.ndim in (1, 2) and len(average)):
        raise ModelUnavailable(f"{path.name} holds a 'latent_avg' that is no code; get another copy of the model.")
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    # A few bytes can stand for a tensor of any size that repeats them.
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > path.stat().st_size:
        raise ModelUnavailable(f"{path.name} is smaller than the weights that it names; get another copy of the model.")
    return tensors


def _content(path: Path) -> Mapping[Any, Any]:
    """What a file holds by name: tensors, and what else there may be."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ModelUnavailable(f"{path.name} is larger than any StyleGAN2; choose another file.")
        if path.suffix == ".pkl":
            return read_nvidia(path)
        if path.suffix == ".safetensors":
            return load_file(path)
        # e4e keeps its options beside its weights, as plain values in this plain class.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except ModelUnavailable:
        raise
    except OSError as error:
        raise ModelUnavailable(f"The model file {path} can't be read ({error.strerror}); check its rights.") from error
    # A damaged or hostile file may fail in any way.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelUnavailable(
            f"{path.name} can't be read safely as weights ({reason}); get another copy of the model."
        ) from error
    average = content.get("latent_avg") if isinstance(content, dict) else None
    for key in ("g_ema", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise ModelUnavailable(f"{path.name} holds no weights by name; choose a StyleGAN2 or e4e checkpoint.")
    return content if average is None else {**content, "latent_avg": average}


def _under(tensors: Tensors, prefix: str, path: Path) -> Tensors:
    """The tensors of one network of a file that may hold several."""
    own = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    strangers = [name for name in tensors if not name.startswith(_NETWORKS) and name != "latent_avg"]
    if own and strangers:
        said = f"unknown: {_some(strangers)}"
        raise ModelUnavailable(f"{path.name} does not fit ({said}); get another copy of the model.")
    return own


def _last(tensors: Tensors, pattern: str) -> int:
    """The largest number that the pattern finds in the names; -1 without any."""
    return max(_numbers(tensors, pattern), default=-1)


def _numbers(tensors: Tensors, pattern: str) -> list[int]:
    """What the pattern finds; numbers of more than four digits count nothing that is real."""
    found = [match[1] for name in tensors if (match := re.match(pattern, name))]
    return [int(digits) for digits in found if len(digits) <= 4]


def _generator_shape(tensors: Tensors, layout: _Layout, path: Path) -> GeneratorShape:
    levels = layout.levels(tensors)
    first = min(_numbers(tensors, layout.mapping), default=0)
    count = _last(tensors, layout.mapping) - first + 1
    if not 1 <= levels <= 9 or not 1 <= count <= 32:
        raise _no("StyleGAN2 generator of up to 1024 px", path)
    channels = tuple(_extent(tensors, layout.channels(level), 0, path) for level in range(levels))
    return GeneratorShape(channels, _extent(tensors, (layout.style,), 1, path), count)


def _encoder_shape(tensors: Tensors, path: Path) -> EncoderShape:
    codes, units = _last(tensors, r"styles\.(\d+)\.") + 1, _last(tensors, r"body\.(\d+)\.") + 1
    if not 1 <= codes <= 18 or not 4 <= units <= 64:
        raise _no("e4e encoder", path)
    widths = [_extent(tensors, (f"body.{at}.res_layer.{k}.weight" for k in (3, 4)), 0, path) for at in range(units)]
    stages = [(width, len(list(group))) for width, group in groupby(widths)]
    halvings = _last(tensors, r"styles\.0\.convs\.(\d+)\.") // 2 + 1
    if len(stages) != 4 or not 1 <= halvings <= 6:
        raise _no("e4e encoder", path)
    channels, counts = tuple(width for width, _ in stages), tuple(count for _, count in stages)
    linear = ("styles.0.linear.weight",)
    return EncoderShape(
        codes=codes,
        style=_extent(tensors, linear, 0, path),
        size=16 << halvings,
        channels=(channels[0], channels[1], channels[2], channels[3]),
        units=(counts[0], counts[1], counts[2], counts[3]),
        heads=_extent(tensors, linear, 1, path),
    )


def _extent(tensors: Tensors, names: Iterable[str], axis: int, path: Path) -> int:
    """The extent of the first of these tensors that is there."""
    tried = tuple(names)
    for name in tried:
        if name in tensors and tensors[name].ndim > axis:
            extent = tensors[name].shape[axis]
            if not 1 <= extent <= _WIDEST:
                raise ModelUnavailable(f"{path.name}: {name} is {extent} wide, which no StyleGAN2 is; choose another.")
            return extent
    raise ModelUnavailable(f"{path.name} lacks {tried[0]}; get another copy of the model.")


def _no(what: str, path: Path) -> ModelUnavailable:
    return ModelUnavailable(f"{path.name} holds no {what}; choose another file for this place.")


def _translated(tensors: Tensors, places: Sequence[StoredTensor], path: Path) -> Tensors:
    """Tensors under our names and in our shapes' order.

    Raises:
        ModelUnavailable: with the names of all that does not fit.
    """
    known = {place.name for place in places}
    missing = [place.name for place in places if place.name not in tensors and not place.optional]
    unknown = [name for name in tensors if name not in known]
    there = [place for place in places if place.name in tensors]
    misshaped = [
        f"{place.name} {tuple(tensors[place.name].shape)} instead of {place.shape}"
        for place in there
        if tuple(tensors[place.name].shape) != place.shape
    ]
    faults = {"missing": missing, "unknown": unknown, "of another shape": misshaped}
    found = "; ".join(f"{what}: {_some(names)}" for what, names in faults.items() if names)
    if found:
        raise ModelUnavailable(f"{path.name} does not fit ({found}); get another copy of the model.")
    broken = [p.name for p in there if not bool(torch.isfinite(tensors[p.name]).all())]
    if broken:
        raise ModelUnavailable(f"{path.name} holds numbers that are none ({_some(broken)}); get another copy of it.")
    filters = [place.name for place in there if not place.ours and not _usual(tensors[place.name])]
    if filters:
        raise ModelUnavailable(f"{path.name} filters otherwise than StyleGAN2 ({_some(filters)}); choose another.")
    return {place.ours: tensors[place.name] for place in there if place.ours}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _usual(kernel: Tensor) -> bool:
    """Whether it is the filter [1, 3, 3, 1], in any scale."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    wanted = taps[:, None] * taps / 64
    return bool(torch.allclose(kernel.float() / kernel.float().sum(), wanted, atol=1e-4))


def _fill(network: nn.Module, tensors: Tensors, path: Path) -> None:
    state = network.state_dict()
    for name, value in tensors.items():
        if state[name].numel() != value.numel():
            raise ModelUnavailable(f"{path.name} holds {name} in another shape; get another copy of the model.")
        state[name] = value.reshape(state[name].shape).to(state[name].dtype)
    network.load_state_dict(state)
