"""Reads the layers of a network that dlib's C++ library wrote, without dlib.

The format, as dlib's documentation and headers describe it: an integer is a control byte (low four bits: how many bytes
follow, top bit: negative) and a little-endian magnitude; a string is its length and its bytes; a float is mantissa and
power of two, both integers; a tensor is a version, four sizes and raw little-endian float32 values. A network is its
loss, then one version number per layer from the output inwards (1: a tag or skip that stores nothing, 2: a layer,
3: the layer at the input), then the input layer and every layer's own fields from the input outwards.

Source: dlib (Boost Software License), dlib/serialize.h, dlib/cuda/tensor.h, dlib/dnn/{core,input,layers,loss}.h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_MAX_BYTES = 128 * 1024 * 1024
_MAX_LAYERS = 1000
_MAX_NAME = 64
_TAG, _LAYER, _FIRST_LAYER = 1, 2, 3


class UnreadableNetwork(Exception):
    """A file is missing, damaged or of another kind; the message says which."""


class _FormatError(ValueError):
    """The bytes violate the format; converted to ``UnreadableNetwork`` by ``read_dlib_network``."""


@dataclass(frozen=True)
class DlibLayer:
    """One computing layer.

    Attributes:
        kind: "con", "affine", "relu", "max_pool", "avg_pool", "add_prev" or "fc".
        sizes: con: (filters, rows, columns, stride y, stride x, padding y, padding x);
            pools: (rows, columns, stride y, stride x, padding y, padding x), rows 0 for the whole plane;
            fc: (outputs, inputs); else empty.
        tensors: con: weight (out, in, rows, columns) and bias (out,); affine: gamma and beta (channels,);
            fc: weight (inputs, outputs); else empty.
    """

    kind: str
    sizes: tuple[int, ...] = ()
    tensors: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class DlibNetwork:
    """Layers from input to output, and the mean that is subtracted from RGB 0..255 before division by 256."""

    mean_rgb: tuple[float, float, float]
    rows: int
    columns: int
    layers: tuple[DlibLayer, ...]


class _Reader:
    """A cursor over bytes; reads are bounded by the number of bytes left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def read_bytes(self, count: int) -> bytes:
        if count < 0 or count > self.left:
            raise _FormatError(f"{count} bytes wanted at {self._at}, {self.left} left")
        self._at += count
        return self._data[self._at - count : self._at]

    def read_integer(self) -> int:
        control = self.read_bytes(1)[0]
        count = control & 0x0F
        if control & 0x70 or not 1 <= count <= 8:
            raise _FormatError(f"no integer at {self._at - 1}")
        value = int.from_bytes(self.read_bytes(count), "little")
        return -value if control & 0x80 else value

    def read_size(self) -> int:
        value = self.read_integer()
        if not 0 <= value <= _MAX_BYTES:
            raise _FormatError(f"size {value} at {self._at}")
        return value

    def read_sizes(self, count: int) -> tuple[int, ...]:
        return tuple(self.read_size() for _ in range(count))

    def read_text(self) -> str:
        count = self.read_size()
        if count > _MAX_NAME:
            raise _FormatError(f"name of {count} bytes at {self._at}")
        return self.read_bytes(count).decode("ascii")

    def read_float(self) -> float:
        mantissa, exponent = self.read_integer(), self.read_integer()
        if not -1100 <= exponent <= 900:
            raise _FormatError(f"exponent {exponent} at {self._at}")
        return mantissa * 2.0**exponent

    def expect(self, value: int) -> None:
        actual = self.read_integer()
        if actual != value:
            raise _FormatError(f"{value} expected at {self._at}, found {actual}")

    def read_tensor(self) -> Tensor:
        self.expect(2)
        values = np.frombuffer(self.read_bytes(4 * math.prod(self.read_sizes(4))), dtype="<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise _FormatError(f"a tensor before {self._at} is not finite")
        return torch.from_numpy(values)

    def read_shape(self) -> tuple[int, ...]:
        """Read an alias tensor: the shape of a part of the layer's parameters."""
        self.expect(1)
        return self.read_sizes(4)


def _split(parameters: Tensor, *shapes: tuple[int, ...]) -> list[Tensor]:
    counts = [math.prod(shape) for shape in shapes]
    if sum(counts) != parameters.numel():
        raise _FormatError(f"{parameters.numel()} parameters for shapes {shapes}")
    parts = torch.split(parameters, counts)
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _read_details(reader: _Reader) -> DlibLayer:
    name = reader.read_text()
    if name == "con_4":
        parameters = reader.read_tensor()
        sizes = reader.read_sizes(7)
        weight, bias = _split(parameters, reader.read_shape(), reader.read_shape())
        for _ in range(4):  # learning rates and weight decays
            reader.read_float()
        return DlibLayer("con", sizes, (weight, bias.flatten()))
    if name == "affine_":
        parameters = reader.read_tensor()
        gamma, beta = _split(parameters, reader.read_shape(), reader.read_shape())
        reader.expect(0)  # per channel, not per value
        return DlibLayer("affine", (), (gamma.flatten(), beta.flatten()))
    if name == "fc_2":
        sizes = reader.read_sizes(2)
        parameters = reader.read_tensor()
        weight, _ = _split(parameters, reader.read_shape(), reader.read_shape())
        reader.expect(1)  # without bias
        for _ in range(4):
            reader.read_float()
        return DlibLayer("fc", sizes, (weight[:, :, 0, 0],))
    if name in ("max_pool_2", "avg_pool_2"):
        return DlibLayer(name[:-2], reader.read_sizes(6))
    if name in ("relu_", "add_prev_"):
        return DlibLayer(name[:-1])
    raise _FormatError(f"unknown layer {name!r}")


def _read_layer(reader: _Reader, version: int) -> DlibLayer:
    layer = _read_details(reader)
    reader.read_bytes(3)  # three flags of the trainer, one character each
    for _ in range(3):  # buffers of the trainer, empty in a released file
        reader.read_tensor()
    if version == _FIRST_LAYER:
        reader.expect(1)  # samples per input
    return layer


def _read_network(reader: _Reader) -> DlibNetwork:
    reader.expect(1)
    if reader.read_text() != "loss_metric_2":
        raise _FormatError("no metric loss at the output")
    reader.read_float(), reader.read_float()  # margin and distance threshold
    versions: list[int] = []
    while not versions or versions[-1] != _FIRST_LAYER:
        versions.append(reader.read_size())
        if versions[-1] not in (_TAG, _LAYER, _FIRST_LAYER) or len(versions) > _MAX_LAYERS:
            raise _FormatError(f"no layer structure at byte {len(versions)}")
    if reader.read_text() != "input_rgb_image_sized":
        raise _FormatError("the input is not an RGB picture of fixed size")
    mean = (reader.read_float(), reader.read_float(), reader.read_float())
    rows, columns = reader.read_sizes(2)
    layers = tuple(_read_layer(reader, version) for version in reversed(versions) if version != _TAG)
    if reader.left:
        raise _FormatError(f"{reader.left} bytes after the last layer")
    return DlibNetwork(mean, rows, columns, layers)


def read_dlib_network(path: Path) -> DlibNetwork:
    """Read the ``.dat`` file of a network with a metric loss.

    Raises:
        UnreadableNetwork: the file can't be read, is too large, truncated or of another kind.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _FormatError("larger than any such network")
        return _read_network(_Reader(path.read_bytes()))
    except (OSError, _FormatError, UnicodeDecodeError) as error:
        raise UnreadableNetwork(f"{path} is not a face network of dlib's ({error}).") from error
